"""Counters of single passes against numbers worked by hand from the dataflow in `joulebit.energy.accounting`."""

from __future__ import annotations

import pytest

from joulebit.energy.accounting import Accountant, array_fetches
from joulebit.energy.counters import Counters
from joulebit.energy.widths import Widths
from joulebit.fixed.arithmetic import Arithmetic
from joulebit.nn.graph import Conv, Dense, GlobalPool, MaxPool, Model, Residual, plan
from joulebit.nn.models import resnet

FIXED = Arithmetic()

# 3x3, 16 -> 32 channels, stride 1, 8x8 positions: 4608 weights, 294,912 MACs, 1024 elements in, 2048 out.
SECOND = list(plan(Model("m", (Conv(16), Conv(32)), 10), (8, 8, 3)).convs())[1]
BLOCK = next(
    plan(
        Model("b", (Conv(16), Residual((Conv(16), Conv(32, stride=2, activation=None))), GlobalPool()), 10),
        (8, 8, 3),
    ).blocks()
)


def counted(method: str, *args: object, widths: Arithmetic | Widths | None = FIXED) -> dict[str, int]:
    counters = Counters()
    getattr(Accountant(counters, widths), method)(*args)
    return counters.as_dict()


def test_the_layer_is_what_the_hand_numbers_assume() -> None:
    assert (SECOND.macs, SECOND.weight_shape) == (64 * 32 * 9 * 16, (3, 3, 16, 32))
    assert SECOND.macs == 294_912


def test_forward_of_two_samples_by_hand() -> None:
    # DRAM: x 2*1024, w 4608, z written and read 2*(4096*2), a 4096 bytes.
    dram = 2048 + 4608 + 16384 + 4096
    # 128 positions. x: 16 channels, two tiles of 16 outputs, 3 kernel rows. w once per image.
    # sums: 32 channels, 4 tiles of 4 inputs, 3 rows, read and written; 8+8+bl(144) = 24 bits.
    sram = 128 * 16 * 2 * 3 + 2 * 4608 + 2 * 128 * 32 * 4 * 3 * 3
    assert counted("forward", SECOND, 2) == {
        "macs.forward.8x8": 589_824,
        "ops.forward.int16": 5 * 4096,
        "bytes.forward.dram": dram,
        "bytes.forward.sram": dram + sram,
    }
    assert (dram, dram + sram) == (27_136, 343_552)


def test_input_gradient_of_two_samples_by_hand() -> None:
    # dz 4096 and g 2048 elements of 2 bytes, w, the mask x.
    dram = 8192 + 4608 + 2048 + 4096
    # dz: 32 channels, one tile of 16, 3 rows, 2 bytes. sums: 16 channels, 8 tiles of 4;
    # 8+16+bl(288) = 33 -> 40 bits.
    sram = 128 * 32 * 1 * 3 * 2 + 2 * 4608 + 2 * 128 * 16 * 8 * 3 * 5
    assert counted("input_gradient", SECOND, 2) == {
        "macs.input_gradient.8x16": 589_824,
        "ops.input_gradient.int16": 2048,
        "bytes.input_gradient.dram": dram,
        "bytes.input_gradient.sram": dram + sram,
    }
    assert (dram, dram + sram) == (18_944, 544_256)


def test_narrow_input_gradient_reads_and_multiplies_fewer_bits() -> None:
    wide = counted("input_gradient", SECOND, 2)
    narrow = counted("input_gradient", SECOND, 2, widths=Arithmetic(input_gradient_bits=8))
    assert narrow["macs.input_gradient.8x8"] == wide["macs.input_gradient.8x16"]
    assert wide["bytes.input_gradient.dram"] - narrow["bytes.input_gradient.dram"] == 4096


def test_weight_gradient_of_two_samples_by_hand() -> None:
    # x and dz once, dw written and read with 48 bits.
    dram = 2048 + 8192 + 2 * 4608 * 6
    # x as in the forward pass; dz: 32 channels, 4 tiles of 4, 3 rows, 2 bytes; dw read and written per image.
    sram = 128 * 16 * 2 * 3 + 128 * 32 * 4 * 3 * 2 + 2 * 2 * 4608 * 6
    assert counted("weight_gradient", SECOND, 2) == {
        "macs.weight_gradient.8x16": 589_824,
        "bytes.weight_gradient.dram": dram,
        "bytes.weight_gradient.sram": dram + sram,
    }
    assert (dram, dram + sram) == (65_536, 286_720)


def test_predicted_weight_gradient_by_hand() -> None:
    # 3456 of 4608 elements decided; 1152 * 128 positions computed again at full width.
    dram = 2048 + 8192 + 2 * 4608 * 2 // 8
    first = (128 * 16 * 2 * 3 * 4 + 128 * 32 * 4 * 3 * 10) // 8
    second = (128 * 16 * 2 * 3 * 8 + 128 * 32 * 4 * 3 * 16) // 8 // 4
    sums = 2 * 2 * (4608 + 1152) * 6
    assert counted("weight_gradient", SECOND, 2, (3456, 4608)) == {
        "macs.weight_gradient.4x10": 589_824,
        "macs.weight_gradient.8x16": 147_456,
        "skipped.weight_gradient.psg": 442_368,
        "bytes.weight_gradient.dram": dram,
        "bytes.weight_gradient.sram": dram + first + second + sums,
    }
    assert (dram, dram + first + second + sums) == (12_544, 246_016)


def test_a_fully_decided_gradient_never_reads_the_other_bits() -> None:
    # x: 4 of 8 bits, dz: 10 of 16 bits, signs 2 bits.
    found = counted("weight_gradient", SECOND, 2, (4608, 4608))
    assert found["bytes.weight_gradient.dram"] == 1024 + 5120 + 2304
    assert "macs.weight_gradient.8x16" not in found


def test_an_undecided_gradient_costs_predictor_and_full_product() -> None:
    found = counted("weight_gradient", SECOND, 2, (0, 4608))
    assert found["macs.weight_gradient.4x10"] == found["macs.weight_gradient.8x16"] == 589_824
    assert "skipped.weight_gradient.psg" not in found


@pytest.mark.parametrize("predictor", [(0, 4607), (4609, 4608), (-1, 4608)])
def test_impossible_predictor_counts_are_refused(predictor: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"block|conv2 has 4608 weights"):
        counted("weight_gradient", SECOND, 2, predictor)


def test_float32_has_no_predictor() -> None:
    with pytest.raises(ValueError, match="without predictor widths"):
        counted("weight_gradient", SECOND, 2, (0, 4608), widths=None)


def test_float32_moves_four_bytes_per_number() -> None:
    found = counted("forward", SECOND, 2, widths=None)
    assert found["macs.forward.fp32"] == 589_824
    assert found["bytes.forward.dram"] == 4 * (2048 + 4608 + 3 * 4096)
    assert found["bytes.forward.sram"] - found["bytes.forward.dram"] == 4 * (12288 + 9216 + 98304)


def test_norm_backward_reads_g_and_z_twice_and_writes_dz() -> None:
    assert counted("norm_backward", SECOND, 2) == {
        "ops.input_gradient.int16": 7 * 4096,
        "bytes.input_gradient.dram": 4096 * 10,
        "bytes.input_gradient.sram": 4096 * 10,
    }


def test_a_bias_needs_no_second_sweep() -> None:
    conv = next(plan(Model("m", (Conv(16, norm=False),), 10), (8, 8, 3)).convs())
    assert counted("forward", conv, 1)["bytes.forward.dram"] == 192 + 432 + 1024
    assert counted("norm_backward", conv, 1)["bytes.input_gradient.dram"] == 2048


def test_the_end_of_a_block_reads_the_shortcut_and_its_gradient() -> None:
    first, last = BLOCK.body
    # 16 -> 32 channels, 8x8 -> 4x4: x 1024, w 4608, z 2*1024, a 512, shortcut 512.
    assert not first.ends_block and last.ends_block
    assert counted("forward", last, 1)["bytes.forward.dram"] == 1024 + 4608 + 2048 + 512 + 512
    gradient = counted("input_gradient", last, 1)
    assert gradient["bytes.input_gradient.dram"] == 1024 + 4608 + 1024 + 2048 + 1024
    assert gradient["ops.input_gradient.int16"] == 1024 + 512


def test_depthwise_convolutions_fill_one_channel_of_the_array() -> None:
    conv = list(plan(Model("m", (Conv(8), Conv(8, groups=0)), 10), (4, 4, 3)).convs())[1]
    fetches = array_fetches(conv)
    assert conv.macs == 16 * 8 * 9
    assert fetches.moving == 16 * 8 * 3  # every feature, 3 rows, 3 columns shifted
    assert fetches.sums == 2 * 16 * 8 * 3


def test_a_five_column_kernel_takes_two_column_steps() -> None:
    conv = next(plan(Model("m", (Conv(6, 5),), 10), (28, 28, 1)).convs())
    assert array_fetches(conv).moving == 784 * 1 * 1 * 5 * 2


def test_classifier_on_pooled_features() -> None:
    network = plan(Model("m", (Conv(16), GlobalPool()), 10), (8, 8, 3))
    found = counted("head", network.head, 2, False)
    # The sum of 64 8-bit numbers has 14 bits; 1024 elements in, 160 weights, 10 logits of 32 bits.
    assert found == {
        "macs.forward.14x8": 320,
        "ops.forward.int16": 2048,
        "bytes.forward.dram": 2048 + 160 + 80,
        "bytes.forward.sram": 2048 + 160 + 80 + 320 * 22 // 8,
    }
    back = counted("head", network.head, 2, True)
    assert back["macs.input_gradient.8x16"] == back["macs.weight_gradient.14x16"] == 320
    assert back["bytes.input_gradient.dram"] == 40 + 160 + 2048 * 3
    assert back["bytes.weight_gradient.dram"] == 2 * 16 * 14 // 8 + 40 + 2 * 160 * 6


def test_a_classifier_that_trains_alone_sends_nothing_back() -> None:
    head = plan(Model("m", (Conv(16), GlobalPool()), 10), (8, 8, 3)).head
    found = counted("head", head, 2, True, False)
    assert {key.split(".")[1] for key in found} == {"weight_gradient"}


def test_flat_classifier_has_the_width_of_activations() -> None:
    head = plan(Model("m", (MaxPool(2), Dense(20)), 10), (8, 8, 3)).head
    assert counted("head", head, 1, False)["macs.forward.8x8"] == 200


def test_max_pooling_by_hand() -> None:
    forward = counted("pool", (8, 8, 4), (4, 4, 4), 3, False)
    assert forward == {
        "ops.forward.int16": 768,
        "bytes.forward.dram": 768 + 192,
        "bytes.forward.sram": 768 + 192,
    }
    assert counted("pool", (8, 8, 4), (4, 4, 4), 3, True)["bytes.input_gradient.dram"] == 192 * 2 + 768 * 3


def test_a_closed_block_moves_its_input_and_gradient_alone() -> None:
    # 8x8x16 -> 4x4x32: 256 elements kept, 512 passed on; gradient: 256 read, 1024 mask and g.
    assert counted("shortcut", BLOCK, 2, False)["bytes.forward.dram"] == 2 * (256 + 512)
    assert counted("shortcut", BLOCK, 2, True)["bytes.input_gradient.dram"] == 2 * (256 * 2 + 1024 * 3)
    assert not [key for key in counted("shortcut", BLOCK, 2, True) if key.startswith("macs")]


def test_gates_multiply_sixteen_bits_in_phase_other() -> None:
    assert counted("gate", 970, 4, False) == {
        "macs.other.16x16": 3880,
        "bytes.other.dram": 1940,
        "bytes.other.sram": 1940 + 3880 * 4,
    }
    assert counted("gate", 970, 4, True)["macs.other.16x16"] == 2 * 3880


def test_update_reads_and_writes_masters_and_momentum() -> None:
    assert counted("update", 10) == {
        "updated": 10,
        "ops.update.int32": 40,
        "bytes.update.dram": 2 * 10 * (4 + 6),
        "bytes.update.sram": 2 * 10 * (4 + 6),
    }
    assert counted("update", 10, widths=None)["bytes.update.dram"] == 2 * 10 * 8


def test_weights_are_made_of_masters_in_fixed_point_only() -> None:
    assert counted("weights", SECOND)["bytes.update.dram"] == 4608 * 5
    assert counted("weights", SECOND, widths=None) == {}


def test_a_skipped_block_counts_every_pass() -> None:
    macs = 64 * 16 * 9 * 16 + 16 * 32 * 9 * 16
    assert counted("skip_block", BLOCK, 3, "slu") == {
        "skipped.forward.slu": 3 * macs,
        "skipped.input_gradient.slu": 3 * macs,
        "skipped.weight_gradient.slu": 3 * macs,
    }


def test_a_dropped_batch_of_resnet74_has_the_published_size() -> None:
    # 167,953,024 per image: He et al. without the batch norms; the first layer (442,368) has no input gradient.
    assert counted("skip_batch", plan(resnet(74), (32, 32, 3)), 2) == {
        "batches.dropped": 1,
        "skipped.forward.smd": 2 * 167_953_024,
        "skipped.input_gradient.smd": 2 * (167_953_024 - 442_368),
        "skipped.weight_gradient.smd": 2 * 167_953_024,
    }


def test_frozen_convolutions_keep_their_forward_pass() -> None:
    assert counted("skip_gradients", [SECOND], 2, "frozen") == {
        "skipped.input_gradient.frozen": 589_824,
        "skipped.weight_gradient.frozen": 589_824,
    }
    assert counted("skip_gradients", [SECOND], 2, "frozen", False) == {"skipped.weight_gradient.frozen": 589_824}


@pytest.mark.parametrize("method", ["forward", "input_gradient", "norm_backward", "weight_gradient"])
def test_no_sample_costs_nothing(method: str) -> None:
    assert counted(method, SECOND, 0) == {}


def test_negative_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot shrink"):
        counted("forward", SECOND, -1)


def test_odd_widths_are_rounded_up_once_per_call() -> None:
    narrow = Arithmetic(x_bits=3, w_bits=5, g_bits=7, x_msb_bits=2, g_msb_bits=3)
    found = counted("forward", SECOND, 1, widths=narrow)
    bits = 1024 * 3 + 4608 * 5 + 2048 * 3 + 2 * 2048 * 16
    assert found["bytes.forward.dram"] == -(-bits // 8)
    assert found["macs.forward.3x5"] == 294_912


def test_a_sum_is_never_wider_than_the_accumulator() -> None:
    assert Widths.of(Arithmetic()).sum(8, 8, 144) == 24
    assert Widths.of(Arithmetic(accumulator_bits=20)).sum(8, 8, 144) == 20
    assert Widths.of(None).sum(32, 32, 144) == 32
