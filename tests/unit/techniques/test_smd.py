"""Mini-batch dropping: decisions and lengths of runs."""

from fractions import Fraction

import pytest

from joulebit.fixed.philox import Purpose, uniform_bits
from joulebit.techniques.smd import StochasticMinibatchDropping


@pytest.mark.parametrize(
    ("probability", "ratio", "baseline", "total"),
    [
        (0.5, 2 / 3, 64_000, 85_333),
        (0.5, Fraction(2, 3), 64_000, 85_333),
        (0.5, 0.67, 64_000, 85_760),
        (0.5, 1.0, 64_000, 128_000),
        (0.0, 1.0, 64_000, 64_000),
        (0.9, 0.1, 12_345, 12_345),
        (0.5, 0.25, 3, 2),  # 1.5 goes up
        (0.5, 0.5, 0, 0),
    ],
)
def test_total_iterations_is_the_baseline_times_ratio_over_kept_share(probability, ratio, baseline, total):
    assert StochasticMinibatchDropping(probability, ratio).total_iterations(baseline) == total


@pytest.mark.parametrize("probability", [0.25, 0.5, 0.9])
def test_the_share_of_dropped_batches_is_within_binomial_bounds(probability):
    policy, n = StochasticMinibatchDropping(probability), 4000
    dropped = sum(not policy.keeps(7, step) for step in range(n))
    deviation = (n * probability * (1 - probability)) ** 0.5
    assert abs(dropped - n * probability) < 4 * deviation


def test_the_decision_is_one_philox_word_below_the_probability():
    policy = StochasticMinibatchDropping(0.3)
    for step in (0, 1, 5, 85_332, 2**32 - 1):
        word = int(uniform_bits(2**63 + 11, Purpose.BATCH_DROP, step, 0, 0))
        assert policy.keeps(2**63 + 11, step) == (word >= round(0.3 * 2**32))


def test_a_resumed_run_drops_the_same_batches_in_any_order():
    policy = StochasticMinibatchDropping(0.5)
    whole = [policy.keeps(3, step) for step in range(100)]
    resumed = [StochasticMinibatchDropping(0.5).keeps(3, step) for step in reversed(range(50, 100))]
    assert whole[50:] == resumed[::-1]
    assert whole != [policy.keeps(4, step) for step in range(100)]


def test_probability_zero_keeps_everything():
    assert all(StochasticMinibatchDropping(0.0).keeps(0, step) for step in range(100))


@pytest.mark.parametrize(
    ("probability", "ratio", "message"),
    [
        (1.0, 1.0, r"probability must be in \[0, 1\), got 1.0"),
        (-0.1, 1.0, "probability"),
        (0.5, 0.0, "energy_ratio must be above 0 and finite, got 0.0"),
        (0.5, float("inf"), "energy_ratio"),
        (float("nan"), 1.0, "probability"),
        (0.5, float("nan"), "energy_ratio"),
    ],
)
def test_settings_out_of_range_are_refused(probability, ratio, message):
    with pytest.raises(ValueError, match=message):
        StochasticMinibatchDropping(probability, ratio)


def test_a_negative_baseline_is_refused():
    with pytest.raises(ValueError, match="got -1"):
        StochasticMinibatchDropping().total_iterations(-1)
