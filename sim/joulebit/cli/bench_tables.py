"""The results of `joulebit bench` as tables for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

Row = Mapping[str, Any]


def _table(left: Sequence[str], right: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in left:
        table.add_column(title)
    for title in right:
        table.add_column(title, justify="right", no_wrap=True)
    return table


def spread(row: Row) -> str:
    """A ratio with its 10th and 90th percentile."""
    return f"{row['ratio']:.2f} ({row['ratio_low']:.2f} to {row['ratio_high']:.2f})"


def networks_table(results: Sequence[Row]) -> Table:
    """Of `bench_networks`."""
    table = _table(("network",), ("batch", "threads", "float32 ms", "fixed point / float32", "PSG / float32"))
    for row in results:
        table.add_row(
            row["model"], str(row["batch"]), str(row["threads"]), f"{1000 * row['float32_step_s']:.1f}",
            spread(row["relative"]["integer"]), spread(row["relative"]["integer_psg"]),
        )  # fmt: skip
    return table


def peers_table(result: Row) -> Table:
    """Of `bench_peers`."""
    table = _table(("network", "trained by"), ("ms", "time / float32"))
    table.add_column("computes")
    for model, found in result["models"].items():
        for name, row in found["peers"].items():
            peer = result["peers"][name]
            table.add_row(model, peer["title"], f"{1000 * row['step_s']:.1f}", spread(row), peer["computes"])
    return table


def growth_table(result: Row) -> Table:
    """Of `bench_growth`."""
    table = _table(("", "cost", "over"), ("from", "to", "overhead", "slope", "off by"))
    for name, curve in result["curves"].items():
        first, last = curve["points"][0], curve["points"][-1]
        ends = [f"{point['y']:.4g} at {point['x']:g}" for point in (first, last)]
        law = curve.get("law")
        fitted = (f"{law['overhead']:.3g}", f"{law['slope']:.3g}", f"{100 * law['off_by']:.0f} %") if law else ()
        table.add_row(name.replace("_", " "), curve["y"], curve["x"], *ends, *fitted)
    return table


def workers_table(result: Row) -> Table:
    """Of `bench_workers`."""
    table = _table(("started", "weights, SHA-256"), ("threads each", "ms", "time / one process"))
    for row in result["launches"]:
        started = f"torchrun, {row['workers']}" if row["workers"] else "one process"
        digest = row["weights_sha256"][:16]
        table.add_row(started, digest, str(row["threads"]), f"{1000 * row['step_s']:.1f}", spread(row))
    return table


def kernels_table(rows: Sequence[Row]) -> Table:
    """Of `bench_kernels`."""
    table = _table(("kernel", "shape"), ("calls", "ms", "CPU ms", "GMAC/s", "of peak", "GB/s", "of peak"))
    for row in rows:
        products = (
            ("", "") if row["gmac_s"] is None else (f"{row['gmac_s']:.0f}", f"{100 * row['gmac_share']:.0f} %")
        )
        table.add_row(
            row["name"], row["shape"], str(row["calls"]), f"{1000 * row['s']:.2f}", f"{1000 * row['cpu_s']:.2f}",
            *products, f"{row['gb_s']:.1f}", f"{100 * row['gb_share']:.0f} %",
        )  # fmt: skip
    return table
