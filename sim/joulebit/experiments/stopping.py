"""Signals that end a run after the step in hand."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from joulebit.train.distributed import WorkerLostError


@contextmanager
def stop_requested() -> Iterator[Callable[[], int]]:
    """Within: SIGINT and SIGTERM only leave a note. Gives a function that returns the signal's number, or 0."""
    received: list[int] = []

    def note(signum: int, frame: FrameType | None) -> None:
        received.append(signum)

    previous: dict[int, Any] = {}
    for signum in (signal.SIGINT, signal.SIGTERM):
        try:
            previous[signum] = signal.signal(signum, note)
        except ValueError:  # not in the main thread: whoever runs us there stops us another way
            break
    try:
        yield lambda: received[0] if received else 0
    except WorkerLostError:
        previous.clear()  # torchrun now ends us by SIGTERM: not before this error is told
        raise
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
