"""Simulated sessions whose samples come as bytes: each serial meter's emulator, and the decoder that reads the
real one.

The emulator measures the device of `simulated` with a gain, an offset, noise, a clock error and a delay drawn
within the limits that the meter's options state; its frames go through the registry's decoder. Rounding is what
the frames' digits do. Nothing passes between emulator and decoder but bytes.
"""

from __future__ import annotations

import math
from itertools import accumulate

import numpy as np

from joulebit_host.meters.base import Sample
from joulebit_host.session.simulated import Device, SimulatedSession, draw_plan, simulated_session

#: Kinds and the power scale of the work that they are meant for.
KINDS = {"ina226": 1.0, "wt300": 1.0, "ruideng": 1.0, "scpi": 1.0, "pzem": 8.0, "wattsup": 20.0}
#: Options that differ from the defaults, and what the emulator must be told so that it plays the same meter.
_OPTIONS = {"wt300": {"current_range_a": 0.5}, "ina226": {"interval_s": 0.1}}
_LATENCY_S = {"wt300": 0.012, "scpi": 0.02}  # of one answer, where a poll is several
_EMULATOR = {"scpi": {"questions": ("MEAS:VOLT?", "MEAS:CURR?")}}


class DeviceCurve:
    """A simulated device as what an emulator measures."""

    def __init__(self, device: Device) -> None:
        """device: whose power is measured."""
        self._device = device
        self._before = [0.0, *accumulate(device.phases_w)]
        self._last = (0.0, self._until(0.0))

    def power_w(self, t_s: float) -> float:
        """Power at an instant."""
        d = self._device
        s = min(max((t_s - d.drift_start_s) / (d.drift_end_s - d.drift_start_s), 0.0), 1.0)
        idle_w: float = d.idle_w + d.drift_w * s**d.path
        since_s = t_s - d.start_s
        if since_s < 0 or t_s >= d.end_s:
            return idle_w
        count = len(d.phases_w)
        phase = int((since_s / d.step_s) % 1.0 * count) % count
        swing_w = d.swing_w * math.sin(2 * math.pi * since_s / d.swing_s)
        return idle_w + d.busy_w + swing_w + d.phases_w[phase]

    def energy_j(self, start_s: float, end_s: float) -> float:
        """Energy between two instants."""
        before_j = self._last[1] if self._last[0] == start_s else self._until(start_s)
        self._last = (end_s, self._until(end_s))
        return self._last[1] - before_j

    def _until(self, t_s: float) -> float:
        """As `Device.energy_j`, for one time: an emulator asks for thousands, one by one."""
        d = self._device
        length_s = d.drift_end_s - d.drift_start_s
        s = (t_s - d.drift_start_s) / length_s
        rising: float = min(max(s, 0.0), 1.0) ** (d.path + 1) / (d.path + 1) + max(s - 1, 0.0)
        since_s = min(max(t_s, d.start_s), d.end_s) - d.start_s
        swing_j = d.swing_w * d.swing_s / (2 * math.pi) * (1 - math.cos(2 * math.pi * since_s / d.swing_s))
        count = len(d.phases_w)
        part = (since_s / d.step_s) % 1.0 * count
        whole = int(part) % count
        fast_j = (self._before[whole] + (part - math.floor(part)) * d.phases_w[whole]) * d.step_s / count
        return d.idle_w * t_s + d.drift_w * length_s * rising + d.busy_w * since_s + swing_j + fast_j


def draw_frames(random: np.random.Generator, kind: str) -> SimulatedSession:
    """A session measured through the frames of this kind of meter."""
    from joulebit_host.meters.emulators.catalogue import EMULATORS
    from joulebit_host.meters.emulators.emulator import Imperfections, Supply
    from joulebit_host.meters.emulators.faults import FaultPlan
    from joulebit_host.meters.registry import kind as kind_of
    from joulebit_host.meters.registry import options_for

    volts = 12.0
    options = options_for(kind, _OPTIONS.get(kind, {}))
    accuracy, interval_s = options.accuracy(), options.interval()
    plan = draw_plan(random, interval_s, jumps=False, scale=KINDS[kind])
    spacing_s = float(np.exp(random.uniform(math.log(interval_s / 10), math.log(2 * interval_s))))
    flaws = Imperfections(
        gain=random.uniform(-accuracy.gain, accuracy.gain),
        offset_a=random.uniform(-accuracy.offset_w, accuracy.offset_w) / volts,
        noise_w=float(np.exp(random.uniform(math.log(2e-3), math.log(0.05)))) * KINDS[kind],
        noise_correlation_s=spacing_s,
        clock_error=random.uniform(-5e-5, 5e-5),
        latency_s=random.uniform(0, _LATENCY_S.get(kind, accuracy.time_s)),
    )
    emulator = EMULATORS[kind](
        DeviceCurve(plan.device),
        interval_s=interval_s,
        supply=Supply(volts),
        imperfections=flaws,
        faults=FaultPlan({"drop": 1e-4}),
        seed=int(random.integers(1 << 30)),
        keep_truths=False,
        **_EMULATOR.get(kind, {}),
    )
    decoder = kind_of(kind).decoder(options)
    samples: list[Sample] = []
    for received in emulator.play(plan.end_s):
        samples += decoder.feed(received)
    return simulated_session(random, plan, options.reading(), interval_s, accuracy, samples)
