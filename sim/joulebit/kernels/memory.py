"""Arrays from recycled memory.

A training step makes some hundred tensors of up to several megabytes. Fresh memory of that size comes from the
system page by page, which costs about as much as filling it; here a block goes back to a list when the last
array that uses it is gone, and serves the next array of about its size. Blocks start on a cache line.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

_LINE = 64
_SMALLEST_POOLED = 1 << 14  # bytes; malloc serves smaller ones from memory that it keeps
_Block = tuple[int, NDArray[np.uint8]]  # its first cache line, and what keeps it alive


class _Lease:
    """A block on loan: numpy keeps it alive as long as any array looks into it."""

    __slots__ = ("__array_interface__", "_block", "_free")

    def __init__(self, block: _Block, free: list[_Block], shape: tuple[int, ...], kind: str) -> None:
        self._block = block
        self._free = free
        self.__array_interface__ = {"version": 3, "shape": shape, "typestr": kind, "data": (block[0], False)}

    def __del__(self) -> None:
        self._free.append(self._block)


@lru_cache(1 << 12)
def _size_class(shape: tuple[int, ...], dtype: Any) -> tuple[int, str]:
    """Bytes rounded up to a multiple of an eighth of the power of two below them, and numpy's name of the type."""
    kind = np.dtype(dtype)
    size = math.prod(shape) * kind.itemsize
    step = 1 << max(0, size.bit_length() - 4)
    return -(-size // step) * step, kind.str


class Pool:
    """Blocks of memory by size."""

    def __init__(self) -> None:
        self._free: dict[int, list[_Block]] = {}

    def empty(self, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """An array with arbitrary content, aligned to a cache line."""
        size, kind = _size_class(shape, dtype)
        if size < _SMALLEST_POOLED:
            return np.empty(shape, dtype)
        free = self._free.get(size)
        if free is None:
            free = self._free[size] = []
        try:
            block = free.pop()
        except IndexError:
            raw = np.empty(size + _LINE, np.uint8)
            block = (-(-raw.ctypes.data // _LINE) * _LINE, raw)
        return np.asarray(_Lease(block, free, shape, kind))
