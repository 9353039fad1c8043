"""Every engine gives the integers of the oracle, which is plain Python written from the specification.

Narrow widths are enumerated; wide ones meet seeded random values and their extremes, in small odd shapes.
"""

import importlib.util
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from engine_operands import (
    KEY,
    ROUNDINGS,
    activation,
    activation_dtype,
    fill,
    gradient,
    gradient_constants,
    norm_constants,
    weights,
)
from oracle import connections, mix64, round_shift, shape_of
from oracle_bench import Bench, make_numba, make_numpy, make_torch, plain

from joulebit.engine.base import ConvGeometry, NormConstants, NormGradientConstants, UpdateRule
from joulebit.fixed.arithmetic import Arithmetic

DEFAULT = Arithmetic()
WIDTHS = {
    "default": DEFAULT,
    "x signed": Arithmetic(x_signed=True, x_msb_bits=3, g_msb_bits=7),
    "2 bits": Arithmetic(x_bits=2, w_bits=2, g_bits=2, x_msb_bits=1, g_msb_bits=1),
    "4 bits": Arithmetic(x_bits=4, w_bits=4, g_bits=4, x_msb_bits=2, g_msb_bits=2, msb_rounding="floor"),
    "6 and 12 bits": Arithmetic(x_bits=6, w_bits=6, g_bits=12, x_msb_bits=6, msb_rounding="toward_zero"),
    "12 bits": Arithmetic(x_bits=12, w_bits=12, g_bits=12, msb_rounding="half_even"),
    "16 bits": Arithmetic(x_bits=16, w_bits=16, x_msb_bits=12, g_msb_bits=16, msb_rounding="half_away"),
    "narrow accumulator": Arithmetic(accumulator_bits=18, x_msb_bits=8),
}
GEOMETRIES = {
    "1x1": (ConvGeometry(1, 1), 3, 4),
    "1x1 stride 2": (ConvGeometry(1, 1, stride=2), 4, 3),
    "3x3": (ConvGeometry(3, 3, padding_h=1, padding_w=1), 3, 4),
    "3x3 stride 2": (ConvGeometry(3, 3, stride=2, padding_h=1, padding_w=1), 3, 4),
    "3x3 stride 3": (ConvGeometry(3, 3, stride=3), 2, 3),
    "3x3 padding 4": (ConvGeometry(3, 3, padding_h=4, padding_w=3), 2, 3),
    "3x3 stride 2 padding 3": (ConvGeometry(3, 3, stride=2, padding_h=3, padding_w=2), 2, 3),
    "5x5": (ConvGeometry(5, 5, padding_h=2, padding_w=2), 2, 2),
    "7x3 stride 2": (ConvGeometry(7, 3, stride=2, padding_h=3, padding_w=1), 2, 2),
    "16 channels": (ConvGeometry(3, 3, stride=2, padding_h=1, padding_w=1), 16, 17),
    "32 channels": (ConvGeometry(1, 3, padding_w=1), 16, 32),
    "33 channels": (ConvGeometry(1, 1), 33, 18),
    "groups": (ConvGeometry(3, 3, padding_h=1, padding_w=1, groups=3), 6, 3),
    "groups stride 2": (ConvGeometry(3, 3, stride=2, padding_h=1, padding_w=1, groups=2), 4, 6),
    "depthwise": (ConvGeometry(3, 3, padding_h=1, padding_w=1, groups=4), 4, 4),
    "depthwise 3x3 stride 2": (ConvGeometry(3, 3, stride=2, padding_h=1, padding_w=1, groups=3), 3, 3),
    "depthwise 18 channels": (ConvGeometry(3, 3, padding_h=1, padding_w=1, groups=18), 18, 18),
    "depthwise padding 4": (ConvGeometry(3, 3, padding_h=4, padding_w=3, groups=3), 3, 3),
    "depthwise stride 2": (ConvGeometry(5, 5, stride=2, padding_h=2, padding_w=2, groups=3), 3, 3),
    "depthwise times 2": (ConvGeometry(3, 3, stride=2, padding_h=1, padding_w=1, groups=3), 3, 6),
}


def needs(package):
    return pytest.mark.skipif(importlib.util.find_spec(package) is None, reason=f"needs {package}")


@pytest.fixture(
    params=[
        pytest.param(make_numpy, id="numpy"),
        pytest.param(make_numba, id="numba", marks=needs("numba")),
        pytest.param(make_torch, id="torch", marks=needs("torch")),
    ]
)
def make(request):
    """The constructor of an engine."""
    return request.param


def check_convolution(bench, geometry, c_in, c_out, kind="random", batch=2, size=(5, 7)):
    """The three products of one convolution."""
    fmt, rng = bench.arithmetic, np.random.default_rng(c_in)
    out_hw = geometry.output_size(*size)
    w = weights(fmt, rng, geometry, c_in, c_out, kind)
    dz = gradient(fmt, rng, (batch, *out_hw, c_out), kind)
    for relu in (True, False):
        x = activation(fmt, rng, (batch, *size, c_in), not relu, kind)
        bench.check("conv_forward", x, w, geometry, max(0, fmt.x_bits + fmt.w_bits - 12 - relu), KEY)
        bench.check("conv_weight_gradient", x, dz, geometry)
        bench.check("conv_weight_gradient_msb", x, dz, geometry, only_oracle={"relu": relu})
    bench.check("conv_input_gradient", dz, w, geometry, size, max(0, fmt.g_bits + fmt.w_bits - 12), key=KEY)


# --- the oracle itself --------------------------------------------------------------------------------------


def test_rounding_modes_by_their_definition():
    """Against fractions, for every value of -20..20 over 2^s."""
    for shift in (1, 2, 3):
        for value in range(-20, 21):
            exact = Fraction(value, 2**shift)
            assert round_shift(value, shift, "floor") == exact.numerator // exact.denominator
            assert round_shift(value, shift, "half_even") == round(exact)
            assert round_shift(value, shift, "toward_zero") == int(exact)
            assert round_shift(value, shift, "half_away") == (1 if value > 0 else -1) * int(
                abs(exact) + Fraction(1, 2)
            )
            half_up = exact + Fraction(1, 2)
            assert round_shift(value, shift) == half_up.numerator // half_up.denominator
    assert [round_shift(v, 1) for v in (-3, -1, 1, 3)] == [-1, 0, 1, 2]
    assert [round_shift(v, 1, "half_even") for v in (-3, -1, 1, 3)] == [-2, 0, 0, 2]
    assert [round_shift(v, 1, "half_away") for v in (-3, -1, 1, 3)] == [-2, -1, 1, 2]
    assert round_shift(5, -2) == 20


def test_random_words_are_splitmix64():
    """The first outputs of splitmix64 with seed 1234567 (Rosetta Code, "Pseudo-random numbers/Splitmix64")."""
    words = [mix64(1234567, index) for index in (1, 2, 3)]
    assert words == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_stochastic_rounding_is_up_as_often_as_the_fraction_says():
    ups = sum(round_shift(3, 4, "stochastic", KEY, index) for index in range(16000))
    assert abs(ups - 3000) < 200


def test_connections_of_a_known_convolution():
    """One row of 3 inputs, kernel 1x3, padding 1, stride 2: outputs 0 and 1 see inputs (0, 1) and (1, 2)."""
    found = connections(ConvGeometry(1, 3, stride=2, padding_w=1), 1, 3, 1, 1)
    assert [(source[1], weight[1], target[1]) for source, weight, target in found] == [
        (0, 1, 0),
        (1, 2, 0),
        (1, 0, 1),
        (2, 1, 1),
    ]


# --- products ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.parametrize("relu", [True, False])
def test_every_product_of_narrow_operands(make, bits, relu):
    """Every (x, w), (x, dz) and (dz, w), each as a sum of its own and all of them in one."""
    arithmetic = Arithmetic(x_bits=bits, w_bits=bits, g_bits=bits, x_msb_bits=1, g_msb_bits=2)
    bench = Bench(make, arithmetic)
    low, high = arithmetic.activation_range(not relu)
    limit = 2 ** (bits - 1) - 1
    x = np.arange(low, high + 1, dtype=activation_dtype(arithmetic, not relu))
    w = np.arange(-limit, limit + 1, dtype=np.int8)
    dz = np.arange(-limit, limit + 1, dtype=np.int16)
    point = ConvGeometry(1, 1)
    bench.check("conv_forward", x.reshape(1, 1, -1, 1), w.reshape(1, 1, 1, -1), point, 0)
    bench.check("conv_input_gradient", dz.reshape(1, 1, -1, 1), w.reshape(1, 1, -1, 1), point, (1, len(dz)), 0)
    pairs = np.array([(a, b) for a in x for b in dz])
    for operation, only_oracle in (
        ("conv_weight_gradient", {}),
        ("conv_weight_gradient_msb", {"relu": relu}),
    ):
        outer = (x.reshape(1, 1, 1, -1), dz.reshape(1, 1, 1, -1))
        bench.check(operation, *outer, point, only_oracle=only_oracle)
        line = (
            pairs[:, 0].astype(x.dtype).reshape(1, 1, -1, 1),
            pairs[:, 1].astype(np.int16).reshape(1, 1, -1, 1),
        )
        bench.check(operation, *line, point, only_oracle=only_oracle)
        bench.check(operation, *line, ConvGeometry(1, 3, padding_w=1), only_oracle=only_oracle)


@pytest.mark.parametrize("name", GEOMETRIES)
def test_convolutions_of_every_shape(make, name):
    geometry, c_in, c_out = GEOMETRIES[name]
    bench = Bench(make, DEFAULT)
    for kind in ("random", "ends", "upper"):
        check_convolution(bench, geometry, c_in, c_out, kind)
    check_convolution(bench, geometry, c_in, c_out, batch=1, size=(6, 5))


@pytest.mark.parametrize("name", WIDTHS)
def test_convolutions_of_every_width(make, name):
    bench = Bench(make, WIDTHS[name])
    for shape in ("3x3 stride 2", "groups", "depthwise"):
        for kind in ("random", "ends", "upper"):
            check_convolution(bench, *GEOMETRIES[shape], kind, size=(4, 5))


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_convolutions_of_every_rounding(make, rounding):
    for arithmetic in (DEFAULT, WIDTHS["16 bits"]):
        bench = Bench(make, replace(arithmetic, rounding=rounding, msb_rounding="half_up"))
        for shape in ("3x3", "groups stride 2", "depthwise stride 2"):
            check_convolution(bench, *GEOMETRIES[shape])


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_every_sum_through_the_requantisation_of_z(make, rounding):
    """All sums of -300..300 with shifts that make ties, and large ones that saturate."""
    bench = Bench(make, replace(DEFAULT, rounding=rounding))
    x = np.ones((1, 1, 601, 3), np.int8)
    x[0, 0, :, :2] = [divmod(v, 100) for v in range(-300, 301)]
    w = np.array([100, 1, 0], np.int8).reshape(1, 1, 3, 1)
    for shift in (0, 1, 2, 3, 7, 10, 46, 47):
        bench.check("conv_forward", x, w, ConvGeometry(1, 1), shift, KEY)


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_input_gradients_with_additions_and_masks(make, rounding):
    fmt = replace(DEFAULT, rounding=rounding)
    bench, rng = Bench(make, fmt), np.random.default_rng(1)
    for name in ("3x3", "3x3 stride 2", "depthwise"):
        geometry, c_in, c_out = GEOMETRIES[name]
        out_hw = geometry.output_size(5, 7)
        w = weights(fmt, rng, geometry, c_in, c_out)
        dz = gradient(fmt, rng, (2, *out_hw, c_out))
        x = activation(fmt, rng, (2, 5, 7, c_in))
        full = gradient(fmt, rng, (2, 5, 7, c_in))
        half = gradient(fmt, rng, (2, 3, 4, c_in + 2))
        narrow = gradient(fmt, rng, (2, 5, 7, c_in - 1))
        for shift, options in (
            (40, {"add": full, "align": 20, "mask": x}),
            (8, {"add": full, "add_align": 3}),
            (0, {"add": full, "align": -30, "add_align": -2, "mask": x, "mask_below": 99}),
            (14, {"add": half, "add_stride": 2, "add_align": 20, "align": -1}),
            (9, {"add": half, "add_stride": 2, "mask": x}),
            (9, {"add": narrow, "mask": x // 250}),
        ):
            bench.check("conv_input_gradient", dz, w, geometry, (5, 7), shift, key=KEY, **options)


# --- normalisation and activation ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", WIDTHS)
@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_normalisation(make, name, rounding):
    fmt = replace(WIDTHS[name], rounding=rounding)
    bench, rng = Bench(make, fmt), np.random.default_rng(2)
    channels = 6
    norm, back = norm_constants(rng, channels), gradient_constants(rng, channels)
    for kind in ("random", "ends"):
        z = fill(rng, (2, 3, 3, channels), -32767, 32767, np.int16, kind)
        g = gradient(fmt, rng, z.shape, kind)
        bench.check("norm_sums", g, z, norm)
        bench.check("norm_backward", g, z, norm, back, KEY)
        for relu in (True, False):
            bounds = fmt.activation_range(not relu)
            for shift in (0, 16, 21, 31):
                bench.check("norm_forward", z, norm, shift, bounds, key=KEY)
            more = activation(fmt, rng, (2, 5, 6, channels - 2), not relu, kind)
            for shift, aligned in ((20, 19), (24, 24), (31, 31), (31, 0)):
                bench.check("norm_forward", z, norm, shift, bounds, more, 2, aligned, KEY)
            bench.check("norm_forward", z, norm, 20, (bounds[0], bounds[1] // 2), more[:, :3, :3], key=KEY)


@pytest.mark.parametrize("channels", [1, 16, 32, 50])
def test_normalisation_of_many_channels(make, channels):
    """As many as whole vectors of a processor hold, and not."""
    bench, rng = Bench(make, DEFAULT), np.random.default_rng(channels)
    norm, back = norm_constants(rng, channels), gradient_constants(rng, channels)
    for kind in ("random", "ends"):
        z = fill(rng, (2, 3, 3, channels), -32767, 32767, np.int16, kind)
        g = gradient(DEFAULT, rng, z.shape, kind)
        bench.check("norm_sums", g, z, norm)
        bench.check("norm_backward", g, z, norm, back)
        for relu in (True, False):
            bounds = DEFAULT.activation_range(not relu)
            bench.check("norm_forward", z, norm, 20, bounds)
            same = activation(DEFAULT, rng, z.shape, not relu, kind)
            bench.check("norm_forward", z, norm, 20, bounds, same, 1, 19)
            wider = activation(DEFAULT, rng, (2, 6, 5, channels // 2 + 1), not relu, kind)
            bench.check("norm_forward", z, norm, 21, bounds, wider, 2, 20)


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_every_16_bit_z_through_a_normalisation(make, rounding):
    """Every fifth z with a multiplier that makes ties, every one of them near zero."""
    bench = Bench(make, replace(DEFAULT, rounding=rounding))
    values = [*range(-32767, 32768, 5), *range(-600, 601)]
    z = np.array(values, np.int16).reshape(1, 1, -1, 1)
    one = np.array([1], np.int64)
    norm = NormConstants(mean=one * 37, rsqrt=one * 2**15, scale=one * 9, gamma=one * 4096, beta=-one)
    bench.check("norm_forward", z, norm, 18, (0, 255), key=KEY)
    bench.check("norm_forward", z, norm, 15, (-127, 127), key=KEY)


@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_every_narrow_value_through_every_shortcut_shift(make, bits, rounding):
    arithmetic = Arithmetic(x_bits=bits, w_bits=bits, g_bits=bits, x_msb_bits=1, g_msb_bits=1, rounding=rounding)
    bench = Bench(make, arithmetic)
    for relu in (True, False):
        low, high = arithmetic.activation_range(not relu)
        x = np.arange(low, high + 1, dtype=activation_dtype(arithmetic, not relu)).reshape(1, 1, -1, 1)
        for shift in range(-23, 24):
            bench.check("shortcut_forward", x, 1, 2, shift, (low, high), KEY)


@pytest.mark.parametrize("name", WIDTHS)
def test_closed_blocks(make, name):
    fmt = WIDTHS[name]
    bench, rng = Bench(make, fmt), np.random.default_rng(3)
    for relu in (True, False):
        x = activation(fmt, rng, (2, 5, 4, 3), not relu)
        for stride, shift in ((1, 0), (2, 1), (3, -1)):
            bench.check("shortcut_forward", x, stride, 5, shift, fmt.activation_range(not relu), KEY)
        for stride in (1, 2):
            g = gradient(fmt, rng, (2, -(-5 // stride), -(-4 // stride), 5))
            for shift, align in ((0, 0), (3, 4), (1, -2), (20, 20)):
                bench.check("shortcut_gradient", g, (5, 4, 3), stride, shift, align, key=KEY)
            bench.check("shortcut_gradient", g, (5, 4, 3), stride, 1, mask=x, mask_below=high_third(fmt), key=KEY)


def high_third(arithmetic):
    return 2 * arithmetic.activation_range(False)[1] // 3 + 1


# --- gradients ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [2, 3, 4, 16])
@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_every_value_through_the_requantisation_of_a_gradient(make, bits, rounding):
    """All of -64..64 and values next to powers of two, with shifts of either sign."""
    fmt = replace(Arithmetic(x_bits=4, g_bits=bits, x_msb_bits=1, g_msb_bits=1), rounding=rounding)
    bench = Bench(make, fmt)
    near = [s * (2**k + d) for k in (13, 14, 15, 30, 31, 46, 61) for d in (-1, 0, 1) for s in (-1, 1)]
    values = np.array([*range(-64, 65), *near], np.int64).reshape(1, -1)
    like = np.resize(np.arange(16, dtype=np.uint8), (1, 1, 2, values.size))
    for shift in (-1, 0, 1, 2, 3, 15, 31, 32, 33, 47, 62):
        kept = values if shift >= 0 else values.clip(-(2**60), 2**60)
        bench.check("spread", kept, like, shift, False, key=KEY, host=(0,))
        bench.check("spread", kept, like, shift, True, 5, KEY, host=(0,))
        bench.check("spread", kept, like, shift, True, 0, KEY, host=(0,))


def test_every_gradient_of_narrow_widths_is_narrowed(make):
    bench = Bench(make, DEFAULT)
    dz = np.arange(-600, 601, dtype=np.int16).reshape(1, 1, -1, 1)
    ends = np.array([-32767, -32766, 32766, 32767], np.int16).reshape(1, 1, -1, 1)
    for shift in (0, 1, 2, 8, 14):
        for bits in (2, 4, 8, 15):
            bench.check("narrow_gradient", dz, shift, bits)
            bench.check("narrow_gradient", ends, shift, bits)


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_every_shift_of_a_normalisation_gradient(make, rounding):
    """One channel per shift of 0..62, so that every peak, tie and saturation is met."""
    bench, rng = Bench(make, replace(DEFAULT, rounding=rounding)), np.random.default_rng(4)
    channels = 63
    norm = norm_constants(rng, channels)
    back = replace(gradient_constants(rng, channels), shift=np.arange(channels))
    z = fill(rng, (1, 2, 2, channels), -32767, 32767, np.int16)
    for kind in ("random", "ends"):
        bench.check("norm_backward", gradient(DEFAULT, rng, z.shape, kind), z, norm, back, KEY)
    gentle = replace(back, mean_g=0 * back.mean_g, mean_gx=0 * back.mean_gx, multiplier=back.shift * 0 + 1)
    g = np.repeat(np.arange(-20, 21, dtype=np.int16), channels).reshape(1, 1, -1, channels)
    bench.check("norm_backward", g, np.zeros_like(g), norm, gentle, KEY)


def test_the_peak_of_a_normalisation_gradient_is_bounded(make):
    bench = Bench(make, DEFAULT)
    one = np.array([1], np.int64)
    norm = NormConstants(mean=0 * one, rsqrt=one * 2**15, scale=0 * one, gamma=one, beta=one)
    back = NormGradientConstants(mean_g=0 * one, mean_gx=0 * one, multiplier=one * 2**15, shift=0 * one)
    g = np.array([32767, -32767], np.int16).reshape(1, 1, 2, 1)
    _, largest, saturated = bench.check("norm_backward", g, 0 * g, norm, back)
    assert (largest, saturated) == (2**30, 2)


# --- pooling, masks, samples ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WIDTHS)
def test_pooling_masks_and_samples(make, name):
    fmt = WIDTHS[name]
    bench, rng = Bench(make, fmt), np.random.default_rng(5)
    for relu in (True, False):
        for kind in ("random", "ends", "upper"):
            x = activation(fmt, rng, (3, 7, 5, 3), not relu, kind)
            for size in (1, 2, 3):
                pooled = bench.check("max_pool", x, size)
                bench.check("max_pool_gradient", gradient(fmt, rng, shape_of(pooled)), x, size)
            bench.check("spatial_sum", x)
            g = gradient(fmt, rng, x.shape, kind)
            bench.check("mask_gradient", g, x)
            bench.check("mask_gradient", g, x, high_third(fmt))
            bench.check("sample_dot", g, x, activation(fmt, rng, x.shape, not relu, kind)[::-1])
            bench.check("copy", x)
            bench.check("zeros_like_gradient", x)
            for index in ([2, 0], [1], [2, 1, 0]):
                chosen = np.array(index, np.int64)
                bench.check("take", x, chosen, host=(1,))
                bench.check("put", x, chosen, x[: len(index)] // 2, host=(1,))


@pytest.mark.parametrize("limit", [1 << 14, 1 << 30])
def test_products_of_host_matrices(make, limit):
    """In the forms of a linear layer's three passes, within float64's integers and beyond."""
    bench, rng = Bench(make, WIDTHS["default"]), np.random.default_rng(6)
    for samples, features, classes in ((1, 1, 1), (5, 37, 10), (9, 4, 3)):
        x, g = (rng.integers(-limit, limit + 1, (samples, count)) for count in (features, classes))
        w = rng.integers(-limit, limit + 1, (classes, features))
        for a, b in ((x, w.T), (g.T, x), (g, w), (x[::-1], w.T.copy())):
            bench.check("matmul", a, b, host=(0, 1))


def test_dtypes_of_results(make):
    """Unsigned after a ReLU, signed else; 8-bit storage up to 8 bits."""
    for fmt in (DEFAULT, WIDTHS["12 bits"], WIDTHS["x signed"]):
        bench, rng = Bench(make, fmt), np.random.default_rng(6)
        geometry, c_in, c_out = GEOMETRIES["3x3"]
        w, z = weights(fmt, rng, geometry, c_in, c_out), fill(rng, (1, 3, 3, 4), -9, 9, np.int16)
        norm = norm_constants(rng, 4)
        for relu in (True, False):
            x = activation(fmt, rng, (1, 3, 3, c_in), not relu)
            bounds = fmt.activation_range(not relu)
            assert bench.dtype_of("norm_forward", z, norm, 20, bounds) == x.dtype
            assert bench.dtype_of("shortcut_forward", x, 1, 4, 0, bounds) == x.dtype
            assert bench.dtype_of("max_pool", x, 2) == x.dtype
            assert bench.dtype_of("conv_forward", x, w, geometry, 3) == np.int16
            assert bench.dtype_of("conv_weight_gradient", x, z, geometry) == np.int64
        assert bench.dtype_of("conv_input_gradient", z, w, geometry, (3, 3), 3) == np.int16
        assert bench.dtype_of("norm_backward", z, z, norm, gradient_constants(rng, 4)) == np.int16
        assert bench.dtype_of("quantise_weights", np.ones((2, 2), np.int32)) == w.dtype


# --- parameters -------------------------------------------------------------------------------------------


def test_predicted_signs(make):
    bench, rng = Bench(make, DEFAULT), np.random.default_rng(7)
    values = np.arange(-4, 5)
    exact = np.repeat(values, 9).reshape(1, 1, 9, 9)
    predicted = np.tile(values, 9).reshape(1, 1, 9, 9)
    wide = rng.integers(-(2**46), 2**46, exact.shape)
    for threshold in (0, 1, 205, 1024, 2048, 3072, 4096):
        bench.check("predict_signs", exact, predicted, threshold)
        bench.check("predict_signs", wide, wide // 2**20 + predicted * 2**22, threshold)
        bench.check("predict_signs", exact, 0 * predicted, threshold)
    bench.check("sign", exact)
    bench.check("sign", wide)


@pytest.mark.parametrize("bits", [2, 3, 4, 6, 8, 12, 16])
def test_weights(make, bits):
    """Every master of -64..64 below each peak that sets another shift."""
    bench = Bench(make, Arithmetic(w_bits=bits))
    for peak in (0, 1, 64, 127, 128, 255, 2**20, 2**31 - 1):
        master = np.array([*(v for v in range(-64, 65) if abs(v) <= peak), peak, -peak], np.int32)
        bench.check("quantise_weights", master.reshape(1, 1, 1, -1))
        spread = np.linspace(-peak, peak, 97).astype(np.int32)
        bench.check("quantise_weights", spread.reshape(1, 1, 1, -1))
    bench.check("zeros_like_momentum", np.ones((2, 1, 1, 3), np.int32))


@pytest.mark.parametrize("samples", [1, 2, 3, 100, 128, 1000])
def test_updates(make, samples):
    """Exponents on both sides of the left shift, values small, random, and at every saturation."""
    bench, rng = Bench(make, DEFAULT), np.random.default_rng(8)
    small = np.arange(-40, 41, dtype=np.int64)
    big = np.array([2**47 - 1, 2**43, 2**43 - 1, 2**40, 2**31, 2**16, 2**15 + 1])
    sums = np.concatenate([small, big, -big, rng.integers(-(2**44), 2**44, 30)])
    master = rng.integers(-(2**31) + 1, 2**31, sums.size).astype(np.int32)
    master[:3] = (2**31 - 1, -(2**31) + 1, 0)
    momentum = rng.integers(-(2**41) + 1, 2**41, sums.size)
    momentum[:4] = (2**41 - 1, -(2**41) + 1, 2**41 - 1, 0)
    for exponent in (-90, -60, -40, -29, -28, -27, -20, -8, 0, 11, 12, 13, 40):
        for rule in (UpdateRule(104858, 29491, 1678), UpdateRule(2**20, 32768, 0), UpdateRule(0, 0, 2**24)):
            given = [array.reshape(1, 1, 1, -1) for array in (master, momentum, sums)]
            ref = bench.oracle.update(*map(plain, given), exponent, samples, rule)
            comp = [bench.engine.from_numpy(array.copy()) for array in given]
            bench.engine.update(*comp, exponent, samples, rule)
            assert bench.engine.to_numpy(comp[0]).tolist() == ref[0]
            assert bench.engine.to_numpy(comp[1]).tolist() == ref[1]
