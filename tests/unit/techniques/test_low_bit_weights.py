"""Binary and ternary weights in a training run: bits, masters, counters."""

import numpy as np
import pytest
from technique_bench import PARTNERS, alone, outcome, shared, small

from joulebit.energy.table import load_table
from joulebit.engine.factory import make_engine
from joulebit.experiments.config import ConfigError
from joulebit.fixed.arithmetic import Arithmetic
from joulebit.nn.graph import Conv, Dense, GlobalPool, Model, Residual, plan
from joulebit.nn.models import model
from joulebit.nn.parameters import ConvWeight
from joulebit.techniques.low_bit_weights import low_bit_weights

KINDS = ("binary", "ternary")


def preset(kind):
    return f"digits-resnet8-{kind}"


def test_all_layers_but_the_first_change_and_only_where_none_was_chosen():
    body = (Conv(8), Conv(8, activation=None, kind="adder"))
    described = Model("m", (Conv(8), Residual(body), Dense(5), GlobalPool()), 10)
    changed = low_bit_weights(described, "binary")
    kinds = [changed.layers[0].kind, *(c.kind for c in changed.layers[1].body), changed.layers[2].kind]
    assert kinds == ["linear", "binary", "adder", "binary"]
    assert low_bit_weights(described, "ternary", first_layer=True).layers[0].kind == "ternary"


@pytest.mark.parametrize("kind", KINDS)
def test_all_engines_give_the_same_bits_and_a_resumed_run_too(kind, tmp_path):
    found = {e: outcome(small(preset(kind), engine=e), tmp_path / e) for e in ("numpy", "numba", "torch")}
    assert found["numpy"] == found["numba"] == found["torch"]
    assert outcome(small(preset(kind)), tmp_path / "resumed", stop_after=3) == found["numpy"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("partner", sorted(PARTNERS))
def test_they_combine_and_workers_agree(kind, partner):
    config = small(preset(kind), *PARTNERS[partner])
    expected = alone(config)
    assert shared(config, 3) == [expected] * 3


def test_cyclic_precision_leaves_signs_alone():
    config = small(preset("binary"), "method.cyclic_precision.cycles=2")
    kinds = {key.rpartition(".")[2] for key in alone(config)[1] if key.startswith("macs.forward")}
    assert {"3x3", "3x1"} <= kinds  # the first layer's width cycles, that of signs does not
    assert not {kind for kind in kinds if kind.endswith("x2")}


@pytest.mark.parametrize(("kind", "bits"), [("binary", 1), ("ternary", 2)])
def test_counters_know_the_width_of_a_weight(kind, bits):
    counters = alone(small(preset(kind)))[1]
    resolved = plan(model("resnet8", 10), (8, 8, 1))
    first, *others = resolved.convs()
    samples = 6 * 12
    assert counters["macs.forward.8x8"] == samples * first.macs
    assert counters[f"macs.forward.8x{bits}"] == samples * sum(conv.macs for conv in others)
    head = samples * resolved.head.macs
    assert counters[f"macs.input_gradient.{bits}x16"] == samples * sum(conv.macs for conv in others)
    assert counters["macs.input_gradient.8x16"] == head
    assert counters["macs.weight_gradient.8x16"] == samples * (resolved.macs - resolved.head.macs)


def test_masters_are_clipped_after_an_update_and_pruned_signs_stay_0():
    from joulebit.engine.base import UpdateRule

    rule = UpdateRule(1 << 20, 0, 0)
    for engine in ("numpy", "numba", "torch"):
        computer = make_engine(engine, Arithmetic())
        master = np.array([1 << 27, -(1 << 27), 5, 1 << 26], np.int32).reshape(1, 1, 1, 4)
        weight = ConvWeight("w", master, computer, "binary")
        assert computer.to_numpy(weight.w).reshape(-1).tolist() == [1, -1, 1, 1]
        weight.set_direction(computer.from_numpy(np.array([-1, 1, 1, 0]).reshape(1, 1, 1, 4)))
        weight.update(1, rule, rule)
        assert computer.to_numpy(weight.master).reshape(-1).tolist() == [
            1 << 28,
            -(1 << 28),
            5 - (1 << 28),
            1 << 26,
        ]
        assert computer.to_numpy(weight.w).reshape(-1).tolist() == [1, -1, -1, 1]
        weight.prune(np.array([True, False, True, True]).reshape(1, 1, 1, 4))
        assert computer.to_numpy(weight.w).reshape(-1).tolist() == [1, 0, -1, 1]


def test_an_addition_is_all_that_a_sign_costs():
    table = load_table("45nm")
    assert table.mac_pj("8x1") == table.mac_pj("2x16") == pytest.approx(0.1)
    assert table.mac_pj("8x3") > table.mac_pj("8x2")


def test_bad_configurations_are_refused():
    with pytest.raises(ConfigError, match="kind must be one of off, binary, ternary, shift, got 'octal'"):
        small(preset("binary"), "method.low_bit_weights.kind=octal")
    with pytest.raises(ValueError, match="kind must be one of"):
        low_bit_weights(model("resnet8", 10), "adder")
