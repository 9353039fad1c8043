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

_PATIENCE_S = 1e-3  #: how long a thread without work looks for some before it sleeps
_NAP_S = 20e-6
PLACES = 2  #: how many kernels may be begun at the same time, see `Workers.begin`
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
        return self._start().own.counter

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
                    launcher.finish(launcher.own, len(rows))
            return launcher.own.outcome(len(rows))

    def begin(self, kernel: Any, rows: Callable[[Begun], Sequence[Sequence[int]]], keep: Any) -> Begun:
        """Let helpers work on a kernel while the caller does other things; one thread alone does it at once.

        rows: the arguments of each thread as for `run`, with the `Begun`'s own counter and memory of its place:
        kernels in different places run at the same time. What was begun PLACES calls before is finished first.
        keep: the arrays that the kernel uses; they live until it is finished.
        """
        with self._lock:
            launcher = self._start()
            begun = launcher.next_begun(keep)
            arguments = rows(begun)
            self._wake(launcher.begin(begun, kernel, arguments))
            if len(arguments) == 1:
                launcher.finish_begun(begun)
        return begun

    def finish(self, begun: Begun) -> list[list[int]]:
        """As `run` returns, of what was begun; the caller does what no helper has taken and waits for the rest."""
        with self._lock:
            return self._start().finish_begun(begun)

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


class _Place:
    """Where one kernel at a time finds its boxes, its counter and its arguments, and leaves its results."""

    def __init__(self, boxes: int, step: int, counter: int, threads: int, arguments: int) -> None:
        self.boxes, self.step, self.counter = boxes, step, counter
        self.rows: NDArray[np.int64] = np.zeros((threads, arguments), np.int64)
        self._results: NDArray[np.int64] = np.zeros((threads, 2), np.int64)
        self.row_size = self.rows.strides[0]
        self.addresses = (self.rows.ctypes.data, self.row_size, self._results.ctypes.data, counter)

    def outcome(self, threads: int) -> list[list[int]]:
        """Two int64 per thread."""
        results: list[list[int]] = self._results[:threads].tolist()
        return results


class Begun:
    """A kernel that helpers work on, see `Workers.begin`.

    number: of its place, 0 .. PLACES - 1. counter: as `Workers.counter`. boxes: addresses of the helpers' own
    letter boxes, for which the kernel interrupts itself (`joulebit.kernels.launch.waits`); 0 for the caller.
    """

    def __init__(self, number: int, place: _Place, boxes: list[int], keep: Any) -> None:
        self.number, self.counter, self.boxes = number, place.counter, boxes
        self.place, self.keep = place, keep
        self.threads = 0
        self.results: list[list[int]] | None = None  #: once it is finished


class _Launcher:
    """The letter boxes of `joulebit.kernels.launch`, and the memory that kernels find their arguments in."""

    def __init__(self, threads: int, patience_s: float) -> None:
        from joulebit.kernels import launch

        self._native = launch
        box, later = launch.BOX, launch.LATER
        lines = threads * (1 + later) + 1 + later  # boxes, and counters in cache lines of their own
        self._memory: NDArray[np.int64] = np.zeros((lines + 1) * box // 8, np.int64)
        boxes = -(-self._memory.ctypes.data // box) * box
        self._later = boxes + threads * box
        counters = self._later + threads * later * box
        self.own = _Place(boxes, box, counters, threads, launch.MOST_ARGUMENTS)
        self._places = [
            _Place(self._later + i * box, later * box, counters + (1 + i) * box, threads, launch.MOST_ARGUMENTS)
            for i in range(later)
        ]
        self._begun: list[Begun | None] = [None] * later  # helpers use their arrays
        self._following = 0
        self._helpers_boxes = [0, *(boxes + helper * box for helper in range(1, threads))]
        self._known: dict[tuple[Any, int], tuple[int, Struct]] = {}
        self._patience = _turns(patience_s)

    def _prepare(self, place: _Place, kernel: Any, rows: Sequence[Sequence[int]]) -> tuple[int, int]:
        """Address of a kernel and number of its arguments, which are laid down."""
        count = len(rows[0])
        try:
            function, layout = self._known[kernel, count]
        except KeyError:
            function, layout = self._native.native_address(kernel, count), Struct(f"{count}q")
            self._known[kernel, count] = function, layout
        for thread, row in enumerate(rows):
            layout.pack_into(place.rows.data, thread * place.row_size, *row)
        return function, count

    def launch(self, kernel: Any, rows: Sequence[Sequence[int]]) -> int:
        """Which helpers have to be woken, a bit each, before `finish`; 0: all is done."""
        own = self.own
        function, count = self._prepare(own, kernel, rows)
        state = self._native.launch(own.boxes, len(rows), function, count, *own.addresses, self._patience)
        if state > 0:
            return int(state)
        self._settle(state, own, len(rows))
        return 0

    def finish(self, place: _Place, threads: int) -> None:
        """Do the caller's share of what was launched, and wait for the rest."""
        self._settle(self._native.finish(place.boxes, place.step, threads, self._patience), place, threads)

    def next_begun(self, keep: Any) -> Begun:
        """One that may begin: what was in its place before is finished."""
        number = self._following
        self._following = (number + 1) % len(self._places)
        before = self._begun[number]
        if before:
            self.finish_begun(before)
        begun = self._begun[number] = Begun(number, self._places[number], self._helpers_boxes, keep)
        return begun

    def begin(self, begun: Begun, kernel: Any, rows: Sequence[Sequence[int]]) -> int:
        """Which helpers have to be woken, a bit each."""
        place, begun.threads = begun.place, len(rows)
        function, count = self._prepare(place, kernel, rows)
        state = self._native.begin(self.own.boxes, place.boxes, len(rows), function, count, *place.addresses)
        return int(state)

    def finish_begun(self, begun: Begun) -> list[list[int]]:
        """The results of what was begun."""
        if begun.results is None:
            self.finish(begun.place, begun.threads)
            begun.results, begun.keep = begun.place.outcome(begun.threads), None
            self._begun[begun.number] = None
        return begun.results

    def _settle(self, state: int, place: _Place, threads: int) -> None:
        interrupt: KeyboardInterrupt | None = None
        while state == self._native.UNFINISHED:
            try:
                time.sleep(_NAP_S)
            except KeyboardInterrupt as pressed:  # helpers use the caller's arrays
                interrupt = pressed
            state = self._native.finish(place.boxes, place.step, threads, 1)
        if interrupt:
            raise interrupt
        if state == self._native.FAILED:
            raise RuntimeError("a compiled kernel failed: an index was out of bounds")

    def serve(self, helper: int) -> None:
        """Run what is launched for a helper, until nothing came for a while or it is recalled."""
        box, later = self._native.BOX, self._native.BOX * self._native.LATER
        self._native.serve(self.own.boxes + helper * box, self._later + helper * later, self._patience)

    def recall(self, helper: int) -> None:
        """Let a helper look into its queue."""
        self._native.recall(self.own.boxes + helper * self._native.BOX)


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
