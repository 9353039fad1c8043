"""The neuron selection paper: its parameter counts come out of the networks described here."""

from __future__ import annotations

import pytest

from joulebit.experiments.config import load_config
from joulebit.experiments.papers import paper_rows
from joulebit.experiments.presets import names


@pytest.fixture(scope="module")
def rows():
    return paper_rows("neuron-selection")


def test_printed_and_counted_parameters(rows):
    counted = {
        row["row"]: (row["printed"], row["computed"]) for row in rows if row["quantity"].startswith("weights")
    }
    assert list(counted.values()) == [
        (2_189_760, 2_189_760), (11_166_912, 11_166_912), (23_454_912, 23_454_912),
        (192_311, 192_312), (464_639, 464_640), (675_540, 675_840),
        (980_715, 980_715), (2_369_480, 2_369_480), (3_444_987, 3_444_987),
        (2_059_888, 2_059_888), (4_976_842, 4_976_842), (7_235_830, 7_235_830),
    ]  # fmt: skip
    shares = [(row["printed"], round(row["computed"], 1)) for row in rows if row["quantity"] == "of the network"]
    assert shares == [(8.8, 8.8), (21.2, 21.2), (30.8, 30.9)]


def test_larger_schemes_save_less(rows):
    for quantity, rising in (("operations saved", False), ("training memory", True), ("backward pass", True)):
        found = [row["computed"] for row in rows if row["quantity"].startswith(quantity)]
        schemes = found[1:]
        assert len(schemes) == 3
        assert schemes == sorted(schemes, reverse=not rising)
        assert found[0] == (max(found) if rising else 0)


def test_every_printed_accuracy_has_its_preset_and_takes_its_run(rows):
    accuracies = [row for row in rows if row["quantity"] == "top-1"]
    assert len(accuracies) == 9 + 3 * 7
    presets = names()
    for row in accuracies:
        assert row["row"] in presets
        policy = load_config(row["row"]).method.neuron_selection
        assert policy.method != "off"
    run = {"name": "neurons-resnet18-cifar10-velocity-980715", "top1": 91.5}
    found = [row for row in paper_rows("neuron-selection", [run]) if row["kind"] == "run"]
    assert [(row["printed"], row["computed"]) for row in found] == [(95.51, 91.5)]


def test_smaller_runs_stand_beside_the_paper_s_gain_over_random():
    def run(method, parameters, top1, saved):
        selection = {"parameters": parameters, "all_parameters": 1000, "flops_saved": saved}
        common = {"name": "mnist-finetuning", "method": f"sgd+neurons-{method}", "top1": top1}
        return common | {"neuron_selection": selection}

    runs = [
        run("velocity_per_parameter", 88, 80.0, 0.4),
        run("velocity_per_parameter", 87, 82.0, 0.5),
        run("random", 80, 77.5, 0.1),
        run("random", 210, 90.0, 0.1),
        {"name": "another", "method": "sgd", "top1": 1.0},
    ]
    found = {
        (row["row"], row["quantity"]): (row["printed"], row["computed"], row["kind"])
        for row in paper_rows("neuron-selection", runs)
        if row["row"].startswith("at a smaller size")
    }
    assert len(found) == 5 + 2  # nothing is said of what was not run
    row = "at a smaller size, 8.8 % of the weights"
    assert found[row, "velocity per parameter, top-1"] == (95.35, 81.0, "run")
    printed, computed, kind = found[row, "velocity per parameter above random, points"]
    assert (printed, computed, kind) == (pytest.approx(0.89), 3.5, "run")
    assert found[row, "velocity per parameter, operations saved"] == (None, pytest.approx(45.0), "run")
    assert found["at a smaller size, 21.2 % of the weights", "random, top-1"] == (94.51, 90.0, "run")
