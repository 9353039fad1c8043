"""Runs side by side, as a table like the paper's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from joulebit.experiments.config import config_hash
from joulebit.experiments.results import Result, baseline, labels, load_results

if TYPE_CHECKING:
    from rich.table import Table

Row = dict[str, Any]


def compare(runs: Sequence[Path | str]) -> list[Row]:
    """One row per run, in the order given.

    Energies are simulated joules. Shares and savings are fractions of 1; None where a run has no such figure,
    top1 and top5 are in percent.

    Raises:
        ResultError, RunDirectoryError, ConfigError: a run that cannot be read, in one line.
    """
    return rows(load_results(runs))


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
