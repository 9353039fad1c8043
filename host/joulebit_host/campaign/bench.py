"""The virtual bench: a device whose power is known, measured by an emulated meter in virtual time.

The emulator sends bytes as it would to a port, the registry's decoder reads them, the session runs as on a real
bench: only the clock is virtual. The emulator runs in a task of its own: when it asks for the power of a
moment that is still to come, time passes until that moment is over.

What a run of the work is made of, and what it costs, is for the kind of device to say: `virtual` takes it from a
run's counters, `board_bench` from those of a virtual board.

Faults of the meter are those of the emulators (`NAME=RATE`, `NAME@START+SECONDS`, seconds since the meter's
start). Those of the device:

    fail            the work breaks off with an error
    wrong_config    another configuration comes back than was sent
    wrong_weights   the weights are not those of the other runs
    hot             the temperature rises by 3 K per second
    drift           the power at rest changes by `idle_drift_w` when the work begins
    missing         the meter is not there when it is opened
"""

from __future__ import annotations

import bisect
import hashlib
import sys
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from joulebit.energy.table import load_table
from joulebit_host.campaign.device import DeviceError
from joulebit_host.campaign.plan import Workload
from joulebit_host.campaign.reading import CampaignError
from joulebit_host.campaign.schema import DevicePlan, MeterPlan
from joulebit_host.meters.base import Received
from joulebit_host.meters.options import as_settings
from joulebit_host.meters.registry import parse_spec
from joulebit_host.session.clock import Exchange
from joulebit_host.session.session import Marks
from joulebit_host.session.timing import VirtualClock

DEVICE_FAULTS = ("fail", "wrong_config", "wrong_weights", "hot", "drift", "missing")
_MARKED_AT_LEAST_S = 0.02  #: shorter runs are not marked one by one


def check_bench(plan: DevicePlan, meters: Sequence[MeterPlan]) -> None:
    """Raises for a table, a fault or a meter that a virtual bench cannot have."""
    from joulebit_host.meters.emulators.catalogue import EMULATORS
    from joulebit_host.meters.emulators.faults import FaultPlan

    load_table(plan.table)
    FaultPlan.parse(_meter_faults(plan))
    for meter in meters:
        kind = parse_spec(meter.spec)[0] if meter.spec != "own" else None
        if kind is None or kind.name not in EMULATORS:
            raise CampaignError(
                f"device {plan.name} has a virtual bench: meter {meter.name} must be one that can be emulated, "
                f"{', '.join(EMULATORS)}, got {meter.spec!r}"
            )


def _meter_faults(plan: DevicePlan) -> list[str]:
    return [fault for fault in plan.faults if fault not in DEVICE_FAULTS]


LONGEST_SLEEP_S = 1.0  #: of an emulated meter, after which it notices that the measurement has ended


class Over(Exception):
    """The measurement has ended: the emulated meter's task ends with it."""


class PowerHistory:
    """Power of the device, known up to now; asking for later lets virtual time pass. See `emulators.curve`."""

    def __init__(self, clock: VirtualClock, power_w: float) -> None:
        """power_w: from now on."""
        self._clock = clock
        self.start_s = clock.now()
        self.over = False  #: nobody asks any more
        self._times, self._watts, self._joules = [0.0], [power_w], [0.0]

    def set_power(self, power_w: float) -> None:
        """From now on."""
        at_s = self._clock.now() - self.start_s
        if at_s > self._times[-1]:
            self._joules.append(self._joules[-1] + self._watts[-1] * (at_s - self._times[-1]))
            self._times.append(at_s)
            self._watts.append(power_w)
        else:
            self._watts[-1] = power_w

    def wait_for(self, t_s: float) -> None:
        """Lets time pass until then; raises Over once the measurement has ended."""
        while (left_s := self.start_s + t_s - self._clock.now()) > 0:
            self._clock.sleep(min(left_s, LONGEST_SLEEP_S))
            if self.over:
                raise Over

    def power_w(self, t_s: float) -> float:
        """See `Curve`."""
        self.wait_for(t_s)
        return self._watts[bisect.bisect_right(self._times, t_s) - 1]

    def energy_j(self, start_s: float, end_s: float) -> float:
        """See `Curve`."""
        self.wait_for(end_s)
        return self._until(end_s) - self._until(start_s)

    def _until(self, t_s: float) -> float:
        at = bisect.bisect_right(self._times, t_s) - 1
        return self._joules[at] + self._watts[at] * (t_s - self._times[at])


#: (phase, seconds, watts above rest), one after the other: one run of the work.
Profile = list[tuple[str, float, float]]


class Bench(ABC):
    """See the module, and `device.Device`. A kind of device says in `do` what its work is."""

    def __init__(self, plan: DevicePlan, seed: int, tries: int) -> None:
        """See `open_device`."""
        self.plan = plan
        self.seed = seed
        self.clock = PacedClock(plan.speed)
        self.power = PowerHistory(self.clock, plan.idle_w)
        self.exchange: Callable[[], Exchange] | None = None
        self.table = load_table(plan.table)  #: hidden from all that measures
        self._tries = tries
        self._faults: tuple[str, ...] = ()
        self._result: dict[str, Any] = {}
        self._profile: Profile = []
        self._idle_w = plan.idle_w

    @abstractmethod
    def do(self, work: Workload) -> tuple[dict[str, Any], Profile]:
        """What comes back of the work, and what it is made of: at least one part."""

    def prepare(self, work: Workload) -> None:
        """See `Device`."""
        plan = self.plan
        struck = self._tries < plan.faults_last and (not plan.faults_in or work.method in plan.faults_in)
        self._faults = plan.faults if struck else ()
        self._result, profile = self.do(work)
        self._profile = [(p, seconds, watts * self._more(p, work)) for p, seconds, watts in profile]
        if "wrong_config" in self._faults:
            self._result["config_hash"] = hashlib.sha256(b"another configuration").hexdigest()
        if "wrong_weights" in self._faults:
            self._result["weights_sha256"] = hashlib.sha256(b"other weights").hexdigest()

    def _more(self, phase: str, work: Workload) -> float:
        """By what factor a phase costs more beside another one, see `DevicePlan.interaction`."""
        if not self.plan.interaction or phase != self.plan.interaction[1]:
            return 1.0
        return 1.0 + self.plan.interaction_share * work.executions.get(self.plan.interaction[0], 1)

    @property
    def temperature(self) -> Callable[[], float] | None:
        """See `Device`."""
        rise = 3.0 if "hot" in self._faults else 0.001
        return lambda: 40.0 + rise * (self.clock.now() - self.power.start_s)

    def run(self, repeats: int, marks: Marks) -> None:
        """See `Device`. Runs much shorter than a sample are joined, at their mean power."""
        if "fail" in self._faults:
            raise DeviceError("the virtual device lost its power")
        if "drift" in self._faults:
            self._idle_w = self.plan.idle_w + self.plan.idle_drift_w
        seconds = sum(s for _, s, _ in self._profile)
        if seconds < _MARKED_AT_LEAST_S:
            self.power.set_power(self._idle_w + sum(s * w for _, s, w in self._profile) / seconds)
            self.clock.sleep(repeats * seconds)
        else:
            for _ in range(repeats):
                marks.step()
                for phase, spent_s, watts in self._profile:
                    marks.phase(phase)
                    self.power.set_power(self._idle_w + watts)
                    self.clock.sleep(spent_s)
            marks.phase("")
        self.power.set_power(self._idle_w)

    def outcome(self) -> dict[str, Any]:
        """See `Device`."""
        return dict(self._result)

    def close(self) -> None:
        """See `Device`. After a measurement in good order the emulator's task is given the time to end."""
        if not self.power.over:
            self.power.over = True
            if sys.exc_info()[0] is None:
                self.clock.sleep(2 * LONGEST_SLEEP_S)

    def meter(self, spec: str) -> EmulatedMeter:
        """The bench's meter."""
        if "missing" in self._faults:
            raise DeviceError("the meter is not there: it vanished before the measurement")
        return EmulatedMeter(spec, self, [fault for fault in self._faults if fault not in DEVICE_FAULTS])


class PacedClock(VirtualClock):
    """A virtual clock that runs at most `speed` times as fast as the real one; 0 for no limit."""

    def __init__(self, speed: float = 0.0) -> None:
        super().__init__()
        self._speed = speed

    def sleep(self, seconds: float) -> None:
        """See `Clock`."""
        before_s = self.now()
        super().sleep(seconds)
        if self._speed > 0:
            time.sleep(max(0.0, self.now() - before_s) / self._speed / 2)


class EmulatedMeter:
    """An emulator's `play` as a meter; see `base.Meter`."""

    def __init__(self, spec: str, device: Bench, faults: Sequence[str]) -> None:
        from joulebit_host.meters.emulators.catalogue import EMULATORS
        from joulebit_host.meters.emulators.emulator import Imperfections, Supply
        from joulebit_host.meters.emulators.faults import FaultPlan

        found, _, options = parse_spec(spec)
        self.kind = found.name
        self.identity = f"emulated {found.name}"
        self.settings: Mapping[str, Any] = as_settings(options)
        self.reading, self.accuracy = options.reading(), options.accuracy()
        self.interval_s: float = options.interval()
        plan, volts = device.plan, 12.0
        self._clock, self._power = device.clock, device.power
        shared = {k: v for k, v in self.settings.items() if k in _EMULATED.get(found.name, ())}
        if found.name == "scpi":
            shared["questions"] = ("MEAS:VOLT?", "MEAS:CURR?")
        self._emulator = EMULATORS[found.name](
            self._power,
            interval_s=self.interval_s,
            supply=Supply(volts),
            imperfections=Imperfections(
                gain=plan.gain,
                offset_a=plan.offset_w / volts,
                noise_w=plan.noise_w,
                noise_correlation_s=self.interval_s / 3,
                clock_error=2e-5,
                latency_s=self.accuracy.time_s / 2,
            ),
            faults=FaultPlan.parse(faults),
            seed=device.seed,
            keep_truths=False,
            **shared,
        )
        self._running = False
        self._sent: deque[Received] = deque()

    def start(self) -> None:
        """See `base.Meter`. The emulator plays in a task of its own."""
        self._running = True
        self._clock.spawn(self._play)

    def _play(self) -> None:
        try:
            for received in self._emulator.play(1e12):
                self._power.wait_for(received.t_s)
                self._sent.append(received)
        except Over:
            pass

    def read(self, timeout_s: float) -> Received:
        """See `base.Meter`."""
        began_s = self._clock.now()
        assert self._running, "start comes first"
        while not self._sent:
            left_s = began_s + timeout_s - self._clock.now()
            if left_s <= 0:
                return Received(began_s, self._clock.now(), b"")
            self._clock.sleep(max(min(left_s, self.interval_s / 4), 1e-9))
        came, origin_s = self._sent.popleft(), self._power.start_s
        return Received(origin_s + came.t_sent_s, origin_s + came.t_s, came.data, came.event)

    def stop(self) -> None:
        """See `base.Meter`."""
        self._running = False

    def close(self) -> None:
        """See `base.Meter`."""
        self._running = False


#: Options of a meter that its emulator must be told, too.
_EMULATED = {
    "ina226": ("shunt_ohm", "sequence_bits"),
    "ina219": ("shunt_ohm", "sequence_bits"),
    "wt300": ("voltage_range_v", "current_range_a"),
}
