"""Networks of shift and adder layers in training runs: bits, counters, energies, combinations."""

import pytest
from technique_bench import PARTNERS, alone, outcome, shared, small

from joulebit.energy.table import EnergyTableError, load_table, parse_table
from joulebit.experiments.config import ConfigError
from joulebit.nn.graph import plan
from joulebit.nn.models import model

KINDS = ("shift", "adder")
SAMPLES = 6 * 12


def preset(kind):
    return f"digits-resnet8-{kind}"


@pytest.mark.parametrize("kind", KINDS)
def test_all_engines_give_the_same_bits_and_a_resumed_run_too(kind, tmp_path):
    found = {e: outcome(small(preset(kind), engine=e), tmp_path / e) for e in ("numpy", "numba", "torch")}
    assert found["numpy"] == found["numba"] == found["torch"]
    assert outcome(small(preset(kind)), tmp_path / "resumed", stop_after=3) == found["numpy"]


@pytest.mark.parametrize("partner", sorted(PARTNERS))
@pytest.mark.parametrize("kind", KINDS)
def test_they_combine_and_workers_agree(kind, partner):
    config = small(preset(kind), *PARTNERS[partner])
    expected = alone(config)
    assert shared(config, 3) == [expected] * 3


@pytest.mark.parametrize("kind", KINDS)
def test_they_combine_with_widths_that_change(kind, tmp_path):
    overrides = ("method.cyclic_precision.cycles=2", "method.stochastic_depth.final_survival=0.5")
    found = [outcome(small(preset(kind), *overrides, engine=e), tmp_path / e) for e in ("numpy", "numba")]
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("kind", "forward", "backward"), [("shift", "shift8x4", "shift16x4"), ("adder", "add8x8", "diff8x8x16")]
)
def test_every_product_that_is_none_is_counted_as_what_it_is(kind, forward, backward):
    counters = alone(small(preset(kind)))[1]
    resolved = plan(model(f"resnet8-{kind}", 10), (8, 8, 1))
    first, *others = resolved.convs()
    macs = SAMPLES * sum(conv.macs for conv in others)
    assert counters[f"macs.forward.{forward}"] == counters[f"macs.input_gradient.{backward}"] == macs
    assert counters["macs.forward.8x8"] == SAMPLES * first.macs
    assert counters["macs.weight_gradient.8x16"] == macs + SAMPLES * first.macs
    plain = alone(small("digits-resnet8-fixed"))[1]
    total = sum(value for key, value in counters.items() if key.startswith("macs."))
    assert total == sum(value for key, value in plain.items() if key.startswith("macs."))


def test_16_bit_weights_have_fifteen_powers_in_five_bits():
    counters = alone(small(preset("shift"), "arithmetic.w_bits=16", "arithmetic.x_bits=16"))[1]
    assert "macs.forward.shift16x5" in counters


def test_energies_of_additions_and_shifts():
    table = load_table("45nm")
    add, multiply = table.add, table.multiply
    assert add and multiply and table.shift
    assert table.mac_pj("add8x8") == add(9) + add(32)
    assert table.mac_pj("shift8x4") == pytest.approx(0.024 + 0.1)
    assert table.mac_pj("shift32x5") == pytest.approx(0.13 + 0.1)
    assert table.mac_pj("diff8x8x16") == add(9) + multiply(9 * 16) + add(32)
    assert table.mac_pj("shift8x4") < table.mac_pj("add8x8") < table.mac_pj("8x8") < table.mac_pj("diff8x8x16")
    for wrong in ("add8", "diff8x8", "shift8x4x2", "mul8x8", "add8x8x8"):
        with pytest.raises(EnergyTableError, match="no energy for a multiply-accumulate of kind"):
            table.mac_pj(wrong)


def test_a_table_without_additions_or_shifts_charges_products():
    text = """
name = "t"
title = "t"
source = "s"
[mac]
default_pj = 7.0
[mac.pj]
[op.pj]
int16 = 1.0
int32 = 1.0
fp32 = 1.0
[memory]
sram_pj_per_byte = 1.0
dram_pj_per_byte = 1.0
[static]
power_w = 0.0
[throughput]
clock_hz = 1.0
macs_per_cycle = 1.0
[throughput.by_kind]
"""
    table = parse_table(text, "t")
    assert [table.mac_pj(kind) for kind in ("8x8", "8x1", "shift8x4", "add8x8", "diff8x8x16")] == [7, 7, 7, 14, 14]
    known = text.replace("default_pj = 7.0", "default_pj = 7.0\nadd = [[8, 1], [16, 2]]\naccumulate_bits = 32")
    table = parse_table(known, "t")
    assert table.mac_pj("8x1") == pytest.approx(4)
    assert table.mac_pj("add8x8") == pytest.approx(4 + 9 / 8)
    assert table.mac_pj("8x8") == 7
    board = load_table("xc7z020")
    assert board.mac_pj("8x1") < board.mac_pj("8x8") < board.mac_pj("8x16")


def test_bad_configurations_are_refused():
    for kind in KINDS:
        with pytest.raises(ConfigError, match=f"has {kind} layers"):
            small(preset(kind), "method.variational.enabled=true")
    with pytest.raises(ConfigError, match="one group and batch norm"):
        small("digits-lenet-fixed", "model.name=lenet5-adder")
