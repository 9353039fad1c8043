"""Exponents that follow the previous step, and ranges that grow."""

import random
from typing import NamedTuple

import numpy as np
import pytest
from reference.tensors import Delayed, Rounder

from joulebit.nn.conv import common_exponent
from joulebit.nn.tensor import ActivationRange, DelayedExponent, Tensor


class Result(NamedTuple):
    peak: int
    data: list


def quantise(state, values, exponent):
    """(integers, exponent) of values by a state."""
    shifts = []

    def compute(shift):
        shifts.append(shift)
        limit = 2 ** (state.width - 1) - 1
        half = (1 << shift) >> 1
        return Result(max(map(abs, values)), [min(max((v + half) >> shift, -limit), limit) for v in values])

    result, found = state.quantise(exponent, compute)
    assert found == exponent + shifts[-1]
    return result.data, found


@pytest.mark.parametrize("width", [2, 3, 8, 12, 16])
@pytest.mark.parametrize("seed", range(5))
def test_a_sequence_of_tensors_is_requantised_as_specified(seed, width):
    rng = random.Random(seed)
    state, reference = DelayedExponent(width), Delayed()
    for _ in range(30):
        limit = rng.choice([0, 1, 2**5, 2**15 - 1, 2**15, 2**16, 2**30, 2**47 - 1])
        values = [rng.randint(-limit, limit) for _ in range(4)]
        exponent = rng.randint(-45, 5)
        q, expected = reference.requantise([values], exponent, width, Rounder("half_up"))
        assert quantise(state, values, exponent) == (q[0], expected)
        assert state.position == reference.b


def test_the_first_use_fits_the_peak_without_head_room():
    assert quantise(DelayedExponent(16), [2**20 - 1], -30) == ([2**15 - 1], -25)  # rounds up to 2^15: clamped
    assert quantise(DelayedExponent(16), [2**20 - 2**5, 5], -30) == ([2**15 - 1, 0], -25)


def test_later_uses_leave_one_bit_of_head_room():
    state = DelayedExponent(16)
    for _ in range(3):
        found = quantise(state, [3 * 2**18], -30)
    assert found == ([3 * 2**12], -24)


def test_small_values_are_not_scaled_up():
    state = DelayedExponent(16)
    assert quantise(state, [3, -2], -10) == ([3, -2], -10)
    assert state.position == 2 - 10


def test_zeros_leave_a_fresh_state_unset_and_a_used_one_alone():
    state = DelayedExponent(16)
    assert quantise(state, [0, 0], -7) == ([0, 0], -7)
    assert state.position is None
    quantise(state, [2**18], 0)
    position = state.position
    assert quantise(state, [0], 0)[1] == position + 1 - 15
    assert state.position == position


def test_values_that_round_to_zero_leave_the_state_alone():
    state = DelayedExponent(8)
    quantise(state, [2**30], 0)
    position = state.position
    assert quantise(state, [1], 0)[0] == [0]
    assert state.position == position


def test_values_beyond_the_previous_peak_saturate_once():
    state = DelayedExponent(8)
    quantise(state, [100], 0)
    assert quantise(state, [100 * 2**10], 0)[0] == [127]
    assert quantise(state, [100 * 2**10], 0)[0] == [50]


@pytest.mark.parametrize("position", [None, 0, -40, 33])
def test_a_state_survives_a_checkpoint(position):
    restored = DelayedExponent(16, 5)
    restored.from_int(np.int64(DelayedExponent(16, position).to_int()))
    assert restored.position == position


@pytest.mark.parametrize(("outside", "grows"), [(0, 0), (3, 0), (4, 0), (5, 1), (4096, 1)])
def test_a_range_grows_when_more_than_one_element_in_1024_is_outside(outside, grows):
    found = ActivationRange(4)
    found.observe(outside, 4096)
    assert found.range_log2 == 4 + grows


def test_a_range_grows_to_six_at_most_and_never_shrinks():
    found = ActivationRange(3)
    history = []
    for outside in (9, 0, 9, 9, 9, 0):
        found.observe(outside, 10)
        history.append(found.range_log2)
    assert history == [4, 4, 5, 6, 6, 6]


def test_the_range_of_a_relu6_is_fixed():
    found = ActivationRange(3, fixed=True)
    found.observe(10, 10)
    assert found.range_log2 == 3


def test_only_an_activation_function_masks():
    data = np.array([1, 0])
    assert Tensor(data, -3).mask is None
    assert Tensor(data, -3, True).mask is data


@pytest.mark.parametrize(
    ("first", "second", "common"),
    [(-30, -30, -30), (-30, -11, -30), (-30, -10, -30), (-31, -10, -30), (5, -90, -15)],
)
def test_addends_are_aligned_to_the_smaller_exponent_within_twenty_bits(first, second, common):
    assert common_exponent(first, second) == common == common_exponent(second, first)
