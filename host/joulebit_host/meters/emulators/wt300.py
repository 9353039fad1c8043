"""A Yokogawa WT310: SCPI, lines ended by LF.

It updates every `interval_s` of its own clock. `:COMM:WAIT 1` holds everything that follows until an update has
ended since the extended event register was last read; `:NUM:HOLD ON` freezes what `:NUM:NORM:VAL?` tells, and once
more anew. Values are five digits of the range with engineering exponents; WH has one digit more. Overrange reads
INF and raises bit 6 (OVR1).
"""

from __future__ import annotations

import math
from collections.abc import Callable

from joulebit_host.meters.emulators.curve import Curve
from joulebit_host.meters.emulators.emulator import Emission, PolledEmulator, Truth

_UPD, _OVR1 = 1, 1 << 6


def engineering(value: float, step: float) -> str:
    """The value in whole steps: one to three digits before the point, an exponent that is a multiple of three."""
    value = round(value / step) * step
    exponent = 0 if abs(value) < step / 2 else 3 * math.floor(math.log10(abs(value)) / 3)
    digits = max(0, exponent - math.floor(math.log10(step) + 1e-9))
    return f"{value / 10.0**exponent:.{digits}f}E{exponent:+03d}"


class WtEmulator(PolledEmulator):
    """See the module."""

    kind = "wt300"
    jitter = 0.0

    def __init__(
        self,
        curve: Curve,
        *,
        interval_s: float = 0.1,
        voltage_range_v: float = 15.0,
        current_range_a: float = 0.5,
        repeat: bool = True,
        model: str = "WT310",
        **settings: object,
    ) -> None:
        """interval_s: update rate until the host sets another; repeat: how the host of `play` asks."""
        super().__init__(curve, interval_s=interval_s, **settings)  # type: ignore[arg-type]
        self._ranges = [voltage_range_v, current_range_a]
        self._repeat = repeat
        self._model = model
        self._switch_on(0.0)

    def _switch_on(self, t_s: float) -> None:
        self._epoch_s = self.device_time(t_s)
        self._done = 0  # updates since the epoch
        self._values: tuple[str, ...] = ("NAN",) * 5
        self._truth: Truth | None = None
        self._held: tuple[tuple[str, ...], Truth | None] | None = None
        self._events = 0
        self._condition = 0
        self._integrating = False
        self._integrated = False
        self._joules = 0.0
        self._seconds = 0.0
        self._errors: list[str] = []

    def powered_up(self, t_s: float) -> None:
        """Only the cable was out: the meter itself went on."""

    def pace(self) -> float:
        """See `PolledEmulator`."""
        return 0.0

    def polls(self) -> list[bytes]:
        """See `PolledEmulator`."""
        again = [b":NUM:NORM:VAL?\n"] if self._repeat else []
        first = b":COMM:WAIT 1\n:NUM:HOLD ON\n:NUM:NORM:VAL?\n"
        return [first, *again, b":STAT:EESR?\n", b":STAT:COND?\n"]

    def begin_play(self, t_s: float) -> None:
        """See `PolledEmulator`."""
        if not self._integrating:
            self._execute(":INTEG:RES", t_s)
            self._execute(":INTEG:STAR", t_s)

    def receive(self, data: bytes, t_s: float) -> list[Emission]:
        """See `Emulator`."""
        out = []
        now_s = t_s
        for line in data.decode("ascii", "replace").split("\n"):
            for command in filter(None, (part.strip() for part in line.split(";"))):
                self._update_until(now_s)
                if command.upper().startswith(":COMM:WAIT"):
                    if not self._events & _UPD:
                        now_s = self._end_of(self._done + 1)
                        self._update_until(now_s)
                    continue
                answer = self._execute(command, now_s)
                if answer is not None:
                    frame = self.transmit(answer.encode() + b"\n", now_s)
                    now_s += self.latency_s()
                    if frame:
                        out.append(Emission(now_s, frame))
        return out

    def _end_of(self, update: int) -> float:
        """True time at which this update ends."""
        return self.true_time(self._epoch_s + update * self.interval_s)

    def _update_until(self, t_s: float) -> None:
        while (end_s := self._end_of(self._done + 1)) <= t_s:
            self._done += 1
            self._update(end_s)

    def _update(self, t_s: float) -> None:
        volts, amperes, true_w = self.measure(t_s, self.interval_s)
        over = self.strikes("overrange", t_s)
        over = over or abs(volts) > 1.4 * self._ranges[0] or abs(amperes) > 1.4 * self._ranges[1]
        self._condition = _OVR1 if over else 0
        self._events |= _UPD | self._condition
        watts = volts * amperes
        if self._integrating:
            self._joules += watts * self.interval_s
            self._seconds += self.interval_s
        steps = [10.0 ** (math.ceil(math.log10(r)) - 5) for r in self._ranges]
        power_range = self._ranges[0] * self._ranges[1]
        watt_step = 10.0 ** (math.ceil(math.log10(power_range)) - 5)
        hours = engineering(self._joules / 3600, watt_step / 10)
        texts = [engineering(volts, steps[0]), engineering(amperes, steps[1]), engineering(watts, watt_step)]
        values = [*texts, hours, engineering(self._seconds, 0.1)]
        if not self._integrated:
            values[3:] = ["NAN", "NAN"]
        self._truth = Truth(t_s, float(texts[2]), float(texts[0]), float(texts[1]), float(hours) * 3600, true_w)
        if self.strikes("nan", t_s):
            values = ["NAN"] * 5
        elif over:
            values[1] = values[2] = "INF"
        self._values = tuple(values)

    def _execute(self, command: str, t_s: float) -> str | None:
        """The answer, None for a command without one."""
        head, _, argument = command.upper().partition(" ")
        question = {
            "*IDN?": lambda: f"YOKOGAWA,{self._model},91K123456,F1.02",
            ":STAT:ERR?": lambda: self._errors.pop(0) if self._errors else '0,"No error"',
            ":INTEG:STAT?": lambda: "STAR" if self._integrating else "STOP" if self._integrated else "RES",
            ":STAT:COND?": lambda: str(self._condition),
            ":STAT:EESR?": self._read_events,
            ":NUM:NORM:VAL?": self._read_values,
        }.get(head)
        if question is not None:
            return question()
        action = self._actions(argument).get(head)
        if action is not None:
            action()
        elif head.endswith("?") or head.split(":")[1] not in ("COMM", "NUM", "INP", "STAT", "INTEG", "SAMP"):
            self._errors.append('113,"Undefined header"')
        return None

    def _actions(self, argument: str) -> dict[str, Callable[[], None]]:
        def set_range(which: int) -> Callable[[], None]:
            def act() -> None:
                if self._integrating:
                    self._errors.append('813,"Invalid operation during integration"')
                else:
                    self._ranges[which] = float(argument)

            return act

        return {
            "*CLS": self._errors.clear,
            ":NUM:HOLD": lambda: self._hold(argument == "ON"),
            ":INP:VOLT:RANG": set_range(0),
            ":INP:CURR:RANG": set_range(1),
            ":SAMP:RATE": lambda: self._set_rate(float(argument)),
            ":INTEG:RES": lambda: self._integrate("reset"),
            ":INTEG:STAR": lambda: self._integrate("start"),
            ":INTEG:STOP": lambda: self._integrate("stop"),
        }

    def _hold(self, on: bool) -> None:
        self._held = (self._values, self._truth) if on else None

    def _set_rate(self, rate_s: float) -> None:
        if rate_s != self.interval_s:
            self._epoch_s += self._done * self.interval_s
            self._done = 0
            self.interval_s = rate_s

    def _integrate(self, what: str) -> None:
        self._integrating = what == "start"
        self._integrated = self._integrated or what == "start"
        if what == "reset":
            self._integrated = False
            self._joules = self._seconds = 0.0

    def _read_events(self) -> str:
        events, self._events = self._events, 0
        return str(events)

    def _read_values(self) -> str:
        values, truth = self._held or (self._values, self._truth)
        if truth is not None and (not self.truths or self.truths[-1] is not truth):
            self.record(truth)
        return ",".join(values)
