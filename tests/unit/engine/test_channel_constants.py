"""Compiled constants of batch norm against numpy, which `test_normalisation` holds against unbounded integers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from joulebit.engine.channel_constants import CompiledConstants
from joulebit.engine.numpy_engine import NumpyEngine
from joulebit.kernels import channel_constants
from joulebit.nn.normalisation import constants_of

OURS, REFERENCE = CompiledConstants(), constants_of(NumpyEngine())
FIELDS = ("mean", "rsqrt", "scale", "gamma", "beta")
GRADIENT_FIELDS = ("mean_g", "mean_gx", "multiplier", "shift")


def sums(rng: np.random.Generator, count: int, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """Sums of z and of z^2 over `count` elements: of channels that are constant, small, and of full range."""
    kinds = rng.integers(0, 16, channels)
    z = rng.integers(-32767, 32768, (50, channels)) >> kinds
    z[:, ::5] = z[0, ::5]
    z[:, ::7] = 0
    return z.sum(0) * (count // 50), (z * z).sum(0) * (count // 50)


def test_masters_are_narrowed_to_sixteen_bits() -> None:
    limit = (1 << 31) - 1
    masters = np.array([0, 1, -1, 32767, 32768, -32768, -32769, limit, -limit, limit - 32768, 65536], np.int32)
    masters = np.concatenate([masters, np.random.default_rng(0).integers(-limit, limit, 500)]).astype(np.int32)
    assert OURS.narrowed(masters).tolist() == REFERENCE.narrowed(masters).tolist()


@pytest.mark.parametrize("count", [50, 100, 131_100, 10_000_050])
@pytest.mark.parametrize("z_exponent", [-40, -31, -20, -8, 0, 3])
def test_forward_and_backward_constants(count: int, z_exponent: int) -> None:
    rng = np.random.default_rng(count - z_exponent)
    channels = 70
    gamma, beta = (rng.integers(-32767, 32768, channels) for _ in range(2))
    gamma[:3] = 0, 1, -1
    total, squares = sums(rng, count, channels)
    arguments = (total, squares, count, z_exponent, gamma, beta)
    ours, reference = OURS.batch_norm(*arguments), REFERENCE.batch_norm(*arguments)
    for field in FIELDS:
        assert np.array_equal(getattr(ours, field), getattr(reference, field)), field
    sum_g = rng.integers(-32767, 32768, channels) * count
    sum_gx = rng.integers(-32767, 32768, channels) * rng.integers(-32767, 32768, channels) * count
    for batch_norm in (True, False):
        back = (reference, sum_g, sum_gx, count, -20, z_exponent, batch_norm)
        (ours_back, exponents), (expected, expected_exponents) = OURS.gradient(*back), REFERENCE.gradient(*back)
        for field in GRADIENT_FIELDS:
            assert np.array_equal(getattr(ours_back, field), getattr(expected, field)), field
        assert np.array_equal(exponents, expected_exponents)


def test_square_roots_are_exact_where_floats_are_not() -> None:
    roots = [1, 2, 3, (1 << 26) + 1, (1 << 27) - 1, (1 << 30) + 1, (1 << 31) - 2, (1 << 31) - 1]
    for value in [root * root + off for root in roots for off in (-1, 0, 1)] + [(1 << 62) - 1]:
        assert channel_constants._isqrt(value) == math.isqrt(value), value
