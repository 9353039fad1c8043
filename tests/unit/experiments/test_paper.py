"""The tables of E2-Train: the relation by hand, shares out of counters, and what each row claims to be."""

from __future__ import annotations

import io
import json
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from joulebit.energy.counters import Counters
from joulebit.energy.steps import training_step
from joulebit.energy.table import load_table
from joulebit.engine.numpy_engine import NumpyEngine
from joulebit.experiments.papers.e2train import DECISIONS, e2train_rows
from joulebit.experiments.papers.e2train_cases import CASES, stated_skip
from joulebit.experiments.papers.e2train_savings import analytic_saving, savings_from_counters
from joulebit.experiments.papers.e2train_schedule import BASELINE_STEPS, Schedule, count_decisions
from joulebit.experiments.papers.rows import render
from joulebit.fixed.arithmetic import Arithmetic
from joulebit.nn.graph import Conv, GlobalPool, Model, NetworkPlan, Residual, plan
from joulebit.nn.models import resnet
from joulebit.techniques.gate import GateNetwork
from joulebit.techniques.smd import StochasticMinibatchDropping
from joulebit.techniques.stochastic_depth import StochasticDepth
from joulebit.train.integer import IntegerNetwork, TrainingMethod, Update
from joulebit.train.network import Batch

TINY = Model(
    "tiny",
    (
        Conv(8),
        Residual((Conv(8), Conv(8, activation=None))),
        Residual((Conv(8), Conv(8, activation=None))),
        Residual((Conv(16, stride=2), Conv(16, activation=None))),
        GlobalPool(),
    ),
    4,
)


def tiny() -> NetworkPlan:
    return plan(TINY, (8, 8, 3))


# -- the relation -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("skip", "printed"), [(0.0, 75.34), (0.2, 80.27), (0.4, 85.20), (0.6, 90.13)])
def test_the_relation_gives_the_printed_savings(skip: float, printed: float) -> None:
    # 1 - 2/3 * 0.8 * 0.37 = 0.80267; the printed 75.34 is 75.33 rounded up.
    assert 100 * analytic_saving(2 / 3, 1 - skip) == pytest.approx(printed, abs=0.01)


def test_shares_out_of_counters_by_hand() -> None:
    counters = {
        "batches.seen": 40,
        "batches.dropped": 60,
        "macs.forward.8x8": 700,
        "macs.forward.14x8": 20,
        "macs.other.16x16": 10**6,
        "skipped.forward.slu": 200,
        "skipped.forward.sd": 80,
        "skipped.forward.smd": 10**9,
        "skipped.weight_gradient.slu": 10**9,
    }
    own = savings_from_counters(counters)
    assert own == {"batch_share": 0.4, "layer_share": 0.72, "analytic_saving": 1 - 0.4 * 0.72 * 0.37}
    assert savings_from_counters(Counters(counters), 80)["batch_share"] == 0.5
    assert savings_from_counters(counters, 80, 1.0)["analytic_saving"] == 1 - 0.5 * 0.72


@pytest.mark.parametrize("counters", [{}, {"batches.seen": 3}, {"macs.forward.8x8": 3}])
def test_empty_counters_are_refused(counters: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="shares need counters of a run"):
        savings_from_counters(counters)


# -- a schedule without arithmetic --------------------------------------------------------------------------------


def test_a_plain_schedule_is_so_many_steps() -> None:
    found = count_decisions(tiny(), Schedule(baseline_steps=7, batch_size=3))
    assert found.as_dict() == training_step(tiny(), 3, Arithmetic()).times(7).as_dict()


def test_dropped_batches_are_those_of_a_real_run() -> None:
    smd = StochasticMinibatchDropping()
    found = count_decisions(tiny(), Schedule(baseline_steps=60, batch_size=3, smd=smd, seed=5))
    kept = sum(smd.keeps(5, step) for step in range(80))
    assert (found["batches.seen"], found["batches.dropped"]) == (kept, 80 - kept)
    assert found["skipped.forward.smd"] == (80 - kept) * 3 * tiny().macs


def test_blocks_left_out_at_random_are_those_of_a_real_run() -> None:
    network = tiny()
    schedule = Schedule(baseline_steps=50, batch_size=3, policy="sd", skip=0.4, arithmetic=None, seed=5)
    found = count_decisions(network, schedule)
    blocks = list(network.blocks())
    share = 0.4 * network.macs / sum(block.macs for block in blocks)
    depth = StochasticDepth.skipping(share, 3)
    opened = [depth.open_blocks(5, step, 3) for step in range(50)]
    skipped = sum(
        block.macs for flags in opened for block, is_open in zip(blocks, flags, strict=True) if not is_open
    )
    assert found["skipped.forward.sd"] == 3 * skipped


def test_gates_are_counted_for_every_computed_batch_and_the_first_block_always_runs() -> None:
    network = tiny()
    found = count_decisions(network, Schedule(baseline_steps=10, batch_size=3, policy="slu", skip=0.5))
    gates = GateNetwork({1: 8, 2: 8}, 0)
    assert found["macs.other.16x16"] == 10 * 3 * 3 * sum(gates.macs.values())
    first = next(network.blocks())
    assert found.total("macs.forward.") >= 10 * 3 * first.macs
    assert found.total("macs.forward.") + found["skipped.forward.slu"] == 10 * 3 * network.macs
    assert found["bytes.other.dram"] > 0


def test_the_skip_ratio_is_of_the_whole_network() -> None:
    found = count_decisions(tiny(), Schedule(baseline_steps=4000, batch_size=1, policy="slu", skip=0.3))
    assert savings_from_counters(found)["layer_share"] == pytest.approx(0.7, abs=0.01)


def test_what_cannot_be_skipped_is_refused() -> None:
    with pytest.raises(ValueError, match="the blocks that may be closed hold"):
        count_decisions(tiny(), Schedule(baseline_steps=2, policy="slu", skip=0.9))
    blockless = plan(Model("m", (Conv(4),), 2), (8, 8, 3))
    with pytest.raises(ValueError, match=r"hold 0\.000 of the computation"):
        count_decisions(blockless, Schedule(baseline_steps=2, policy="slu", skip=0.1))


@pytest.mark.parametrize(
    "faulty", [{"policy": "gates", "skip": 0.1}, {"policy": "slu"}, {"skip": 0.2}, {"policy": "sd", "skip": 1.0}]
)
def test_impossible_schedules_are_refused(faulty: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"policy must be|skip must be"):
        Schedule(**faulty)


def test_the_energy_ratio_stretches_64000_iterations_to_85333() -> None:
    assert Schedule(smd=StochasticMinibatchDropping()).steps == 85_333
    assert Schedule().steps == BASELINE_STEPS == 64_000


# -- the tables ---------------------------------------------------------------------------------------------------


def rows_of(rows: list[dict[str, Any]], table: str, quantity: str, kind: str) -> list[dict[str, Any]]:
    return [r for r in rows if (r["table"], r["quantity"], r["kind"]) == (table, quantity, kind)]


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    return e2train_rows()


def test_every_printed_computational_saving_comes_out_of_counters(rows: list[dict[str, Any]]) -> None:
    for table, count in (("3", 3), ("4", 10)):
        found = rows_of(rows, table, "computational savings", f"counters {DECISIONS}")
        assert len(found) == count
        for row in found:
            assert row["computed"] == pytest.approx(row["printed"], abs=0.1), row["row"]


def test_the_relation_stands_beside_it(rows: list[dict[str, Any]]) -> None:
    for row in rows_of(rows, "3", "computational savings", "analytic"):
        assert row["computed"] == pytest.approx(row["printed"], abs=0.01)


def test_only_the_037_is_taken_from_the_paper(rows: list[dict[str, Any]]) -> None:
    inputs = [row for row in rows if row["kind"] == "paper-input"]
    assert [(row["table"], row["computed"]) for row in inputs] == [("2", 0.37)]
    for row in rows:
        if row["kind"] == "not-run":
            assert row["computed"] is None
        else:
            assert row["computed"] is not None


def test_energy_savings_are_simulated_and_rise_with_the_skip_ratio(rows: list[dict[str, Any]]) -> None:
    found = rows_of(rows, "3", "energy savings", f"simulated {DECISIONS}")
    assert [row["printed"] for row in found] == [84.64, 88.72, 92.81]
    values = [row["computed"] for row in found]
    assert values == sorted(values)
    assert all(70 < value < 95 for value in values)


def test_the_table_and_the_seed_can_be_chosen() -> None:
    default, board, other = e2train_rows(), e2train_rows(table=load_table("xc7z020")), e2train_rows(seed=1)
    kind = f"simulated {DECISIONS}"
    assert rows_of(default, "2", "energy savings", kind) != rows_of(board, "2", "energy savings", kind)
    assert rows_of(default, "3", "energy savings", kind) != rows_of(other, "3", "energy savings", kind)
    assert e2train_rows() == default


def test_rows_are_json_and_have_one_form(rows: list[dict[str, Any]]) -> None:
    assert json.loads(json.dumps(rows)) == rows
    assert {tuple(row) for row in rows} == {("paper", "table", "row", "quantity", "printed", "computed", "kind")}
    assert {row["table"] for row in rows} == {"2", "3", "4"}


def test_every_printed_number_has_a_row(rows: list[dict[str, Any]]) -> None:
    printed = [row["printed"] for row in rows]
    for case in CASES:
        for number in (case.computational, case.energy, *(a.printed for a in case.accuracies)):
            assert number is None or number in printed


def summary(counters: Counters, **more: Any) -> dict[str, Any]:
    return {
        "model": "tiny",
        "dataset": "digits",
        "method": "psg+smd+slu",
        "engine": "numpy",
        "counters": counters.as_dict(),
        **more,
    }


def scheduled(skip: float) -> Counters:
    return count_decisions(
        plan(resnet(20, 4, 4), (8, 8, 3)),
        Schedule(
            baseline_steps=300,
            batch_size=2,
            smd=StochasticMinibatchDropping(),
            policy="slu" if skip else "",
            skip=skip,
            predicted=Fraction(3, 5),
        ),
    )


@pytest.mark.parametrize(("skip", "printed", "table"), [(0.0, 75.34, "4"), (0.2, 80.27, "3"), (0.6, 90.13, "3")])
def test_a_run_stands_beside_the_line_of_its_skip_ratio(skip: float, printed: float, table: str) -> None:
    run = summary(scheduled(skip), baseline_steps=300, saving_vs_float32=0.8, run_dir="/somewhere/mine")
    found = [row for row in e2train_rows([run]) if "run mine (tiny on digits)" in row["row"]]
    assert [(row["quantity"], row["kind"], row["table"]) for row in found] == [
        ("computational savings", "counters", table),
        ("batches computed", "counters", table),
        ("layer computation done", "counters", table),
        ("energy savings", "simulated", table),
    ]
    assert found[0]["printed"] == printed
    assert found[0]["computed"] == pytest.approx(printed, abs=3)
    assert found[3]["computed"] == 80.0


def test_a_run_on_the_paper_s_network_fills_its_own_line() -> None:
    run = summary(
        scheduled(0.4),
        baseline_steps=300,
        model="resnet110",
        dataset="cifar100",
        target_skip=0.4,
        top1=70.0,
        top5=90.0,
    )
    found = [row for row in e2train_rows([run]) if "; run" in row["row"]]
    assert {row["table"] for row in found} == {"4"}
    assert {row["row"] for row in found} == {
        "E2-Train, ResNet-110, CIFAR-100, skip 40 %; run resnet110 on cifar100"
    }
    accuracies = [(row["quantity"], row["printed"], row["computed"]) for row in found if row["kind"] == "run"]
    assert accuracies == [
        ("top-1 accuracy", 68.61, pytest.approx(70)),
        ("top-5 accuracy", 89.84, pytest.approx(90)),
    ]


def test_accuracies_go_to_the_right_method_and_threshold() -> None:
    counters = training_step(tiny(), 1, None)
    runs = [
        summary(counters, model="resnet74", dataset="cifar10", method="sgd", engine="float32", top1=90.0),
        summary(counters, model="resnet74", dataset="cifar10", method="sgd", engine="numba", top1=89.0),
        summary(counters, model="resnet74", dataset="cifar10", method="psg", top1=88.0),
        summary(
            scheduled(0.6),
            model="resnet74",
            dataset="cifar10",
            beta=0.1,
            top1=87.0,
            baseline_steps=300,
            target_skip=0.6,
        ),
    ]
    found = {
        (row["table"], row["row"].split(",")[0], row["quantity"]): row["computed"]
        for row in e2train_rows(runs)
        if row["kind"] == "run"
    }
    assert found == {
        ("2", "SGD", "top-1 accuracy"): pytest.approx(90),
        ("2", "8-bit fixed point", "top-1 accuracy"): pytest.approx(89),
        ("2", "PSG", "top-1 accuracy"): pytest.approx(88),
        ("3", "E2-Train", "top-1 accuracy (beta 0.1)"): pytest.approx(87),
    }


def test_a_run_between_the_stated_ratios_stands_nowhere() -> None:
    run = summary(scheduled(0.3), baseline_steps=300)
    assert stated_skip(run) is None
    assert not [row for row in e2train_rows([run]) if "; run" in row["row"]]


def test_incomplete_summaries_are_refused() -> None:
    with pytest.raises(ValueError, match="run tiny on digits has no counters"):
        e2train_rows([{"model": "tiny", "dataset": "digits"}])
    with pytest.raises(ValueError, match="lacks baseline_steps"):
        e2train_rows([summary(scheduled(0.2))])


def test_a_real_run_with_dropped_batches_and_blocks_gives_its_shares() -> None:
    network = tiny()
    method = TrainingMethod(update=Update.PSG, stochastic_depth=StochasticDepth(0.2))
    real = IntegerNetwork(network, NumpyEngine(Arithmetic()), 3, method)
    smd = StochasticMinibatchDropping()
    rng = np.random.default_rng(3)
    kept = 0
    for step in range(smd.total_iterations(9)):
        if not smd.keeps(3, step):
            real.skip_batch(4)
            continue
        kept += 1
        images = rng.integers(0, 256, (4, 8, 8, 3)).astype(np.uint8)
        real.train_step(Batch(images, rng.integers(0, 4, 4), np.arange(4), step), 0.1, 0.03)
    found = savings_from_counters(real.counters, 9)
    entered = real.counters.total("macs.forward.") / (kept * 4 * network.macs)
    assert found["batch_share"] == kept / 9
    assert found["layer_share"] == pytest.approx(entered)
    assert found["layer_share"] < 1


def test_the_table_can_be_printed(rows: list[dict[str, Any]]) -> None:
    console = Console(width=200, file=io.StringIO(), record=True)
    console.print(render(rows))
    text = console.export_text()
    assert "80.27" in text
    assert "not-run" in text
    assert "E2-Train, ResNet-74, CIFAR-10, skip 20 %" in text
