"""The gradients of an adder layer out of the engine's sums, in plain integers."""

from itertools import product

import numpy as np
import pytest

from joulebit.energy.accounting import Accountant
from joulebit.energy.counters import Counters
from joulebit.engine.base import UpdateRule
from joulebit.engine.factory import make_engine
from joulebit.fixed.adder import scaled_gradient
from joulebit.fixed.arithmetic import Arithmetic
from joulebit.nn.adder import AdderLayer, conv_layer
from joulebit.nn.context import Mode, Pass, Update
from joulebit.nn.graph import Conv, GlobalPool, Model, plan
from joulebit.nn.init import initial_masters
from joulebit.nn.kinds import with_kind
from joulebit.nn.models import model
from joulebit.nn.parameters import HostParameters
from joulebit.nn.tensor import Tensor
from joulebit.nn.weight_gradient import weight_gradient

PLAN = plan(Model("m", (Conv(3, 3, stride=2, kind="adder"), GlobalPool()), 10), (5, 4, 2))
ENGINES = ("numpy", "numba", "torch")


def ref_gradient(x, w, dz, geometry):
    """sum over samples and windows of (x - w) dz, x = 0 outside the image."""
    n, height, width, c_in = x.shape
    _, out_h, out_w, c_out = dz.shape
    found = np.zeros(w.shape, dtype=object)
    for s, r, q, k, i, j, c in product(
        range(n), range(out_h), range(out_w), range(c_out), range(geometry.kernel_h), range(geometry.kernel_w),
        range(c_in),
    ):  # fmt: skip
        row, column = r * geometry.stride + i - geometry.padding_h, q * geometry.stride + j - geometry.padding_w
        inside = 0 <= row < height and 0 <= column < width
        value = int(x[s, row, column, c]) if inside else 0
        found[i, j, c, k] += (value - int(w[i, j, c, k])) * int(dz[s, r, q, k])
    return found.astype(np.int64)


def layer_and_operands(engine):
    conv = next(iter(PLAN.convs()))
    rng = np.random.default_rng(8)
    layer = conv_layer(conv, initial_masters(PLAN, 3)["conv1.weight"], engine)
    layer.weight.quantise_at(-4)
    x = rng.integers(0, 256, (3, 5, 4, 2)).astype(np.uint8)
    dz = rng.integers(-3000, 3000, (3, *conv.out_shape)).astype(np.int16)
    return conv, layer, x, dz


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("channels", [None, np.array([0, 2])])
def test_the_weight_gradient_is_the_sum_of_differences_times_gradients(name, channels):
    engine = make_engine(name, Arithmetic())
    conv, layer, x, dz = layer_and_operands(engine)
    counters = Counters()
    run = Pass(engine, HostParameters({}), Accountant(counters, Arithmetic()), Mode.TRAIN)
    tensor = Tensor(engine.from_numpy(x), -4)
    w = np.array(engine.to_numpy(layer.weight.w))
    assert w.std() > 10  # deviation 1 in units of 2^-4
    weight_gradient(conv, layer.weight, tensor, engine.from_numpy(dz), -9, run, channels)
    run.totals.settle()
    before, rule = np.array(engine.to_numpy(layer.weight.master)), UpdateRule(1 << 20, 0, 0)
    expected = ref_gradient(x, w, dz, conv.geometry)
    expected = expected if channels is None else expected[..., channels]
    gradient, exponent = layer.weight.pop_gradient()
    np.testing.assert_array_equal(engine.to_numpy(gradient), expected)
    assert exponent == -13
    weight_gradient(conv, layer.weight, tensor, engine.from_numpy(dz), -9, run, channels)
    run.totals.settle()
    layer.weight.update(3, rule, rule)
    step = before - engine.to_numpy(layer.weight.master)
    step = step if channels is None else step[..., channels]
    np.testing.assert_array_equal(step, scaled_gradient(expected))


@pytest.mark.parametrize("name", ENGINES)
def test_the_predictor_looks_at_the_leading_bits_of_all_three(name):
    engine = make_engine(name, Arithmetic())
    conv, layer, x, dz = layer_and_operands(engine)
    x_msb = np.minimum(15, (x.astype(np.int64) + 8) >> 4)
    g_msb = np.clip((dz.astype(np.int64) + 32) >> 6, -511, 511)
    w_msb = (engine.to_numpy(layer.weight.w).astype(np.int64) + 8) >> 4
    predicted = ref_gradient(x_msb, w_msb, g_msb, conv.geometry)
    exact = ref_gradient(x, engine.to_numpy(layer.weight.w), dz, conv.geometry)
    threshold = max(1, (410 * int(np.abs(predicted).max())) >> 12)
    expected = np.where(np.abs(predicted) >= threshold, np.sign(predicted), np.sign(exact))
    accountant = Accountant(Counters(), Arithmetic())
    run = Pass(engine, HostParameters({}), accountant, Mode.TRAIN, 0, Update.PSG, 410, observe=True)
    weight_gradient(conv, layer.weight, Tensor(engine.from_numpy(x), -4), engine.from_numpy(dz), -9, run)
    run.totals.settle()
    signs, exponent = layer.weight.pop_gradient()
    assert exponent is None
    np.testing.assert_array_equal(engine.to_numpy(signs), expected)
    assert run.details["conv1"]["decided"] == np.count_nonzero(np.abs(predicted) >= threshold)


def test_weights_follow_the_exponent_of_the_input():
    engine = make_engine("numpy", Arithmetic())
    _, layer, x, _ = layer_and_operands(engine)
    assert isinstance(layer, AdderLayer)
    for exponent in (-5, -3):
        found, output = layer.sums(Tensor(x, exponent), engine)
        assert found == exponent == layer.weight.exponent
        np.testing.assert_array_equal(layer.weight.w, engine.quantise_weights_at(layer.weight.master, exponent))
        assert output(2, 0).z.shape == (3, 3, 2, 3)


def test_models_by_name_and_layers_that_cannot_add():
    kinds = [conv.kind for conv in plan(model("resnet8-adder", 10), (8, 8, 1)).convs()]
    assert kinds == ["linear"] + ["adder"] * 6
    assert model("resnet20-shift", 10).name == "resnet20-shift"
    with pytest.raises(ValueError, match="an adder layer has one group and batch norm"):
        Conv(4, groups=2, kind="adder")
    with pytest.raises(ValueError, match="an adder layer has one group and batch norm"):
        with_kind(model("lenet5", 10), "adder", first_layer=False)
    with pytest.raises(ValueError, match="unknown model 'resnet8-subtracter'"):
        model("resnet8-subtracter", 10)
