"""Tensors that lie in board memory from the start: results stay where the accelerator wrote them, operands are
made where it reads them. Nothing is copied then, only flushed and invalidated.

That needs a board whose memory the processor works in as quickly as in its own (`Board.shared_bytes`).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from joulebit.kernels.memory import Pool
from joulebit_host.boards.base import Board, BoardMemoryError
from joulebit_host.driver import Accelerator, DeviceTensor
from joulebit_host.driver.memory import Region

__all__ = ["SharedMemory", "SharedPool"]

_SMALLEST = 1 << 14  #: bytes of a tensor that is made in board memory; copying a smaller one costs less


class SharedMemory:
    """Which tensors may stay in board memory, and where an array lies in it.

    Attributes:
        limit: bytes of board memory that may be in use when another tensor of the processor comes to it.
    """

    def __init__(self, accelerator: Accelerator, board: Board) -> None:
        self._memory = accelerator.memory
        self.limit = int(getattr(board, "shared_bytes", 0))

    def keeps(self, array: NDArray[Any]) -> bool:
        """Whether a result may stay where the accelerator wrote it."""
        return bool(array.flags.c_contiguous) and self._memory.used <= self.limit

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any] | None:
        """An NHWC tensor of arbitrary content that the accelerator can read; None where there is no room."""
        size = math.prod(shape) * dtype.itemsize
        if len(shape) != 4 or shape[3] % 8 or size < _SMALLEST or self._memory.used + size > self.limit:
            return None
        try:
            region = self._memory.allocate(size)
        except BoardMemoryError:
            return None
        self._memory.lent = True
        values: NDArray[Any] = region.array.view(dtype)
        return values.reshape(shape)

    def holder(self, array: NDArray[Any]) -> DeviceTensor | None:
        """The array as the accelerator sees it; None where it does not lie in its memory, or not as a tensor."""
        owner: Any = array.base
        while isinstance(owner, np.ndarray):
            owner = owner.base
        if not isinstance(owner, Region) or owner not in self._memory:
            return None
        offset = int(array.__array_interface__["data"][0]) - owner.start
        if array.shape[3] % 8 or offset % 8 or not array.flags.c_contiguous:
            return None
        return DeviceTensor(owner, array.shape, array.dtype, offset)

    def retreat(self) -> None:
        """Leave more room to the passes: they did not find enough."""
        self.limit //= 2


class SharedPool(Pool):
    """Memory for the processor's results: the board's while there is room, else recycled memory of its own."""

    def __init__(self, shared: SharedMemory) -> None:
        super().__init__()
        self._shared = shared

    def empty(self, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """An array with arbitrary content, aligned to a cache line."""
        found = self._shared.empty(shape, np.dtype(dtype))
        return super().empty(shape, dtype) if found is None else found
