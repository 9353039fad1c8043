"""Simulated sessions whose samples come as bytes: each serial meter's emulator, and the decoder that reads the
real one.

The emulator measures the device of `simulated` with a gain, an offset, noise, a clock error and a delay drawn
within the limits that the meter's options state; its frames go through the registry's decoder. Rounding is what
the frames' digits do. Nothing passes between emulator and decoder but bytes.
"""

from __future__ import annotations

import math

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

    def power_w(self, t_s: float) -> float:
        """Power at an instant."""
        return float(self._device.power_w(np.array([t_s]))[0])

    def energy_j(self, start_s: float, end_s: float) -> float:
        """Energy between two instants."""
        energy = self._device.energy_j(np.array([start_s, end_s]))
        return float(energy[1] - energy[0])


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
