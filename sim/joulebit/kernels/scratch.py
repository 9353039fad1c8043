"""Memory that a thread uses during one call of a kernel, kept from call to call."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_LINE = 64


class Scratch:
    """One growing block per thread; content is lost between calls."""

    def __init__(self, threads: int) -> None:
        self._blocks: list[NDArray[np.uint8]] = [np.empty(0, np.uint8) for _ in range(threads)]
        self._addresses = [0] * threads

    def addresses(self, size: int) -> list[int]:
        """The address of at least `size` bytes for each thread, on a cache line."""
        if self._blocks[0].size < size + _LINE:
            self._blocks = [np.zeros(size + size // 4 + _LINE, np.uint8) for _ in self._blocks]
            self._addresses = [-(-block.ctypes.data // _LINE) * _LINE for block in self._blocks]
        return self._addresses


def address(array: NDArray[np.generic]) -> int:
    """Address of the first element."""
    return int(array.__array_interface__["data"][0])
