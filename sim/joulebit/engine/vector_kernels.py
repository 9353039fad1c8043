"""What the families of vector kernels have in common: threads, memory for results, limits of the run's formats."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from joulebit.engine.base import Quantised
from joulebit.fixed.arithmetic import Arithmetic
from joulebit.fixed.rounding import Rounding
from joulebit.kernels.memory import Pool
from joulebit.kernels.workers import Workers

#: What was begun: a call gives the weight gradient, and how many of its sums were clamped.
Later = Callable[[], tuple[NDArray[np.int64], int]]
#: The same of several weight gradients: the exact one, the predictor's.
LaterAll = Callable[[], list[tuple[NDArray[np.int64], int]]]
#: The predictor's operands: clamp(RND(x, x_shift), x_low, x_high) and clamp(RND(dz, g_shift), -g_high, g_high).
Narrowing = tuple[int, int, int, int, int]
_UNLIMITED = (1 << 63) - 1


class Wanted(NamedTuple):
    """Which weight gradients are asked for, at least one of two."""

    limit: int | None  #: of the exact one's sums (`Engine.conv_weight_gradient`); None: it is not asked for
    narrow: Narrowing | None  #: the predictor's operands (`conv_weight_gradient_msb`); None: it is not asked for

    @property
    def exact(self) -> bool:
        return self.limit is not None

    @property
    def both(self) -> bool:
        return self.exact and self.narrow is not None

    @property
    def limits(self) -> list[int]:
        """Of each that is asked for: the predictor's is not clamped."""
        exact = [] if self.limit is None else [self.limit]
        return exact + [_UNLIMITED] * (self.narrow is not None)

    @property
    def narrowing(self) -> Narrowing:
        """As kernels take it; an x_shift of -1 where the predictor's is not asked for."""
        return self.narrow or (-1, 0, 0, -1, 0)


class VectorKernels:
    """A family of vector kernels; its operations return None for calls that they do not cover.

    Args:
        arithmetic: widths and rounding modes of the run.
        workers: the engine's threads.
        pool: where results come from.
    """

    def __init__(self, arithmetic: Arithmetic, workers: Workers, pool: Pool) -> None:
        self._workers = workers
        self._pool = pool
        self._half_up = arithmetic.rounding_mode is Rounding.HALF_UP
        self._bytes = arithmetic.x_bits <= 8
        self._wide_accumulator = arithmetic.accumulator_bits >= 32
        self._g_limit = (1 << (arithmetic.g_bits - 1)) - 1

    def _threads(self, tasks: int) -> int:
        """How many threads share so many tasks."""
        return max(1, min(self._workers.count, tasks))

    def _sample_rows(self, before: tuple[int, ...], samples: int, after: tuple[int, ...]) -> list[tuple[int, ...]]:
        """The arguments of each thread, which takes the samples first .. last - 1 between `before` and `after`."""
        threads = self._threads(samples)
        cuts = [samples * thread // threads for thread in range(threads + 1)]
        return [(*before, first, last, *after) for first, last in pairwise(cuts)]

    def _peak(self, kernel: Any, rows: Sequence[Sequence[int]]) -> tuple[int, int]:
        """The largest peak, and the sum of the counts, of what a kernel returns on all threads (`Workers.run`)."""
        parts = self._workers.run(kernel, rows)
        return max(part[0] for part in parts), sum(part[1] for part in parts)

    def _count(self, kernel: Any, rows: Sequence[Sequence[int]]) -> int:
        """The sum of what a kernel returns on all threads."""
        return sum(part[0] for part in self._workers.run(kernel, rows))

    def _quantised(self, data: NDArray[Any], kernel: Any, rows: Sequence[Sequence[int]]) -> Quantised:
        """`data`, which a kernel fills, with the peak and the count of all threads."""
        return Quantised(data, *self._peak(kernel, rows))
