"""Philox4x32-10 against published answers and a plain-integer oracle, and the draws built on it."""

import random
from math import isqrt

import numpy as np
import pytest

from joulebit.fixed.philox import (
    Purpose,
    bernoulli,
    he_std_q30,
    initial_normal,
    permutation,
    philox4x32,
    probability_q32,
    standard_normal_q28,
    uniform_below,
    uniform_bits,
    uniform_words,
)

# Random123, tests/kat_vectors, the lines "philox4x32 10": counter, key, answer.
KNOWN_ANSWERS = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def ref_philox(key, counter):
    """Philox4x32-10 in Python integers, written from the paper's definition (figure of the S-P network)."""
    (k0, k1), (r0, l0, r1, l1) = key, counter
    for _ in range(10):
        product0, product1 = r0 * 0xD2511F53, r1 * 0xCD9E8D57
        r0, l0, r1, l1 = (
            (product1 // 2**32) ^ l0 ^ k0,
            product1 % 2**32,
            (product0 // 2**32) ^ l1 ^ k1,
            product0 % 2**32,
        )
        k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
    return r0, l0, r1, l1


def ref_words(seed, purpose, a, b, index):
    counter = (index % 2**32, a, b, int(purpose) * 2**24 + index // 2**32)
    return ref_philox((seed % 2**32, seed // 2**32), counter)


def words(text):
    return tuple(int(word, 16) for word in text.split())


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN_ANSWERS)
def test_published_known_answers_come_out(counter, key, answer):
    assert tuple(int(word) for word in philox4x32(words(key), words(counter))) == words(answer)
    assert ref_philox(words(key), words(counter)) == words(answer)


def test_vectorised_equals_plain_integers():
    rng = random.Random(1)
    for _ in range(20):
        key = (rng.getrandbits(32), rng.getrandbits(32))
        counters = [tuple(rng.getrandbits(32) for _ in range(4)) for _ in range(10)]
        got = philox4x32(key, tuple(np.array(column, np.uint32) for column in zip(*counters)))
        assert list(zip(*(column.tolist() for column in got))) == [ref_philox(key, c) for c in counters]


def test_counter_layout_is_the_documented_one():
    rng = random.Random(2)
    for _ in range(50):
        seed, index = rng.getrandbits(64), rng.getrandbits(56)
        a, b, purpose = rng.getrandbits(32), rng.getrandbits(32), rng.choice(list(Purpose))
        got = uniform_words(seed, purpose, a, b, index)
        assert tuple(int(word) for word in got) == ref_words(seed, purpose, a, b, index)


def test_result_does_not_depend_on_how_the_indices_are_grouped():
    whole = uniform_bits(5, Purpose.TEST, 1, 2, np.arange(20_001))
    assert whole.dtype == np.uint32
    pieces = [
        uniform_bits(5, Purpose.TEST, 1, 2, np.arange(i, min(i + 777, 20_001))) for i in range(0, 20_001, 777)
    ]
    assert np.array_equal(whole, np.concatenate(pieces))
    assert int(uniform_bits(5, Purpose.TEST, 1, 2, 12_345)) == int(whole[12_345])


def test_arguments_broadcast():
    grid = uniform_bits(9, Purpose.GATE, np.arange(3)[:, None], 4, np.arange(5)[None, :])
    assert grid.shape == (3, 5)
    assert all(int(grid[a, i]) == ref_words(9, Purpose.GATE, a, 4, i)[0] for a in range(3) for i in range(5))
    assert uniform_bits(9, Purpose.GATE, 0, 0, np.empty(0, np.int64)).shape == (0,)


def test_streams_of_one_seed_differ():
    index = np.arange(64)
    drawn = [
        uniform_bits(seed, purpose, a, b, index).tobytes()
        for seed in (0, 1, 1 << 32)
        for purpose in (Purpose.SHUFFLE, Purpose.AUGMENT)
        for a in (0, 1)
        for b in (0, 1)
    ]
    assert len(set(drawn)) == len(drawn)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-1, Purpose.TEST, 0, 0, 0), r"seed must be in \[0, 18446744073709551615\], got -1"),
        ((1 << 64, Purpose.TEST, 0, 0, 0), "seed must be in"),
        ((0, Purpose.TEST, 1 << 32, 0, 0), r"a must be in \[0, 4294967295\], got 4294967296"),
        ((0, Purpose.TEST, 0, np.array([3, -2]), 0), "b must be in .* got -2"),
        ((0, Purpose.TEST, 0, 0, 1 << 56), "index must be in"),
        ((0, 254, 0, 0, 0), "254 is not a valid Purpose"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        uniform_bits(*arguments)


def test_fractional_arguments_are_refused():
    with pytest.raises(TypeError, match="index must have an integer type, got float64"):
        uniform_bits(0, Purpose.TEST, 0, 0, np.array([0.5]))
    with pytest.raises(TypeError, match="seed must be an integer, got float"):
        uniform_bits(1.0, Purpose.TEST, 0, 0, 0)


@pytest.mark.parametrize("n", [0, 1, 2, 7, 1000, 10_000])
def test_permutation_holds_every_item_once(n):
    order = permutation(3, Purpose.SHUFFLE, 0, n)
    assert order.dtype == np.int64
    assert np.array_equal(np.sort(order), np.arange(n))


def test_permutation_sorts_by_key_then_index():
    def key(i):
        word0, word1, _, _ = ref_words(11, Purpose.SHUFFLE, 4, 0, i)
        return (word1 << 32 | word0, i)

    assert permutation(11, Purpose.SHUFFLE, 4, 300).tolist() == sorted(range(300), key=key)


def test_permutation_changes_with_seed_and_epoch():
    orders = {permutation(s, Purpose.SHUFFLE, e, 50).tobytes() for s in range(4) for e in range(4)}
    assert len(orders) == 16
    with pytest.raises(ValueError, match="n must be at least 0, got -1"):
        permutation(0, Purpose.SHUFFLE, 0, -1)


def test_bernoulli_ends_are_never_and_always():
    index = np.arange(5000)
    assert not bernoulli(0, Purpose.BATCH_DROP, 0, 0, index, 0).any()
    assert bernoulli(0, Purpose.BATCH_DROP, 0, 0, index, 1 << 32).all()
    with pytest.raises(ValueError, match="probability_q32 must be in"):
        bernoulli(0, Purpose.BATCH_DROP, 0, 0, index, (1 << 32) + 1)


def test_bernoulli_frequency_is_within_five_deviations():
    n = 40_000
    for probability in (0.05, 0.5, 0.9):
        hits = int(bernoulli(7, Purpose.GATE, 0, 0, np.arange(n), probability_q32(probability)).sum())
        assert abs(hits - n * probability) < 5 * (n * probability * (1 - probability)) ** 0.5


def test_raising_the_probability_only_adds_trues():
    index = np.arange(2000)
    few = bernoulli(7, Purpose.GATE, 3, 0, index, probability_q32(0.3))
    more = bernoulli(7, Purpose.GATE, 3, 0, index, probability_q32(0.4))
    assert (more | ~few).all()
    each = np.where(index % 2 == 0, probability_q32(0.3), probability_q32(0.4))
    assert np.array_equal(bernoulli(7, Purpose.GATE, 3, 0, index, each), np.where(index % 2 == 0, few, more))


def test_probability_q32_rounds_to_the_nearest():
    assert [probability_q32(p) for p in (0.0, 0.5, 1.0, 2.0**-32, 1 / 3)] == [
        0,
        1 << 31,
        1 << 32,
        1,
        1431655765,
    ]
    for wrong in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match=r"probability must be in \[0, 1\]"):
            probability_q32(wrong)


def test_uniform_below_covers_its_range_evenly():
    counts = np.bincount(uniform_below(1, Purpose.AUGMENT, 0, 0, np.arange(90_000), 9), minlength=9)
    assert counts.size == 9
    assert np.abs(counts - 10_000).max() < 5 * 10_000**0.5
    bits = uniform_bits(1, Purpose.AUGMENT, 0, 0, np.arange(50)).tolist()
    assert uniform_below(1, Purpose.AUGMENT, 0, 0, np.arange(50), 9).tolist() == [w * 9 // 2**32 for w in bits]
    with pytest.raises(ValueError, match="bound must be in"):
        uniform_below(1, Purpose.AUGMENT, 0, 0, 0, 0)


def ref_normal_q28(seed, layer, i):
    halves = [
        half
        for block in (2 * i, 2 * i + 1)
        for word in ref_words(seed, Purpose.INIT, layer, 0, block)
        for half in (word % 65536, word // 65536)
    ]
    # 2^59 / sqrt(4 (2^32 - 1) / 3) = 7617827..., with 40 guard bits, rounded to the nearest integer.
    guarded = isqrt(3 * 2 ** (116 + 80) // (2**32 - 1))
    constant = (guarded + 2**39) // 2**40
    return ((sum(halves) - 524280) * constant + 2**30) // 2**31


def test_normal_numbers_equal_plain_integers():
    drawn = standard_normal_q28(21, 3, 40)
    assert drawn.dtype == np.int32
    assert drawn.tolist() == [ref_normal_q28(21, 3, i) for i in range(40)]
    assert initial_normal(21, 3, 40, 123_456_789).tolist() == [
        (ref_normal_q28(21, 3, i) * 123_456_789 + 2**29) // 2**30 for i in range(40)
    ]


def test_normal_numbers_have_the_moments_of_a_normal_distribution():
    n = 200_000
    values = standard_normal_q28(0, 0, n) / 2.0**28
    assert abs(values.mean()) < 5 / n**0.5
    assert abs(values.std() - 1) < 5 / (2 * n) ** 0.5
    assert abs((values**3).mean()) < 5 * (15 / n) ** 0.5
    assert abs((values**4).mean() - 2.925) < 5 * (96 / n) ** 0.5
    assert abs((np.abs(values) < 1).mean() - 0.6827) < 0.01


def test_initial_weights_scale_with_the_deviation():
    unit = standard_normal_q28(4, 1, 1000)
    assert np.array_equal(initial_normal(4, 1, 1000, 1 << 30), unit)
    assert not initial_normal(4, 1, 1000, 0).any()
    weights = initial_normal(4, 1, 50_000, he_std_q30(144)) / 2.0**28
    assert abs(weights.std() / (2 / 144) ** 0.5 - 1) < 0.02
    for wrong in (-1, (1 << 30) + 1):
        with pytest.raises(ValueError, match="std_q30 must be in"):
            initial_normal(0, 0, 1, wrong)
    with pytest.raises(ValueError, match="count must be at least 0"):
        initial_normal(0, 0, -1, 1)


def test_initial_weights_are_a_prefix_of_longer_ones():
    assert np.array_equal(standard_normal_q28(4, 1, 20_000)[:9000], standard_normal_q28(4, 1, 9000))


def test_he_deviation_is_the_floor_of_the_square_root():
    assert he_std_q30(1) == he_std_q30(2) == 1 << 30
    for fan_in in (3, 27, 144, 576, 4608):
        q = he_std_q30(fan_in)
        assert q * q * fan_in <= 1 << 61 < (q + 1) * (q + 1) * fan_in
    with pytest.raises(ValueError, match="fan_in must be at least 1"):
        he_std_q30(0)


def test_purposes_keep_their_numbers():
    assert {purpose.name: int(purpose) for purpose in Purpose} == {
        "SHUFFLE": 1,
        "AUGMENT": 2,
        "BATCH_DROP": 3,
        "GATE": 4,
        "STOCHASTIC_DEPTH": 5,
        "INIT": 6,
        "ROUNDING": 7,
        "DATA_SELECTION": 8,
        "NEURON_SELECTION": 9,
        "SPLIT": 10,
        "CALIBRATION": 11,
        "PRUNING": 12,
        "VARIATIONAL": 13,
        "TEST": 255,
    }
