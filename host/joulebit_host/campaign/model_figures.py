"""The figures of a campaign's report that show how well energies are known: simulated beside measured, the fitted
table, uncertainties, clocks. Each is None where there is nothing to show; see `energy_figures`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from joulebit.experiments.figure_style import (
    GRID,
    INK,
    MUTED,
    PAPER,
    TINTS,
    WIDTH,
    Drawing,
    finish,
    legend_above,
    new_figure,
    patch,
    short,
)
from joulebit_host.campaign.calibration import Coefficient
from joulebit_host.campaign.energy_figures import MOST_ROWS, ROW, colours, name_rows, plain_log, side_text
from joulebit_host.campaign.series import Fit, Group

_LEAST = 1e-6  #: ppm and ms that are worth a figure
_TERM_COLOURS = ("indigo", "teal", "sand", "rose", "cyan", "purple")


def beside(fit: Fit, groups: Sequence[Group]) -> Drawing | None:
    """Simulated beside measured energy, and residuals in units of uncertainty."""
    if not fit.beside:
        return None
    chosen = dict(zip((g.label for g in groups), colours(groups)))
    owner = {entry["cell"]: group.label for group in groups for entry in group.entries}
    labels = list(dict.fromkeys(owner.values()))
    with new_figure(WIDTH, max(3.6, 1.5 + 0.42 * len(labels))) as figure:
        left, right = figure.subplots(1, 2, gridspec_kw={"width_ratios": (1.0, 1.15)})
        values = [v for row in fit.beside for v in (row["simulated_j"], row["measured_j"]) if v > 0]
        low, high = min(values) / 1.6, 1.6 * max(values)
        left.plot([low, high], [low, high], color=MUTED, linewidth=1.0, dashes=(4, 3))
        for row in fit.beside:
            colour = chosen[owner[row["cell"]]]
            left.errorbar(row["simulated_j"], row["measured_j"], yerr=row["u_k2_j"], fmt="o", markersize=6.5,
                          color=colour, markeredgecolor=PAPER, markeredgewidth=0.6)  # fmt: skip
        for set_scale, set_limits, axis in (
            (left.set_xscale, left.set_xlim, left.xaxis),
            (left.set_yscale, left.set_ylim, left.yaxis),
        ):
            set_scale("log")
            set_limits(low, high)
            plain_log(axis)
        left.set_xlabel(f"simulated with table {fit.table} (J)")
        left.set_ylabel("measured, net (J)")
        _residuals(right, fit, groups, owner, chosen)
        name_rows(right, labels)
        handles = [
            Line2D([], [], marker="o", color=MUTED, linestyle="none", markersize=6, label=f"table {fit.table}"),
            Line2D([], [], marker="^", color=PAPER, markeredgecolor=MUTED, linestyle="none", markersize=6.5,
                   label="for the measured time"),
            Line2D([], [], marker="D", color=PAPER, markeredgecolor=INK, linestyle="none", markersize=6.5,
                   label="fitted to the other works"),
            Patch(color=GRID, label="within k = 2"),
        ]  # fmt: skip
        legend_above(figure, handles, 4)
        return finish(figure, "beside")


def _residuals(
    axes: Any, fit: Fit, groups: Sequence[Group], owner: Mapping[str, str], chosen: Mapping[str, str]
) -> None:
    labels = list(dict.fromkeys(owner.values()))
    axes.axvspan(-2, 2, color=GRID, linewidth=0, zorder=0)
    axes.axvline(0, color=MUTED, linewidth=1.0, dashes=(4, 3))
    far = 5.0
    for row in fit.beside:
        label = owner[row["cell"]]
        timed = row["residual_at_measured_time_u"]
        for value, shift, marker, fill in (
            (row["residual_u"], -0.22, "o", chosen[label]),
            (timed, 0.0, "^", PAPER),
        ):
            if value is not None:
                far = max(far, abs(value))
                axes.plot([value], [labels.index(label) + shift], marker=marker, markersize=6, color=fill,
                          markeredgecolor=chosen[label], markeredgewidth=1.1)  # fmt: skip
    left_out = {row["work"]: row["residual_u"] for row in (fit.calibration.left_out if fit.calibration else ())}
    for group in groups:
        value = left_out.get(".".join(filter(None, (group.summary["method"], group.summary["model"]))))
        if value is not None and group.label in labels:
            far = max(far, abs(value))
            axes.plot([value], [labels.index(group.label) + 0.22], marker="D", markersize=6.5, color=PAPER,
                      markeredgecolor=INK, markeredgewidth=1.3)  # fmt: skip
    axes.set_xscale("symlog", linthresh=4, linscale=1.6)
    axes.set_xlim(-1.6 * far, 1.6 * far)
    ticks = [2.0, *(10.0**k for k in range(1, math.ceil(math.log10(1.6 * far)) + (far <= 5)))]
    ticks = [tick for tick in ticks if tick <= 1.6 * far]
    axes.set_xticks([*(-tick for tick in reversed(ticks)), 0.0, *ticks])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:+.0f}" if value else "0"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.minorticks_off()
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("(measured − simulated) / standard uncertainty")


def clocks(groups: Sequence[Group], order: Sequence[str]) -> Drawing | None:
    """Drift and delays of the board's and the meter's clock against the host's, cell by cell.

    Args:
        groups: of the report.
        order: cells in the order of the plan.
    """
    panels: list[tuple[str, Callable[[Mapping[str, Any]], tuple[float, float] | None]]] = [
        ("board clock: drift (ppm)", lambda c: _of(c["board"], "drift_ppm", "drift_u_ppm", 2.0)),
        (
            "board clock: offset beyond\nthe first cell's (ms)",
            lambda c: _of(c["board"], "offset_s", "shift_error_s", 1e3),
        ),
        ("meter clock: drift (ppm)", lambda c: _of(c["meter"], "drift_ppm")),
        ("meter: mean delay beyond\nthe least (ms)", lambda c: _of(c["meter"], "mean_delay_s", "", 1e3)),
    ]
    at = {cell: number for number, cell in enumerate(order)}
    cells = [(c, e) for g, c in zip(groups, colours(groups)) for e in g.entries]
    cells.sort(key=lambda item: at[item[1]["cell"]])
    drawn = []
    for title, read in panels:
        points = [(c, read(e["clocks"])) for c, e in cells]
        known = [point[0] for _, point in points if point is not None]
        if any(abs(value) > _LEAST for value in known):
            drawn.append((title, points))
    if not drawn:
        return None
    with new_figure(WIDTH, 0.7 + 1.65 * len(drawn)) as figure:
        rows = figure.subplots(len(drawn), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (title, points) in zip(rows, drawn):
            first = next(point[0] for _, point in points if point is not None) if "offset" in title else 0.0
            for number, (colour, point) in enumerate(points, 1):
                if point is not None:
                    axes.errorbar(
                        number,
                        point[0] - first,
                        yerr=point[1] or None,
                        fmt="o",
                        markersize=4.5,
                        color=colour,
                        linewidth=1.1,
                        capsize=2,
                    )
            axes.set_ylabel(title, fontsize=9)
            axes.yaxis.set_major_locator(MaxNLocator(4))
            axes.ticklabel_format(axis="y", useOffset=False)
            axes.grid(axis="x", visible=False)
        rows[-1].set_xlabel("cell, in the order of measurement")
        rows[-1].xaxis.set_major_locator(MaxNLocator(12, integer=True))
        named = dict(zip((g.summary["method"] for g in groups), colours(groups)))
        legend_above(figure, [patch(colour, name) for name, colour in named.items()], 6)
        return finish(figure, "clocks")


def _of(
    clock: Mapping[str, Any] | None, value: str, width: str = "", factor: float = 1.0
) -> tuple[float, float] | None:
    """(value, half-width); for ppm the factor belongs to the width alone."""
    if clock is None:
        return None
    half = factor * clock[width] if width else 0.0
    return (clock[value] if "ppm" in value else factor * clock[value]), half


def coefficients(found: Sequence[Coefficient]) -> Drawing | None:
    """Fitted coefficients of the energy table: their intervals, relative to their values."""
    if not found:
        return None
    spans = {
        c.name: (100 * (c.low / c.value - 1), 100 * (c.high / c.value - 1))
        for c in found
        if c.resolved and c.value > 0 and math.isfinite(c.high)
    }
    far = 1.25 * max([1.0, *(max(abs(end) for end in span) for span in spans.values())])
    with new_figure(WIDTH, 1.25 + ROW * len(found)) as figure:
        axes = figure.subplots()
        axes.axvline(0, color=MUTED, linewidth=1.0, dashes=(4, 3))
        for row, c in enumerate(found):
            if c.name not in spans:
                axes.barh(row, 2 * far, left=-far, height=0.5, facecolor="none", edgecolor=GRID, hatch="////")
                most = f": at most {short(c.high)} {c.unit}" if math.isfinite(c.high) else ""
                side_text(axes, row, f"not resolved{most}", False)
                continue
            low, high = spans[c.name]
            axes.plot([low, high], [row, row], color=TINTS["indigo"], linewidth=2.4, solid_capstyle="butt")
            axes.plot([low, high], [row, row], marker="|", markersize=10, markeredgewidth=1.8, linestyle="none",
                      color=TINTS["indigo"])  # fmt: skip
            axes.plot([0], [row], marker="o", markersize=6.5, color=TINTS["indigo"])
            side_text(axes, row, f"{c.value:.3g} {c.unit}  [{c.low:.3g}, {c.high:.3g}]")
        name_rows(axes, [c.name for c in found])
        axes.set_xlim(-far, far)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:+.3g} %" if value else "0"))
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("k = 2 interval, relative to the fitted value")
        return finish(figure, "coefficients")


def budgets(shown: Sequence[tuple[Group, Mapping[str, float]]]) -> Drawing | None:
    """What the uncertainty of the net energy is made of."""
    shown = [(group, shares) for group, shares in shown if shares][:MOST_ROWS]
    if not shown:
        return None
    names = list(dict.fromkeys(name for _, shares in shown for name in shares))
    weight = {name: sum(shares.get(name, 0.0) for _, shares in shown) for name in names}
    kept = [n for n in sorted(names, key=lambda n: -weight[n]) if weight[n] > 0.01 * len(shown)]
    kept = kept[: len(_TERM_COLOURS)]
    colour = {name: TINTS[tint] for name, tint in zip(kept, _TERM_COLOURS)}
    with new_figure(WIDTH, 1.25 + ROW * len(shown)) as figure:
        axes = figure.subplots()
        for row, (_, shares) in enumerate(shown):
            left = 0.0
            for name in kept:
                wide = 100 * shares.get(name, 0.0)
                axes.barh(
                    row,
                    wide,
                    left=left,
                    height=0.62,
                    color=colour[name],
                    edgecolor=PAPER,
                    linewidth=0.8,
                    hatch="///" if "(assumed)" in name else None,
                )
                left += wide
            axes.barh(row, 100 - left, left=left, height=0.62, color=TINTS["pale"], edgecolor=PAPER, linewidth=0.8)
        name_rows(axes, [group.label for group, _ in shown])
        axes.set_xlim(0, 100)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("share of the squared standard uncertainty of the net energy (%)")
        handles: list[Any] = [
            Patch(facecolor=colour[n], edgecolor=PAPER, hatch="////" if "(assumed)" in n else None, label=n)
            for n in kept
        ]
        if any(1 - sum(shares.get(n, 0.0) for n in kept) > 1e-3 for _, shares in shown):
            handles.append(Patch(color=TINTS["pale"], label="others"))
        legend_above(figure, handles, 4)
        return finish(figure, "budgets")
