"""Supplies and multimeters that speak SCPI over a serial port (or `socket://HOST:PORT`), lines ended by LF.

The questions can be chosen; each may be left empty:

| Instruments | voltage | current | power | setup, trigger |
|---|---|---|---|---|
| most supplies | `MEAS:VOLT?` | `MEAS:CURR?` | | `INST:NSEL 1` |
| EA, Owon, Chroma | `MEAS:VOLT?` | `MEAS:CURR?` | `MEAS:POW?` | |
| Rigol | `MEAS:VOLT?` | `MEAS:CURR?` | `MEAS:POWE?` | |
| BK, EEZ | `MEAS:VOLT?` | `MEAS:CURR?` | `MEAS:POWER?` | |
| 34405A, 34460A, 34465A as ammeter | | `FETCH?` | | `CONF:CURR:DC`, `INIT` |
| 34401A, SDM3055 as voltmeter | `READ?` | | | `CONF:VOLT:DC` |

The answers of one poll make one record, one line each, in the order voltage, current, power. They were measured
one after the other, somewhere between the first question and the last answer: the sample stands in the middle and
its `time_error_s` is half of that time. Power is the instrument's own where it is asked, else volts * amperes.

SCPI has no checksum. FRAMING: not one line per question, or a line that is no number (a unit V, A, W behind the
right one is allowed). OVERRANGE: +-9.9E37 (SCPI-99, 7.2.1.4). NOT_A_NUMBER: 9.91E37 (7.2.1.5) or NAN. RANGE:
beyond `max_v` or `max_a`; where all three are asked, |W - V A| more than `consistency` of |V A| plus `offset_w`.
So ask for power too where the instrument has it: without it a disturbed digit inside the limits is not found.
"""

from __future__ import annotations

from dataclasses import dataclass

from joulebit.errors import JoulebitError
from joulebit_host.meters.base import Accuracy, Fault, Meter, Reading, Received, Sample
from joulebit_host.meters.decoding import FrameDecoder, number
from joulebit_host.meters.kind import Kind
from joulebit_host.meters.limits import ErrorLimits
from joulebit_host.meters.options import option
from joulebit_host.meters.transports.serial_port import SerialPort
from joulebit_host.meters.wire import Conversation, PolledMeter, Step, lines_complete

_INFINITY, _NAN = 9.9e37, 9.91e37


@dataclass(frozen=True)
class ScpiOptions(ErrorLimits):
    """Options of SCPI instruments."""

    voltage: str = option("MEAS:VOLT?", "question for volts")
    current: str = option("MEAS:CURR?", "question for amperes")
    power: str = option("", "question for watts")
    setup: str = option("", "commands before the first poll, with ; between them")
    trigger: str = option("", "command before each poll, such as INIT")
    ampere_per_unit: float = option(1.0, "amperes per unit of `current`: 100 for volts over 10 mOhm")
    max_v: float = option(60.0, "largest possible voltage", unit="V", low=0)
    max_a: float = option(20.0, "largest possible current", unit="A", low=0)
    consistency: float = option(0.1, "allowed |W - V A|, relative; 0 checks nothing", low=0, high=10)
    resolution_w: float = option(0.012, "one step of the power", unit="W", low=0)
    interval_s: float = option(0.5, "mean time between polls", unit="s", low=0.01, high=3600)
    answer_s: float = option(2.0, "an answer that takes longer is overdue", unit="s", low=0.05, high=60)
    baudrate: int = option(9600, "of the port", unit="Bd", low=300, high=4_000_000)

    def quantities(self) -> tuple[str, ...]:
        """What is asked, of V, A, W, in order."""
        asked = zip("VAW", (self.voltage, self.current, self.power))
        return tuple(unit for unit, question in asked if question)

    def questions(self) -> tuple[str, ...]:
        """The questions of one poll."""
        return tuple(question for question in (self.voltage, self.current, self.power) if question)

    def reading(self) -> Reading:
        """Polled at any time: values of an instant."""
        return Reading.POINT

    def accuracy(self) -> Accuracy:
        """Assumed, where the options do not give the instrument's own."""
        known = Accuracy(
            gain=0.002,
            offset_w=0.05,
            power_resolution_w=self.resolution_w,
            time_s=0.05,
            source="0.2 % + 50 mW and 50 ms assumed: give the instrument's own",
            assumed=("gain", "offset_w", "time_s"),
        )
        return self.limited(known)

    def interval(self) -> float:
        """Mean time between polls."""
        return self.interval_s


class ScpiDecoder(FrameDecoder):
    """See the module."""

    def __init__(self, options: ScpiOptions) -> None:
        super().__init__()
        self._options = options
        self._quantities = options.quantities()
        self._offset_w = options.accuracy().offset_w

    def decode(self, received: Received) -> list[Sample]:
        """See `FrameDecoder`."""
        *lines, rest = received.data.split(b"\n")
        if rest or len(lines) != len(self._quantities):
            self.count(Fault.FRAMING)
            return []
        values: dict[str, float] = {}
        fault: Fault | None = None
        for unit, line in zip(self._quantities, lines):
            text = line.strip().removesuffix(unit.encode())
            value = number(text)
            if value is None and text.upper() != b"NAN":
                self.count(Fault.FRAMING)
                return []
            if value is None or abs(value) == _NAN:
                fault = Fault.NOT_A_NUMBER
            elif abs(value) >= _INFINITY:
                fault = fault or Fault.OVERRANGE
            else:
                values[unit] = value
        if fault is not None:
            self.count(fault)
        elif not self._possible(values):
            self.count(Fault.RANGE)
            return []
        volts, amperes = values.get("V"), values.get("A")
        if amperes is not None:
            amperes *= self._options.ampere_per_unit
        watts = values.get("W")
        if "W" not in self._quantities and volts is not None and amperes is not None:
            watts = volts * amperes
        return [
            Sample(
                t_s=(received.t_sent_s + received.t_s) / 2,
                power_w=watts,
                voltage_v=volts,
                current_a=amperes,
                valid=fault is None,
                time_error_s=(received.t_s - received.t_sent_s) / 2,
            )
        ]

    def _possible(self, values: dict[str, float]) -> bool:
        options = self._options
        volts, watts = values.get("V", 0.0), values.get("W", 0.0)
        amperes = values.get("A", 0.0) * options.ampere_per_unit
        if (
            abs(volts) > options.max_v
            or abs(amperes) > options.max_a
            or abs(watts) > options.max_v * options.max_a
        ):
            return False
        if len(values) < 3 or not options.consistency:
            return True
        return abs(watts - volts * amperes) <= options.consistency * abs(volts * amperes) + self._offset_w


class _Dialogue:
    def __init__(self, options: ScpiOptions) -> None:
        self._setup = [part.strip() for part in options.setup.split(";") if part.strip()]

    def begin(self, talk: Conversation) -> str:
        """See `wire.Dialogue`."""
        answer = talk.ask(b"*IDN?\n", lines_complete(1), timeout_s=2.0)
        identity = answer.decode("ascii", "replace").strip()
        if not identity:
            raise JoulebitError("no answer to *IDN?: right port and baudrate, LF as terminator?")
        for command in self._setup:
            talk.send(command.encode() + b"\n")
        return identity

    def start(self, talk: Conversation) -> None:
        """It is only asked."""

    def stop(self, talk: Conversation) -> None:
        """It is only asked."""


def _open(address: str, options: ScpiOptions) -> Meter:
    questions = options.questions()
    if not questions:
        raise JoulebitError("meter scpi: at least one of voltage, current, power must be asked")
    before = [options.trigger] + [""] * (len(questions) - 1)
    steps = tuple(
        Step(f"{first}\n{question}\n".lstrip().encode(), lines_complete(1))
        for first, question in zip(before, questions)
    )
    port = SerialPort(address, options.baudrate)
    return PolledMeter("scpi", port, options, _Dialogue(options), steps, answer_s=options.answer_s)


KIND = Kind("scpi", "SCPI supply or multimeter", "serial port", ScpiOptions, ScpiDecoder, _open)
