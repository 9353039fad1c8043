"""Gross, idle and net energy of a window, each with its budget.

Method and terms (E energy, T seconds of the window, P mean power; JCGM 100:2008 for the combination):

    term              size                                                       source
    noise             sqrt(V * sum of w_i^2): w_i the weight of reading i         GUM 5.1.2; `noise`
    gain              limit * E                                                  data sheet; rectangular
    offset            limit * T                                                  data sheet; rectangular
    quantisation      power: q T / sqrt(2 pi^2) * sqrt(sum exp(-(2 pi k s / q)^2) / k^2)
                      accumulator: at most r / sqrt(12) at either edge           GUM F.2.2.1; see below
    edges, time       |change of power| * time error of the samples; see below
    edges, filling    what interpolating an interval that holds a jump may miss  `energy`
    marks             P * error of the mark's time, at each edge
    gaps              seconds * (max - min) / 2                                  bounded, never bridged
    idle drift        |change of idle power| / 2 * T, noise taken off            rectangular; net only

net = gross - idle power * T, never clamped at 0. Idle power is the line from the idle before to the idle after,
at the window's middle. Terms that idle and gross share (gain, offset, marks) carry one source and so cancel or
stay as they must: offset drops out of net, gain acts on net.

**Noise.** V is the long-run variance of one reading: its variance with autocorrelation. It is taken where the
true power is constant, that is from idle: in the window the work's own changes would be counted as noise,
though a trapezoid follows slow ones and an averaging meter all of them. What the window's readings scatter more
from one to the next than the idle ones (noise that grows with power; for instants, also the work's fast changes
between the samples) is added as white noise; for an averaging meter at most as much as noise in proportion to
the power would be. Without idle readings V comes from the window. An accumulator's noise is that of the power
readings beside it, in idle; without them it is what its own counts leave possible (`accumulator`).

**Time.** If all samples are late by t, the window [a, b] is in truth [a - t, b - t], and its energy is off by
(P(a) - P(b)) t. With a jump J up at a and down at b, one of the two lies on the far side of its jump, whichever
sign t has: -J |t|, and never two of them. So an error that is common to all samples (the data sheet's, and the
window's own by a remote clock) is one term, by the largest change of power across an edge or between the two; a
sample's own error counts at its edge. A change counts as far as noise and rounding of the few readings beside the
edges do not explain it, and where it lies within reach of the edge (`energy`): noise and rounding have terms of
their own, and a late meter does not move into the window what is seconds away.

**Quantisation.** Rounding to steps of q is a constant error of rms q / sqrt(12) when readings do not move, and
vanishes in a mean when noise of standard deviation s moves them over the steps (dithering); the formula is the
rms over all positions between two steps of the mean rounding error with normal noise (B. Widrow and I. Kollar,
Quantization Noise, 2008, chapter 4: the characteristic function at multiples of 2 pi / q). s is seen in the
readings, less q^2 / 12; where it is about q / 4 that sees too little, and the term is up to 3 times too large.
How an accumulator rounds at an edge: `accumulator`.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from joulebit_host.meters.base import Accuracy, Reading
from joulebit_host.session.accumulator import accumulator_noise, edge_rounding_j
from joulebit_host.session.energy import Integral, change_beyond_noise, integrate
from joulebit_host.session.noise import NO_NOISE, Noise, noise_of
from joulebit_host.session.uncertainty import Quantity, Term, difference, limits, linear
from joulebit_host.session.window import Pieces, Window

_FEWEST_FOR_NOISE = 16  #: idle readings from which noise can be told


@dataclass(frozen=True)
class MeterFacts:
    """What is known about the meter.

    Attributes:
        reading, interval_s, accuracy: see `meters.base`.
        name: equal for measurements that share its gain and offset errors: same device, same settings.
    """

    reading: Reading
    interval_s: float
    accuracy: Accuracy
    name: str

    @classmethod
    def of(cls, header: Mapping[str, Any]) -> MeterFacts:
        """From the field `meter` of an evidence log's header."""
        key = json.dumps([header["kind"], header["identity"], header["settings"]], sort_keys=True)
        name = f"{header['kind']} {hashlib.sha256(key.encode()).hexdigest()[:8]}"
        limits_of = {**header["accuracy"], "assumed": tuple(header["accuracy"].get("assumed", ()))}
        return cls(Reading(header["reading"]), header["interval_s"], Accuracy(**limits_of), name)


@dataclass(frozen=True, eq=False)
class Idle:
    """Idle power before and after the work.

    Attributes:
        levels: mean power of each idle window, in W, with the middle of its time.
        windows: their integrals.
        noise: of one reading, see `Noise`; for accumulators long_run_w2 is that of a mean over one second.
        drift: after - before, without what both share; None with one window only.
    """

    levels: tuple[tuple[float, Quantity], ...]
    windows: tuple[Integral, ...]
    noise: Noise
    drift: Quantity | None

    def power(self, t_s: float, session: str) -> Quantity:
        """Idle power at a time, on the line from before to after; W."""
        if len(self.levels) == 1:
            return self.levels[0][1]
        (t0, before), (t1, after) = self.levels[0], self.levels[-1]
        share = min(max((t_s - t0) / (t1 - t0), 0.0), 1.0)
        level = linear([(1 - share, before), (share, after)], "W")
        assert self.drift is not None
        change_w = math.sqrt(max(self.drift.value**2 - self.drift.u**2, 0.0))
        drift = limits(f"idle drift of {session}", "idle drift", change_w / 2)
        return Quantity(level.value, "W", (*level.terms, drift))


@dataclass(frozen=True, eq=False)
class WindowEnergy:
    """A window's three energies in J, and the integral behind them; idle and net are None without idle windows."""

    window: Window
    integral: Integral
    gross: Quantity
    idle: Quantity | None
    net: Quantity | None


def measure_idle(pieces: Pieces, windows: Sequence[Window], meter: MeterFacts, session: str) -> Idle:
    """Mean power of the idle windows; `session` names what windows of this session share."""
    integrals = tuple(_integrated(pieces, window, meter) for window in windows)
    if meter.reading is Reading.ENERGY:
        noise = _accumulator_noise(pieces, windows, meter)
    else:
        noise = noise_of([integral.values_w for integral in integrals])
    levels = []
    for number, (window, integral) in enumerate(zip(windows, integrals, strict=True)):
        name = f"idle {number} of {session}"
        energy = _gross(window, integral, meter, noise, name, session)
        level = energy.scaled(1 / window.seconds, "W")
        levels.append(((window.start_s + window.end_s) / 2, level))
    drift = difference(levels[-1][1], levels[0][1]) if len(levels) > 1 else None
    return Idle(tuple(levels), integrals, noise, drift)


def measure_window(
    pieces: Pieces, window: Window, meter: MeterFacts, idle: Idle | None, name: str, session: str
) -> WindowEnergy:
    """A window's energies. `name` must differ for each window whose noise is independent."""
    integral = _integrated(pieces, window, meter)
    noise = _noise_in_window(integral, meter, idle)
    gross = _gross(window, integral, meter, noise, name, session)
    if idle is None or not idle.levels:
        return WindowEnergy(window, integral, gross, None, None)
    level = idle.power((window.start_s + window.end_s) / 2, session)
    marks = _marks(window, level.value, name)
    idle_energy = linear([(window.seconds, level), (1.0, Quantity(0.0, "J", marks))], "J")
    return WindowEnergy(window, integral, gross, idle_energy, difference(gross, idle_energy))


def _gross(
    window: Window, integral: Integral, meter: MeterFacts, noise: Noise, name: str, session: str
) -> Quantity:
    accuracy, seconds = meter.accuracy, window.seconds
    terms = [
        limits(f"gain of {meter.name}", term_name("gain", "gain", accuracy), accuracy.gain * integral.energy_j),
        limits(f"offset of {meter.name}", term_name("offset", "offset_w", accuracy), accuracy.offset_w * seconds),
    ]
    if meter.reading is Reading.ENERGY:
        variance = noise.long_run_w2 * seconds
        for edge, side in ((integral.start, "start"), (integral.end, "end")):
            u_j = edge_rounding_j(accuracy.energy_resolution_j, edge, integral.mean_w)
            half = math.sqrt(3.0) * u_j
            terms.append(limits(f"quantisation at the {side} of {name}", f"quantisation, {side}", half))
    else:
        variance = noise.long_run_w2 * integral.sum_w2_s2
        u_w = _quantisation_w(accuracy.power_resolution_w, integral)
        half = math.sqrt(3.0) * u_w * seconds
        terms.append(limits(f"quantisation in {name}", "quantisation", half))
    pool = f"noise of {session}"
    terms.append(Term(f"noise in {name}", "noise", math.sqrt(variance), dof=noise.dof, pool=pool))
    changes_w = [change_beyond_noise(integral.start, integral.end)]
    for edge, side in ((integral.start, "start"), (integral.end, "end")):
        jump_w, filled_j = edge.jump_w, edge.filled_j
        if meter.reading is Reading.ENERGY and edge.interval_s > 0:
            # Neighbouring differences of a coarse accumulator differ by its steps; that is no jump of the power.
            steps_w = 2 * accuracy.energy_resolution_j / edge.interval_s
            jump_w = max(jump_w - steps_w, 0.0)
            changes_w[0] = max(changes_w[0] - steps_w, 0.0)
            filled_j = max(filled_j - edge.outside * (1 - edge.outside) * edge.interval_s * steps_w, 0.0)
        changes_w.append(jump_w)
        own_j = jump_w * edge.time_error_s
        terms += [
            limits(f"own time at the {side} of {name}", f"edge, {side}: time of its sample", own_j),
            limits(f"filling at the {side} of {name}", f"edge, {side}: interpolation", filled_j),
        ]
    common_j = max(changes_w) * (accuracy.time_s + window.shift_error_s)
    label = term_name("edges: time of the samples", "time_s", accuracy)
    terms.append(limits(f"time in {name}", label, common_j))
    terms += _marks(window, integral.mean_w, name)
    terms.append(limits(f"gaps in {name}", "gaps", integral.gap_j))
    return Quantity(integral.energy_j, "J", tuple(term for term in terms if term.u != 0))


def _integrated(pieces: Pieces, window: Window, meter: MeterFacts) -> Integral:
    """An accumulator has no steps of power: those of its energy are taken off in `_gross`."""
    step_w = 0.0 if meter.reading is Reading.ENERGY else meter.accuracy.power_resolution_w
    return integrate(pieces, window, step_w, meter.accuracy.time_s)


def term_name(name: str, limit: str, accuracy: Accuracy) -> str:
    """A term's name, which says where its limit is not from a data sheet."""
    return f"{name} (assumed)" if limit in accuracy.assumed else name


def _marks(window: Window, power_w: float, name: str) -> tuple[Term, ...]:
    """What errors of the marks' times do to an energy at this power; the earlier start and the later end add."""
    if window.edge_error_s == 0 or power_w == 0:
        return ()
    return tuple(
        limits(f"mark at the {side} of {name}", f"edge, {side}: time of the mark", power_w * window.edge_error_s)
        for side in ("start", "end")
    )


def _noise_in_window(integral: Integral, meter: MeterFacts, idle: Idle | None) -> Noise:
    if meter.reading is Reading.ENERGY:
        return idle.noise if idle is not None else NO_NOISE
    own = noise_of([integral.values_w])
    if idle is None or idle.noise.count < _FEWEST_FOR_NOISE:
        return own
    base = idle.noise
    excess = max(own.fast_w2 - base.fast_w2, 0.0)
    if meter.reading is Reading.AVERAGE:
        idle_w = abs(float(np.mean([level.value for _, level in idle.levels])))
        growth = (integral.mean_w / idle_w) ** 2 - 1 if idle_w > 0 else math.inf
        excess = min(excess, max(growth, 0.0) * base.fast_w2)
    total = base.long_run_w2 + excess
    if total <= 0:
        return Noise(0.0, own.fast_w2, own.variance_w2, 0.5, math.inf, own.count)
    doubt = base.long_run_w2**2 / base.dof + excess**2 / max(2 * own.count / 3, 1)
    dof = total**2 / doubt if doubt > 0 else math.inf
    tau = total / (2 * own.variance_w2) if own.variance_w2 > 0 else 0.5
    return Noise(total, own.fast_w2, own.variance_w2, tau, dof, own.count)


def _accumulator_noise(pieces: Pieces, windows: Sequence[Window], meter: MeterFacts) -> Noise:
    """Noise of an accumulator's mean power over one second, from idle: of the power readings beside it where the
    meter gives them, else of the accumulator itself.
    """
    inside = [(pieces.edge_s >= w.start_s) & (pieces.edge_s <= w.end_s) for w in windows]
    powers = [pieces.end_w[at] for at in inside]
    if all(len(power) >= _FEWEST_FOR_NOISE and not np.isnan(power).any() for power in powers):
        noise = noise_of(powers)
        return replace(noise, long_run_w2=noise.long_run_w2 * meter.interval_s)
    return accumulator_noise(pieces, windows, meter.accuracy.energy_resolution_j)


def _quantisation_w(step_w: float, integral: Integral) -> float:
    """Standard uncertainty of the mean power from rounding to steps, with the dithering that is seen."""
    if step_w <= 0:
        return 0.0
    scatter2 = float(np.var(integral.values_w)) if len(integral.values_w) else 0.0
    dither2 = max(scatter2 - step_w**2 / 12, 0.0) / step_w**2
    harmonics = np.arange(1, 200)
    total = float(np.sum(np.exp(-4 * math.pi**2 * harmonics**2 * dither2) / harmonics**2))
    return step_w * math.sqrt(total / 2) / math.pi
