"""The RTL computes what the engine computes: random shapes and the layers of ResNet-20 and LeNet-5."""

import numpy as np
import pytest
from accelerator_bench import (
    LENET5,
    PASSES,
    RESNET20,
    check_golden,
    check_pass,
    golden_names,
    mirrored,
    network_layer,
    random_data,
    random_layer,
)

from joulebit.accelerator.rtl import BusTiming
from joulebit.accelerator.tiling import Layer
from joulebit.errors import JoulebitError
from joulebit.spec.accelerator import CONFIGS

pytestmark = pytest.mark.rtl

STALLS = (
    BusTiming(),
    BusTiming(latency_min=1, latency_max=1),
    BusTiming(latency_min=1, latency_max=80, idle=300),
    BusTiming(latency_min=5, latency_max=30, back_pressure=500),
    BusTiming(latency_min=1, latency_max=200, idle=500, back_pressure=300, outstanding=2),
)


def check(device, data, which):
    """Runs a pass on the RTL, compares it with the engine and its counters with the functional model's."""
    try:
        check_pass(mirrored(device), data, which)
    except JoulebitError as error:
        if which != "signs" or "does not fit" not in str(error):
            raise


def random_case(config, seed):
    rng = np.random.default_rng(seed)
    return random_data(random_layer(rng, config), rng, extreme=seed % 10 == 0)


def run_random(devices, config, which, seeds):
    device = devices(config)
    for seed in seeds:
        device.configure(STALLS[seed % len(STALLS)], seed)
        check(device, random_case(config, seed), which)


@pytest.mark.parametrize("which", PASSES)
def test_a_small_layer(devices, which):
    layer = Layer(2, 6, 6, 8, 8, 3, 3, 1, 1, 1)
    check(devices(), random_data(layer, np.random.default_rng(3), masked=True), which)


@pytest.mark.parametrize("which", PASSES)
def test_a_small_layer_with_stride_2(devices, which):
    layer = Layer(1, 7, 6, 5, 12, 3, 3, 2, 1, 1)
    check(devices(), random_data(layer, np.random.default_rng(4)), which)


@pytest.mark.parametrize(
    ("layer", "which"),
    [
        (Layer(2, 1, 1, 400, 20, 1, 1), "forward"),
        (Layer(1, 2, 3, 300, 6, 3, 3, 1, 1, 1), "forward"),
        (Layer(1, 2, 3, 8, 300, 3, 3, 1, 1, 1), "input_gradient"),
        (Layer(1, 9, 9, 24, 12, 7, 5, 1, 3, 2), "weight_gradient"),
    ],
)
def test_ranges_of_channels_and_taps_over_several_tiles(devices, layer, which):
    device = devices()
    for timing in STALLS:
        device.configure(timing, 1)
        check(device, random_data(layer, np.random.default_rng(5)), which)


@pytest.mark.parametrize("name", [name for name in golden_names() if name != "5x5"])
def test_golden_vectors(devices, name):
    check_golden(mirrored(devices()), name)


@pytest.mark.parametrize("which", PASSES)
def test_random_shapes(devices, which):
    run_random(devices, "tiny", which, range(6))


@pytest.mark.slow
@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize("config", CONFIGS)
def test_200_random_shapes(devices, config, which):
    run_random(devices, config, which, range(200))


@pytest.mark.slow
@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize("images", [1, 2])
@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("name", [*RESNET20, *LENET5])
def test_layers_of_resnet20_and_lenet5(devices, name, config, images, which):
    row = (RESNET20 | LENET5)[name]
    check(devices(config), random_data(network_layer(row, images), np.random.default_rng(images)), which)
