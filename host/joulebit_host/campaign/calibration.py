"""Fits an energy table to measured runs: pJ per multiply-accumulate by width, per operation, per byte by level,
and the static power.

    E_i = sum over k of n_ik c_k + P seconds_i,    all c_k >= 0 and P >= 0

n are a run's counters, E its measured energy. Weighted least squares under those bounds gives the values
(C. Lawson and R. Hanson, Solving Least Squares Problems, 1974, chapter 23); weights from what each run has for
itself (noise, quantisation, its own idle drift).

**Intervals.** Without the bounds a coefficient is linear in the energies, so that what the runs share (gain,
offset of one meter) goes through with its sign, and its k = 2 interval is as good as theirs. The bounds are
knowledge of another kind: the interval is cut to [0, most], most being what no run leaves room for, the smallest
of (E_i + U_i) / n_ik. A value on its bound keeps the interval of the free fit above it. `u_k2` is the distance
from the value to the farther end. Where the residuals are larger than the weights say, everything is widened
(R. Birge, Phys. Rev. 40 (1932) 207).

**What the data cannot resolve.** Singular values of the weighted design, columns scaled to length 1: along a
direction with singular value s the scaled coefficients are known to 2 / s (k = 2). Where this exceeds the length
of the whole solution, the data say nothing about that direction. Coefficients that take part in it are named
together with the combinations of them that are determined. A coefficient is resolved if its interval leaves 0
out and it takes part in no direction that is exactly open.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from joulebit.errors import JoulebitError
from joulebit_host.session.uncertainty import Quantity, Term, linear
from joulebit_host.session.window import Floats

STATIC = "static"
_EXACT = 1e-9  #: singular values below this share of the largest are zero
_TAKES_PART = 0.1  #: share of a direction from which a coefficient is named with it


@dataclass(frozen=True)
class MeasuredRun:
    """One measured run.

    Attributes:
        name: of the measurement.
        work: equal for repeats of the same work.
        counters: of one run, see `joulebit.energy.counters`.
        seconds: of one run.
        energy: of one run, J.
    """

    name: str
    work: str
    counters: Mapping[str, int]
    seconds: float
    energy: Quantity


@dataclass(frozen=True)
class Coefficient:
    """One coefficient of the table.

    Attributes:
        name: mac.8x8, op.int16, memory.dram, static.
        unit: pJ, or W for static.
        value: of the bounded fit.
        low, high: k = 2 interval.
        resolved: see the module.
        reason: why not; "" if it is.
    """

    name: str
    unit: str
    value: float
    low: float
    high: float
    resolved: bool
    reason: str = ""

    @property
    def u_k2(self) -> float:
        """Half-width about the value that covers the interval."""
        return max(self.high - self.value, self.value - self.low, 0.0)

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        found = {key: getattr(self, key) for key in ("name", "value", "u_k2", "unit", "low", "high", "resolved")}
        return {**found, "reason": self.reason}


@dataclass(frozen=True, eq=False)
class Solution:
    """A fit in J per unit of each coefficient.

    Attributes:
        names: p coefficients.
        values: (p,) of the bounded fit.
        free: the same without bounds, with budgets; in exactly open directions arbitrary.
        gain: (p, n): free = gain @ energies.
        scale: (p,) lengths of the weighted columns.
        open_directions: (d, p) in scaled coefficients: that the data say nothing about.
        exact: (e, p) of these, the exactly open ones.
        chi2, dof: of the bounded fit.
    """

    names: tuple[str, ...]
    values: Floats
    free: tuple[Quantity, ...]
    gain: Floats
    scale: Floats
    open_directions: Floats
    exact: Floats
    chi2: float
    dof: int


@dataclass(frozen=True)
class Calibration:
    """What a fit found; see `calibrate`."""

    coefficients: tuple[Coefficient, ...]
    unresolved: tuple[dict[str, Any], ...]
    left_out: tuple[dict[str, Any], ...]
    chi2: float
    dof: int
    runs: int

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "coefficients": [coefficient.as_json() for coefficient in self.coefficients],
            "unresolved": list(self.unresolved),
            "left_out": list(self.left_out),
            "chi2": self.chi2,
            "dof": self.dof,
            "runs": self.runs,
        }


def coefficient_of(counter: str) -> str | None:
    """The coefficient that a counter is multiplied by; None for one that costs nothing."""
    family, _, rest = counter.partition(".")
    kind = rest.partition(".")[2]
    prefix = {"macs": "mac", "ops": "op", "bytes": "memory"}.get(family)
    return f"{prefix}.{kind}" if prefix and kind else None


def design(runs: Sequence[MeasuredRun], names: Sequence[str] | None = None) -> tuple[tuple[str, ...], Floats]:
    """(coefficients, (n, p) energy in J of one pJ or W of each). names: by default all that occur, and static."""
    sums = []
    for run in runs:
        found: dict[str, float] = {STATIC: run.seconds}
        for counter, count in run.counters.items():
            name = coefficient_of(counter)
            if name is not None and count:
                found[name] = found.get(name, 0.0) + count * 1e-12
        sums.append(found)
    if names is None:
        names = sorted({name for found in sums for name in found}, key=lambda name: (name == STATIC, name))
    return tuple(names), np.array([[found.get(name, 0.0) for name in names] for found in sums])


def own_uncertainties(energies: Sequence[Quantity]) -> Floats:
    """(n,) standard uncertainties from the terms that no other energy shares, never exactly 0."""
    counts: dict[str, int] = {}
    for energy in energies:
        for term in energy.terms:
            counts[term.source] = counts.get(term.source, 0) + 1
    own = [math.sqrt(sum(t.u**2 for t in e.terms if counts[t.source] == 1)) for e in energies]
    floor = [1e-6 * max(abs(e.value), 1e-12) for e in energies]
    return np.maximum(own, floor)


def solve(runs: Sequence[MeasuredRun], names: Sequence[str] | None = None) -> Solution:
    """The fit. Raises JoulebitError for fewer than two runs."""
    from scipy.optimize import nnls

    if len(runs) < 2:
        raise JoulebitError(f"a calibration needs at least 2 valid runs with counters, got {len(runs)}")
    found, matrix = design(runs, names)
    energies = [run.energy for run in runs]
    own = own_uncertainties(energies)
    weighted = matrix / own[:, None]
    scale = np.linalg.norm(weighted, axis=0)
    scale[scale == 0] = 1.0
    scaled, target = weighted / scale, np.array([e.value for e in energies]) / own
    bounded, residual = nnls(scaled, target)
    left, singular, right = np.linalg.svd(scaled, full_matrices=True)
    padded = np.zeros(scaled.shape[1])
    padded[: len(singular)] = singular
    exact = padded <= _EXACT * padded[0]
    known = 2 / np.maximum(padded, 1e-300)
    open_ = exact | (known > np.linalg.norm(bounded))
    good = np.flatnonzero(~exact)
    inverse = right[good].T @ (left[:, good].T / padded[good, None])
    gain = inverse / scale[:, None] / own
    dof = len(runs) - int(np.sum(bounded > 0))
    chi2 = float(residual**2)
    spread = np.sqrt(np.sum(inverse**2, axis=1)) / scale
    factor = math.sqrt(max(chi2 / dof - 1, 0.0)) if dof >= 1 else 0.0
    free = []
    for k, name in enumerate(found):
        quantity = linear([(float(gain[k, r]), energy) for r, energy in enumerate(energies)], "J")
        if factor:
            term = Term(f"lack of fit of {name}", "lack of fit", float(factor * spread[k]), dof=dof)
            quantity = replace(quantity, terms=(*quantity.terms, term))
        free.append(quantity)
    return Solution(found, bounded / scale, tuple(free), gain, scale, right[open_], right[exact], chi2, dof)


def calibrate(runs: Sequence[MeasuredRun], test: bool = True) -> Calibration:
    """Coefficients with intervals, what cannot be resolved and, with `test`, how well each work is predicted from
    the others.
    """
    solution = solve(runs)
    _, matrix = design(runs, solution.names)
    most = _most(runs, matrix)
    coefficients = [_coefficient(solution, k, float(most[k])) for k in range(len(solution.names))]
    groups = list(_open_groups(solution))
    for group in groups:
        for k in group["members"]:
            c = coefficients[k]
            if not c.resolved:
                coefficients[k] = replace(c, reason=group["text"])
    unresolved = [{"names": group["names"], "text": group["text"]} for group in groups]
    named = {name for group in unresolved for name in group["names"]}
    unresolved += [
        {"names": [c.name], "text": f"{c.name}: {c.reason}"}
        for c in coefficients
        if not c.resolved and c.name not in named
    ]
    left_out = list(leave_one_out(runs)) if test else []
    return Calibration(
        tuple(coefficients), tuple(unresolved), tuple(left_out), solution.chi2, solution.dof, len(runs)
    )


def _most(runs: Sequence[MeasuredRun], matrix: Floats) -> Floats:
    """(p,) what each coefficient can be at most if no other costs anything."""
    top = np.array([max(run.energy.value + run.energy.expanded, 0.0) for run in runs])
    with np.errstate(divide="ignore"):
        return np.asarray(np.min(np.where(matrix > 0, top[:, None] / matrix, np.inf), axis=0))


def _coefficient(solution: Solution, k: int, most: float) -> Coefficient:
    name, value, free = solution.names[k], float(solution.values[k]), solution.free[k]
    unit = "W" if name == STATIC else "pJ"
    if len(solution.exact) and np.max(np.abs(solution.exact[:, k])) > 1e-6:
        return Coefficient(name, unit, value, 0.0, most, False, "these runs leave it open")
    low, high = max(free.value - free.expanded, 0.0), min(max(free.value + free.expanded, 0.0), most)
    if low > 0:
        return Coefficient(name, unit, value, low, max(high, low), True)
    reason = f"not resolved from 0: at most {high:.4g} {unit}"
    return Coefficient(name, unit, value, 0.0, high, False, reason)


def _open_groups(solution: Solution) -> Iterable[dict[str, Any]]:
    """Sets of coefficients that the data do not tell apart, with the combinations that they do determine."""
    directions = solution.open_directions
    if not len(directions):
        return
    # A basis in which each direction has few members, so that unrelated ones do not mix.
    reduced = _row_echelon(directions)
    taking = np.abs(reduced) > _TAKES_PART * np.max(np.abs(reduced), axis=1, keepdims=True)
    waiting = list(range(len(reduced)))
    while waiting:
        rows = [waiting.pop(0)]
        members = set(np.flatnonzero(taking[rows[0]]).tolist())
        grown = True
        while grown:
            grown = False
            for row in list(waiting):
                own = set(np.flatnonzero(taking[row]).tolist())
                if own & members:
                    members |= own
                    rows.append(row)
                    waiting.remove(row)
                    grown = True
        at = sorted(members)
        yield _group(solution, at, reduced[rows][:, at])


def _group(solution: Solution, members: Sequence[int], directions: Floats) -> dict[str, Any]:
    names = [solution.names[k] for k in members]
    rank = min(len(directions), len(members))
    complement = np.linalg.svd(directions, full_matrices=True)[2][rank:]
    texts = []
    if len(complement):
        physical = complement * solution.scale[list(members)]
        for row in _row_echelon(physical):
            seen = [(float(f), k) for f, k in zip(row, members, strict=True) if abs(f) > 1e-9 * np.abs(row).max()]
            value = sum(f * float(solution.values[k]) for f, k in seen)
            width = linear([(f, solution.free[k]) for f, k in seen], "J").expanded
            formula = " + ".join(
                solution.names[k] if f == 1 else f"{f:.4g} {solution.names[k]}" for f, k in seen
            ).replace("+ -", "- ")
            texts.append(f"{formula} = {value:.5g} +- {width:.2g}")
    if len(members) == 1:
        text = f"{names[0]} adds too little to the energy of any run"
    elif texts:
        text = f"{', '.join(names)} are not told apart: measure works that have them in other proportions; "
        text += f"determined: {'; '.join(texts)}"
    else:
        text = f"{', '.join(names)} add too little to the energy of any run"
    return {"names": names, "members": list(members), "text": text}


def _row_echelon(rows: Floats) -> Floats:
    """Reduced row echelon form, leading entries 1, pivots on the largest entries left."""
    rows = np.array(rows, dtype=np.float64)
    used: list[int] = []
    for i in range(len(rows)):
        candidates = [c for c in range(rows.shape[1]) if c not in used]
        column = max(candidates, key=lambda c: abs(rows[i, c]))
        if abs(rows[i, column]) < 1e-12:
            continue
        rows[i] /= rows[i, column]
        for j in range(len(rows)):
            if j != i:
                rows[j] -= rows[j, column] * rows[i]
        used.append(column)
    rows[np.abs(rows) < 1e-9 * np.max(np.abs(rows), axis=1, keepdims=True)] = 0.0
    return rows


def leave_one_out(runs: Sequence[MeasuredRun]) -> Iterable[dict[str, Any]]:
    """For each work: fitted to all others, what is predicted for it, and the residual in its uncertainty.

    Yields {work, measured_j, predicted_j, residual_j, u_k2_j, residual_u, within_k2, reason}; predicted_j is None,
    with a reason, where the others do not determine it.
    """
    for work in dict.fromkeys(run.work for run in runs):
        out = [run for run in runs if run.work == work]
        rest = [run for run in runs if run.work != work]
        measured = linear([(1 / len(out), run.energy) for run in out], "J")
        entry: dict[str, Any] = {"work": work, "measured_j": measured.value, "predicted_j": None}
        entry.update(residual_j=None, u_k2_j=None, residual_u=None, within_k2=None)
        names, rows = design(out)
        row = rows.mean(axis=0)
        known = design(rest)[0] if rest else ()
        unseen = [name for name in names if name not in known]
        if len(rest) < 2 or unseen:
            what = ", ".join(unseen) or "anything"
            yield {**entry, "reason": f"the other runs do not hold {what}"}
            continue
        solution = solve(rest)
        row = design(out, solution.names)[1].mean(axis=0)
        scaled = row / solution.scale
        missing = float(np.linalg.norm(solution.exact @ scaled)) if len(solution.exact) else 0.0
        if missing > 1e-6 * float(np.linalg.norm(scaled)):
            yield {**entry, "reason": "the other runs leave a combination open that it needs"}
            continue
        predicted = float(row @ solution.values)
        parts = [(1.0, measured)] + [(-float(row[k]), free) for k, free in enumerate(solution.free)]
        width = linear(parts, "J").expanded
        residual = measured.value - predicted
        entry.update(predicted_j=predicted, residual_j=residual, u_k2_j=width)
        entry.update(residual_u=2 * residual / width if width else None, within_k2=abs(residual) <= width)
        yield {**entry, "reason": ""}
