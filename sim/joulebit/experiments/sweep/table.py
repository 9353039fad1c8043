"""The results of a sweep: a CSV row for each run, and for people a row for each combination of settings."""

from __future__ import annotations

import csv
import io
import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from joulebit.experiments.arrays import replace_file

if TYPE_CHECKING:
    from rich.table import Table

    from joulebit.experiments.sweep.grid import Point
    from joulebit.experiments.sweep.journal import Journal

__all__ = ["Results", "groups", "render", "write_csv"]

Row = Mapping[str, Any]
_FIGURES = ("status", "top1", "top5", "energy_simulated_j", "steps", "saving_vs_float32", "predictor_share",
            "skip_ratio", "batch_share", "weights_sha256", "seconds", "run_dir", "error")  # fmt: skip
_SHOWN = 200  # combinations in the table for people


class Results:
    """The rows of a sweep's runs in the order of the points, read from the journal at each passage."""

    def __init__(self, points: Sequence[Point], journal: Journal) -> None:
        """Every point must have ended."""
        self._points, self._journal = points, journal

    def __len__(self) -> int:
        return len(self._points)

    def __iter__(self) -> Iterator[Row]:
        for point in self._points:
            yield {**self._journal.row(point.key), "settings": point.settings, "seed": point.seed}

    @property
    def keys(self) -> list[str]:
        """Of the settings, in order of appearance."""
        return list(dict.fromkeys(key for point in self._points for key in point.settings))


def write_csv(path: Path, rows: Iterable[Row], keys: Sequence[str]) -> None:
    """One line per run: its settings (`keys`), its seed, its figures. Appears whole or not at all."""

    def write(file: IO[bytes]) -> None:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([*keys, "seed", *_FIGURES])
        for row in rows:
            figures = [row.get(name) for name in _FIGURES]
            writer.writerow([*(row["settings"].get(key) for key in keys), row["seed"], *figures])
        text.detach()  # flushes, and leaves the file open

    replace_file(path, write)


class _Group:
    """Gathers the figures of one combination."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.settings = dict(settings)
        self.done = self.failed = 0
        self.top1: list[float] = []
        self.energy: list[float] = []

    def add(self, row: Row) -> None:
        if row["status"] != "done":
            self.failed += 1
            return
        self.done += 1
        for name, values in (("top1", self.top1), ("energy_simulated_j", self.energy)):
            if row.get(name) is not None:
                values.append(row[name])

    def figures(self) -> dict[str, Any]:
        return {
            "settings": self.settings,
            "done": self.done,
            "failed": self.failed,
            "top1": _mean(self.top1),
            "top1_spread": _spread(self.top1),
            "energy_simulated_j": _mean(self.energy),
            "energy_spread_j": _spread(self.energy),
        }


def groups(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """For each combination of settings: how many runs are done and failed, mean and spread over the seeds.

    top1 in percent, energy in simulated joules; the spread is the sample standard deviation, None for one run.
    """
    found: dict[str, _Group] = {}
    for row in rows:
        name = repr(row["settings"])
        if name not in found:
            found[name] = _Group(row["settings"])
        found[name].add(row)
    return [group.figures() for group in found.values()]


def _spread(values: Sequence[float]) -> float | None:
    return statistics.stdev(values) if len(values) > 1 else None


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def render(combined: Sequence[Mapping[str, Any]], file: Path) -> Table:
    """The groups as a rich table, the first 200 of them; `file` holds all runs."""
    from rich import box
    from rich.table import Table

    keys = list(dict.fromkeys(key for group in combined for key in group["settings"]))
    table = Table(
        box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left", title="Simulated joules, not measured"
    )
    for key in keys:
        table.add_column(key)
    failures = any(group["failed"] for group in combined)
    for title in ("runs", *(("failed",) if failures else ()), "top-1", "energy"):
        table.add_column(title, justify="right", no_wrap=True)
    for group in combined[:_SHOWN]:
        cells = [str(group["settings"].get(key, "–")) for key in keys]
        table.add_row(
            *cells,
            str(group["done"]),
            *((str(group["failed"] or ""),) if failures else ()),
            _with_spread(group["top1"], group["top1_spread"], "{:.2f}", " %"),
            _with_spread(group["energy_simulated_j"], group["energy_spread_j"], "{:.4g}", " J"),
        )
    more = f", and {len(combined) - _SHOWN} more combinations" if len(combined) > _SHOWN else ""
    table.caption, table.caption_justify = f"All runs: {file}{more}", "left"
    return table


def _with_spread(mean: float | None, spread: float | None, form: str, unit: str) -> str:
    if mean is None:
        return "–"
    around = f" ± {form.format(spread)}" if spread is not None else ""
    return form.format(mean) + around + unit
