import numpy as np
import pytest
from accelerator_bench import check_pass, random_data

from joulebit.accelerator.functional import Functional
from joulebit.accelerator.tiling import (
    Addresses,
    Layer,
    plan_forward,
    plan_input_gradient,
    plan_predict,
    plan_weight_gradient,
)
from joulebit.errors import JoulebitError
from joulebit.spec.accelerator import CONFIGS, Flag

TINY, DEFAULT = CONFIGS["tiny"], CONFIGS["default"]
NOWHERE = Addresses(0)


def device(config=TINY):
    return Functional(config, np.zeros(1 << 22, np.uint8), 0x100000)


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (Layer(1, 8, 8, 8, 8, 3, 3, 3), "stride 3"),
        (Layer(1, 16, 16, 8, 8, 9, 9), "kernel 9"),
        (Layer(1, 8, 8, 8, 8, 3, 3, 1, 8, 8), "padding 8"),
        (Layer(1, 2, 2, 8, 8, 3, 3), "at least 1"),
    ],
)
@pytest.mark.parametrize("plan", [plan_forward, plan_input_gradient, plan_weight_gradient, plan_predict])
def test_what_cannot_be_said_is_refused(plan, layer, words):
    with pytest.raises(JoulebitError, match=words):
        plan(layer, TINY, NOWHERE)


def test_a_predicted_tensor_that_does_not_fit_is_refused():
    with pytest.raises(JoulebitError, match="the predictor holds 256 words, this layer needs 1152"):
        plan_predict(Layer(1, 8, 8, 32, 16, 3, 3, 1, 1, 1), TINY, NOWHERE)


def test_a_layer_that_fits_is_one_tile():
    plan = plan_forward(Layer(1, 8, 8, 64, 64, 3, 3, 1, 1, 1), DEFAULT, NOWHERE)
    assert len(plan.descriptors) == 1
    assert int(plan.descriptors["out_blocks"][0]) == 4


def test_rows_are_cut_with_the_rows_around_them():
    plan = plan_forward(Layer(1, 32, 32, 16, 16, 3, 3, 1, 1, 1), TINY, NOWHERE)
    d = plan.descriptors
    assert len(d) > 1
    assert int((d["g_rows"].astype(int) * d["g_columns"]).sum()) == 32 * 32
    inner = d[d["pad_top"] == 0]
    assert (inner["x_rows"].astype(int) >= np.minimum(inner["g_rows"] + 1, 32)).all()


def test_channels_that_do_not_fit_are_summed_over_tiles():
    layer = Layer(2, 1, 1, 400, 20, 1, 1)
    plan = plan_forward(layer, TINY, NOWHERE)
    flags = plan.descriptors["flags"]
    assert len(plan.ranges) == 2
    assert [int(value) & 3 for value in flags[:2]] == [1 << Flag.FIRST, 1 << Flag.LAST]
    check_pass(device(), random_data(layer, np.random.default_rng(1)), "forward")


def test_the_input_gradient_of_many_channels_is_summed_over_tiles():
    layer = Layer(1, 2, 3, 8, 400, 3, 3, 1, 1, 1)
    plan = plan_input_gradient(layer, TINY, NOWHERE)
    assert len(plan.ranges) > 1
    check_pass(device(), random_data(layer, np.random.default_rng(2)), "input_gradient")


def test_weight_gradients_of_large_kernels_and_many_channels_are_cut():
    layer = Layer(1, 9, 9, 24, 12, 7, 5, 1, 3, 2)
    plan = plan_weight_gradient(layer, TINY, NOWHERE)
    assert {(piece.rows, piece.columns) for piece in plan.pieces} != {((0, 7), (0, 5))}
    assert len({piece.words for piece in plan.pieces}) == 3
    check_pass(device(), random_data(layer, np.random.default_rng(3)), "weight_gradient")


def test_a_kernel_that_covers_its_image_becomes_1x1():
    layer = Layer(4, 28, 28, 1, 10, 28, 28)
    with pytest.raises(JoulebitError, match="kernel 28"):
        plan_forward(layer, DEFAULT, NOWHERE)
    assert layer.flattened() == Layer(4, 1, 1, 28 * 28 * 8, 10, 1, 1)
    plan_forward(layer.flattened(), DEFAULT, NOWHERE)
    padded = Layer(4, 5, 5, 8, 8, 5, 5, 1, 1, 1)
    assert padded.flattened() is padded
