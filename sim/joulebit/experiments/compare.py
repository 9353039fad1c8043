"""Runs side by side, as a table like the paper's; and suites, which train the runs of such a table.

A suite is a TOML file in the folder `suites`, or anywhere else:

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

Each run lies in its own folder, named after the run and the hash of its configuration: what is finished is used
again, what was stopped goes on from its checkpoint, and a changed configuration never meets an old result.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from joulebit.errors import did_you_mean
from joulebit.experiments.config import (
    ConfigError,
    RunConfig,
    check_table,
    config_hash,
    load_config,
    override_list,
    read_toml,
    source_in,
)
from joulebit.experiments.results import Result, ResultError, baseline, labels, load_result, load_results
from joulebit.experiments.rundir import CONFIG, RunDirectory, RunDirectoryWarning, spec_sha256
from joulebit.experiments.seeds import averaged
from joulebit.train.progress import Progress

if TYPE_CHECKING:
    from rich.table import Table

SUITES = Path(__file__).with_name("suites")
RUNS = Path("runs")  # where a suite's folder goes by default

Row = dict[str, Any]
_TABLE_KEYS = {"description", "set", "runs", "pareto", "seeds"}
_RUN_KEYS = {"name", "preset", "set", "class", "seeds"}
_SUITE_RUN = "suite:"


# --- comparing ---------------------------------------------------------------------------------------------------


def compare(runs: Sequence[Path | str], suite: str | None = None) -> list[Row]:
    """One row per run, in the order given; with `suite`, those of `compare_suite` instead.

    Energies are simulated joules. Shares and savings are fractions of 1; None where a run has no such figure,
    top1 and top5 are in percent.

    Raises:
        ResultError, RunDirectoryError, ConfigError: a run that cannot be read, in one line.
    """
    return compare_suite(suite) if suite else rows(load_results(runs))


def rows(results: Sequence[Result]) -> list[Row]:
    """The rows of results that are already read."""
    return [_row(result, label, results) for result, label in zip(results, labels(results))]


def _row(result: Result, label: str, results: Sequence[Result]) -> Row:
    config, base = result.config, baseline(result, results)
    summary = result.summary
    base_top1 = base.run.top1 if base and base.run and base.run is not result and result.finished else None
    return {
        "run": str(result.path),
        "name": config.name,
        "label": label,
        "method": result.method,
        "model": config.model.name,
        "dataset": config.data.name,
        "engine": config.engine,
        "seed": config.seed,
        "group": config_hash(attrs.evolve(config, seed=0)),
        "finished": result.finished,
        "state": result.state,
        "steps": result.step,
        "epochs": result.epoch,
        "top1": result.top1,
        "top5": result.top5,
        "top1_against_baseline": None if base_top1 is None or result.top1 is None else result.top1 - base_top1,
        "energy_simulated_j": result.energy_j,
        "energy_table": result.table,
        "energy_ratio": result.energy_j / base.energy_j if base and result.finished else None,
        "baseline": base.title if base else None,
        "saving_vs_float32": result.saving_vs_float32,
        "mac_saving": result.mac_saving,
        "predictor_share": result.predictor_share,
        "predictor_error": result.predictor_error,
        "skip_ratio": result.skip_ratio,
        "batch_share": result.batch_share,
        "sample_share": result.sample_share,
        "config_hash": result.config_hash,
        "weights_sha256": summary["weights_sha256"] if summary else None,
    }


def render(rows: Sequence[Row]) -> Table:
    """The rows as a rich table."""
    from rich import box
    from rich.table import Table

    tables = sorted({row["energy_table"] for row in rows})
    table = Table(
        title=f"Simulated joules: counters x energy table {', '.join(tables)}, not measured",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    for name, same in (("Model", "model"), ("Data", "dataset")):
        value = {row[same] for row in rows}
        if len(value) == 1:
            table.title = f"{table.title}\n{name}: {value.pop()}"
    shown = [column for column in _COLUMNS if column.always or any(row[column.key] for row in rows)]
    shown = [c for c in shown if c.key not in ("model", "dataset") or len({row[c.key] for row in rows}) > 1]
    for column in shown:
        table.add_column(column.title, justify="right" if column.right else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(column.text(row) for column in shown), style=None if row["finished"] else "dim")
    unfinished = [f"* {row['label']}: {row['state']}" for row in rows if not row["finished"]]
    counts = {len(row.get("seeds", ())) for row in rows}
    if max(counts) > 1:
        low, high = min(counts), max(counts)
        times = f"{high}" if low == high else f"{low} to {high}"
        unfinished.insert(0, f"means over {times} seeds ± standard deviation")
    if unfinished:
        table.caption, table.caption_justify = "; ".join(unfinished), "left"
    return table


@dataclass(frozen=True)
class _Column:
    key: str
    title: str
    text: Callable[[Row], str]
    right: bool = True
    always: bool = False  #: also when no run has the figure


def percent(value: float | None, digits: int = 1) -> str:
    """A fraction in percent, or a dash."""
    return "–" if value is None else f"{100 * value:.{digits}f} %".replace("-", "−")


def accuracy_text(value: float | None, deviation: float | None = None) -> str:
    """Percent, with the standard deviation over seeds where there is one."""
    if value is None:
        return "–"
    return f"{value:.2f} %" if deviation is None else f"{value:.2f} ± {deviation:.2f} %"


def difference_text(value: float | None) -> str:
    """Percentage points with a sign."""
    return "–" if value is None else f"{value:+.2f}".replace("-", "−")


def joules(value: float) -> str:
    """Three digits with a prefix: 21.4 mJ."""
    for factor, prefix in ((1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ")):
        if value >= factor:
            return f"{value / factor:.3g} {prefix}J"
    return "0 J" if value == 0 else f"{value * 1e9:.3g} nJ"


_COLUMNS = (
    _Column("label", "Method", lambda r: r["label"] + ("" if r["finished"] else " *"), False, True),
    _Column("model", "Model", lambda r: r["model"], False),
    _Column("dataset", "Data", lambda r: r["dataset"], False),
    _Column("top1", "Top-1", lambda r: accuracy_text(r["top1"], r.get("top1_deviation")), always=True),
    _Column("top1_against_baseline", "Δ", lambda r: difference_text(r["top1_against_baseline"])),
    _Column("top5", "Top-5", lambda r: accuracy_text(r["top5"])),
    _Column("energy_simulated_j", "Energy", lambda r: joules(r["energy_simulated_j"]), always=True),
    _Column("saving_vs_float32", "vs float32", lambda r: percent(r["saving_vs_float32"]), always=True),
    _Column("mac_saving", "MACs saved", lambda r: percent(r["mac_saving"])),
    _Column("predictor_share", "Predicted", lambda r: percent(r["predictor_share"])),
    _Column("skip_ratio", "Skipped", lambda r: percent(r["skip_ratio"] or None)),
    _Column("batch_share", "Batches", lambda r: percent(r["batch_share"])),
    _Column("sample_share", "Samples", lambda r: percent(r["sample_share"])),
    _Column("steps", "Steps", lambda r: f"{r['steps']:,.0f}", always=True),
    _Column("weights_sha256", "Weights", lambda r: (r["weights_sha256"] or "–")[:12], False, True),
)


# --- suites ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SuiteRun:
    """One run of a suite: its short name and its configuration."""

    name: str
    config: RunConfig
    group: str = ""  #: its class in a ranking

    @property
    def folder(self) -> str:
        """Tells configurations apart."""
        return f"{self.name}-{config_hash(self.config)[:8]}"


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
    return sorted(file.stem for file in SUITES.glob("*.toml"))


def load_suite(source: str | Path, overrides: Iterable[str] = ()) -> Suite:
    """A suite of the package by its name, or a TOML file by its path; `overrides` come last, for all runs.

    Raises:
        ConfigError: no such suite, unknown keys, or a run that cannot be configured so.
    """
    path = _suite_file(source)
    where = f"suite {path.stem}" if path.parent == SUITES else str(path)
    table = read_toml(path)
    check_table(where, table, _TABLE_KEYS)
    common = override_list(where, table.get("set", []))
    entries = table.get("runs")
    if not isinstance(entries, list) or not entries:
        raise ConfigError(f"{where}: must have at least one [[runs]] with name and preset")
    seeds = _count(where, table, 1)
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
        count = _count(place, entry, seeds)
        runs += [SuiteRun(entry["name"], attrs.evolve(config, seed=config.seed + i), group) for i in range(count)]
    pareto = table.get("pareto", False)
    if not isinstance(pareto, bool):
        raise ConfigError(f"{where}: pareto must be true or false, got {pareto!r}")
    return Suite(path.stem, str(table.get("description", "")), tuple(runs), pareto, seeds)


def _count(where: str, table: Mapping[str, Any], default: int) -> int:
    """How many seeds a table asks for."""
    seeds = table.get("seeds", default)
    if not isinstance(seeds, int) or isinstance(seeds, bool) or seeds < 1:
        raise ConfigError(f"{where}: seeds must be a whole number of at least 1, got {seeds!r}")
    return seeds


def _suite_runs(config: RunConfig) -> list[str]:
    """Names of the runs of its suite that a run needs."""
    sources = (config.method.distillation.teacher, config.training.initial_weights)
    return [source[len(_SUITE_RUN) :] for source in sources if source.startswith(_SUITE_RUN)]


def _suite_file(source: str | Path) -> Path:
    text = str(source)
    if isinstance(source, Path) or text.endswith(".toml") or "/" in text:
        return Path(text).expanduser()
    path = SUITES / f"{text}.toml"
    if not path.is_file():
        hint = did_you_mean(text, suite_names())
        raise ConfigError(
            f"unknown suite {text!r}{hint}; known: {', '.join(suite_names())}, or a file ending in .toml"
        )
    return path


def compare_suite(
    suite: str | Path,
    out_dir: Path | None = None,
    engine: str | None = None,
    data_dir: Path | None = None,
    progress: Progress | None = None,
    announce: Callable[[str], None] | None = None,
    overrides: Iterable[str] = (),
) -> list[Row]:
    """Trains what is missing of a suite and compares all its runs: `run_suite`, then `compare`."""
    return compare(run_suite(suite, out_dir, engine, data_dir, progress, announce, overrides))


def run_suite(
    suite: str | Path,
    out_dir: Path | None = None,
    engine: str | None = None,
    data_dir: Path | None = None,
    progress: Progress | None = None,
    announce: Callable[[str], None] | None = None,
    overrides: Iterable[str] = (),
) -> list[Path]:
    """The run directories of a suite, all finished; may be called again after an interruption.

    Args:
        suite: its name, or a TOML file.
        out_dir: where the runs lie; runs/suite-NAME by default.
        engine: for the integer runs instead of the configured one (the same bits); float32 runs stay float32.
        data_dir: where data sets lie.
        progress: receives the news of each run that is trained.
        announce: receives one line as each run begins or is used again.
        overrides: section.key=value for all runs, after the suite's own.

    Raises:
        Interrupted: a run was stopped; what is done stays.
        ResultError: a finished run belongs to another numeric specification.
    """
    loaded = load_suite(suite, overrides)
    folder = out_dir or RUNS / f"suite-{loaded.name}"
    say = announce or _silent
    paths = []
    for number, run in enumerate(loaded.runs, 1):
        path = folder / run.folder
        seed = f", seed {run.config.seed}" if loaded.seeds > 1 else ""
        prefix = f"[{number}/{len(loaded.runs)}] {run.name}{seed}"
        config = _with_paths(run.config, loaded, folder)
        if engine and config.engine != "float32":
            config = _with_engine(config, engine)
        finish_run(config, path, data_dir, progress, lambda text, prefix=prefix: say(f"{prefix}: {text}"))  # type: ignore[misc]
        paths.append(path)
    return paths


def finish_run(
    config: RunConfig,
    path: Path,
    data_dir: Path | None,
    progress: Progress | None,
    say: Callable[[str], None],
) -> None:
    """Makes sure that `path` holds the finished run of `config`: trains it, goes on with it, or finds it done."""
    exists = (path / CONFIG).is_file()
    if exists:
        check_specification(path, config)
    run = RunDirectory.open_for_resume(path, config) if exists else RunDirectory.create(path, config)
    with run:
        if run.finished:
            say(f"finished before, used again ({path})")
            return
        from joulebit.experiments.run import run_training

        say(f"{'goes on' if exists else 'begins'}: {method_line(config)} ({path})")
        with warnings.catch_warnings():
            warnings.simplefilter("always", RunDirectoryWarning)
            run_training(config, run, resume=exists, data_dir=data_dir, progress=progress)


def method_line(config: RunConfig) -> str:
    """`E²-Train, resnet8 on digits32, engine numba`."""
    from joulebit.experiments.results import method_title

    return f"{method_title(config)}, {config.model.name} on {config.data.name}, engine {config.engine}"


def check_specification(path: Path, config: RunConfig) -> None:
    """ResultError when what lies there was computed under another numeric specification."""
    if config.engine == "float32" or not any(path.glob("summary.json")):
        return
    begun = load_result(path).start.get("spec_sha256")
    if begun and begun != spec_sha256():
        raise ResultError(
            f"{path} was computed under another numeric specification ({begun[:12]}, now {spec_sha256()[:12]}): "
            "move it away, or let the suite write elsewhere"
        )


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


def rank_suite(
    suite: str | Path, paths: Sequence[Path], data_dir: Path | None = None, overrides: Iterable[str] = ()
) -> list[Row] | None:
    """The ranked rows (`joulebit.experiments.pareto`) of a suite's runs, or None where it asks for no ranking.

    paths: of its runs, as `run_suite` gave them. Rows have the runs' names in the suite.
    """
    loaded = load_suite(suite, overrides)
    if not loaded.pareto:
        return None
    from joulebit.experiments.assembly import prepared_data
    from joulebit.experiments.pareto import ranked

    found = averaged(row | {"label": run.name, "group": run.name} for row, run in zip(compare(paths), loaded.runs))
    tested = min(len(prepared_data(run.config, data_dir).test) for run in loaded.runs[:1])
    return ranked(found, {run.name: run.group for run in loaded.runs}, tested)


def _with_engine(config: RunConfig, engine: str) -> RunConfig:
    return attrs.evolve(config, engine=engine)


def _silent(_: str) -> None:
    pass
