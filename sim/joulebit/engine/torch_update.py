"""The optimiser's step on tensors: twin of `joulebit.fixed.update` (spec, section 7)."""

from __future__ import annotations

import torch

from joulebit.engine.torch_rounding import saturate, shift_round, to_int64
from joulebit.fixed.update import UpdateRule, reciprocal


def update(
    master: torch.Tensor,
    momentum: torch.Tensor,
    gradient: torch.Tensor,
    exponent: int,
    samples: int,
    rule: UpdateRule,
) -> None:
    """`Engine.update`: int32 masters and their int64 momentum move in place."""
    inverse, k = reciprocal(samples)
    shift = exponent - k + 28
    if shift > 0:
        shift = min(shift, 40)
        limit = ((1 << 43) - 1) >> shift
        mean = gradient.clamp(-limit, limit) << shift
    else:
        mean = saturate(shift_round(gradient, min(62, -shift)), 44)
    wide = to_int64(master)
    step = saturate(shift_round(mean * inverse, 16), 38) + shift_round(wide * rule.decay_q24, 24)
    momentum.copy_(saturate(shift_round(momentum * rule.momentum_q15, 15) + step, 42))
    master.copy_(saturate(wide - shift_round(momentum * rule.learning_rate_q20, 20), 32))
