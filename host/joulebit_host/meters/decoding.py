"""What decoders share: counting faults, events, lines of a stream, numbers in text."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from joulebit_host.meters.base import Fault, Received, Sample

_NUMBER = re.compile(rb"[+-]?(\d+(\.\d*)?|\.\d+)([Ee][+-]?\d{1,3})?")


class FrameDecoder:
    """A decoder whose subclass turns data into samples; events are counted here."""

    def __init__(self) -> None:
        self.faults: Counter[Fault] = Counter()

    def feed(self, received: Received) -> list[Sample]:
        """See `base.Decoder.feed`."""
        if received.event:
            if received.event == "timeout":
                self.count(Fault.TIMEOUT)
            elif received.event == "unplugged":
                self.count(Fault.UNPLUGGED)
            self.interrupted(received)
            return []
        return self.decode(received) if received.data else []

    def count(self, fault: Fault, times: int = 1) -> None:
        """Counts a fault, `times` of them."""
        if times:
            self.faults[fault] += times

    def interrupted(self, received: Received) -> None:
        """The stream broke off: whatever is half received is void."""

    def decode(self, received: Received) -> list[Sample]:
        """The samples that are complete with this data, which is not empty."""
        raise TypeError(f"{type(self).__name__} must define decode")


class FilesDecoder(FrameDecoder):
    """A decoder of small files that were read together.

    There is a line for each: its name and a whole number, or `!E...` where it could not be read.
    """

    def __init__(self, names: Sequence[str], digits: int) -> None:
        """names: of the files, in order; digits: of the longest number."""
        super().__init__()
        self._names = list(names)
        self._value = re.compile(rf"-?\d{{1,{digits}}}|!E[A-Z0-9]+")
        self._segment = 0

    def decode(self, received: Received) -> list[Sample]:
        """See `FrameDecoder`."""
        lines = received.data.decode("ascii", "replace").split("\n")
        if lines.pop() or [line.partition(" ")[0] for line in lines] != self._names:
            self.count(Fault.FRAMING)
            return []
        texts = [line.partition(" ")[2] for line in lines]
        if not all(self._value.fullmatch(text) for text in texts):
            self.count(Fault.FRAMING)
            return []
        t_s = (received.t_sent_s + received.t_s) / 2
        error_s = (received.t_s - received.t_sent_s) / 2
        if any(text.startswith("!") for text in texts):
            self.count(Fault.NOT_A_NUMBER)
            return [Sample(t_s=t_s, valid=False, segment=self._segment, time_error_s=error_s)]
        return self.sampled(dict(zip(self._names, map(int, texts))), t_s, error_s)

    def sampled(self, numbers: dict[str, int], t_s: float, error_s: float) -> list[Sample]:
        """The sample of one reading of all files, at t_s +- error_s."""
        raise TypeError(f"{type(self).__name__} must define sampled")


class Lines:
    """Cuts a stream into lines; half a line waits for the rest, at most `longest` bytes of it."""

    def __init__(self, end: bytes = b"\n", longest: int = 4096) -> None:
        self.end = end
        self.longest = longest
        self._rest = b""

    def reset(self) -> bool:
        """Throws half a line away; whether there was one."""
        had, self._rest = bool(self._rest), b""
        return had

    def cut(self, data: bytes) -> list[bytes]:
        """The lines that are complete now, without their end. A line that never ends is handed out when
        too long.
        """
        *lines, self._rest = (self._rest + data).split(self.end)
        if len(self._rest) > self.longest:
            lines.append(self._rest)
            self._rest = b""
        return lines


def number(text: bytes) -> float | None:
    """A decimal number such as `12.034E+00`; None if the text is anything else (also NAN, INF)."""
    return float(text) if _NUMBER.fullmatch(text) else None
