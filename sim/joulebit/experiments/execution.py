"""The runs of a file (a suite, a study), one after another, each in a folder of its own.

A folder is named after its run and the hash of the configuration: what is finished is used again, what was stopped
goes on from its checkpoint, and a changed configuration never meets an old result.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import attrs

from joulebit.errors import did_you_mean
from joulebit.experiments.config import ConfigError, RunConfig, config_hash
from joulebit.experiments.results import ResultError, load_result, method_title
from joulebit.experiments.rundir import CONFIG, RunDirectory, RunDirectoryWarning, spec_sha256
from joulebit.train.progress import Progress

RUNS = Path("runs")  #: where the folders of suites and studies go by default


class Task(NamedTuple):
    """One run to do: its folder's name, its configuration, and what the announcements call it."""

    folder: str
    config: RunConfig
    title: str


# --- describing --------------------------------------------------------------------------------------------------


def described_file(source: str | Path, folder: Path, kind: str, otherwise: str = "") -> Path:
    """The TOML file that `source` names: one in `folder` by its stem, or any by its path.

    kind and otherwise: what such a file is called, and what else a user may give, for the error message.

    Raises:
        ConfigError: no file of that name in the folder.
    """
    text = str(source)
    if isinstance(source, Path) or text.endswith(".toml") or "/" in text:
        return Path(text).expanduser()
    path = folder / f"{text}.toml"
    if not path.is_file():
        known = file_names(folder)
        raise ConfigError(
            f"unknown {kind} {text!r}{did_you_mean(text, known)}; known: {', '.join(known)}, or a file ending in "
            f".toml{otherwise}"
        )
    return path


def file_names(folder: Path) -> list[str]:
    """What the TOML files of a folder are called, sorted."""
    return sorted(file.stem for file in folder.glob("*.toml"))


def seed_count(where: str, table: Mapping[str, Any], default: int = 1) -> int:
    """The key `seeds` of a table: with how many seeds a run is done; ConfigError unless it is a number from 1."""
    seeds = table.get("seeds", default)
    if not isinstance(seeds, int) or isinstance(seeds, bool) or seeds < 1:
        raise ConfigError(f"{where}: seeds must be a whole number of at least 1, got {seeds!r}")
    return seeds


def folder_name(name: str, config: RunConfig) -> str:
    """A folder's name that tells configurations apart."""
    return f"{name}-{config_hash(config)[:8]}"


# --- doing -------------------------------------------------------------------------------------------------------


def finish_all(
    tasks: Sequence[Task],
    folder: Path,
    engine: str | None = None,
    data_dir: Path | None = None,
    progress: Progress | None = None,
    announce: Callable[[str], None] | None = None,
) -> list[Path]:
    """The finished run directories of all tasks; may be called again after an interruption.

    Args:
        tasks: what to do, in this order.
        folder: where the runs lie.
        engine: for the integer runs instead of the configured one (the same bits); float32 runs stay float32.
        data_dir: where data sets lie.
        progress: receives the news of each run that is trained.
        announce: receives one line as each run begins or is used again.

    Raises:
        Interrupted: a run was stopped; what is done stays.
        ResultError: a finished run belongs to another numeric specification.
    """
    paths = []
    for number, task in enumerate(tasks, 1):
        path, config = folder / task.folder, task.config
        if engine and config.engine != "float32":
            config = attrs.evolve(config, engine=engine)

        def say(text: str, prefix: str = f"[{number}/{len(tasks)}] {task.title}", path: Path = path) -> None:
            if announce:
                announce(f"{prefix}: {text} ({path})")

        _finish(config, path, data_dir, progress, say)
        paths.append(path)
    return paths


def _finish(
    config: RunConfig,
    path: Path,
    data_dir: Path | None,
    progress: Progress | None,
    say: Callable[[str], None],
) -> None:
    """Trains the run of `config` in `path`, goes on with it, or finds it done; says first which of these."""
    exists = (path / CONFIG).is_file()
    if exists:
        check_specification(path, config)
    with RunDirectory.open_for_resume(path, config) if exists else RunDirectory.create(path, config) as run:
        if run.finished:
            say("finished before, used again")
            return
        from joulebit.experiments.run import run_training

        what = f"{method_title(config)}, {config.model.name} on {config.data.name}, engine {config.engine}"
        say(f"{'goes on' if exists else 'begins'}: {what}")
        with warnings.catch_warnings():
            warnings.simplefilter("always", RunDirectoryWarning)
            run_training(config, run, resume=exists, data_dir=data_dir, progress=progress)


def check_specification(path: Path, config: RunConfig) -> None:
    """ResultError when what lies there was computed under another numeric specification."""
    if config.engine == "float32" or not any(path.glob("summary.json")):
        return
    begun = load_result(path).start.get("spec_sha256")
    if begun and begun != spec_sha256():
        raise ResultError(
            f"{path} was computed under another numeric specification ({begun[:12]}, now {spec_sha256()[:12]}): "
            "move it away, or let the runs lie elsewhere (--out-dir)"
        )
