"""Accuracy against joules: which runs no other one beats in both, as a ranked table, a figure and JSON.

A run is dominated by another of at least its accuracy for at most its joules, unless both are equal. Those that
nothing dominates are the Pareto front: rank 1. Without them, the next front is rank 2, and so on (non-dominated
sorting: Goldberg, "Genetic algorithms in search, optimization and machine learning", 1989, chapter 5). Joules are
simulated. Accuracies are those on a test set of a few hundred or thousand images: `top1_error` is the standard
deviation that the size of the test set alone gives them, and ranks inside it mean little. Rows may be means over
seeds (`joulebit.experiments.seeds`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

from joulebit.experiments.compare import Row, accuracy_text, joules, percent
from joulebit.experiments.figure_style import (
    GRID,
    INK,
    MUTED,
    PAPER,
    TINTS,
    Drawing,
    finish,
    joule_scale,
    new_figure,
)
from joulebit.experiments.label_places import places
from joulebit.experiments.rundir import jsonable

if TYPE_CHECKING:
    from rich.table import Table

_CLASS_COLOURS = ("indigo", "teal", "rose", "sand", "cyan", "purple")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")


def ranked(rows: Sequence[Row], classes: Mapping[str, str] | None = None, test_samples: int = 0) -> list[Row]:
    """The finished rows by rank, then by joules; every other row after them, with rank None.

    Adds to each row: rank, number (its place in the list, from 1), dominated_by (the label of the cheapest run of
    the front that dominates it, or None), class (by label, or an empty text), and top1_error in points (None when
    test_samples is 0).
    """
    found = [dict(row) for row in rows]
    done = [row for row in found if row["finished"] and row["top1"] is not None]
    left, rank = list(done), 0
    while left:
        rank += 1
        front = [row for row in left if not any(_dominates(other, row) for other in left)]
        for row in front:
            row["rank"] = rank
        left = [row for row in left if row not in front]
    best = sorted((row for row in done if row["rank"] == 1), key=lambda row: float(row["energy_simulated_j"]))
    for row in found:
        row.setdefault("rank", None)
        beats = [other for other in best if row["rank"] and _dominates(other, row)]
        row["dominated_by"] = beats[0]["label"] if beats else None
        row["class"] = (classes or {}).get(row["label"], "")
        share = (row["top1"] or 0.0) / 100
        row["top1_error"] = (
            100 * sqrt(share * (1 - share) / test_samples) if test_samples and row["rank"] else None
        )
    found.sort(key=lambda row: (row["rank"] or 10**9, float(row["energy_simulated_j"])))
    for number, row in enumerate(found, 1):
        row["number"] = number
    return found


def _dominates(one: Row, other: Row) -> bool:
    cheap = one["energy_simulated_j"] - other["energy_simulated_j"]
    good = one["top1"] - other["top1"]
    return bool(cheap <= 0 <= good and (cheap < 0 or good > 0))


def front(rows: Sequence[Row]) -> list[Row]:
    """The rows of rank 1, cheapest first."""
    return sorted((row for row in rows if row["rank"] == 1), key=lambda row: float(row["energy_simulated_j"]))


def render(rows: Sequence[Row]) -> Table:
    """The ranked rows as a rich table."""
    from rich import box
    from rich.table import Table

    tables = ", ".join(sorted({row["energy_table"] for row in rows}))
    table = Table(
        title="Accuracy against joules: rank 1 is the Pareto front\n"
        f"Simulated joules: counters x energy table {tables}, not measured",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    for name in ("#", "Rank"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("Run", no_wrap=True)
    if any(row["class"] for row in rows):
        table.add_column("Class", no_wrap=True)
    for name in ("Top-1", "Energy", "vs float32", "MACs saved"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("Beaten by", no_wrap=True)
    for row in rows:
        classes = [row["class"]] if any(other["class"] for other in rows) else []
        table.add_row(
            str(row["number"]),
            str(row["rank"] or "–"),
            row["label"],
            *classes,
            accuracy_text(row["top1"], row.get("top1_deviation")),
            joules(row["energy_simulated_j"]),
            percent(row["saving_vs_float32"]),
            percent(row["mac_saving"]),
            row["dominated_by"] or "",
            style="bold" if row["rank"] == 1 else None if row["finished"] else "dim",
        )
    errors = [row["top1_error"] for row in rows if row["top1_error"]]
    if errors:
        table.caption = (
            f"{_seeds(rows)}. The size of the test set alone gives a top-1 a standard deviation of about "
            f"{sum(errors) / len(errors):.1f} points."
        )
        table.caption_justify = "left"
    return table


def _seeds(rows: Sequence[Row]) -> str:
    count = max(len(row.get("seeds", (0,))) for row in rows)
    return "One seed" if count == 1 else f"Means over {count} seeds ± standard deviation"


def figure(rows: Sequence[Row]) -> Drawing | None:
    """Top-1 over joules, the front as a line, every run with its name.

    Runs far below the others stand at the lower edge, with their accuracy. Bars: standard deviations over seeds.
    """
    shown = [row for row in rows if row["rank"]]
    if not shown:
        return None
    factor, unit = joule_scale(max(float(row["energy_simulated_j"]) for row in shown))
    classes = sorted({row["class"] for row in shown})
    accuracies = sorted(row["top1"] for row in shown)
    floor = accuracies[len(accuracies) // 10]  # a run that failed does not press the others together
    spread = max(1.0, accuracies[-1] - floor)
    bottom = floor - 0.15 * spread

    def place(row: Row) -> tuple[float, float]:
        return row["energy_simulated_j"] / factor, max(row["top1"], bottom + 0.03 * spread)

    with new_figure(9.2, 6.6) as drawing:
        axes = drawing.subplots()
        axes.set_xscale("log")
        left = 0.7 * min(place(row)[0] for row in shown)
        right = 1.15 * max(place(row)[0] for row in shown)
        best = [place(row) for row in front(shown)]
        axes.step([*(x for x, _ in best), right], [*(y for _, y in best), best[-1][1]], where="post", color=MUTED,
                  linewidth=1.2, zorder=1)  # fmt: skip
        bars = [(*place(row), row["top1_deviation"]) for row in shown if _has_bar(row, bottom)]
        for x, y, deviation in bars:
            axes.errorbar(x, y, deviation, color=MUTED, elinewidth=0.8, capsize=2, zorder=2)
        for index, name in enumerate(classes):
            points = [place(row) for row in shown if row["class"] == name]
            axes.plot(*zip(*points), linestyle="none", marker=_MARKERS[index % len(_MARKERS)], markersize=8,
                      color=TINTS[_CLASS_COLOURS[index % len(_CLASS_COLOURS)]], markeredgecolor=PAPER,
                      label=name or "runs", zorder=3)  # fmt: skip
        axes.set_xlim(left, right)
        axes.set_ylim(bottom, min(100.5, accuracies[-1] + 0.2 * spread))
        axes.grid(color=GRID, which="both", axis="x")
        for axis_name in ("major", "minor"):
            getattr(axes.xaxis, f"set_{axis_name}_formatter")(lambda x, _: f"{x:g}")
        axes.set_xlabel(f"simulated energy of training ({unit})")
        axes.set_ylabel("final top-1 accuracy on the test set (%)")
        if len(classes) > 1:
            axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, fontsize=8, frameon=False)
        drawing.draw_without_rendering()  # so that the axes have their size
        _name_points(axes, [(*place(row), row) for row in shown], bottom, [*best, (right, best[-1][1])], bars)
        return finish(drawing, "pareto")


def _has_bar(row: Row, bottom: float) -> bool:
    """Whether a run shows its spread over seeds: it has one, and stands on the scale."""
    return bool(row.get("top1_deviation")) and row["top1"] >= bottom


def _name_points(
    axes: Any,
    points: Sequence[tuple[float, float, Row]],
    bottom: float,
    line: Sequence[tuple[float, float]],
    bars: Sequence[tuple[float, float, float]],
) -> None:
    """Every run's name beside its point, off the front's line and the bars; those of the front first, larger."""
    ordered = sorted(points, key=lambda point: (point[2]["rank"] > 1, -point[1]))
    scale = 72.0 / axes.figure.dpi  # pixels to printer's points
    pixels = [axes.transData.transform((x, y)) * scale for x, y, _ in ordered]
    corners = [axes.transData.transform(point) * scale for point in line]
    strokes = [
        (min(x0, x1) - 1, min(y0, y1) - 1, max(x0, x1) + 1, max(y0, y1) + 1)
        for (a, b), (c, d) in pairwise(corners)
        for (x0, y0), (x1, y1) in (((a, b), (c, b)), ((c, b), (c, d)))
    ]
    for x, y, deviation in bars:
        (left, low), (_, high) = (
            axes.transData.transform((x, y + end)) * scale for end in (-deviation, deviation)
        )
        strokes.append((left - 3, low - 1, left + 3, high + 1))
    sizes = [9.0 if row["rank"] == 1 else 7.0 for _, _, row in ordered]
    texts = [row["label"] + (f": {row['top1']:.1f} %" if row["top1"] < bottom else "") for _, _, row in ordered]
    box = axes.bbox
    area = (box.x0 * scale, box.y0 * scale, box.x1 * scale, box.y1 * scale)
    found = places(pixels, texts, sizes, area, taken=strokes)
    for (x, y, row), text, size, where in zip(ordered, texts, sizes, found):
        axes.annotate(
            text,
            (x, y),
            (where.x, where.y),
            textcoords="offset points",
            fontsize=size,
            color=INK if row["rank"] == 1 else MUTED,
            ha="center",
            va="center",
            arrowprops={"arrowstyle": "-", "color": GRID, "linewidth": 0.7, "shrinkB": 4} if where.far else None,
        )


def write(rows: Sequence[Row], folder: Path) -> list[Path]:
    """pareto.json (every row, and the names of the front), and pareto.svg and pareto.png where there is a run."""
    folder.mkdir(parents=True, exist_ok=True)
    report = {"front": [row["label"] for row in front(rows)], "rows": list(rows)}
    paths = [folder / "pareto.json"]
    paths[0].write_text(json.dumps(jsonable(report), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    drawing = figure(rows)
    if drawing:
        paths += [folder / "pareto.svg", folder / "pareto.png"]
        svg = drawing.svg.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1)
        paths[1].write_text(svg, encoding="utf-8")
        paths[2].write_bytes(drawing.png)
    return paths


def as_dict(rows: Sequence[Row], paths: Sequence[Path]) -> dict[str, Any]:
    """What `joulebit compare --json` adds for a ranked suite."""
    return {"front": [row["label"] for row in front(rows)], "files": [str(path) for path in paths]}
