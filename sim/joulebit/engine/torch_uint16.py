"""uint16 tensors, with which torch can do little more than move them: as dtypes that all operations know."""

from __future__ import annotations

import torch


def calculable(x: torch.Tensor) -> torch.Tensor:
    """x, as int32 if it is uint16."""
    return x.to(torch.int32) if x.dtype == torch.uint16 else x


def movable(x: torch.Tensor) -> torch.Tensor:
    """x, its bits seen as int16 if it is uint16: a view, to be indexed."""
    return x.view(torch.int16) if x.dtype == torch.uint16 else x


def is_unsigned(x: torch.Tensor) -> bool:
    """Whether x is uint8 or uint16."""
    return x.dtype in (torch.uint8, torch.uint16)
