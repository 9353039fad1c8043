"""The operations of adder layers: every engine gives the integers of an oracle in plain Python."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from oracle import Oracle, apply, at, connections, output_size, peak, round_shift, shape_of, zeros

from joulebit.engine.base import ConvGeometry
from joulebit.engine.factory import make_engine
from joulebit.fixed.adder import ETA_Q28, scaled_gradient
from joulebit.fixed.arithmetic import Arithmetic

WIDTHS = {
    "default": Arithmetic(),
    "4 and 8 bits": Arithmetic(x_bits=4, w_bits=4, g_bits=8, x_msb_bits=2, g_msb_bits=4),
    "16 bits": Arithmetic(x_bits=16, w_bits=16, x_msb_bits=12, g_msb_bits=16, msb_rounding="floor"),
    "narrow accumulator": Arithmetic(accumulator_bits=16),
    "stochastic": Arithmetic(rounding="stochastic"),
    "half even": Arithmetic(rounding="half_even", g_msb_bits=3, msb_rounding="toward_zero"),
}
GEOMETRIES = {
    "1x1": (ConvGeometry(1, 1), 3, 4),
    "3x3": (ConvGeometry(3, 3, padding_h=1, padding_w=1), 3, 5),
    "3x3 stride 2": (ConvGeometry(3, 3, stride=2, padding_h=1, padding_w=1), 17, 3),
    "5x3 stride 3": (ConvGeometry(5, 3, stride=3, padding_h=2, padding_w=2), 2, 2),
}
ENGINES = ("numpy", "numba", "torch")
KEY = 0xF123456789ABCDEF


class AdderOracle(Oracle):
    """Section 15 of the specification."""

    def adder_forward(self, x, w, geometry, shift, key=0):
        n, height, width, c_in = shape_of(x)
        c_out = shape_of(w)[3]
        out_h = output_size(height, geometry.kernel_h, geometry.padding_h, geometry.stride)
        out_w = output_size(width, geometry.kernel_w, geometry.padding_w, geometry.stride)
        kernel = list(product(range(geometry.kernel_h), range(geometry.kernel_w), range(c_in)))
        far = [sum(abs(at(w, (*place, out))) for place in kernel) for out in range(c_out)]  # all outside the image
        acc = [[[[-v for v in far] for _ in range(out_w)] for _ in range(out_h)] for _ in range(n)]
        wired = connections(geometry, height, width, c_in, c_out)
        for sample, (source, weight, (row, column, out)) in product(range(n), wired):
            distance = abs(at(x[sample], source) - at(w, weight))
            acc[sample][row][column][out] += abs(at(w, weight)) - distance
        acc, clamped = self._accumulated(acc)
        z, saturated = self._requantised(acc, shift, 16, key)
        total = [sum(pixel[c] for sample in z for row in sample for pixel in row) for c in range(c_out)]
        squares = [sum(pixel[c] ** 2 for sample in z for row in sample for pixel in row) for c in range(c_out)]
        return z, peak(acc), clamped + saturated, total, squares

    def adder_input_gradient(
        self, dz, x, w, geometry, clip, shift, align=0, add=None, add_stride=1, add_align=0, mask=None,
        mask_below=0, key=0,
    ):  # fmt: skip
        n, height, width, c_in = shape_of(x)
        acc = zeros((n, height, width, c_in))
        wired = connections(geometry, height, width, c_in, shape_of(w)[3])
        for sample, ((row, column, channel), weight, target) in product(range(n), wired):
            difference = at(w, weight) - x[sample][row][column][channel]
            acc[sample][row][column][channel] += at(dz[sample], target) * max(-clip, min(clip, difference))
        acc, clamped = self._accumulated(acc)
        value = apply(lambda v: round_shift(v, -align), acc)
        if add is not None:
            value = apply(lambda v, more: v + more, value, self._spaced(add, shape_of(acc), add_stride, add_align))
        g, largest, saturated = self._gradient(value, shift, mask, mask_below, key)
        return g, largest, clamped + saturated


def plain(result):
    return tuple(part.tolist() if isinstance(part, np.ndarray) else part for part in result)


def operands(rng, arithmetic, geometry, c_in, c_out, kind):
    low, high = arithmetic.activation_range(signed=kind == "signed")
    dtype = ("int" if kind == "signed" else "uint") + ("8" if arithmetic.x_bits <= 8 else "16")
    x = rng.integers(low, high, (2, 5, 6, c_in), endpoint=True)
    x = (rng.choice([low, high], x.shape) if kind == "ends" else x).astype(dtype)
    limit, g_limit = ((1 << (bits - 1)) - 1 for bits in (arithmetic.w_bits, arithmetic.g_bits))
    w = rng.integers(-limit, limit, (geometry.kernel_h, geometry.kernel_w, c_in, c_out), endpoint=True)
    w = w.astype(np.int8 if arithmetic.w_bits <= 8 else np.int16)
    out_h, out_w = geometry.output_size(5, 6)
    dz = rng.integers(-g_limit, g_limit, (2, out_h, out_w, c_out), endpoint=True)
    if kind == "ends":
        w, dz = np.sign(w) * limit, np.sign(dz) * g_limit
    return x, w.astype(np.int8 if arithmetic.w_bits <= 8 else np.int16), dz.astype(np.int16)


def to_engine(engine, *arrays):
    return [engine.from_numpy(array.copy()) for array in arrays]


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_distances_are_those_of_the_oracle(name, width, geometry):
    arithmetic, (shape, c_in, c_out) = WIDTHS[width], GEOMETRIES[geometry]
    engine, rng = make_engine(name, arithmetic, 2), np.random.default_rng(4)
    for kind, shift in (("random", 4), ("signed", 0), ("ends", 2), ("ends", 0)):
        x, w, _ = operands(rng, arithmetic, shape, c_in, c_out, kind)
        found = engine.adder_forward(*to_engine(engine, x, w), shape, shift, KEY)
        expected = AdderOracle(arithmetic).adder_forward(x.tolist(), w.tolist(), shape, shift, KEY)
        assert plain(found._replace(z=engine.to_numpy(found.z))) == expected


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_clipped_gradients_are_those_of_the_oracle(name, width, geometry):
    arithmetic, (shape, c_in, c_out) = WIDTHS[width], GEOMETRIES[geometry]
    engine, rng = make_engine(name, arithmetic, 2), np.random.default_rng(5)
    for kind, clip, masked, added in (
        ("random", 16, True, True),
        ("signed", 1, False, False),
        ("ends", 64, True, False),
        ("ends", 1 << 13, False, True),
    ):
        x, w, dz = operands(rng, arithmetic, shape, c_in, c_out, kind)
        more = {"align": -2 if added else 0, "key": KEY}
        host = dict(more)
        if added:
            add = rng.integers(-99, 99, (2, 3, 3, c_in + 1)).astype(np.int16)
            more |= {"add": engine.from_numpy(add.copy()), "add_stride": 2, "add_align": 3}
            host |= {"add": add.tolist(), "add_stride": 2, "add_align": 3}
        if masked:
            more |= {"mask": engine.from_numpy(x.copy()), "mask_below": 9}
            host |= {"mask": x.tolist(), "mask_below": 9}
        found = engine.adder_input_gradient(*to_engine(engine, dz, x, w), shape, clip, 6, **more)
        expected = AdderOracle(arithmetic).adder_input_gradient(
            dz.tolist(), x.tolist(), w.tolist(), shape, clip, 6, **host
        )
        assert plain(found._replace(data=engine.to_numpy(found.data))) == expected


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("width", WIDTHS)
def test_sums_and_weights_at_an_exponent(name, width):
    arithmetic = WIDTHS[width]
    engine, rng = make_engine(name, arithmetic), np.random.default_rng(6)
    limit = (1 << (arithmetic.g_bits - 1)) - 1
    dz = rng.integers(-limit, limit, (3, 4, 5, 6), endpoint=True).astype(np.int16)
    found = engine.channel_sums(engine.from_numpy(dz.copy()))
    assert found.tolist() == [sum(int(v) for v in dz[..., c].reshape(-1)) for c in range(6)]
    low, high = arithmetic.msb_gradient_range()
    dropped, mode = arithmetic.g_bits - arithmetic.g_msb_bits, arithmetic.msb_rounding

    def leading(value):
        return max(low, min(high, round_shift(int(value), dropped, mode)))

    narrow = [[leading(value) for value in dz[..., c].reshape(-1)] for c in range(6)]
    assert engine.channel_sums(engine.from_numpy(dz.copy()), msb=True).tolist() == [sum(c) for c in narrow]
    masters = np.array([0, 1 << 28, -(1 << 28), (1 << 31) - 1, -(1 << 24) - 1, 3 << 23, 123456789], np.int32)
    top = (1 << (arithmetic.w_bits - 1)) - 1
    for exponent in (-4, -6, -20, 1):
        w = engine.to_numpy(engine.quantise_weights_at(engine.from_numpy(masters.copy()), exponent))
        expected = [max(-top, min(top, round_shift(int(m), exponent + 28))) for m in masters]
        assert w.tolist() == expected
        assert w.dtype == (np.int8 if arithmetic.w_bits <= 8 else np.int16)


def test_a_large_accumulator_does_not_change_small_sums():
    x, w, _ = operands(np.random.default_rng(1), Arithmetic(), ConvGeometry(1, 1), 4, 4, "random")
    engines = [make_engine("numba", replace(Arithmetic(), accumulator_bits=bits)) for bits in (24, 48)]
    first, second = (engine.adder_forward(x, w, ConvGeometry(1, 1), 0).z for engine in engines)
    np.testing.assert_array_equal(first, second)


def test_the_adaptive_rate_gives_a_gradient_of_a_fifth():
    rng = np.random.default_rng(2)
    for scale in (1, 40, 62):
        gradient = (rng.standard_normal((3, 3, 8, 4)) * 2.0 ** (scale - 4)).astype(np.int64)
        if not gradient.any():
            continue
        found = scaled_gradient(gradient) / 2**28
        exact = gradient / np.sqrt((gradient.astype(float) ** 2).mean()) / 5
        np.testing.assert_allclose(found, exact, atol=1e-2 if scale == 1 else 1e-4)
    assert not scaled_gradient(np.zeros((2, 2), np.int64)).any()
    assert round(2**28 / 5) == ETA_Q28
    # in plain integers: 3, -4 have a root mean square of sqrt(12.5), in Q.8 floor(sqrt(12.5 * 65536)) = 905
    assert scaled_gradient(np.array([3, -4])).tolist() == [
        (2 * 3 * ETA_Q28 * 256 + 905) // 1810,
        (-2 * 4 * ETA_Q28 * 256 + 905) // 1810,
    ]
