"""`joulebit train`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from joulebit.cli.console import clean_stdout, command_line, emit_json, json_option, note, resumable, show, si
from joulebit.cli.engines import BoardOptions, board_options, session_of
from joulebit.cli.progress import RichProgress
from joulebit.errors import Interrupted, JoulebitError
from joulebit.experiments.config import ENGINES, RunConfig, config_hash, load_config
from joulebit.experiments.rundir import RunDirectory, holds_run, read_summary
from joulebit.nn.workers import Workers
from joulebit.train.distributed import BACKENDS, TIMEOUT_S, WorkerLostError, joined
from joulebit.train.progress import SilentProgress

RUNS = Path("runs")
LATER = WorkerLostError.exit_code  #: of errors after which a run can go on from its last checkpoint


@click.command()
@click.argument("source", metavar="PRESET|FILE.toml")
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a key: --set training.epochs=3."
)
@click.option("--engine", type=click.Choice(ENGINES), help="Who computes; the integer engines give the same bits.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Where data sets lie (or JOULEBIT_DATA_DIR).")
@click.option("--download", is_flag=True, help="Fetch the data set into the data directory if it is missing.")
@click.option("--run-dir", type=click.Path(path_type=Path), help="Where the run is kept; runs/NAME by default.")
@click.option("--resume", is_flag=True, help="Go on with the run in --run-dir, or start it if there is none.")
@click.option(
    "--worker-timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=TIMEOUT_S,
    show_default=True,
    metavar="SECONDS",
    help="Under torchrun: how long one worker may keep the others waiting.",
)
@click.option(
    "--backend", type=click.Choice(BACKENDS), default=BACKENDS[0], help="Under torchrun: who carries large sums."
)
@board_options
@json_option
def train(
    source: str,
    overrides: tuple[str, ...],
    engine: str | None,
    data_dir: Path | None,
    download: bool,
    run_dir: Path | None,
    resume: bool,
    worker_timeout: float,
    backend: str,
    board: str | None,
    array_config: str | None,
    verify_every: int | None,
    count_wrong: bool | None,
    as_json: bool,
) -> None:
    """Do one training run, which a preset or a file describes.

    `torchrun --nproc-per-node N -m joulebit.cli train ...` shares it among N workers, to the same bits.
    """
    options = BoardOptions(board, array_config, verify_every, count_wrong)
    with joined(worker_timeout, backend) as workers:
        summary = _train(source, overrides, engine, data_dir, download, run_dir, resume, workers, options)
        if summary is None:
            return
        if as_json:
            emit_json(summary)
        else:
            show(_table(summary))


def _train(
    source: str,
    overrides: tuple[str, ...],
    engine: str | None,
    data_dir: Path | None,
    download: bool,
    run_dir: Path | None,
    resume: bool,
    workers: Workers,
    options: BoardOptions,
) -> dict[str, Any] | None:
    """The summary; None for all workers but the first."""
    chosen = [f'engine="{engine}"'] if engine else []
    config = load_config(source, [*overrides, *chosen])
    path = run_dir or _default_run_dir(source, config, engine, overrides)
    with clean_stdout():
        if download:
            from joulebit.data import load_dataset

            if workers.rank == 0:
                load_dataset(config.data.name, data_dir, download=True)
            workers.broadcast(None)
        try:
            with session_of(config, options, path if workers.rank == 0 else None):
                return _run(config, path, resume, data_dir, workers)
        except JoulebitError as stop:
            if not isinstance(stop, Interrupted) and stop.exit_code != LATER:
                raise
            again = command_line(
                "train", source, set=overrides, engine=engine, data_dir=data_dir, run_dir=path, resume=True,
                **options.words(),
            )  # fmt: skip
            if not isinstance(stop, WorkerLostError):
                raise resumable(stop, again) from None
            raise WorkerLostError(f"{stop}; go on with any number of workers: {again}") from stop


def _default_run_dir(source: str, config: RunConfig, engine: str | None, overrides: tuple[str, ...]) -> Path:
    """runs/NAME; what was changed on the command line is told apart by engine and hash."""
    name = config.name
    if engine:
        name += f"-{engine}"
    if overrides:
        name += f"-{config_hash(config)[:8]}"
    return RUNS / name


def _run(
    config: RunConfig, path: Path, resume: bool, data_dir: Path | None, workers: Workers
) -> dict[str, Any] | None:
    from joulebit.experiments.run import run_training

    if workers.rank > 0:
        finished, goes_on = workers.broadcast((False, False))
        if not finished:
            run_training(config, None, goes_on, data_dir, SilentProgress(), workers)
        return None
    goes_on = resume and holds_run(path)
    opened = RunDirectory.open_for_resume if goes_on else RunDirectory.create
    with opened(path, config, workers.size) as run:
        workers.broadcast((run.finished, goes_on))
        if run.finished:
            note(f"{path} is finished: nothing to do")
            return read_summary(path)
        note(f"{config.name}: {config.model.name} on {config.data.name}, engine {config.engine}, in {path}")
        if workers.size > 1:
            note(f"{workers.size} workers, {workers.threads} threads each")
        progress = RichProgress()
        several: dict[str, Any] = {"workers": workers} if workers.size > 1 else {}
        try:
            summary = run_training(config, run, goes_on, data_dir, progress, **several)
        except BaseException:
            if not goes_on:
                run.discard_if_unused()
            raise
        finally:
            progress.finish()
        if not run.finished:
            run.write_summary(summary)
        return summary


def _table(summary: Mapping[str, Any]) -> Table:
    """The summary for people; what a run does not have is left out."""
    table = Table(show_header=False, box=None, pad_edge=False)
    energy = summary.get("energy_simulated_j") or {}

    def row(label: str, value: Any, form: str = "{}") -> None:
        if value is not None:
            table.add_row(label, form.format(value))

    row("run", summary.get("run_dir"))
    row("network", summary.get("model"))
    row("data", summary.get("dataset"))
    row("method", summary.get("method"))
    row("engine", summary.get("engine"))
    row("steps", summary.get("steps"), "{:,}")
    row("ended early by", summary.get("stopped"))
    row("test accuracy, top-1", summary.get("top1"), "{:.2f} %")
    row("test accuracy, top-5", summary.get("top5"), "{:.2f} %")
    if energy.get("total") is not None:
        row("simulated energy", si(energy["total"], "J"))
    for key, label in (
        ("saving_vs_float32", "saving against float32"),
        ("predictor_share", "signs predicted"),
        ("skip_ratio", "work of blocks skipped"),
        ("batch_share", "batches computed"),
    ):
        if summary.get(key) is not None:
            row(label, 100 * float(summary[key]), "{:.1f} %")
    if selection := summary.get("data_selection"):
        row("samples selected", 100 * float(selection["share"]), "{:.1f} %")
    row("weights, SHA-256", summary.get("weights_sha256"))
    return table
