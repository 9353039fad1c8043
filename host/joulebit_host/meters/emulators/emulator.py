"""What emulated meters share: measuring a curve with a meter's errors, sending frames with faults, virtual time.

An emulator knows nothing of clocks: it is told the time (seconds since its start) and answers with `Emission`s,
bytes and when they are sent. `play` runs it in virtual time, without a port, as fast as the machine can;
`pty.PtyServer` runs it in real time behind a pseudo-terminal.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from joulebit.errors import JoulebitError
from joulebit_host.meters.base import Received
from joulebit_host.meters.emulators import faults as damage
from joulebit_host.meters.emulators.curve import Curve
from joulebit_host.meters.emulators.faults import FaultPlan


@dataclass(frozen=True)
class Imperfections:
    """How far an emulated meter is from the truth.

    Attributes:
        gain: relative error of the current, and with it of the power.
        offset_a: added to the current, in amperes.
        noise_w: standard deviation of the noise of one reading, in watts.
        noise_correlation_s: time over which the noise decays to 1/e (first-order autoregressive); 0 for white.
        clock_error: relative: 1e-4 is a clock that gains 0.1 ms in 1 s.
        latency_s: between the end of a reading and the arrival of its last byte.
        latency_jitter_s: mean of an exponentially distributed addition to it.
    """

    gain: float = 0.0
    offset_a: float = 0.0
    noise_w: float = 0.0
    noise_correlation_s: float = 0.0
    clock_error: float = 0.0
    latency_s: float = 0.0
    latency_jitter_s: float = 0.0


@dataclass(frozen=True)
class Supply:
    """A source of direct voltage: `voltage_v` without load, minus `resistance_ohm` times the current."""

    voltage_v: float = 12.0
    resistance_ohm: float = 0.0

    def at(self, power_w: float) -> tuple[float, float]:
        """Voltage and current at which the load takes this power."""
        u, r = self.voltage_v, self.resistance_ohm
        if r == 0:
            return u, power_w / u
        current = (u - math.sqrt(max(0.0, u * u - 4 * r * power_w))) / (2 * r)
        return u - r * current, current


@dataclass(frozen=True)
class Emission:
    """Bytes, and when they are sent."""

    t_s: float
    data: bytes


@dataclass(frozen=True)
class Truth:
    """A reading that was really taken and put on the line, whatever befell it there: all a decoder may believe.

    Attributes: as in `base.Sample`, in the meter's own resolution; t_s: end of what it covers, true time;
        true_w: mean of the curve over what the reading covers, without any error.
    """

    t_s: float
    power_w: float | None
    voltage_v: float | None = None
    current_a: float | None = None
    energy_j: float | None = None
    true_w: float = 0.0


@dataclass
class Counts:
    """What an emulator did: frames sent whole, frames by fault."""

    sent: int = 0
    faults: dict[str, int] = field(default_factory=dict)


class Emulator:
    """Base of the emulators.

    Attributes:
        kind: the meter's kind.
        interval_s: between readings, by the meter's own clock.
        truths: readings that were really taken and sent, if `keep_truths`.
        counts: frames sent, frames by fault.
    """

    kind = ""
    cannot: frozenset[str] = frozenset()  #: faults that this meter has no way to suffer

    def __init__(
        self,
        curve: Curve,
        *,
        interval_s: float,
        supply: Supply | None = None,
        imperfections: Imperfections | None = None,
        faults: FaultPlan | None = None,
        seed: int = 0,
        keep_truths: bool = True,
    ) -> None:
        """seed: of noise, delays and faults; two emulators with the same seed play the same."""
        if not interval_s > 0:
            raise JoulebitError(f"the emulator's interval must be positive, got {interval_s:g} s")
        self.curve = curve
        self.interval_s = interval_s
        self.supply = supply or Supply()
        self.imperfections = imperfections or Imperfections()
        self.faults = faults or FaultPlan()
        for name in sorted(self.cannot & {*self.faults.rates, *(span.name for span in self.faults.spans)}):
            raise JoulebitError(f"an emulated {self.kind} cannot have the fault {name!r}")
        self.truths: list[Truth] = []
        self.counts = Counts()
        self._keep = keep_truths
        self._chance = random.Random(seed)
        self._noise_w = 0.0
        self._noise_at_s: float | None = None

    # What a subclass defines.

    def receive(self, data: bytes, t_s: float) -> list[Emission]:
        """Takes what the host sends; the answers."""
        return []

    def next_s(self) -> float | None:
        """When the meter next sends by itself; None for one that is only asked."""
        return None

    def advance(self, t_s: float) -> list[Emission]:
        """What the meter sends by itself up to this time."""
        return []

    def play(self, duration_s: float) -> Iterator[Received]:
        """What a host receives in this time, in virtual time; the host's clock is the true one and starts at 0."""
        raise TypeError(f"{type(self).__name__} must define play")

    def powered_up(self, t_s: float) -> None:
        """The port has come back: what a real device forgets, it has forgotten."""

    # What subclasses use.

    def device_time(self, t_s: float) -> float:
        """The meter's own clock, in seconds since its start."""
        return t_s * (1 + self.imperfections.clock_error)

    def true_time(self, device_s: float) -> float:
        """The inverse of `device_time`."""
        return device_s / (1 + self.imperfections.clock_error)

    def noise_w(self, t_s: float) -> float:
        """The noise of a reading at this time, in watts."""
        sigma, tau = self.imperfections.noise_w, self.imperfections.noise_correlation_s
        if sigma == 0:
            return 0.0
        keep = 0.0
        if self._noise_at_s is not None and tau > 0:
            keep = math.exp(-max(0.0, t_s - self._noise_at_s) / tau)
        self._noise_at_s = t_s
        self._noise_w = keep * self._noise_w + sigma * math.sqrt(1 - keep * keep) * self._chance.gauss(0, 1)
        return self._noise_w

    def measure(self, t_s: float, over_s: float = 0.0) -> tuple[float, float, float]:
        """(volts, amperes, true watts) as the meter's input stage sees them at t_s, averaged over the
        time before.
        """
        start_s = max(0.0, t_s - over_s)
        if t_s > start_s:
            true_w = self.curve.energy_j(start_s, t_s) / (t_s - start_s)
        else:
            true_w = self.curve.power_w(t_s)
        volts, amperes = self.supply.at(true_w)
        flaws = self.imperfections
        return volts, amperes * (1 + flaws.gain) + flaws.offset_a + self.noise_w(t_s) / volts, true_w

    def latency_s(self) -> float:
        """The delay of one frame."""
        jitter_s = self.imperfections.latency_jitter_s
        return self.imperfections.latency_s + (self._chance.expovariate(1 / jitter_s) if jitter_s else 0.0)

    def strikes(self, fault: str, t_s: float) -> bool:
        """Whether the frame at this time suffers this fault; it is counted."""
        hit = self.faults.strikes(fault, t_s, self._chance)
        if hit:
            self.counts.faults[fault] = self.counts.faults.get(fault, 0) + 1
        return hit

    def transmit(self, frame: bytes, t_s: float, truth: Truth | None = None) -> bytes:
        """The frame after the faults of the line; empty if nothing is sent."""
        for fault in ("stall", "drop"):
            if self.strikes(fault, t_s):
                return b""
        if truth is not None:
            self.record(truth)
        if self.strikes("corrupt", t_s):
            return damage.flip_bit(frame, self._chance)
        if self.strikes("garble", t_s):
            return damage.garble(frame, self._chance)
        if self.strikes("cut", t_s):
            return frame[: self._chance.randrange(1, len(frame))]
        self.counts.sent += 1
        return frame

    def record(self, truth: Truth) -> None:
        """Keeps a reading that was really taken."""
        if self._keep:
            self.truths.append(truth)


class StreamEmulator(Emulator):
    """A meter that sends by itself; a subclass defines `reading`."""

    streaming = True  #: whether it sends now

    def __init__(self, curve: Curve, **settings: object) -> None:
        super().__init__(curve, **settings)  # type: ignore[arg-type]
        self._count = 1  # readings that are begun or done
        self._queue: list[Emission] = []

    def reading(self, t_s: float, count: int) -> bytes:
        """The bytes of the reading that ends at t_s, through `transmit`."""
        raise TypeError(f"{type(self).__name__} must define reading")

    def next_s(self) -> float | None:
        """See `Emulator`."""
        return self.true_time(self._count * self.interval_s)

    def advance(self, t_s: float) -> list[Emission]:
        """See `Emulator`."""
        out = []
        while (due_s := self.true_time(self._count * self.interval_s)) <= t_s:
            data = self.reading(due_s, self._count)
            self._count += 1
            if data and self.streaming:
                out.append(Emission(due_s, data))
        return out

    def play(self, duration_s: float) -> Iterator[Received]:
        """See `Emulator`."""
        waited_s, arrived_s, unplugged = 0.0, 0.0, False
        while (due_s := self.true_time(self._count * self.interval_s)) <= duration_s:
            gone = self.faults.during("unplug", due_s)
            if gone and not unplugged:
                unplugged = True
                self.counts.faults["unplug"] = self.counts.faults.get("unplug", 0) + 1
                yield Received(waited_s, gone.start_s, b"", "unplugged")
                waited_s = gone.start_s
            elif unplugged and not gone:
                unplugged = False
                self.powered_up(due_s)
                yield Received(waited_s, due_s, b"", "replugged")
                waited_s = due_s
            data = self.reading(due_s, self._count) if not gone else b""
            self._count += 1
            if data:
                arrived_s = max(arrived_s, due_s + self.latency_s())
                yield Received(waited_s, arrived_s, data)
                waited_s = arrived_s


class PolledEmulator(Emulator):
    """A meter that is asked; a subclass defines `receive` and `polls`, what a host asks in one poll."""

    jitter = 0.25  #: by how much the host of `play` varies its pace
    answer_s = 1.0  #: how long that host waits for an answer

    def pace(self) -> float:
        """Mean seconds between the host's polls; 0 to poll without a pause."""
        return self.interval_s

    def polls(self) -> list[bytes]:
        """The questions of one poll, in order."""
        raise TypeError(f"{type(self).__name__} must define polls")

    def begin_play(self, t_s: float) -> None:
        """Sets the meter up as a host would."""

    def play(self, duration_s: float, pace_s: float | None = None) -> Iterator[Received]:
        """See `Emulator`. pace_s: mean time between the host's polls; see `pace`."""
        self.begin_play(0.0)
        pace_s = self.pace() if pace_s is None else pace_s
        due_s = now_s = 0.0
        unplugged = False
        while (now_s := max(now_s, due_s)) <= duration_s:
            gone = self.faults.during("unplug", now_s)
            if gone:
                self.counts.faults["unplug"] = self.counts.faults.get("unplug", 0) + 1
                yield Received(now_s, now_s, b"", "unplugged")
                now_s = due_s = gone.start_s + gone.length_s
                unplugged = True
                continue
            if unplugged:
                unplugged = False
                self.powered_up(now_s)
                self.begin_play(now_s)
                yield Received(now_s, now_s, b"", "replugged")
            sent_s, answers = now_s, b""
            for question in self.polls():
                emissions = self.receive(question, now_s)
                if not emissions:
                    now_s += self.answer_s
                    break
                answers += b"".join(e.data for e in emissions)
                now_s = max(now_s, emissions[-1].t_s)
            due_s += pace_s * (1 + self._chance.uniform(-self.jitter, self.jitter))
            yield Received(sent_s, now_s, answers, "" if answers else "timeout")
