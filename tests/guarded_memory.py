"""Memory between guards: every area that compiled kernels are given lies between bytes that must not change.

Kernels take addresses, so nothing else tells of a write past an area's end before it hits something that matters.
The guards and the areas themselves start with one `fill` byte: what a kernel computes must not depend on it, else
it read what it was not given or what nobody wrote.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from joulebit.kernels.memory import Pool
from joulebit.kernels.scratch import Scratch

GUARD = 1 << 16  # bytes on either side
_LINE = 64


class GuardedMemory:
    """Areas between guards.

    Args:
        fill: the byte that guards and areas hold at first.
        short: (name, bytes) -> how many bytes to keep back from an area, as a wrong size would.
    """

    def __init__(self, fill: int = 0xA5, short: Callable[[str, int], int] | None = None) -> None:
        self.fill = fill
        self.short = short
        self._areas: list[tuple[str, NDArray[np.uint8], int, int]] = []

    def block(self, name: str, size: int, offset: int = 0) -> NDArray[np.uint8]:
        """`size` bytes that begin `offset` bytes behind a cache line."""
        raw = np.full(2 * GUARD + 2 * _LINE + size, self.fill, np.uint8)
        start = GUARD + -(raw.ctypes.data + GUARD) % _LINE + offset
        short = self.short(name, size) if self.short else 0
        self._areas.append((name, raw, start, start + size - short))
        return raw[start : start + size]

    def array(self, name: str, shape: Any, dtype: Any) -> NDArray[Any]:
        """An array that is aligned as numpy's own are: to 16 bytes, and here to no more."""
        kind, sizes = np.dtype(dtype), (shape,) if isinstance(shape, int) else tuple(shape)
        return self.block(name, math.prod(sizes) * kind.itemsize, 16).view(kind).reshape(sizes)

    def copy(self, name: str, values: NDArray[Any]) -> NDArray[Any]:
        """The values between guards."""
        array = self.array(name, values.shape, values.dtype)
        array[...] = values
        return array

    def overruns(self) -> list[str]:
        """What was written outside of each area since the last call, the areas' names first."""
        found = []
        for name, raw, start, end in self._areas:
            before = np.flatnonzero(raw[:start] != self.fill)
            behind = np.flatnonzero(raw[end:] != self.fill)
            if before.size:
                found.append(f"{name}: {before.size} bytes from {start - before[0]} before its start")
            if behind.size:
                found.append(f"{name}: {behind.size} bytes, up to {behind[-1] + 1} behind its end")
        self._areas.clear()
        return found

    def install(self, patch: Any, *modules: ModuleType) -> None:
        """Scratch memory, recycled memory, and what the modules take from numpy come from here.

        patch: pytest's monkeypatch.
        """

        def addresses(scratch: Scratch, size: int) -> list[int]:
            return [self.block("scratch", size).ctypes.data for _ in scratch._blocks]

        patch.setattr(Scratch, "addresses", addresses)
        patch.setattr(Pool, "empty", lambda _, shape, dtype: self.array("result", shape, dtype))
        for module in modules:
            patch.setattr(module, "np", _Numpy(self, module.__name__.rpartition(".")[2]))


class _Numpy:
    """numpy, but what it allocates lies between guards."""

    def __init__(self, memory: GuardedMemory, name: str) -> None:
        self._memory = memory
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    def empty(self, shape: Any, dtype: Any = float) -> NDArray[Any]:
        return self._memory.array(f"array of {self._name}", shape, dtype)

    def zeros(self, shape: Any, dtype: Any = float) -> NDArray[Any]:
        array = self.empty(shape, dtype)
        array[...] = 0
        return array
