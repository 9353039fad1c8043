"""A meter and a device in virtual time, for whole sessions with known joules; shares no code with them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from joulebit_host.meters.base import Accuracy, Fault, Reading, Received, Sample
from joulebit_host.session.session import Marks
from joulebit_host.session.timing import Clock


class VirtualDevice:
    """Idle power until something runs; keeps the exact energy."""

    def __init__(self, clock: Clock, idle_w: float = 2.5) -> None:
        self.clock = clock
        self.history: list[tuple[float, float]] = [(clock.now(), idle_w)]
        self.idle_w = idle_w

    def set_power(self, power_w: float) -> None:
        self.history.append((self.clock.now(), power_w))

    def energy_j(self, start_s: float, end_s: float) -> float:
        """Exact, by adding rectangles."""
        total = 0.0
        for (t0, p), (t1, _) in zip(self.history, [*self.history[1:], (float("inf"), 0.0)], strict=True):
            total += p * max(0.0, min(t1, end_s) - max(t0, start_s))
        return total

    def power_w(self, t_s: float) -> float:
        return next(p for t, p in reversed(self.history) if t <= t_s)

    def work(self, power_w: float, seconds: float) -> Callable[[int, Marks], None]:
        """Repeatable work: steps of this power and length."""

        def run(repeats: int, marks: Marks) -> None:
            self.set_power(self.idle_w + power_w)
            for _ in range(repeats):
                marks.step()
                self.clock.sleep(seconds)
            self.set_power(self.idle_w)

        return run


class VirtualMeter:
    """Sends `sequence t value flag` lines; `flag` is + or !, for overrange."""

    kind = "virtual"
    identity = "virtual meter"

    def __init__(
        self,
        device: VirtualDevice,
        reading: Reading,
        interval_s: float = 0.1,
        accuracy: Accuracy | None = None,
        noise_w: float = 0.0,
        gain: float = 0.0,
        offset_w: float = 0.0,
        jitter: float = 0.0,
        lose: Callable[[int, float], bool] = lambda sequence, t_s: False,
        overrange: Callable[[float], bool] = lambda t_s: False,
        unplugged: tuple[float, float] | None = None,
    ) -> None:
        self.device = device
        self.clock = device.clock
        self.reading = reading
        self.interval_s = interval_s
        self.accuracy = accuracy or Accuracy(gain=1e-3, offset_w=1e-3)
        self.settings: Mapping[str, Any] = {"reading": reading.value}
        self.noise_w, self.gain, self.offset_w, self.jitter = noise_w, gain, offset_w, jitter
        self.lose, self.overrange, self.unplugged = lose, overrange, unplugged
        self.random = random.Random(4)
        self.running = False
        self.sequence = 0
        self.energy_j = 0.0
        self.last_s = 0.0
        self.was_gone = False

    def start(self) -> None:
        self.running = True
        self.last_s = self.clock.now()

    def read(self, timeout_s: float) -> Received:
        assert self.running
        began_s = self.clock.now()
        due_s = self.last_s + self.interval_s
        pause_s = due_s * 1.0 - began_s + self.random.uniform(0, self.jitter) * self.interval_s
        if pause_s > timeout_s:
            self.clock.sleep(timeout_s)
            return Received(began_s, self.clock.now(), b"")
        self.clock.sleep(pause_s)
        now_s = self.clock.now()
        mean_w = self.device.energy_j(self.last_s, now_s) / (now_s - self.last_s)
        power_w = self.device.power_w(now_s) if self.reading is Reading.POINT else mean_w
        seen_w = power_w * (1 + self.gain) + self.offset_w + self.random.gauss(0, self.noise_w)
        self.energy_j += seen_w * (now_s - self.last_s)
        self.last_s = now_s
        self.sequence += 1
        if self.unplugged and self.unplugged[0] <= now_s < self.unplugged[1]:
            event, self.was_gone = ("" if self.was_gone else "unplugged"), True
            return Received(began_s, now_s, b"", event)
        event, self.was_gone = ("replugged" if self.was_gone else ""), False
        if event:
            return Received(began_s, now_s, b"", event)
        if self.lose(self.sequence, now_s):
            return Received(began_s, now_s, b"")
        value = self.energy_j if self.reading is Reading.ENERGY else seen_w
        flag = "!" if self.overrange(now_s) else "+"
        return Received(began_s, now_s, f"{self.sequence} {now_s!r} {value!r} {flag}\n".encode())

    def stop(self) -> None:
        self.running = False

    def close(self) -> None:
        self.running = False


class VirtualDecoder:
    """The counterpart of `VirtualMeter`."""

    def __init__(self, reading: str) -> None:
        self.faults: Counter[Fault] = Counter()
        self._energy = reading == "energy"
        self._last: int | None = None

    def feed(self, received: Received) -> list[Sample]:
        if received.event == "unplugged":
            self.faults[Fault.UNPLUGGED] += 1
        if not received.data:
            return []
        sequence, _, value, flag = received.data.decode().split()
        number = int(sequence)
        dropped = 0 if self._last is None else number - self._last - 1
        self._last = number
        self.faults[Fault.DROPPED] += dropped
        self.faults[Fault.OVERRANGE] += flag == "!"
        return [
            Sample(
                received.t_s,
                power_w=None if self._energy else float(value),
                energy_j=float(value) if self._energy else None,
                sequence=number,
                dropped=dropped,
                valid=flag == "+",
            )
        ]


def decoder_for(meter: Mapping[str, Any]) -> VirtualDecoder:
    assert meter["kind"] == "virtual"
    return VirtualDecoder(meter["settings"]["reading"])
