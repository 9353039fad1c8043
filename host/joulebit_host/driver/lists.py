"""Lists of descriptors in board memory that are kept from run to run.

A training step runs the same passes again and again, over tensors that lie where they lay in the step before,
since memory is cut the same way each time. Such a list is neither made nor written again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from joulebit.accelerator.tiling import Addresses
from joulebit.spec import accelerator as spec
from joulebit.spec.descriptor import DESCRIPTOR_DTYPE
from joulebit_host.boards.base import BoardMemoryError
from joulebit_host.driver.jobs import Entry
from joulebit_host.driver.memory import Memory, Region

__all__ = ["ListCache", "PreparedList"]

_GAP_BYTES = spec.RESULT_BYTES  #: between the result blocks of two passes: shows where one ends
_SHELF_BYTES = 1 << 20  #: of a buffer that is filled with lists
_KEPT_BYTES = 4 << 20  #: of all such buffers


def _list_bytes(entries: Sequence[Entry]) -> int:
    """Of descriptors and result blocks."""
    each = spec.DESCRIPTOR_BYTES + spec.RESULT_BYTES
    return sum([each * len(entry.result.template) + _GAP_BYTES for entry in entries])


class PreparedList:
    """The descriptors of passes that run after one another, and behind them their result blocks, in board memory.

    Args:
        entries: the passes.
        region, offset: where it all goes.

    Attributes:
        address: of the first descriptor; count: of descriptors.
    """

    def __init__(self, entries: Sequence[Entry], region: Region, offset: int) -> None:
        #: Templates are told apart by `id` and must live as long.
        self._templates = [entry.result.template for entry in entries]
        self.count = sum(len(template) for template in self._templates)
        self._region = region
        self.address = region.address + offset
        memory = region.array
        start = self._start = offset + spec.DESCRIPTOR_BYTES * self.count
        self._descriptors = memory[offset:start].view(DESCRIPTOR_DTYPE)
        self._blocks: list[NDArray[np.uint8]] = []
        first = 0
        for entry, template in zip(entries, self._templates):
            addresses = Addresses(region.address + start, *entry.addresses)
            last = first + len(template)
            self._descriptors[first:last] = template.at(addresses, entry.shift, entry.threshold_q12)
            stop = start + spec.RESULT_BYTES * len(template)
            self._blocks.append(memory[start:stop])
            first, start = last, stop + _GAP_BYTES
        self._stop = start
        self._results = memory[self._start : self._stop]
        region.flush(offset, self._start)

    def clear(self) -> None:
        """Makes the result blocks such that those of an earlier run cannot be taken for those of the next."""
        self._results[:] = 0xFF
        self._region.flush(self._start, self._stop)

    def ends(self, passes: int) -> int:
        """How many descriptors the first so many passes have."""
        return sum([len(template) for template in self._templates[:passes]])

    def accept(self, entries: Sequence[Entry], first: int, last: int) -> None:
        """Hands passes first .. last - 1 their result blocks; ResultError where they cannot be right."""
        self._region.invalidate(self._start, self._stop)
        for entry, blocks in zip(entries[first:last], self._blocks[first:last]):
            entry.result.accept(blocks.copy())

    def descriptor(self, index: int) -> Any | None:
        """An element of DESCRIPTOR_DTYPE; None where there is none."""
        return self._descriptors[index] if index < self.count else None


class _Shelf:
    """Board memory that is filled with lists from its start on."""

    def __init__(self, region: Region) -> None:
        self.region = region
        self.used = 0
        self.names: list[tuple[Any, ...]] = []

    def holds(self, size: int) -> bool:
        """Whether so many bytes more have room."""
        return self.used + size <= len(self.region)


class ListCache:
    """The lists that were made last, by their passes and where everything lies.

    They fill buffers of their own, so that tensors lie where they lay before, whether a list is kept or made.

    Args:
        memory: of the driver.
    """

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._known: dict[tuple[Any, ...], PreparedList] = {}
        self._shelves: list[_Shelf] = []

    def __len__(self) -> int:
        return len(self._known)

    def get(self, entries: Sequence[Entry], idle: Callable[[], None]) -> PreparedList:
        """The list of these passes. BoardMemoryError: there is no room for it.

        idle: waits until the accelerator works on no list.
        """
        name: list[Any] = []
        for result, addresses, shift, threshold_q12 in entries:
            name += (id(result.template), addresses, shift, threshold_q12)
        key = tuple(name)
        known = self._known.get(key)
        if known is None:
            size = _list_bytes(entries)
            shelf = self._shelf(size, idle)
            known = self._known[key] = PreparedList(entries, shelf.region, shelf.used)
            shelf.used += size
            shelf.names.append(key)
        return known

    def _shelf(self, size: int, idle: Callable[[], None]) -> _Shelf:
        """One with room for so many bytes: the last, a new one, or the oldest without its lists."""
        shelves = self._shelves
        if shelves and shelves[-1].holds(size):
            return shelves[-1]
        # Where moving a part of a buffer moves all before it, too, each list has a buffer of its own.
        wanted = size if self._memory.apart else max(size, _SHELF_BYTES)
        while shelves and sum(len(shelf.region) for shelf in shelves) + wanted > _KEPT_BYTES:
            idle()
            oldest = shelves.pop(0)
            for name in oldest.names:
                del self._known[name]
            oldest.used, oldest.names = 0, []
            if oldest.holds(wanted):
                shelves.append(oldest)
                return oldest
        shelves.append(_Shelf(self._region(size, wanted)))
        return shelves[-1]

    def _region(self, size: int, wanted: int) -> Region:
        try:
            return self._memory.allocate_apart(wanted)
        except BoardMemoryError:
            return self._memory.allocate(size)

    def clear(self) -> None:
        self._known.clear()
        self._shelves.clear()
