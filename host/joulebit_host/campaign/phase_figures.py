"""The figure of the energies by phase in all ways side by side, with the residuals of the mixes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from joulebit.experiments.figure_style import (
    GRID,
    INK,
    MUTED,
    PAPER,
    TINTS,
    WIDTH,
    Drawing,
    finish,
    joule_scale,
    legend_above,
    new_figure,
)
from joulebit_host.campaign.energy_figures import name_rows
from joulebit_host.campaign.phases import WAYS, is_usable, mix_label, phase_order

_LOOK = {
    "replay": ("o", TINTS["teal"], "replay"),
    "regression": ("D", TINTS["indigo"], "regression over mixes"),
    "markers": ("s", TINTS["sand"], "markers"),
}


def ways(phases: Sequence[Mapping[str, Any]]) -> Drawing | None:
    """A row of panels for each method that was divided: its phases, and the residuals of its mixes.

    Methods whose phases are known by markers alone have a figure of their own (`energy_figures.phases`).

    Args:
        phases: see `phases.phase_energies`.
    """
    usable = [way for way in phases if is_usable(way)]
    key = ("whole_method", "model", "meter", "device")
    measured = [way for way in usable if way["method"] != "markers"]
    methods = list(dict.fromkeys(tuple(way[k] for k in key) for way in measured))
    if not methods:
        return None
    found = [[way for way in usable if tuple(way[k] for k in key) == method] for method in methods]
    heights = [0.9 + 0.42 * max(len(phase_order(of)), *(_mixes(way) for way in of)) for of in found]
    with new_figure(WIDTH, 0.6 + sum(heights)) as figure:
        ratios = {"height_ratios": heights, "width_ratios": [3, 2]}
        panels = figure.subplots(len(found), 2, squeeze=False, gridspec_kw=ratios)
        for (left, right), of in zip(panels, found):
            _energies(left, of)
            fit = next((way["fit"] for way in of if way["fit"]), None)
            if fit is None:
                right.set_visible(False)
            else:
                _residuals(right, fit)
        handles = [
            Line2D([], [], marker=marker, color=colour, linewidth=1.4, markersize=6, label=label)
            for name, (marker, colour, label) in _LOOK.items()
            if any(way["method"] == name for way in usable)
        ]
        legend_above(figure, handles, 3)
        return finish(figure, "ways")


def _mixes(way: Mapping[str, Any]) -> int:
    return len(way["fit"]["residuals"]) if way["fit"] else 0


def _energies(axes: Any, of: Sequence[Mapping[str, Any]]) -> None:
    names = phase_order(of)
    factor, unit = joule_scale(max(abs(q["value"]) for way in of for q in way["energies"].values()))
    for way in of:
        marker, colour, _ = _LOOK[way["method"]]
        offset = 0.22 * (WAYS.index(way["method"]) - 1)
        for row, name in enumerate(names):
            q = way["energies"].get(name)
            if q is not None:
                axes.errorbar(
                    q["value"] / factor, row + offset, xerr=q["u_k2"] / factor, color=colour, fmt=marker,
                    markersize=6, markeredgecolor=PAPER, markeredgewidth=0.7, linewidth=1.4, capsize=3,
                )  # fmt: skip
    axes.axvline(0, color=MUTED, linewidth=0.8)
    name_rows(axes, [name.replace("_", " ") for name in names])
    axes.grid(axis="y", visible=False)
    axes.set_title(of[0]["whole_method"], loc="left", fontsize=10, fontweight="bold", color=INK, pad=6)
    axes.set_xlabel(f"net energy of one run ({unit})")
    axes.xaxis.set_major_locator(MaxNLocator(6))


def _residuals(axes: Any, fit: Mapping[str, Any]) -> None:
    """Each mix's residual in units of its own expanded uncertainty."""
    rows = fit["residuals"]
    axes.axvspan(-1, 1, color=GRID, linewidth=0, zorder=0)
    axes.axvline(0, color=MUTED, linewidth=0.8)
    for row, r in enumerate(rows):
        size = r["residual_j"] / r["residual_u_k2_j"] if r["residual_u_k2_j"] else 0.0
        axes.plot([0, size], [row, row], color=TINTS["indigo"], linewidth=1.4)
        axes.plot([size], [row], marker="D", markersize=6, color=TINTS["indigo"], markeredgecolor=PAPER)
    name_rows(axes, [mix_label(r["executions"]) for r in rows])
    axes.grid(axis="y", visible=False)
    axes.set_title(f"mixes: chi² {fit['chi2']:.3g}, {fit['dof']} dof", loc="left", fontsize=10, color=INK, pad=6)
    axes.set_xlabel("residual / expanded uncertainty")
    axes.margins(x=0.15)
