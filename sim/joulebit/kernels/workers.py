"""Threads for kernels, which run without the GIL. No result depends on how many there are."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


def available_cpus() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Workers:
    """The calling thread and count - 1 others, which wait for work.

    A step hands out more than a hundred kernels; a queue written in C does that in a third of the time of an
    executor with its futures.
    """

    def __init__(self, count: int | None = None) -> None:
        count = available_cpus() if count is None else count
        if count < 1:
            raise ValueError(f"threads must be at least 1, got {count}")
        self.count = count
        self._tasks: list[SimpleQueue[Any]] = [SimpleQueue() for _ in range(count - 1)]
        for number, tasks in enumerate(self._tasks):
            threading.Thread(target=_serve, args=(tasks,), name=f"joulebit_{number}", daemon=True).start()
        weakref.finalize(self, _dismiss, self._tasks)

    def each(self, function: Callable[[int], T], count: int) -> list[T]:
        """[function(0), ..., function(count - 1)], at the same time; count <= self.count."""
        if count < 2 or not self._tasks:
            return [function(worker) for worker in range(count)]
        done: SimpleQueue[tuple[int, Any, BaseException | None]] = SimpleQueue()
        for worker in range(1, count):
            self._tasks[worker - 1].put((function, worker, done))
        results: dict[int, Any] = {}
        failure: BaseException | None = None
        try:
            results[0] = function(0)
        finally:
            for _ in range(1, count):  # they use the caller's arrays
                worker, result, error = done.get()
                results[worker] = result
                failure = failure or error
        if failure:
            raise failure
        return [results[worker] for worker in range(count)]

    def over_samples(self, samples: int, function: Callable[[int, int], T]) -> list[T]:
        """function(first, last + 1) over contiguous ranges of samples, one per thread."""
        count = max(1, min(self.count, samples))
        cuts = [samples * worker // count for worker in range(count + 1)]
        return self.each(lambda worker: function(cuts[worker], cuts[worker + 1]), count)


def _serve(tasks: SimpleQueue[Any]) -> None:
    """Do (function, worker, queue for the outcome) after each other, until None comes."""
    while (task := tasks.get()) is not None:
        function, worker, done = task
        outcome: tuple[int, Any, BaseException | None]
        try:
            outcome = (worker, function(worker), None)
        except BaseException as error:  # the caller raises it
            outcome = (worker, None, error)
        del task, function  # they hold the caller's arrays
        done.put(outcome)
        del outcome, done


def _dismiss(queues: list[SimpleQueue[Any]]) -> None:
    for tasks in queues:
        tasks.put(None)
