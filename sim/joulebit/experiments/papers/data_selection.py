"""The tables of the data selection paper beside what this tool computes.

The paper trains ResNet-20 for 160 epochs on a Jetson Nano and measures joules. Here the same runs are counted
without arithmetic: so many batches of selected samples, and for loss-based selection a forward pass over the
training set at each renewal. Kinds of rows:

    analytic             follows from a formula of the paper
    from printed         follows from other numbers that the paper prints
    drawn                selection drawn for 50,000 samples whose losses all differ
    simulated (expected shares, no arithmetic)     counters of the whole schedule times the 45 nm table, float32
    run, not-run         an accuracy (and simulated saving) of a real run, or that none was given

What it shows: the printed decreases of accuracy are relative to the full training's. The printed average ratio of
28.34 % is the mean over the schedule's 54 values, each counted once; over the epochs it is 28.62 % (t from 0) or
28.15 % (t from 1). Random selection gains 2 to 3 points less on the paper's board than its computation, which
falls with S; loss-based selection of 80 % gains 5 points more than that share and its forward passes leave: fewer
samples must have been selected there (equal losses lower the share).

Source: Boumendil, Bechkit, Benatchba, ICTAI 2023, Tables I to V and section IV-B.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from joulebit.energy.model import simulate_energy
from joulebit.energy.steps import forward_pass, training_step
from joulebit.energy.table import EnergyTable, load_table
from joulebit.experiments.papers.rows import Row, paper_row
from joulebit.nn.graph import plan
from joulebit.nn.models import model
from joulebit.techniques.data_selection import (
    ONE_Q32,
    DataSelection,
    expected_share,
    loss_subset,
)

EPOCHS, SAMPLES, BATCH = 160, 50_000, 128  # section III-B
STATISTICS = 1_024  # images from which a selection's forward pass takes batch norm's statistics, here
PASS_BATCH = 500  # images of a selection's forward pass at a time, here
FULL = {"cifar10": (91.35, 218_184.78), "cifar100": (67.44, 217_918.20)}  # accuracy in percent, joules
SIMULATED = "simulated (expected shares, no arithmetic)"


@dataclass(frozen=True)
class Case:
    """One printed line."""

    tables: str
    dataset: str
    selection: DataSelection
    accuracy: float  #: percent
    decrease: float | None = None  #: percent, relative to the full training
    energy_j: float | None = None
    gain: float | None = None  #: percent

    @property
    def label(self) -> str:
        selection = self.selection
        data = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100"}[self.dataset]
        if selection.schedule != "constant":
            text = f"from {100 * selection.ratio:g} % on"
        else:
            text = f"{100 * selection.ratio:g} %"
        every = f"R = {selection.renew_every}" if selection.renew_every else "once"
        return f"{data}, {'random' if selection.approach == 'random' else 'loss-based'} {text}, {every}"


def _case(
    tables: str, dataset: str, approach: str, percent: float, every: int, accuracy: float, *more: float
) -> Case:
    decrease, energy, gain = more or (None, None, None)
    selection = DataSelection(approach, percent / 100, every)
    return Case(tables, dataset, selection, accuracy, decrease, energy, gain)


DECREASING = DataSelection("loss", 0.8, 3, schedule="exponential", alpha=0.05)

CASES = (
    _case("I", "cifar10", "random", 20, 3, 87.22, 4.52, 48954.84, 77.56),
    _case("I", "cifar10", "random", 40, 3, 89.70, 1.81, 92018.34, 57.83),
    _case("I", "cifar10", "random", 60, 3, 90.39, 1.05, 136184.40, 37.58),
    _case("I", "cifar10", "random", 80, 3, 90.61, 0.81, 180286.38, 17.37),
    _case("I", "cifar10", "loss", 20, 3, 89.27, 2.28, 68613.12, 68.55),
    _case("I", "cifar10", "loss", 40, 3, 90.00, 1.48, 111174.90, 49.05),
    _case("I", "cifar10", "loss", 60, 3, 90.94, 0.45, 150146.76, 31.18),
    _case("I", "cifar10", "loss", 80, 3, 90.83, 0.57, 185740.14, 14.87),
    _case("II", "cifar100", "random", 20, 3, 59.92, 11.15, 47855.28, 78.04),
    _case("II", "cifar100", "random", 50, 3, 65.02, 3.59, 112013.64, 48.60),
    _case("II", "cifar100", "loss", 20, 3, 59.01, 12.5, 68312.46, 68.65),
    _case("II", "cifar100", "loss", 50, 3, 64.86, 3.83, 134360.34, 38.34),
    *(
        _case("III", dataset, approach, 20, every, accuracy)
        for dataset, approach, accuracies in (
            ("cifar10", "random", (87.77, 85.77, 82.12, 68.65)),
            ("cifar10", "loss", (89.09, 87.68, 85.6, 66.85)),
            ("cifar100", "random", (60.13, 57.62, 48.91, 27.39)),
            ("cifar100", "loss", (57.55, 55.73, 50.09, 24.61)),
        )
        for every, accuracy in zip((3, 5, 10, 0), accuracies)
    ),
    _case("IV", "cifar10", "random", 5, 3, 78.08),
    _case("IV", "cifar10", "loss", 5, 3, 10.0),
    _case("IV", "cifar100", "random", 10, 3, 52.73),
    _case("IV", "cifar100", "loss", 10, 3, 13.69),
    Case("V", "cifar10", DECREASING, 90.56, 0.86, 88248.06, 59.55),
    _case("V", "cifar10", "loss", 28.34, 3, 89.63, 1.88, 86900.16, 60.17),
)


def rows(runs: Sequence[Mapping[str, Any]] = ()) -> list[Row]:
    """Tables I to V, the schedule of section IV-B and the shares that beta gives.

    Args:
        runs: summaries of real runs. Those of this network, data set and selection are set beside the printed
            accuracies; saving_vs_float32 too, where they have it.
    """
    table = load_table("45nm")
    found = [*schedule_rows(), *beta_rows()]
    for case in CASES:
        found += _case_rows(case, table)
        found += _run_rows(case, runs)
    return found


def _row(table: str, label: str, quantity: str, printed: float | None, computed: float | None, kind: str) -> Row:
    return paper_row("Data selection", table, label, quantity, printed, computed, kind)


def schedule_rows() -> list[Row]:
    """Equation (1) with S_0 = 80 %, alpha = 0.05, R = 3 over 160 epochs."""
    ratios = np.array([DECREASING.ratio_q32(epoch, EPOCHS) for epoch in range(EPOCHS)]) / ONE_Q32
    label = "S_0 = 80 %, alpha = 0.05, R = 3"
    distinct = np.unique(ratios)
    later = [
        DECREASING.ratio_q32(min(epoch, EPOCHS - 1) // 3 * 3, EPOCHS) / ONE_Q32 for epoch in range(1, EPOCHS + 1)
    ]
    return [
        _row("eq. 1", label, "final ratio", 5.65, 100 * float(ratios[-1]), "analytic"),
        _row("eq. 1", label, "values of the ratio (number)", None, len(distinct), "analytic"),
        _row("eq. 1", label, "average ratio, every value once", 28.34, 100 * float(distinct.mean()), "analytic"),
        _row("eq. 1", label, "average ratio over epochs 0 to 159", 28.34, 100 * float(ratios.mean()), "analytic"),
        _row("eq. 1", label, "average ratio over epochs 1 to 160", 28.34, 100 * float(np.mean(later)), "analytic"),
    ]


def beta_rows() -> list[Row]:
    """The share that the percentile to the power beta selects: 1 / (beta + 1), and drawn."""
    order = np.arange(SAMPLES)
    losses = np.random.default_rng(0).permutation(SAMPLES)
    found = []
    for ratio in (0.05, 0.1, 0.2, 0.4, 0.5, 0.6, 0.8):
        beta = 1 / ratio - 1
        label = f"loss-based, beta = {beta:.3g}"
        drawn, _ = loss_subset(0, 0, losses, order, BATCH, round(ratio * ONE_Q32), np.zeros(0, np.int64))
        quantity = "expected share of samples"
        found.append(_row("III-A", label, quantity, 100 * ratio, 100 * expected_share(beta), "analytic"))
        found.append(_row("III-A", label, quantity, 100 * ratio, 100 * float(drawn.mean()), "drawn"))
    return found


def _case_rows(case: Case, table: EnergyTable) -> list[Row]:
    """Printed joules and accuracies against each other, and the simulated gain."""
    accuracy, energy = FULL[case.dataset]
    found = []
    if case.decrease is not None and case.energy_j is not None:
        relative = 100 * (1 - case.accuracy / accuracy)
        gain = 100 * (1 - case.energy_j / energy)
        found = [
            _row(case.tables, case.label, "accuracy decrease (relative)", case.decrease, relative, "from printed"),
            _row(case.tables, case.label, "energy gain", case.gain, gain, "from printed"),
        ]
    return [
        *found,
        _row(case.tables, case.label, "energy gain", case.gain, 100 * simulated_gain(case, table), SIMULATED),
    ]


def simulated_gain(case: Case, table: EnergyTable) -> float:
    """1 - simulated joules of the selection's run / those of the full training, float32, from shapes alone."""
    network = plan(model("resnet20", 100 if case.dataset == "cifar100" else 10), (32, 32, 3))
    selection = case.selection
    shares = [selection.ratio_q32(epoch, EPOCHS) / ONE_Q32 for epoch in range(EPOCHS)]
    step = simulate_energy(training_step(network, BATCH, None), table).total_j
    spent = sum(shares) * SAMPLES / BATCH * step
    if selection.approach == "loss":
        renewals = sum(selection.renews(epoch) for epoch in range(EPOCHS))
        one = simulate_energy(forward_pass(network, PASS_BATCH, None), table).total_j
        spent += renewals * (SAMPLES + STATISTICS) / PASS_BATCH * one
    return 1 - spent / (EPOCHS * SAMPLES / BATCH * step)


def _run_rows(case: Case, runs: Sequence[Mapping[str, Any]]) -> list[Row]:
    found = [run for run in runs if _matches(case, run)]
    if not found:
        return [_row(case.tables, case.label, "top-1 accuracy", case.accuracy, None, "not-run")]
    lines = []
    for run in found:
        label = f"{case.label}; run {run.get('run_dir') or run.get('name') or ''}"
        lines.append(_row(case.tables, label, "top-1 accuracy", case.accuracy, float(run["top1"]), "run"))
        share = 100 * float(run["data_selection"]["share"])
        mean = [case.selection.ratio_q32(epoch, EPOCHS) / ONE_Q32 for epoch in range(EPOCHS)]
        lines.append(_row(case.tables, label, "samples selected", 100 * float(np.mean(mean)), share, "run"))
    return lines


def _matches(case: Case, run: Mapping[str, Any]) -> bool:
    """Whether a run has this line's network, data and selection, whatever its length."""
    if (run.get("model"), run.get("dataset")) != ("resnet20", case.dataset):
        return False
    own, selection = run.get("data_selection"), case.selection
    return own is not None and all(
        own.get(key) == getattr(selection, key) for key in ("approach", "ratio", "renew_every", "schedule")
    )
