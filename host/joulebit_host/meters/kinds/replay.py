"""Replay: a recording read as if its meter were there. Address: the file that `joulebit meter record` wrote.

Times are those of the recording. After its end `read` returns empty data, and `exhausted` is true.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from joulebit.errors import JoulebitError
from joulebit_host.meters.base import Accuracy, Decoder, Meter, Reading, Received
from joulebit_host.meters.kind import Kind
from joulebit_host.meters.options import option


@dataclass(frozen=True)
class ReplayOptions:
    """Options of a replay; `recorded_kind` and `recorded_settings` are filled in from the recording."""

    speed: float = option(0.0, "1 for real time, 10 for ten times as fast, 0 for at once", low=0)
    recorded_kind: str = option("", "kind of the recorded meter")
    recorded_settings: str = option("", "its settings, as JSON")

    def _recorded(self) -> tuple[Reading, Accuracy, float]:
        import json

        from joulebit_host.meters.registry import describe

        if not self.recorded_kind:
            raise JoulebitError("replay: the settings do not name the recorded meter")
        return describe(self.recorded_kind, json.loads(self.recorded_settings))

    def reading(self) -> Reading:
        """Of the recorded meter."""
        return self._recorded()[0]

    def accuracy(self) -> Accuracy:
        """Of the recorded meter."""
        return self._recorded()[1]

    def interval(self) -> float:
        """Of the recorded meter."""
        return self._recorded()[2]


def _decoder(options: ReplayOptions) -> Decoder:
    import json

    from joulebit_host.meters.registry import decoder_for

    if not options.recorded_kind:
        raise JoulebitError("replay: the settings do not name the recorded meter")
    return decoder_for(options.recorded_kind, json.loads(options.recorded_settings))


class ReplayMeter:
    """See the module.

    Attributes:
        exhausted: the end of the recording was reached.
    """

    kind = "replay"

    def __init__(self, address: str, options: ReplayOptions) -> None:
        """Opens the recording at the path `address`."""
        import json

        from joulebit_host.meters.recording import Recording

        if not address:
            raise JoulebitError("replay needs a recording, such as replay:run.evidence.jsonl")
        recording = Recording(address)
        options = ReplayOptions(options.speed, recording.kind, json.dumps(recording.settings, sort_keys=True))
        self.identity = recording.identity
        self.settings: Mapping[str, Any] = asdict(options)
        self.reading = options.reading()
        self.accuracy = options.accuracy()
        self.interval_s = options.interval()
        self.exhausted = False
        self._speed = options.speed
        self._recording = recording
        self._next: Received | None = None
        self.start()

    def start(self) -> None:
        """Begins at the beginning."""
        self._records = iter(self._recording)
        self.exhausted = False
        self._began_s = time.monotonic()
        self._next = next(self._records, None)
        self._first_s = self._next.t_s if self._next else 0.0

    def read(self, timeout_s: float) -> Received:
        """See `base.Meter`."""
        now_s = time.monotonic()
        if self._next is None:
            self.exhausted = True
            return Received(now_s, now_s, b"")
        if self._speed:
            wait_s = self._began_s + (self._next.t_s - self._first_s) / self._speed - now_s
            time.sleep(max(0.0, min(wait_s, timeout_s)))
            if wait_s > timeout_s:
                return Received(now_s, time.monotonic(), b"")
        received, self._next = self._next, next(self._records, None)
        return received

    def stop(self) -> None:
        """Nothing to stop."""

    def close(self) -> None:
        """Nothing to close."""


def _open(address: str, options: ReplayOptions) -> Meter:
    return ReplayMeter(address, options)


KIND = Kind("replay", "a recording, read again", "file", ReplayOptions, _decoder, _open)
