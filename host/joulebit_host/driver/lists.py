"""Lists of descriptors in board memory that are kept from run to run.

A training step runs the same passes again and again, over tensors that lie where they lay in the step before, since
memory is cut the same way each time. Such a list is neither made nor written again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from joulebit.accelerator.tiling import Addresses
from joulebit.spec import accelerator as spec
from joulebit.spec.descriptor import DESCRIPTOR_DTYPE
from joulebit_host.driver.jobs import Entry
from joulebit_host.driver.memory import Region
from joulebit_host.driver.plans import Template

__all__ = ["ListCache", "PreparedList", "results_bytes"]

_GAP_BYTES = spec.RESULT_BYTES  #: between the result blocks of two passes: shows where one ends
_KEPT_BYTES = 4 << 20  #: of board memory for lists that may be needed again


def results_bytes(entries: Sequence[Entry]) -> int:
    """Of the result blocks of a list's passes, with what lies between them."""
    return sum([spec.RESULT_BYTES * len(entry.result.template) + _GAP_BYTES for entry in entries])


class PreparedList:
    """The descriptors of passes that run after one another, in board memory.

    Args:
        entries: the passes.
        results: address of their result blocks, in `results_bytes`.
        allocate: gives board memory.

    Attributes:
        address: of the first descriptor; count: of descriptors; size: bytes of them.
    """

    def __init__(self, entries: Sequence[Entry], results: int, allocate: Callable[[int], Region]) -> None:
        templates = [entry.result.template for entry in entries]
        self.count = sum(len(template) for template in templates)
        self.size = spec.DESCRIPTOR_BYTES * self.count
        self._region = allocate(self.size)
        self._descriptors = self._region.array[: self.size].view(DESCRIPTOR_DTYPE)
        self._spans: list[slice] = []
        first = start = 0
        for entry, template in zip(entries, templates):
            addresses = Addresses(results + start, *entry.addresses)
            last = first + len(template)
            self._descriptors[first:last] = template.at(addresses, entry.shift, entry.threshold_q12)
            self._spans.append(slice(start, start + spec.RESULT_BYTES * len(template)))
            first, start = last, self._spans[-1].stop + _GAP_BYTES
        self._region.flush()
        self.address = self._region.address

    def accept(self, entries: Sequence[Entry], blocks: NDArray[np.uint8]) -> None:
        """Hands every pass its result blocks; ResultError where they cannot be right."""
        for entry, span in zip(entries, self._spans):
            entry.result.accept(blocks[span].copy())

    def descriptor(self, index: int) -> Any | None:
        """An element of DESCRIPTOR_DTYPE; None where there is none."""
        return self._descriptors[index] if index < self.count else None


class ListCache:
    """The lists that ran last, by their passes and where everything lies."""

    def __init__(self) -> None:
        #: with the templates, which are told apart by `id` and must live as long
        self._known: OrderedDict[tuple[Any, ...], tuple[PreparedList, list[Template]]] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._known)

    def get(self, entries: Sequence[Entry], results: int, allocate: Callable[[int], Region]) -> PreparedList:
        """The list of these passes (`PreparedList`)."""
        name: list[Any] = [results]
        for result, addresses, shift, threshold_q12 in entries:
            name += (id(result.template), addresses, shift, threshold_q12)
        key = tuple(name)
        known = self._known.get(key)
        if known is not None:
            self._known.move_to_end(key)
            return known[0]
        made = PreparedList(entries, results, allocate)
        self._known[key] = made, [entry.result.template for entry in entries]
        self._bytes += made.size
        while self._bytes > _KEPT_BYTES and len(self._known) > 1:
            self._bytes -= self._known.popitem(last=False)[1][0].size
        return made

    def clear(self) -> None:
        self._known.clear()
        self._bytes = 0
