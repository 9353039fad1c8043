"""Energy of the phases of a training step: forward, input gradient, weight gradient, update.

Three ways, for what meters can do:

    replay       a phase is repeated by itself for a whole window; its net energy per repeat is its energy
    markers      the work marks when it enters each phase; needs a meter much faster than a phase
    regression   energies of runs that execute the phases another number of times: see `regression`

Whichever way, the sum of the phases must be the whole step within the joint interval (`PhaseEnergies.additive`): a
phase that behaves otherwise alone than in its place, or marks that are late, show there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from joulebit.errors import JoulebitError
from joulebit_host.session.budget import MeterFacts, WindowEnergy, term_name
from joulebit_host.session.energy import energies, seconds_in_gaps
from joulebit_host.session.regression import OTHER, Mix, Regression, regress
from joulebit_host.session.uncertainty import Quantity, Term, difference, limits, linear
from joulebit_host.session.window import Floats, Pieces, Window

PHASES = ("forward", "input_gradient", "weight_gradient", "update")
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
        fit: of the regression, else None.
        seconds: by markers, how long the phases lasted; else empty.
    """

    method: str
    energies: Mapping[str, Quantity]
    whole: Quantity
    difference: Quantity
    reasons: tuple[dict[str, str], ...] = ()
    fit: Regression | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def sums_up(self) -> bool:
        """Whether the sum is the whole within the joint k = 2 interval."""
        return abs(self.difference.value) <= self.difference.expanded + 1e-9 * abs(self.whole.value)

    @property
    def additive(self) -> bool:
        """Whether the sum is the whole, and a regression's mixes are sums as well."""
        return self.sums_up and (self.fit is None or self.fit.fits)

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        reasons = list(self.reasons)
        if not self.sums_up:
            text = f"the phases differ from the whole by {self.difference.value:+.4g} J, more than the "
            text += f"{self.difference.expanded:.3g} J that k = 2 allows"
            reasons.append({"rule": "not_additive", "text": text})
        return {
            "method": self.method,
            "energies": {name: quantity.as_json() for name, quantity in self.energies.items()},
            "whole": self.whole.as_json(),
            "difference": self.difference.as_json(),
            "additive": self.additive,
            "fit": self.fit.as_json() if self.fit else None,
            "seconds": dict(self.seconds),
            "valid": not reasons,
            "reasons": reasons,
        }


def _finish(
    method: str,
    found: Mapping[str, Quantity],
    whole: Quantity,
    reasons: Sequence[dict[str, str]] = (),
    fit: Regression | None = None,
    seconds: Mapping[str, float] | None = None,
) -> PhaseEnergies:
    total = linear([(1.0, quantity) for quantity in found.values()], "J")
    return PhaseEnergies(method, dict(found), whole, difference(total, whole), tuple(reasons), fit, seconds or {})


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
    lasted = {phase: float(seconds[names == phase].sum()) for phase in power}
    return _finish("markers", found, energy.gross, reasons, seconds=lasted)


def phases_by_regression(mixes: Sequence[Mix], whole: Quantity) -> PhaseEnergies:
    """Phases from runs that execute them another number of times; see `regression`.

    Args:
        mixes: net energies of one run of each mix.
        whole: net energy of one run that executes each phase once, J, measured by itself.

    Returns energies of one execution; `other` is the rest of a run.
    """
    fit = regress(mixes)
    reasons = []
    if not fit.fits:
        text = f"the mixes are no sums of their phases: chi^2 = {fit.chi2:.3g} with {fit.dof} degrees of freedom "
        text += f"(p = {fit.p:.1g})"
        if fit.interactions:
            worst = fit.interactions[0]
            text += (
                f"; most of it goes with {worst.text}: {worst.energy.value:+.3g} +- {worst.energy.expanded:.2g} J"
            )
        reasons.append({"rule": "lack_of_fit", "text": text})
    return _finish("regression", fit.energies, whole, reasons, fit)


def phases_by_shares(windows: Sequence[tuple[Mapping[str, Any], Quantity, int]], whole: Quantity) -> PhaseEnergies:
    """Net energies by markers of one run, means over windows.

    Args:
        windows: of each what `phases_by_markers` gave as JSON (gross energies), the window's idle energy, of which
            a phase has the share of its time, and how many runs it holds.
        whole: net energy of one run.
    """
    names = list(dict.fromkeys(name for marked, _, _ in windows for name in marked["energies"]))
    found = {}
    for name in names:
        parts: list[tuple[float, Quantity]] = []
        for marked, idle, repeats in windows:
            if name in marked["energies"]:
                weight = 1 / (len(windows) * repeats)
                share = marked["seconds"][name] / sum(marked["seconds"].values())
                parts += [(weight, Quantity.from_json(marked["energies"][name])), (-weight * share, idle)]
        found[name] = linear(parts, "J")
    short = [r for marked, _, _ in windows for r in marked["reasons"] if r["rule"] == "phase_too_short"]
    reasons = {reason["text"].partition(" lasts")[0]: reason for reason in short}
    return _finish("markers", found, whole, list(reasons.values()))
