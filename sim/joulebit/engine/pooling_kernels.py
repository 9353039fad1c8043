"""Pooling of bytes, maximum and global, by vector kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from joulebit.engine.base import Int64Array, Quantised
from joulebit.engine.vector_kernels import VectorKernels
from joulebit.kernels import global_pooling, pooling
from joulebit.kernels.scratch import address

_PASS = np.ones(16, np.uint8)


class PoolingKernels(VectorKernels):
    """Both passes of each kind; maximum pooling where windows lie side by side.

    Args:
        arithmetic, workers, pool: see `VectorKernels`.
    """

    def max_pool(self, x: NDArray[Any], size: int) -> NDArray[Any] | None:
        """`Engine.max_pool`, or None."""
        if x.itemsize != 1:
            return None
        samples, height, width, channels = x.shape
        out = self._pool.empty((samples, height // size, width // size, channels), x.dtype)
        self._workers.run(
            pooling.max_pool, self._sample_rows((address(x), address(out)), x.shape[0], _windows(x, size))
        )
        return out

    def max_pool_gradient(self, g: NDArray[Any], x: NDArray[Any], size: int) -> NDArray[Any] | None:
        """`Engine.max_pool_gradient`, or None."""
        if x.itemsize != 1:
            return None
        out = self._pool.empty(x.shape, np.int16)
        if x.shape[1] % size or x.shape[2] % size:
            out[:] = 0
        rows = self._sample_rows((address(g), address(x), address(out)), x.shape[0], _windows(x, size))
        self._workers.run(pooling.max_pool_gradient, rows)
        return out

    def spatial_sum(self, x: NDArray[Any]) -> Int64Array | None:
        """`Engine.spatial_sum`, or None."""
        samples, height, width, channels = x.shape
        if x.itemsize != 1 or height * width > global_pooling.MOST_POSITIONS:
            return None
        out = np.empty((samples, channels), np.int64)
        rows = self._sample_rows((address(x), address(out)), samples, (height * width, channels, _flip(x)))
        self._workers.run(global_pooling.spatial_sum, rows)
        return out

    def spread(
        self, value: Int64Array, like: NDArray[Any], shift: int, masked: bool, mask_below: int
    ) -> Quantised | None:
        """`Engine.spread`, or None."""
        samples, height, width, channels = like.shape
        if not self._half_up or not 0 <= shift <= 62 or (masked and like.dtype != np.uint8):
            return None
        value = np.ascontiguousarray(value)
        g = self._pool.empty(like.shape, np.int16)
        mask = (int(masked), mask_below if mask_below > 0 else 256)
        addresses = (address(value), address(like if masked else _PASS), address(g))
        rows = self._sample_rows(addresses, samples, (height * width, channels, *mask, shift, self._g_limit))
        return self._quantised(g, global_pooling.spread, rows)


def _windows(x: NDArray[Any], size: int) -> tuple[int, ...]:
    return (*x.shape[1:], size, _flip(x))


def _flip(x: NDArray[Any]) -> int:
    """What turns the order of signed bytes into that of unsigned ones."""
    return 128 if x.dtype == np.int8 else 0
