"""Suites: the runs of a comparison, described by one TOML file in the folder `suites`, or anywhere else.

    description = "..."
    set = ["training.epochs=5"]            # for all runs
    seeds = 3                              # every run with three seeds, from its own on, averaged; optional
    pareto = true                          # rank accuracy against joules (`joulebit.experiments.pareto`); optional
    [[runs]]
    name = "psg"
    preset = "digits-resnet8-psg"          # a preset, or a path relative to this file
    set = ["method.beta=0.1"]              # for this run; optional
    class = "quantisation"                 # what the ranking calls its kind; optional
    seeds = 1                              # instead of the suite's; optional

"suite:NAME" as `method.distillation.teacher` or `training.initial_weights` means the run NAME of the same suite,
which must stand before: that of the same seed, or its first one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import attrs

from joulebit.experiments.compare import Row, compare
from joulebit.experiments.config import (
    ConfigError,
    RunConfig,
    check_table,
    load_config,
    override_list,
    read_toml,
    source_in,
)
from joulebit.experiments.execution import (
    RUNS,
    Task,
    described_file,
    file_names,
    finish_all,
    folder_name,
    seed_count,
)
from joulebit.experiments.seeds import averaged
from joulebit.train.progress import Progress

SUITES = Path(__file__).with_name("suites")

_TABLE_KEYS = {"description", "set", "runs", "pareto", "seeds"}
_RUN_KEYS = {"name", "preset", "set", "class", "seeds"}
_SUITE_RUN = "suite:"


@dataclass(frozen=True)
class SuiteRun:
    """One run of a suite: its short name and its configuration."""

    name: str
    config: RunConfig
    group: str = ""  #: its class in a ranking

    @property
    def folder(self) -> str:
        """Tells configurations apart."""
        return folder_name(self.name, self.config)


@dataclass(frozen=True)
class Suite:
    """Runs to be compared."""

    name: str
    description: str
    runs: tuple[SuiteRun, ...]
    pareto: bool = False  #: whether the runs are ranked by accuracy against joules
    seeds: int = 1  #: of every run


def suite_names() -> list[str]:
    """Suites of the package, sorted."""
    return file_names(SUITES)


def load_suite(source: str | Path, overrides: Iterable[str] = ()) -> Suite:
    """A suite of the package by its name, or a TOML file by its path; `overrides` come last, for all runs.

    Raises:
        ConfigError: no such suite, unknown keys, or a run that cannot be configured so.
    """
    path = described_file(source, SUITES, "suite")
    where = f"suite {path.stem}" if path.parent == SUITES else str(path)
    table = read_toml(path)
    check_table(where, table, _TABLE_KEYS)
    common = override_list(where, table.get("set", []))
    entries = table.get("runs")
    if not isinstance(entries, list) or not entries:
        raise ConfigError(f"{where}: must have at least one [[runs]] with name and preset")
    seeds = seed_count(where, table)
    runs: list[SuiteRun] = []
    for number, entry in enumerate(entries, 1):
        place = f"{where}: run {number}"
        if not isinstance(entry, dict):
            raise ConfigError(f"{place} must be a table, got {entry!r}")
        check_table(place, entry, _RUN_KEYS)
        for key in ("name", "preset"):
            if not isinstance(entry.get(key), str) or not entry[key] or "/" in entry["name"]:
                raise ConfigError(f"{place}: {key} must be a text (a name without /), got {entry.get(key)!r}")
        try:
            config = load_config(
                source_in(entry["preset"], path.parent),
                [*common, *override_list(place, entry.get("set", [])), *overrides],
            )
        except ConfigError as error:
            raise ConfigError(f"{place} ({entry['name']}): {error}") from None
        group = entry.get("class", "")
        if not isinstance(group, str):
            raise ConfigError(f"{place}: class must be a text, got {group!r}")
        earlier = list(dict.fromkeys(run.name for run in runs))
        if entry["name"] in earlier:
            raise ConfigError(f"{where}: two runs are called {entry['name']!r}: give each its own name")
        for used in _suite_runs(config):
            if used not in earlier:
                raise ConfigError(
                    f"{place} ({entry['name']}): {_SUITE_RUN + used!r} must name a run before it: "
                    f"{', '.join(earlier)}"
                )
        count = seed_count(place, entry, seeds)
        runs += [SuiteRun(entry["name"], attrs.evolve(config, seed=config.seed + i), group) for i in range(count)]
    pareto = table.get("pareto", False)
    if not isinstance(pareto, bool):
        raise ConfigError(f"{where}: pareto must be true or false, got {pareto!r}")
    return Suite(path.stem, str(table.get("description", "")), tuple(runs), pareto, seeds)


def _suite_runs(config: RunConfig) -> list[str]:
    """Names of the runs of its suite that a run needs."""
    sources = (config.method.distillation.teacher, config.training.initial_weights)
    return [source[len(_SUITE_RUN) :] for source in sources if source.startswith(_SUITE_RUN)]


def run_suite(
    suite: Suite,
    out_dir: Path | None = None,
    engine: str | None = None,
    data_dir: Path | None = None,
    progress: Progress | None = None,
    announce: Callable[[str], None] | None = None,
) -> list[Path]:
    """The run directories of a suite, all finished, in its order; may be called again after an interruption.

    out_dir: where the runs lie; runs/suite-NAME by default. The rest, and errors: as for `execution.finish_all`.
    """
    folder = out_dir or RUNS / f"suite-{suite.name}"
    tasks = [
        Task(
            run.folder,
            _with_paths(run.config, suite, folder),
            f"{run.name}, seed {run.config.seed}" if suite.seeds > 1 else run.name,
        )
        for run in suite.runs
    ]
    return finish_all(tasks, folder, engine, data_dir, progress, announce)


def _with_paths(config: RunConfig, suite: Suite, folder: Path) -> RunConfig:
    """The configuration with directories in the place of names of the suite's runs."""

    def path(source: str) -> str:
        if not source.startswith(_SUITE_RUN):
            return source
        named = [run for run in suite.runs if run.name == source[len(_SUITE_RUN) :]]
        run = next((run for run in named if run.config.seed == config.seed), named[0])
        return str(folder / run.folder)

    distillation = attrs.evolve(config.method.distillation, teacher=path(config.method.distillation.teacher))
    training = attrs.evolve(config.training, initial_weights=path(config.training.initial_weights))
    return attrs.evolve(config, training=training, method=attrs.evolve(config.method, distillation=distillation))


def rank_suite(suite: Suite, paths: Sequence[Path], data_dir: Path | None = None) -> list[Row] | None:
    """The ranked rows (`joulebit.experiments.pareto`) of a suite's runs, or None where it asks for no ranking.

    paths: of its runs, as `run_suite` gave them. Rows have the runs' names in the suite. A run whose weights the
    others start from is no competitor of theirs and has no row.
    """
    if not suite.pareto:
        return None
    from joulebit.experiments.assembly import prepared_data
    from joulebit.experiments.pareto import ranked

    beginnings = {run.config.training.initial_weights for run in suite.runs}
    chosen = [(run, path) for run, path in zip(suite.runs, paths) if _SUITE_RUN + run.name not in beginnings]
    rows = compare([path for _, path in chosen])
    found = averaged(row | {"label": run.name, "group": run.name} for row, (run, _) in zip(rows, chosen))
    tested = len(prepared_data(chosen[0][0].config, data_dir).test)
    return ranked(found, {run.name: run.group for run, _ in chosen}, tested)
