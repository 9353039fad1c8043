"""The numba engine gives the bits of the numpy reference: all operations, widths, rounding modes and shapes."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from joulebit.engine.base import ConvGeometry, NormConstants, NormGradientConstants, UpdateRule
from joulebit.engine.numba_engine import NumbaEngine
from joulebit.engine.numpy_engine import NumpyEngine
from joulebit.fixed.arithmetic import Arithmetic
from joulebit.kernels.cpu import CpuLevel, missing_features

KEY = 0x9ABCDEF012345678
DEFAULT = Arithmetic()
ROUNDINGS = ("half_up", "half_even", "half_away", "toward_zero", "floor", "stochastic")


def same(ours: Any, reference: Any) -> None:
    """Equal in value, dtype and shape, through tuples."""
    if isinstance(reference, tuple):
        assert len(ours) == len(reference)
        for left, right in zip(ours, reference, strict=True):
            same(left, right)
    elif isinstance(reference, np.ndarray):
        assert ours.dtype == reference.dtype
        assert ours.shape == reference.shape
        assert np.array_equal(ours, reference)
    else:
        assert ours == reference


def engines(arithmetic: Arithmetic, threads: int = 2) -> tuple[NumbaEngine, NumpyEngine]:
    return NumbaEngine(arithmetic, threads), NumpyEngine(arithmetic)


def activations(rng: np.random.Generator, shape: tuple[int, ...], fmt: Arithmetic, signed: bool) -> np.ndarray:
    low, high = fmt.activation_range(signed)
    kind = (np.int8 if signed else np.uint8) if fmt.x_bits <= 8 else (np.int16 if signed else np.uint16)
    x = rng.integers(low, high + 1, shape)
    return np.where(rng.random(shape) < 0.3, 0, x).astype(kind)


def weights(rng: np.random.Generator, shape: tuple[int, ...], fmt: Arithmetic) -> np.ndarray:
    limit = (1 << (fmt.w_bits - 1)) - 1
    return rng.integers(-limit, limit + 1, shape).astype(np.int8 if fmt.w_bits <= 8 else np.int16)


def gradients(rng: np.random.Generator, shape: tuple[int, ...], fmt: Arithmetic) -> np.ndarray:
    limit = (1 << (fmt.g_bits - 1)) - 1
    spread = rng.normal(0, limit / 6, shape)
    spread = np.where(rng.random(shape) < 0.01, np.sign(spread) * limit, spread)
    return np.clip(np.rint(spread), -limit, limit).astype(np.int16)


def norm_constants(rng: np.random.Generator, channels: int, wild: bool = False) -> NormConstants:
    scale = rng.integers(-27, 31, channels) if wild else rng.integers(10, 22, channels)
    top = 32767 if wild else 8000
    return NormConstants(
        rng.integers(-(1 << 22), 1 << 22, channels),
        rng.integers(1 << 15, (1 << 16) + 1, channels),
        scale,
        rng.integers(-top, top + 1, channels),
        rng.integers(-top, top + 1, channels),
    )


def norm_gradients(rng: np.random.Generator, channels: int, wild: bool = False) -> NormGradientConstants:
    large = (1 << 31) - 1 if wild else 1 << 24
    return NormGradientConstants(
        rng.integers(-(1 << 23), (1 << 23) + 1, channels),
        rng.integers(-large, large + 1, channels),
        rng.integers(-(1 << 15), (1 << 15) + 1, channels),
        rng.integers(0, 63, channels) if wild else rng.integers(18, 26, channels),
    )


def check_convolution(
    fmt: Arithmetic,
    shape: tuple[int, int, int, int],
    c_out: int,
    geometry: ConvGeometry,
    signed: bool = False,
    seed: int = 0,
    threads: int = 2,
) -> None:
    """All three passes of one convolution, and the predictor's, against the reference."""
    rng = np.random.default_rng(seed)
    ours, reference = engines(fmt, threads)
    n, height, width, c_in = shape
    x = activations(rng, shape, fmt, signed)
    w = weights(rng, (geometry.kernel_h, geometry.kernel_w, c_in // geometry.groups, c_out), fmt)
    out_h, out_w = geometry.output_size(height, width)
    dz = gradients(rng, (n, out_h, out_w, c_out), fmt)
    for shift in (0, 7, 13):
        same(ours.conv_forward(x, w, geometry, shift, KEY), reference.conv_forward(x, w, geometry, shift, KEY))
    mask = activations(rng, shape, fmt, False)
    add = gradients(rng, (n, -(-height // 2), -(-width // 2), c_in + 3), fmt)
    for options in (
        {},
        {"mask": mask, "shift": 9},
        {"mask": mask, "mask_below": 100, "add": gradients(rng, shape, fmt), "align": 3, "add_align": -2},
        {"add": add, "add_stride": 2, "add_align": 5, "align": -4, "mask": mask, "shift": 11},
    ):
        options = {"shift": 6, **options}
        args = (dz, w, geometry, (height, width))
        same(
            ours.conv_input_gradient(*args, **options, key=KEY),
            reference.conv_input_gradient(*args, **options, key=KEY),
        )
    check_weight_gradients(ours, reference, x, dz, geometry)


def check_weight_gradients(
    ours: NumbaEngine, reference: NumpyEngine, x: np.ndarray, dz: np.ndarray, geometry: ConvGeometry
) -> None:
    """The exact product and the predictor's, each by itself and both together."""
    exact = reference.conv_weight_gradient(x, dz, geometry)
    predicted = reference.conv_weight_gradient_msb(x, dz, geometry)
    same(ours.conv_weight_gradient(x, dz, geometry), exact)
    same(ours.conv_weight_gradient_msb(x, dz, geometry), predicted)
    same(tuple(ours.begin_weight_gradients(x, dz, geometry)()), (exact, (predicted, 0)))


SHAPES = [
    # n, h, w, c_in, c_out, kernel_h, kernel_w, stride, padding_h, padding_w
    (1, 5, 7, 3, 6, 3, 3, 1, 1, 1),
    (3, 5, 7, 4, 16, 3, 3, 2, 1, 1),
    (2, 8, 8, 16, 16, 3, 3, 1, 1, 1),
    (5, 8, 8, 16, 32, 3, 3, 2, 1, 1),
    (2, 9, 6, 17, 10, 3, 3, 3, 1, 0),
    (3, 12, 12, 1, 6, 5, 5, 1, 0, 0),
    (2, 6, 6, 6, 16, 5, 5, 1, 2, 2),
    (3, 14, 15, 3, 17, 7, 7, 2, 3, 3),
    (2, 4, 4, 64, 64, 3, 3, 1, 1, 1),
    (3, 4, 4, 32, 64, 1, 1, 2, 0, 0),
    (2, 1, 1, 10, 33, 1, 1, 1, 0, 0),
    (12, 1, 1, 33, 20, 1, 1, 1, 0, 0),
    (6, 1, 1, 20, 12, 1, 1, 3, 0, 0),
    (3, 1, 1, 20, 12, 1, 1, 1, 1, 1),
    (8, 4, 5, 16, 12, 4, 5, 1, 0, 0),
    (1, 16, 33, 16, 48, 3, 3, 1, 1, 1),
    (3, 3, 20, 6, 10, 1, 5, 1, 0, 2),
    (2, 7, 5, 4, 4, 2, 3, 3, 0, 1),
    (2, 2, 2, 16, 16, 3, 3, 2, 2, 2),
    (1, 2, 300, 4, 16, 1, 3, 1, 0, 1),
]


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "x".join(map(str, shape)))
def test_convolutions_of_default_width(shape: tuple[int, ...], signed: bool) -> None:
    check_convolution(DEFAULT, shape[:4], shape[4], ConvGeometry(*shape[5:]), signed)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_any_number_of_threads(threads: int) -> None:
    check_convolution(DEFAULT, (5, 6, 10, 16), 20, ConvGeometry(3, 3, 1, 1, 1), threads=threads)


@pytest.mark.parametrize(
    ("channels", "c_out", "groups", "stride"),
    [(6, 6, 6, 1), (16, 16, 16, 2), (12, 8, 4, 1), (32, 64, 2, 2), (4, 8, 4, 1)],
)
def test_groups(channels: int, c_out: int, groups: int, stride: int) -> None:
    check_convolution(DEFAULT, (3, 6, 7, channels), c_out, ConvGeometry(3, 3, stride, 1, 1, groups))


@pytest.mark.parametrize(
    ("shape", "kernel", "stride", "padding", "signed"),
    [
        ((3, 8, 8, 16), 3, 1, 1, False),
        ((2, 9, 7, 40), 3, 1, 1, True),
        ((3, 9, 8, 24), 3, 2, 1, False),
        ((2, 7, 7, 6), 5, 1, 2, False),
        ((2, 7, 7, 6), 5, 2, 0, True),
        ((2, 12, 11, 33), 2, 3, 1, False),
        ((2, 6, 6, 16), 3, 1, 0, False),
        ((2, 5, 5, 16), 3, 1, 3, False),
        ((20, 16, 17, 16), 3, 1, 1, False),
        ((3, 20, 12, 96), 3, 1, 1, True),
        ((5, 3, 140, 50), 3, 1, 1, False),
        ((1, 2, 300, 31), 3, 2, 1, False),
    ],
)
def test_depthwise(shape: tuple[int, ...], kernel: int, stride: int, padding: int, signed: bool) -> None:
    geometry = ConvGeometry(kernel, kernel, stride, padding, padding, shape[3])
    check_convolution(DEFAULT, shape, shape[3], geometry, signed)


@pytest.mark.parametrize(
    "x_bits, w_bits, g_bits", [(4, 4, 8), (6, 6, 12), (8, 4, 16), (12, 8, 16), (8, 12, 6), (16, 16, 16)]
)
@pytest.mark.parametrize("signed", [False, True])
def test_widths(x_bits: int, w_bits: int, g_bits: int, signed: bool) -> None:
    fmt = Arithmetic(x_bits=x_bits, w_bits=w_bits, g_bits=g_bits, x_msb_bits=3, g_msb_bits=5)
    check_convolution(fmt, (3, 6, 5, 4), 6, ConvGeometry(3, 3, 1, 1, 1), signed)


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_rounding_modes_of_convolutions(rounding: str) -> None:
    msb = "toward_zero" if rounding == "stochastic" else rounding
    fmt = replace(DEFAULT, rounding=rounding, msb_rounding=msb)
    check_convolution(fmt, (3, 6, 9, 5), 7, ConvGeometry(3, 3, 2, 1, 1))


@pytest.mark.parametrize("accumulator_bits", [16, 20, 31, 32])
def test_accumulator_saturates(accumulator_bits: int) -> None:
    fmt = replace(DEFAULT, accumulator_bits=accumulator_bits)
    check_convolution(fmt, (3, 8, 8, 16), 16, ConvGeometry(3, 3, 1, 1, 1))


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("sign", [1, -1])
def test_largest_sums(signed: bool, sign: int) -> None:
    """All weights at +-127, all activations and gradients at their bounds: nothing may wrap around."""
    ours, reference = engines(DEFAULT)
    geometry = ConvGeometry(3, 3, 1, 1, 1)
    x = np.full((4, 16, 16, 64), 127 if signed else 255, np.int8 if signed else np.uint8)
    w = np.full((3, 3, 64, 128), 127 * sign, np.int8)
    dz = np.full((4, 16, 16, 128), 32767, np.int16)
    same(ours.conv_forward(x, w, geometry, 9), reference.conv_forward(x, w, geometry, 9))
    # 9 * 128 * 127 * 32767 is above 2^31: the sum needs more than 32 bits
    args = (dz, w, geometry, (16, 16), 17)
    same(ours.conv_input_gradient(*args), reference.conv_input_gradient(*args))
    same(ours.conv_weight_gradient(x, sign * dz, geometry), reference.conv_weight_gradient(x, sign * dz, geometry))
    x, dz = np.roll(x, 1), dz.copy()
    dz[::2] = -32767
    same(ours.conv_weight_gradient(x, dz, geometry), reference.conv_weight_gradient(x, dz, geometry))


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(
    ("shape", "c_out", "kernel_h"),
    [
        ((3, 5, 7, 16), 6, 3),
        ((1, 4, 4, 64), 64, 3),
        ((5, 16, 33, 16), 48, 3),
        ((3, 7, 4, 32), 20, 1),
        ((2, 9, 11, 48), 24, 3),
        ((2, 3, 300, 16), 16, 3),
        ((4, 32, 32, 16), 16, 3),
        ((39, 8, 8, 16), 32, 3),
        ((5, 40, 20, 16), 16, 3),
    ],
)
def test_products_shared_by_two_positions(shape: tuple[int, ...], c_out: int, kernel_h: int, signed: bool) -> None:
    """Gradients whose sums of two fit 16 bits, just do not, and are as large as they can be, of all signs."""
    rng = np.random.default_rng(1)
    ours, reference = engines(DEFAULT)
    geometry = ConvGeometry(kernel_h, 3, 1, kernel_h // 2, 1)
    x = activations(rng, shape, DEFAULT, signed)
    w = weights(rng, (kernel_h, 3, shape[3], c_out), DEFAULT)
    dz = gradients(rng, (*shape[:3], c_out), DEFAULT)
    dz[rng.random(dz.shape) < 0.5] = 32767
    largest = np.full(dz.shape, 32767, np.int16)
    turning = largest.copy()
    turning[:, :, ::2] = -32767
    extreme = np.full(shape, x.max(), x.dtype)
    heavy = np.full(w.shape, -127, np.int8)
    cases = [(x, np.clip(dz, -limit, limit), w) for limit in (32767, 16384, 16383, 200)]
    rare = np.clip(dz, -200, 200)
    rare[0, -1, -1, 0], rare[-1, 0, 0, -1] = 32767, -32767
    cases += [(extreme, largest, heavy), (extreme, turning, heavy), (x, rare, w)]
    for inputs, gradient, kernel in cases:
        args = (gradient, kernel, geometry, shape[1:3], 9)
        same(ours.conv_input_gradient(*args), reference.conv_input_gradient(*args))
        args = (inputs, gradient, geometry)
        check_weight_gradients(ours, reference, *args)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(
    ("shape", "c_out"),
    [
        ((5, 16, 15, 24), 144),
        ((3, 20, 20, 33), 17),
        ((1, 1, 1, 5), 3),
        ((7, 3, 5, 320), 30),
        ((40, 4, 4, 160), 420),
    ],
)
def test_products_of_matrices(shape: tuple[int, ...], c_out: int, threads: int, signed: bool) -> None:
    """1 x 1: several chunks and a last odd position, sums that just fit 32 bits, many weights."""
    rng = np.random.default_rng(3)
    ours, reference = engines(DEFAULT, threads)
    x, geometry = activations(rng, shape, DEFAULT, signed), ConvGeometry(1, 1)
    dz = gradients(rng, (*shape[:3], c_out), DEFAULT)
    largest = np.full(dz.shape, 32767, np.int16)
    largest[..., ::3] = -32767
    extreme = np.full(shape, x.max(), x.dtype)
    extreme[..., 1::2] = x.min()
    for inputs, gradient in ((x, dz), (extreme, largest), (extreme, dz)):
        check_weight_gradients(ours, reference, inputs, gradient, geometry)


@pytest.mark.parametrize(
    ("shape", "c_out", "kernel", "groups"),
    [
        ((40, 8, 8, 16), 16, 3, 1),
        ((40, 8, 8, 24), 40, 1, 1),
        ((40, 8, 8, 24), 24, 3, 24),
        ((40, 8, 8, 3), 8, 3, 1),
    ],
)
@pytest.mark.parametrize("threads", [2, 4])
def test_weight_gradients_between_other_kernels(
    shape: tuple[int, ...], c_out: int, kernel: int, groups: int, threads: int
) -> None:
    """Helpers leave a weight gradient for what the caller waits for, and go on where they were."""
    rng = np.random.default_rng(2)
    ours, reference = engines(DEFAULT, threads)
    geometry = ConvGeometry(kernel, kernel, 1, kernel // 2, kernel // 2, groups)
    x = activations(rng, shape, DEFAULT, False)
    dz = gradients(rng, (*shape[:3], c_out), DEFAULT)
    exact = reference.conv_weight_gradient(x, dz, geometry)
    predicted = reference.conv_weight_gradient_msb(x, dz, geometry)
    pooled = reference.max_pool(x, 2)
    for others in range(12):
        begun = ours.begin_weight_gradients(x, dz, geometry)
        for _ in range(others):
            same(ours.max_pool(x, 2), pooled)
        same(tuple(begun()), (exact, (predicted, 0)))


def test_input_gradient_just_below_32_bits() -> None:
    """sum |w| * 32767 at the largest value that 32 bits hold, with the rounding's half on top."""
    ours, reference = engines(DEFAULT)
    geometry = ConvGeometry(1, 1)
    dz = np.full((2, 4, 8, 528), 32767, np.int16)
    w = np.full((1, 1, 16, 528), 124, np.int8)
    w[:, :, :, 0] += 64  # 16 channels * (528 * 124 + 64) = 65536 per input channel
    w[:, :, ::2] *= -1
    for shift in (0, 16, 31, 32, 40):
        args = (dz, w, geometry, (4, 8), shift)
        same(ours.conv_input_gradient(*args), reference.conv_input_gradient(*args))


@pytest.mark.parametrize("channels", [3, 10, 16, 17, 32, 64, 120])
@pytest.mark.parametrize("wild", [False, True])
def test_normalisation(channels: int, wild: bool) -> None:
    check_normalisation(DEFAULT, channels, wild)


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_rounding_modes_of_normalisation(rounding: str) -> None:
    check_normalisation(replace(DEFAULT, rounding=rounding), 6, False)


@pytest.mark.parametrize("x_bits, g_bits", [(4, 8), (6, 12), (12, 16), (16, 5)])
def test_widths_of_normalisation(x_bits: int, g_bits: int) -> None:
    check_normalisation(Arithmetic(x_bits=x_bits, g_bits=g_bits, g_msb_bits=4), 17, False)


def check_normalisation(fmt: Arithmetic, channels: int, wild: bool) -> None:
    rng = np.random.default_rng(channels)
    ours, reference = engines(fmt)
    shape = (3, 5, 6, channels)
    z = rng.integers(-32767, 32768, shape).astype(np.int16)
    g = gradients(rng, shape, fmt)
    norm = norm_constants(rng, channels, wild)
    for bounds in ((0, fmt.activation_range(False)[1]), fmt.activation_range(True)):
        same_size = activations(rng, shape, fmt, bounds[0] < 0)
        larger = activations(rng, (3, 10, 11, max(1, channels // 2)), fmt, bounds[0] < 0)
        for shift, shortcut, stride, left in (
            (18, None, 1, 0),
            (19, same_size, 1, 18),
            (20, larger, 2, 19),
            (31, same_size, 1, 31),
            (0, None, 1, 0),
        ):
            args = (z, norm, shift, bounds, shortcut, stride, left, KEY)
            same(ours.norm_forward(*args), reference.norm_forward(*args))
    same(ours.norm_sums(g, z, norm), reference.norm_sums(g, z, norm))
    for gradient in (norm_gradients(rng, channels), norm_gradients(rng, channels, wild)):
        same(ours.norm_backward(g, z, norm, gradient, KEY), reference.norm_backward(g, z, norm, gradient, KEY))


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("channels", [5, 16])
def test_small_operations(rounding: str, channels: int) -> None:
    fmt = replace(DEFAULT, rounding=rounding)
    rng = np.random.default_rng(channels)
    ours, reference = engines(fmt)
    shape = (3, 7, 9, channels)
    x, g = activations(rng, shape, fmt, False), gradients(rng, shape, fmt)
    signed = activations(rng, shape, fmt, True)
    for shift, bounds in ((-2, (0, 255)), (3, (0, 255)), (0, (-127, 127)), (-1, (-127, 127))):
        args = (x if bounds[0] == 0 else signed, 2, channels + 3, shift, bounds, KEY)
        same(ours.shortcut_forward(*args), reference.shortcut_forward(*args))
    small = gradients(rng, (3, 4, 5, channels + 2), fmt)
    for options in ({}, {"mask": x}, {"mask": x, "mask_below": 99, "align": 4}, {"align": -3, "mask": x}):
        args = (small, shape[1:], 2, 3)
        same(
            ours.shortcut_gradient(*args, **options, key=KEY),
            reference.shortcut_gradient(*args, **options, key=KEY),
        )
    for size in (1, 2, 3):
        tied = (x // 64).astype(x.dtype)
        pooled = gradients(rng, (3, 7 // size, 9 // size, channels), fmt)
        for values in (x, tied, signed):
            same(ours.max_pool(values, size), reference.max_pool(values, size))
            same(ours.max_pool_gradient(pooled, values, size), reference.max_pool_gradient(pooled, values, size))
    same(ours.spatial_sum(x), reference.spatial_sum(x))
    value = rng.integers(-(1 << 40), 1 << 40, (3, channels))
    for masked, below in ((True, 0), (True, 90), (False, 0)):
        for shift in (24, 30):
            args = (value, x, shift, masked, below, KEY)
            same(ours.spread(*args), reference.spread(*args))
    same(ours.mask_gradient(g, x), reference.mask_gradient(g, x))
    same(ours.mask_gradient(g, x, 50), reference.mask_gradient(g, x, 50))
    same(ours.narrow_gradient(g, 8, 8), reference.narrow_gradient(g, 8, 8))
    other = activations(rng, shape, fmt, False)
    same(ours.sample_dot(g, x, other), reference.sample_dot(g, x, other))
    index = np.array([2, 0, 2], np.int64)
    same(ours.take(x, index), reference.take(x, index))
    same(ours.put(x.copy(), index[:2], x[:2]), reference.put(x.copy(), index[:2], x[:2]))


@pytest.mark.parametrize("samples", [1, 3, 100, 128])
@pytest.mark.parametrize("exponent", [-60, -28, -20, 0, 30])
def test_update(samples: int, exponent: int) -> None:
    rng = np.random.default_rng(samples)
    ours, reference = engines(DEFAULT)
    for rule in (UpdateRule(104858, 29491, 1678), UpdateRule(1 << 20, 32767, 0)):
        pairs = []
        gradient = rng.integers(-(1 << 40), 1 << 40, (3, 3, 4, 7)) >> rng.integers(0, 40, (3, 3, 4, 7))
        for engine in (ours, reference):
            state = np.random.default_rng(1)
            master = state.integers(-(2**31) + 1, 2**31, (3, 3, 4, 7)).astype(np.int32)
            momentum = state.integers(-(2**41) + 1, 2**41, (3, 3, 4, 7))
            engine.update(master, momentum, gradient, exponent, samples, rule)
            pairs.append((master, momentum, engine.quantise_weights(master)))
        same(pairs[0], pairs[1])


def test_signs() -> None:
    rng = np.random.default_rng(0)
    ours, reference = engines(DEFAULT)
    exact = rng.integers(-(1 << 30), 1 << 30, (3, 3, 4, 5)) >> rng.integers(0, 31, (3, 3, 4, 5))
    predicted = exact // 1024 + rng.integers(-50, 50, exact.shape)
    same(ours.sign(exact), reference.sign(exact))
    for threshold in (0, 205, 4096):
        left, counts = ours.predict_signs(exact, predicted, threshold)
        right, expected = reference.predict_signs(exact, predicted, threshold)
        same(left, right)
        assert counts == expected


@pytest.mark.parametrize("bits", [4, 8, 16])
def test_quantised_weights(bits: int) -> None:
    ours, reference = engines(replace(DEFAULT, w_bits=bits))
    for scale in (0, 1, 100, 2**20, 2**31 - 1):
        master = (np.linspace(-1, 1, 77) * scale).astype(np.int32).reshape(7, 1, 1, 11)
        same(ours.quantise_weights(master), reference.quantise_weights(master))


def test_results_survive_later_calls() -> None:
    """An array that the caller holds is not reused."""
    rng = np.random.default_rng(0)
    engine = NumbaEngine(DEFAULT, 2)
    x = activations(rng, (8, 16, 16, 16), DEFAULT, False)
    w = weights(rng, (3, 3, 16, 16), DEFAULT)
    geometry = ConvGeometry(3, 3, 1, 1, 1)
    first = engine.conv_forward(x, w, geometry, 8).z
    kept, view = first.copy(), first[2:, 1:]
    del first
    for shift in range(6):
        engine.conv_forward(x, w, geometry, shift)
    assert np.array_equal(view, kept[2:, 1:])


def run_part(environment: dict[str, str], expression: str) -> subprocess.CompletedProcess[str]:
    """Run tests of this file in another process whose kernels are compiled for another setting."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", __file__, "-k", expression]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)


def test_no_kernel_leaves_its_arrays() -> None:
    done = run_part({"NUMBA_BOUNDSCHECK": "1", "JOULEBIT_CPU": "generic"}, "groups or test_small_operations")
    assert done.returncode == 0, done.stdout[-3000:]


def test_generic_kernels() -> None:
    done = run_part({"JOULEBIT_CPU": "generic"}, "default_width or test_normalisation or largest")
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.slow
@pytest.mark.skipif(bool(missing_features(CpuLevel.AVX2)), reason="needs a processor with AVX2")
def test_avx2_kernels() -> None:
    done = run_part({"JOULEBIT_CPU": "avx2"}, "default_width or normalisation or largest or depthwise or 32_bits")
    assert done.returncode == 0, done.stdout[-3000:]
