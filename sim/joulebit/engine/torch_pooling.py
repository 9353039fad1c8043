"""Maximum pooling on tensors; of equal values in a window the first is its maximum (spec, sections 4 and 5)."""

from __future__ import annotations

import torch

from joulebit.engine.torch_uint16 import calculable


def max_pool(x: torch.Tensor, size: int) -> torch.Tensor:
    """`Engine.max_pool`."""
    return _first_maximum(x, size)[0].to(x.dtype)


def max_pool_gradient(g: torch.Tensor, x: torch.Tensor, size: int) -> torch.Tensor:
    """`Engine.max_pool_gradient`."""
    _, first = _first_maximum(x, size)
    rows, columns = first.shape[1:3]
    out = torch.zeros(x.shape, dtype=torch.int16, device=x.device)
    for tap in range(size * size):
        window = _window_tap(out, size, tap)
        window.copy_(g[:, :rows, :columns] * (first == tap))
    return out


def _window_tap(x: torch.Tensor, size: int, tap: int) -> torch.Tensor:
    """Element `tap` (row-major) of every full pooling window of x, as a view."""
    rows, columns = x.shape[1] // size * size, x.shape[2] // size * size
    row, column = divmod(tap, size)
    return x[:, row:rows:size, column:columns:size]


def _first_maximum(x: torch.Tensor, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(maximum of each pooling window, row-major position of its first occurrence)."""
    x = calculable(x)
    best = _window_tap(x, size, 0)
    first = torch.zeros(best.shape, dtype=torch.int32, device=x.device)
    for tap in range(1, size * size):
        candidate = _window_tap(x, size, tap)
        larger = candidate > best
        best = torch.where(larger, candidate, best)
        first = torch.where(larger, tap, first)
    return best.contiguous(), first
