"""Lists of descriptors in board memory that are kept from run to run.

A training step runs the same passes again and again: only shifts differ, and addresses where memory was cut
otherwise. What has not changed is neither made nor written again.
"""

from __future__ import annotations

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

__all__ = ["PreparedList"]

_GAP_BYTES = spec.RESULT_BYTES  #: between the result blocks of two passes: shows where one ends


class PreparedList:
    """The descriptors of passes that run after one another.

    Args:
        templates: of the passes; `place` wants entries of these.
        allocate: gives board memory.

    Attributes:
        address: of the first descriptor; count: of descriptors.
        results_bytes: of all result blocks with what lies between them.
    """

    def __init__(self, templates: Sequence[Template], allocate: Callable[[int], Region]) -> None:
        self.count = self.results_bytes = 0
        self._spans: list[slice] = []
        for template in templates:
            start = self.results_bytes
            self._spans.append(slice(start, start + spec.RESULT_BYTES * len(template)))
            self.results_bytes = self._spans[-1].stop + _GAP_BYTES
            self.count += len(template)
        self._region = allocate(spec.DESCRIPTOR_BYTES * self.count)
        self._bytes = self._region.array
        self.address = self._region.address
        self._placed: list[Any] = []

    def place(self, entries: Sequence[Entry], results: int) -> None:
        """Writes the descriptors where they differ from the last ones; results: address of the result blocks."""
        wanted: list[Any] = [results]
        for entry in entries:
            wanted += (entry.addresses, entry.shift, entry.threshold_q12)
        if wanted == self._placed:
            return
        self._placed = []
        written = 0
        for entry, span in zip(entries, self._spans):
            addresses = Addresses(results + span.start, *entry.addresses)
            part = entry.result.template.at(addresses, entry.shift, entry.threshold_q12).view(np.uint8)
            self._bytes[written : written + part.size] = part
            written += part.size
        self._region.flush()
        self._placed = wanted

    def accept(self, entries: Sequence[Entry], blocks: NDArray[np.uint8]) -> None:
        """Hands every pass its result blocks; ResultError where they cannot be right."""
        for entry, span in zip(entries, self._spans):
            entry.result.accept(blocks[span].copy())

    def descriptor(self, index: int) -> Any | None:
        """An element of DESCRIPTOR_DTYPE; None where there is none."""
        if index >= self.count:
            return None
        return self._bytes[: spec.DESCRIPTOR_BYTES * self.count].view(DESCRIPTOR_DTYPE)[index]
