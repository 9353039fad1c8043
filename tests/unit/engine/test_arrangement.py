"""Convolutions of few channels, of single pixels and of whole images: laid out otherwise, the same integers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from joulebit.engine.arrangement import (
    as_larger_images,
    gradients_together,
    narrowed,
    pixels_together,
    widened,
)
from joulebit.engine.base import ConvGeometry
from joulebit.engine.numba_engine import NumbaEngine
from joulebit.engine.numpy_engine import NumpyEngine
from joulebit.fixed.arithmetic import Arithmetic
from joulebit.kernels import packing
from joulebit.kernels.cpu import CpuLevel, cpu_level
from joulebit.kernels.scratch import address

OURS, REFERENCE = NumbaEngine(Arithmetic(), 2), NumpyEngine(Arithmetic())
needs_vectors = pytest.mark.skipif(cpu_level() is CpuLevel.GENERIC, reason="this processor has no vector kernels")


def same(operation: str, *args: Any, **options: Any) -> None:
    """Both engines return equal values, types and shapes."""
    ours, reference = (getattr(engine, operation)(*args, **options) for engine in (OURS, REFERENCE))
    if isinstance(reference, np.ndarray):
        ours, reference = (ours,), (reference,)
    for left, right in zip(ours, reference, strict=True):
        assert np.array_equal(left, right), operation
        assert getattr(left, "dtype", None) == getattr(right, "dtype", None), operation


def operands(shape: tuple[int, ...], c_out: int, geometry: ConvGeometry, kind: str, seed: int) -> tuple[Any, ...]:
    """x, w, dz: random, or at their extremes of either sign."""
    rng = np.random.default_rng(seed)
    kernel = (geometry.kernel_h, geometry.kernel_w, shape[3], c_out)
    dz_shape = (shape[0], *geometry.output_size(shape[1], shape[2]), c_out)
    if kind == "extreme":
        x = rng.choice([0, 255], shape, p=[0.1, 0.9]).astype(np.uint8)
        return x, np.full(kernel, -127, np.int8), np.full(dz_shape, 32767, np.int16)
    low, high, dtype = (-128, 128, np.int8) if kind == "signed" else (0, 256, np.uint8)
    x = rng.integers(low, high, shape).astype(dtype)
    w = rng.integers(-127, 128, kernel).astype(np.int8)
    return x, w, rng.integers(-32768, 32768, dz_shape).astype(np.int16)


def check(shape: tuple[int, ...], c_out: int, geometry: ConvGeometry, kind: str, seed: int = 0) -> None:
    """All passes, the predictor's, and what may follow the sums of an input gradient."""
    x, w, dz = operands(shape, c_out, geometry, kind, seed)
    rng = np.random.default_rng(seed + 1)
    mask = rng.integers(0, 256, shape).astype(np.uint8)
    add = rng.integers(-32767, 32768, shape).astype(np.int16)
    for shift in (0, 1, 9):
        same("conv_forward", x, w, geometry, shift)
    gradient = (dz, w, geometry, shape[1:3])
    same("conv_input_gradient", *gradient, 12)
    same("conv_input_gradient", *gradient, 10, mask=mask, mask_below=200, add=add, align=1, add_align=2)
    same("conv_input_gradient", *gradient, 10, align=-2, add=add, mask=mask)
    half = rng.integers(-9, 9, (shape[0], -(-shape[1] // 2), -(-shape[2] // 2), shape[3] + 2)).astype(np.int16)
    same("conv_input_gradient", *gradient, 8, add=half, add_stride=2)
    same("conv_weight_gradient", x, dz, geometry)
    same("conv_weight_gradient_msb", x, dz, geometry)


@pytest.mark.parametrize("kind", ["random", "signed", "extreme"])
@pytest.mark.parametrize("seed", range(12))
def test_few_channels(kind: str, seed: int) -> None:
    """Kernels of up to 7 x 7, with borders wider than the kernel and images of odd sizes."""
    rng = np.random.default_rng(seed)
    c_in, c_out = (int(c) for c in rng.integers(1, 9, 2))
    kernel_h, kernel_w = int(rng.integers(1, 8)), int(rng.integers(3, 8))
    stride = int(rng.choice([1, 1, 1, 2, 3]))
    padding_h, padding_w = int(rng.integers(0, kernel_h + 2)), int(rng.integers(0, kernel_w + 2))
    out_h, out_w = (int(size) for size in rng.integers(1, 19, 2))
    height = max(1, (out_h - 1) * stride + kernel_h - 2 * padding_h)
    width = max(1, (out_w - 1) * stride + kernel_w - 2 * padding_w)
    height, width = max(height, kernel_h - 2 * padding_h), max(width, kernel_w - 2 * padding_w)
    geometry = ConvGeometry(kernel_h, kernel_w, stride, padding_h, padding_w)
    check((int(rng.integers(1, 40)), height, width, c_in), c_out, geometry, kind, seed)


@pytest.mark.parametrize("kind", ["random", "signed", "extreme"])
@pytest.mark.parametrize("samples", [1, 3, 24, 64])
@pytest.mark.parametrize("size", [(4, 4), (1, 1), (3, 5), (2, 8)])
def test_single_pixels(samples: int, size: tuple[int, int], kind: str) -> None:
    check((samples, *size, 20), 33, ConvGeometry(1, 1), kind)
    check((samples, *size, 6), 10, ConvGeometry(*size), kind)


def test_sizes_of_larger_images() -> None:
    pointwise = ConvGeometry(1, 1)
    assert as_larger_images((64, 4, 4, 960), pointwise, 32) == (32, 2, 16, 960)
    assert as_larger_images((128, 5, 5, 16), ConvGeometry(5, 5), 32) == (8, 2, 8, 400)
    assert as_larger_images((64, 8, 8, 96), pointwise, 32) is None  # rows of 8 fill tiles as they are
    assert as_larger_images((3, 3, 3, 5), pointwise, 32) is None  # 27 pixels form no larger images
    assert as_larger_images((64, 4, 4, 960), ConvGeometry(1, 1, 2), 32) is None
    assert as_larger_images((64, 4, 4, 960), ConvGeometry(1, 1, 1, 1, 1), 32) is None


def test_pixels_share_vectors_where_that_saves_steps() -> None:
    assert pixels_together(28, 5, 1, 1, 6, 5) == 2  # two of six channels fill 12 lanes of 16
    assert pixels_together(10, 5, 1, 6, 16, 5) == 1  # a vector is full already
    assert pixels_together(7, 3, 1, 3, 6, 3) == 1  # 7 columns are no pairs
    assert gradients_together(32, 3, 1, 16, 32) == 1


@pytest.mark.parametrize(("together", "stride"), [(1, 1), (2, 1), (4, 1), (3, 2)])
def test_weights_of_several_pixels_come_back(together: int, stride: int) -> None:
    w = np.arange(1, 2 * 3 * 2 * 5 + 1).reshape(2, 3, 2, 5)
    assert np.array_equal(narrowed(widened(w, together, stride), 5, stride), together * w)


@needs_vectors
@pytest.mark.parametrize("c_out", [1, 16, 21])
@pytest.mark.parametrize("taps", [1, 2, 3, 4, 9])
def test_packed_bytes(taps: int, c_out: int) -> None:
    rng = np.random.default_rng(taps)
    w = rng.integers(-128, 128, (3, taps, c_out)).astype(np.int8)
    blocks, groups = -(-c_out // 16), -(-taps // 4)
    packed, excess = np.full((blocks, 3, groups, 16, 4), 99, np.int8), np.full(blocks * 16, 99, np.int32)
    packing.pack_quads(address(w), 3, taps, c_out, address(packed), address(excess))
    for block in range(blocks):
        for row in range(3):
            for tap in range(4 * groups):
                for lane in range(16):
                    channel = 16 * block + lane
                    inside = tap < taps and channel < c_out
                    expected = int(w[row, tap, channel]) if inside else 0
                    assert packed[block, row, tap // 4, lane, tap % 4] == expected
    sums = [128 * sum(w[:, :, channel].reshape(-1).tolist()) for channel in range(c_out)]
    assert excess[:c_out].tolist() == sums


def test_a_row_too_long_for_sums_of_32_bits() -> None:
    """Statistics of more pixels than the vector kernels sum at once."""
    w = np.full((1, 1, 1, 1), 127, np.int8)
    for width in (32_767, 32_768):
        same("conv_forward", np.full((1, 1, width, 1), 255, np.uint8), w, ConvGeometry(1, 1), 0)


@pytest.mark.parametrize("masked", [False, True])
def test_gradients_spread_over_an_image(masked: bool) -> None:
    """Values that round to 16 bits, just do not, and need all 64; positions that let nothing pass."""
    rng = np.random.default_rng(3)
    like = rng.integers(0, 256, (5, 3, 4, 19)).astype(np.uint8)
    like[0] = 0
    value = rng.integers(-(1 << 50), 1 << 50, (5, 19)) >> rng.integers(0, 50, (5, 19))
    value[1, :3] = 32767 << 10, (32767 << 10) + 512, -(32767 << 10) - 513
    for shift in (-2, 0, 10, 31, 40, 62):
        for below in (0, 7):
            same("spread", value >> (2 if shift < 0 else 0), like, shift, masked, below)
    same("spatial_sum", like)
    same("spatial_sum", (like.astype(np.int16) - 128).astype(np.int8))
