"""Threads for kernels, which run without the GIL. No result depends on how many there are."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

T = TypeVar("T")


def available_cpus() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Workers:
    """The calling thread and count - 1 others."""

    def __init__(self, count: int | None = None) -> None:
        count = available_cpus() if count is None else count
        if count < 1:
            raise ValueError(f"threads must be at least 1, got {count}")
        self.count = count
        self._pool = ThreadPoolExecutor(count - 1, "joulebit") if count > 1 else None

    def each(self, function: Callable[[int], T], count: int) -> list[T]:
        """[function(0), ..., function(count - 1)], at the same time; count <= self.count."""
        if self._pool is None or count < 2:
            return [function(worker) for worker in range(count)]
        others = [self._pool.submit(function, worker) for worker in range(1, count)]
        try:
            first = function(0)
        finally:
            wait(others)  # they use the caller's arrays
        return [first, *(other.result() for other in others)]

    def over_samples(self, samples: int, function: Callable[[int, int], T]) -> list[T]:
        """function(first, last + 1) over contiguous ranges of samples, one per thread."""
        count = max(1, min(self.count, samples))
        cuts = [samples * worker // count for worker in range(count + 1)]
        return self.each(lambda worker: function(cuts[worker], cuts[worker + 1]), count)
