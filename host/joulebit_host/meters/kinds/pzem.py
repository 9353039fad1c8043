"""PZEM-004T v3 (AC), PZEM-003 and PZEM-017 (DC): Modbus-RTU, 9600 baud, 8N1 (004T) or 8N2 (003, 017).

One poll reads the input registers (function 04) from 0: ten on the 004T, eight on the others. 32-bit values come
low word first. Frames are built and their CRC is checked by pymodbus; the answer's bytes are the record.

| Register | 004T v3 | 003, 017 |
|---|---|---|
| 0 | V / 10 | V / 100 |
| 1(-2) | A / 1000, 32 bits | A / 100, 16 bits |
| power | 3-4: W / 10 | 2-3: W / 10 |
| energy | 5-6: Wh | 4-5: Wh |
| then | 7 Hz / 10, 8 power factor / 100, 9 alarm | 6 high-voltage alarm, 7 low-voltage alarm |

FRAMING: not exactly one answer of the expected length, address and function. CHECKSUM: wrong CRC. NOT_A_NUMBER: an
exception answer (function 84). RANGE: V, A, W, Hz or power factor beyond what the meter can measure, an alarm word
that is neither 0000 nor FFFF; on the DC meters also |W - V A| more than the three steps explain plus 5 %. The
counter Wh going down means that it was reset: new segment, WRAP_AMBIGUOUS. Its step is 3600 J, so power leads.

Source: Peacefair, "PZEM-004T V3.0 user manual", 2; "PZEM-003/017 user manual", 2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from joulebit.errors import JoulebitError
from joulebit_host.meters.base import Accuracy, Fault, Meter, Reading, Received, Sample
from joulebit_host.meters.decoding import FrameDecoder
from joulebit_host.meters.kind import Kind
from joulebit_host.meters.limits import ErrorLimits
from joulebit_host.meters.options import option
from joulebit_host.meters.transports.serial_port import SerialPort
from joulebit_host.meters.wire import Conversation, PolledMeter, Step

_READ_INPUT = 4
_DC_MANUAL = "Peacefair PZEM-003/017 manual, 1.3.3 (accuracy 1 %), 1.3.2 (resolution)"
_AC_MANUAL = "Peacefair PZEM-004T V3.0 manual, 1.3.5 (accuracy 0.5 %), 1.3.3 (resolution)"
_EXCEPTION = 0x80


@dataclass(frozen=True)
class _Model:
    """registers: read from 0; volt, ampere: one step; max_a, max_w: full scale; dc, max_v: kind and limit."""

    registers: int
    volt: float
    ampere: float
    max_v: float
    max_a: float
    max_w: float
    dc: bool


MODELS = {
    "004T": _Model(10, 0.1, 0.001, 300.0, 110.0, 33_000.0, False),
    "003": _Model(8, 0.01, 0.01, 330.0, 11.0, 3_630.0, True),
    "017": _Model(8, 0.01, 0.01, 330.0, 330.0, 108_900.0, True),
}


@dataclass(frozen=True)
class PzemOptions(ErrorLimits):
    """Options of the PZEM meters."""

    model: str = option("017", "which meter", choices=tuple(MODELS))
    slave: int = option(1, "Modbus address; F8 (248) is answered by any single meter", low=1, high=248)
    interval_s: float = option(1.0, "mean time between polls", unit="s", low=0.1, high=3600)
    nominal_v: float = option(12.0, "supply voltage, for the error limits", unit="V", low=0, high=300)
    full_scale_a: float = option(
        10.0, "full scale of the current (the shunt's on the 017)", unit="A", low=1, high=330
    )
    baudrate: int = option(9600, "of the port", unit="Bd", low=300, high=4_000_000)

    def reading(self) -> Reading:
        """Polled without regard to the meter's own update of once per second."""
        return Reading.POINT

    def accuracy(self) -> Accuracy:
        """1 % of power on the DC meters, 0.5 % on the 004T."""
        model = MODELS[self.model]
        known = Accuracy(
            gain=0.01 if model.dc else 0.005,
            offset_w=self.nominal_v * self.full_scale_a * 1e-3,
            power_resolution_w=0.1,
            energy_resolution_j=3600.0,
            time_s=1.0,
            source=f"{_DC_MANUAL if model.dc else _AC_MANUAL}; offset 0.1 % of full scale, update in 1 s assumed",
            assumed=("offset_w", "time_s"),
        )
        return self.limited(known)

    def interval(self) -> float:
        """Mean time between polls."""
        return self.interval_s


def request(options: PzemOptions) -> bytes:
    """The question for all input registers."""
    from pymodbus.framer import FramerRTU
    from pymodbus.pdu import DecodePDU
    from pymodbus.pdu.register_message import ReadInputRegistersRequest

    question = ReadInputRegistersRequest(
        address=0, count=MODELS[options.model].registers, dev_id=options.slave, transaction_id=0
    )
    return bytes(FramerRTU(DecodePDU(False)).buildFrame(question))


class PzemDecoder(FrameDecoder):
    """See the module."""

    def __init__(self, options: PzemOptions) -> None:
        super().__init__()
        try:
            from pymodbus.framer import FramerRTU
        except ModuleNotFoundError:
            raise JoulebitError("PZEM meters need pymodbus: pip install 'joulebit[meters]'") from None
        self._crc: Callable[[bytes], int] = FramerRTU.compute_CRC
        self._options = options
        self._model = MODELS[options.model]
        self._length = 5 + 2 * self._model.registers
        self._base_wh: int | None = None
        self._wh = 0
        self._segment = 0

    def decode(self, received: Received) -> list[Sample]:
        """See `FrameDecoder`."""
        data, model = received.data, self._model
        is_exception = len(data) == 5 and data[1] == _EXCEPTION | _READ_INPUT
        expected = bytes((self._options.slave, _READ_INPUT, 2 * model.registers))
        if not is_exception and (len(data) != self._length or data[:3] != expected):
            self.count(Fault.FRAMING)
            return []
        if self._crc(data[:-2]) != int.from_bytes(data[-2:], "big"):
            self.count(Fault.CHECKSUM)
            return []
        if is_exception:
            self.count(Fault.NOT_A_NUMBER)
            return []
        words = [int.from_bytes(data[i : i + 2], "big") for i in range(3, len(data) - 2, 2)]
        voltage_v = words[0] * model.volt
        current_a = (words[1] if model.dc else words[1] | words[2] << 16) * model.ampere
        at = 2 if model.dc else 3
        power_w = (words[at] | words[at + 1] << 16) / 10
        if not self._possible(voltage_v, current_a, power_w, words[at + 4 :]):
            self.count(Fault.RANGE)
            return []
        return [
            Sample(
                t_s=(received.t_sent_s + received.t_s) / 2,
                power_w=power_w,
                voltage_v=voltage_v,
                current_a=current_a,
                energy_j=self._energy(words[at + 2] | words[at + 3] << 16),
                segment=self._segment,
                time_error_s=(received.t_s - received.t_sent_s) / 2,
            )
        ]

    def _possible(self, volts: float, amperes: float, watts: float, rest: list[int]) -> bool:
        model = self._model
        alarms = rest if model.dc else rest[2:]
        if volts > model.max_v or amperes > model.max_a or watts > model.max_w or set(alarms) - {0, 0xFFFF}:
            return False
        if model.dc:
            tolerance_w = volts * model.ampere + amperes * model.volt + 0.15 + 0.05 * volts * amperes
            return abs(watts - volts * amperes) <= tolerance_w
        return rest[0] <= 700 and rest[1] <= 100

    def _energy(self, watt_hours: int) -> float:
        if self._base_wh is None:
            self._base_wh = watt_hours
        elif watt_hours < self._wh:
            self.count(Fault.WRAP_AMBIGUOUS)
            self._segment += 1
            self._base_wh = watt_hours
        self._wh = watt_hours
        return (watt_hours - self._base_wh) * 3600.0


class _Dialogue:
    def __init__(self, options: PzemOptions, question: bytes, complete: Callable[[bytes], bool]) -> None:
        self._options = options
        self._question = question
        self._complete = complete

    def begin(self, talk: Conversation) -> str:
        """See `wire.Dialogue`. The protocol has no name to ask for: a sound answer has to do."""
        answer = talk.ask(self._question, self._complete)
        probe = PzemDecoder(self._options)
        if not probe.feed(Received(0.0, 0.0, answer)):
            raise JoulebitError(
                f"no sound answer of a PZEM-{self._options.model} at address {self._options.slave} came, got "
                f"{answer.hex(' ') or 'nothing'}: right port, model and address?"
            )
        return f"PZEM-{self._options.model} address {self._options.slave}"

    def start(self, talk: Conversation) -> None:
        """It is only asked."""

    def stop(self, talk: Conversation) -> None:
        """It is only asked."""


def _open(address: str, options: PzemOptions) -> Meter:
    try:
        question = request(options)
    except ModuleNotFoundError:
        raise JoulebitError("PZEM meters need pymodbus: pip install 'joulebit[meters]'") from None
    model = MODELS[options.model]
    length = 5 + 2 * model.registers

    def complete(data: bytes) -> bool:
        return len(data) >= length or (len(data) == 5 and data[1] == _EXCEPTION | _READ_INPUT)

    port = SerialPort(address, options.baudrate, stopbits=2 if model.dc else 1)
    return PolledMeter("pzem", port, options, _Dialogue(options, question, complete), (Step(question, complete),))


KIND = Kind("pzem", "PZEM-003, PZEM-017 (DC), PZEM-004T v3 (AC)", "serial port", PzemOptions, PzemDecoder, _open)
