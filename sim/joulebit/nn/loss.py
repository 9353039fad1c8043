"""Softmax cross-entropy in integers (spec, section 4, "Loss"), also against a teacher's answers (section 16)."""

from __future__ import annotations

from decimal import Decimal, localcontext
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from joulebit.fixed.rounding import ceil_log2, shift_round

Int64Array = NDArray[np.int64]

_LOG2_E_Q15 = 47274
_PROBABILITY_ONE = 1 << 15
TEMPERATURE_BITS = 4  #: of the fraction of a temperature


class Lesson(NamedTuple):
    """What a teacher says about a batch, and how much that counts."""

    logits: Int64Array  #: [N, classes] of the teacher
    exponent: int  #: their exponent
    weight_q15: int  #: share of the teacher in the loss, 1..2^15
    temperature_q4: int  #: of both softmaxes, at least 16 (1)


@lru_cache(maxsize=1)
def exponential_table() -> Int64Array:
    """T[k] = round(65536 * 2^(-k / 256)), k = 0..256, by decimal arithmetic: the same on every platform."""
    with localcontext() as context:
        context.prec = 40
        log2 = Decimal(2).ln()
        entries = [(Decimal(-k) / 256 * log2).exp() * 65536 for k in range(257)]
        return np.array([int(entry.to_integral_value()) for entry in entries], np.int64)


def probabilities(logits: Int64Array, exponent: int, temperature_q4: int = 1 << TEMPERATURE_BITS) -> Int64Array:
    """Softmax of logits [N, classes] (value = logits * 2^exponent) over a temperature, as Q.15 integers."""
    table = exponential_table()
    below = logits.max(1, keepdims=True) - logits
    scaled = below * (((_LOG2_E_Q15 << (TEMPERATURE_BITS + 1)) + temperature_q4) // (2 * temperature_q4))
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


def distilled_gradient(
    logits: Int64Array, labels: Int64Array, exponent: int, lesson: Lesson
) -> tuple[Int64Array, Int64Array, int, int]:
    """`loss_gradient` of (1 - a) cross-entropy + a T^2 KL(teacher || student), weight a, temperature T of both.

    Returns (gradient in Q.15, probability of the label, correct answers, bits that the gradient may need above
    Q.15's 1): the T^2 of Hinton et al. keeps the size of the teacher's part, and lets it exceed 1. The last two
    are those of the student's own softmax.
    """
    hard, chosen, correct = loss_gradient(logits, labels, exponent)
    temperature, weight = lesson.temperature_q4, lesson.weight_q15
    own = probabilities(logits, exponent, temperature)
    soft = own - probabilities(lesson.logits, lesson.exponent, temperature)
    mixed = ((_PROBABILITY_ONE - weight) << TEMPERATURE_BITS) * hard + weight * temperature * soft
    largest = ((_PROBABILITY_ONE - weight) << TEMPERATURE_BITS) + weight * temperature
    head_room = max(0, ceil_log2(largest) - (15 + TEMPERATURE_BITS))
    return shift_round(mixed, 15 + TEMPERATURE_BITS), chosen, correct, head_room


def mean_loss(chosen: Int64Array) -> float:
    """Mean cross-entropy in nats, from the probabilities [N] of the labels in Q.15."""
    return float(-np.log(np.maximum(chosen, 1) / _PROBABILITY_ONE).mean())
