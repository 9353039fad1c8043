"""A study of training efficiency: a TOML file that describes its runs, and their execution.

    description = "..."
    set = ["training.batch_size=64"]        # for all runs
    epochs = 10                             # criterion epochs: so many
    longest = 30                            # the other criteria end a run here at the latest; default 3 * epochs
    accuracy = 98.5                         # criterion accuracy: percent of the training samples; optional
    patience = 3                            # criterion patience: evaluations without a better one
    energy_j = 2.0                          # criterion energy: simulated joules
    overtraining = true                     # also runs of twice the epochs
    seeds = 3                               # every run with the seeds 0, 1 and 2 (from its own on); default 1

    [[tasks]]                               # at least one
    name = "MNIST"
    set = ["data.train_limit=10000"]        # optional; so are accuracy and energy_j, for this task
    folds = 0                               # k-fold cross-validation over all samples of the data set

    [[architectures]]                       # at least one, any two can be compared
    name = "LeNet"
    preset = "mnist-lenet5-fixed"           # a preset, or a path relative to this file
    sizes = ["lenet5", "lenet5x2"]          # model names; PATH.py:FUNCTION works, too
    set = []

A study of the package is a file in the folder `studies`. Every run has a folder of its own; what is finished is
used again, and what was stopped goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import attrs

from joulebit.experiments.config import (
    ConfigError,
    RunConfig,
    check_table,
    load_config,
    override_list,
    read_toml,
    source_in,
)
from joulebit.experiments.efficiency.trials import ACCURACY, ENERGY, EPOCHS, LONGER, PATIENCE
from joulebit.experiments.execution import (
    RUNS,
    Task,
    described_file,
    file_names,
    finish_all,
    folder_name,
    seed_count,
)
from joulebit.train.progress import Progress

STUDIES = Path(__file__).with_name("studies")
_KEYS = {
    "description", "set", "epochs", "longest", "accuracy", "patience", "energy_j", "overtraining", "seeds",
    "tasks", "architectures",
}  # fmt: skip
_TASK_KEYS = {"name", "set", "folds", "accuracy", "energy_j"}
_ARCHITECTURE_KEYS = {"name", "preset", "sizes", "set"}


@dataclass(frozen=True)
class StudyRun:
    """One run and its place."""

    config: RunConfig
    task: str
    architecture: str
    size: str
    criterion: str
    fold: int
    seed: int = 0

    @property
    def place(self) -> dict[str, str | int]:
        """As `trials.trial` takes it."""
        keys = ("task", "architecture", "size", "criterion", "fold", "seed")
        return {key: getattr(self, key) for key in keys}

    @property
    def folder(self) -> str:
        """A name that tells configurations apart."""
        words = [self.task, self.architecture, self.size.rpartition(":")[2], self.criterion, str(self.fold)]
        name = "-".join("".join(c if c.isalnum() else "_" for c in word) for word in words)
        return folder_name(name, self.config)


@dataclass(frozen=True)
class Study:
    """Runs whose efficiencies are to be compared."""

    name: str
    description: str
    runs: tuple[StudyRun, ...]
    seeds: int = 1  #: of every run


def study_names() -> list[str]:
    """Studies of the package, sorted."""
    return file_names(STUDIES)


def load_study(source: str | Path, overrides: Iterable[str] = ()) -> Study:
    """A study of the package by its name, or a TOML file by its path; `overrides` come last, for all runs.

    Raises:
        ConfigError: no such study, unknown or missing keys, or a run that cannot be configured so.
    """
    path = described_file(source, STUDIES, "study", ", or run directories")
    where = f"study {path.stem}" if path.parent == STUDIES else str(path)
    table = read_toml(path)
    check_table(where, table, _KEYS)
    tasks = _tables(where, table, "tasks", _TASK_KEYS, ("name",))
    architectures = _tables(where, table, "architectures", _ARCHITECTURE_KEYS, ("name", "preset", "sizes"))
    if not isinstance(table.get("epochs"), int | float) or not table["epochs"] > 0:
        raise ConfigError(f"{where}: epochs must be a number above 0, got {table.get('epochs')!r}")
    seeds = seed_count(where, table)
    common = override_list(where, table.get("set", []))
    runs = []
    for task, architecture in product(tasks, architectures):
        preset = source_in(architecture["preset"], path.parent)
        own = [
            *common,
            *override_list(where, task.get("set", [])),
            *override_list(where, architecture.get("set", [])),
        ]
        criteria = _criteria({**table, **task})
        for size, criterion, (fold, split) in product(architecture["sizes"], criteria, _folds(where, task)):
            try:
                config = load_config(
                    preset, [*own, f'model.name="{size}"', *criteria[criterion], *split, *overrides]
                )
            except ConfigError as error:
                raise ConfigError(f"{where}: {architecture['name']}, {size}: {error}") from None
            place = (task["name"], architecture["name"], size, criterion, fold)
            for seed in range(config.seed, config.seed + seeds):
                runs.append(StudyRun(attrs.evolve(config, seed=seed), *place, seed))
    return Study(path.stem, str(table.get("description", "")), tuple(runs), seeds)


def _folds(where: str, task: Mapping[str, Any]) -> list[tuple[int, list[str]]]:
    """Numbers of the folds of a task, each with its overrides."""
    folds = task.get("folds", 0)
    if not isinstance(folds, int) or isinstance(folds, bool) or folds < 0 or folds == 1:
        raise ConfigError(
            f"{where}: folds of {task['name']} must be a whole number of at least 2, or 0, got {folds!r}"
        )
    if not folds:
        return [(1, [])]
    return [(fold, [f"data.split.folds={folds}", f"data.split.fold={fold}"]) for fold in range(1, folds + 1)]


def _criteria(table: Mapping[str, Any]) -> dict[str, list[str]]:
    """Criterion -> overrides."""
    epochs = table["epochs"]
    longest = f"training.epochs={table.get('longest', 3 * epochs)}"
    found = {EPOCHS: [f"training.epochs={epochs}"]}
    if table.get("accuracy"):
        found[ACCURACY] = [longest, f"training.stop.accuracy={table['accuracy']}"]
    if table.get("patience"):
        found[PATIENCE] = [longest, f"training.stop.patience={table['patience']}"]
    if table.get("energy_j"):
        found[ENERGY] = [longest, f"training.stop.energy_j={table['energy_j']}"]
    if table.get("overtraining"):
        found[LONGER] = [f"training.epochs={2 * epochs}"]
    return found


def _tables(
    where: str, table: Mapping[str, Any], key: str, known: set[str], needed: tuple[str, ...]
) -> list[dict[str, Any]]:
    entries = table.get(key)
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise ConfigError(f"{where}: must have at least one [[{key}]] with {', '.join(needed)}")
    for number, entry in enumerate(entries, 1):
        check_table(f"{where}: {key} {number}", entry, known)
        for name in needed:
            value = entry.get(name)
            wanted = list if name == "sizes" else str
            if not isinstance(value, wanted) or not value:
                raise ConfigError(f"{where}: {key} {number}: {name} must be given, got {value!r}")
    names = [entry["name"] for entry in entries]
    if len(set(names)) < len(names):
        raise ConfigError(f"{where}: the names of {key} must differ, got {', '.join(names)}")
    return entries


def run_study(
    study: Study,
    out_dir: Path | None = None,
    engine: str | None = None,
    data_dir: Path | None = None,
    progress: Progress | None = None,
    announce: Callable[[str], None] | None = None,
) -> list[tuple[StudyRun, Path]]:
    """Every run of the study with its finished run directory; may be called again after an interruption.

    out_dir: where the runs lie; runs/efficiency-NAME by default. The rest, and errors: as for
    `execution.finish_all`.
    """
    tasks = []
    for run in study.runs:
        words = [run.task, run.architecture, run.size, run.criterion]
        words += [f"fold {run.fold}"] * bool(run.config.data.split.folds) + [f"seed {run.seed}"] * (
            study.seeds > 1
        )
        tasks.append(Task(run.folder, run.config, ", ".join(words)))
    folder = out_dir or RUNS / f"efficiency-{study.name}"
    return list(zip(study.runs, finish_all(tasks, folder, engine, data_dir, progress, announce)))
