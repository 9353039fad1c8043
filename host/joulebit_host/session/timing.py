"""Clocks that a session runs on: the host's, or a virtual one in which hours pass in milliseconds."""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable
from typing import Protocol


class Clock(Protocol):
    """Monotonic seconds, sleeping, and tasks beside the caller."""

    def now(self) -> float:
        """Seconds of the monotonic clock."""
        ...

    def sleep(self, seconds: float) -> None:
        """Waits."""
        ...

    def spawn(self, work: Callable[[], None]) -> Callable[[], bool]:
        """Runs work beside the caller; the result tells whether it has ended."""
        ...


class HostClock:
    """The host's monotonic clock, and threads."""

    def now(self) -> float:
        """See `Clock`."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """See `Clock`."""
        time.sleep(max(seconds, 0.0))

    def spawn(self, work: Callable[[], None]) -> Callable[[], bool]:
        """See `Clock`. The thread does not keep the process alive."""
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        return lambda: not thread.is_alive()


class VirtualClock:
    """Time that passes only when every task sleeps: exact, repeatable, as fast as the work between.

    Tasks are threads of which only one runs at any moment, in the order of their times (at equal times, in the
    order in which they went to sleep). The thread that makes the clock is the first task.
    """

    def __init__(self, start_s: float = 1000.0) -> None:
        """start_s: what the clock shows first."""
        self._now = start_s
        self._order = 0
        self._sleeping: list[tuple[float, int, threading.Event]] = []

    def now(self) -> float:
        """See `Clock`."""
        return self._now

    def sleep(self, seconds: float) -> None:
        """See `Clock`."""
        turn = threading.Event()
        self._order += 1
        heapq.heappush(self._sleeping, (self._now + max(seconds, 0.0), self._order, turn))
        self._wake_next()
        turn.wait()

    def spawn(self, work: Callable[[], None]) -> Callable[[], bool]:
        """See `Clock`. The task begins when the caller next sleeps."""
        ended = False
        turn = threading.Event()

        def run() -> None:
            nonlocal ended
            turn.wait()
            try:
                work()
            finally:
                ended = True
                self._wake_next()

        self._order += 1
        heapq.heappush(self._sleeping, (self._now, self._order, turn))
        threading.Thread(target=run, daemon=True).start()
        return lambda: ended

    def _wake_next(self) -> None:
        """The task whose time comes first goes on; called by the one that stops."""
        t_s, _, turn = heapq.heappop(self._sleeping)
        self._now = max(self._now, t_s)
        turn.set()
