"""What an operation tells the host besides its tensor: gathered on the device, read once.

Every read of a value makes the host wait until a CUDA device has done all that it was asked for before.
"""

from __future__ import annotations

import numpy as np
import torch

from joulebit.engine.base import Int64Array, Quantised


def read(*tensors: torch.Tensor) -> list[Int64Array]:
    """The values of int64 (or int32) tensors as flat int64 arrays, by one copy to the host."""
    ends = np.cumsum([tensor.numel() for tensor in tensors])
    flat = torch.cat([tensor.reshape(-1).to(torch.int64) for tensor in tensors]).cpu().numpy()
    return np.split(flat, ends[:-1])


def read_integers(*tensors: torch.Tensor) -> list[int]:
    """The values of 0-dimensional integer tensors, by one copy to the host."""
    return [int(value) for value in torch.stack(tensors).cpu().tolist()] if tensors else []


class Tally:
    """Of a tensor that is formed in parts: its peak, how many elements were clamped, and sums along the parts."""

    def __init__(self) -> None:
        self._numbers: list[torch.Tensor] = []
        self._arrays: list[torch.Tensor] = []

    def add(self, part: torch.Tensor, *clamped: torch.Tensor | None) -> None:
        """Some elements, and how many of them were clamped at each place (None: nowhere)."""
        if part.numel():
            low, high = torch.aminmax(part)
            self._numbers.append(torch.stack((high, low, *(count for count in clamped if count is not None))))

    def sum(self, *arrays: torch.Tensor) -> None:
        """Summands of some sums, int64 [channels] each."""
        self._arrays += arrays

    def read(self, sums: int = 0, channels: int = 0) -> tuple[int, int, list[Int64Array]]:
        """(peak, clamped elements, sums over all parts), by one copy; `sums` is their number."""
        numbers = len(self._numbers)
        found = read(*self._numbers, *self._arrays) if numbers or self._arrays else []
        peak = max((max(int(each[0]), -int(each[1])) for each in found[:numbers]), default=0)
        clamped = sum(int(each[2:].sum()) for each in found[:numbers])
        none = np.zeros(channels, np.int64)
        return peak, clamped, [sum(found[numbers + first :: sums], none) for first in range(sums)]

    def quantised(self, data: torch.Tensor) -> Quantised:
        """The tensor with its peak and the number of clamped elements."""
        peak, clamped, _ = self.read()
        return Quantised(data, peak, clamped)
