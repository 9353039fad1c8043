"""What gated blocks do with single samples, by vector kernels: the bits of the reference engine."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from joulebit.engine.numba_engine import NumbaEngine
from joulebit.engine.numpy_engine import NumpyEngine
from joulebit.fixed.arithmetic import Arithmetic

REFERENCE = NumpyEngine(Arithmetic())
ENGINES = {threads: NumbaEngine(Arithmetic(), threads) for threads in (1, 2, 3)}
vectors = pytest.mark.skipif(ENGINES[1].fast is None, reason="this processor has no vector kernels")


def random_bytes(rng: np.random.Generator, shape: tuple[int, ...], signed: bool) -> Any:
    low, high, kind = (-127, 127, np.int8) if signed else (0, 255, np.uint8)
    x = rng.integers(low, high + 1, shape).astype(kind)
    x.reshape(-1)[: max(1, x.size // 4)] = high
    x.reshape(-1)[-max(1, x.size // 4) :] = low
    return x


def random_gradient(rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    g = rng.integers(-32767, 32768, shape).astype(np.int16)
    g.reshape(-1)[::3] = rng.choice([-32767, 32767, 1, -1, 0], g.reshape(-1)[::3].shape)
    return g


@pytest.mark.parametrize("threads", ENGINES)
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(
    ("shape", "stride", "channels"),
    [
        ((3, 5, 7, 16), 1, 16),
        ((2, 1, 1, 1), 1, 1),
        ((4, 5, 7, 3), 2, 9),
        ((1, 6, 4, 17), 2, 33),
        ((5, 7, 7, 5), 3, 5),
    ],
)
def test_shortcuts_forward(threads: int, signed: bool, shape: Any, stride: int, channels: int) -> None:
    x = random_bytes(np.random.default_rng(stride), shape, signed)
    for shift in (*range(-23, 24), 39):
        for bounds in ((0, 255), (0, 100), (-127, 127), (-5, 3)):
            a, outside = ENGINES[threads].shortcut_forward(x, stride, channels, shift, bounds)
            expected, count = REFERENCE.shortcut_forward(x, stride, channels, shift, bounds)
            assert a.dtype == expected.dtype and np.array_equal(a, expected) and outside == count


@pytest.mark.parametrize("threads", ENGINES)
@pytest.mark.parametrize(
    ("shape", "stride", "channels"),
    [
        ((3, 5, 7, 16), 1, 16),
        ((2, 1, 1, 1), 1, 1),
        ((3, 5, 7, 3), 2, 9),
        ((1, 6, 4, 33), 2, 17),
        ((2, 7, 7, 5), 3, 5),
    ],
)
def test_shortcuts_backward(threads: int, shape: Any, stride: int, channels: int) -> None:
    rng = np.random.default_rng(stride)
    n, height, width, _ = shape
    g = random_gradient(rng, (n, -(-height // stride), -(-width // stride), channels))
    mask = random_bytes(rng, shape, False)
    for align in (-40, -16, -15, -14, -1, 0, 1, 7, 15, 16, 30):
        for shift in (0, 1, 2, 8, 14, 15, 16, 17, 31, 40):
            for masking in ({}, {"mask": mask}, {"mask": mask, "mask_below": 99}):
                ours = ENGINES[threads].shortcut_gradient(g, shape[1:], stride, shift, align, **masking)
                expected = REFERENCE.shortcut_gradient(g, shape[1:], stride, shift, align, **masking)
                assert np.array_equal(ours.data, expected.data) and ours.data.dtype == np.int16
                assert (ours.peak, ours.saturated) == (expected.peak, expected.saturated)


def test_a_grid_that_ends_before_the_image() -> None:
    g = random_gradient(np.random.default_rng(0), (2, 2, 3, 3))
    whole = np.zeros((2, 5, 4, 3), np.int16)
    whole[:, :2, :3] = g
    ours = ENGINES[2].shortcut_gradient(g, (9, 8, 4), 2, 1, 3)
    expected = REFERENCE.shortcut_gradient(whole, (9, 8, 4), 2, 1, 3)
    assert np.array_equal(ours.data, expected.data) and ours.peak == expected.peak


@pytest.mark.parametrize("threads", ENGINES)
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (3, 5, 7, 3), (2, 16, 16, 1), (4, 16, 17, 16)])
def test_inner_products(threads: int, signed: bool, shape: Any) -> None:
    rng = np.random.default_rng(len(shape))
    a, base = (random_bytes(rng, shape, signed) for _ in range(2))
    low, high = (np.full(shape, end, a.dtype) for end in ((-127, 127) if signed else (0, 255)))
    for g in (random_gradient(rng, shape), np.full(shape, -32768, np.int16)):
        for first, second in ((a, base), (low, high), (high, low)):
            ours, expected = (engine.sample_dot(g, first, second) for engine in (ENGINES[threads], REFERENCE))
            assert ours.dtype == np.int64 and np.array_equal(ours, expected)


INDICES = ([0], [4], [0, 1, 2, 3, 4], [1, 3], [3, 1], [2, 2], [-1, 0])


@pytest.mark.parametrize("threads", ENGINES)
@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int32])
def test_samples_taken_and_put(threads: int, kind: Any) -> None:
    engine, rng = ENGINES[threads], np.random.default_rng(1)
    x = rng.integers(0, 200, (5, 3, 2, 7)).astype(kind)
    for numbers in INDICES:
        index = np.array(numbers, np.int64)
        for source in (x, x[::-1], np.asfortranarray(x)):
            taken = engine.take(source, index)
            assert taken.dtype == kind and np.array_equal(taken, source[index])
        value = rng.integers(0, 200, (len(numbers), 3, 2, 7)).astype(kind)
        target = x.copy()
        assert engine.put(target, index, value) is target
        expected = x.copy()
        expected[index] = value
        assert np.array_equal(target, expected)


def test_what_is_put_in_other_ways_than_samples_of_the_same_type() -> None:
    x = np.arange(40, dtype=np.int16).reshape(5, 2, 2, 2)
    index = np.array([1, 4], np.int64)
    for value in (np.full((2, 2, 2, 2), 7, np.int64), np.int16(3), np.arange(2, dtype=np.int16)):
        target, expected = x.copy(), x.copy()
        expected[index] = value
        assert np.array_equal(ENGINES[2].put(target, index, value), expected)
    view = np.zeros((5, 2, 2, 4), np.int16)
    ENGINES[2].put(view[..., ::2], index, x[index])
    assert np.array_equal(view[index][..., ::2], x[index]) and not view[..., 1::2].any() and not view[0].any()


@pytest.mark.parametrize("numbers", [[0, 5], [5], [-6, 0], [1, 99], [0, 1 << 40, 4], [0, -(1 << 40), 4]])
def test_samples_that_are_not_there(numbers: list[int]) -> None:
    x, index = np.zeros((5, 1, 1, 3), np.uint8), np.array(numbers, np.int64)
    with pytest.raises(IndexError):
        ENGINES[2].take(x, index)
    with pytest.raises(IndexError):
        ENGINES[2].put(x, index, np.zeros((len(numbers), 1, 1, 3), np.uint8))


def test_copies_and_zeros_are_arrays_of_their_own() -> None:
    x = np.arange(60, dtype=np.uint8).reshape(5, 2, 2, 3)
    for source in (x, x[:, ::-1]):
        copy = ENGINES[2].copy(source)
        assert np.array_equal(copy, source) and not np.shares_memory(copy, source)
    for shape in ((5, 2, 2, 3), (8, 32, 32, 16)):
        for _ in range(2):  # memory that was used before
            zeros = ENGINES[2].zeros_like_gradient(np.zeros(shape, np.uint8))
            assert zeros.dtype == np.int16 and zeros.shape == shape and not zeros.any()
            zeros[:] = -1


@vectors
@pytest.mark.parametrize("rounding", ["floor", "stochastic"])
def test_other_rounding_is_left_to_the_plain_kernels(rounding: str) -> None:
    arithmetic = replace(Arithmetic(), rounding=rounding)
    engine, reference = NumbaEngine(arithmetic, 2), NumpyEngine(arithmetic)
    rng = np.random.default_rng(2)
    x, g = random_bytes(rng, (2, 4, 4, 5), False), random_gradient(rng, (2, 4, 4, 5))
    ours, expected = (e.shortcut_forward(x, 1, 5, 2, (0, 255), 77)[0] for e in (engine, reference))
    assert np.array_equal(ours, expected)
    ours, expected = (e.shortcut_gradient(g, (4, 4, 5), 1, 6, 2, key=77).data for e in (engine, reference))
    assert np.array_equal(ours, expected)
