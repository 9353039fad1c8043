"""Which parts of a memory are in use: first fit, neighbours that are free become one."""

from __future__ import annotations

import bisect


class Heap:
    """Offsets 0 .. size - 1, handed out in multiples of `align` bytes. It touches no memory itself.

    Attributes:
        size: bytes in all.
        used: bytes handed out at present (rounded up to `align`).
    """

    def __init__(self, size: int, align: int = 64) -> None:
        if size < 0 or align < 1:
            raise ValueError(f"size must be >= 0 and align >= 1, got {size}, {align}")
        self.size = size
        self.used = 0
        self._align = align
        self._free = [(0, size)] if size else []  #: (start, stop), in order
        self._lengths: dict[int, int] = {}

    @property
    def largest(self) -> int:
        """Bytes of the longest part that is free."""
        return max((stop - start for start, stop in self._free), default=0)

    def allocate(self, size: int) -> int | None:
        """The offset of `size` > 0 bytes, a multiple of `align`; None when no free part is long enough."""
        length = -(-size // self._align) * self._align
        for index, (start, stop) in enumerate(self._free):
            if stop - start >= length:
                if stop - start == length:
                    del self._free[index]
                else:
                    self._free[index] = (start + length, stop)
                self._lengths[start] = length
                self.used += length
                return start
        return None

    def free(self, offset: int) -> None:
        """Gives back what `allocate` handed out; KeyError for anything else."""
        length = self._lengths.pop(offset)
        self.used -= length
        start, stop = offset, offset + length
        index = bisect.bisect(self._free, (start, stop))
        if index < len(self._free) and self._free[index][0] == stop:
            stop = self._free.pop(index)[1]
        if index and self._free[index - 1][1] == start:
            start = self._free.pop(index - 1)[0]
            index -= 1
        self._free.insert(index, (start, stop))
