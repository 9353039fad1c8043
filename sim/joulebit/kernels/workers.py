"""Threads for kernels, which run without the GIL. No result depends on how many there are."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from functools import cache
from queue import SimpleQueue
from struct import Struct
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")

_PATIENCE_S = 250e-6  #: how long a thread without work looks for some before it sleeps
_NAP_S = 20e-6
_AWAKE = object()  #: wakes a helper whose letter box is full
_ALL: weakref.WeakSet[Workers] = weakref.WeakSet()


def available_cpus() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Workers:
    """The calling thread and count - 1 helpers. One caller at a time; others wait.

    Args:
        count: of threads; all processors that this process may use by default.
        patience_s: how long a helper without work looks for some before it sleeps.
    """

    def __init__(self, count: int | None = None, patience_s: float = _PATIENCE_S) -> None:
        count = available_cpus() if count is None else count
        if count < 1:
            raise ValueError(f"threads must be at least 1, got {count}")
        self.count = count
        self._patience_s = patience_s
        self._lock = threading.Lock()
        self._launcher: _Launcher | None = None
        self._tasks: list[SimpleQueue[Any]] = []
        _ALL.add(self)

    def _start(self) -> _Launcher:
        """The helpers, which start when the first work for several threads comes."""
        if self._launcher is None:
            self._launcher = _Launcher(self.count, self._patience_s)
            self._tasks = [SimpleQueue() for _ in range(self.count - 1)]
            for number, tasks in enumerate(self._tasks, 1):
                arguments = (tasks, self._launcher, number)
                threading.Thread(target=_serve, args=arguments, name=f"joulebit_{number}", daemon=True).start()
            weakref.finalize(self, _dismiss, self._tasks)
        return self._launcher

    def _forget(self) -> None:
        """In a forked process, which has memory and locks but no helpers: start anew."""
        self._lock, self._launcher, self._tasks = threading.Lock(), None, []

    @property
    def counter(self) -> int:
        """Address of an int64 that is 0 when `run` starts a kernel: by it threads share out their work."""
        return self._start().counter

    def run(self, kernel: Any, rows: Sequence[Sequence[int]]) -> list[list[int]]:
        """Run a compiled kernel on len(rows) <= self.count threads at the same time.

        rows: the int64 arguments of each thread. The kernel takes nothing else, and returns nothing, one int64 or
        two.

        Returns:
            two int64 per thread: what the kernel returned (zeros where it returned less).

        Raises:
            RuntimeError: a kernel failed.
        """
        with self._lock:
            launcher = self._start()
            asleep = launcher.launch(kernel, rows)
            if asleep:
                try:
                    self._wake(asleep)
                except KeyboardInterrupt:
                    self._wake(asleep)  # whom it did not reach: helpers use the caller's arrays
                    raise
                finally:
                    launcher.finish(len(rows))
            results: list[list[int]] = launcher.results[: len(rows)].tolist()
            return results

    def _wake(self, asleep: int) -> None:
        """Let helpers leave their queues; bit i of `asleep`: helper i."""
        for helper, tasks in enumerate(self._tasks, 1):
            if asleep >> helper & 1:
                tasks.put(_AWAKE)

    def each(self, function: Callable[[int], T], count: int) -> list[T]:
        """[function(0), ..., function(count - 1)], Python functions at the same time; count <= self.count."""
        if count < 2:
            return [function(worker) for worker in range(count)]
        with self._lock:
            launcher = self._start()
            done: SimpleQueue[tuple[int, Any, BaseException | None]] = SimpleQueue()
            for worker in range(1, count):
                self._tasks[worker - 1].put((function, worker, done))
                launcher.recall(worker)
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


class _Launcher:
    """The letter boxes of `joulebit.kernels.launch`, and the memory that kernels find their arguments in."""

    def __init__(self, threads: int, patience_s: float) -> None:
        from joulebit.kernels import launch

        self._native = launch
        words = launch.BOX // 8
        self._memory: NDArray[np.int64] = np.zeros((threads + 2) * words, np.int64)
        self._boxes = -(-self._memory.ctypes.data // launch.BOX) * launch.BOX
        self.counter = self._boxes + threads * launch.BOX  # in a cache line of its own
        self._rows: NDArray[np.int64] = np.zeros((threads, launch.MOST_ARGUMENTS), np.int64)
        self.results: NDArray[np.int64] = np.zeros((threads, 2), np.int64)
        self._row_size = self._rows.strides[0]
        self._places = (self._rows.ctypes.data, self._row_size, self.results.ctypes.data, self.counter)
        self._known: dict[tuple[Any, int], tuple[int, Struct]] = {}
        self._patience = _turns(patience_s)

    def launch(self, kernel: Any, rows: Sequence[Sequence[int]]) -> int:
        """Which helpers have to be woken, a bit each, before `finish`; 0: all is done."""
        count = len(rows[0])
        try:
            function, layout = self._known[kernel, count]
        except KeyError:
            function, layout = self._native.native_address(kernel, count), Struct(f"{count}q")
            self._known[kernel, count] = function, layout
        for thread, row in enumerate(rows):
            layout.pack_into(self._rows.data, thread * self._row_size, *row)
        state = self._native.launch(self._boxes, len(rows), function, count, *self._places, self._patience)
        if state > 0:
            return int(state)
        self._settle(state, len(rows))
        return 0

    def finish(self, threads: int) -> None:
        """Do the caller's share of what was launched, and wait for the rest."""
        self._settle(self._native.finish(self._boxes, threads, 1, self._patience), threads)

    def _settle(self, state: int, threads: int) -> None:
        interrupt: KeyboardInterrupt | None = None
        while state == self._native.UNFINISHED:
            try:
                time.sleep(_NAP_S)
            except KeyboardInterrupt as pressed:  # helpers use the caller's arrays
                interrupt = pressed
            state = self._native.finish(self._boxes, threads, 0, 1)
        if interrupt:
            raise interrupt
        if state == self._native.FAILED:
            raise RuntimeError("a compiled kernel failed: an index was out of bounds")

    def serve(self, helper: int) -> None:
        """Run what is launched for a helper, until nothing came for a while or it is recalled."""
        self._native.serve(self._boxes + helper * self._native.BOX, self._patience)

    def recall(self, helper: int) -> None:
        """Let a helper look into its queue."""
        self._native.recall(self._boxes + helper * self._native.BOX)


@cache
def _turns(seconds: float) -> int:
    """How many turns a waiting loop makes in a time."""
    from joulebit.kernels.launch import spin

    spin(1)  # compiles
    start = time.perf_counter()
    spin(1000)
    return max(1, int(1000 * seconds / (time.perf_counter() - start)))


def _serve(tasks: SimpleQueue[Any], launcher: _Launcher, helper: int) -> None:
    """Do (function, worker, queue for the outcome) one by one, and kernels between them, until None comes."""
    while (task := tasks.get()) is not None:
        if task is not _AWAKE:
            function, worker, done = task
            outcome: tuple[int, Any, BaseException | None]
            try:
                outcome = (worker, function(worker), None)
            except BaseException as error:  # the caller raises it
                outcome = (worker, None, error)
            del function  # it holds the caller's arrays
            done.put(outcome)
            del outcome, done
        del task
        launcher.serve(helper)


def _dismiss(queues: list[SimpleQueue[Any]]) -> None:
    for tasks in queues:
        tasks.put(None)


def _forget_helpers() -> None:
    for workers in _ALL:
        workers._forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_helpers)
