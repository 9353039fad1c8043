"""The quick functional tier leaves what the functional model leaves: memory, results, counters, predictions."""

import accelerator_bench as bench
import numpy as np
import pytest

from joulebit.accelerator.functional import Functional
from joulebit.accelerator.tiling import Layer
from joulebit.errors import JoulebitError
from joulebit.spec.accelerator import CONFIGS, Flag, Operation
from joulebit.spec.descriptor import DESCRIPTOR_DTYPE, flag, seal
from joulebit_host.boards import placed as placed_module
from joulebit_host.boards.fast import FastFunctional

SIZE = 1 << 22
BASE = 0x1000


class Both:
    """A device that runs every list on the quick tier and on the model, and compares all they leave."""

    def __init__(self, config, compiled):
        self.config, self.base = CONFIGS[config], BASE
        self.memory = np.zeros(SIZE, np.uint8)
        self.fast = FastFunctional(self.config, self.memory, BASE, compiled)
        self.model = Functional(self.config, self.memory, BASE)

    def run(self, address, count):
        self.model.memory = self.memory.copy()
        wanted = self.model.run(address, count)
        status = self.fast.run(address, count)
        assert status == wanted
        different = np.flatnonzero(self.memory != self.model.memory)
        assert not len(different), f"{len(different)} bytes differ, the first at 0x{different[0] + BASE:X}"
        assert self.fast.counters == self.model.counters
        if self.model._predicted is not None:
            np.testing.assert_array_equal(self.fast._predicted, self.model._predicted)
            assert self.fast._predicted_max == self.model._predicted_max
        return status


def run_passes(both, data):
    for name in ("FORWARD", "INPUT_GRADIENT", "WEIGHT_GRADIENT"):
        bench.execute(both, data, Operation[name])
    predictor = Operation.INPUT_GRADIENT if data.predict_beside else Operation.PREDICT
    bench.execute(both, data, predictor, selective=True)
    bench.execute(both, data, Operation.WEIGHT_GRADIENT, selective=True)


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("config", ["tiny", "default"])
def test_random_layers(config, compiled):
    rng = np.random.default_rng(11)
    both = Both(config, compiled)
    for number in range(12):
        data = bench.random_data(bench.random_layer(rng, both.config), rng, extreme=number % 3 == 0)
        try:
            run_passes(both, data)
        except JoulebitError as error:
            assert "the predictor holds" in str(error)
    assert both.fast.whole > 30


@pytest.mark.parametrize("compiled", [True, False])
def test_layers_that_are_cut_into_many_tiles(compiled):
    """Rows and columns cut (32 x 32), blocks of signs in pieces (64 channels), stride 2."""
    rng = np.random.default_rng(12)
    both = Both("default", compiled)
    for row in ("stage 1", "to 2", "stage 3"):
        layer = bench.network_layer(bench.RESNET20[row], 2)
        run_passes(both, bench.random_data(layer, rng, raw=False, relu=False, rounding=0))
    assert both.fast.tiles == 0


def planned(both, data, operation=Operation.FORWARD):
    """(address, count) of a list in memory, and its descriptors to be changed in place."""
    _, plan, address, _, _ = bench.prepared(both, data, operation)
    start = address - BASE
    count = len(plan.descriptors)
    return address, count, both.memory[start : start + 128 * count].view(DESCRIPTOR_DTYPE)


@pytest.mark.parametrize(
    "change",
    [
        {"shift": 48},
        {"check": 1},
        {"out_address": BASE + SIZE - 64},
        {"x_row_stride": 8},
        {"g_columns": 3},
        {"rounding": 5},
        {"flags": flag(Flag.FIRST, Flag.LAST, Flag.IRQ)},
        {"pad_top": 0},
    ],
    ids=lambda change: next(iter(change)),
)
def test_lists_that_the_planner_does_not_make_go_tile_by_tile(change):
    rng = np.random.default_rng(13)
    both = Both("tiny", True)
    data = bench.random_data(Layer(2, 6, 6, 8, 8, 3, 3, 1, 1, 1), rng, raw=False, relu=False)
    address, count, descriptors = planned(both, data)
    for name, value in change.items():
        descriptors[name][0] = value
    if "check" not in change:
        descriptors[:] = seal(descriptors.copy())
    both.run(address, count)
    assert both.fast.tiles > 0


def test_overlapping_tensors_go_tile_by_tile():
    rng = np.random.default_rng(14)
    both = Both("tiny", True)
    data = bench.random_data(Layer(2, 6, 6, 8, 8, 3, 3, 1, 1, 1), rng, raw=False, relu=True)
    address, count, descriptors = planned(both, data)
    descriptors["out_address"] = (
        descriptors["out_address"] - descriptors["out_address"][0] + descriptors["x_address"][0]
    )
    descriptors[:] = seal(descriptors.copy())
    both.run(address, count)
    assert both.fast.whole == 0


@pytest.mark.parametrize("beyond", [0, 1])
def test_sums_that_an_engine_would_clamp_go_tile_by_tile(monkeypatch, beyond):
    layer = Layer(2, 6, 6, 8, 8, 3, 3, 1, 1, 1)
    monkeypatch.setattr(placed_module, "_SUM_LIMIT", 2 * 6 * 6 * 255 * 32768 - beyond)
    both = Both("tiny", True)
    data = bench.random_data(layer, np.random.default_rng(16), raw=False, relu=False, rounding=0)
    bench.execute(both, data, Operation.WEIGHT_GRADIENT)
    assert (both.fast.whole, both.fast.tiles > 0) == (1 - beyond, bool(beyond))


def test_weights_that_no_packing_gives_go_tile_by_tile():
    rng = np.random.default_rng(15)
    both = Both("tiny", True)
    data = bench.random_data(Layer(2, 6, 6, 8, 8, 3, 3, 1, 1, 1), rng, raw=False, relu=False)
    address, count, descriptors = planned(both, data)
    both.memory[int(descriptors["w_address"][0]) - BASE] ^= 4  # an initial sum
    both.run(address, count)
    assert both.fast.whole == 0


def test_a_bus_fault_is_reported_at_its_tile():
    rng = np.random.default_rng(16)
    both = Both("tiny", True)
    data = bench.random_data(Layer(4, 8, 8, 8, 8, 3, 3, 1, 1, 1), rng, raw=False, relu=False)
    address, count, descriptors = planned(both, data)
    assert count > 1
    bad = int(descriptors["x_address"][-1])
    for device in (both.fast, both.model):
        device.faults.append((bad + 64, bad + 72))
    status = both.run(address, count)
    assert status.error
    assert status.error_index >= 1
