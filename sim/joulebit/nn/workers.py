"""Data parallel training: several workers that each hold a part of every batch, and what they tell each other.

All workers have the same parameters and exponents and do the same updates. Whatever the specification takes over
a batch (sums of batch norm, peaks, weight gradients) is an integer sum or a maximum, so that it does not depend on
how the batch is cut: any number of workers computes the bits of one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from joulebit.engine.base import Array, Engine

Int64Array = NDArray[np.int64]
T = TypeVar("T")


class Share(NamedTuple):
    """Where a worker's samples of a tensor lie among those of all workers, which are in order of rank."""

    before: int  #: samples of workers of lower rank
    total: int  #: samples of all workers


class Workers(Protocol):
    """The processes that train one network. Every worker must make the same calls in the same order."""

    @property
    def rank(self) -> int:
        """Of this worker, 0 .. size - 1."""
        ...

    @property
    def size(self) -> int:
        """How many there are."""
        ...

    @property
    def threads(self) -> int | None:
        """Threads for this worker's engine; None: all processors that it may use."""
        ...

    def sum(self, values: Int64Array) -> Int64Array:
        """The sum over all workers of int64 arrays of one length."""
        ...

    def gather(self, values: Int64Array) -> Int64Array:
        """int64 [size, n]: the arrays [n] of all workers, by rank."""
        ...

    def broadcast(self, value: T) -> T:
        """The value that worker 0 passes."""
        ...


class OneWorker:
    """A single process: `Workers` that has nobody to tell anything."""

    rank = 0
    size = 1
    threads = None

    def sum(self, values: Int64Array) -> Int64Array:
        return values

    def gather(self, values: Int64Array) -> Int64Array:
        return values[None]

    def broadcast(self, value: T) -> T:
        return value


def part_of(samples: int, workers: Workers) -> slice:
    """This worker's part of a batch: contiguous, in order of rank, as equal as can be; perhaps empty."""
    return slice(samples * workers.rank // workers.size, samples * (workers.rank + 1) // workers.size)


class _Sum(NamedTuple):
    arrays: list[Int64Array]
    then: Callable[..., None]
    engine: Engine | None


class Totals:
    """Sums and maxima over all workers, some at once and the rest together at the end of a step.

    Each exchange costs a round trip, so only what the rest of the step needs is exchanged at once (`sums`,
    `largest`, `share`). `later` and `later_peak` collect the rest for `settle`. One worker exchanges nothing, and
    its callbacks run at the call.
    """

    def __init__(self, workers: Workers | None = None) -> None:
        self.workers: Workers = workers or OneWorker()
        self.alone = self.workers.size == 1
        self._sums: list[_Sum] = []
        self._begun: Callable[[], None] | None = None
        self._peaks: list[tuple[int, Callable[[int], None]]] = []

    def sums(self, *arrays: Int64Array) -> tuple[Int64Array, ...]:
        """The sums over all workers of some small arrays."""
        if self.alone:
            return arrays
        every = self.workers.gather(np.concatenate([array.reshape(-1) for array in arrays]))
        return tuple(_cut(every.sum(0), arrays))

    def largest(self, value: int) -> int:
        """The largest of all workers' values."""
        return value if self.alone else int(self.workers.gather(np.array([value], np.int64)).max())

    def share(self, samples: int) -> Share:
        """Where the `samples` samples of this worker lie among those of all."""
        if self.alone:
            return Share(0, samples)
        counts = self.workers.gather(np.array([samples], np.int64))[:, 0]
        return Share(int(counts[: self.workers.rank].sum()), int(counts.sum()))

    def later(self, arrays: Sequence[Array], then: Callable[..., None], engine: Engine | None = None) -> None:
        """then(sums over all workers of the arrays), at once or in `settle`.

        engine: whose arrays they are; None for numpy's. The sums are int64.
        """
        if self.alone:
            then(*arrays)
            return
        own = [engine.to_numpy(array) if engine else array for array in arrays]
        self._sums.append(_Sum([np.asarray(array, np.int64) for array in own], then, engine))

    def follow(self, then: Callable[[], None]) -> None:
        """then() when the next one comes or in `settle`: what needs a result that threads are still forming.

        Only one at a time waits, so that no more than one layer's operands do.
        """
        before, self._begun = self._begun, then
        if before:
            before()

    def later_count(self, value: int, then: Callable[[int], None]) -> None:
        """then(the sum of all workers' values), at once or in `settle`."""
        if self.alone:
            then(value)
        else:
            self.later([np.array([value], np.int64)], lambda total: then(int(total[0])))

    def later_peak(self, value: int, then: Callable[[int], None]) -> None:
        """then(the largest of all workers' values), at once or in `settle`."""
        if self.alone:
            then(value)
        else:
            self._peaks.append((value, then))

    def settle(self) -> None:
        """Do all that was left for later: at the end of a step, before the update."""
        begun, self._begun = self._begun, None
        if begun:
            begun()
        waiting, self._sums = self._sums, []
        peaks, self._peaks = self._peaks, []
        if waiting:
            arrays = [array for entry in waiting for array in entry.arrays]
            total = self.workers.sum(np.concatenate([array.reshape(-1) for array in arrays]))
            found = iter(_cut(total, arrays))
            for entry in waiting:
                own = [next(found) for _ in entry.arrays]
                entry.then(*(map(entry.engine.from_numpy, own) if entry.engine else own))
        if peaks:
            largest = self.workers.gather(np.array([value for value, _ in peaks], np.int64)).max(0)
            for (_, then), value in zip(peaks, largest):
                then(int(value))


def _cut(flat: Int64Array, like: Sequence[NDArray[Any]]) -> list[Int64Array]:
    """Consecutive parts of a flat array in the shapes of others."""
    parts, position = [], 0
    for array in like:
        parts.append(flat[position : position + array.size].reshape(array.shape))
        position += array.size
    return parts
