"""INA226 and INA219 behind a microcontroller: the CSV lines E1.

No standard exists for this. This is what firmware has to send (and what the emulator sends): 8N1, ASCII, every
line ended by LF (CR LF is taken too):

    E1,seq,board_us,shunt_raw,bus_raw,marker,crc16
    C1,chip,config,crc16

| field | text | meaning |
|---|---|---|
| seq | 0..65535 or 0..4294967295 | number of the sample, modulo 2^16 or 2^32 (option `sequence_bits`) |
| board_us | 0..4294967295 | board's microseconds at the end of the conversion, modulo 2^32 (71.6 min) |
| shunt_raw | -32768..32767 | shunt voltage register, a signed decimal number |
| bus_raw | 0..65535 | bus voltage register as it was read |
| marker | 0..255 | digital inputs |
| chip, config | INA226 or INA219, four hexadecimal digits | chip and configuration register as read back |
| crc16 | four upper-case hexadecimal digits | of every byte before the last comma |

The CRC is CRC-16/IBM-3740 ("CCITT-FALSE"): polynomial 0x1021, start value 0xFFFF, bits not reflected, nothing
XORed at the end; over the ASCII digits "123456789" it is 29B1. Numbers have no leading zeros and no plus sign, so
that each value has one spelling. The board sends a C1 line when it starts and whenever it receives `?` and LF.

INA226 (data sheet SBOS547, 7.6): shunt LSB 2.5 uV, full scale +-81.92 mV; bus LSB 1.25 mV, bit 15 always 0; input
offset +-10 uV, gain error 0.1 %. INA219 (SBOS448, 8.6): shunt LSB 10 uV, full scale 40, 80, 160 or 320 mV by the
amplifier's setting; bus register bits 15..3 in 4 mV, bit 1 conversion ready, bit 0 math overflow; offset +-50..100
uV, gain error 0.5 % (grade B; grade A 1 %).

What makes a line void: CRC (CHECKSUM); wrong form (FRAMING); a value that no such register holds, or a C1 line
that contradicts the options (RANGE, and no E1 line is believed until the right C1 line comes). At the end of the
shunt's scale, or with the INA219's overflow bit, the sample is there but not valid (OVERRANGE). Sequence and board
time are unwrapped against each other and against the host's clock; a board that started again opens a new segment.
"""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass
from functools import partial

from joulebit.errors import JoulebitError
from joulebit_host.meters.base import Accuracy, Fault, Meter, Reading, Received, Sample
from joulebit_host.meters.clock import ClockAlignment
from joulebit_host.meters.counters import ModularCounter
from joulebit_host.meters.decoding import FrameDecoder, Lines
from joulebit_host.meters.kind import Kind
from joulebit_host.meters.limits import ErrorLimits
from joulebit_host.meters.options import option
from joulebit_host.meters.transports.serial_port import SerialPort
from joulebit_host.meters.wire import Conversation, StreamMeter

_INTEGER = rb"(0|-?[1-9][0-9]{0,9})"
_SAMPLE = re.compile(rb"E1," + rb",".join([_INTEGER] * 5) + rb",([0-9A-F]{4})")
_CHIP = re.compile(rb"C1,(INA226|INA219),([0-9A-F]{4}),([0-9A-F]{4})")
_CLOCK = 1 << 32  #: of board_us
_CLOCK_SLACK_S = 2.0  #: the longest delay between a board and its host that is taken for a delay


@dataclass(frozen=True)
class _Chip:
    """shunt_v, bus_v: volts of one step; bus_shift: bits below it; the rest: data sheet limits."""

    shunt_v: float
    bus_v: float
    bus_shift: int
    gain: float
    offset_v: float
    source: str


CHIPS = {
    "INA226": _Chip(2.5e-6, 1.25e-3, 0, 1e-3, 10e-6, "TI SBOS547 (INA226), 6.5: gain 0.1 %, offset 10 uV"),
    "INA219": _Chip(10e-6, 4e-3, 3, 5e-3, 100e-6, "TI SBOS448 (INA219), 7.5: gain 0.5 %, offset 100 uV"),
}


@dataclass(frozen=True)
class InaOptions(ErrorLimits):
    """Options of both chips."""

    chip: str = option("INA226", "which chip", choices=tuple(CHIPS))
    shunt_ohm: float = option(0.01, "the shunt's resistance", unit="ohm", low=1e-6, high=1e3)
    shunt_error: float = option(0.001, "the shunt's relative tolerance", low=0, high=1)
    interval_s: float = option(0.02, "time between lines", unit="s", low=1e-5, high=100)
    averaging: bool = option(
        True, "conversions follow each other without a pause and are averaged over the interval"
    )
    sequence_bits: int = option(32, "width of the sequence number", choices=(16, 32))
    shunt_full_scale_mv: int = option(320, "INA219: range of its amplifier", unit="mV", choices=(40, 80, 160, 320))
    nominal_v: float = option(12.0, "supply voltage, for the error limits", unit="V", low=0, high=36)
    config: str = option("", "expected configuration register, four hexadecimal digits; any if empty")
    baudrate: int = option(115200, "of the port", unit="Bd", low=300, high=4_000_000)

    def reading(self) -> Reading:
        """AVERAGE where the conversions cover the whole interval."""
        return Reading.AVERAGE if self.averaging else Reading.POINT

    def accuracy(self) -> Accuracy:
        """Chip and shunt together."""
        chip = CHIPS[self.chip]
        known = Accuracy(
            gain=chip.gain + self.shunt_error,
            offset_w=self.nominal_v * chip.offset_v / self.shunt_ohm,
            power_resolution_w=self.nominal_v * chip.shunt_v / self.shunt_ohm,
            time_s=1e-3,
            source=f"{chip.source}; shunt {100 * self.shunt_error:g} %; arrival over USB 1 ms assumed",
            assumed=("time_s",),
        )
        return self.limited(known)

    def interval(self) -> float:
        """Nominal seconds between lines."""
        return self.interval_s


class InaDecoder(FrameDecoder):
    """See the module."""

    def __init__(self, options: InaOptions) -> None:
        super().__init__()
        self._options = options
        self._chip = CHIPS[options.chip]
        self._lines = Lines(longest=200)
        self._sequence = ModularCounter(1 << options.sequence_bits)
        self._clock = ModularCounter(_CLOCK)
        self._alignment = ClockAlignment()
        self._step_us: float | None = None  # between neighbours, once seen
        self._heard_s: float | None = None  # host's time of the last sample
        self._segment = 0
        self._contradicted = False

    def interrupted(self, received: Received) -> None:
        """Half a line is void."""
        if received.event != "timeout" and self._lines.reset():
            self.count(Fault.FRAMING)

    def decode(self, received: Received) -> list[Sample]:
        """See `FrameDecoder`."""
        samples = []
        for line in self._lines.cut(received.data):
            sample = self._line(line.removesuffix(b"\r"), received.t_s)
            if sample is not None:
                samples.append(sample)
        return samples

    def _line(self, line: bytes, arrived_s: float) -> Sample | None:
        if not line:
            return None
        match = _SAMPLE.fullmatch(line) or _CHIP.fullmatch(line)
        if match is None:
            self.count(Fault.FRAMING)
            return None
        *fields, check = match.groups()
        if int(check, 16) != binascii.crc_hqx(line[: line.rindex(b",")], 0xFFFF):
            self.count(Fault.CHECKSUM)
            return None
        if match.re is _CHIP:
            wrong = fields[0].decode() != self._options.chip
            wrong |= self._options.config.upper() not in ("", fields[1].decode())
            self._contradicted = wrong
            self.count(Fault.RANGE, wrong)
            return None
        sequence, board_us, shunt_raw, bus_raw, marker = map(int, fields)
        if self._contradicted or not self._possible(sequence, board_us, shunt_raw, bus_raw, marker):
            self.count(Fault.RANGE)
            return None
        dropped = self._count(sequence, board_us, arrived_s)
        if dropped is None:
            return None
        return self._sample(shunt_raw, bus_raw, marker, dropped, arrived_s)

    def _possible(self, sequence: int, board_us: int, shunt_raw: int, bus_raw: int, marker: int) -> bool:
        bus_bits = 15 if self._options.chip == "INA226" else 16
        return (
            0 <= sequence < self._sequence.modulus
            and 0 <= board_us < _CLOCK
            and -0x8000 <= shunt_raw <= 0x7FFF
            and 0 <= bus_raw < 1 << bus_bits
            and 0 <= marker <= 255
        )

    def _count(self, sequence: int, board_us: int, arrived_s: float) -> int | None:
        """Samples missing before this one; None for a repetition of the last line."""
        if self._heard_s is None:
            self._begin(sequence, board_us)
        elif (sequence, board_us) == (self._sequence.raw, self._clock.raw):
            self.count(Fault.FRAMING)
            return None
        else:
            dropped = self._advance(sequence, board_us, arrived_s - self._heard_s)
            self._heard_s = arrived_s
            if dropped is not None:
                self.count(Fault.DROPPED, dropped)
                return dropped
            self.count(Fault.WRAP_AMBIGUOUS)
            self._segment += 1
            self._begin(sequence, board_us)
        self._heard_s = arrived_s
        return 0

    def _begin(self, sequence: int, board_us: int) -> None:
        self._sequence.start(sequence)
        self._clock.start(board_us)
        self._step_us = None
        self._alignment.reset()

    def _advance(self, sequence: int, board_us: int, elapsed_s: float) -> int | None:
        """Both counters, each against the next better clock; None if they do not fit, for a board that
        restarted.
        """
        passed_us = self._clock.advance(board_us, elapsed_s * 1e6, (_CLOCK_SLACK_S + 1e-3 * elapsed_s) * 1e6)
        if passed_us is None:
            return None
        expected = passed_us / (self._step_us or self._options.interval_s * 1e6)
        slack = max(2.0, 0.2 * expected) if self._step_us else self._sequence.modulus / 4
        steps = self._sequence.advance(sequence, expected, slack)
        if not steps:
            return None
        if steps == 1:
            self._step_us = passed_us
        self.count(Fault.WRAPPED, self._clock.wraps + self._sequence.wraps)
        return steps - 1

    def _sample(self, shunt_raw: int, bus_raw: int, marker: int, dropped: int, arrived_s: float) -> Sample:
        chip, options = self._chip, self._options
        over = shunt_raw in (-0x8000, 0x7FFF)
        if options.chip == "INA219":
            over = bool(bus_raw & 1) or abs(shunt_raw) * chip.shunt_v >= options.shunt_full_scale_mv / 1e3 - 1e-9
        self.count(Fault.OVERRANGE, over)
        voltage_v = (bus_raw >> chip.bus_shift) * chip.bus_v
        current_a = shunt_raw * chip.shunt_v / options.shunt_ohm
        device_t_s = self._clock.total / 1e6
        return Sample(
            t_s=self._alignment.host_time(device_t_s, arrived_s),
            power_w=voltage_v * current_a,
            voltage_v=voltage_v,
            current_a=current_a,
            device_t_s=device_t_s,
            sequence=self._sequence.total,
            marker=marker,
            dropped=dropped,
            valid=not over,
            segment=self._segment,
        )


class _Dialogue:
    """Asks for the C1 line; a board that does not know the question streams all the same."""

    def __init__(self, options: InaOptions) -> None:
        self._options = options

    def begin(self, talk: Conversation) -> str:
        """See `wire.Dialogue`."""
        seen = talk.ask(b"?\n", lambda data: bool(_chip_lines(data)), timeout_s=4.0)
        chips = _chip_lines(seen)
        if chips and chips[-1][0] != self._options.chip:
            raise JoulebitError(f"the board has an {chips[-1][0]}, but the options say {self._options.chip}")
        if not chips and not any(_SAMPLE.fullmatch(line.strip()) for line in seen.split(b"\n")):
            raise JoulebitError(
                "no E1 or C1 line came within 4 s: is this the right port, and the right baudrate?"
            )
        return f"{chips[-1][0]} config {chips[-1][1]}" if chips else self._options.chip

    def start(self, talk: Conversation) -> None:
        """The board streams by itself."""

    def stop(self, talk: Conversation) -> None:
        """The board streams by itself."""


def _chip_lines(data: bytes) -> list[tuple[str, str]]:
    """Chip and configuration of every sound C1 line."""
    found = []
    for line in data.split(b"\n")[:-1]:
        line = line.removesuffix(b"\r")
        match = _CHIP.fullmatch(line)
        if match and int(match[3], 16) == binascii.crc_hqx(line[: line.rindex(b",")], 0xFFFF):
            found.append((match[1].decode(), match[2].decode()))
    return found


@dataclass(frozen=True)
class Ina219Options(InaOptions):
    """The same with the INA219 as default."""

    chip: str = option("INA219", "which chip", choices=tuple(CHIPS))


def _open(kind: str, address: str, options: InaOptions) -> Meter:
    port = SerialPort(address, options.baudrate)
    return StreamMeter(kind, port, options, _Dialogue(options), sync=b"\n")


KIND = Kind(
    "ina226",
    "INA226 behind a microcontroller: CSV lines with sequence number and CRC",
    "serial port",
    InaOptions,
    InaDecoder,
    partial(_open, "ina226"),
)
INA219 = Kind(
    "ina219",
    "INA219 behind a microcontroller: the same lines",
    "serial port",
    Ina219Options,
    InaDecoder,
    partial(_open, "ina219"),
)
