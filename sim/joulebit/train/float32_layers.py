"""Weights of few values in float32: what a layer computes with, and gradients that pass straight through.

The float32 form of `joulebit.fixed.weights`, from the same sources. Only the scale differs: it is the mean
magnitude itself, as the sources have it, not the power of two nearest to it.
"""

from __future__ import annotations

from typing import Any

import torch

from joulebit.fixed.weights import CLIPPED

FEW = (*CLIPPED, "shift")  #: kinds that `few_values` knows
_TERNARY_SHARE = 0.7  # of the mean magnitude: what is not larger becomes 0


def few_values(weight: Any, kind: str, bits: int) -> Any:
    """The values of `kind` nearest to a weight tensor; its gradient is that of the result.

    bits: width of a weight; powers of two have bits - 1 exponents, the largest one that of the largest weight.
    """
    with torch.no_grad():
        magnitude = weight.abs()
        if kind == "binary":
            value = torch.where(weight < 0, -magnitude.mean(), magnitude.mean())
        elif kind == "ternary":
            large = magnitude > _TERNARY_SHARE * magnitude.mean()
            scale = magnitude[large].mean() if bool(large.any()) else 0.0
            value = weight.sign() * large * scale
        elif kind == "shift":
            power = magnitude.log2().round()  # -inf for 0
            lowest = power.max() - (bits - 2)
            value = torch.where(power >= lowest, weight.sign() * torch.exp2(power), 0.0)
        else:
            raise ValueError(f"kind must be one of {', '.join(FEW)}, got {kind!r}")
    return value + (weight - weight.detach())  # the latter is 0, and passes the gradient
