"""Wrong descriptors: the right error bit, no hang, nothing written but the result block, and work goes on."""

import numpy as np
import pytest
from accelerator_bench import PASSES, check_pass, mirrored, prepared, random_data

from joulebit.accelerator.tiling import Layer
from joulebit.spec import accelerator as spec
from joulebit.spec.accelerator import ErrorBit, Operation, Register
from joulebit.spec.descriptor import DESCRIPTOR_DTYPE, RESULT_DTYPE, errors, seal

pytestmark = pytest.mark.rtl

LAYER = Layer(1, 6, 6, 8, 8, 3, 3, 1, 1, 1)

#: pass, field, wrong value, the bit that says so
WRONG = (
    ("forward", "magic", 0x4A43, ErrorBit.MAGIC),
    ("forward", "version", 2, ErrorBit.VERSION),
    ("forward", "operation", 4, ErrorBit.OPERATION),
    ("forward", "operation", 255, ErrorBit.OPERATION),
    ("forward", "flags", 0x8003, ErrorBit.FLAGS),
    ("forward", "flags", 0x0023, ErrorBit.FLAGS),
    ("forward", "flags", 0x0043, ErrorBit.FLAGS),
    ("forward", "flags", 0x0203, ErrorBit.FLAGS),
    ("weight_gradient", "flags", 0x0003, ErrorBit.FLAGS),
    ("weight_gradient", "flags", 0x008B, ErrorBit.FLAGS),
    ("forward", "rounding", 5, ErrorBit.ROUNDING),
    ("forward", "shift", 48, ErrorBit.SHIFT),
    ("forward", "images", 0, ErrorBit.IMAGES),
    ("forward", "images", 0xFFFF, ErrorBit.X_SIZE),
    ("forward", "x_rows", 0, ErrorBit.X_SIZE),
    ("forward", "x_rows", 0xFFFF, ErrorBit.X_SIZE),
    ("forward", "x_columns", 0, ErrorBit.X_SIZE),
    ("forward", "x_columns", 0xFFFF, ErrorBit.X_SIZE),
    ("forward", "x_words", 0, ErrorBit.X_SIZE),
    ("forward", "x_words", 0xFFFF, ErrorBit.X_SIZE),
    ("input_gradient", "g_rows", 0, ErrorBit.G_SIZE),
    ("input_gradient", "g_rows", 0xFFFF, ErrorBit.G_SIZE),
    ("input_gradient", "g_columns", 0xFFFF, ErrorBit.G_SIZE),
    ("input_gradient", "g_words", 0xFFFF, ErrorBit.G_SIZE),
    ("forward", "g_rows", 0xFFFF, ErrorBit.PSUM_SIZE),
    ("forward", "g_columns", 0xFFFF, ErrorBit.PSUM_SIZE),
    ("forward", "g_words", 0, ErrorBit.G_SIZE),
    ("input_gradient", "x_rows", 0xFFFF, ErrorBit.PSUM_SIZE),
    ("forward", "kernel_h", 0, ErrorBit.KERNEL),
    ("forward", "kernel_h", 8, ErrorBit.KERNEL),
    ("forward", "kernel_w", 0, ErrorBit.KERNEL),
    ("forward", "kernel_w", 8, ErrorBit.KERNEL),
    ("forward", "stride", 0, ErrorBit.STRIDE),
    ("forward", "stride", 3, ErrorBit.STRIDE),
    ("forward", "pad_top", 8, ErrorBit.PADDING),
    ("forward", "pad_left", 255, ErrorBit.PADDING),
    ("forward", "lane_mode", 2, ErrorBit.LANE_MODE),
    ("input_gradient", "stride", 2, ErrorBit.LANE_MODE),
    ("forward", "out_block", 0xFFFF, ErrorBit.BLOCKS),
    ("forward", "out_block", 1, ErrorBit.BLOCKS),
    ("forward", "out_blocks", 0, ErrorBit.BLOCKS),
    ("forward", "out_blocks", 0xFFFF, ErrorBit.BLOCKS),
    ("forward", "flags", 0x0001, ErrorBit.BLOCKS),
    ("forward", "threshold_q12", 4097, ErrorBit.THRESHOLD),
    ("forward", "x_address", 4, ErrorBit.ALIGNMENT),
    ("input_gradient", "g_address", 1, ErrorBit.ALIGNMENT),
    ("forward", "w_address", 2, ErrorBit.ALIGNMENT),
    ("forward", "mask_address", 3, ErrorBit.ALIGNMENT),
    ("forward", "out_address", 7, ErrorBit.ALIGNMENT),
    ("forward", "result_address", 4, ErrorBit.ALIGNMENT),
    *(("forward", name, 12, ErrorBit.STRIDES) for name in DESCRIPTOR_DTYPE.names if name.endswith("_stride")),
    ("forward", "out_pixel_stride", 8, ErrorBit.STRIDES),
    ("forward", "w_bytes", 0, ErrorBit.WEIGHT_BYTES),
    ("forward", "w_bytes", 0xFFFFFFF8, ErrorBit.WEIGHT_BYTES),
    ("weight_gradient", "w_bytes", 8, ErrorBit.WEIGHT_BYTES),
    *(("forward", f"reserved{index}", 1, ErrorBit.RESERVED) for index in range(4)),
)


def small(seed=1):
    return random_data(LAYER, np.random.default_rng(seed), raw=False, relu=False)


def broken(device, which, field, value):
    """(job, descriptor address, result address, descriptor) of a good list whose first descriptor is changed."""
    job, plan, address, results, _ = prepared(device, small(), Operation[which.upper()])
    descriptors = plan.descriptors[:1].copy()
    descriptors[field] = value
    seal(descriptors)
    job.device.memory[address - device.base :][: spec.DESCRIPTOR_BYTES] = descriptors.view(np.uint8)
    return job, address, results, descriptors[0]


@pytest.mark.parametrize(("which", "field", "value", "bit"), WRONG)
def test_a_wrong_field_raises_its_bit_and_touches_no_memory(devices, which, field, value, bit):
    device = devices()
    _, address, results, descriptor = broken(device, which, field, value)
    assert errors(descriptor, device.config) >> bit & 1
    before = device.memory.copy()
    status = device.run(address, 1, max_cycles=20_000)
    assert status.error == errors(descriptor, device.config)
    assert (status.error_index, status.done) == (0, 0)
    assert device.read(Register.STATUS) & 4
    begin = results - device.base
    block = device.memory[begin : begin + spec.RESULT_BYTES].copy()
    trusted = bit not in (ErrorBit.MAGIC, ErrorBit.VERSION) and field != "result_address"
    if trusted:
        assert int(block.view(RESULT_DTYPE)["status"][0]) == 2
        assert int(block.view(RESULT_DTYPE)["error"][0]) == status.error
        before[begin : begin + spec.RESULT_BYTES] = block
    np.testing.assert_array_equal(device.memory, before)


def test_a_wrong_check_sum_is_found(devices):
    device = devices()
    _, address, _, _ = broken(device, "forward", "shift", 3)
    device.memory[address - device.base + 127] ^= 0x10
    before = device.memory.copy()
    status = device.run(address, 1, max_cycles=20_000)
    assert status.error == 1 << ErrorBit.CHECK
    np.testing.assert_array_equal(device.memory, before)


def test_an_empty_list_is_an_error(devices):
    device = devices()
    device.start(device.base, 0)
    status = device.run_until_done(max_cycles=20_000)
    assert status.error == 1 << ErrorBit.DESC_COUNT


def test_descriptors_outside_the_memory_are_a_bus_error(devices):
    status = devices().run(0x10, 1, max_cycles=20_000)
    assert status.error >> ErrorBit.BUS_READ & 1
    assert status.done == 0


def test_operands_outside_the_memory_are_a_bus_error(devices):
    device = devices()
    _, address, _, _ = broken(device, "forward", "x_address", 0xF0000000)
    status = device.run(address, 1, max_cycles=50_000)
    assert status.error >> ErrorBit.BUS_READ & 1


def test_results_outside_the_memory_are_a_bus_error(devices):
    device = devices()
    _, address, _, _ = broken(device, "forward", "out_address", 0xF0000000)
    status = device.run(address, 1, max_cycles=50_000)
    assert status.error >> ErrorBit.BUS_WRITE & 1


def test_good_descriptors_before_a_wrong_one_complete(devices):
    device = devices()
    data = small(5)
    _, plan, address, _, _ = prepared(device, data, Operation.FORWARD)
    good = plan.descriptors[:1].copy()
    bad = good.copy()
    bad["shift"] = 60
    seal(bad)
    both = np.concatenate([good, bad]).view(np.uint8)
    target = device.memory[address - device.base + spec.DESCRIPTOR_BYTES * len(plan.descriptors) :][: len(both)]
    target[:] = both
    status = device.run(address + spec.DESCRIPTOR_BYTES * len(plan.descriptors), 2, max_cycles=50_000)
    assert (status.error, status.error_index, status.done) == (1 << ErrorBit.SHIFT, 1, 1)


@pytest.mark.parametrize("which", PASSES)
def test_work_goes_on_after_errors_without_a_reset(devices, which):
    device = devices()
    _, address, _, _ = broken(device, "forward", "kernel_h", 9)
    device.run(address, 1, max_cycles=20_000)
    check_pass(mirrored(device), small(9), which)
