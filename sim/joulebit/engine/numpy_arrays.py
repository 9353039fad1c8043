"""The operations of `joulebit.engine.base.Engine` that need no kernel, for engines whose arrays are numpy's."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from joulebit.engine.base import Array, Int64Array


class NumpyArrays:
    """Moving, copying and making arrays."""

    def from_numpy(self, array: NDArray[Any]) -> Array:
        return np.ascontiguousarray(array)

    def to_numpy(self, array: Array) -> NDArray[Any]:
        return np.asarray(array)

    def put(self, target: Array, index: Int64Array, value: Array) -> Array:
        target[index] = value
        return target

    def put_channels(self, target: Array, index: Int64Array, value: Array) -> Array:
        target[..., index] = value
        return target

    def copy(self, x: Array) -> Array:
        return x.copy()

    def zeros_like_gradient(self, x: Array) -> Array:
        return np.zeros(x.shape, np.int16)

    def limit_masters(self, master: Array, limit: int) -> None:
        np.clip(master, -limit, limit, out=master)

    def zeros_like_momentum(self, master: Array) -> Array:
        return np.zeros(master.shape, np.int64)
