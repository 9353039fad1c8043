"""Meters that are files: what sysfs shows, read at a jittered pace. The root directory can be another one, for
tests.

One poll reads all files and makes one record, one line per file: its name, a space, its content. A file that
cannot be read says `!` and the error's name. When none can be read, the device has vanished: an "unplugged" event,
then "replugged".
"""

from __future__ import annotations

import errno
import random
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from joulebit_host.meters.base import Accuracy, Reading, Received
from joulebit_host.meters.kind import Options
from joulebit_host.meters.options import as_settings


def read_text(path: Path) -> str | None:
    """A file's content without the end of line; None if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def read_number(path: Path) -> int | None:
    """A file's content as a whole number; None if there is none."""
    text = read_text(path)
    try:
        return None if text is None else int(text)
    except ValueError:
        return None


class Pacer:
    """When to poll next: every `interval_s`, by up to `jitter` of it earlier or later, so that no
    rhythm is followed.
    """

    def __init__(self, interval_s: float, jitter: float = 0.25, seed: int = 0) -> None:
        self._interval_s = interval_s
        self._jitter = jitter
        self._random = random.Random(seed)
        self.restart()

    def restart(self) -> None:
        """The next poll is due now."""
        self._due_s = time.monotonic()

    def wait(self, timeout_s: float) -> bool:
        """Waits at most this long; whether a poll is due, which then counts as done."""
        now_s = time.monotonic()
        if self._due_s - now_s > timeout_s:
            time.sleep(timeout_s)
            return False
        time.sleep(max(0.0, self._due_s - now_s))
        varied_s = self._interval_s * (1 + self._random.uniform(-self._jitter, self._jitter))
        self._due_s = max(self._due_s + varied_s, time.monotonic())
        return True


class FileMeter:
    """A meter made of files; see `base.Meter`."""

    def __init__(self, kind: str, identity: str, options: Options, files: Sequence[tuple[str, Path]]) -> None:
        """files: (name in the record, path)."""
        self.kind = kind
        self.identity = identity
        self.settings: Mapping[str, Any] = as_settings(options)
        self.reading: Reading = options.reading()
        self.accuracy: Accuracy = options.accuracy()
        self.interval_s = options.interval()
        self._files = list(files)
        self._pacer = Pacer(self.interval_s)
        self._gone = False

    def start(self) -> None:
        """The next read polls at once."""
        self._pacer.restart()

    def read(self, timeout_s: float) -> Received:
        """See `base.Meter`."""
        began_s = time.monotonic()
        if not self._pacer.wait(timeout_s):
            return Received(began_s, time.monotonic(), b"")
        began_s = time.monotonic()
        data, some = self._poll()
        now_s = time.monotonic()
        if some and self._gone:
            self._gone = False
            self._pacer.restart()
            return Received(began_s, now_s, b"", "replugged")
        if not some:
            event = "" if self._gone else "unplugged"
            self._gone = True
            return Received(began_s, now_s, b"", event)
        return Received(began_s, now_s, data)

    def _poll(self) -> tuple[bytes, bool]:
        lines, some = [], False
        for name, path in self._files:
            try:
                text = path.read_bytes().strip().replace(b"\n", b" ")
                some = True
            except OSError as error:
                text = b"!" + errno.errorcode.get(error.errno or 0, "EIO").encode()
            lines.append(name.encode() + b" " + text + b"\n")
        return b"".join(lines), some

    def stop(self) -> None:
        """Nothing to stop."""

    def close(self) -> None:
        """Nothing to close."""
