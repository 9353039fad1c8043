"""Energy of phases by regression over mixes: runs that execute each phase another number of times.

    E_i = e_other + sum over phases k of n_ik e_k

n_ik is how often run i executes phase k, e_k what one execution costs, e_other what a run costs besides. With as
many mixes as are needed and more, the fit says by itself whether the energies add up: what it cannot explain is
chi^2, with as many degrees of freedom as there are mixes beyond the coefficients (lack of fit; N. Draper and
H. Smith, Applied Regression Analysis, 1998, 2.1). Where it does not, the products n_ij n_ik say which two phases
cost more, or less, together than each by itself (interaction; G. Box, W. Hunter and J. Hunter, Statistics for
Experimenters, 2005, 5 and 6).

**Weights** come from what each mix has for itself (noise, quantisation, idle drift). What all share does not
scatter: a gain error g of the meter changes all energies, and so all coefficients, by the same factor 1 + g, which
the terms of the coefficients keep with their sign (JCGM 100:2008, F.1.2.4), and no residual at all. So the
generalised least squares with the full covariance are these weighted ones. Offset cancels in net energies.

**Repeats.** What repeats of a mix scatter more than their own budgets say (their pooled ratio R, the square of
Birge's; R. Birge, Phys. Rev. 40 (1932) 207) widens all mixes, with the degrees of freedom of the repeats; it is no
lack of fit. chi^2 is then compared with the F distribution.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any

import numpy as np

from joulebit.errors import JoulebitError
from joulebit_host.session.uncertainty import NORMAL, PROBABILITY, Quantity, Term, linear
from joulebit_host.session.window import Floats

OTHER = "other"  #: what no phase claims
LEVEL = 1 - PROBABILITY  #: a chi^2 that chance exceeds less often is no chance: 4.55 %
#: Inflation of a variance from which a design is called poor (D. Marquardt, Technometrics 12 (1970) 591).
POOR = 10.0
_SAME = 1e-9


def two_levels(phases: Sequence[str], low: int, high: int) -> list[dict[str, int]]:
    """The mixes in which each phase is executed `low` or `high` times, without the one that executes nothing.

    With four phases or more the half of them with an odd number of phases at the high level: main effects are
    orthogonal to each other and to all interactions of two phases, which can be told apart up to pairs (a
    two-level fractional factorial of resolution IV for four phases; Box, Hunter and Hunter, 6.2).
    """
    found = []
    for levels in product((low, high), repeat=len(phases)):
        odd = sum(level == high for level in levels) % 2 == 1
        if any(levels) and (odd or len(phases) < 4):
            found.append(dict(zip(phases, levels, strict=True)))
    return found


def check_design(mixes: Sequence[Mapping[str, int]]) -> dict[str, Any]:
    """{phases, mixes, dof, inflation}: whether these mixes tell their phases apart.

    inflation, by phase: how much larger the variance of its energy is than if no other phase varied with it (1 for
    an orthogonal design). Raises JoulebitError where phases cannot be told apart, or nothing is left to test
    additivity with.
    """
    if not any(mixes):
        raise JoulebitError("there is no mix that executes a phase")
    names, design = _design(mixes)
    centred = design[:, 1:] - design[:, 1:].mean(axis=0)
    still = [name for name, column in zip(names, centred.T, strict=True) if not np.any(column)]
    if still:
        raise JoulebitError(
            f"the mixes cannot tell {' and '.join(still)} from what every run costs: execute it more often in one "
            "mix than in another"
        )
    if np.linalg.matrix_rank(design) < design.shape[1]:
        raise JoulebitError(
            f"{len(mixes)} mixes do not tell {', '.join(names)} apart: add mixes in which one of them is executed "
            "more often and the others are not"
        )
    if len(mixes) <= design.shape[1]:
        raise JoulebitError(
            f"{len(mixes)} mixes leave nothing to test additivity with: {len(names)} phases and the rest of a run "
            f"need at least {design.shape[1] + 1}"
        )
    scaled = centred / np.linalg.norm(centred, axis=0)
    inflation = np.diag(np.linalg.inv(scaled.T @ scaled))
    return {
        "phases": list(names),
        "mixes": len(mixes),
        "dof": len(mixes) - design.shape[1],
        "inflation": {name: float(value) for name, value in zip(names, inflation, strict=True)},
    }


def poor_phases(design: Mapping[str, Any]) -> list[str]:
    """Phases whose energy this design knows badly, see `POOR`."""
    return [name for name, inflation in design["inflation"].items() if inflation > POOR]


def _design(mixes: Sequence[Mapping[str, int]]) -> tuple[tuple[str, ...], Floats]:
    """(phases, (mixes, 1 + phases)): the first column belongs to `OTHER`."""
    names = tuple(dict.fromkeys(name for mix in mixes for name in mix))
    rows = [[1.0, *[float(mix.get(name, 0)) for name in names]] for mix in mixes]
    return names, np.array(rows, dtype=np.float64).reshape(len(mixes), 1 + len(names))


@dataclass(frozen=True)
class Mix:
    """What was measured of one mix.

    Attributes:
        name: unlike that of every other mix.
        executions: of each phase in one run; 0 where a phase is not named.
        cells: energy of one run, J, one for each repeat.
    """

    name: str
    executions: Mapping[str, int]
    cells: tuple[Quantity, ...]


@dataclass(frozen=True)
class Residual:
    """A mix beside the fit: measured and fitted energy of one run, and what is left, with its own uncertainty
    (without what all mixes share), J.
    """

    mix: Mix
    measured: Quantity
    fitted_j: float
    residual: Quantity


@dataclass(frozen=True)
class Interaction:
    """What two phases cost together, beyond each by itself.

    Attributes:
        pairs: of phases; several where the mixes cannot tell these pairs apart.
        opposite: pairs that these mixes cannot tell from them either, with the other sign.
        energy: J for each execution of the one and of the other in the same run.
    """

    pairs: tuple[tuple[str, str], ...]
    opposite: tuple[tuple[str, str], ...]
    energy: Quantity

    @property
    def text(self) -> str:
        """The pairs, for people."""
        same, opposite = (" or ".join(f"{a} with {b}" for a, b in found) for found in (self.pairs, self.opposite))
        return f"{same} (or, with the other sign, {opposite})" if opposite else same


@dataclass(frozen=True)
class Regression:
    """A fit.

    Attributes:
        energies: J of one execution, by phase; `OTHER` is the rest of a run.
        chi2, dof: sum of the squared residuals in units of their own uncertainty; mixes less coefficients.
        spread_dof: degrees of freedom of the uncertainties that chi2 is measured in; infinity if they are known.
        p: probability that chance gives such a chi2, or a larger one, where energies add up.
        scatter: R of the module: 1 if repeats scatter as their budgets say, None without repeats.
        design: see `check_design`.
        residuals: by mix.
        interactions: those that the mixes can test, largest in units of their uncertainty first.
    """

    energies: Mapping[str, Quantity]
    chi2: float
    dof: int
    spread_dof: float
    p: float
    scatter: float | None
    design: Mapping[str, Any]
    residuals: tuple[Residual, ...]
    interactions: tuple[Interaction, ...]

    @property
    def fits(self) -> bool:
        """Whether energies add up, as far as can be told."""
        return self.p >= LEVEL

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "chi2": self.chi2,
            "dof": self.dof,
            "spread_dof": None if math.isinf(self.spread_dof) else self.spread_dof,
            "p": self.p,
            "scatter": self.scatter,
            "design": dict(self.design),
            "residuals": [
                {
                    "mix": r.mix.name,
                    "executions": dict(r.mix.executions),
                    "cells": len(r.mix.cells),
                    "measured_j": r.measured.value,
                    "u_k2_j": r.measured.expanded,
                    "fitted_j": r.fitted_j,
                    "residual_j": r.residual.value,
                    "residual_u_k2_j": r.residual.expanded,
                }
                for r in self.residuals
            ],
            "interactions": [
                {
                    "pairs": [list(pair) for pair in i.pairs],
                    "opposite": [list(pair) for pair in i.opposite],
                    "text": i.text,
                    **i.energy.as_json(),
                }
                for i in self.interactions
            ],
        }


def regress(mixes: Sequence[Mix]) -> Regression:
    """Weighted least squares of the mixes' mean energies, see the module.

    Where chi2 says that energies do not add up, the coefficients are widened by Birge's ratio sqrt(chi2 / dof),
    with dof degrees of freedom. Raises JoulebitError when the mixes do not tell the phases apart.
    """
    checked = check_design([mix.executions for mix in mixes])
    names, design = _design([mix.executions for mix in mixes])
    means, variances, scatter = _means(mixes)
    weight = 1 / variances
    covariance: Floats = np.asarray(np.linalg.inv(design.T @ (weight[:, None] * design)), dtype=np.float64)
    solve = covariance @ design.T * weight  # (coefficients, mixes)
    measured = np.array([mean.value for mean in means])
    fitted = design @ (solve @ measured)
    chi2 = float(np.sum(weight * (measured - fitted) ** 2))
    dof, spread_dof = len(mixes) - design.shape[1], _spread_dof(mixes, means)
    p = chi2_tail(chi2, dof, spread_dof)
    energies = []
    for k in range(design.shape[1]):
        quantity = linear([(float(solve[k, i]), mean) for i, mean in enumerate(means)], "J")
        energies.append(
            Quantity(quantity.value, "J", (*quantity.terms, *_lack_of_fit(covariance, k, chi2, dof, p)))
        )
    hat = design @ solve
    left = np.eye(len(mixes)) - hat
    residuals = tuple(
        Residual(mix, means[i], float(fitted[i]), linear(list(zip(left[i].tolist(), means, strict=True)), "J"))
        for i, mix in enumerate(mixes)
    )
    interactions = _interactions(names, design, solve, weight, means)
    by_phase = {**dict(zip(names, energies[1:], strict=True)), OTHER: energies[0]}
    return Regression(by_phase, chi2, dof, spread_dof, p, scatter, checked, residuals, interactions)


def _means(mixes: Sequence[Mix]) -> tuple[list[Quantity], Floats, float | None]:
    """(mean energy of each mix with what its repeats scatter, variance that it has for itself, R)."""
    counts: dict[str, int] = {}
    for mix in mixes:
        for source in {term.source for cell in mix.cells for term in cell.terms}:
            counts[source] = counts.get(source, 0) + 1
    cells = [np.array([sum(t.u**2 for t in c.terms if counts[t.source] == 1) for c in mix.cells]) for mix in mixes]
    floor = max(1e-24 * max(cell.value**2 for mix in mixes for cell in mix.cells), 1e-300)
    cells = [np.maximum(variance, floor) for variance in cells]
    repeats = sum(len(mix.cells) - 1 for mix in mixes)
    scatter = None
    if repeats:
        values = [np.array([cell.value for cell in mix.cells]) for mix in mixes]
        squares = [(v - v.mean()) ** 2 / own for v, own in zip(values, cells, strict=True)]
        scatter = float(sum(square.sum() for square in squares)) / repeats
    means, variances = [], []
    for mix, own in zip(mixes, cells, strict=True):
        count = len(mix.cells)
        mean = linear([(1 / count, cell) for cell in mix.cells], "J")
        variance = float(own.sum()) / count**2
        terms = mean.terms
        if scatter is not None and scatter > 1:
            more = math.sqrt((scatter - 1) * variance)
            spread = Term(
                f"spread of {mix.name}", "spread of the repeats", more, dof=repeats, pool="spread of the mixes"
            )
            terms, variance = (*terms, spread), variance * scatter
        means.append(Quantity(mean.value, "J", terms))
        variances.append(variance)
    return means, np.array(variances), scatter


def _spread_dof(mixes: Sequence[Mix], means: Sequence[Quantity]) -> float:
    """Of the mixes' own variances: the harmonic mean of Welch and Satterthwaite's numbers (GUM G.4.1)."""
    counts: dict[str, int] = {}
    for mean in means:
        for term in mean.terms:
            counts[term.source] = counts.get(term.source, 0) + 1
    doubts = []
    for mean in means:
        own = [term for term in mean.terms if counts[term.source] == 1]
        total = sum(term.u**2 for term in own)
        if total > 0:
            doubts.append(sum(t.u**4 / t.dof for t in own if t.shape == NORMAL) / total**2)
    doubt = float(np.mean(doubts)) if doubts else 0.0
    return 1 / doubt if doubt > 1e-9 else math.inf


def _lack_of_fit(covariance: Floats, k: int, chi2: float, dof: int, p: float) -> tuple[Term, ...]:
    """Terms of coefficient k whose squares add (chi2 / dof - 1) * covariance; none if energies add up."""
    if p >= LEVEL or chi2 <= dof:
        return ()
    shares = np.linalg.cholesky(covariance)[k] * math.sqrt(chi2 / dof - 1)
    return tuple(
        Term(f"lack of fit {j}", "lack of fit", float(share), dof=dof, pool="lack of fit")
        for j, share in enumerate(shares)
        if share != 0
    )


def _interactions(
    names: Sequence[str], design: Floats, solve: Floats, weight: Floats, means: Sequence[Quantity]
) -> tuple[Interaction, ...]:
    """One more coefficient at a time, of the product of two phases' executions."""
    groups: list[tuple[Floats, list[tuple[str, str]], list[tuple[str, str]]]] = []
    for a, b in combinations(range(len(names)), 2):
        column = design[:, 1 + a] * design[:, 1 + b]
        beyond = column - design @ (solve @ column)
        size = float(np.sum(weight * beyond**2))
        if size <= _SAME * float(np.sum(weight * column**2)):
            continue
        slope, pair = weight * beyond / size, (names[a], names[b])
        for other, same, opposite in groups:
            tolerance = _SAME * float(np.abs(other).max())
            if np.allclose(slope, other, atol=tolerance):
                same.append(pair)
                break
            if np.allclose(slope, -other, atol=tolerance):
                opposite.append(pair)
                break
        else:
            groups.append((slope, [pair], []))
    found = [
        Interaction(tuple(same), tuple(opposite), linear(list(zip(slope.tolist(), means, strict=True)), "J"))
        for slope, same, opposite in groups
    ]
    return tuple(sorted(found, key=lambda i: -abs(i.energy.value) / max(i.energy.expanded, 1e-300)))


def chi2_tail(chi2: float, dof: int, spread_dof: float) -> float:
    """Probability that chance exceeds a chi^2 whose uncertainties have spread_dof degrees of freedom themselves.

    chi2 / dof follows the F distribution; where the uncertainties are known (infinity), chi2 its own.
    """
    from scipy.special import chdtrc, fdtrc

    return float(chdtrc(dof, chi2) if math.isinf(spread_dof) else fdtrc(dof, spread_dof, chi2 / dof))
