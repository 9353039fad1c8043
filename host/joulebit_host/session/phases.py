"""Energy of the phases of a training step: forward, input gradient, weight gradient, update.

Three ways, for what meters can do:

    replay       a phase is repeated by itself for a whole window; its net energy per repeat is its energy
    markers      the work marks when it enters each phase; needs a meter much faster than a phase
    regression   mean powers of windows with different mixes of the phases: P = P0 + sum of f_k p_k

Whichever way, the sum of the phases must be the whole step within the joint interval (`PhaseEnergies.additive`): a
phase that behaves otherwise alone than in its place, or marks that are late, show there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from joulebit.errors import JoulebitError
from joulebit_host.session.budget import MeterFacts, WindowEnergy, term_name
from joulebit_host.session.energy import energies, seconds_in_gaps
from joulebit_host.session.uncertainty import Quantity, Term, difference, limits, linear
from joulebit_host.session.window import Floats, Pieces, Window

if TYPE_CHECKING:
    from rich.table import Table

PHASES = ("forward", "input_gradient", "weight_gradient", "update")
OTHER = "other"  #: time of a window that no phase claims
_FEWEST_SAMPLES = 3.0  #: readings per phase, below which marks cannot separate it


@dataclass(frozen=True)
class PhaseEnergies:
    """Energies by phase and their sum against the whole.

    Attributes:
        method: "replay", "markers" or "regression".
        energies: J by phase.
        whole: J of all of them together, measured by itself.
        difference: sum of the phases - whole.
        reasons: rules that are broken; empty when valid.
        fit: for the regression: chi2, dof, P0; else empty.
    """

    method: str
    energies: Mapping[str, Quantity]
    whole: Quantity
    difference: Quantity
    reasons: tuple[dict[str, str], ...] = ()
    fit: Mapping[str, Any] | None = None

    @property
    def additive(self) -> bool:
        """Whether the sum is the whole within the joint k = 2 interval."""
        return abs(self.difference.value) <= self.difference.expanded + 1e-9 * abs(self.whole.value)

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        reasons = list(self.reasons)
        if not self.additive:
            text = f"the phases differ from the whole by {self.difference.value:+.4g} J, more than the "
            text += f"{self.difference.expanded:.3g} J that k = 2 allows"
            reasons.append({"rule": "not_additive", "text": text})
        return {
            "method": self.method,
            "energies": {name: quantity.as_json() for name, quantity in self.energies.items()},
            "whole": self.whole.as_json(),
            "difference": self.difference.as_json(),
            "additive": self.additive,
            "fit": dict(self.fit) if self.fit else None,
            "valid": not reasons,
            "reasons": reasons,
        }

    def table(self, title: str = "") -> Table:
        """For people."""
        from rich.table import Table

        table = Table(title=title or f"energy by phase ({self.method})", title_justify="left")
        table.add_column("phase")
        for heading in ("J", "+- (k = 2)", "share"):
            table.add_column(heading, justify="right")
        for name, quantity in self.energies.items():
            share = f"{100 * quantity.value / self.whole.value:.1f} %" if self.whole.value else ""
            table.add_row(name, f"{quantity.value:.5g}", f"{quantity.expanded:.2g}", share)
        table.add_section()
        table.add_row("whole", f"{self.whole.value:.5g}", f"{self.whole.expanded:.2g}", "")
        verdict = "additive" if self.additive else "NOT additive"
        table.add_row("sum - whole", f"{self.difference.value:.3g}", f"{self.difference.expanded:.2g}", verdict)
        return table


def _finish(
    method: str,
    found: Mapping[str, Quantity],
    whole: Quantity,
    reasons: Sequence[dict[str, str]] = (),
    fit: Mapping[str, Any] | None = None,
) -> PhaseEnergies:
    total = linear([(1.0, quantity) for quantity in found.values()], "J")
    return PhaseEnergies(method, dict(found), whole, difference(total, whole), tuple(reasons), fit)


def phases_by_replay(replays: Mapping[str, tuple[Quantity, int]], whole: tuple[Quantity, int]) -> PhaseEnergies:
    """Phases that were each repeated for a whole window.

    Args:
        replays: by phase, net energy of its window in J and how often it was done.
        whole: net energy of the window of whole steps, and how many.

    Returns energies for one step. Net, since each replay has an idle share of its own length.
    """
    for name, (_, count) in {**replays, "whole": whole}.items():
        if count < 1:
            raise JoulebitError(f"phase {name}: the number of repeats must be at least 1, got {count}")
    found = {name: energy.scaled(1 / count, "J") for name, (energy, count) in replays.items()}
    return _finish("replay", found, whole[0].scaled(1 / whole[1], "J"))


@dataclass(frozen=True, eq=False)
class PhaseMarks:
    """Stretches of a window and the phase in each: start_s, end_s (n,), names (n,)."""

    start_s: Floats
    end_s: Floats
    names: tuple[str, ...]

    @classmethod
    def inside(cls, marks: Sequence[tuple[float, str]], window: Window) -> PhaseMarks | None:
        """The stretches of a window from marks (time, phase entered; "" for none); None without a mark in it."""
        marks = sorted(marks, key=lambda mark: mark[0])
        if not any(window.start_s <= t < window.end_s for t, _ in marks):
            return None
        current = OTHER
        cuts: list[tuple[float, str]] = [(window.start_s, OTHER)]
        for t, name in marks:
            if t <= window.start_s:
                current = name or OTHER
                cuts = [(window.start_s, current)]
            elif t < window.end_s:
                cuts.append((t, name or OTHER))
        times = np.array([t for t, _ in cuts] + [window.end_s])
        return cls(times[:-1], times[1:], tuple(name for _, name in cuts))


def phases_by_markers(
    pieces: Pieces, energy: WindowEnergy, marks: PhaseMarks, meter: MeterFacts, name: str
) -> PhaseEnergies:
    """Gross energy of each phase over a window, from marks.

    What the whole window's budget has by source is shared out: gain and offset by energy and time; noise by
    time. A common error t of the samples' times moves |P - P of the neighbours| * t at every boundary, all
    boundaries alike. A reading that covers a boundary spreads its jump over both sides: by h / 6 of an interval
    h each, on the average over where in the interval the boundary lies.
    """
    found_j = energies(pieces, marks.start_s, marks.end_s)
    missing_s = seconds_in_gaps(pieces, marks.start_s, marks.end_s)
    seconds = marks.end_s - marks.start_s
    names = np.array(marks.names)
    integral, accuracy = energy.integral, meter.accuracy
    noise_w2 = sum(t.u**2 for t in energy.gross.terms if t.name == "noise") / energy.window.seconds
    dof = min((t.dof for t in energy.gross.terms if t.name == "noise"), default=math.inf)
    time_s = accuracy.time_s + energy.window.shift_error_s
    time_s += max(integral.start.time_error_s, integral.end.time_error_s)
    power = {n: float(found_j[names == n].sum() / seconds[names == n].sum()) for n in dict.fromkeys(marks.names)}
    interval_s = meter.interval_s
    found: dict[str, Quantity] = {}
    reasons = []
    for phase, mean_w in power.items():
        at = np.flatnonzero(names == phase)
        spent_s, joules = float(seconds[at].sum()), float(found_j[at].sum())
        gap_s = float(missing_s[at].sum())
        neighbours = [power[marks.names[j]] for i in at for j in (i - 1, i + 1) if 0 <= j < len(names)]
        jumps_w = float(np.sum(np.abs(np.array(neighbours) - mean_w))) if neighbours else 0.0
        middle_w = (integral.min_w + integral.max_w) / 2
        value = joules + gap_s * middle_w
        terms = (
            limits(f"gain of {meter.name}", term_name("gain", "gain", accuracy), accuracy.gain * value),
            limits(
                f"offset of {meter.name}", term_name("offset", "offset_w", accuracy), accuracy.offset_w * spent_s
            ),
            Term(f"noise of {phase} in {name}", "noise", math.sqrt(noise_w2 * spent_s), dof=dof),
            limits(f"time of {phase} in {name}", "boundaries: time of the samples", jumps_w * time_s),
            limits(f"spread of {phase} in {name}", "boundaries: interpolation", jumps_w * interval_s / 6),
            limits(f"gaps of {phase} in {name}", "gaps", gap_s * (integral.max_w - integral.min_w) / 2),
        )
        found[phase] = Quantity(value, "J", tuple(term for term in terms if term.u != 0))
        typical_s = float(np.median(seconds[at]))
        if phase != OTHER and typical_s < _FEWEST_SAMPLES * interval_s:
            text = f"phase {phase} lasts {typical_s:.3g} s, but readings are {interval_s:.3g} s apart; "
            text += f"at least {_FEWEST_SAMPLES:g} readings per phase are needed: replay it instead"
            reasons.append({"rule": "phase_too_short", "text": text})
    return _finish("markers", found, energy.gross, reasons)


@dataclass(frozen=True)
class Mix:
    """A window of the regression.

    Attributes:
        power: its mean power, W.
        shares: share of the time spent in each phase; the rest is idle. 0 where a phase is not named.
    """

    power: Quantity
    shares: Mapping[str, float]


@dataclass(frozen=True)
class Regression:
    """P = P0 + sum of f_k p_k.

    Attributes:
        base: P0, W.
        powers: p_k by phase, W above P0.
        chi2, dof: weighted sum of squared residuals; windows less coefficients.
        residuals_w: by window.
    """

    base: Quantity
    powers: Mapping[str, Quantity]
    chi2: float
    dof: int
    residuals_w: tuple[float, ...]


def regress(mixes: Sequence[Mix]) -> Regression:
    """Weighted least squares (JCGM 100:2008, H.3; weights from what each window has for itself, such as noise).

    The coefficients are linear in the powers, so all that windows share (gain, offset) goes through with its
    sign. Where the residuals are larger than the weights say (chi2 / dof > 1) the covariance is widened by that
    factor (R. Birge, Phys. Rev. 40 (1932) 207), with dof degrees of freedom.

    Raises JoulebitError when the mixes do not tell the phases apart.
    """
    names = list(dict.fromkeys(name for mix in mixes for name in mix.shares))
    design = np.array([[1.0, *[float(mix.shares.get(name, 0.0)) for name in names]] for mix in mixes])
    for mix, row in zip(mixes, design, strict=True):
        if np.any(row < 0) or row[1:].sum() > 1 + 1e-9:
            raise JoulebitError(f"shares of time must be >= 0 and at most 1 together, got {dict(mix.shares)}")
    if len(mixes) < design.shape[1] or np.linalg.cond(design) > 1e6:
        raise JoulebitError(
            f"{len(mixes)} mixes do not tell {', '.join(['idle', *names])} apart: add windows with other shares "
            "of each phase, and one with more idle time"
        )
    counts: dict[str, int] = {}
    for mix in mixes:
        for term in mix.power.terms:
            counts[term.source] = counts.get(term.source, 0) + 1
    own = np.array([math.sqrt(sum(t.u**2 for t in mix.power.terms if counts[t.source] == 1)) for mix in mixes])
    largest = float(own.max())
    weight = 1 / np.maximum(own, 1e-3 * largest) ** 2 if largest > 0 else np.ones(len(mixes))
    covariance = np.linalg.inv(design.T @ (weight[:, None] * design))
    solve = covariance @ design.T * weight
    power = np.array([mix.power.value for mix in mixes])
    residual = power - design @ (solve @ power)
    dof = len(mixes) - design.shape[1]
    chi2 = float(np.sum(weight * residual**2))
    extra = _widening(covariance, chi2, dof, own)
    coefficients = []
    for k in range(design.shape[1]):
        quantity = linear([(float(solve[k, r]), mix.power) for r, mix in enumerate(mixes)], "W")
        more = tuple(
            Term(f"lack of fit {j}", "lack of fit", float(extra[k, j]), dof=dof, pool="lack of fit")
            for j in range(extra.shape[1])
            if extra[k, j] != 0
        )
        coefficients.append(Quantity(quantity.value, "W", quantity.terms + more))
    return Regression(
        coefficients[0], dict(zip(names, coefficients[1:], strict=True)), chi2, dof, tuple(map(float, residual))
    )


def _widening(covariance: Floats, chi2: float, dof: int, own: Floats) -> Floats:
    """(n, n): columns are sources whose squares add (chi2 / dof - 1) * covariance; nothing if the fit is good."""
    if dof < 1 or (own.max() > 0 and chi2 <= dof):
        return np.zeros((len(covariance), 0))
    factor = chi2 / dof - (1.0 if own.max() > 0 else 0.0)
    return np.asarray(np.linalg.cholesky(covariance) * math.sqrt(max(factor, 0.0)))


def phases_by_regression(mixes: Sequence[Mix], seconds: Mapping[str, float], whole: Quantity) -> PhaseEnergies:
    """Phases from windows with different mixes.

    Args:
        mixes: see `regress`.
        seconds: how long each phase lasts in one step.
        whole: net energy of one step, J, measured by itself.
    """
    fit = regress(mixes)
    unknown = [name for name in seconds if name not in fit.powers]
    if unknown:
        raise JoulebitError(f"no mix holds the phase {unknown[0]}; the mixes hold {', '.join(fit.powers)}")
    found = {name: fit.powers[name].scaled(spent_s, "J") for name, spent_s in seconds.items()}
    details = {
        "chi2": fit.chi2,
        "dof": fit.dof,
        "base_w": fit.base.as_json(),
        "residuals_w": list(fit.residuals_w),
    }
    return _finish("regression", found, whole, (), details)
