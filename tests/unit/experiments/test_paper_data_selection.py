"""The data selection paper's tables: printed numbers against each other, shares, simulated gains, real runs."""

from __future__ import annotations

import pytest

from joulebit.energy.counters import Counters
from joulebit.energy.steps import forward_pass, training_step
from joulebit.energy.table import load_table
from joulebit.experiments import presets
from joulebit.experiments.config import load_config
from joulebit.experiments.papers import paper_rows
from joulebit.experiments.papers.data_selection import CASES, Case, rows, simulated_gain
from joulebit.fixed.arithmetic import Arithmetic
from joulebit.nn.graph import plan
from joulebit.nn.models import model


@pytest.fixture(scope="module")
def found():
    return paper_rows("data-selection")


def test_printed_numbers_agree_with_each_other(found):
    checked = [row for row in found if row["kind"] == "from printed"]
    assert len(checked) == 2 * 14
    for row in checked:
        assert row["computed"] == pytest.approx(row["printed"], abs=0.006), row


def test_the_schedule_and_its_three_averages(found):
    values = {row["quantity"]: row["computed"] for row in found if row["table"] == "eq. 1"}
    assert round(values["final ratio"], 2) == 5.65
    assert round(values["average ratio, every value once"], 2) == 28.34
    assert round(values["average ratio over epochs 0 to 159"], 2) == 28.62
    assert round(values["average ratio over epochs 1 to 160"], 2) == 28.15


def test_drawn_shares_are_near_what_beta_promises(found):
    drawn = [row for row in found if row["kind"] == "drawn"]
    assert len(drawn) == 7
    for row in drawn:
        assert row["computed"] == pytest.approx(row["printed"], abs=0.7)


def test_every_printed_line_has_a_preset():
    chosen = {}
    for name in presets.names():
        if name.startswith("paper-resnet20-") and (config := load_config(name)).method.data_selection.on:
            chosen[config.data.name, config.method.data_selection] = name
            assert (config.model.name, config.training.epochs) == ("resnet20", 160)
            assert config.training.drops == (0.5, 0.75)
    assert {(case.dataset, case.selection) for case in CASES} == set(chosen)


def test_a_random_selection_s_gain_is_what_it_leaves_out():
    table = load_table("45nm")
    for case in CASES:
        gain = simulated_gain(case, table)
        if case.selection.approach == "random":
            assert gain == pytest.approx(1 - case.selection.ratio, abs=1e-9)
        else:
            assert gain < 1 - case.selection.ratio or case.selection.schedule != "constant"


def test_a_forward_pass_counts_what_a_step_s_forward_counts():
    network = plan(model("resnet8", 10), (32, 32, 3))
    whole, alone = training_step(network, 16, Arithmetic()), forward_pass(network, 16, Arithmetic())
    expected = Counters()
    for key, value in whole.items():
        family, _, rest = key.partition(".")
        if rest.startswith("forward."):
            expected.add(f"{family}.selection.{rest.removeprefix('forward.')}", value)
    assert alone.as_dict() == expected.as_dict()


def test_a_run_stands_beside_its_line():
    run = {
        "model": "resnet20", "dataset": "cifar10", "top1": 86.5, "run_dir": "runs/a",
        "data_selection": {
            "approach": "random", "ratio": 0.2, "renew_every": 3, "schedule": "constant", "share": 0.2,
        },
    }  # fmt: skip
    beside = [row for row in rows([run]) if row["kind"] == "run" and row["quantity"] == "top-1 accuracy"]
    assert [(row["table"], row["printed"], row["computed"]) for row in beside] == [
        ("I", 87.22, 86.5),
        ("III", 87.77, 86.5),
    ]
    assert isinstance(CASES[0], Case)
