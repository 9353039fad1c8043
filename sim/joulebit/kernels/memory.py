"""Arrays from recycled memory.

A training step makes some hundred tensors of up to several megabytes. Fresh memory of that size comes from the
system page by page, which costs about as much as filling it; here a block goes back to a list when the last
array that uses it is gone, and serves the next array of about its size. Blocks start on a cache line.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

_LINE = 64
_SMALLEST_POOLED = 1 << 14  # bytes; malloc serves smaller ones from memory that it keeps


class _Lease:
    """A block on loan: numpy keeps it alive as long as any array looks into it."""

    __slots__ = ("__array_interface__", "_block", "_free")

    def __init__(self, block: NDArray[np.uint8], free: list[NDArray[np.uint8]], interface: dict[str, Any]) -> None:
        self._block = block
        self._free = free
        self.__array_interface__ = interface

    def __del__(self) -> None:
        self._free.append(self._block)


def _size_class(size: int) -> int:
    """size rounded up to a multiple of an eighth of the power of two below it."""
    step = 1 << max(0, size.bit_length() - 4)
    return -(-size // step) * step


class Pool:
    """Blocks of memory by size."""

    def __init__(self) -> None:
        self._free: dict[int, list[NDArray[np.uint8]]] = {}

    def empty(self, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """An array with arbitrary content, aligned to a cache line."""
        kind = np.dtype(dtype)
        size = math.prod(shape) * kind.itemsize
        if size < _SMALLEST_POOLED:
            return np.empty(shape, kind)
        rounded = _size_class(size)
        free = self._free.setdefault(rounded, [])
        try:
            block = free.pop()
        except IndexError:
            raw = np.empty(rounded + _LINE, np.uint8)
            skip = -raw.ctypes.data % _LINE
            block = raw[skip : skip + rounded]
        address = block.__array_interface__["data"][0]
        interface = {"version": 3, "shape": shape, "typestr": kind.str, "data": (address, False)}
        return np.asarray(_Lease(block, free, interface))
