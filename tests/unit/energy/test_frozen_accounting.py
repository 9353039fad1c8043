"""Gradients of chosen output channels alone, counted by hand from the dataflow of `joulebit.energy.accounting`."""

from __future__ import annotations

import pytest
from test_accounting import SECOND, counted

from joulebit.nn.graph import Conv, Model, plan

# 3x3, 16 channels, depthwise, 8x8 positions; and 3x3, 16 -> 32 channels in 2 groups.
DEPTHWISE = list(plan(Model("d", (Conv(16), Conv(16, groups=0)), 10), (8, 8, 3)).convs())[1]
GROUPED = list(plan(Model("g", (Conv(16), Conv(32, groups=2)), 10), (8, 8, 3)).convs())[1]


def test_all_channels_cost_what_the_layer_costs() -> None:
    for conv, groups, each in ((SECOND, 1, 32), (DEPTHWISE, 16, 1), (GROUPED, 2, 16)):
        assert counted("weight_gradient", conv, 2, None, [each] * groups) == counted("weight_gradient", conv, 2)


def test_five_channels_of_a_convolution_by_hand() -> None:
    # 5 of 32: 720 weights. x whole, dz of 5 channels with 2 bytes, dw written and read with 6 bytes.
    dram = 2048 + 128 * 5 * 2 + 2 * 720 * 6
    # x for one tile of 16 outputs, 3 rows; dz: 5 channels, 4 tiles of inputs, 3 rows, 2 bytes; dw per image.
    sram = 128 * 16 * 1 * 3 + 128 * 5 * 4 * 3 * 2 + 2 * 2 * 720 * 6
    assert counted("weight_gradient", SECOND, 2, None, [5]) == {
        "macs.weight_gradient.8x16": 128 * 720,
        "bytes.weight_gradient.dram": dram,
        "bytes.weight_gradient.sram": dram + sram,
    }


def test_a_depthwise_neuron_reads_its_own_input_alone() -> None:
    outputs = [0] * 16
    outputs[3] = outputs[9] = 1
    # Two channels: 18 weights, x 2 x 128, dz 2 x 128 x 2 bytes.
    dram = 256 + 512 + 2 * 18 * 6
    sram = 128 * 2 * 3 + 128 * 2 * 3 * 2 + 2 * 2 * 18 * 6
    assert counted("weight_gradient", DEPTHWISE, 2, None, outputs) == {
        "macs.weight_gradient.8x16": 128 * 18,
        "bytes.weight_gradient.dram": dram,
        "bytes.weight_gradient.sram": dram + sram,
    }


def test_a_group_without_trained_channels_is_not_read() -> None:
    # 3 of the second group's 16: 8 inputs each, 216 weights.
    dram = 128 * 8 + 128 * 3 * 2 + 2 * 216 * 6
    assert counted("weight_gradient", GROUPED, 2, None, [0, 3])["bytes.weight_gradient.dram"] == dram


def test_predicted_gradients_of_chosen_channels() -> None:
    found = counted("weight_gradient", SECOND, 2, (500, 720), [5])
    assert found["macs.weight_gradient.4x10"] == 128 * 720
    assert found["macs.weight_gradient.8x16"] == 128 * 220
    assert found["skipped.weight_gradient.psg"] == 128 * 500


def test_shifts_alone_need_one_sum_of_the_gradient() -> None:
    assert counted("norm_backward", SECOND, 2, True) == {
        "ops.input_gradient.int16": 4096,
        "bytes.input_gradient.dram": 8192,
        "bytes.input_gradient.sram": 8192,
    }


@pytest.mark.parametrize("outputs", [[33], [-1], [1, 1], []])
def test_impossible_channels_are_refused(outputs: list[int]) -> None:
    with pytest.raises(ValueError, match="1 numbers in"):
        counted("weight_gradient", SECOND, 2, None, outputs)
