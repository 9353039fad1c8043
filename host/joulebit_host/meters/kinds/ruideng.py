"""RuiDeng UM24C, UM25C, UM34C: USB testers on a (Bluetooth) serial port, 9600 baud 8N1.

The byte F0 asks for a record of 130 bytes, big-endian; not faster than every 100 ms:

| Offset | Type | Field |
|---|---|---|
| 0 | u16 | model: 0963, 09C9, 0D4C |
| 2 | u16 | volts / 100 (UM25C / 1000) |
| 4 | u16 | amperes / 1000 (UM25C / 10000) |
| 6 | u32 | watts / 1000 |
| 10 | u16 | degrees Celsius |
| 14 | u16 | data group g, 0..9 |
| 16+8g, 20+8g | u32 | mAh, mWh of group g |
| 112 | u32 | seconds of the recording group |
| 128 | | UM24C, UM25C: FF F1; UM34C: byte 129 is the XOR of 32 of the odd bytes |

The record has no checksum (the UM34C's XOR leaves out most bytes), so everything else that it says about itself is
held against it. FRAMING: not 130 bytes, or another model's number. CHECKSUM: wrong tail or XOR. RANGE: volts,
amperes, temperature (0..120) or group beyond what the model can show; |W - V A| more than the steps of the three
values explain, V * step_A + A * step_V + 1.5 mW; the group's energy going up faster than the model's largest power
allows. An energy that goes down (the group was cleared or changed) opens a segment as soon as a second record
confirms it, and is WRAP_AMBIGUOUS.

What remains possible is said plainly: on the UM24C and UM25C a disturbed bit that changes a value by less than
that tolerance (25 mW and 3 mW at 12 V) is not found. On the UM34C the checksum covers watts and volts; amperes can
be off by as much unnoticed.

Layout, steps and largest currents: sigrok wiki "RDTech UM series". The limits of error (UM25C 0.05 % + 2 steps of
volts and 0.1 % + 5 steps of amperes, the others 0.5 % + 2 and 0.8 % + 3) could not be confirmed: no data sheet of
the maker was found. They count as assumed, and the options `gain_error` and `offset_w` take better ones.
"""

from __future__ import annotations

import functools
import operator
import struct
from dataclasses import dataclass

from joulebit.errors import JoulebitError
from joulebit_host.meters import wire
from joulebit_host.meters.base import Accuracy, Fault, Meter, Reading, Received, Sample
from joulebit_host.meters.counters import Accumulator, Step
from joulebit_host.meters.decoding import FrameDecoder
from joulebit_host.meters.kind import Kind
from joulebit_host.meters.limits import ErrorLimits
from joulebit_host.meters.options import option
from joulebit_host.meters.transports.serial_port import SerialPort
from joulebit_host.meters.wire import Conversation, PolledMeter

REQUEST = b"\xf0"
LENGTH = 130
_XORED: tuple[int, ...] = (
    1,
    3,
    7,
    9,
    15,
    17,
    19,
    23,
    31,
    39,
    41,
    45,
    49,
    53,
    55,
    57,
    59,
    63,
    67,
    69,
    73,
    79,
    83,
    89,
    97,
    99,
    109,
)
_XORED += (111, 113, 119, 121, 127)
_HEAD = struct.Struct(">HHHIHxxH")
_ENERGY_STEP_J = 3.6  # 1 mWh


@dataclass(frozen=True)
class _Model:
    """number: in the record; volt, ampere: one step; max_v, max_a: what it can measure; limits of error."""

    number: int
    volt: float
    ampere: float
    max_v: float
    max_a: float
    gain: float
    offset_v: float
    offset_a: float


MODELS = {
    "UM24C": _Model(0x0963, 0.01, 0.001, 24.5, 3.2, 0.005 + 0.008, 0.02, 0.003),
    "UM25C": _Model(0x09C9, 0.001, 0.0001, 26.0, 5.2, 0.0005 + 0.001, 0.002, 0.0005),
    "UM34C": _Model(0x0D4C, 0.01, 0.001, 26.0, 4.2, 0.005 + 0.008, 0.02, 0.003),
}


@dataclass(frozen=True)
class RuidengOptions(ErrorLimits):
    """Options of the UM series."""

    model: str = option("UM25C", "which tester", choices=tuple(MODELS))
    interval_s: float = option(0.5, "mean time between polls", unit="s", low=0.1, high=3600)
    nominal_v: float = option(12.0, "supply voltage, for the error limits", unit="V", low=0, high=26)
    baudrate: int = option(9600, "of the port", unit="Bd", low=300, high=4_000_000)

    def reading(self) -> Reading:
        """Values of an instant; the energy counter's step of 3.6 J is too coarse to lead."""
        return Reading.POINT

    def accuracy(self) -> Accuracy:
        """Volts and amperes together, at the nominal voltage."""
        model = MODELS[self.model]
        known = Accuracy(
            gain=model.gain,
            offset_w=self.nominal_v * model.offset_a + model.offset_v,
            power_resolution_w=self.nominal_v * model.ampere,
            energy_resolution_j=_ENERGY_STEP_J,
            time_s=0.25,
            source=f"{self.model}: no data sheet was found, limits of volts and amperes assumed (added; 1 A for "
            "the volts' offset); steps: sigrok wiki, RDTech UM series; age of a record up to 0.25 s assumed",
            assumed=("gain", "offset_w", "time_s"),
        )
        return self.limited(known)

    def interval(self) -> float:
        """Mean time between polls."""
        return self.interval_s


class RuidengDecoder(FrameDecoder):
    """See the module."""

    def __init__(self, options: RuidengOptions) -> None:
        super().__init__()
        self._model = MODELS[options.model]
        self._is_um34c = options.model == "UM34C"
        most_mwh_per_s = self._model.max_v * self._model.max_a * 1000 / 3600
        self._mwh = Accumulator(most_mwh_per_s, 2 + most_mwh_per_s)
        self._segment = 0

    def decode(self, received: Received) -> list[Sample]:
        """See `FrameDecoder`."""
        data = received.data
        if len(data) != LENGTH:
            self.count(Fault.FRAMING)
            return []
        number, volts, amperes, milliwatts, celsius, group = _HEAD.unpack_from(data)
        if number != self._model.number:
            self.count(Fault.FRAMING)
            return []
        if not self._sealed(data):
            self.count(Fault.CHECKSUM)
            return []
        voltage_v, current_a, power_w = volts * self._model.volt, amperes * self._model.ampere, milliwatts / 1000
        if not self._possible(voltage_v, current_a, power_w, celsius, group):
            self.count(Fault.RANGE)
            return []
        (mwh,) = struct.unpack_from(">I", data, 20 + 8 * group)
        t_s = (received.t_sent_s + received.t_s) / 2
        step = self._mwh.take(mwh, t_s, group)
        if step is Step.DOUBTFUL:
            self.count(Fault.RANGE)
            return []
        if step is Step.BROKEN:
            self.count(Fault.WRAP_AMBIGUOUS)
            self._segment += 1
        return [
            Sample(
                t_s=t_s,
                power_w=power_w,
                voltage_v=voltage_v,
                current_a=current_a,
                energy_j=self._mwh.total * _ENERGY_STEP_J,
                segment=self._segment,
                time_error_s=(received.t_s - received.t_sent_s) / 2,
            )
        ]

    def _sealed(self, data: bytes) -> bool:
        if self._is_um34c:
            return functools.reduce(operator.xor, (data[i] for i in _XORED)) == data[129]
        return data[128:] == b"\xff\xf1"

    def _possible(self, volts: float, amperes: float, watts: float, celsius: int, group: int) -> bool:
        model = self._model
        tolerance_w = volts * model.ampere + amperes * model.volt + 0.0015
        return (
            volts <= model.max_v
            and amperes <= model.max_a
            and celsius <= 120
            and group <= 9
            and abs(watts - volts * amperes) <= tolerance_w
        )


class _Dialogue:
    def __init__(self, options: RuidengOptions) -> None:
        self._model = options.model

    def begin(self, talk: Conversation) -> str:
        """See `wire.Dialogue`."""
        answer = talk.ask(REQUEST, _complete, timeout_s=2.0)
        by_number = {model.number: name for name, model in MODELS.items()}
        found = by_number.get(int.from_bytes(answer[:2], "big")) if len(answer) == LENGTH else None
        if found is None:
            raise JoulebitError(
                f"no record of a UM24C, UM25C or UM34C came ({len(answer)} bytes): is this the right port?"
            )
        if found != self._model:
            raise JoulebitError(f"the meter is a {found}, but the options say model={self._model}")
        return found

    def start(self, talk: Conversation) -> None:
        """It is only asked."""

    def stop(self, talk: Conversation) -> None:
        """It is only asked."""


def _complete(data: bytes) -> bool:
    return len(data) >= LENGTH


def _open(address: str, options: RuidengOptions) -> Meter:
    port = SerialPort(address, options.baudrate)
    return PolledMeter("ruideng", port, options, _Dialogue(options), (wire.Step(REQUEST, _complete),), least_s=0.1)


KIND = Kind("ruideng", "RuiDeng UM24C, UM25C, UM34C", "serial port", RuidengOptions, RuidengDecoder, _open)
