"""The functional model computes what the engines compute, for any shape, in every configuration."""

import numpy as np
import pytest
from accelerator_bench import (
    LENET5,
    PASSES,
    RESNET20,
    check_golden,
    check_pass,
    golden_names,
    network_layer,
    random_data,
    random_layer,
)

from joulebit.accelerator.functional import Functional
from joulebit.errors import JoulebitError
from joulebit.spec.accelerator import CONFIGS

MEMORY = 1 << 22
TOO_LARGE_FOR_THE_PREDICTOR = {("tiny", "5x5")}


def device(name, base=0x100000):
    return Functional(CONFIGS[name], np.zeros(MEMORY, np.uint8), base)


def check(machine, data, which):
    """Runs a pass; a layer whose predicted sums do not fit must be refused as such."""
    try:
        check_pass(machine, data, which)
    except JoulebitError as error:
        assert which == "signs"
        assert "predictor" in str(error) or "too small" in str(error)


@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize("config", CONFIGS)
def test_random_shapes(config, which):
    for seed in range(50):
        rng = np.random.default_rng(seed)
        check(device(config), random_data(random_layer(rng, config), rng, extreme=seed % 10 == 0), which)


@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("images", [1, 2])
def test_layers_of_resnet20_and_lenet5(config, which, images):
    rng = np.random.default_rng(7)
    for row in (*RESNET20.values(), *LENET5.values()):
        check(device(config), random_data(network_layer(row, images), rng), which)


@pytest.mark.parametrize("name", golden_names())
@pytest.mark.parametrize("config", CONFIGS)
def test_golden_vectors(config, name):
    if (config, name) in TOO_LARGE_FOR_THE_PREDICTOR:
        with pytest.raises(JoulebitError, match="predictor"):
            check_golden(device(config), name)
    else:
        check_golden(device(config), name)
