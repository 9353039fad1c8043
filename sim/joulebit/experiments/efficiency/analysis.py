"""From trials to the framework's tables: models, architectures by criterion, overall, ratios, overtraining.

Folds of one model are one result: the mean of their accuracies over the mean of their energies, as in the paper.
So are seeds; how far their results lie apart is told as a standard deviation.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, pairwise
from statistics import fmean, stdev
from typing import Any

from joulebit.experiments.efficiency.formulas import EfficiencyError, efficiency, over_epochs, over_sizes, overall
from joulebit.experiments.efficiency.overtraining import Overtraining
from joulebit.experiments.efficiency.trials import CRITERIA, EPOCHS, LONGER, Trial

Row = dict[str, Any]


def analyse(trials: Sequence[Trial]) -> dict[str, Any]:
    """Everything that the framework says about these trials, ready for JSON.

    Returns:
        joules: "simulated" or "measured".
        models: by task, architecture, size and criterion: epochs, accuracy, energy_j, efficiency (equation 1),
            whether the criterion was met, and accuracy_deviation and efficiency_deviation (sample standard
            deviations over seeds; None with one seed).
        curves: of the runs by epochs: epoch and efficiency so far (equation 2), folds averaged.
        architectures: by task, architecture and criterion: efficiency (equation 3), the lowest and highest of a
            size.
        overall: by task and architecture: efficiency (equation 4) and the criteria that went in.
        ratios: text -> ratio of two overall efficiencies.
        ratio_deviations: with several seeds, text -> sample standard deviation of the ratios that each seed alone
            gives.
        overtraining: by model, where there is a longer run: the accuracies, columns A and B, verdict.
        notes: what does not compare like with like.

    Raises:
        EfficiencyError: no trials, or simulated and measured joules together.
    """
    if not trials:
        raise EfficiencyError("there are no runs to analyse")
    if len({one.measured for one in trials}) > 1:
        raise EfficiencyError("simulated and measured joules cannot be compared: give one kind alone")
    models = _models(trials)
    architectures = _architectures(models)
    totals = _overall(architectures)
    return {
        "joules": "measured" if trials[0].measured else "simulated",
        "models": models,
        "curves": _curves(trials),
        "architectures": architectures,
        "overall": totals,
        "ratios": _ratios(totals),
        "ratio_deviations": _ratio_deviations(trials),
        "overtraining": _overtraining(trials),
        "notes": _notes(models),
    }


def _groups(trials: Sequence[Trial]) -> dict[tuple[str, str, str, str], list[Trial]]:
    found: dict[tuple[str, str, str, str], list[Trial]] = {}
    for one in trials:
        found.setdefault((*one.model, one.criterion), []).append(one)
    return found


def _models(trials: Sequence[Trial]) -> list[Row]:
    rows = []
    for (task, architecture, size, criterion), group in _groups(trials).items():
        accuracy, energy_j = _means(group)
        seeds = sorted({one.seed for one in group})
        each = [_means([one for one in group if one.seed == seed]) for seed in seeds]
        rows.append(
            {
                "task": task,
                "architecture": architecture,
                "size": size,
                "criterion": criterion,
                "folds": len({one.fold for one in group}),
                "seeds": len(seeds),
                "met": all(one.met for one in group),
                "epochs": _mean_epochs(group),
                "accuracy": accuracy,
                "accuracy_deviation": stdev(own for own, _ in each) if len(each) > 1 else None,
                "energy_j": energy_j,
                "efficiency": efficiency(accuracy, energy_j),
                "efficiency_deviation": stdev(efficiency(*own) for own in each) if len(each) > 1 else None,
            }
        )
    return rows


def _means(trials: Sequence[Trial]) -> tuple[float, float]:
    """Accuracy and energy in J."""
    return fmean(one.accuracy for one in trials), fmean(one.energy_j for one in trials)


def _mean_epochs(trials: Sequence[Trial]) -> float | None:
    known = [one.epochs for one in trials if one.epochs is not None]
    return fmean(known) if known else None


def _curves(trials: Sequence[Trial]) -> list[Row]:
    rows = []
    for (task, architecture, size, criterion), folds in _groups(trials).items():
        if criterion not in (EPOCHS, LONGER) or not all(one.curve for one in folds):
            continue
        length = min(len(one.curve) for one in folds)
        accuracy = [fmean(one.curve[i].accuracy for one in folds) for i in range(length)]
        spent = [fmean(one.curve[i].energy_j for one in folds) for i in range(length)]
        each = [spent[0], *(after - before for before, after in pairwise(spent))]
        rows.append(
            {
                "task": task,
                "architecture": architecture,
                "size": size,
                "criterion": criterion,
                "epochs": [folds[0].curve[i].epoch for i in range(length)],
                "accuracy": accuracy,
                "efficiency": over_epochs(accuracy, each),
            }
        )
    return rows


def _architectures(models: Sequence[Row]) -> list[Row]:
    found: dict[tuple[str, str, str], list[Row]] = {}
    for row in models:
        if row["criterion"] in CRITERIA:
            found.setdefault((row["task"], row["architecture"], row["criterion"]), []).append(row)
    return [
        {
            "task": task,
            "architecture": architecture,
            "criterion": criterion,
            "sizes": len(rows),
            "efficiency": over_sizes((row["accuracy"], row["energy_j"]) for row in rows),
            "lowest": min(row["efficiency"] for row in rows),
            "highest": max(row["efficiency"] for row in rows),
        }
        for (task, architecture, criterion), rows in found.items()
    ]


def _overall(architectures: Sequence[Row]) -> list[Row]:
    found: dict[tuple[str, str], dict[str, float]] = {}
    for row in architectures:
        found.setdefault((row["task"], row["architecture"]), {})[row["criterion"]] = row["efficiency"]
    return [
        {
            "task": task,
            "architecture": architecture,
            "efficiency": overall(values),
            "criteria": [name for name in CRITERIA if name in values],
        }
        for (task, architecture), values in found.items()
    ]


def _ratios(totals: Sequence[Row]) -> dict[str, float]:
    """Of two architectures on a task, and of two tasks for an architecture (Table 12)."""
    found = {}
    for one, other in combinations(totals, 2):
        ratio = one["efficiency"] / other["efficiency"]
        if one["task"] == other["task"]:
            found[f"{one['architecture']} / {other['architecture']} on {one['task']}"] = ratio
        elif one["architecture"] == other["architecture"]:
            found[f"{one['task']} / {other['task']} of {one['architecture']}"] = ratio
    return found


def _ratio_deviations(trials: Sequence[Trial]) -> dict[str, float]:
    """Of the ratios' values for every seed, where there are several and each has all."""
    seeds = sorted({one.seed for one in trials})
    if len(seeds) < 2:
        return {}
    each = [
        _ratios(_overall(_architectures(_models([one for one in trials if one.seed == seed])))) for seed in seeds
    ]
    return {name: stdev(found[name] for found in each) for name in each[0] if all(name in found for found in each)}


def _overtraining(trials: Sequence[Trial]) -> list[Row]:
    rows = []
    groups = _groups(trials)
    for (task, architecture, size, criterion), short in groups.items():
        long = groups.get((task, architecture, size, LONGER))
        if criterion != EPOCHS or long is None:
            continue
        known = [one.train_accuracy for one in (*short, *long) if one.train_accuracy is not None]
        if len(known) < len(short) + len(long):
            continue
        found = Overtraining(
            fmean(known[: len(short)]),
            fmean(one.accuracy for one in short),
            fmean(known[len(short) :]),
            fmean(one.accuracy for one in long),
        )
        rows.append(
            {
                "task": task,
                "architecture": architecture,
                "size": size,
                "epochs": [_mean_epochs(short), _mean_epochs(long)],
                **vars(found),
                "a": float(found.gain),
                "b": float(found.divergence),
                "overtrained": found.overtrained,
                "reason": found.reason,
            }
        )
    return rows


def _notes(models: Sequence[Row]) -> list[str]:
    """Where the architectures of a task differ in what was run, and which criteria were not met."""
    notes = []
    for task in dict.fromkeys(row["task"] for row in models):
        cells: dict[str, dict[str, int]] = {}
        for row in models:
            if row["task"] == task and row["criterion"] in CRITERIA:
                counts = cells.setdefault(row["architecture"], {})
                counts[row["criterion"]] = counts.get(row["criterion"], 0) + 1
        if len({tuple(sorted(counts.items())) for counts in cells.values()}) > 1:
            parts = (
                f"{name}: {', '.join(f'{count} by {c}' for c, count in counts.items())}"
                for name, counts in cells.items()
            )
            notes.append(f"on {task} the architectures were not run alike ({'; '.join(parts)})")
    for row in models:
        if not row["met"]:
            where = f"{row['architecture']} {row['size']} on {row['task']}"
            notes.append(f"{where} did not meet the criterion {row['criterion']} in its {row['epochs']:g} epochs")
    return notes
