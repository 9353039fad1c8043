"""Parameters: the convolutions' weights in the engine, all small vectors in flat host arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from joulebit.engine.base import Array, Engine, UpdateRule
from joulebit.fixed.update import update_step

Int64Array = NDArray[np.int64]


class ConvWeight:
    """Masters, momentum and the quantised weights of one convolution."""

    def __init__(self, name: str, master: NDArray[np.int32], engine: Engine) -> None:
        self.name = name
        self.size = master.size
        self._engine = engine
        self.load(master, np.zeros(master.shape, np.int64))
        self._pending: tuple[Array, int | None] | None = None

    def load(self, master: NDArray[np.int32], momentum: NDArray[np.int64]) -> None:
        self.master = self._engine.from_numpy(master.astype(np.int32, copy=True))
        self.momentum = self._engine.from_numpy(momentum.astype(np.int64, copy=True))
        self.quantise()

    def quantise(self) -> None:
        """w and its exponent from the masters."""
        self.w, self.exponent = self._engine.quantise_weights(self.master)

    def set_gradient(self, gradient: Array, exponent: int) -> None:
        """The sum over the batch: gradient * 2^exponent."""
        self._pending = (gradient, exponent)

    def set_direction(self, signs: Array) -> None:
        """The signs of a sign update."""
        self._pending = (signs, None)

    def update(self, samples: int, rule: UpdateRule, sign_rule: UpdateRule) -> int:
        """One optimiser step if there is something pending; returns the number of parameters changed."""
        if self._pending is None:
            return 0
        gradient, exponent = self._pending
        self._pending = None
        if exponent is None:
            self._engine.update(self.master, self.momentum, gradient, 0, 1, sign_rule)
        else:
            self._engine.update(self.master, self.momentum, gradient, exponent, samples, rule)
        self.quantise()
        return self.size


class HostParameters:
    """Named small parameters in flat arrays on the host, so that one vectorised update serves them all."""

    def __init__(self, initial: Mapping[str, NDArray[np.int32]]) -> None:
        self._slices: dict[str, slice] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        position = 0
        for name, values in initial.items():
            self._slices[name] = slice(position, position + values.size)
            self._shapes[name] = values.shape
            position += values.size
        self.master = np.zeros(position, np.int32)
        for name, values in initial.items():
            self.master[self._slices[name]] = values.reshape(-1)
        self.momentum = np.zeros(position, np.int64)
        self._gradient = np.zeros(position, np.int64)
        self._exponent = np.zeros(position, np.int64)
        self._touched = np.zeros(position, bool)

    def __iter__(self) -> Iterator[str]:
        return iter(self._slices)

    def view(self, name: str) -> NDArray[np.int32]:
        """The masters called `name`, in their own shape (a view)."""
        return self.master[self._slices[name]].reshape(self._shapes[name])

    def set_gradient(self, name: str, gradient: Int64Array, exponent: int) -> None:
        """The sum over the batch: gradient * 2^exponent."""
        where = self._slices[name]
        self._gradient[where] = gradient.reshape(-1)
        self._exponent[where] = exponent
        self._touched[where] = True

    def update(self, samples: int, rule: UpdateRule) -> int:
        """One optimiser step on all parameters with a gradient; returns their number."""
        index: Any = slice(None) if self._touched.all() else np.flatnonzero(self._touched)
        master, momentum = self.master[index], self.momentum[index]
        count = int(master.size)
        if count:
            update_step(master, momentum, self._gradient[index], self._exponent[index], samples, rule)
            self.master[index], self.momentum[index] = master, momentum
        self._touched[:] = False
        return count
