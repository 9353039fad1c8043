"""The cycle model against the counters: compute cycles exactly, totals within 1 % (short lists: 100 cycles)."""

from dataclasses import replace

import numpy as np
import pytest
from accelerator_bench import (
    RESNET20,
    Data,
    execute,
    geometry,
    network_layer,
    prepared,
    random_data,
)

from joulebit.accelerator.cycles import estimate
from joulebit.accelerator.packing import pad8
from joulebit.accelerator.rtl import BusTiming
from joulebit.accelerator.slots import layer_passes
from joulebit.accelerator.tiling import Layer
from joulebit.engine.numpy_engine import NumpyEngine
from joulebit.fixed.arithmetic import Arithmetic
from joulebit.spec.accelerator import RESULT_BYTES, Operation
from joulebit.spec.descriptor import seal

pytestmark = pytest.mark.rtl

OPERATIONS = (Operation.FORWARD, Operation.INPUT_GRADIENT, Operation.WEIGHT_GRADIENT)


def counted(device, plan, address):
    before = device.counters()
    assert device.run(address, len(plan.descriptors)).error == 0
    after = device.counters()
    return tuple(after[name] - before[name] for name in ("CYCLES_TOTAL", "CYCLES_COMPUTE"))


def operands(layer) -> Data:
    options = {"raw": False, "relu": False, "masked": False, "shift": 9, "beta_q12": 600}
    return random_data(layer, np.random.default_rng(1), **options)


def selective_passes(device, data):
    """Passes of the layer's windows, by the engine's prediction."""
    layer = data.layer
    guess = NumpyEngine(Arithmetic()).conv_weight_gradient_msb(data.x, data.dz, geometry(layer))
    limit = max(1, data.beta_q12 * int(np.abs(guess).max()) >> 12)
    decided = np.zeros((layer.kernel_h, layer.kernel_w, pad8(layer.c_in), pad8(layer.c_out)), bool)
    decided[:, :, : layer.c_in, : layer.c_out] = np.abs(guess) >= limit
    return layer_passes(decided, device.config.out_lanes)


def check(device, layer, operation, latency=20, predict=False):
    device.configure(BusTiming(latency, latency))
    _, plan, address, _, _ = prepared(device, operands(layer), operation, selective=predict)
    total, compute = counted(device, plan, address)
    guess = estimate(plan.descriptors, device.config, latency=latency)
    assert guess.compute == compute
    assert guess.total == pytest.approx(total, rel=0.01, abs=100 if device.config.name == "tiny" else 0)


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("latency", [5, 20])
def test_totals_in_tiny(devices, operation, latency):
    check(devices(), Layer(1, 12, 12, 16, 16, 3, 3, 1, 1, 1), operation, latency)


def test_a_block_is_not_listed_anew_before_its_signs_have_left(devices):
    """Signs of a tile stay until they have left: one that lists the same block waits for them."""
    device, layer = devices(), Layer(1, 4, 4, 8, 8, 4, 4, 1, 1, 1)
    device.configure(BusTiming(20, 20))
    data = operands(layer)
    execute(device, data, Operation.INPUT_GRADIENT, selective=True)
    job, plan, _, _, _ = prepared(device, data, Operation.WEIGHT_GRADIENT, selective=True)
    block = np.repeat(plan.descriptors[:1], 4)
    block["out_address"] = [job.place(plan.out_bytes) for _ in block]
    block["result_address"] = [job.place(RESULT_BYTES) for _ in block]
    seal(block)
    passes = selective_passes(device, data)
    address = job.place(block.view(np.uint8).reshape(-1))
    total, compute = counted(device, replace(plan, descriptors=block), address)
    guess = estimate(block, device.config, [passes] * len(block), latency=20)
    assert guess.compute == compute
    assert guess.total == pytest.approx(total, rel=0.05)  # tiles that do not wait take 12 % less


@pytest.mark.slow
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("name", RESNET20)
def test_layers_of_resnet20_at_batch_8(devices, name, operation):
    check(devices("default"), network_layer(RESNET20[name], 8), operation)


@pytest.mark.slow
@pytest.mark.parametrize("name", RESNET20)
def test_the_predictor_beside_the_input_gradient(devices, name):
    check(devices("default"), network_layer(RESNET20[name], 8), Operation.INPUT_GRADIENT, predict=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", RESNET20)
def test_selective_weight_gradients(devices, name):
    device, layer = devices("default"), network_layer(RESNET20[name], 8)
    data = operands(layer)
    execute(device, data, Operation.INPUT_GRADIENT, selective=True)
    _, plan, address, _, _ = prepared(device, data, Operation.WEIGHT_GRADIENT, selective=True)
    passes = selective_passes(device, data)
    total, compute = counted(device, plan, address)
    expected = estimate(plan.descriptors, device.config, [passes] * len(plan.descriptors))
    assert expected.compute == compute
    assert expected.total == pytest.approx(total, rel=0.01)
