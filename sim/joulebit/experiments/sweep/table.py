"""The results of a sweep: a CSV row for each run, and for people a row for each combination of settings."""

from __future__ import annotations

import csv
import io
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from joulebit.experiments.arrays import replace_file

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["groups", "render", "write_csv"]

Row = Mapping[str, Any]
_FIGURES = ("status", "top1", "top5", "energy_simulated_j", "steps", "saving_vs_float32", "predictor_share",
            "skip_ratio", "batch_share", "weights_sha256", "seconds", "run_dir", "error")  # fmt: skip
_SHOWN = 200  # combinations in the table for people


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """One line per run: its settings, its seed, its figures. Appears whole or not at all."""
    keys = list(dict.fromkeys(key for row in rows for key in row["settings"]))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*keys, "seed", *_FIGURES])
    for row in rows:
        figures = [row.get(name) for name in _FIGURES]
        writer.writerow([*(row["settings"].get(key) for key in keys), row["seed"], *figures])
    replace_file(path, lambda file: file.write(text.getvalue().encode()))


def groups(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """For each combination of settings: how many runs are done and failed, mean and spread over the seeds.

    top1 in percent, energy in simulated joules; the spread is the sample standard deviation, None for one run.
    """
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(repr(row["settings"]), []).append(row)
    return [_group(members) for members in found.values()]


def _group(members: Sequence[Row]) -> dict[str, Any]:
    done = [row for row in members if row["status"] == "done"]
    top1 = [row["top1"] for row in done if row.get("top1") is not None]
    energy = [row["energy_simulated_j"] for row in done if row.get("energy_simulated_j") is not None]
    return {
        "settings": dict(members[0]["settings"]),
        "done": len(done),
        "failed": len(members) - len(done),
        "top1": _mean(top1),
        "top1_spread": statistics.stdev(top1) if len(top1) > 1 else None,
        "energy_simulated_j": _mean(energy),
        "energy_spread_j": statistics.stdev(energy) if len(energy) > 1 else None,
    }


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
