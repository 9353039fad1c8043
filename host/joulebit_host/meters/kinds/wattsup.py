"""Watts Up? PRO: a wall-plug meter on a serial port, 115200 baud 8N1, ASCII packets `#COMMAND,...;`.

`#V,R,0;` asks for the version, `#L,W,3,E,,1;` starts a packet per second, `#L,W,0,E,,1;` ends it. A packet is
`#d,-,18,` and eighteen whole numbers, or `_` for one that is not measured:

    W*10, V*10, A*1000, WH*10, cost, WH/month, cost/month, Wmax, Vmax, Amax, Wmin, Vmin, Amin, PF*100, duty cycle,
    power cycle, Hz*10, VA

There is no checksum. FRAMING: not exactly eighteen such fields. RANGE: a value outside of its own minimum and
maximum in the same packet; power factor above 1; |W - V A PF| above the steps of the four plus 3 % of V A; WH that
runs ahead of the largest power. WH running backwards opens a segment (WRAP_AMBIGUOUS) when the next packet
confirms it. Power missing: NOT_A_NUMBER. A packet that stays away for one and a half seconds counts as DROPPED. A
disturbed digit inside of these limits is not found.

Source: Electronic Educational Devices, "Watts Up? communications protocol"; error limit 1.5 % + 0.3 W: its manual.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from joulebit.errors import JoulebitError
from joulebit_host.meters.base import Accuracy, Fault, Meter, Reading, Received, Sample
from joulebit_host.meters.counters import Accumulator, Step
from joulebit_host.meters.decoding import FrameDecoder, Lines
from joulebit_host.meters.kind import Kind
from joulebit_host.meters.limits import ErrorLimits
from joulebit_host.meters.options import option
from joulebit_host.meters.transports.serial_port import SerialPort
from joulebit_host.meters.wire import Conversation, StreamMeter

_DATA = re.compile(rb"#d,-,18((?:,(?:_|0|-?[1-9][0-9]{0,8})){18})")
_OTHER = re.compile(rb"#[a-ce-zA-Z],[ -~]*")
_WATT, _VOLT, _AMPERE, _WH, _MAX, _MIN, _FACTOR = 0, 1, 2, 3, 7, 10, 13


@dataclass(frozen=True)
class WattsUpOptions(ErrorLimits):
    """Options of the Watts Up? PRO."""

    interval_s: float = option(1.0, "time between packets", unit="s", choices=(1.0, 2.0, 5.0, 10.0))
    max_w: float = option(2000.0, "largest possible power", unit="W", low=1, high=5000)
    baudrate: int = option(115200, "of the port", unit="Bd", low=300, high=4_000_000)

    def reading(self) -> Reading:
        """The mean since the packet before."""
        return Reading.AVERAGE

    def accuracy(self) -> Accuracy:
        """Of the manual."""
        known = Accuracy(
            gain=0.015,
            offset_w=0.3,
            power_resolution_w=0.1,
            energy_resolution_j=360.0,
            time_s=0.1,
            source="Watts up? manual, technical specifications: 1.5 % + 3 counts; arrival within 0.1 s assumed",
            assumed=("time_s",),
        )
        return self.limited(known)

    def interval(self) -> float:
        """Time between packets."""
        return self.interval_s


class WattsUpDecoder(FrameDecoder):
    """See the module."""

    def __init__(self, options: WattsUpOptions) -> None:
        super().__init__()
        self._options = options
        self._lines = Lines(b";", 400)
        self._last_s: float | None = None
        self._wh = Accumulator(options.max_w / 360, 2 + options.max_w / 360)  # steps of 0.1 Wh
        self._segment = 0

    def interrupted(self, received: Received) -> None:
        """Half a packet is void; what is missing after an interruption is a gap."""
        if received.event != "timeout":
            self._last_s = None
            if self._lines.reset():
                self.count(Fault.FRAMING)

    def decode(self, received: Received) -> list[Sample]:
        """See `FrameDecoder`."""
        samples = []
        for packet in self._lines.cut(received.data):
            packet = packet.lstrip(b"\r\n")
            match = _DATA.fullmatch(packet)
            if match is None:
                self.count(Fault.FRAMING, not _OTHER.fullmatch(packet))
                continue
            fields = [None if text == b"_" else int(text) for text in match[1].split(b",")[1:]]
            if not self._possible(fields) or not self._energy(fields[_WH], received.t_s):
                self.count(Fault.RANGE)
                continue
            samples.append(self._sample(fields, received.t_s))
        return samples

    def _sample(self, fields: list[int | None], t_s: float) -> Sample:
        watts, volts, amperes = fields[:3]
        self.count(Fault.NOT_A_NUMBER, watts is None)
        return Sample(
            t_s=t_s,
            power_w=None if watts is None else watts / 10,
            voltage_v=None if volts is None else volts / 10,
            current_a=None if amperes is None else amperes / 1000,
            energy_j=None if fields[_WH] is None else self._wh.total * 360.0,
            dropped=self._missed(t_s),
            valid=watts is not None,
            segment=self._segment,
        )

    def _possible(self, fields: list[int | None]) -> bool:
        for now, most, least in zip(fields[:3], fields[_MAX : _MAX + 3], fields[_MIN : _MIN + 3]):
            if now is None:
                continue
            if now < 0 or (most is not None and now > most) or (least is not None and now < least):
                return False
        watts, volts, amperes, factor = fields[_WATT], fields[_VOLT], fields[_AMPERE], fields[_FACTOR]
        if watts is not None and watts > 10 * self._options.max_w:
            return False
        if factor is not None and not 0 <= factor <= 100:
            return False
        if watts is None or volts is None or amperes is None:
            return True
        apparent = volts / 10 * amperes / 1000
        steps = amperes / 1000 * 0.05 + volts / 10 * 0.0005 + 0.05 + 0.005 * apparent
        if factor is None:
            return watts / 10 <= 1.03 * apparent + steps
        return abs(watts / 10 - apparent * factor / 100) <= 0.03 * apparent + steps

    def _energy(self, wh: int | None, t_s: float) -> bool:
        """Takes the counter, in 0.1 Wh; False for a value that is in doubt."""
        if wh is None:
            return True
        step = self._wh.take(wh, t_s)
        if step is Step.BROKEN:
            self.count(Fault.WRAP_AMBIGUOUS)
            self._segment += 1
        return step is not Step.DOUBTFUL

    def _missed(self, t_s: float) -> int:
        last_s, self._last_s = self._last_s, t_s
        if last_s is None:
            return 0
        missed = max(0, round((t_s - last_s) / self._options.interval_s) - 1)
        self.count(Fault.DROPPED, missed)
        return missed


class _Dialogue:
    def __init__(self, options: WattsUpOptions) -> None:
        self._every = round(options.interval_s)

    def begin(self, talk: Conversation) -> str:
        """See `wire.Dialogue`."""
        answer = talk.ask(b"#V,R,0;", lambda data: b"#v" in data and data.rstrip().endswith(b";"), timeout_s=2.0)
        at = answer.rfind(b"#v")
        if at < 0:
            raise JoulebitError("no version packet of a Watts Up? came within 2 s: is this the right port?")
        return "Watts Up? " + answer[at:].split(b";")[0].decode("ascii", "replace")

    def start(self, talk: Conversation) -> None:
        """Starts the stream."""
        talk.send(f"#L,W,3,E,,{self._every};".encode())

    def stop(self, talk: Conversation) -> None:
        """Ends the stream."""
        talk.send(b"#L,W,0,E,,1;")


def _open(address: str, options: WattsUpOptions) -> Meter:
    return StreamMeter(
        "wattsup", SerialPort(address, options.baudrate), options, _Dialogue(options), overdue_s=3.0
    )


KIND = Kind("wattsup", "Watts Up? PRO (wall plug)", "serial port", WattsUpOptions, WattsUpDecoder, _open)
