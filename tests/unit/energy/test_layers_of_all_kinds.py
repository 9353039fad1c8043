"""What layers other than plain convolutions cost, by hand from the dataflow in `joulebit.energy.accounting`."""

from __future__ import annotations

from fractions import Fraction
from math import ceil

import pytest

from joulebit.energy.accounting import Accountant, Fetches, array_fetches
from joulebit.energy.counters import Counters
from joulebit.fixed.arithmetic import Arithmetic
from joulebit.nn.graph import Conv, ConvPlan, GlobalPool, Model, NetworkPlan, Residual, plan

FIXED = Arithmetic()


def network(*layers: Conv | Residual) -> NetworkPlan:
    return plan(Model("m", (*layers, GlobalPool()), 10), (8, 8, 3))


def second(layer: Conv, before: int = 16) -> ConvPlan:
    """The layer on 8x8 positions of `before` channels."""
    return list(network(Conv(before), layer).convs())[1]


def counted(method: str, *args: object, **named: object) -> dict[str, int]:
    counters = Counters()
    getattr(Accountant(counters, FIXED), method)(*args, **named)
    return counters.as_dict()


def test_the_input_gradient_exchanges_input_and_output_channels() -> None:
    conv = second(Conv(18))
    steps = 64 * 3  # positions, kernel rows
    assert array_fetches(conv) == Fetches(steps * 16 * 2, 2 * steps * 18 * 4)
    assert array_fetches(conv, transposed=True) == Fetches(steps * 18 * 1, 2 * steps * 16 * 5)


def test_input_gradient_of_a_depthwise_layer_sums_one_channel() -> None:
    conv = second(Conv(64, groups=0), before=64)
    steps = 64 * 64 * 3  # positions, groups, kernel rows; each of one input and one output channel
    dram = 4096 * 2 + 576 + 4096 * 3
    sram = steps * 2 + 576 + 2 * steps * 4  # 8+16+bl(9) = 28 -> 32 bits
    assert counted("input_gradient", conv, 1) == {
        "macs.input_gradient.8x16": 64 * 576,
        "ops.input_gradient.int16": 4096,
        "bytes.input_gradient.dram": dram,
        "bytes.input_gradient.sram": dram + sram,
    }


def test_forward_of_powers_of_two_moves_four_bits_per_weight() -> None:
    conv = second(Conv(16, kind="shift"))  # 2304 weights: a sign and 1 of 7 exponents, or 0
    dram = 1024 + 1152 + 2 * 1024 * 2 + 1024
    sram = 64 * 16 * 3 + 1152 + 2 * 64 * 16 * 4 * 3 * 3  # 8+4+bl(144) = 20 -> 24 bits
    assert counted("forward", conv, 1) == {
        "macs.forward.shift8x4": 64 * 2304,
        "ops.forward.int16": 5 * 1024,
        "bytes.forward.dram": dram,
        "bytes.forward.sram": dram + sram,
    }


def test_an_adder_layer_sums_differences_of_nine_bits() -> None:
    (conv,) = network(Conv(16, kind="adder")).convs()  # 3 -> 16 channels, 432 weights
    dram = 192 + 432 + 2 * 1024 * 2 + 1024
    sram = 64 * 3 * 3 + 432 + 2 * 64 * 16 * 3 * 2  # 8+1+bl(27) = 14 -> 16 bits
    assert counted("forward", conv, 1) == {
        "macs.forward.add8x8": 64 * 432,
        "ops.forward.int16": 5 * 1024,
        "bytes.forward.dram": dram,
        "bytes.forward.sram": dram + sram,
    }


def test_an_adder_layers_gradient_takes_sums_and_three_operations_per_weight() -> None:
    (conv,) = network(Conv(16, kind="adder")).convs()
    found = counted("weight_gradient", conv, 2)
    assert found["ops.weight_gradient.int32"] == 2 * 1024 + 3 * 432
    assert found["macs.weight_gradient.8x16"] == 2 * 64 * 432


def test_the_undecided_share_of_the_fetches_is_rounded_up_once() -> None:
    (conv,) = network(Conv(16)).convs()
    steps = 64 * 3
    for decided in range(433):
        undecided = 432 - decided
        bits = [steps * 3 * 1 * x + steps * 16 * 1 * g for x, g in ((4, 10), (8, 16))]
        dram = 192 * 8 + 1024 * 16 if undecided else 192 * 4 + 1024 * 10
        dram += 2 * 432 * 2
        array = bits[0] + Fraction(bits[1] * undecided, 432) + 2 * (432 + undecided) * 48
        found = counted("weight_gradient", conv, 1, (decided, 432))
        assert found["bytes.weight_gradient.dram"] == ceil(Fraction(dram, 8))
        assert found["bytes.weight_gradient.sram"] == ceil((dram + array) / 8)


def test_two_gradients_that_meet_are_read_and_their_sum_is_written() -> None:
    assert counted("join", 100) == {
        "ops.input_gradient.int16": 100,
        "bytes.input_gradient.dram": 600,
        "bytes.input_gradient.sram": 600,
    }


def test_the_first_layer_has_no_input_gradient_to_skip() -> None:
    whole = network(Residual((Conv(3), Conv(3, activation=None))), Conv(4))
    (block,), convs = list(whole.blocks()), list(whole.convs())
    each = 64 * 9 * 3 * 3
    assert counted("skip_block", block, 2, "slu") == {
        "skipped.forward.slu": 2 * 2 * each,
        "skipped.input_gradient.slu": 2 * each,
        "skipped.weight_gradient.slu": 2 * 2 * each,
    }
    frozen = {"skipped.weight_gradient.frozen": 2 * each, "skipped.input_gradient.frozen": each}
    assert counted("skip_gradients", convs[:2], 1, "frozen") == frozen
    del frozen["skipped.input_gradient.frozen"]
    assert counted("skip_gradients", convs[:2], 1, "frozen", input_gradient=False) == frozen


@pytest.mark.parametrize("second_moment", [False, True])
def test_adam_keeps_one_more_number_per_parameter(second_moment: bool) -> None:
    kept = 32 + 48 * (1 + second_moment)
    assert counted("update", 10, second_moment) == {
        "updated": 10,
        "ops.update.int32": 10 * (9 if second_moment else 4),
        "bytes.update.dram": 2 * 10 * kept // 8,
        "bytes.update.sram": 2 * 10 * kept // 8,
    }
