"""The torch engine has the bits of the numpy engine, in every operation, on a CPU and on a CUDA device."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from emulated_cuda import EmulatedCuda
from engine_operands import (
    KEY,
    ROUNDINGS,
    activation,
    fill,
    gradient,
    gradient_constants,
    norm_constants,
    weights,
)

from joulebit.engine import torch_conv, torch_engine, torch_products
from joulebit.engine.base import ConvGeometry, UpdateRule
from joulebit.engine.numpy_engine import NumpyEngine
from joulebit.engine.torch_engine import TorchEngine
from joulebit.engine.torch_products import int8_matmul
from joulebit.fixed.arithmetic import Arithmetic
from joulebit.fixed.update import LayerUpdate

DEFAULT = Arithmetic()
SIGNED = Arithmetic(x_signed=True)
WIDTHS = [
    DEFAULT,
    SIGNED,
    Arithmetic(x_bits=4, w_bits=4, g_bits=8, x_msb_bits=2, g_msb_bits=4),
    Arithmetic(x_bits=6, w_bits=6, g_bits=12, x_msb_bits=6, g_msb_bits=1),
    Arithmetic(x_bits=12, w_bits=12, g_bits=12, x_msb_bits=1, msb_rounding="toward_zero"),
    Arithmetic(x_bits=16, w_bits=16, g_bits=16, x_msb_bits=12, g_msb_bits=16, msb_rounding="floor"),
    Arithmetic(x_bits=16, w_bits=8, g_bits=8, x_signed=True, g_msb_bits=5, msb_rounding="half_even"),
    Arithmetic(x_bits=8, w_bits=16, accumulator_bits=20, msb_rounding="half_away"),
]
GEOMETRIES = {
    "1x1": (ConvGeometry(1, 1), 5, 6),
    "1x1 stride 2": (ConvGeometry(1, 1, stride=2), 4, 3),
    "3x3": (ConvGeometry(3, 3, padding_h=1, padding_w=1), 3, 5),
    "3x3 stride 2": (ConvGeometry(3, 3, stride=2, padding_h=1, padding_w=1), 4, 8),
    "3x3 stride 3": (ConvGeometry(3, 3, stride=3), 2, 3),
    "3x3 padding 3": (ConvGeometry(3, 3, padding_h=3, padding_w=3), 3, 2),
    "3x3 stride 2 padding 3": (ConvGeometry(3, 3, stride=2, padding_h=3, padding_w=2), 3, 2),
    "5x5 padding 2": (ConvGeometry(5, 5, padding_h=2, padding_w=2), 2, 3),
    "7x7 stride 2": (ConvGeometry(7, 7, stride=2, padding_h=3, padding_w=3), 3, 4),
    "1x7": (ConvGeometry(1, 7, padding_h=0, padding_w=3), 2, 3),
    "5x1 stride 3": (ConvGeometry(5, 1, stride=3, padding_h=2), 3, 3),
    "1x1 padding 2": (ConvGeometry(1, 1, stride=2, padding_h=2, padding_w=1), 3, 3),
    "groups": (ConvGeometry(3, 3, padding_h=1, padding_w=1, groups=3), 6, 9),
    "groups stride 2": (ConvGeometry(3, 3, stride=2, padding_h=1, padding_w=1, groups=2), 8, 4),
    "depthwise": (ConvGeometry(3, 3, padding_h=1, padding_w=1, groups=5), 5, 5),
    "depthwise stride 2": (ConvGeometry(5, 5, stride=2, padding_h=2, padding_w=2, groups=3), 3, 3),
    "depthwise times 2": (ConvGeometry(3, 3, stride=3, padding_h=1, padding_w=1, groups=3), 3, 6),
}
MOVED = ("master", "momentum", "gradient")  # what an engine holds of a `LayerUpdate`
HAS_CUDA = torch.cuda.is_available()


@pytest.fixture(
    params=[
        "cpu",
        pytest.param("emulated", marks=pytest.mark.skipif(HAS_CUDA, reason="there is a CUDA device")),
        pytest.param(
            "cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not HAS_CUDA, reason="needs a CUDA device")]
        ),
    ]
)
def device(request):
    """The devices of a `TorchEngine`; where there is no CUDA device, one with its rules."""
    if request.param == "emulated":
        with EmulatedCuda():
            yield "cuda"
    else:
        yield request.param


def engines(arithmetic, device="cpu"):
    return NumpyEngine(arithmetic), TorchEngine(arithmetic, device)


def assert_same(ref, comp, engine):
    """Equal results of one operation: arrays of the same dtype, shape and values, equal numbers."""
    if isinstance(ref, tuple):
        assert len(ref) == len(comp)
        for part_ref, part_comp in zip(ref, comp):
            assert_same(part_ref, part_comp, engine)
    elif isinstance(ref, np.ndarray):
        host = engine.to_numpy(comp) if isinstance(comp, torch.Tensor) else comp
        assert (host.dtype, host.shape) == (ref.dtype, ref.shape)
        assert np.array_equal(host, ref)
    else:
        assert type(comp) is type(ref)
        assert comp == ref


def check(pair, operation, *arguments, host=(), **named):
    """Run an operation on both engines and compare; `host` names the arguments that stay in numpy."""
    results = []
    for engine in pair:
        move = {True: lambda value, _: value, False: lambda value, engine: engine.from_numpy(value.copy())}
        given = [
            move[not isinstance(value, np.ndarray) or index in host](value, engine)
            for index, value in enumerate(arguments)
        ]
        keyed = {
            name: move[not isinstance(value, np.ndarray) or name in host](value, engine)
            for name, value in named.items()
        }
        results.append(getattr(engine, operation)(*given, **keyed))
    assert_same(results[0], results[1], pair[1])
    return results[0]


def check_convolution(arithmetic, geometry, c_in, c_out, device="cpu", batch=2, size=(5, 7), kind="random"):
    """All three products of one convolution, with the additions and masks of the input gradient."""
    rng = np.random.default_rng(batch + 7 * c_in)
    pair = engines(arithmetic, device)
    out_h, out_w = geometry.output_size(*size)
    w = weights(arithmetic, rng, geometry, c_in, c_out, kind)
    dz = gradient(arithmetic, rng, (batch, out_h, out_w, c_out), kind)
    for signed in (False, True):
        x = activation(arithmetic, rng, (batch, *size, c_in), signed, kind)
        for shift in (0, arithmetic.x_bits + arithmetic.w_bits - 10, 34):
            check(pair, "conv_forward", x, w, geometry, max(0, shift), KEY)
        check(pair, "conv_weight_gradient", x, dz, geometry)
        check(pair, "conv_weight_gradient_msb", x, dz, geometry)
    x = activation(arithmetic, rng, (batch, *size, c_in))
    full = gradient(arithmetic, rng, (batch, *size, c_in + 2), kind)
    half = gradient(arithmetic, rng, (batch, (size[0] + 1) // 2, (size[1] + 1) // 2, c_in), kind)
    for shift, options in (
        (0, {}),
        (9, {"mask": x}),
        (33, {"add": full, "align": 4, "add_align": -3}),
        (arithmetic.g_bits - 3, {"add": half, "add_stride": 2, "align": -7, "add_align": 20, "mask": x}),
        (4, {"mask": x, "mask_below": arithmetic.activation_range(False)[1] // 2}),
    ):
        check(pair, "conv_input_gradient", dz, w, geometry, size, shift, key=KEY, **options)


def check_everything_else(arithmetic, device="cpu", batch=3, size=(5, 7), channels=6):
    """Every operation of the protocol but the products of convolutions."""
    rng = np.random.default_rng(batch)
    pair = engines(arithmetic, device)
    shape = (batch, *size, channels)
    small = (batch, (size[0] + 1) // 2, (size[1] + 1) // 2, channels)
    z = fill(rng, small, -32767, 32767, np.int16, "random")
    g = gradient(arithmetic, rng, small)
    norm, back = norm_constants(rng, channels), gradient_constants(rng, channels)
    for signed in (False, True):
        bounds = arithmetic.activation_range(signed)
        x = activation(arithmetic, rng, (*shape[:3], channels - 2), signed)
        for shift in (0, 14, 31):
            check(pair, "norm_forward", z, norm, shift, bounds, key=KEY)
            check(pair, "norm_forward", z, norm, shift, bounds, x, 2, 31 - shift, KEY)
        for shift in (-23, -2, 0, 3, 23):
            check(pair, "shortcut_forward", x, 2, channels, shift, bounds, KEY)
        check(pair, "max_pool", x, 2)
        for size_ in (2, 3):
            pooled = check(pair, "max_pool", x, size_)
            check(pair, "max_pool_gradient", gradient(arithmetic, rng, pooled.shape), x, size_)
            check(pair, "max_pool_gradient", gradient(arithmetic, rng, pooled.shape), x // 2 * 0, size_)
        check(pair, "spatial_sum", x)
        value = rng.integers(-(2**40), 2**40, (batch, channels - 2))
        for shift in (-3, 0, 1, 29, 62):
            for masked, below in ((False, 0), (True, 0), (True, 5)):
                check(pair, "spread", value, x, shift, masked, below, KEY, host=(0,))
        same = gradient(arithmetic, rng, x.shape)
        check(pair, "mask_gradient", same, x)
        for below in (bounds[1] // 2 + 1, 171, 300, 70000):
            check(pair, "mask_gradient", same, x, below)
        check(pair, "sample_dot", same, x, rng.permuted(x))
        check(pair, "copy", x)
        check(pair, "zeros_like_gradient", x)
        for index in ([2, 0], [1], []):
            chosen = np.array(index, np.int64)
            taken = check(pair, "take", x, chosen, host=(1,))
            check(pair, "put", x, chosen, taken[::-1], host=(1,))
        for options in ({}, {"mask": x, "mask_below": 3}):
            check(pair, "shortcut_gradient", g, x.shape[1:], 2, 3, 5, key=KEY, **options)
            check(pair, "shortcut_gradient", g, x.shape[1:], 2, 0, -4, key=KEY, **options)
    check(pair, "norm_sums", g, z, norm)
    check(pair, "norm_backward", g, z, norm, back, KEY)
    gentle = replace(back, mean_g=0 * back.mean_g, mean_gx=0 * back.mean_gx, multiplier=0 * back.shift + 1)
    check(pair, "norm_backward", g // 512, z, norm, gentle, KEY)
    for shift in (0, 1, arithmetic.g_bits - 2):
        check(pair, "narrow_gradient", g, shift, 2)
    check_parameters(pair, rng)


def check_parameters(pair, rng):
    check_layers(pair, rng)
    sums = rng.integers(-(2**40), 2**40, (3, 3, 4, 5))
    guess = rng.integers(-(2**20), 2**20, sums.shape)
    for threshold in (0, 205, 4096):
        check(pair, "predict_signs", sums, guess, threshold)
        check(pair, "predict_signs", sums // 2**38, guess // 2**18, threshold)
    check(pair, "sign", sums // 2**38)
    check(pair, "sign", np.zeros((2, 2), np.int64))
    for peak in (0, 1, 200, 2**31 - 1):
        master = rng.integers(-peak, peak, sums.shape, endpoint=True).astype(np.int32)
        check(pair, "quantise_weights", master)
        check(pair, "zeros_like_momentum", master)
        for exponent in (-60, -30, -12, 0, 9, 40):
            for samples in (1, 100, 128):
                momentum = rng.integers(-(2**41) + 1, 2**41, sums.shape)
                check_update(pair, master, momentum, sums, exponent, samples)


def check_layers(pair, rng):
    """`update_layers` does what `update` and `quantise_weights` do."""
    layers = [
        LayerUpdate(
            rng.integers(-peak, peak, (3, 3, 2, 4), endpoint=True).astype(np.int32),
            rng.integers(-(2**41) + 1, 2**41, (3, 3, 2, 4)), rng.integers(-(2**40), 2**40, (3, 3, 2, 4)),
            exponent, 100, UpdateRule(104858, 29491, 1678),
        )
        for peak, exponent in ((0, -60), (200, -30), (2**31 - 1, 0))
    ]  # fmt: skip
    reference, engine = pair
    moved = [layer._replace(**{k: engine.from_numpy(v.copy()) for k, v in layer._asdict().items() if k in MOVED})
             for layer in layers]  # fmt: skip
    found = engine.update_layers(moved)
    for layer, other, (w, exponent) in zip(layers, moved, found):
        reference.update(*layer)
        assert_same((layer.master, layer.momentum), (other.master, other.momentum), engine)
        assert_same(reference.quantise_weights(layer.master), (w, exponent), engine)


def check_update(pair, master, momentum, sums, exponent, samples):
    rule = UpdateRule(learning_rate_q20=104858, momentum_q15=29491, decay_q24=1678)
    results = []
    for engine in pair:
        m, v = engine.from_numpy(master.copy()), engine.from_numpy(momentum.copy())
        engine.update(m, v, engine.from_numpy(sums.copy()), exponent, samples, rule)
        results.append((m, v))
    assert_same(results[0], results[1], pair[1])


@pytest.mark.parametrize("name", GEOMETRIES)
def test_convolutions_of_every_shape(name, device):
    geometry, c_in, c_out = GEOMETRIES[name]
    for kind in ("random", "ends"):
        for batch in (1, 3):
            check_convolution(DEFAULT, geometry, c_in, c_out, device, batch, kind=kind)
    check_convolution(DEFAULT, geometry, c_in, c_out, device, 1, size=(8, 8))


@pytest.mark.parametrize("arithmetic", WIDTHS, ids=str)
def test_convolutions_of_every_width(arithmetic, device):
    for name in ("3x3 stride 2", "groups", "depthwise", "depthwise times 2"):
        geometry, c_in, c_out = GEOMETRIES[name]
        for kind in ("random", "ends", "upper"):
            check_convolution(arithmetic, geometry, c_in, c_out, device, kind=kind)


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_convolutions_of_every_rounding(rounding, device):
    for name in ("3x3", "depthwise"):
        geometry, c_in, c_out = GEOMETRIES[name]
        check_convolution(replace(DEFAULT, rounding=rounding), geometry, c_in, c_out, device)


@pytest.mark.parametrize("arithmetic", WIDTHS, ids=str)
def test_other_operations_of_every_width(arithmetic, device):
    check_everything_else(arithmetic, device)


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_other_operations_of_every_rounding(rounding, device):
    for arithmetic in (DEFAULT, WIDTHS[5]):
        check_everything_else(replace(arithmetic, rounding=rounding), device)


@pytest.mark.parametrize("rounding", ["half_up", "stochastic"])
def test_chunks_of_samples_change_nothing(rounding, device, monkeypatch):
    monkeypatch.setattr(torch_conv, "_PATCH_ELEMENTS", {"cpu": 1, "cuda": 1})
    monkeypatch.setattr(torch_engine, "_VALUE_ELEMENTS", {"cpu": 1, "cuda": 1})
    arithmetic = replace(DEFAULT, rounding=rounding)
    geometry, c_in, c_out = GEOMETRIES["3x3"]
    check_convolution(arithmetic, geometry, c_in, c_out, device, batch=3)
    check_everything_else(arithmetic, device)


@pytest.mark.parametrize("arithmetic", [DEFAULT, WIDTHS[5]], ids=str)
def test_float64_products_have_the_same_bits(arithmetic, device, monkeypatch):
    monkeypatch.setattr(torch_engine, "int8_products_are_exact", lambda _: False)
    for name in ("3x3", "groups stride 2", "depthwise"):
        geometry, c_in, c_out = GEOMETRIES[name]
        for kind in ("random", "ends"):
            check_convolution(arithmetic, geometry, c_in, c_out, device, kind=kind)


@pytest.mark.parametrize("int8", [True, False])
def test_sums_longer_than_one_product_are_split(int8, device, monkeypatch):
    monkeypatch.setattr(torch_products, "_LONGEST_SUM", 7)
    monkeypatch.setattr(torch_engine, "int8_products_are_exact", lambda _: int8)
    for arithmetic in (DEFAULT, WIDTHS[5]):
        geometry, c_in, c_out = GEOMETRIES["3x3"]
        check_convolution(arithmetic, geometry, c_in, c_out, device, kind="ends")


@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 27, 3), (17, 8, 8), (40, 147, 33)])
def test_the_aligned_layout_of_int8_products_changes_nothing(shape, device):
    rng = np.random.default_rng(0)
    rows, length, columns = shape
    a = rng.integers(-128, 127, (rows, length), np.int8, endpoint=True)
    b = rng.integers(-128, 127, (length, columns), np.int8, endpoint=True)
    ref = a.astype(np.int64) @ b.astype(np.int64)
    comp = int8_matmul(torch.from_numpy(a).to(device), torch.from_numpy(b).to(device), align=True)
    assert comp.dtype == torch.int32
    assert np.array_equal(comp.cpu().numpy(), ref)


def test_int8_products_of_every_memory_layout(device):
    """Rows, columns and whole matrices of size 1, transposed, cut out of larger ones."""
    rng = np.random.default_rng(0)
    for rows, length, columns in product((1, 2, 17, 33), (1, 2, 8, 27), (1, 3, 8)):
        a, b = (
            torch.from_numpy(rng.integers(-128, 128, shape, np.int8)).to(device)
            for shape in ((rows + 3, length + 3), (length + 3, columns + 3))
        )
        for transpose_a, transpose_b in product((False, True), repeat=2):
            first = (a.t().contiguous()[:length].t() if transpose_a else a[:, :length])[:rows]
            second = (b.t().contiguous()[:columns].t() if transpose_b else b[:, :columns])[:length]
            overlapping = b.as_strided((length, columns), (1, 1))
            for left, right in ((first, second), (first, overlapping), (overlapping.t(), first.t())):
                ref = left.cpu().numpy().astype(np.int64) @ right.cpu().numpy().astype(np.int64)
                assert np.array_equal(int8_matmul(left, right).cpu().numpy(), ref)


def test_images_of_one_row_or_column(device):
    """Their patches overlap in memory."""
    for size, kernel in (((1, 9), (1, 3)), ((9, 1), (3, 1)), ((1, 1), (1, 1)), ((1, 4), (3, 3))):
        geometry = ConvGeometry(*kernel, padding_h=kernel[0] // 2, padding_w=kernel[1] // 2)
        for c_in, c_out in ((1, 1), (1, 3), (2, 1), (2, 2)):
            for batch in (1, 2):
                check_convolution(DEFAULT, geometry, c_in, c_out, device, batch, size)


def test_an_empty_batch_gives_empty_results(device):
    pair = engines(DEFAULT, device)
    rng = np.random.default_rng(0)
    geometry = ConvGeometry(3, 3, padding_h=1, padding_w=1)
    w = weights(DEFAULT, rng, geometry, 3, 4)
    x, dz = np.zeros((0, 5, 7, 3), np.uint8), np.zeros((0, 5, 7, 4), np.int16)
    check(pair, "conv_forward", x, w, geometry, 3)
    check(pair, "conv_weight_gradient", x, dz, geometry)
    check(pair, "conv_input_gradient", dz, w, geometry, (5, 7), 3)
    check(pair, "norm_sums", dz, dz, norm_constants(rng, 4))


def test_an_update_works_in_place_on_shared_memory():
    master, momentum = np.full((2, 2), 1 << 20, np.int32), np.zeros((2, 2), np.int64)
    engine = TorchEngine(DEFAULT)
    rule = UpdateRule(learning_rate_q20=1 << 20, momentum_q15=0, decay_q24=0)
    engine.update(
        engine.from_numpy(master), engine.from_numpy(momentum), torch.ones((2, 2), dtype=torch.int64), -28, 1, rule
    )
    assert (master == (1 << 20) - 1).all()
    assert (momentum == 1).all()


@pytest.mark.parametrize("name", ["meta", "gpu", "cuda:one", ""])
def test_an_unknown_device_is_refused(name):
    with pytest.raises(ValueError, match=f"device must be cpu, cuda, cuda:N or auto, got '{name}'"):
        TorchEngine(DEFAULT, name)


@pytest.mark.skipif(HAS_CUDA, reason="there is a CUDA device")
def test_a_device_beyond_the_last_one_is_named():
    with EmulatedCuda(devices=2):
        engine = TorchEngine(DEFAULT, "cuda:1")
        assert engine.from_numpy(np.ones(2)).device == torch.device("cuda:1")
        assert engine.with_arithmetic(SIGNED).device == engine.device
        check_convolution(DEFAULT, *GEOMETRIES["3x3"], "cuda:1")
        with pytest.raises(ValueError, match="'cuda:2' was asked for, but the last one is cuda:1"):
            TorchEngine(DEFAULT, "cuda:2")


def test_a_device_that_cannot_be_used_is_named(monkeypatch):
    def fails(*_, **__):
        raise RuntimeError("CUDA error: no kernel image is available\nCompile with TORCH_USE_CUDA_DSA")

    monkeypatch.setattr(torch, "zeros", fails)
    with pytest.raises(ValueError, match=r"device 'cpu' cannot be used: .* no kernel image is available$"):
        TorchEngine(DEFAULT, "cpu")


@pytest.mark.skipif(HAS_CUDA, reason="needs a machine without a CUDA device")
def test_a_missing_cuda_device_is_named():
    with pytest.raises(ValueError, match="no CUDA device"):
        TorchEngine(DEFAULT, "cuda")
    assert TorchEngine(DEFAULT, "auto").device.type == "cpu"


def test_wide_weights_with_one_channel_per_group(device):
    arithmetic = Arithmetic(w_bits=12)
    rng = np.random.default_rng(5)
    w = rng.integers(-2047, 2048, (1, 1, 1, 4)).astype(np.int16)
    dz = rng.integers(-32767, 32768, (2, 3, 3, 4)).astype(np.int16)
    geometry = ConvGeometry(1, 1, groups=2)
    engine = TorchEngine(arithmetic, device)
    found = engine.conv_input_gradient(engine.from_numpy(dz), engine.from_numpy(w), geometry, (3, 3), 4)
    expected = NumpyEngine(arithmetic).conv_input_gradient(dz, w, geometry, (3, 3), 4)
    assert np.array_equal(engine.to_numpy(found.data), expected.data)
    assert found.peak == expected.peak
