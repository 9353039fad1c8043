"""Yokogawa WT310, WT332, WT333 (WT300 and WT300E series): SCPI over a serial port, 8N1, lines ended by LF.

Set up: `*IDN?` (field 2 is the model), `:COMM:REM ON`, `:COMM:HEAD OFF`, `:COMM:VERB OFF`, `:NUM:FORM ASCII`,
input mode, fixed ranges, `:SAMP:RATE`, five items (U, I, P, WH, TIME of element 1); then the queue of errors must
be empty. The update bit is made to latch when an update ends (`:STAT:FILT1 FALL`) and the overrange bits when they
rise.

One poll: `:COMM:WAIT 1` (until an update has ended), `:NUM:HOLD ON` (freezes the values), `:NUM:NORM:VAL?` twice,
`:STAT:EESR?` (what happened since the last time, and re-arms the wait), `:STAT:COND?` (what is so now). The
answers make one record:

    12.034E+00,213.50E-03,2.5693E+00,1.2345E-03,1.8000E+00
    12.034E+00,213.50E-03,2.5693E+00,1.2345E-03,1.8000E+00
    1
    0

RS-232 carries no checksum. With `repeat` (default) the held values are asked twice and must be the same to the
byte (CHECKSUM if not), which finds every disturbance of the line; without it, one line comes. Then: the right
number of lines and fields, every field a number, NAN or INF (FRAMING if not); the update bit set (RANGE if not);
in DC mode |P - U I| at most `consistency` of |U I| plus 0.2 % of the range, in the others |P| at most U I plus as
much (RANGE: U, I and P are measured together). INF or an overrange bit (EESR and condition register: 3 overflow, 6
OVR1, 7 POV1, 8 POA1): OVERRANGE. NAN: NOT_A_NUMBER.

Energy is the meter's own integrator, WH * 3600. TIME running backwards means that the integrator was reset: a new
segment (WRAP_AMBIGUOUS). Commands: Yokogawa IM WT310E-17EN, chapter 6.

Error limits: IM WT310E-02EN (WT300E; the same in IM WT310-02EN, WT300), 7.3.2 "Active Power Accuracy", DC: 0.1 %
of reading + 0.2 % of range, 0.3 % of reading for the direct current input of WT310EH and WT310HC. After a change
of temperature since the last zero compensation or change of range: voltage 0.02 % of range per K, current 0.5 mA
per K (5 uA in the ranges up to 200 mA, 1 mA for EH and HC); counted as U dI + I dU at the ranges.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from joulebit.errors import JoulebitError
from joulebit_host.meters.base import Accuracy, Fault, Meter, Reading, Received, Sample
from joulebit_host.meters.decoding import FrameDecoder, number
from joulebit_host.meters.kind import Kind, Range
from joulebit_host.meters.limits import ErrorLimits
from joulebit_host.meters.options import option
from joulebit_host.meters.transports.serial_port import SerialPort
from joulebit_host.meters.wire import Conversation, PolledMeter, Step, lines_complete

ITEMS = ("U", "I", "P", "WH", "TIME")
_MANUAL = "Yokogawa IM WT310E-02EN"
_VOLT_SOURCE = "Yokogawa IM WT310E-17EN, :INPut:VOLTage:RANGe, crest factor 3"
_AMPERE_SOURCE = "Yokogawa IM WT310E-01EN, 2 Measurement Conditions, Current Range, crest factor 3"
_VOLTS = (15.0, 30.0, 60.0, 150.0, 300.0, 600.0)
_SMALL_AMPERES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
_AMPERES = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0)
_LARGE_AMPERES = (1.0, 2.0, 5.0, 10.0, 20.0, 40.0)
_UPDATED = 1 << 0
_OVER = 1 << 3 | 1 << 6 | 1 << 7 | 1 << 8
_RANGE_SHARE = 0.002  #: of the range: the offset limits of U, I and P together


@dataclass(frozen=True)
class WtOptions(ErrorLimits):
    """Options of the WT300 series."""

    mode: str = option(
        "DC", "input mode; in RMS and VMEAN small currents read zero", choices=("DC", "RMS", "VMEAN")
    )
    voltage_range_v: float = option(15.0, "voltage range", unit="V", low=1, high=1000)
    current_range_a: float = option(0.5, "current range", unit="A", low=0.001, high=50)
    high_current: bool = option(False, "a WT310HC or WT310EH with direct input, whose error limits are wider")
    zero_change_c: float = option(
        1.0, "change of the room's temperature since the zero compensation (*CAL?)", unit="K", low=0, high=40
    )
    rate_s: float = option(0.1, "update rate", unit="s", choices=(0.1, 0.25, 0.5, 1.0, 2.0, 5.0))
    integrate: bool = option(True, "use the meter's integrator")
    repeat: bool = option(True, "ask every value twice, against disturbed lines")
    consistency: float = option(0.1, "allowed |P - U I| in DC mode, relative; 0 checks nothing", low=0, high=10)
    baudrate: int = option(57600, "of the port", unit="Bd", choices=(1200, 2400, 4800, 9600, 19200, 38400, 57600))

    def reading(self) -> Reading:
        """ENERGY with the integrator, the mean of an update without."""
        return Reading.ENERGY if self.integrate else Reading.AVERAGE

    def accuracy(self) -> Accuracy:
        """DC limits at the configured range: the sum of the errors of reading, range and zero."""
        range_w = self.voltage_range_v * self.current_range_a
        ampere_per_k = 1e-3 if self.high_current else 5e-6 if self.current_range_a <= max(_SMALL_AMPERES) else 5e-4
        watt_per_k = self.voltage_range_v * ampere_per_k + 2e-4 * range_w
        decade = 10.0 ** math.ceil(math.log10(range_w))
        sheet = Accuracy(
            gain=0.003 if self.high_current else 0.001,
            offset_w=0.002 * range_w + self.zero_change_c * watt_per_k,
            power_resolution_w=decade / 1e5,
            energy_resolution_j=decade / 1e6 * 3600 if self.integrate else 0.0,
            time_s=0.05,
            source=f"{_MANUAL}, 7.3.2, DC: {0.3 if self.high_current else 0.1} % of reading + 0.2 % of range + "
            f"influence of {self.zero_change_c:g} K (zero_change_c); four answers of up to 12 ms assumed",
            assumed=("time_s",),
        )
        return self.limited(sheet)

    def interval(self) -> float:
        """The update rate."""
        return self.rate_s


class WtDecoder(FrameDecoder):
    """See the module."""

    def __init__(self, options: WtOptions) -> None:
        super().__init__()
        self._options = options
        self._range_w = options.voltage_range_v * options.current_range_a
        self._segment = 0
        self._base_j: float | None = None
        self._time_s: float | None = None  # of the integrator
        self._last_s: float | None = None

    def interrupted(self, received: Received) -> None:
        """What is missing after an interruption is a gap, not a count of samples."""
        if received.event != "timeout":
            self._last_s = None

    def decode(self, received: Received) -> list[Sample]:
        """See `FrameDecoder`."""
        options = self._options
        copies = 2 if options.repeat else 1
        *lines, rest = received.data.split(b"\n")
        lines = [line.removesuffix(b"\r") for line in lines]
        if rest or len(lines) != copies + 2:
            self.count(Fault.FRAMING)
            return []
        if lines[0] != lines[copies - 1]:
            self.count(Fault.CHECKSUM)
            return []
        fields = lines[0].split(b",")
        if len(fields) != len(ITEMS) or not all(_is_register(line) for line in lines[copies:]):
            self.count(Fault.FRAMING)
            return []
        happened, now = int(lines[copies]), int(lines[copies + 1])
        over = bool((happened | now) & _OVER)
        values: list[float | None] = []
        missing = False
        for text in fields:
            value = number(text)
            if value is None and text not in (b"NAN", b"INF", b"+INF", b"-INF"):
                self.count(Fault.FRAMING)
                return []
            missing |= text == b"NAN"
            over |= text.endswith(b"INF")
            values.append(value)
        volts, amperes, watts, watt_hours, seconds = values
        if not happened & _UPDATED or not (over or missing or self._consistent(volts, amperes, watts)):
            self.count(Fault.RANGE)
            return []
        self.count(Fault.OVERRANGE, over)
        self.count(Fault.NOT_A_NUMBER, missing)
        travel_s = len(received.data) * 10 / options.baudrate
        t_s = max(received.t_s - travel_s, received.t_sent_s)
        return [
            Sample(
                t_s=t_s,
                power_w=watts,
                voltage_v=volts,
                current_a=amperes,
                energy_j=self._energy(watt_hours, seconds),
                dropped=self._missed(t_s),
                valid=not over and not missing,
                segment=self._segment,
                time_error_s=travel_s / 2,
            )
        ]

    def _consistent(self, volts: float | None, amperes: float | None, watts: float | None) -> bool:
        if volts is None or amperes is None or watts is None:
            return False
        if not self._options.consistency:
            return True
        apparent, floor = volts * amperes, _RANGE_SHARE * self._range_w
        if self._options.mode == "DC":
            return abs(watts - apparent) <= self._options.consistency * abs(apparent) + floor
        return abs(watts) <= abs(apparent) * (1 + _RANGE_SHARE) + floor

    def _energy(self, watt_hours: float | None, seconds: float | None) -> float | None:
        """Joules since the first reading; a reset of the integrator opens a segment."""
        if not self._options.integrate or watt_hours is None or seconds is None:
            return None
        energy_j = watt_hours * 3600
        if self._time_s is not None and seconds < self._time_s:
            self.count(Fault.WRAP_AMBIGUOUS)
            self._segment += 1
            self._base_j = None
        if self._base_j is None:
            self._base_j = energy_j
        self._time_s = seconds
        return energy_j - self._base_j

    def _missed(self, t_s: float) -> int:
        """Updates that passed unseen."""
        last_s, self._last_s = self._last_s, t_s
        if last_s is None:
            return 0
        missed = max(0, round((t_s - last_s) / self._options.rate_s) - 1)
        self.count(Fault.DROPPED, missed)
        return missed


def _is_register(text: bytes) -> bool:
    return text.isdigit() and len(text) <= 5 and int(text) < 1 << 16


class _Dialogue:
    """Sets the meter up and runs its integrator."""

    def __init__(self, options: WtOptions) -> None:
        self._options = options
        self._integrating = False

    def begin(self, talk: Conversation) -> str:
        """See `wire.Dialogue`. An integrator of ours that still runs is left alone."""
        talk.send(b":COMM:REM ON\n:COMM:HEAD OFF\n:COMM:VERB OFF\n")
        identity = _ask(talk, "*IDN?")
        fields = identity.split(",")
        if len(fields) < 2 or not fields[1].strip().upper().startswith("WT3"):
            raise JoulebitError(
                f"no answer of a WT300 to *IDN?, got {identity!r}: right port, baudrate, LF as terminator?"
            )
        options = self._options
        if _is_high_current(identity) != options.high_current:
            raise JoulebitError(
                f"the meter is a {fields[1].strip()}, whose error limits need high_current="
                f"{str(not options.high_current).lower()}"
            )
        if self._integrating and _ask(talk, ":INTEG:STAT?").upper().startswith("STAR"):
            return identity
        talk.send(b":INTEG:STOP\n:INTEG:RES\n:NUM:HOLD OFF\n*CLS\n")
        commands = [
            ":NUM:FORM ASCII",
            f":INP:MODE {options.mode}",
            ":INP:VOLT:AUTO OFF",
            ":INP:CURR:AUTO OFF",
            f":INP:VOLT:RANG {options.voltage_range_v:g}",
            f":INP:CURR:RANG {options.current_range_a:g}",
            f":SAMP:RATE {options.rate_s:g}",
            f":NUM:NORM:NUM {len(ITEMS)}",
            *(f":NUM:NORM:ITEM{i} {item},1" for i, item in enumerate(ITEMS, 1)),
            ":STAT:FILT1 FALL",
            *(f":STAT:FILT{bit + 1} RISE" for bit in (3, 6, 7, 8)),
        ]
        for command in commands:
            talk.send(command.encode() + b"\n")
        error = _ask(talk, ":STAT:ERR?")
        if not error.startswith("0"):
            raise JoulebitError(f"the meter refused its set-up: {error or 'no answer'}")
        return identity

    def start(self, talk: Conversation) -> None:
        """Starts the integrator, if it does not run, and arms the wait."""
        if self._options.integrate and not _ask(talk, ":INTEG:STAT?").upper().startswith("STAR"):
            talk.send(b":INTEG:MODE NORM\n:INTEG:TIM 9999,59,59\n:INTEG:RES\n:INTEG:STAR\n")
            self._integrating = True
        _ask(talk, ":STAT:EESR?")

    def stop(self, talk: Conversation) -> None:
        """Stops the integrator and gives the panel back; ranges, rate and items stay as set."""
        talk.send(b":INTEG:STOP\n:NUM:HOLD OFF\n:COMM:REM OFF\n")
        self._integrating = False


def _ask(talk: Conversation, question: str) -> str:
    answer = talk.ask(question.encode() + b"\n", lines_complete(1))
    return answer.decode("ascii", "replace").strip()


def _open(address: str, options: WtOptions) -> Meter:
    line = lines_complete(1)
    values = Step(b":NUM:NORM:VAL?\n", line)
    steps = (
        Step(b":COMM:WAIT 1\n:NUM:HOLD ON\n:NUM:NORM:VAL?\n", line),
        *([values] if options.repeat else []),
        Step(b":STAT:EESR?\n", line),
        Step(b":STAT:COND?\n", line),
    )
    port = SerialPort(address, options.baudrate)
    return PolledMeter(
        "wt300",
        port,
        options,
        _Dialogue(options),
        steps,
        answer_s=2 * options.rate_s + 1.0,
        jitter=0.0,
        pace_s=0.0,
    )


def voltage_ranges(identity: str) -> tuple[float, ...]:
    """Volts; of all models the same."""
    return _VOLTS


def current_ranges(identity: str) -> tuple[float, ...]:
    """Amperes by the answer to *IDN?: WT310HC and WT310EH 1..40 A, WT332 and WT333 0.5..20 A, WT310 5 mA..20 A."""
    if _is_high_current(identity):
        return _LARGE_AMPERES
    return _AMPERES if _model(identity).startswith("WT33") else (*_SMALL_AMPERES, *_AMPERES)


def _model(identity: str) -> str:
    fields = identity.upper().split(",")
    return fields[1].strip() if len(fields) > 1 else ""


def _is_high_current(identity: str) -> bool:
    return _model(identity).startswith(("WT310HC", "WT310EH"))


KIND = Kind(
    "wt300",
    "Yokogawa WT310, WT332, WT333 (WT300/WT300E)",
    "serial port",
    WtOptions,
    WtDecoder,
    _open,
    (
        Range("voltage_range_v", "voltage_v", voltage_ranges, _VOLT_SOURCE),
        Range("current_range_a", "current_a", current_ranges, _AMPERE_SOURCE),
    ),
)
