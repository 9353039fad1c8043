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
from joulebit_host.driver.memory import Region

__all__ = ["ListCache", "PreparedList", "results_bytes"]

_GAP_BYTES = spec.RESULT_BYTES  #: between the result blocks of two passes: shows where one ends
_SHELF_BYTES = 1 << 18  #: of board memory that are filled with lists
_SHELVES = 16


def results_bytes(entries: Sequence[Entry]) -> int:
    """Of the result blocks of a list's passes, with what lies between them."""
    return sum([spec.RESULT_BYTES * len(entry.result.template) + _GAP_BYTES for entry in entries])


class PreparedList:
    """The descriptors of passes that run after one another, in board memory.

    Args:
        entries: the passes.
        results: address of their result blocks, in `results_bytes`.
        region, offset: where the descriptors go.

    Attributes:
        address: of the first descriptor; count: of descriptors.
    """

    def __init__(self, entries: Sequence[Entry], results: int, region: Region, offset: int) -> None:
        #: Templates are told apart by `id` and must live as long.
        self._templates = [entry.result.template for entry in entries]
        self.count = sum(len(template) for template in self._templates)
        stop = offset + spec.DESCRIPTOR_BYTES * self.count
        self._descriptors = region.array[offset:stop].view(DESCRIPTOR_DTYPE)
        self._spans: list[slice] = []
        first = start = 0
        for entry, template in zip(entries, self._templates):
            addresses = Addresses(results + start, *entry.addresses)
            last = first + len(template)
            self._descriptors[first:last] = template.at(addresses, entry.shift, entry.threshold_q12)
            self._spans.append(slice(start, start + spec.RESULT_BYTES * len(template)))
            first, start = last, self._spans[-1].stop + _GAP_BYTES
        region.flush(offset, stop)
        self.address = region.address + offset

    def accept(self, entries: Sequence[Entry], blocks: NDArray[np.uint8]) -> None:
        """Hands every pass its result blocks; ResultError where they cannot be right."""
        for entry, span in zip(entries, self._spans):
            entry.result.accept(blocks[span].copy())

    def descriptor(self, index: int) -> Any | None:
        """An element of DESCRIPTOR_DTYPE; None where there is none."""
        return self._descriptors[index] if index < self.count else None


class _Shelf:
    """Board memory that is filled with lists from its start on."""

    def __init__(self, region: Region) -> None:
        self.region = region
        self.used = 0
        self.names: list[tuple[Any, ...]] = []


class ListCache:
    """The lists that were made last, by their passes and where everything lies.

    They fill memory of their own, so that tensors lie where they lay before whether a list is kept or made.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[Any, ...], PreparedList] = {}
        self._shelves: list[_Shelf] = []

    def __len__(self) -> int:
        return len(self._known)

    def get(self, entries: Sequence[Entry], results: int, allocate: Callable[[int], Region]) -> PreparedList:
        """The list of these passes with their result blocks from address `results` on.

        allocate: gives board memory.
        """
        name: list[Any] = [results]
        for result, addresses, shift, threshold_q12 in entries:
            name += (id(result.template), addresses, shift, threshold_q12)
        key = tuple(name)
        known = self._known.get(key)
        if known is None:
            size = spec.DESCRIPTOR_BYTES * sum(len(entry.result.template) for entry in entries)
            shelf = self._shelf(size, allocate)
            known = self._known[key] = PreparedList(entries, results, shelf.region, shelf.used)
            shelf.used += size
            shelf.names.append(key)
        return known

    def _shelf(self, size: int, allocate: Callable[[int], Region]) -> _Shelf:
        """One with room for so many bytes; the oldest goes when there are too many."""
        if not self._shelves or self._shelves[-1].used + size > len(self._shelves[-1].region):
            if len(self._shelves) >= _SHELVES:
                for name in self._shelves.pop(0).names:
                    del self._known[name]
            try:
                region = allocate(max(size, _SHELF_BYTES))
            except BoardMemoryError:
                region = allocate(size)
            self._shelves.append(_Shelf(region))
        return self._shelves[-1]

    def clear(self) -> None:
        self._known.clear()
        self._shelves.clear()
