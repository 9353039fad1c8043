"""Jetson boards through NVIDIA's `tegrastats`, which prints a line per interval.

    ... VDD_IN 4950mW/4960mW VDD_CPU_GPU_CV 1020mW/1020mW ...      JetPack 5 and later
    ... POM_5V_IN 2230/2215 POM_5V_GPU 80/80 ...                   JetPack 4

Each rail says its power now and its mean since the start, in milliwatts. Address: rails with + between them
(`tegrastats:VDD_IN`), whose powers are added; VDD_IN, else POM_5V_IN, by default (the first that a line has).
Lines carry no checksum. FRAMING: a line without exactly one entry for each rail (of a text of printable
characters). RANGE: above `max_power_w`. DROPPED: lines missing by the host's clock.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass

from joulebit.errors import JoulebitError
from joulebit_host.meters.base import Accuracy, Fault, Meter, Reading, Received, Sample
from joulebit_host.meters.decoding import FrameDecoder, Lines
from joulebit_host.meters.kind import Kind
from joulebit_host.meters.kinds.jetson import JetsonOptions
from joulebit_host.meters.limits import ErrorLimits
from joulebit_host.meters.options import option
from joulebit_host.meters.transports.process import ProcessPort
from joulebit_host.meters.wire import Conversation, StreamMeter

_DEFAULTS = ("VDD_IN", "POM_5V_IN")
_ENTRY = r"(?:(?<=\s)|^){}\s(\d{{1,6}})(?:mW)?/(\d{{1,6}})(?:mW)?(?=\s|$)"


@dataclass(frozen=True)
class TegrastatsOptions(ErrorLimits):
    """Options of tegrastats."""

    interval_s: float = option(0.1, "time between lines", unit="s", low=0.01, high=60)
    max_power_w: float = option(200.0, "more than the rails together can take", unit="W", low=0.1)
    rails: tuple[str, ...] = option((), "the rails whose powers are added; from the address")
    command: str = option("tegrastats", "the program")

    def reading(self) -> Reading:
        """Values of an instant."""
        return Reading.POINT

    def accuracy(self) -> Accuracy:
        """As for the INA3221 itself."""
        return self.limited(JetsonOptions().accuracy())

    def interval(self) -> float:
        """Time between lines."""
        return self.interval_s


class TegrastatsDecoder(FrameDecoder):
    """See the module."""

    def __init__(self, options: TegrastatsOptions) -> None:
        super().__init__()
        self._options = options
        self._rails = options.rails
        self._lines = Lines(longest=8192)
        self._last_s: float | None = None

    def interrupted(self, received: Received) -> None:
        """Half a line is void."""
        if received.event != "timeout":
            self._lines.reset()
            self._last_s = None

    def decode(self, received: Received) -> list[Sample]:
        """See `FrameDecoder`."""
        samples = []
        for line in self._lines.cut(received.data):
            watts = self._power(line.decode("ascii", "replace").strip())
            if watts is None:
                self.count(Fault.FRAMING)
            elif watts > self._options.max_power_w:
                self.count(Fault.RANGE)
            else:
                samples.append(Sample(t_s=received.t_s, power_w=watts, dropped=self._missed(received.t_s)))
        return samples

    def _power(self, line: str) -> float | None:
        if not line.isprintable() or not line.isascii():
            return None
        if not self._rails:
            self._rails = tuple(rail for rail in _DEFAULTS if f"{rail} " in line)[:1]
        total = 0
        for rail in self._rails:
            found = re.findall(_ENTRY.format(re.escape(rail)), line)
            if len(found) != 1:
                return None
            total += int(found[0][0])
        return total / 1000 if self._rails else None

    def _missed(self, t_s: float) -> int:
        last_s, self._last_s = self._last_s, t_s
        if last_s is None:
            return 0
        missed = max(0, round((t_s - last_s) / self._options.interval_s) - 1)
        self.count(Fault.DROPPED, missed)
        return missed


class _Dialogue:
    def begin(self, talk: Conversation) -> str:
        """See `wire.Dialogue`."""
        if not talk.listen(lambda data: b"\n" in data, timeout_s=5.0):
            raise JoulebitError("tegrastats printed nothing within 5 s")
        return "tegrastats"

    def start(self, talk: Conversation) -> None:
        """It prints by itself."""

    def stop(self, talk: Conversation) -> None:
        """It prints by itself."""


def _open(address: str, options: TegrastatsOptions) -> Meter:
    import dataclasses

    if address:
        options = dataclasses.replace(options, rails=tuple(address.split("+")))
    command = [options.command, "--interval", str(max(1, round(options.interval_s * 1000)))]
    return StreamMeter("tegrastats", ProcessPort(command), options, _Dialogue())


def find() -> list[tuple[str, str, bool, str]]:
    """(spec, title, usable, hint)."""
    return [("tegrastats", "Jetson, through tegrastats", True, "")] if shutil.which("tegrastats") else []


KIND = Kind(
    "tegrastats", "Jetson board through tegrastats", "rails, or none", TegrastatsOptions, TegrastatsDecoder, _open
)
