"""Buffers of a virtual board's clients: allocated by number, owned by the connection that used them last."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from joulebit_host.boards.heap import Heap
from joulebit_host.boards.server.limits import Limits, Refused

__all__ = ["Entry", "Memory"]

_PAGE = 4096


@dataclass
class Entry:
    """A buffer: offset and size in bytes, and the connection that used it last."""

    offset: int
    size: int
    cacheable: bool
    owner: str


@dataclass
class Memory:
    """The memory that buffers come from; callers hold the board's lock.

    Attributes:
        array: all of it (uint8); base: physical address of its first byte. A new fabric brings a new array.
    """

    limits: Limits
    base: int
    array: NDArray[np.uint8]
    clock: Callable[[], float] = time.monotonic
    entries: dict[str, Entry] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._heap = Heap(len(self.array), _PAGE)
        self._numbers = itertools.count(1)
        self._last_call: dict[str, float] = {}
        self._calls: Counter[str] = Counter()

    def begin(self, owner: str) -> bool:
        """Notes that a call of a connection begins; whether it is its first."""
        new = owner not in self._last_call
        self._last_call[owner] = self.clock()
        self._calls[owner] += 1
        return new

    def end(self, owner: str) -> None:
        """Notes that a call ends: from now on the connection is silent."""
        self._last_call[owner] = self.clock()
        self._calls[owner] -= 1
        if not self._calls[owner]:
            del self._calls[owner]

    def allocate(self, size: int, cacheable: bool, owner: str) -> str:
        """The name of a new buffer; Refused without room for it."""
        if size <= 0:
            raise Refused("INVALID_ARGUMENT", f"a buffer has 1 to {len(self.array):,} bytes, got {size:,}")
        if len(self.entries) >= self.limits.buffers:
            raise Refused("RESOURCE_EXHAUSTED", f"{self.limits.buffers} buffers are in use: free some")
        offset = self._heap.allocate(size)
        if offset is None:
            raise Refused(
                "RESOURCE_EXHAUSTED",
                f"no {size:,} contiguous bytes: {self._heap.size - self._heap.used:,} of {self._heap.size:,} are "
                f"free, {self._heap.largest:,} in one piece; free buffers, or serve with more --memory-mb",
            )
        name = f"buffer{next(self._numbers)}"
        self.entries[name] = Entry(offset, size, cacheable, owner)
        self.array[offset : offset + size] = 0
        return name

    def find(self, name: str, owner: str) -> Entry:
        """A buffer by its name, from now on owned by who asked."""
        entry = self.entries.get(name)
        if entry is None:
            raise Refused(
                "NOT_FOUND", f"no buffer {name!r}: it was freed, or belongs to an earlier run of the board"
            )
        entry.owner = owner
        return entry

    def window(self, entry: Entry, start: int, stop: int) -> NDArray[np.uint8]:
        """Bytes start..stop-1 of a buffer."""
        if not 0 <= start <= stop <= entry.size:
            raise Refused("OUT_OF_RANGE", f"bytes {start}..{stop} lie outside a buffer of {entry.size} bytes")
        return self.array[entry.offset + start : entry.offset + stop]

    def free(self, name: str) -> None:
        """Gives a buffer back."""
        entry = self.entries.pop(name, None)
        if entry is None:
            raise Refused("NOT_FOUND", f"no buffer {name!r}")
        self._heap.free(entry.offset)

    def _free_where(self, lost: Callable[[Entry], bool]) -> int:
        names = [name for name, entry in self.entries.items() if lost(entry)]
        for name in names:
            self.free(name)
        return len(names)

    def free_others(self, owner: str) -> int:
        """Frees the buffers of all other connections; their number."""
        return self._free_where(lambda entry: entry.owner != owner)

    def free_idle(self) -> int:
        """Frees the buffers of connections that have been silent for too long; their number."""
        now = self.clock()
        silent = {
            owner
            for owner, last in self._last_call.items()
            if owner not in self._calls and now - last > self.limits.idle_s
        }
        for owner in silent:
            del self._last_call[owner]
        return self._free_where(lambda entry: entry.owner in silent)

    def spans(self) -> Iterator[slice]:
        """Where buffers lie in the array."""
        return (slice(entry.offset, entry.offset + entry.size) for entry in self.entries.values())
