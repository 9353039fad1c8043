"""Where trials come from: run directories with simulated joules, or with those of a campaign; a campaign alone."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from joulebit.experiments.efficiency.formulas import EfficiencyError
from joulebit.experiments.efficiency.trials import EPOCHS, Trial, trial, with_longer
from joulebit.experiments.results import load_result


def gather(places: Mapping[Path, Mapping[str, str | int] | None], campaigns: Sequence[Path] = ()) -> list[Trial]:
    """The trials of finished run directories.

    Args:
        places: by run directory, its place in a study; None where it follows from the configuration. A folder of a
            campaign (`joulebit measure`) stands for its cells: see `campaign_trials`.
        campaigns: folders of measured cells, whose joules take the place of the simulated ones.

    Raises:
        EfficiencyError: a run is not finished, or was not measured; a model was trained for three lengths.
    """
    own = [one for path in places if is_campaign(path) for one in campaign_trials(path)]
    found = {path: trial(path, place) for path, place in places.items() if not is_campaign(path)}
    for path, one in zip(found, with_longer(list(found.values()))):
        found[path] = one
    return own + (with_measured(found, measured_joules(campaigns)) if campaigns else list(found.values()))


def is_campaign(folder: Path) -> bool:
    """Whether a folder holds measured cells."""
    return (folder / "cells").is_dir()


def _cells(folder: Path) -> list[dict[str, Any]]:
    """The results of a campaign's valid cells, in order; EfficiencyError without any, or for an unreadable one."""
    files = sorted(folder.glob("cells/*/result.json"))
    if not files:
        raise EfficiencyError(f"{folder} has no measured cells: name the folder of a campaign (joulebit measure)")
    found = []
    for file in files:
        try:
            entry = json.loads(file.read_text(encoding="utf-8"))
            if entry["valid"]:
                found.append({**entry, "net_j": float(entry["net_j"]), "config_hash": str(entry["config_hash"])})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise EfficiencyError(f"{file} is no result of a cell: {error!r}") from None
    return found


def measured_joules(campaigns: Iterable[Path]) -> dict[str, list[float]]:
    """Net joules of the valid cells of campaigns' folders by the hash of the configuration that was measured.

    Raises:
        EfficiencyError: a folder without cells, or a cell that cannot be read.
    """
    found: dict[str, list[float]] = {}
    for folder in campaigns:
        for entry in _cells(folder):
            found.setdefault(entry["config_hash"], []).append(entry["net_j"])
    return found


def campaign_trials(folder: Path) -> list[Trial]:
    """The trials of a campaign without its runs: one per method and model, the mean of its valid repeats.

    The task is the folder's name, the architecture the method, the size the model. The criterion counts as epochs:
    what ended a measured run stands in its configuration alone, and so does its length.

    Raises:
        EfficiencyError: no cells, or cells without an accuracy (of a command, or of a device that does not train).
    """
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for entry in _cells(folder):
        groups.setdefault((entry["method"], entry.get("model") or "as configured"), []).append(entry)
    found = []
    for (method, model), entries in groups.items():
        accuracies = [entry["outcome"].get("top1") for entry in entries]
        if None in accuracies:
            raise EfficiencyError(
                f"{folder}: the cells of {method} have no accuracy, so that they have no efficiency"
            )
        found.append(
            Trial(
                task=folder.resolve().name,
                architecture=method,
                size=model,
                criterion=EPOCHS,
                fold=1,
                accuracy=sum(accuracies) / len(accuracies) / 100,
                energy_j=sum(entry["net_j"] for entry in entries) / len(entries),
                epochs=None,
                measured=True,
                train_accuracy=None,
                met=True,
                curve=(),
            )
        )
    return found


def with_measured(found: Mapping[Path, Trial], joules: Mapping[str, Sequence[float]]) -> list[Trial]:
    """The trials with the mean of their measured joules, matched by the hash of their configuration.

    Raises:
        EfficiencyError: a run whose configuration was not measured.
    """
    replaced = []
    for path, one in found.items():
        known = joules.get(load_result(path).config_hash)
        if not known:
            raise EfficiencyError(f"{path}: its configuration was not measured in these campaigns")
        replaced.append(replace(one, energy_j=sum(known) / len(known), measured=True, curve=()))
    return replaced
