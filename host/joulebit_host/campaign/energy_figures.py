"""The figures of a campaign's report that show energies and power; each is None where there is nothing to show.

The look is that of the training report, see `joulebit.experiments.figure_style`; the numbers come from `series`.
All intervals are expanded uncertainties (k = 2).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from joulebit.energy.counters import PHASES
from joulebit.experiments.figure_style import (
    BASELINE_COLOUR,
    GRID,
    INK,
    MUTED,
    PAPER,
    RUN_COLOURS,
    TINTS,
    WIDTH,
    Drawing,
    finish,
    joule_scale,
    legend_above,
    new_figure,
    patch,
    short,
)
from joulebit_host.campaign.entry import ENERGIES, quantity
from joulebit_host.campaign.series import Group, Phases, Trace
from joulebit_host.campaign.text import joules
from joulebit_host.session.uncertainty import Quantity

_TITLES = {"gross": "gross", "idle": "idle", "net": "net = gross − idle"}
_PHASE_COLOURS = {
    "forward": TINTS["teal"],
    "input_gradient": TINTS["cyan"],
    "weight_gradient": TINTS["indigo"],
    "update": TINTS["sand"],
    "other": TINTS["pale"],
    "selection": TINTS["rose"],
    "teacher": TINTS["purple"],
}
ROW = 0.34  #: inches
MOST_ROWS = 40


def colours(groups: Sequence[Group]) -> list[str]:
    """One per group, the same in all figures: of its method."""
    methods = list(dict.fromkeys(group.summary["method"] for group in groups))
    cycle = dict(zip(methods, itertools.cycle(RUN_COLOURS)))
    return [cycle[group.summary["method"]] for group in groups]


def energies(groups: Sequence[Group]) -> Drawing | None:
    """Top, gross, idle and net energy, means over repeats; below, how far each cell is from its mean."""
    shown = [(g, c) for g, c in zip(groups, colours(groups)) if g.entries][:MOST_ROWS]
    if not shown:
        return None
    rows = 0.5 + len(shown) * max(0.46, 0.12 * max(len(g.entries) for g, _ in shown))
    with new_figure(WIDTH, 1.2 + 2 * rows) as figure:
        panels = figure.subplots(2, 3, sharey=True)
        for number, energy in enumerate(ENERGIES):
            if any(_quantities(g, energy) for g, _ in shown):
                _means(panels[0, number], shown, energy)
                _deviations(panels[1, number], shown, energy)
            else:
                for axes in panels[:, number]:
                    axes.set_visible(False)
        name_rows(panels[0, 0], [group.label for group, _ in shown])
        return finish(figure, "energies")


def _means(axes: Any, shown: Sequence[tuple[Group, str]], energy: str) -> None:
    known = [(row, g, c, *_mean(g, energy)) for row, (g, c) in enumerate(shown)]
    found = [(value, width) for _, _, _, value, width in known if value is not None and width is not None]
    factor, unit = joule_scale(max(abs(value) for value, _ in found))
    for row, _, colour, value, width in known:
        if value is None or width is None:
            continue
        axes.errorbar(
            value / factor, row, xerr=width / factor, color=INK, fmt="D", markersize=6.5, markerfacecolor=colour,
            markeredgecolor=PAPER, markeredgewidth=0.8, linewidth=1.5, capsize=3.5, zorder=4,
        )  # fmt: skip
        axes.annotate(
            joules(value, width).rsplit(" ", 1)[0], (value / factor, row), (0, 8), textcoords="offset points",
            ha="center", va="bottom", fontsize=8.5, color=INK,
        )  # fmt: skip
    joule_axis(axes, [(value / factor, width / factor) for value, width in found])
    axes.margins(x=0.3)
    axes.set_title(f"{_TITLES[energy]} ({unit})", loc="left", fontsize=10, fontweight="bold", color=INK, pad=6)
    axes.grid(axis="y", visible=False)


def _deviations(axes: Any, shown: Sequence[tuple[Group, str]], energy: str) -> None:
    for row, (group, colour) in enumerate(shown):
        mean, _ = _mean(group, energy)
        cells = _quantities(group, energy)
        for i, q in enumerate(cells):
            if mean:
                y = row + (0.34 * (2 * (i + 0.5) / len(cells) - 1) if len(cells) > 1 else 0.0)
                deviation, width = 100 * (q.value - mean) / abs(mean), 100 * q.expanded / abs(mean)
                axes.errorbar(deviation, y, xerr=width, color=colour, fmt="o", markersize=4, linewidth=1.2)
    axes.axvline(0, color=MUTED, linewidth=1.0, dashes=(4, 3))
    axes.set_xlabel(f"{energy}: cell − mean (% of the mean)")
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.grid(axis="y", visible=False)


def _quantities(group: Group, energy: str) -> list[Quantity]:
    return [quantity(entry, energy) for entry in group.entries if entry[energy] is not None]


def _mean(group: Group, energy: str) -> tuple[float | None, float | None]:
    width = "u_k2_j" if energy == "net" else f"{energy}_u_k2_j"
    return group.summary[f"{energy}_j"], group.summary[width]


def joule_axis(axes: Any, found: Sequence[tuple[float, float]]) -> None:
    """Logarithmic where all is well above 0 and spans more than a decade and a half."""
    lowest = min(value - width for value, width in found)
    if lowest > 0 and max(value for value, _ in found) > 30 * lowest:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5))


def name_rows(axes: Any, labels: Sequence[str]) -> None:
    """Labels from top to bottom."""
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.45, -0.55)
    axes.tick_params(axis="y", length=0)


def side_text(axes: Any, row: float, text: str, strong: bool = True) -> None:
    """Text to the right of a row's end."""
    axes.annotate(
        text, (1.0, row), (8, 0), xycoords=axes.get_yaxis_transform(), textcoords="offset points", va="center",
        fontsize=9, color=INK if strong else MUTED,
    )  # fmt: skip


def plain_log(axis: Any) -> None:
    """Ticks 1, 2, 5, 10 ... in plain numbers on a logarithmic axis."""
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    axis.set_minor_formatter(NullFormatter())


def differences(verdicts: Sequence[Mapping[str, Any]], energy: str = "net") -> Drawing | None:
    """Which method uses less: each difference in units of what can be resolved.

    Args:
        verdicts: rows of the report's table of verdicts: claim, energy, resolved, difference_j, u_k2_j, ...
        energy: of which energy.
    """
    shown = [v for v in verdicts if v["energy"] == energy and v["u_k2_j"]]
    shown = sorted(shown, key=lambda v: -abs(v["difference_j"]) / v["u_k2_j"])[:MOST_ROWS]
    if not shown:
        return None
    where = {key: len({v[key] for v in shown}) > 1 for key in ("model", "meter", "device")}
    with new_figure(WIDTH, 1.25 + ROW * len(shown)) as figure:
        axes = figure.subplots()
        sizes = [max(abs(v["difference_j"]) / v["u_k2_j"], 0.05) for v in shown]
        left, right = min(0.3, *(0.7 * size for size in sizes)), 1.5 * max(3.0, *sizes)
        axes.axvspan(left, 1, color=GRID, linewidth=0, zorder=0)
        for row, (v, size) in enumerate(zip(shown, sizes)):
            colour = TINTS["teal"] if v["resolved"] else BASELINE_COLOUR
            axes.plot([left, size], [row, row], color=colour, linewidth=2.2, solid_capstyle="butt")
            axes.plot([size], [row], marker="o", markersize=7, color=colour if v["resolved"] else PAPER,
                      markeredgecolor=colour, markeredgewidth=1.5)  # fmt: skip
            text = f"by {joules(abs(v['difference_j']), v['u_k2_j'])}" if v["resolved"] else "not resolved"
            side_text(axes, row, text, v["resolved"])
        axes.set_xscale("log")
        axes.set_xlim(left, right)
        plain_log(axes.xaxis)
        name_rows(axes, [", ".join([v["claim"], *(v[k] for k, many in where.items() if many)]) for v in shown])
        axes.grid(axis="y", visible=False)
        axes.set_xlabel(f"difference of the {energy} energies / its expanded uncertainty (grey: not resolved)")
        return finish(figure, "differences")


def power(shown: Sequence[tuple[Group, Trace]], groups: Sequence[Group]) -> Drawing | None:
    """Power over the time of one cell per group, with its windows."""
    if not shown:
        return None
    chosen = dict(zip((id(group) for group in groups), colours(groups)))
    with new_figure(WIDTH, 0.85 + 1.55 * len(shown)) as figure:
        panels = figure.subplots(len(shown), 1, squeeze=False)[:, 0]
        for axes, (group, trace) in zip(panels, shown):
            colour = chosen[id(group)]
            for begin, end in trace.idle_s:
                axes.axvspan(begin, end, color=GRID, linewidth=0, zorder=0)
            for begin, end in trace.window_s:
                axes.axvspan(begin, end, color=TINTS["sand"], alpha=0.35, linewidth=0, zorder=0)
            for begin, end in trace.gap_s:
                axes.axvspan(begin, end, color=TINTS["rose"], alpha=0.7, linewidth=0, zorder=1)
            axes.fill_between(trace.t_s, trace.low_w, trace.high_w, color=colour, alpha=0.3, linewidth=0, zorder=2)
            axes.plot(trace.t_s, trace.mean_w, color=colour, linewidth=1.1, zorder=3)
            axes.set_title(
                f"{group.label}  ·  {trace.cell}", loc="left", fontsize=10, fontweight="bold", color=INK, pad=4
            )
            axes.set_xlim(trace.t_s[0], trace.t_s[-1])
            axes.margins(y=0.12)
            axes.set_ylabel("W")
            axes.yaxis.set_major_locator(MaxNLocator(4))
            axes.grid(axis="x", visible=False)
        panels[-1].set_xlabel("time since the first reading (s)")
        handles = [
            Patch(color=GRID, label="idle window"),
            Patch(color=TINTS["sand"], alpha=0.5, label="measured window"),
            Line2D([], [], color=MUTED, linewidth=1.4, label="power"),
        ]
        if any(trace.gap_s for _, trace in shown):
            handles.append(Patch(color=TINTS["rose"], alpha=0.7, label="no reading"))
        legend_above(figure, handles, 4)
        return finish(figure, "power")


def phases(found: Sequence[tuple[Group, Phases]]) -> Drawing | None:
    """Gross energy of one run by phase, stacked, beside the whole."""
    if not found:
        return None
    every = {name for _, p in found for name in p.energies}
    names = [name for name in PHASES if name in every] + sorted(every - set(PHASES))
    factor, unit = joule_scale(max(p.whole.value for _, p in found))
    with new_figure(WIDTH, 1.25 + 0.42 * len(found)) as figure:
        axes = figure.subplots()
        for row, (_, p) in enumerate(found):
            left = 0.0
            for name in names:
                part = p.energies.get(name)
                if part is None:
                    continue
                wide = max(part.value, 0.0) / factor
                axes.barh(
                    row, wide, left=left, height=0.62, color=_phase_colour(name), edgecolor=PAPER, linewidth=0.8
                )
                left += wide
            axes.errorbar(
                p.whole.value / factor,
                row,
                xerr=p.whole.expanded / factor,
                color=INK,
                fmt="D",
                markersize=5,
                linewidth=1.5,
                capsize=4,
                zorder=4,
            )
            verdict = "adds up" if p.additive else "DOES NOT ADD UP"
            side_text(axes, row, f"{verdict}; phases too short" if p.reasons else verdict, not p.additive)
        name_rows(axes, [group.label for group, _ in found])
        axes.set_xlim(0, None)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel(f"gross energy of one run ({unit})")
        handles = [patch(_phase_colour(name), name.replace("_", " ")) for name in names]
        handles.append(Line2D([], [], marker="D", color=INK, linewidth=1.4, markersize=5, label="as a whole"))
        legend_above(figure, handles, 6)
        return finish(figure, "phases")


def _phase_colour(name: str) -> str:
    return _PHASE_COLOURS.get(name, TINTS["pale"])
