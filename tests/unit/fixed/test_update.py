"""The optimiser step on numpy arrays is that of the specification in plain integers."""

import random

import numpy as np
import pytest
from reference.parameters import Parameter

from joulebit.fixed.update import UpdateRule, update_step

LIMIT = 2**31 - 1


def step(masters, momenta, gradients, exponent, samples, rule):
    """(masters, momenta) after one step, by the package and by the reference."""
    master, momentum = np.array(masters, np.int32), np.array(momenta, np.int64)
    update_step(master, momentum, np.array(gradients, np.int64), exponent, samples, rule)
    reference = Parameter(masters)
    reference.momentum = list(momenta)
    reference.gradient = (gradients, exponent)
    reference.update(samples, rule.learning_rate_q20, rule.momentum_q15, rule.decay_q24)
    return (master.tolist(), momentum.tolist()), (reference.master, reference.momentum)


@pytest.mark.parametrize("samples", [1, 2, 3, 5, 64, 100, 127, 128, 129, 1000])
def test_random_steps_are_those_of_the_specification(samples):
    rng = random.Random(samples)
    for exponent in [*range(-100, 30, 3), 10, 12, 19, 20, 21, 22]:
        rule = UpdateRule(
            rng.choice([0, 1, 104858, 2**21]), rng.choice([0, 29491, 32767]), rng.choice([0, 1678, 2**24])
        )
        masters = [rng.choice([LIMIT, -LIMIT, 0, rng.randint(-LIMIT, LIMIT)]) for _ in range(20)]
        momenta = [rng.choice([2**41 - 1, 1 - 2**41, 0, rng.randint(-(2**30), 2**30)]) for _ in range(20)]
        gradients = [
            rng.choice([-1, 1]) * rng.getrandbits(rng.choice([0, 2, 3, 4, 10, 20, 47])) for _ in range(20)
        ]
        ours, expected = step(masters, momenta, gradients, exponent, samples, rule)
        assert ours == expected, exponent


def test_large_exponents_shift_by_forty_bits_at_most():
    rule = UpdateRule(2**20, 0, 0)
    for exponent in (11, 12, 13, 40):
        for gradient in (1, 7, 8, 15, 16, -8):
            ours, expected = step([0], [0], [gradient], exponent, 1, rule)
            assert ours == expected


def test_a_mean_over_a_batch_that_is_no_power_of_two_is_rounded_once():
    ours, expected = step([0] * 3, [0] * 3, [3, 4, -1], -28, 3, UpdateRule(2**20, 0, 0))
    assert ours == expected
    assert ours[1] == [1, 1, 0]


def test_a_rate_of_zero_moves_the_momentum_alone():
    (masters, momenta), expected = step([5], [10], [2**10], -28, 1, UpdateRule(0, 2**14, 0))
    assert (masters, momenta) == expected == ([5], [5 + 1024])


def test_decay_pulls_towards_zero():
    (masters, _), _ = step([2**28, -(2**28)], [0, 0], [0, 0], -28, 1, UpdateRule(2**20, 0, 2**14))
    assert masters == [2**28 - 2**18, -(2**28) + 2**18]
