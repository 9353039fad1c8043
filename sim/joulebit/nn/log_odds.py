"""A sample's loss as an integer that orders samples (spec, section 13): what loss-based selection looks at."""

from __future__ import annotations

from decimal import Decimal, localcontext
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from joulebit.nn.loss import exponential_table

Int64Array = NDArray[np.int64]

LOWEST = -(1 << 62)  #: where all other labels together are below 2^-40 of the largest: nothing to learn
_LOG2_E_Q15 = 47274
_FRACTION = 40  # bits of a power of two below 1
_LARGEST = 1 << 61


@lru_cache(maxsize=1)
def logarithm_table() -> Int64Array:
    """L[k] = round(65536 * log2(1 + k / 256)), k = 0..256, by decimal arithmetic: the same on every platform."""
    with localcontext() as context:
        context.prec = 40
        log2 = Decimal(2).ln()
        entries = [(1 + Decimal(k) / 256).ln() / log2 * 65536 for k in range(257)]
        return np.array([int(entry.to_integral_value()) for entry in entries], np.int64)


def log2_q16(values: Int64Array) -> Int64Array:
    """log2 of positive integers below 2^62 in Q.16, piecewise linear between 256 points per octave; monotone."""
    table = logarithm_table()
    values = np.asarray(values, np.int64)
    position = np.zeros(values.shape, np.int64)  # of the highest bit
    rest = values.copy()
    for step in (32, 16, 8, 4, 2, 1):
        high = (rest >> step) > 0
        position += np.where(high, step, 0)
        rest = np.where(high, rest >> step, rest)
    fraction = ((values << (62 - position)) >> 46) & 0xFFFF
    entry = table[fraction >> 8]
    step_up = table[(fraction >> 8) + 1] - entry
    return np.asarray((position << 16) + entry + ((step_up * (fraction & 255) + 128) >> 8), np.int64)


def label_log_odds(logits: Int64Array, labels: Int64Array, exponent: int) -> Int64Array:
    """int64 [N]: log2((1 - p) / p) of each label's softmax probability p, in Q.16.

    It rises strictly with the cross-entropy -ln p and keeps its resolution where p is nearly 1 or nearly 0, so
    that ordering samples by it is ordering them by their loss.

    Args:
        logits: int64 [N, classes], values logits * 2^exponent, at least two classes.
        labels: int64 [N].
    """
    below = (logits.max(1, keepdims=True) - logits) * _LOG2_E_Q15
    shift = exponent + 1
    scaled = (
        np.minimum(below, _LARGEST >> min(shift, 61)) << min(shift, 61) if shift >= 0 else below >> min(-shift, 62)
    )
    whole, fraction = scaled >> 16, scaled & 0xFFFF
    table = exponential_table()
    entry = table[fraction >> 8]
    mantissa = entry - (((entry - table[(fraction >> 8) + 1]) * (fraction & 255) + 128) >> 8)
    powers = (mantissa << (_FRACTION - 16)) >> np.minimum(whole, 62)
    rows = np.arange(len(labels))
    powers[rows, labels] = 0
    others = powers.sum(1)
    odds = log2_q16(np.maximum(others, 1)) - (_FRACTION << 16) + scaled[rows, labels]
    return np.asarray(np.where(others > 0, odds, LOWEST), np.int64)
