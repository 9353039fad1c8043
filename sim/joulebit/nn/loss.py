"""Softmax cross-entropy in integers (spec, section 4, "Loss")."""

from __future__ import annotations

from decimal import Decimal, localcontext
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Int64Array = NDArray[np.int64]

_LOG2_E_Q15 = 47274
_PROBABILITY_ONE = 1 << 15


@lru_cache(maxsize=1)
def exponential_table() -> Int64Array:
    """T[k] = round(65536 * 2^(-k / 256)), k = 0..256, by decimal arithmetic: the same on every platform."""
    with localcontext() as context:
        context.prec = 40
        log2 = Decimal(2).ln()
        entries = [(Decimal(-k) / 256 * log2).exp() * 65536 for k in range(257)]
        return np.array([int(entry.to_integral_value()) for entry in entries], np.int64)


def probabilities(logits: Int64Array, exponent: int) -> Int64Array:
    """Softmax of logits [N, classes] (value = logits * 2^exponent) as Q.15 integers."""
    table = exponential_table()
    below = logits.max(1, keepdims=True) - logits
    scaled = below * _LOG2_E_Q15
    shift = exponent + 1
    scaled = scaled << min(shift, 62) if shift >= 0 else scaled >> min(-shift, 62)
    whole = scaled >> 16
    fraction = scaled & 0xFFFF
    entry = table[fraction >> 8]
    step = entry - table[(fraction >> 8) + 1]
    mantissa = entry - ((step * (fraction & 255) + 128) >> 8)
    weights = np.where(whole > 40, 0, mantissa >> np.minimum(whole, 40))
    return np.asarray((((weights << 16) // weights.sum(1, keepdims=True)) + 1) >> 1, np.int64)


def cross_entropy(logits: Int64Array, labels: Int64Array, exponent: int) -> tuple[Int64Array, float, int]:
    """(gradient of the summed loss with respect to the logits in Q.15, mean loss in nats, correct answers).

    The loss value is for display; only the gradient enters the run.
    """
    gradient, chosen, correct = loss_gradient(logits, labels, exponent)
    return gradient, mean_loss(chosen), correct


def loss_gradient(logits: Int64Array, labels: Int64Array, exponent: int) -> tuple[Int64Array, Int64Array, int]:
    """(gradient as in `cross_entropy`, Q.15 probability [N] of the label, correct answers); N may be 0."""
    gradient = probabilities(logits, exponent)
    rows = np.arange(len(labels))
    chosen = gradient[rows, labels]
    gradient[rows, labels] -= _PROBABILITY_ONE
    return gradient, chosen, int(np.count_nonzero(logits.argmax(1) == labels))


def mean_loss(chosen: Int64Array) -> float:
    """Mean cross-entropy in nats, from the probabilities [N] of the labels in Q.15."""
    return float(-np.log(np.maximum(chosen, 1) / _PROBABILITY_ONE).mean())
