"""Cyclic precision: the published schedule, real widths in the counters, the same bits everywhere."""

from decimal import ROUND_HALF_UP, Decimal
from math import cos, pi

import numpy as np
import pytest
from technique_bench import PARTNERS, alone, outcome, shared, small

from joulebit.energy.accounting import Accountant
from joulebit.energy.counters import Counters
from joulebit.engine.factory import make_engine
from joulebit.experiments.config import ConfigError
from joulebit.fixed.arithmetic import Arithmetic
from joulebit.nn.graph import plan
from joulebit.nn.models import model
from joulebit.techniques.cyclic_precision import CyclicPrecision
from joulebit.train.integer import IntegerNetwork
from joulebit.train.network import Batch

PRESET = "digits-resnet8-cpt"


def ref_width(low, high, step, total, cycles):
    """Equation (1) of the paper in floating point, away from ties."""
    share = (step * cycles % total) / total
    exact = low + (high - low) * (1 - cos(pi * share)) / 2
    assert abs(exact % 1 - 0.5) > 1e-9
    return int(Decimal(exact).quantize(Decimal(1), ROUND_HALF_UP))


@pytest.mark.parametrize(("low", "high", "cycles", "total"), [(3, 8, 8, 701), (4, 16, 3, 99), (2, 2, 1, 7)])
def test_widths_follow_the_papers_cosine(low, high, cycles, total):
    policy = CyclicPrecision(cycles, x_low=low)
    for step in range(total):
        assert policy.width(low, high, step, total) == ref_width(low, high, step, total, cycles)


def test_a_cycle_begins_at_the_lower_bound_and_ties_go_up():
    policy = CyclicPrecision(4, x_low=3, w_low=2)
    base = Arithmetic()
    for step in (0, 10, 20, 30):
        found = policy.arithmetic(base, step, 40)
        assert (found.x_bits, found.w_bits, found.g_bits) == (3, 2, 16)
        assert found.x_msb_bits == 3
    assert policy.width(3, 8, 5, 40) == 6  # 5.5


def test_bounds_that_make_no_sense_are_refused():
    for wrong in ({"cycles": 0, "x_low": 3}, {"cycles": 1}, {"x_low": 1}, {"g_low": 17}):
        with pytest.raises(ValueError):
            CyclicPrecision(**wrong)
    with pytest.raises(ConfigError, match=r"cyclic_precision\] x_low must not exceed x_bits = 8, got 9"):
        small(PRESET, "method.cyclic_precision.x_low=9")
    with pytest.raises(ConfigError, match="float32"):
        small(PRESET, engine="float32")
    with pytest.raises(ConfigError, match="at least one"):
        small(PRESET, "method.cyclic_precision.x_low=0", "method.cyclic_precision.w_low=0")


def test_all_engines_give_the_same_bits_and_a_resumed_run_too(tmp_path):
    overrides = ("method.cyclic_precision.cycles=2", "method.cyclic_precision.g_low=9")
    found = {
        engine: outcome(small(PRESET, *overrides, engine=engine), tmp_path / engine)
        for engine in ("numpy", "numba", "torch")
    }
    assert found["numpy"] == found["numba"] == found["torch"]
    assert outcome(small(PRESET, *overrides), tmp_path / "resumed", stop_after=3) == found["numpy"]


@pytest.mark.parametrize("partner", sorted(PARTNERS))
def test_it_combines_and_workers_agree(partner):
    config = small(PRESET, *PARTNERS[partner], "method.cyclic_precision.cycles=2")
    expected = alone(config)
    assert shared(config, 2) == [expected] * 2


def test_counters_have_the_widths_of_every_step():
    config = small(PRESET, "method.cyclic_precision.cycles=1", "training.iterations=5")
    counters = alone(config)[1]
    policy, resolved = CyclicPrecision(1, 3, 3), plan(model("resnet8", 10), (8, 8, 1))
    expected, before = Counters(), 8
    for step in range(5):
        arithmetic = policy.arithmetic(config.arithmetic, step, 5)
        accountant = Accountant(expected, arithmetic)
        for conv in resolved.convs():
            accountant.forward(conv, 12)
            accountant.weights(conv)
            if arithmetic.w_bits != before:
                accountant.weights(conv)
        before = arithmetic.w_bits
    forward = {key: value for key, value in counters.items() if key.startswith("macs.forward")}
    head = sum(forward.values()) - expected.total("macs.forward")
    assert head == 5 * 12 * resolved.head.macs
    for key, value in expected.items():
        if key.startswith("macs.forward"):
            assert forward[key] == value, key
    assert {key.rpartition(".")[2] for key in expected.as_dict() if "macs" in key} == {"3x3", "5x5", "6x6", "8x8"}
    update = 5 * (resolved.parameters * 2 * (32 + 48) // 8)
    assert counters["bytes.update.dram"] == update + expected["bytes.update.dram"]


def test_evaluation_has_the_full_widths_and_training_goes_on_with_its_own():
    resolved = plan(model("resnet8", 10), (8, 8, 1))
    images = np.random.default_rng(1).integers(0, 256, (9, 8, 8, 1), np.uint8)
    narrow = Arithmetic(x_bits=3, w_bits=4, x_msb_bits=3)
    found = []
    for arithmetic in (Arithmetic(), narrow):
        network = IntegerNetwork(resolved, make_engine("numpy", Arithmetic()), 5)
        network.use_arithmetic(arithmetic, requantised=False)
        network.prepare_evaluation(images)
        found.append(network.logits(images))
    np.testing.assert_array_equal(*found)
    network.train_step(Batch(images, np.arange(9), np.arange(9), 0), 0.1, 0.1)
    assert network.counters["macs.forward.3x4"] == 9 * (resolved.macs - resolved.head.macs)


def test_predicted_products_count_once_whatever_their_width(tmp_path):
    """Products done are those of a plain run: a predicted sign takes the place of a product."""
    from joulebit.experiments.results import load_result

    config = small(PRESET, *PARTNERS["psg"])
    outcome(config, tmp_path / "psg")
    outcome(small("digits-resnet8-fixed"), tmp_path / "plain")
    kinds = {key for key in load_result(tmp_path / "psg").counters.as_dict() if key.startswith("macs.weight")}
    assert {"macs.weight_gradient.3x10", "macs.weight_gradient.4x10"} <= kinds
    assert load_result(tmp_path / "psg").macs_done == load_result(tmp_path / "plain").macs_done
