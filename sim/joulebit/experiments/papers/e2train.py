"""The tables of E2-Train beside what this tool computes.

The paper's computational savings obey

    saving = 1 - (share of batches computed) * (share of layer computation done) * 0.37

with 2/3 of the batches (SMD at the energy ratio 0.67), 1 - skip of the layers, and 0.37 = 1 - 0.63: the energy
that PSG leaves by the paper's own measurement (Table 2). Here both shares come out of counters, of real runs or
of the paper's whole schedule with its decisions drawn and nothing computed, and only 0.37 is taken from the
paper. Beside it stands what the counters and an energy table give for the same run. Each row says which it is
(`kind`):

    analytic                                         the relation with the stated shares
    counters                                         the relation with the counters of a real run
    counters (decisions only, no arithmetic)         the same, of the schedule alone
    simulated                                        counters of a real run times an energy table
    simulated (decisions only, no arithmetic)        the same, of the schedule alone
    paper-input                                      measured by the paper, used as it is
    run                                              an accuracy that a real run reached
    not-run                                          needs a real run that was not given

Source: Wang et al., "E2-Train", NeurIPS 2019, sections 4.2 to 4.6, Tables 2 to 4. Printed numbers are percentages.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from joulebit.energy.counters import Counters
from joulebit.energy.model import float32_energy, simulate_energy
from joulebit.energy.table import EnergyTable, load_table
from joulebit.experiments.papers.e2train_cases import (
    CASES,
    E2TRAIN_METHODS,
    METHODS,
    Case,
    counters_of,
    run_name,
    stated_skip,
)
from joulebit.experiments.papers.e2train_savings import PSG_ENERGY_SHARE, analytic_saving, savings_from_counters
from joulebit.experiments.papers.e2train_schedule import BASELINE_STEPS, BATCH_SIZE, count_decisions
from joulebit.experiments.papers.rows import Row, paper_row

DECISIONS = "(decisions only, no arithmetic)"


def e2train_rows(
    runs: Iterable[Mapping[str, Any]] | None = None, table: str | EnergyTable = "45nm", seed: int = 0
) -> list[Row]:
    """Tables 2 to 4 of the paper, each printed number beside what this tool computes.

    Args:
        runs: summaries of real runs, as `joulebit train --json` prints them: model, dataset, method, engine,
            counters and, for PSG with SMD, baseline_steps (batches of the standard run that this one replaces);
            optional run_dir, target_skip, beta, top1, top5 (percent) and saving_vs_float32. Runs of
            PSG with SMD, on any network, are set beside the printed savings at their skip ratio; accuracies only
            where network and data set are the printed ones.
        table: an energy table or its name.
        seed: of the drawn decisions.

    Returns:
        Rows with the keys paper, table, row, quantity, printed, computed, kind; percentages unless the quantity
        says otherwise, None where there is nothing.

    Raises:
        ValueError: a summary lacks its counters, or its baseline_steps.
    """
    energies = table if isinstance(table, EnergyTable) else load_table(table)
    given = list(runs or ())
    for run in given:
        counters_of(run)
    found: list[Row] = [
        _row("2", METHODS["psg"], "energy left by PSG (share)", PSG_ENERGY_SHARE, PSG_ENERGY_SHARE, "paper-input")
    ]
    for case in CASES:
        found.extend(_case_rows(case, energies, seed))
        found.extend(_accuracy_rows(case, given))
        for run in given:
            if _compares(case, run):
                found.extend(_run_rows(case, run))
    return found


def rows(runs: Sequence[Mapping[str, Any]] = ()) -> list[Row]:
    """`e2train_rows` with the default energy table: what `joulebit paper e2-train` shows."""
    return e2train_rows(runs)


def _row(table: str, row: str, quantity: str, printed: float | None, computed: float | None, kind: str) -> Row:
    return paper_row("E2-Train", table, row, quantity, printed, computed, kind)


def _case_rows(case: Case, table: EnergyTable, seed: int) -> list[Row]:
    """What shapes and drawn decisions give for one printed line."""
    rows = []
    if case.method == "sgd" or (case.computational is None and case.energy is None):
        return []
    counters = Counters(_case_counters(case.method, case.network, case.dataset, case.skip, seed))
    network = case.plan()
    if case.computational is not None:
        psg = case.method == "e2train"
        energy_share, stated_batches = (PSG_ENERGY_SHARE, 2 / 3) if psg else (1.0, 1.0)
        stated = analytic_saving(stated_batches, 1 - case.skip, energy_share)
        found = savings_from_counters(counters, BASELINE_STEPS, energy_share)
        kind = f"counters {DECISIONS}"
        quantity = "computational savings"
        rows = [
            _row(case.table, case.label, quantity, case.computational, 100 * stated, "analytic"),
            _row(case.table, case.label, quantity, case.computational, 100 * found["analytic_saving"], kind),
            _row(
                case.table,
                case.label,
                "batches computed",
                67.0 if psg else None,
                100 * found["batch_share"],
                kind,
            ),
            _row(
                case.table,
                case.label,
                "layer computation done",
                100 - 100 * case.skip,
                100 * found["layer_share"],
                kind,
            ),
        ]
    report = simulate_energy(counters, table)
    reference = float32_energy(network, BATCH_SIZE, BASELINE_STEPS, table)
    kind = f"simulated {DECISIONS}"
    arithmetic = 1 - report.by_component["mac"] / reference.by_component["mac"]
    return [
        *rows,
        _row(case.table, case.label, "energy savings", case.energy, 100 * report.saving_against(reference), kind),
        _row(case.table, case.label, "energy savings of the arithmetic alone", None, 100 * arithmetic, kind),
    ]


@lru_cache(maxsize=64)
def _case_counters(method: str, network: str, dataset: str, skip: float, seed: int) -> Mapping[str, int]:
    case = Case("", method, network, dataset, skip)
    return count_decisions(case.plan(), case.schedule(seed)).as_dict()


def _accuracy_rows(case: Case, runs: Sequence[Mapping[str, Any]]) -> list[Row]:
    rows = []
    for accuracy in case.accuracies:
        quantity = f"{accuracy.quantity[:3]}-{accuracy.quantity[3:]} accuracy"
        if accuracy.beta:
            quantity += f" (beta {accuracy.beta})"
        found = [
            run
            for run in runs
            if case.matches(run)
            and run.get(accuracy.quantity) is not None
            and (not accuracy.beta or run.get("beta", 0.05) == accuracy.beta)
        ]
        if not found:
            rows.append(_row(case.table, case.label, quantity, accuracy.printed, None, "not-run"))
        for run in found:
            label = f"{case.label}; run {run_name(run)}"
            value = float(run[accuracy.quantity])
            rows.append(_row(case.table, label, quantity, accuracy.printed, value, "run"))
    return rows


def _compares(case: Case, run: Mapping[str, Any]) -> bool:
    """Whether a run's shares stand beside this line: its own, or else the first one of its skip ratio."""
    if case.method != "e2train" or run.get("method") not in E2TRAIN_METHODS or stated_skip(run) != case.skip:
        return False
    if any(other.matches(run) for other in CASES):
        return case.matches(run)
    return case == next(c for c in CASES if c.method == "e2train" and c.skip == case.skip)


def _run_rows(case: Case, run: Mapping[str, Any]) -> list[Row]:
    """What a real run's counters give beside the printed line of its skip ratio."""
    if not run.get("baseline_steps"):
        raise ValueError(
            f"the summary of run {run_name(run)} lacks baseline_steps: the batches of the standard run it replaces"
        )
    found = savings_from_counters(counters_of(run), int(run["baseline_steps"]))
    label = f"{case.label}; run {run_name(run)}"
    rows = [
        _row(
            case.table,
            label,
            "computational savings",
            case.computational,
            100 * found["analytic_saving"],
            "counters",
        ),
        _row(case.table, label, "batches computed", 67.0, 100 * found["batch_share"], "counters"),
        _row(
            case.table,
            label,
            "layer computation done",
            100 - 100 * case.skip,
            100 * found["layer_share"],
            "counters",
        ),
    ]
    if run.get("saving_vs_float32") is not None:
        saving = 100 * float(run["saving_vs_float32"])
        rows.append(_row(case.table, label, "energy savings", case.energy, saving, "simulated"))
    return rows
