"""Weights of few values on tensors: twin of `joulebit.fixed.weights`."""

from __future__ import annotations

import torch

from joulebit.engine.torch_rounding import peak_of
from joulebit.engine.torch_tally import read_integers
from joulebit.fixed.arithmetic import MASTER_FRACTION_BITS
from joulebit.fixed.weights import nearest_log2, nearest_power, ternary_threshold


def few_valued(master: torch.Tensor, kind: str, bits: int) -> tuple[torch.Tensor, int]:
    """(w, e_w) of int32 masters (spec, section 14)."""
    magnitude = master.to(torch.int64).abs()
    if kind == "binary":
        exponent = nearest_power(int(magnitude.sum()), master.numel())
        return torch.where(master < 0, -1, 1).to(torch.int8), exponent - MASTER_FRACTION_BITS
    sign = master.sign()
    if kind == "ternary":
        large = magnitude > ternary_threshold(int(magnitude.sum()), master.numel())
        exponent = nearest_power(*read_integers((magnitude * large).sum(), torch.count_nonzero(large)))
        return (sign * large).to(torch.int8), exponent - MASTER_FRACTION_BITS
    if kind != "shift":
        raise ValueError(f"kind must be binary, ternary or shift, got {kind!r}")
    largest = int(peak_of(master))
    lowest = max(0, nearest_log2(largest) - (bits - 2)) if largest else 0
    k = torch.frexp(magnitude.to(torch.float64))[1].to(torch.int64) - 1
    power = k + (magnitude * magnitude >= torch.full_like(k, 2) << (2 * k).clamp_(min=0))
    value = sign.to(torch.int64) << (power - lowest).clamp(min=0)
    w = torch.where((magnitude > 0) & (power >= lowest), value, 0)
    return w.to(torch.int8 if bits <= 8 else torch.int16), lowest - MASTER_FRACTION_BITS
