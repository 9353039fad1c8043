"""The figures of the efficiency framework: efficiency over epochs, over sizes, by criterion, and between
architectures.

The forms are those of the paper's Figures 5 to 11, but for `over_sizes`, which shows what its Tables 3 to 10 hold;
the look is `joulebit.experiments.figure_style`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator

from joulebit.experiments.efficiency.trials import CRITERIA, EPOCHS, LONGER
from joulebit.experiments.figure_style import (
    INK,
    MUTED,
    PAPER,
    RUN_COLOURS,
    WIDTH,
    Drawing,
    finish,
    legend_above,
    new_figure,
    patch,
)

Row = Mapping[str, Any]
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
_UNIT = "efficiency (accuracy per joule, 1/J)"


def _distinct(rows: Sequence[Row], key: str) -> list[str]:
    return list(dict.fromkeys(row[key] for row in rows))


def _colours(rows: Sequence[Row]) -> dict[str, str]:
    return {name: RUN_COLOURS[i % len(RUN_COLOURS)] for i, name in enumerate(_distinct(rows, "architecture"))}


def _log_axis(axes: Any, which: str) -> None:
    """A logarithmic axis with plain numbers, some of them between the powers of ten."""
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    axis = axes.xaxis if which == "x" else axes.yaxis
    plain = FuncFormatter(lambda value, _: f"{value:g}")
    axis.set_major_formatter(plain)
    axis.set_minor_locator(LogLocator(subs=(2.0, 3.0, 5.0, 7.0)))
    axis.set_minor_formatter(plain)


def over_epochs(found: Mapping[str, Any]) -> Drawing | None:
    """Equation (2): a panel per task, a curve per model (Figures 5 and 6)."""
    curves = [row for row in found["curves"] if row["criterion"] == EPOCHS]
    longer = {
        (row["task"], row["architecture"], row["size"]): row
        for row in found["curves"]
        if row["criterion"] == LONGER
    }
    if not curves:
        return None
    shown = [longer.get((row["task"], row["architecture"], row["size"]), row) for row in curves]
    tasks, colours, sizes = _distinct(shown, "task"), _colours(shown), _distinct(shown, "size")
    with new_figure(WIDTH, 4.2) as figure:
        panels = figure.subplots(1, len(tasks), squeeze=False)[0]
        for axes, task in zip(panels, tasks):
            for row in shown:
                if row["task"] == task:
                    axes.plot(
                        row["epochs"], row["efficiency"], color=colours[row["architecture"]], linewidth=1.6,
                        marker=_MARKERS[sizes.index(row["size"]) % len(_MARKERS)], markersize=4.5,
                        markeredgecolor=PAPER, markeredgewidth=0.6,
                    )  # fmt: skip
            _log_axis(axes, "y")
            axes.set_xlabel("epochs")
            axes.set_title(task, fontsize=10.5, color=INK, loc="left")
        panels[0].set_ylabel(_UNIT)
        handles = [patch(colour, name) for name, colour in colours.items()]
        handles += [
            Line2D([], [], color=MUTED, marker=_MARKERS[i % len(_MARKERS)], linestyle="none", label=size)
            for i, size in enumerate(sizes)
        ]
        legend_above(figure, handles, 6)
        return finish(figure, "efficiency-epochs")


def over_sizes(found: Mapping[str, Any]) -> Drawing | None:
    """Every model's efficiency over the sizes: a panel per criterion (a row per task), a line per architecture.

    Bars are standard deviations over seeds. None where there is one size alone.
    """
    rows = [row for row in found["models"] if row["criterion"] in CRITERIA]
    sizes = _distinct(rows, "size")
    if len(sizes) < 2:
        return None
    tasks, colours = _distinct(rows, "task"), _colours(rows)
    criteria = [name for name in CRITERIA if name in _distinct(rows, "criterion")]
    labels, axis = _size_labels(sizes)
    with new_figure(WIDTH, 1.3 + 2.4 * len(tasks)) as figure:
        panels = figure.subplots(len(tasks), len(criteria), squeeze=False, sharex=True, sharey="row")
        for axes, (task, criterion) in zip(panels.flat, product(tasks, criteria)):
            for name, colour in colours.items():
                shown = [
                    row
                    for row in rows
                    if (row["task"], row["architecture"], row["criterion"]) == (task, name, criterion)
                ]
                axes.errorbar(
                    [sizes.index(row["size"]) for row in shown],
                    [row["efficiency"] for row in shown],
                    [row["efficiency_deviation"] or 0.0 for row in shown],
                    color=colour, linewidth=1.6, marker="o", markersize=4.5, capsize=2.5, elinewidth=1.0,
                    markeredgecolor=PAPER, markeredgewidth=0.6,
                )  # fmt: skip
            _log_axis(axes, "y")
            axes.set_xticks(range(len(sizes)), labels)
            axes.set_title(
                criterion if len(tasks) == 1 else f"{task}: {criterion}", fontsize=10.5, color=INK, loc="left"
            )
        for axes in panels[:, 0]:
            axes.set_ylabel("accuracy per joule, 1/J")
        for axes in panels[-1]:
            axes.set_xlabel(axis)
        legend_above(figure, [patch(colour, name) for name, colour in colours.items()], 4)
        return finish(figure, "efficiency-sizes")


def _size_labels(sizes: Sequence[str]) -> tuple[list[str], str]:
    """Labels of the sizes, and of their axis: x1, x2 where they are widths of one network (lenet5, lenet5x2)."""
    base = min(sizes, key=len)
    if all(re.fullmatch(rf"{re.escape(base)}(x\d+)?", size) for size in sizes):
        return [size[len(base) :] or "x1" for size in sizes], f"width of {base}"
    return list(sizes), "size"


def boxes(found: Mapping[str, Any], by: str) -> Drawing | None:
    """Box plots of the models' efficiencies: by criterion over sizes (Figures 8, 9), or by size (10, 11)."""
    rows = [row for row in found["models"] if row["criterion"] in CRITERIA]
    if not rows:
        return None
    groups = (
        [name for name in CRITERIA if name in _distinct(rows, by)] if by == "criterion" else _distinct(rows, by)
    )
    tasks, colours = _distinct(rows, "task"), _colours(rows)
    width = 0.8 / len(colours)
    with new_figure(WIDTH, 3.9) as figure:
        panels = figure.subplots(1, len(tasks), squeeze=False)[0]
        for axes, task in zip(panels, tasks):
            for place, (name, colour) in enumerate(colours.items()):
                for group, label in enumerate(groups):
                    values = [
                        row["efficiency"]
                        for row in rows
                        if (row["task"], row["architecture"], row[by]) == (task, name, label)
                    ]
                    if values:
                        _box(axes, values, group + (place + 0.5) * width - 0.4, 0.78 * width, colour)
            _log_axis(axes, "y")
            axes.set_xticks(range(len(groups)), groups)
            axes.set_xlim(-0.6, len(groups) - 0.4)
            axes.grid(axis="x", visible=False)
            axes.set_title(task, fontsize=10.5, color=INK, loc="left")
        panels[0].set_ylabel(_UNIT)
        legend_above(figure, [patch(colour, name) for name, colour in colours.items()], 4)
        return finish(figure, f"efficiency-{by}")


def _box(axes: Any, values: Sequence[float], position: float, width: float, colour: str) -> None:
    """Quartiles, median, whiskers to the extremes, and every value as a point."""
    axes.boxplot(
        [values], positions=[position], widths=width, whis=(0, 100), showfliers=False, patch_artist=True,
        manage_ticks=False,
        boxprops={"facecolor": colour, "alpha": 0.35, "edgecolor": colour},
        medianprops={"color": INK, "linewidth": 1.4},
        whiskerprops={"color": colour}, capprops={"color": colour},
    )  # fmt: skip
    axes.plot(np.full(len(values), position), values, marker="o", markersize=3.5, linestyle="none", color=colour,
              markeredgecolor=PAPER, markeredgewidth=0.5)  # fmt: skip


def against_each_other(found: Mapping[str, Any]) -> Drawing | None:
    """Two architectures' efficiencies by criterion, one against the other (Figure 7); None without two."""
    rows = found["architectures"]
    names = _distinct(rows, "architecture")
    if len(names) != 2:
        return None
    values = {(row["task"], row["architecture"], row["criterion"]): row["efficiency"] for row in rows}
    tasks = _distinct(rows, "task")
    criteria = [name for name in CRITERIA if name in _distinct(rows, "criterion")]
    with new_figure(WIDTH * 0.62, 4.4) as figure:
        axes = figure.subplots()
        everything = []
        for number, task in enumerate(tasks):
            for place, criterion in enumerate(criteria):
                x, y = (values.get((task, name, criterion)) for name in names)
                if x and y:
                    everything += [x, y]
                    axes.plot(x, y, marker=_MARKERS[place], markersize=9, linestyle="none",
                              color=RUN_COLOURS[(number + 2) % len(RUN_COLOURS)],
                              markeredgecolor=PAPER, markeredgewidth=1.0)  # fmt: skip
        if not everything:
            return None
        low, high = min(everything) * 0.8, max(everything) * 1.25
        axes.plot([low, high], [low, high], color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
        _log_axis(axes, "x")
        _log_axis(axes, "y")
        axes.set_xlim(low, high)
        axes.set_ylim(low, high)
        axes.set_xlabel(f"{names[0]}: {_UNIT}")
        axes.set_ylabel(f"{names[1]}: {_UNIT}")
        handles = [patch(RUN_COLOURS[(i + 2) % len(RUN_COLOURS)], task) for i, task in enumerate(tasks)]
        handles += [
            Line2D([], [], color=MUTED, marker=_MARKERS[i], linestyle="none", label=name)
            for i, name in enumerate(criteria)
        ]
        legend_above(figure, handles, 5)
        return finish(figure, "efficiency-against")
