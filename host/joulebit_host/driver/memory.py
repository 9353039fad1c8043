"""Board memory for tensors: a few large buffers, cut into regions that are reused.

Allocating on a board costs a system call, over the network several round trips, and pynq's remote buffers cannot
be cut themselves (a slice reports the address of the whole). So buffers of `CHUNK_BYTES` are asked for, and the
driver keeps the books. A region returns to its buffer when the last reference to it is gone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from joulebit_host.boards.base import Board, BoardMemoryError, Buffer
from joulebit_host.boards.heap import Heap

__all__ = ["CHUNK_BYTES", "Memory", "Region"]

CHUNK_BYTES = 16 << 20


class Region:
    """Contiguous bytes of board memory, as long as the region or an array made of it is referenced.

    Attributes:
        address: of the first byte, as the accelerator sees it.
    """

    __slots__ = ("__array_interface__", "_chunk", "_offset", "_size", "address")

    def __init__(self, chunk: _Chunk, offset: int, size: int) -> None:
        self._chunk = chunk
        self._offset = offset
        self._size = size
        self.address = chunk.address + offset
        self.__array_interface__: dict[str, Any] = {
            "version": 3, "shape": (size,), "typestr": "|u1", "data": (chunk.start + offset, False),
        }  # fmt: skip

    def __len__(self) -> int:
        return self._size

    @property
    def chunk(self) -> _Chunk:
        """The buffer that it is a part of."""
        return self._chunk

    @property
    def start(self) -> int:
        """Where the processor sees the first byte."""
        return self._chunk.start + self._offset

    @property
    def array(self) -> NDArray[np.uint8]:
        """The bytes (on a remote board the local copy). Views of it keep the region from being reused."""
        return np.asarray(self)

    def flush(self, start: int = 0, stop: int | None = None) -> None:
        """Makes what the processor wrote to bytes start..stop-1 (default: all) visible to the accelerator."""
        stop = self._size if stop is None else stop
        self._chunk.buffer.flush(self._offset + start, self._offset + stop)

    def invalidate(self, start: int = 0, stop: int | None = None) -> None:
        """Makes what the accelerator wrote to bytes start..stop-1 (default: all) visible to the processor."""
        stop = self._size if stop is None else stop
        self._chunk.buffer.invalidate(self._offset + start, self._offset + stop)

    def __del__(self) -> None:
        self._chunk.heap.free(self._offset)


def _chunks_above(size: int) -> list[int]:
    """CHUNK_BYTES, a half, a quarter, ... of it, as long as it is more than size."""
    return [CHUNK_BYTES >> bits for bits in range(8) if CHUNK_BYTES >> bits > size]


class _Chunk:
    def __init__(self, buffer: Buffer, size: int) -> None:
        self.buffer = buffer
        self.address = buffer.address
        self.memory = buffer.array  # regions point into it, perhaps longer than the buffer lives
        self.start = int(self.memory.__array_interface__["data"][0])
        self.heap = Heap(size)


class Memory:
    """The regions of one driver.

    Attributes:
        limit: bytes that may be asked of the board in all; None: as many as it has.
        apart: whether each region has a buffer of its own, since moving a part of one moves all before it, too.
        lent: whether the processor has had regions to work in, which it may have written to without a flush.
    """

    def __init__(self, board: Board, limit: int | None = None) -> None:
        self._board = board
        self.limit = limit
        self.lent = False
        self.apart = not getattr(board, "moves_ranges", True)
        self._chunks: list[_Chunk] = []

    def __contains__(self, region: Region) -> bool:
        return region.chunk in self._chunks

    @property
    def held(self) -> int:
        """Bytes that the board has given."""
        return sum(chunk.heap.size for chunk in self._chunks)

    @property
    def used(self) -> int:
        """Bytes of them in regions."""
        return sum([chunk.heap.used for chunk in self._chunks])

    def allocate(self, size: int) -> Region:
        """A region of `size` > 0 bytes with undefined content; BoardMemoryError names what there is."""
        for chunk in self._chunks:
            if self.apart and (chunk.heap.used or chunk.heap.size > 2 * size + 4096):
                continue
            offset = chunk.heap.allocate(size)
            if offset is not None:
                return Region(chunk, offset, size)
        rounded = -(-size // 64) * 64
        return self._whole(
            self._grow(size, [rounded, rounded] if self.apart else [*_chunks_above(size), rounded]), size
        )

    def allocate_apart(self, size: int) -> Region:
        """As `allocate`, of a buffer of its own."""
        if self.apart:
            return self.allocate(size)
        return self._whole(self._grow(size, [-(-size // 64) * 64]), size)

    @staticmethod
    def _whole(chunk: _Chunk, size: int) -> Region:
        offset = chunk.heap.allocate(size)
        assert offset is not None
        return Region(chunk, offset, size)

    def _grow(self, size: int, sizes: list[int]) -> _Chunk:
        """A chunk of the first of these sizes that the board has."""
        if not self.apart:
            self._return_unused()
        # The exception itself would hold this frame, and with it all callers' regions, in a cycle.
        refusal = ""
        for attempt, wanted in enumerate(sizes):
            if self.apart and attempt:
                self._return_unused()
            if self.limit is not None and self.held + wanted > self.limit:
                continue
            try:
                chunk = _Chunk(self._board.allocate(wanted), wanted)
            except BoardMemoryError as error:
                refusal = f": {error}"
            else:
                self._chunks.append(chunk)
                return chunk
        why = refusal or f" (limit {self.limit:,} bytes)"
        raise BoardMemoryError(
            f"board {self._board.name} has no room for {size:,} bytes beside the {self.used:,} in use{why}"
        )

    def _return_unused(self) -> None:
        """Buffers without a region go back to the board, so that a larger one may find room."""
        for chunk in [chunk for chunk in self._chunks if not chunk.heap.used]:
            self._chunks.remove(chunk)
            chunk.buffer.free()

    def close(self) -> None:
        """Gives every buffer back; regions must not be used afterwards."""
        chunks, self._chunks = self._chunks, []
        for chunk in chunks:
            chunk.buffer.free()
