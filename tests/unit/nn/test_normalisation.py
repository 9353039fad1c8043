"""Per-channel integers of batch norm and biases, against Python's unbounded ones."""

import random
from math import isqrt

import numpy as np
import pytest

from joulebit.nn.normalisation import (
    batch_norm_constants,
    bias_constants,
    bit_length_each,
    gradient_constants,
    isqrt_each,
)

GAMMA = np.array([4096], np.int64)
BETA = np.array([-77], np.int64)


def around(values, limit):
    """The values and their neighbours within [0, limit), as int64."""
    found = {v + d for v in values for d in (-1, 0, 1)}
    return np.array(sorted(v for v in found if 0 <= v < limit), np.int64)


def clamp(value, low, high):
    return min(max(value, low), high)


def test_bit_length_at_every_power_of_two_and_beside_it():
    values = around([1 << k for k in range(63)], 1 << 63)
    assert bit_length_each(values).tolist() == [int(v).bit_length() for v in values]
    assert bit_length_each(np.array([2**63 - 1])).tolist() == [63]


def test_bit_length_of_random_numbers_of_all_lengths():
    rng = random.Random(1)
    values = [rng.getrandbits(rng.randint(1, 63)) for _ in range(5000)]
    assert bit_length_each(np.array(values, np.int64)).tolist() == [v.bit_length() for v in values]


def test_isqrt_at_every_power_of_two_and_beside_it():
    values = around([1 << k for k in range(63)], 1 << 62)
    assert isqrt_each(values).tolist() == [isqrt(int(v)) for v in values]


def test_isqrt_at_squares_and_beside_them():
    rng = random.Random(2)
    roots = [
        *range(300),
        *(rng.getrandbits(rng.randint(2, 31)) for _ in range(5000)),
        2**31 - 1,
        94906265,
        94906266,
    ]
    values = around([root * root for root in roots], 1 << 62)
    assert isqrt_each(values).tolist() == [isqrt(int(v)) for v in values]


def test_isqrt_of_random_numbers_of_all_lengths():
    rng = random.Random(3)
    values = [rng.getrandbits(rng.randint(1, 62)) for _ in range(5000)]
    assert isqrt_each(np.array(values, np.int64)).tolist() == [isqrt(v) for v in values]


def expected_constants(total, squares, count, z_exponent):
    """(mean, rsqrt, scale) of section 4."""
    mean = ((total << 9) + count) // (2 * count)
    d = max(0, (squares << 16) // count - mean * mean) + 2 ** min(60, max(0, -2 * z_exponent))
    scale = next(j for j in range(31) if 2**60 <= d * 4**j < 2**62)
    root = isqrt(d * 4**scale)
    return mean, (2**46 + root // 2) // root, scale


def channels(seed, count):
    """Channels of z of all kinds: constant, small, full range, extreme."""
    rng = random.Random(seed)
    yield [32767] * count
    yield [-32767] * count
    yield [0] * count
    yield [32767 if i % 2 else -32767 for i in range(count)]
    for limit in (1, 30, 1000, 32767):
        centre = rng.randint(-32767 + limit, 32767 - limit)
        yield [centre + rng.randint(-limit, limit) for _ in range(count)]


@pytest.mark.parametrize("z_exponent", [-40, -30, -16, -9, -1, 0, 5])
@pytest.mark.parametrize("count", [1, 7, 64, 1000])
def test_batch_norm_constants_are_those_of_unbounded_integers(count, z_exponent):
    samples = list(channels(count, count))
    total = np.array([sum(z) for z in samples], np.int64)
    squares = np.array([sum(v * v for v in z) for z in samples], np.int64)
    found = batch_norm_constants(total, squares, count, z_exponent, GAMMA, BETA)
    expected = [expected_constants(sum(z), sum(v * v for v in z), count, z_exponent) for z in samples]
    assert list(zip(found.mean.tolist(), found.rsqrt.tolist(), found.scale.tolist())) == expected
    assert found.gamma is GAMMA and found.beta is BETA
    assert all(2**15 < v <= 2**16 for v in found.rsqrt)


@pytest.mark.parametrize("mean", [32767, -32767, 0, 5])
def test_sums_over_the_largest_batches_do_not_overflow(mean):
    count = 512 * 224 * 224
    total, squares = mean * count, 32767**2 * count
    found = batch_norm_constants(np.array([total]), np.array([squares]), count, -8, GAMMA, BETA)
    expected = expected_constants(total, squares, count, -8)
    assert (int(found.mean[0]), int(found.rsqrt[0]), int(found.scale[0])) == expected


def test_a_normalised_channel_has_mean_zero_and_deviation_one():
    rng = random.Random(5)
    z = [round(rng.gauss(500, 3000)) for _ in range(4000)]
    found = batch_norm_constants(np.array([sum(z)]), np.array([sum(v * v for v in z)]), len(z), -12, GAMMA, BETA)
    mean, rsqrt, shift = int(found.mean[0]), int(found.rsqrt[0]), 35 - int(found.scale[0])
    xhat = [(((v << 8) - mean) * rsqrt + (1 << (shift - 1)) >> shift) / 2048 for v in z]
    assert abs(sum(xhat) / len(xhat)) < 1e-3
    assert abs(sum(v * v for v in xhat) / len(xhat) - 1) < 1e-2


@pytest.mark.parametrize(("z_exponent", "scale"), [(-60, -27), (-50, -27), (-12, 11), (0, 23), (7, 30), (12, 30)])
def test_a_bias_layer_passes_z_and_clamps_its_scale(z_exponent, scale):
    found = bias_constants(z_exponent, np.array([5, -6]))
    assert found.mean.tolist() == [0, 0]
    assert found.rsqrt.tolist() == [2**15] * 2
    assert found.scale.tolist() == [scale] * 2
    assert found.gamma.tolist() == [4096] * 2
    assert found.beta.tolist() == [5, -6]


@pytest.mark.parametrize("z_exponent", [-20, -11, -3])
def test_xhat_of_a_bias_layer_is_z_in_q11(z_exponent):
    found = bias_constants(z_exponent, np.array([0]))
    shift = 35 - int(found.scale[0])
    for z in (-9, 0, 1, 8):
        value = (z << 8) * 2**15
        xhat = (value + (1 << (shift - 1))) >> shift
        assert xhat == round_half_up(z, z_exponent + 11)


def round_half_up(value, left):
    """value * 2^left."""
    return value << left if left >= 0 else (value + (1 << (-left - 1))) >> -left


@pytest.mark.parametrize("count", [1, 6, 100])
def test_gradient_constants_are_those_of_unbounded_integers(count):
    rng = random.Random(count)
    gammas = [0, 1, -1, 7, -32767, 32767, 4096, 12345]
    norm = batch_norm_constants(
        np.array([rng.randint(-32767, 32767) * count for _ in gammas]),
        np.array([32767**2 * count for _ in gammas]),
        count,
        -11,
        np.array(gammas),
        np.zeros(len(gammas), np.int64),
    )
    sum_g = [rng.randint(-32767, 32767) * count for _ in gammas]
    sum_gx = [32767 * 32767 * count, *(rng.randint(-(2**30), 2**30) * count for _ in gammas[1:])]
    found, exponents = gradient_constants(norm, np.array(sum_g), np.array(sum_gx), count, -20, -11, True)
    assert found.mean_g.tolist() == [((v << 9) + count) // (2 * count) for v in sum_g]
    limit = 2**31 - 1
    assert found.mean_gx.tolist() == [clamp(((v << 6) + count) // (2 * count), -limit, limit) for v in sum_gx]
    slopes = [gamma * int(rsqrt) for gamma, rsqrt in zip(gammas, norm.rsqrt)]
    dropped = [max(0, abs(k).bit_length() - 15) for k in slopes]
    assert found.multiplier.tolist() == [round_half_up(k, -s) for k, s in zip(slopes, dropped)]
    assert exponents.tolist() == [-20 + s + int(j) + 11 - 58 for s, j in zip(dropped, norm.scale)]
    assert max(map(abs, found.multiplier.tolist())) <= 2**15


def test_a_bias_layer_subtracts_no_means_from_its_gradient():
    found, exponents = gradient_constants(
        bias_constants(-9, np.array([3])), np.array([999]), np.array([999]), 4, -20, -9, False
    )
    assert (found.mean_g.tolist(), found.mean_gx.tolist()) == ([0], [0])
    # dz = g: (g << 8) * multiplier, in units of 2^exponent
    assert int(found.multiplier[0]) << 8 == 2 ** (-20 - int(exponents[0]))
