"""Stochastic depth: survival probabilities and decisions."""

from fractions import Fraction

import pytest

from joulebit.fixed.philox import Purpose, uniform_bits
from joulebit.techniques.stochastic_depth import StochasticDepth


def test_survival_decays_linearly_to_the_last_block():
    assert [StochasticDepth(0.5).survival_q16(i, 4) for i in range(4)] == [57344, 49152, 40960, 32768]


@pytest.mark.parametrize("blocks", [1, 3, 36, 54])
@pytest.mark.parametrize("final", [0.0, 0.2, 0.5, 1.0])
def test_survival_is_equation_4_of_huang_et_al_within_half_a_unit(blocks, final):
    for i in range(blocks):
        exact = 1 - Fraction(i + 1, blocks) * (1 - Fraction(round(final * 65536), 65536))
        assert abs(StochasticDepth(final).survival_q16(i, blocks) - exact * 65536) <= Fraction(1, 2)
    assert StochasticDepth(final).survival_q16(blocks - 1, blocks) == round(final * 65536)


def test_decisions_are_philox_words_below_the_survival_probability():
    policy, seed, step, blocks = StochasticDepth(0.3), 99, 1234, 12
    for i, is_open in enumerate(policy.open_blocks(seed, step, blocks)):
        word = int(uniform_bits(seed, Purpose.STOCHASTIC_DEPTH, step, 0, i))
        assert is_open == (word < policy.survival_q16(i, blocks) << 16)


def test_open_shares_are_within_binomial_bounds():
    policy, blocks, n = StochasticDepth(0.5), 9, 2000
    counts = [0] * blocks
    for step in range(n):
        for i, is_open in enumerate(policy.open_blocks(5, step, blocks)):
            counts[i] += is_open
    for i, count in enumerate(counts):
        p = policy.survival_q16(i, blocks) / 65536
        assert abs(count - n * p) < 4 * (n * p * (1 - p)) ** 0.5


def test_extremes_are_certain():
    assert all(all(StochasticDepth(1.0).open_blocks(0, step, 5)) for step in range(50))
    assert not any(StochasticDepth(0.0).open_blocks(0, step, 5)[-1] for step in range(50))
    assert StochasticDepth(0.5).open_blocks(0, 0, 0) == []


@pytest.mark.parametrize(("share", "blocks"), [(0.0, 9), (0.2, 36), (0.4, 36), (0.5, 1)])
def test_skipping_meets_the_mean_share(share, blocks):
    policy = StochasticDepth.skipping(share, blocks)
    skipped = sum(65536 - policy.survival_q16(i, blocks) for i in range(blocks)) / (65536 * blocks)
    assert abs(skipped - share) < 1e-4


@pytest.mark.parametrize("share", [0.6, -0.1])
def test_a_share_that_linear_decay_cannot_reach_is_refused(share):
    with pytest.raises(ValueError, match=r"36 blocks can skip a share of 0 to 0.514, got"):
        StochasticDepth.skipping(share, 36)


def test_arguments_out_of_range_are_refused():
    with pytest.raises(ValueError, match=r"final_survival must be in \[0, 1\], got 1.5"):
        StochasticDepth(1.5)
    with pytest.raises(ValueError, match=r"block_index must be in \[0, 2\], got 3"):
        StochasticDepth(0.5).survival_q16(3, 3)
