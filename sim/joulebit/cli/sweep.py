"""`joulebit sweep`."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from joulebit.cli.console import clean_stdout, command_line, emit_json, json_option, note, notes, show, si
from joulebit.errors import JoulebitError

SWEEPS = Path("runs")
_LOG_EVERY_S = 30.0
_MANY = 1000  # runs of a sweep of which not every one is told
_TELL_EVERY_S = 1.0  # one of those


@click.command()
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE.toml")
@click.option(
    "--workers", type=click.IntRange(1, 1024), default=2, show_default=True, help="Processes on this machine."
)
@click.option("--scheduler", metavar="ADDR", help="A Dask cluster instead, such as tcp://host:8786.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Where data sets lie (or JOULEBIT_DATA_DIR).")
@click.option(
    "--out-dir", type=click.Path(path_type=Path), help="Where the sweep is kept; runs/sweep-NAME by default."
)
@click.option(
    "--retries",
    type=click.IntRange(0, 100),
    default=2,
    show_default=True,
    help="How often a failed run is tried again.",
)
@click.option("--dry-run", is_flag=True, help="Check the description and say how many runs it has.")
@json_option
def sweep(
    file: Path,
    workers: int,
    scheduler: str | None,
    data_dir: Path | None,
    out_dir: Path | None,
    retries: int,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Do a grid of training runs, several at a time, on this machine or on a Dask cluster.

    Called again, it goes on: finished runs are kept, stopped ones continue from their last checkpoint.
    """
    from joulebit.experiments.sweep.grid import read_sweep
    from joulebit.experiments.sweep.journal import Journal
    from joulebit.experiments.sweep.table import Results, groups, render, write_csv

    described = read_sweep(file)
    folder = out_dir or SWEEPS / f"sweep-{described.name}"
    with clean_stdout():
        points = described.points(_Checking(described.combinations))
    if dry_run:
        note(f"{described.name}: {len(points)} runs, {described.combinations} combinations, in {folder}")
        if as_json:
            emit_json({"sweep": described.name, "sweep_dir": str(folder), "points": len(points)})
        return
    again = command_line("sweep", str(file), scheduler=scheduler, data_dir=data_dir, out_dir=out_dir)
    with clean_stdout(), Journal(folder) as journal:
        _execute(points, journal, folder.resolve(), data_dir, workers, scheduler, retries, again)
        rows = Results(points, journal)
        write_csv(folder / "results.csv", rows, rows.keys)
        combined = groups(rows)
        failed = sum(group["failed"] for group in combined)
        failures = (row["error"] for row in rows if row["status"] == "failed")
        first_error = next(failures) if failed else None
        listed = list(rows) if as_json else []
    if as_json:
        emit_json({"sweep": described.name, "sweep_dir": str(folder), "failed": failed,
                   "groups": combined, "runs": listed})  # fmt: skip
    else:
        show(render(combined, folder / "results.csv"))
    if failed:
        note(f"{failed} of {len(rows)} runs failed, the first by: {first_error}; try them again with: {again}")
        raise SystemExit(1)


def _execute(
    points: list[Any],
    journal: Any,
    folder: Path,
    data_dir: Path | None,
    workers: int,
    scheduler: str | None,
    retries: int,
    again: str,
) -> None:
    from joulebit.data.load import resolve_data_dir
    from joulebit.experiments.sweep.execute import ClusterLostError, cluster, execute

    done = sum(journal.done(point.key) for point in points)
    if done == len(points):
        note(f"{folder}: all {done} runs are finished")
        return
    workers = min(workers, len(points) - done)
    where = f"the cluster at {scheduler}" if scheduler else f"{workers} processes"
    note(f"{len(points)} runs, {done} of them finished, on {where}, in {folder}")
    progress = _SweepBar(len(points), done)
    try:
        with cluster(workers, scheduler) as client, progress:
            execute(client, points, journal, folder, resolve_data_dir(data_dir), progress, retries)
    except ClusterLostError as lost:
        raise JoulebitError(
            f"{lost}; {progress.done} of {len(points)} runs are kept; go on with: {again}"
        ) from lost
    except KeyboardInterrupt:
        note(f"stopped; {progress.done} of {len(points)} runs are finished; go on with: {again}")
        raise SystemExit(130) from None


class _Checking:
    """Says now and then how many combinations were checked, where that takes long."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._told = time.monotonic()

    def __call__(self, number: int) -> None:
        if time.monotonic() - self._told >= 2:
            self._told = time.monotonic()
            note(f"{number} of {self._total} combinations checked")


class _SweepBar:
    """Implements `SweepProgress` on stderr: a bar on a terminal, lines elsewhere.

    Each run that ends is a line; of 1,000 and more, one a second, and every failure.
    """

    def __init__(self, total: int, done: int) -> None:
        self.done = done
        self._total = total
        self._failed = 0
        self._console = notes()
        self._logged = time.monotonic()
        self._told = -math.inf
        self._bar = Progress(
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[state]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("sweep", total=total, completed=done, state="")

    def __enter__(self) -> _SweepBar:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def ended(self, row: Mapping[str, Any]) -> None:
        done = row["status"] == "done"
        self.done += done
        self._failed += not done
        if done and self._total >= _MANY and time.monotonic() - self._told < _TELL_EVERY_S:
            return
        self._told = time.monotonic()
        settings = ", ".join(f"{key} = {value}" for key, value in row["settings"].items())
        name = f"{settings}, seed {row['seed']}" if settings else f"seed {row['seed']}"
        if done:
            energy = row.get("energy_simulated_j")
            figures = f"top-1 {row['top1']:.2f} %" if row.get("top1") is not None else "done"
            figures += f"  {si(energy, 'J')}" if energy is not None else ""
        else:
            figures = f"failed: {row['error']}"
        self._console.print(f"[{self.done + self._failed}/{self._total}] {name}: {figures}")

    def failed(self, key: str, error: str, attempt: int) -> None:
        self._console.print(f"run {key[:16]}: attempt {attempt} failed ({error}); it is tried again")

    def running(self, shares: Mapping[str, float]) -> None:
        part = sum(shares.values())
        state = f"{len(shares)} running" + (f", {self._failed} failed" if self._failed else "")
        self._bar.update(self._task, completed=self.done + self._failed + part, state=state)
        if not self._console.is_terminal and time.monotonic() - self._logged >= _LOG_EVERY_S:
            self._logged = time.monotonic()
            self._console.print(f"{self.done + self._failed + part:.2f} of {self._total} runs, {state}")
