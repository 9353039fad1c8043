"""What the plain kernels of all threads found, brought together, and stand-ins for operands that are not there."""

from __future__ import annotations

import numpy as np

from joulebit.engine.base import Array, ConvOutput, Int64Array, Quantised

NOTHING_TO_ADD = np.zeros((0, 1, 1, 1), np.int16)
NO_MASK = np.zeros((1, 1, 1, 1), np.uint8)


def unsigned(key: int) -> np.uint64:
    """The key of stochastic rounding as kernels take it."""
    return np.uint64(key & 0xFFFFFFFFFFFFFFFF)


def joined_output(z: Array, parts: list[tuple[int, int, Int64Array, Int64Array]]) -> ConvOutput:
    """z, which threads filled, with their peaks, counts and sums."""
    return ConvOutput(
        z,
        max(part[0] for part in parts),
        sum(part[1] for part in parts),
        np.asarray(sum(part[2] for part in parts)),
        np.asarray(sum(part[3] for part in parts)),
    )


def joined(data: Array, parts: list[tuple[int, int]]) -> Quantised:
    """data, which threads filled, with their peaks and counts."""
    return Quantised(data, max(part[0] for part in parts), sum(part[1] for part in parts))
