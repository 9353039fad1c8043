"""Maximum pooling of bytes by vector kernels."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from joulebit.engine.vector_kernels import VectorKernels
from joulebit.kernels import pooling
from joulebit.kernels.scratch import address


class PoolingKernels(VectorKernels):
    """Both passes where windows lie side by side.

    Args:
        arithmetic, workers, pool: see `VectorKernels`.
    """

    def max_pool(self, x: NDArray[Any], size: int) -> NDArray[Any] | None:
        """`Engine.max_pool`, or None."""
        if x.itemsize != 1:
            return None
        samples, height, width, channels = x.shape
        out = self._pool.empty((samples, height // size, width // size, channels), x.dtype)
        self._run(pooling.max_pool, (address(x), address(out)), x, size)
        return out

    def max_pool_gradient(self, g: NDArray[Any], x: NDArray[Any], size: int) -> NDArray[Any] | None:
        """`Engine.max_pool_gradient`, or None."""
        if x.itemsize != 1:
            return None
        out = self._pool.empty(x.shape, np.int16)
        if x.shape[1] % size or x.shape[2] % size:
            out[:] = 0
        self._run(pooling.max_pool_gradient, (address(g), address(x), address(out)), x, size)
        return out

    def _run(self, kernel: Any, addresses: tuple[int, ...], x: NDArray[Any], size: int) -> None:
        samples, threads = x.shape[0], self._threads(x.shape[0])
        cuts = [samples * thread // threads for thread in range(threads + 1)]
        flip = 128 if x.dtype == np.int8 else 0  # turns the order of signed bytes into that of unsigned ones
        shape = (*x.shape[1:], size, flip)
        self._workers.run(kernel, [(*addresses, first, last, *shape) for first, last in pairwise(cuts)])
