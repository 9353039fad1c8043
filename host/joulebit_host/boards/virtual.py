"""The virtual ZedBoard in this process: a fabric, and its memory handed out as buffers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from joulebit.spec.accelerator import specification_hash
from joulebit_host.boards.base import (
    Bitstream,
    BoardError,
    BoardMemoryError,
    BoardTimeoutError,
    byte_range,
)
from joulebit_host.boards.fabric import BASE, MEMORY_BYTES, Fabric, make_fabric
from joulebit_host.boards.heap import Heap

__all__ = ["VirtualBoard", "VirtualBuffer", "open_functional", "open_rtl"]


class VirtualBuffer:
    """A part of a virtual board's memory. Memory and processor see the same bytes: nothing needs to be moved."""

    def __init__(self, board: VirtualBoard, offset: int, size: int) -> None:
        self._board = board
        self._offset = offset
        self._array = board.fabric.memory[offset : offset + size]
        self.address = board.fabric.base + offset
        self._freed = False

    @property
    def array(self) -> NDArray[np.uint8]:
        return self._array

    def flush(self, start: int = 0, stop: int | None = None) -> None:
        byte_range(self._array, start, stop)

    invalidate = flush

    def free(self) -> None:
        if not self._freed:
            self._freed = True
            self._array = np.zeros(0, np.uint8)
            self._board.heap.free(self._offset)


class VirtualBoard:
    """`Board` on a fabric in this process.

    Args:
        config: of the accelerator that can be loaded.
        tier: "functional" or "rtl" (`joulebit_host.boards.fabric`).
        memory_bytes: for buffers.
    """

    def __init__(
        self, config: str = "default", tier: str = "functional", memory_bytes: int = MEMORY_BYTES
    ) -> None:
        self.name = "virtual" if tier == "functional" else f"virtual-{tier}"
        self._config = config
        self.fabric: Fabric = make_fabric(tier, config, memory_bytes, BASE)
        self.heap = Heap(memory_bytes)
        self.shared_bytes = memory_bytes // 4 * 3
        self._open = True

    def load(self, bitstream: Bitstream) -> None:
        if bitstream.specification_hash != specification_hash():
            raise BoardError(
                f"bitstream {bitstream.name} was built from specification {bitstream.specification_hash[:8]}, the "
                f"virtual board computes {specification_hash()[:8]}: build it again from this version"
            )
        if bitstream.config != self._config:
            raise BoardError(
                f"bitstream {bitstream.name} is of configuration {bitstream.config!r}, the virtual board was made "
                f"with {self._config!r}: open it with that configuration"
            )
        self.fabric.reset()

    def read(self, register: int) -> int:
        return self.fabric.read(register)

    def write(self, register: int, value: int) -> None:
        self.fabric.write(register, value)

    def allocate(self, size: int) -> VirtualBuffer:
        offset = self.heap.allocate(size)
        if offset is None:
            raise BoardMemoryError(
                f"no {size:,} contiguous bytes: {self.heap.size - self.heap.used:,} of {self.heap.size:,} are "
                f"free, {self.heap.largest:,} in one piece"
            )
        return VirtualBuffer(self, offset, size)

    def wait(self, mask: int, timeout_s: float) -> int:
        status = self.fabric.wait(mask, timeout_s)
        if not status & mask:
            raise BoardTimeoutError(
                f"the accelerator was not done after {timeout_s:g} s (STATUS 0x{status:X}): allow more time"
            )
        return status

    def temperature_c(self) -> float | None:
        return None

    def close(self) -> None:
        if self._open:
            self._open = False
            self.fabric.close()


def open_functional(where: str, config: str) -> VirtualBoard:
    """`virtual`."""
    return VirtualBoard(config, "functional")


def open_rtl(where: str, config: str) -> VirtualBoard:
    """`virtual-rtl`."""
    return VirtualBoard(config, "rtl")
