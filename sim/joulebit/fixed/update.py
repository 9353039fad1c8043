"""One optimiser step in integers (specification, section 7)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from joulebit.fixed.rounding import ceil_log2, saturate, shift_round, shift_round_each

Int64Array = NDArray[np.int64]


@dataclass(frozen=True)
class UpdateRule:
    """Scalars of one optimiser step: learning rate Q.20, momentum Q.15, weight decay Q.24."""

    learning_rate_q20: int
    momentum_q15: int
    decay_q24: int


class LayerUpdate(NamedTuple):
    """One step on the weights of a layer; the fields are arguments of `update_step`."""

    master: Any
    momentum: Any
    gradient: Any
    exponent: int
    samples: int
    rule: UpdateRule


def reciprocal(samples: int) -> tuple[int, int]:
    """(inverse, k): 1 / samples is about inverse / 2^(16 + k), rounded half up; 2^(k-1) < samples <= 2^k."""
    k = ceil_log2(samples)
    return ((1 << (16 + k)) + samples // 2) // samples, k


def mean_gradient(gradient: Int64Array, exponent: int | Int64Array, samples: int) -> Int64Array:
    """G of section 7 without decay: gradient * 2^exponent / samples in Q.28, int64, clamped to 38 bits."""
    inverse, k = reciprocal(samples)
    shift = np.asarray(exponent, np.int64) - k + 28
    left = np.clip(shift, 0, 40)
    limit = np.int64((1 << 43) - 1) >> left
    mean = np.clip(shift_round_each(gradient, np.clip(-shift, 0, 62)), -limit, limit) << left
    return saturate(shift_round(mean * inverse, 16), 38)


def update_step(
    master: NDArray[Any],
    momentum: Int64Array,
    gradient: Int64Array,
    exponent: int | Int64Array,
    samples: int,
    rule: UpdateRule,
) -> None:
    """master and momentum after one step, in place.

    Args:
        master: int32, Q.28.
        momentum: int64, Q.28, same shape.
        gradient: int64 sums over the batch; their value is gradient * 2^exponent / samples.
        exponent: one for all, or one per element.
        samples: number of samples in the batch, N of the specification.
        rule: the scalars.
    """
    step = mean_gradient(gradient, exponent, samples)
    wide = master.astype(np.int64)
    if rule.decay_q24:
        step = step + shift_round(wide * rule.decay_q24, 24)
    momentum[...] = saturate(shift_round(momentum * rule.momentum_q15, 15) + step, 42)
    master[...] = saturate(wide - shift_round(momentum * rule.learning_rate_q20, 20), 32)
