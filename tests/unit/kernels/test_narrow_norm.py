"""Normalisation in 32-bit lanes: exact at the edges of its bounds, and refused beyond them."""

from __future__ import annotations

import numpy as np
import pytest

from joulebit.engine.base import NormConstants, NormGradientConstants
from joulebit.engine.numba_engine import NumbaEngine
from joulebit.engine.numpy_engine import NumpyEngine
from joulebit.kernels import narrow_norm
from joulebit.kernels.cpu import CpuLevel, cpu_level

CHANNELS = 32
pytestmark = pytest.mark.skipif(cpu_level() < CpuLevel.AVX2, reason="needs a processor with vectors")


def extremes(rng: np.random.Generator, low: int, high: int, shape: tuple[int, ...]) -> np.ndarray:
    """Values in low .. high, half of them at or next to an end, or around 0 where that is between them."""
    ends = np.clip([low, low + 1, -1, 0, 1, high - 1, high], low, high)
    return np.where(rng.random(shape) < 0.5, rng.choice(ends, shape), rng.integers(low, high + 1, shape))


def constants(rng: np.random.Generator, channels: int) -> NormConstants:
    """Constants that all fit: scale -4 .. 26, but 25 with the largest rsqrt."""
    rsqrt = extremes(rng, 1 << 15, 1 << 16, (channels,))
    return NormConstants(
        extremes(rng, -(1 << 21), 1 << 21, (channels,)),
        rsqrt,
        np.minimum(extremes(rng, -3, 26, (channels,)), np.where(rsqrt == 1 << 16, 25, 26)),
        extremes(rng, -32767, 32767, (channels,)),
        extremes(rng, -32767, 32767, (channels,)),
    )


def gradient(rng: np.random.Generator, channels: int) -> NormGradientConstants:
    """Constants that all fit: shift 17 .. 62, but 18 with the largest multiplier."""
    multiplier = extremes(rng, -(1 << 15), 1 << 15, (channels,))
    return NormGradientConstants(
        extremes(rng, -(1 << 23), 1 << 23, (channels,)),
        extremes(rng, -(1 << 30) + 1, (1 << 30) - 1, (channels,)),
        multiplier,
        np.maximum(extremes(rng, 17, 62, (channels,)), np.where(multiplier == 1 << 15, 18, 17)),
    )


def equal(ours: object, reference: object) -> bool:
    if isinstance(reference, tuple):
        return all(equal(left, right) for left, right in zip(ours, reference, strict=True))  # type: ignore[call-overload]
    return bool(np.array_equal(ours, reference))  # type: ignore[arg-type]


@pytest.mark.parametrize("channels", [CHANNELS, 24, 6])
@pytest.mark.parametrize("seed", range(4))
def test_edges_are_exact(channels: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    ours, reference = NumbaEngine(threads=2), NumpyEngine()
    shape = (4, 8, 8, channels)
    z, g = (extremes(rng, -32767, 32767, shape).astype(np.int16) for _ in range(2))
    norm, slopes = constants(rng, channels), gradient(rng, channels)
    repeated = int(np.lcm(channels, 16))
    table = np.zeros((narrow_norm.BACKWARD_ROWS, repeated), np.int32)
    first = (norm.mean, norm.rsqrt, norm.scale)
    assert narrow_norm.tabulate_forward(*first, norm.gamma, norm.beta, 20, table)
    assert narrow_norm.tabulate_sums(*first, table)
    assert narrow_norm.tabulate_backward(slopes.mean_g, slopes.mean_gx, slopes.multiplier, slopes.shift, table)
    short = extremes(rng, 0, 255, shape).astype(np.uint8)
    signed = extremes(rng, -128, 127, (4, 16, 16, channels)).astype(np.int8)
    for options in (
        {"shift": 20, "bounds": (0, 255)},
        {"shift": 17, "bounds": (-127, 127), "shortcut": short, "shortcut_shift": 15},
        {"shift": 19, "bounds": (0, 255), "shortcut": signed, "shortcut_stride": 2, "shortcut_shift": 18},
    ):
        assert equal(ours.norm_forward(z, norm, **options), reference.norm_forward(z, norm, **options))
    other, other_slopes = constants(rng, channels), gradient(rng, channels)
    for _ in range(2):  # the backward pass may follow its sums or not
        assert equal(ours.norm_sums(g, z, norm), reference.norm_sums(g, z, norm))
        for pair in ((norm, slopes), (other, other_slopes), (norm, other_slopes)):
            assert equal(ours.norm_backward(g, z, *pair), reference.norm_backward(g, z, *pair))


@pytest.mark.parametrize(
    "values",
    [
        {"scale": 27},
        {"scale": 26, "rsqrt": 1 << 16},
        {"scale": -5, "rsqrt": 1 << 15},
        {"mean": 1 << 40},
        {"mean_gx": 1 << 30},
        {"mean_g": -(1 << 23) - 1},
        {"shift": 16},
        {"shift": 17, "multiplier": 1 << 15},
    ],
    ids=str,
)
def test_what_may_not_fit_is_refused(values: dict[str, int]) -> None:
    rng = np.random.default_rng(0)
    norm, slopes = constants(rng, CHANNELS), gradient(rng, CHANNELS)
    for name, value in values.items():
        getattr(norm if hasattr(norm, name) else slopes, name)[3] = value
    table = np.zeros((narrow_norm.BACKWARD_ROWS, CHANNELS), np.int32)
    fits = narrow_norm.tabulate_sums(norm.mean, norm.rsqrt, norm.scale, table)
    factors = (slopes.mean_g, slopes.mean_gx, slopes.multiplier, slopes.shift)
    assert not (fits and narrow_norm.tabulate_backward(*factors, table))
