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
