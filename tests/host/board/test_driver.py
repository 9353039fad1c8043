"""The driver on boards whose memory is not coherent: results, counters, reuse, register accesses."""

import accelerator_bench as bench
import numpy as np
import pytest
from faulty_board import ShadowBoard

from joulebit.accelerator.tiling import Layer
from joulebit.errors import JoulebitError
from joulebit.spec.accelerator import CONFIGS, Operation
from joulebit_host.boards.base import BoardMemoryError
from joulebit_host.driver import Accelerator, default_bitstream
from joulebit_host.driver.plans import PassKey, template_of


def opened(config="tiny", **options):
    board = ShadowBoard(config, **options)
    return board, Accelerator(board, default_bitstream(config))


def fits(layer, config):
    try:
        for key in (
            PassKey(layer, Operation.FORWARD),
            PassKey(layer, Operation.INPUT_GRADIENT, predict=True),
            PassKey(layer, Operation.WEIGHT_GRADIENT),
            PassKey(layer, Operation.WEIGHT_GRADIENT, selective=True),
        ):
            template_of(key, config)
    except JoulebitError:
        return False
    return True


def layers(rng, config, count):
    found = []
    while len(found) < count:
        layer = bench.random_layer(rng, config)
        if fits(layer, config):
            found.append(layer)
    return found


def run_all(accelerator, data):
    """All passes of a layer in one list, compared with the engine; the results."""
    layer = data.layer
    x, dz = accelerator.upload(data.x), accelerator.upload(data.dz)
    mask = x if data.masked and data.x_unsigned else None
    below = data.mask_below if mask else 0
    job = accelerator.job()
    forward = job.forward(x, data.w, layer, data.shift, data.rounding)
    backward = job.input_gradient(
        dz, data.w, layer, data.shift, data.rounding, mask=mask, mask_below=below, predict=x
    )
    signs = job.weight_signs(x, dz, layer, data.beta_q12)
    weights = job.weight_gradient(x, dz, layer)
    job.run()
    for result, operation in ((forward, Operation.FORWARD), (backward, Operation.INPUT_GRADIENT)):
        tensor, peak, saturated = bench.expected(data, operation)
        np.testing.assert_array_equal(result.tensor(), tensor)
        assert (result.peak, result.saturated) == (peak, saturated)
    exact, peak, _ = bench.expected(data, Operation.WEIGHT_GRADIENT)
    np.testing.assert_array_equal(weights.gradient(), exact)
    assert weights.peak == peak
    engine, geometry = bench.engine(data), bench.geometry(layer)
    guess = engine.conv_weight_gradient_msb(data.x, data.dz, geometry)
    right, counts = engine.predict_signs(exact, guess, data.beta_q12)
    directions, decided = signs.signs()
    np.testing.assert_array_equal(directions, right)
    np.testing.assert_array_equal(decided, np.abs(guess) >= counts["threshold"])
    assert signs.total("decided") == counts["decided"]
    return forward, backward, signs, weights


@pytest.mark.parametrize("config", ["tiny", "default"])
@pytest.mark.parametrize("moves_ranges", [True, False])
def test_all_passes_in_one_list_on_memory_that_is_not_coherent(config, moves_ranges):
    rng = np.random.default_rng(3)
    board, accelerator = opened(config, moves_ranges=moves_ranges)
    for number, layer in enumerate(layers(rng, CONFIGS[config], 6)):
        data = bench.random_data(layer, rng, extreme=number % 3 == 0, raw=False, relu=False)
        before = accelerator.counters()
        results = run_all(accelerator, data)
        after = accelerator.counters()
        for register, field in (
            ("PORT0_READ_BYTES", "port0_read"),
            ("PORT0_WRITE_BYTES", "port0_write"),
            ("PORT1_READ_BYTES", "port1_read"),
            ("PORT1_WRITE_BYTES", "port1_write"),
            ("MACS_4X10", "macs_4x10"),
        ):
            planned = sum(int(getattr(result.template.costs, field).sum()) for result in results)
            assert after[register] - before[register] == planned, register
        del results
    accelerator.close()
    assert board.heap.used == 0


@pytest.mark.rtl
def test_all_passes_in_one_list_on_the_rtl():
    rng = np.random.default_rng(4)
    board, accelerator = opened(tier="rtl")
    for layer in layers(rng, CONFIGS["tiny"], 3):
        run_all(accelerator, bench.random_data(layer, rng, raw=False, relu=False))
    assert accelerator.counters()["CYCLES_TOTAL"] > 0
    accelerator.close()
    board.close()


def test_register_accesses_do_not_depend_on_the_number_of_layers():
    board, accelerator = opened()
    rng = np.random.default_rng(5)
    data = [bench.random_data(layer, rng) for layer in layers(rng, CONFIGS["tiny"], 4)]
    counts = []
    for several in (data[:1], data):
        job = accelerator.job()
        for one in several:
            job.forward(accelerator.upload(one.x), one.w, one.layer, 4)
        before = board.accesses
        job.run()
        counts.append(board.accesses - before)
    assert counts[0] == counts[1] <= 6


def test_board_memory_is_reused():
    _, accelerator = opened()
    rng = np.random.default_rng(6)
    data = bench.random_data(Layer(2, 6, 6, 8, 8, 3, 3, 1, 1, 1), rng)
    held = []
    for _ in range(3):
        run_all(accelerator, data)
        held.append((accelerator.memory.held, accelerator.memory.used))
    assert held[0] == held[1] == held[2]


def test_a_result_keeps_its_memory_as_long_as_it_is_looked_at():
    _, accelerator = opened()
    rng = np.random.default_rng(7)
    data = bench.random_data(Layer(2, 6, 6, 8, 8, 3, 3, 1, 1, 1), rng, raw=False, relu=False)
    kept = run_all(accelerator, data)[0].tensor()
    copy = kept.copy()
    run_all(accelerator, bench.random_data(data.layer, rng, raw=False, relu=False))
    np.testing.assert_array_equal(kept, copy)


def test_templates_are_what_the_planner_plans():
    rng = np.random.default_rng(8)
    for config in CONFIGS.values():
        for layer in layers(rng, config, 5):
            for key in (
                PassKey(layer, Operation.FORWARD, True, 1, relu=True),
                PassKey(layer, Operation.INPUT_GRADIENT, True, masked=True, mask_below=9, predict=True),
                PassKey(layer, Operation.PREDICT),
                PassKey(layer, Operation.WEIGHT_GRADIENT, True, selective=True),
                PassKey(layer, Operation.WEIGHT_GRADIENT),
            ):
                template = template_of(key, config)
                where = bench.Addresses(
                    0x1000, 0x20000, 0x40000, 0x60000 if template.weights else 0, 0x80000 * template.mask,
                    0xA0000 * template.out,
                )  # fmt: skip
                shift = 7 if template.weights else 0
                threshold = 200 * (key.operation == Operation.WEIGHT_GRADIENT)
                planned = key.plan(config, where, shift, threshold)
                assert template.at(where, shift, threshold).tobytes() == planned.descriptors.tobytes()


def test_memory_exhausted_is_an_error_with_sizes():
    _, accelerator = opened(memory_bytes=1 << 16)
    with pytest.raises(BoardMemoryError, match=r"no room for 80,000 bytes .*65,536"):
        accelerator.upload(np.zeros((1, 100, 100, 8), np.int8))
