"""Softmax cross-entropy: the table exactly, probabilities against real numbers and the plain-integer version."""

import math
import random

import numpy as np
import pytest
from reference.head import loss_gradient

from joulebit.nn.loss import cross_entropy, exponential_table, probabilities


def test_the_table_is_rounded_exactly():
    table = exponential_table().tolist()
    assert len(table) == 257
    assert (table[0], table[128], table[256]) == (65536, 46341, 32768)
    for k, entry in enumerate(table):  # |entry - 65536 * 2^(-k/256)| < 1/2, raised to the power 256
        assert (2 * entry - 1) ** 256 << k < (1 << 17) ** 256 < (2 * entry + 1) ** 256 << k


@pytest.mark.parametrize("exponent", [-24, -13, -7, -1, 0])
def test_probabilities_are_within_two_units_of_softmax(exponent):
    rng = np.random.default_rng(abs(exponent))
    spread = 4 / 2.0**exponent
    logits = rng.integers(-int(spread) - 1, int(spread) + 2, (40, 10))
    real = np.exp((logits - logits.max(1, keepdims=True)) * 2.0**exponent)
    real /= real.sum(1, keepdims=True)
    assert np.abs(probabilities(logits, exponent) - real * 32768).max() < 2


def test_equal_logits_share_the_probability():
    assert probabilities(np.full((1, 4), -123456), -9).tolist() == [[8192] * 4]
    assert probabilities(np.zeros((1, 1), np.int64), -9).tolist() == [[32768]]


def test_adding_a_constant_to_all_logits_changes_nothing():
    logits = np.random.default_rng(0).integers(-9999, 9999, (20, 7))
    assert np.array_equal(probabilities(logits, -10), probabilities(logits + 54321, -10))


@pytest.mark.parametrize(("gap", "exponent"), [(2**40, -13), (2**20, 0), (2**30, -2), (1, 30)])
def test_a_distant_winner_takes_all(gap, exponent):
    assert probabilities(np.array([[0, gap]]), exponent).tolist() == [[0, 32768]]


@pytest.mark.parametrize("g_bits", [2, 8, 16])
@pytest.mark.parametrize("exponent", [-30, -15, -8, -2, -1, 0, 3])
def test_the_gradient_is_that_of_the_specification(exponent, g_bits):
    rng = random.Random(100 * exponent + g_bits)
    classes = rng.randint(2, 12)
    spread = max(2, int(8 / 2.0**exponent))
    logits = [[rng.randint(-spread, spread) for _ in range(classes)] for _ in range(30)]
    labels = [rng.randrange(classes) for _ in logits]
    full, _, _ = cross_entropy(np.array(logits, np.int64), np.array(labels), exponent)
    half = (1 << (16 - g_bits)) >> 1
    limit = 2 ** (g_bits - 1) - 1
    narrow = np.clip((full + half) >> (16 - g_bits), -limit, limit)
    expected = [loss_gradient(row, exponent, label, g_bits) for row, label in zip(logits, labels)]
    assert narrow.tolist() == expected


def test_the_gradient_of_the_label_is_negative_and_all_others_are_not():
    logits = np.random.default_rng(4).integers(-3000, 3000, (50, 6))
    labels = np.arange(50) % 6
    gradient, _, _ = cross_entropy(logits, labels, -9)
    chosen = np.eye(6, dtype=bool)[labels]
    assert (gradient[chosen] <= 0).all()
    assert (gradient[~chosen] >= 0).all()
    assert np.abs(gradient.sum(1)).max() <= 6


def test_loss_and_correct_answers():
    logits = np.array([[1000, 0], [1000, 0], [0, 0]])
    _, loss, correct = cross_entropy(logits, np.array([0, 1, 0]), -10)
    gap = 1000 / 1024
    expected = (math.log(1 + math.exp(-gap)) + math.log(1 + math.exp(gap)) + math.log(2)) / 3
    assert abs(loss - expected) < 1e-3
    assert correct == 2


def test_a_label_of_probability_zero_has_a_finite_loss():
    _, loss, _ = cross_entropy(np.array([[0, 2**40]]), np.array([0]), -10)
    assert loss == pytest.approx(15 * math.log(2))
