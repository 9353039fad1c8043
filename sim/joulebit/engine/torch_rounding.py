"""Rounding and saturation of integer tensors: `joulebit.fixed.rounding` on a CPU or a CUDA device."""

from __future__ import annotations

from typing import Any

import torch

from joulebit.fixed.rounding import Rounding


def shift_round(
    value: torch.Tensor,
    shift: int | torch.Tensor,
    mode: Rounding = Rounding.HALF_UP,
    key: int = 0,
    first: int = 0,
) -> torch.Tensor:
    """`joulebit.fixed.rounding.shift_round` of int64 (or int32, below 2^30 in magnitude) tensors.

    Args:
        shift: -62..62, or one shift of 0..62 per channel (the last axis).
        first: position of value's first element in the whole tensor, for the random bits.
    """
    if isinstance(shift, int):
        if not -62 <= shift <= 62:
            raise ValueError(f"shift must be in [-62, 62], got {shift}")
        if shift == 0:
            return value
        if shift < 0:
            return to_int64(value) << -shift
        if shift > 30 or mode == Rounding.STOCHASTIC:
            value = to_int64(value)
    half: Any = (1 << shift) >> 1
    if mode == Rounding.HALF_UP:
        return (value + half) >> shift
    if mode == Rounding.FLOOR:
        return value >> shift
    if mode == Rounding.HALF_EVEN:
        odd = (value >> shift) & 1
        rounded = (value + (half - 1) + odd) >> shift
        return torch.where(shift > 0, rounded, value) if isinstance(shift, torch.Tensor) else rounded
    if mode == Rounding.HALF_AWAY:
        return value.sign() * ((value.abs() + half) >> shift)
    if mode == Rounding.TOWARD_ZERO:
        return value.sign() * (value.abs() >> shift)
    index = torch.arange(first, first + value.numel(), dtype=torch.int64, device=value.device)
    noise = _mix64(key, index.reshape(value.shape)) & ((1 << shift) - 1)
    return (value + noise) >> shift


def _signed(word: int) -> int:
    """The int64 with the bits of a 64-bit word."""
    word &= 0xFFFFFFFFFFFFFFFF
    return word - (1 << 64) if word >> 63 else word


def _mix64(key: int, index: torch.Tensor) -> torch.Tensor:
    """`joulebit.fixed.rounding.mix64` in wrapping int64 arithmetic; the masks make the shifts logical."""
    z = index * _signed(0x9E3779B97F4A7C15) + _signed(key)
    z = (z ^ ((z >> 30) & ((1 << 34) - 1))) * _signed(0xBF58476D1CE4E5B9)
    z = (z ^ ((z >> 27) & ((1 << 37) - 1))) * _signed(0x94D049BB133111EB)
    return z ^ ((z >> 31) & ((1 << 33) - 1))


def saturate(value: torch.Tensor, bits: int) -> torch.Tensor:
    """value clamped to the symmetric range of `bits` bits."""
    limit = (1 << (bits - 1)) - 1
    return value.clamp(-limit, limit)


def differing(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Number of elements that are not the same, int64 []."""
    return torch.count_nonzero(torch.ne(a, b))


def peak_of(value: torch.Tensor) -> torch.Tensor:
    """The largest magnitude of a tensor that is not empty, int64 []."""
    low, high = torch.aminmax(value)
    return torch.maximum(high, -low).to(torch.int64)


def to_int64(x: torch.Tensor) -> torch.Tensor:
    return x.to(torch.int64)
