"""The order of samples: which ones form the batch of a step.

A permutation for each epoch, cut into batches. The batch of a step follows from (n, batch size, seed, step), so a
resumed run goes on with the very batches that an uninterrupted one would have had.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from joulebit.fixed.philox import Purpose, permutation

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt


class Position(NamedTuple):
    """Where a step lies: its epoch and its batch within the epoch, both from 0."""

    epoch: int
    batch: int


class Batch(NamedTuple):
    """One step's samples. ``indices``: int64 [batch size] (the last of an epoch may be smaller)."""

    step: int
    epoch: int
    batch: int
    indices: npt.NDArray[np.int64]


def batches_per_epoch(n: int, batch_size: int, drop_last: bool = False) -> int:
    """Batches that n samples give. Raises ValueError where an argument is below 1 or no batch results."""
    if n < 1:
        raise ValueError(f"number of samples must be at least 1, got {n}")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    if drop_last and n < batch_size:
        raise ValueError(f"batch_size must be at most {n} where the last batch is dropped, got {batch_size}")
    return n // batch_size if drop_last else -(-n // batch_size)


def step_position(step: int, n: int, batch_size: int, drop_last: bool = False) -> Position:
    """The epoch and batch of a step (from 0); its inverse is ``epoch * batches_per_epoch(...) + batch``."""
    if step < 0:
        raise ValueError(f"step must be at least 0, got {step}")
    return Position(*divmod(step, batches_per_epoch(n, batch_size, drop_last)))


def epoch_batches(
    n: int, batch_size: int, seed: int, epoch: int, drop_last: bool = False, first_batch: int = 0
) -> Iterator[npt.NDArray[np.int64]]:
    """The index arrays of one epoch, from ``first_batch`` on.

    Args:
        n: samples in the training split.
        batch_size: samples in a batch; the last batch has the rest, or is left out with ``drop_last``.
        seed: integer in [0, 2^64).
        epoch: integer in [0, 2^32); each has its own permutation (seed, SHUFFLE, epoch).
        drop_last: leave out a last batch that is not full.
        first_batch: where to begin, in [0, batches in the epoch].

    Raises:
        ValueError: an argument is out of range (at the call, not at the first batch).
    """
    count = batches_per_epoch(n, batch_size, drop_last)
    if not 0 <= first_batch <= count:
        raise ValueError(f"first_batch must be in [0, {count}], got {first_batch}")
    order = permutation(seed, Purpose.SHUFFLE, epoch, n)
    return (order[i * batch_size : (i + 1) * batch_size] for i in range(first_batch, count))


def batch_stream(
    n: int, batch_size: int, seed: int, first_step: int = 0, drop_last: bool = False
) -> Iterator[Batch]:
    """The batches of step ``first_step``, ``first_step + 1``, ... without end, epoch after epoch."""
    epoch, batch = step_position(first_step, n, batch_size, drop_last)
    return _stream(n, batch_size, seed, first_step, Position(epoch, batch), drop_last)


def _stream(n: int, batch_size: int, seed: int, step: int, position: Position, drop_last: bool) -> Iterator[Batch]:
    epoch, first = position
    while True:
        for offset, indices in enumerate(epoch_batches(n, batch_size, seed, epoch, drop_last, first)):
            yield Batch(step, epoch, first + offset, indices)
            step += 1
        epoch, first = epoch + 1, 0
