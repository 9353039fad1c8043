"""Maximum pooling: by the engine where windows lie side by side, in numpy for all engines where they overlap."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from joulebit.engine.base import Array, Engine
from joulebit.fixed.rounding import saturate
from joulebit.nn.graph import MaxPoolPlan

_LOWEST = -(1 << 31)  # below every activation: padding is never the maximum


def max_pool(engine: Engine, x: Array, plan: MaxPoolPlan) -> Array:
    """The maximum of every window of x [N, H, W, C] (spec, section 4)."""
    if plan.side_by_side:
        return engine.max_pool(x, plan.size)
    values = engine.to_numpy(x)
    return engine.from_numpy(_first_maximum(values, plan)[0].astype(values.dtype))


def max_pool_gradient(engine: Engine, g: Array, x: Array, plan: MaxPoolPlan) -> Array:
    """g of every window at its first maximum in row-major order; int16, shape of x.

    Where windows overlap an element receives the sum, clamped to the gradients' width.
    """
    if plan.side_by_side:
        return engine.max_pool_gradient(g, x, plan.size)
    values, gradient = engine.to_numpy(x), engine.to_numpy(g).astype(np.int64)
    _, first = _first_maximum(values, plan)
    total = np.zeros(_padded_shape(values.shape, plan), np.int64)
    for tap, window in enumerate(_windows(total, plan)):
        window += gradient * (first == tap)
    height, width = values.shape[1:3]
    inner = total[:, plan.padding : plan.padding + height, plan.padding : plan.padding + width]
    return engine.from_numpy(saturate(inner, engine.arithmetic.g_bits).astype(np.int16))


def _first_maximum(x: NDArray[Any], plan: MaxPoolPlan) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The maximum of each window, and the number of its first element that has it."""
    height, width = x.shape[1:3]
    padded = np.full(_padded_shape(x.shape, plan), _LOWEST, np.int32)
    padded[:, plan.padding : plan.padding + height, plan.padding : plan.padding + width] = x
    best = np.full((len(x), *plan.out_shape), _LOWEST, np.int32)
    first = np.zeros(best.shape, np.int32)
    for tap, window in enumerate(_windows(padded, plan)):
        larger = window > best
        best = np.where(larger, window, best)
        first = np.where(larger, np.int32(tap), first)
    return best, first


def _padded_shape(shape: tuple[int, ...], plan: MaxPoolPlan) -> tuple[int, int, int, int]:
    samples, height, width, channels = shape
    return samples, height + 2 * plan.padding, width + 2 * plan.padding, channels


def _windows(padded: NDArray[Any], plan: MaxPoolPlan) -> Iterator[NDArray[Any]]:
    """For every element of a window, in row-major order: a view of that element of all windows."""
    rows, columns = plan.out_shape[:2]
    for row in range(plan.size):
        for column in range(plan.size):
            yield padded[
                :,
                row : row + (rows - 1) * plan.stride + 1 : plan.stride,
                column : column + (columns - 1) * plan.stride + 1 : plan.stride,
            ]
