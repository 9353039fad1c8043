"""The figures of a report, drawn with matplotlib; each is None where the runs have nothing to show in it.

The look is described in `joulebit.experiments.figure_style`, the numbers come from `joulebit.experiments.series`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from joulebit.energy.counters import PHASES
from joulebit.experiments.figure_style import (
    BASELINE_COLOUR,
    COMPONENT_COLOURS,
    GRID,
    INK,
    MUTED,
    PAPER,
    REASON_COLOURS,
    TINTS,
    WIDTH,
    Drawing,
    Style,
    accuracy_axis,
    cell_text,
    finish,
    heat,
    joule_scale,
    label_points,
    layer_ticks,
    legend_above,
    new_figure,
    patch,
    per_million,
    percent_tick,
    shares_colours,
    short,
)
from joulebit.experiments.results import Baseline, Result
from joulebit.experiments.series import (
    TENSORS,
    column,
    layer_map,
    layer_sign_errors,
    layers_with,
    network_share,
    saturation_rates,
    skip_share,
    smooth,
)

_PHASE_TITLES = {
    "forward": "forward",
    "input_gradient": "input gradient",
    "weight_gradient": "weight gradient",
    "update": "update",
    "other": "gates and other",
    "selection": "selection",
    "teacher": "teacher",
}
COMPONENT_TITLES = {"dram": "DRAM traffic", "sram": "SRAM traffic", "mac": "arithmetic", "static": "static power"}
PAPER_SHARE = 0.6  #: "typically remains at least 60 %": E2-Train, section 4.4


# --- accuracy and energy -----------------------------------------------------------------------------------------


def accuracy_against_energy(results: Sequence[Result], looks: Sequence[Style]) -> Drawing | None:
    """Top-1 over simulated joules so far (the paper's Figure 5)."""
    curves = [(result.evaluations, look, result) for result, look in zip(results, looks) if result.evaluations]
    if not curves:
        return None
    with new_figure(WIDTH, 4.6) as figure:
        axes = figure.subplots()
        top = max(float(line["energy_j"]) for lines, _, _ in curves for line in lines)
        factor, unit = joule_scale(top)
        heights = []
        for lines, look, result in curves:
            x, y = column(lines, "energy_j") / factor, column(lines, "top1")
            heights.append(y)
            axes.plot(x, y, color=look.colour, linewidth=1.8, marker=look.marker, markersize=4.5, label=look.label,
                      markeredgecolor=PAPER, markeredgewidth=0.6)  # fmt: skip
            axes.plot(x[-1:], y[-1:], marker=look.marker, markersize=10, color=look.colour, linestyle="none",
                      markeredgecolor=PAPER, markeredgewidth=1.2,
                      fillstyle="full" if result.finished else "left")  # fmt: skip
        axes.set_xlim(0, top / factor * 1.04)
        accuracy_axis(axes, heights)
        axes.set_xlabel(f"simulated energy of training so far ({unit})")
        axes.set_ylabel("top-1 accuracy on the test set (%)")
        legend_above(figure, axes.get_legend_handles_labels()[0], 4)
        return finish(figure, "accuracy-energy")


def accuracy_against_ratio(
    results: Sequence[Result], looks: Sequence[Style], baselines: Sequence[Baseline | None]
) -> Drawing | None:
    """Final top-1 over energy, divided by that of the baseline (the paper's Figure 4)."""
    points = [
        (result.energy_j / base.energy_j, result.top1, look)
        for result, look, base in zip(results, looks, baselines)
        if result.finished and base and result.top1 is not None
    ]
    if not points:
        return None
    titles = sorted({base.title for base in baselines if base})
    modelled = all(base.run is None for base in baselines if base)
    with new_figure(WIDTH, 4.4) as figure:
        axes = figure.subplots()
        right = max(1.0, *(x for x, _, _ in points)) * 1.12
        axes.axvline(1.0, color=MUTED, linewidth=0.9, dashes=(4, 3))
        axes.annotate("baseline, not run" if modelled else "baseline", (1.0, 0.02), (-5, 0),
                      xycoords=axes.get_xaxis_transform(), textcoords="offset points", color=MUTED, fontsize=9,
                      ha="right", va="bottom")  # fmt: skip
        heights = [float(y) for _, y, _ in points]
        reference = [y for x, y, look in points if x == 1.0 and look.colour == BASELINE_COLOUR]
        if len(reference) == 1:
            axes.axhline(reference[0], color=MUTED, linewidth=0.9, dashes=(4, 3))
        for x, y, look in points:
            axes.plot([x], [y], marker=look.marker, markersize=11, color=look.colour, markeredgecolor=PAPER,
                      markeredgewidth=1.2, linestyle="none", zorder=3)  # fmt: skip
        spread = max(max(heights) - min(heights), 5.0)
        axes.set_xlim(0, right)
        axes.set_ylim(min(heights) - 0.22 * spread, min(max(heights) + 0.22 * spread, 100 + 0.06 * spread))
        axes.set_xlabel(f"simulated energy / that of {titles[0] if len(titles) == 1 else 'the baseline'}")
        axes.set_ylabel("final top-1 accuracy (%)")
        figure.tight_layout()
        label_points(figure, axes, [(x, float(y), look) for x, y, look in points], reference)
        return finish(figure, "accuracy-ratio")


def learning_curves(results: Sequence[Result], looks: Sequence[Style]) -> Drawing | None:
    """Training loss, and top-1 on the test set, over epochs."""
    if not any(result.train or result.evaluations for result in results):
        return None
    with new_figure(WIDTH, 4.2) as figure:
        left, right = figure.subplots(1, 2)
        heights = []
        for result, look in zip(results, looks):
            if result.train:
                x, y = column(result.train, "epoch"), column(result.train, "loss")
                left.plot(x, y, color=look.colour, linewidth=0.6, alpha=0.18)
                left.plot(x, smooth(y), color=look.colour, linewidth=1.8, label=look.label)
            if result.evaluations:
                x, y = column(result.evaluations, "epoch"), column(result.evaluations, "top1")
                heights.append(y)
                right.plot(x, y, color=look.colour, linewidth=1.6, marker=look.marker, markersize=4.5,
                           markeredgecolor=PAPER, markeredgewidth=0.6, label=look.label)  # fmt: skip
        left.set_yscale("log")
        left.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        left.set_ylabel("training loss (nats, log scale)")
        right.set_ylabel("top-1 accuracy on the test set (%)")
        accuracy_axis(right, heights)
        for axes in (left, right):
            axes.set_xlim(left=0)
            axes.set_xlabel("epochs offered (dropped batches included)")
        legend_above(figure, (right if right.lines else left).get_legend_handles_labels()[0], 4)
        return finish(figure, "learning-curves")


# --- where the energy goes ---------------------------------------------------------------------------------------


def energy_breakdown(results: Sequence[Result], looks: Sequence[Style]) -> Drawing | None:
    """Joules by phase (panels) and component (colours), one bar per run."""
    known = [(result, look) for result, look in zip(results, looks) if result.energy]
    if not known:
        return None
    reports = [result.energy for result, _ in known if result.energy]
    used = [p for p in PHASES if any(report.by_phase[p] > 0.0005 * report.total_j for report in reports)]
    parts = [c for c in COMPONENT_COLOURS if any(report.by_component[c] for report in reports)]
    panels: list[tuple[str, Callable[[Any, str], float]]] = [("all phases", lambda r, c: r.by_component[c])]
    panels += [
        (_PHASE_TITLES[phase], lambda r, c, phase=phase: r.energy_aj[phase, c] / 1e18)  # type: ignore[misc]
        for phase in used
    ]
    factor, unit = joule_scale(max(report.total_j for report in reports))
    columns, y = 3, np.arange(len(known))
    lines = -(-len(panels) // columns)
    with new_figure(WIDTH, 0.9 + lines * (0.75 + 0.27 * len(known))) as figure:
        grid = np.atleast_2d(figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False))
        for axes, (title, part) in zip(grid.flat, panels):
            left = np.zeros(len(known))
            for component in parts:
                widths = np.array([part(report, component) for report in reports]) / factor
                axes.barh(y, widths, left=left, height=0.68, color=COMPONENT_COLOURS[component], linewidth=0)
                left += widths
            for position, total in enumerate(left):
                axes.annotate(short(total), (total, position), (4, 0), textcoords="offset points", va="center",
                              fontsize=8.5, color=MUTED)  # fmt: skip
            axes.set_title(title, loc="left", fontsize=10, fontweight="bold", color=INK)
            axes.grid(axis="y", visible=False)
            axes.tick_params(axis="y", length=0)
            axes.set_yticks(y, [look.label for _, look in known])
            axes.spines["left"].set_visible(True)
            axes.tick_params(labelbottom=True)
        for axes in grid.flat[len(panels) :]:
            axes.set_visible(False)
        for axes in grid[:, 0]:
            for text in axes.get_yticklabels():
                text.set_color(INK)
        first = grid[0, 0]
        first.invert_yaxis()
        first.set_xlim(0, max(report.total_j for report in reports) / factor * 1.18)
        first.xaxis.set_major_locator(MaxNLocator(4))
        figure.supxlabel(f"simulated energy ({unit})", fontsize=10, color=INK)
        handles = [patch(COMPONENT_COLOURS[part], COMPONENT_TITLES[part]) for part in parts]
        legend_above(figure, handles)
        return finish(figure, "energy-breakdown")


def skipped_work(results: Sequence[Result], looks: Sequence[Style]) -> Drawing | None:
    """All multiply-accumulates of the schedule: done, or left out and why."""
    titles = {
        "done": "done",
        "psg": "sign predicted (narrow product instead)",
        "slu": "block closed by SLU",
        "sd": "block closed by stochastic depth",
        "frozen": "layer frozen",
        "smd": "batch dropped (SMD)",
        "selection": "sample not selected",
    }
    rows = []
    for result, look in zip(results, looks):
        parts = {reason: result.skipped(reason) for reason in titles if reason != "done"}
        parts["done"] = result.macs_done - parts["psg"]
        if sum(parts.values()):
            rows.append((look, {reason: parts[reason] / sum(parts.values()) for reason in titles}))
    used = [reason for reason in titles if any(parts[reason] for _, parts in rows)]
    if not rows or used == ["done"]:
        return None
    y = np.arange(len(rows))
    with new_figure(WIDTH, 1.3 + 0.36 * len(rows)) as figure:
        axes = figure.subplots()
        left = np.zeros(len(rows))
        for reason in used:
            widths = np.array([100 * parts[reason] for _, parts in rows])
            axes.barh(y, widths, left=left, height=0.68, color=REASON_COLOURS[reason], linewidth=0)
            for position, (start, width) in enumerate(zip(left, widths)):
                if width >= 4:
                    colour = {"smd": "#fdfdfd", "frozen": "#fdfdfd", "done": INK}.get(reason, "#15191e")
                    axes.text(start + width / 2, position, f"{width:.0f} %", ha="center", va="center",
                              fontsize=8.5, color=colour)  # fmt: skip
            left += widths
        axes.set_yticks(y, [look.label for look, _ in rows])
        axes.tick_params(axis="y", length=0)
        axes.invert_yaxis()
        axes.set_xlim(0, 100)
        axes.grid(axis="y", visible=False)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f} %"))
        axes.set_xlabel("share of all multiply-accumulates of the schedule, dropped batches included")
        legend_above(figure, [patch(REASON_COLOURS[reason], titles[reason]) for reason in used])
        return finish(figure, "skipped-work")


# --- shares over time --------------------------------------------------------------------------------------------


def predictor_share(results: Sequence[Result], looks: Sequence[Style]) -> Drawing | None:
    """Predicted signs: the whole network's share over time, and a heat map per run over its layers."""
    chosen = [(r, s) for r, s in zip(results, looks) if layers_with(r, "total")]
    return _share_figure(
        chosen, "predictor-share", "decided", "total", "signs predicted", PAPER_SHARE,
        "paper: at least 60 % (ResNet-74, CIFAR-10, β = 0.05)",
    )  # fmt: skip


def skip_ratio(results: Sequence[Result], looks: Sequence[Style]) -> Drawing | None:
    """Closed blocks: the share of forward products left out over time, and a heat map per run over its blocks."""
    chosen = [(r, s) for r, s in zip(results, looks) if r.skip_ratio > 0 and layers_with(r, "entered")]
    targets = {r.config.method.slu.target_skip for r, _ in chosen if r.config.method.slu.target_skip}
    target = targets.pop() if len(targets) == 1 else None
    title = f"SLU's target: {100 * target:.0f} % of the products" if target else ""
    return _share_figure(chosen, "skip-ratio", "entered", "samples", "skipped", target, title, inverse=True)


def _share_figure(
    chosen: Sequence[tuple[Result, Style]],
    name: str,
    part: str,
    whole: str,
    what: str,
    reference: float | None,
    reference_title: str,
    inverse: bool = False,
) -> Drawing | None:
    """Lines on top, heat maps below, all over the same epochs; part / whole, or its complement."""
    if not chosen:
        return None
    maps = [layer_map(result, part, whole, inverse) for result, _ in chosen]
    heights = [max(0.7, min(7.5, 0.21 * len(layers))) for layers, _ in maps]
    top, gap, foot, left, right = 0.55, 0.4, 0.5, 1.25, 0.75  # inches, as all below
    lines_height = 2.3
    total = top + lines_height + sum(heights) + gap * (len(maps) + 1) + foot  # the first gap is twice as high
    end = max(result.epoch for result, _ in chosen)
    high = 1.0 if not inverse else max(0.05, *(float(np.nanmax(cells)) for _, cells in maps))
    with new_figure(WIDTH, total) as figure:
        width = WIDTH - left - right
        y = total - top - lines_height

        def place(x: float, bottom: float, w: float, h: float) -> Any:
            return figure.add_axes((x / WIDTH, bottom / total, w / WIDTH, h / total))

        axes = place(left, y, width, lines_height)
        highest = reference or 0.0
        for result, look in chosen:
            epochs, shares = skip_share(result) if inverse else network_share(result, part, whole)
            mean = smooth(shares)
            highest = max(highest, float(np.nanmax(mean)))
            axes.plot(epochs, 100 * shares, color=look.colour, linewidth=0.6, alpha=0.18)
            axes.plot(epochs, 100 * mean, color=look.colour, linewidth=1.9, label=look.label)
        if reference is not None:
            axes.axhline(100 * reference, color=MUTED, linewidth=1.1, dashes=(4, 3), label=reference_title)
        axes.set_ylim(0, min(100, 160 * highest) if inverse else 100)
        axes.set_xlim(0, end)
        axes.set_ylabel(f"{what},\nwhole network (%)")
        axes.legend(loc="lower left", bbox_to_anchor=(-0.01, 1.0), frameon=False, fontsize=9.5, ncols=4,
                    labelcolor=INK, borderaxespad=0.3, handlelength=1.8, columnspacing=1.6)  # fmt: skip
        image = None
        for (result, look), (layers, cells), height in zip(chosen, maps, heights):
            y -= height + (gap if image else 2 * gap)
            axes = place(left, y, width, height)
            image = heat(axes, cells, (0, result.epoch), layers, high)
            axes.set_xlim(0, end)
            axes.set_title(look.label, loc="left", fontsize=10, fontweight="bold", color=INK, pad=4)
            axes.tick_params(labelbottom=False, bottom=False)
        axes.tick_params(labelbottom=True, bottom=True)
        axes.set_xlabel("epochs offered (dropped batches included)")
        tall = min(sum(heights) + gap * (len(maps) - 1), 3.0)
        bar = figure.colorbar(image, cax=place(WIDTH - right + 0.12, y, 0.11, tall))
        bar.outline.set_visible(False)
        bar.ax.yaxis.set_major_locator(MaxNLocator(4))
        bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f} %"))
        bar.ax.tick_params(length=0, colors=INK, labelsize=8.5)
        return finish(figure, name, tight=False)


def sign_errors(results: Sequence[Result], looks: Sequence[Style]) -> Drawing | None:
    """Wrong signs among the predicted ones, per layer, beside the bound of equation (3)."""
    chosen = [(look, *layer_sign_errors(r)) for r, look in zip(results, looks) if layers_with(r, "total")]
    if not chosen:
        return None
    columns = min(2, len(chosen))
    lines = -(-len(chosen) // columns)
    longest = max(len(layers) for _, layers, _, _ in chosen)
    values = [v for _, _, wrong, bound in chosen for v in (*wrong, *bound) if v > 0]
    floor, high = min(values, default=1e-4) / 4, 1.6 * max(values, default=1.0)
    with new_figure(WIDTH, 0.8 + lines * (0.75 + min(8.0, 0.23 * longest + 0.3))) as figure:
        grid = figure.subplots(lines, columns, sharex=True, squeeze=False)
        for axes, (look, layers, wrong, bound) in zip(grid.flat, chosen):
            y = np.arange(len(layers))
            shown = np.where(wrong > 0, wrong, floor)
            ends = np.where(np.isnan(bound), shown, bound)
            for over, colour in ((False, GRID), (True, TINTS["rose"])):
                which = (wrong > ends) == over
                axes.hlines(y[which], shown[which], ends[which], color=colour, linewidth=2.4, zorder=1)
            axes.plot(shown, y, marker=look.marker, color=look.colour, linestyle="none", markersize=6.5,
                      markeredgecolor=PAPER, markeredgewidth=0.6, zorder=3)  # fmt: skip
            axes.plot(bound, y, marker="|", color=INK, linestyle="none", markersize=11, markeredgewidth=1.8,
                      zorder=2)  # fmt: skip
            for position in np.flatnonzero(wrong == 0):
                axes.annotate("none", (floor, position), (7, 0), textcoords="offset points", color=MUTED,
                              fontsize=8, va="center")  # fmt: skip
            layer_ticks(axes, layers)
            axes.set_title(look.label, loc="left", fontsize=10, fontweight="bold", color=INK)
            axes.set_xscale("log")
            axes.set_xlim(floor / 1.5, high)
            axes.xaxis.set_major_formatter(FuncFormatter(percent_tick))
            axes.tick_params(labelbottom=True)
            axes.grid(axis="y", visible=False)
        for axes in grid.flat[len(chosen) :]:
            axes.set_visible(False)
        figure.supxlabel("share of the predicted signs (log scale)", fontsize=10, color=INK)
        dot = Line2D([], [], marker="o", color=MUTED, linestyle="none", label="wrong signs")
        bar = Line2D([], [], marker="|", color=INK, linestyle="none", markersize=11, markeredgewidth=1.8,
                     label="bound of equation (3)")  # fmt: skip
        above = Line2D([], [], color=TINTS["rose"], linewidth=2.4, label="above its bound")
        legend_above(figure, [dot, bar, above])
        return finish(figure, "sign-errors")


def saturation(results: Sequence[Result], looks: Sequence[Style]) -> Drawing | None:
    """Clamped elements by layer and tensor, one panel per fixed-point run, and the whole network's rates."""
    chosen = []
    for result, look in zip(results, looks):
        layers, cells = saturation_rates(result)
        if len(layers):
            chosen.append((look, layers, cells))
    if not chosen:
        return None
    columns = min(4, len(chosen))
    lines = -(-len(chosen) // columns)
    longest = max(len(layers) for _, layers, _ in chosen)
    positive = np.concatenate([cells[cells > 0] for _, _, cells in chosen])
    high = float(positive.max()) if len(positive) else 1e-3
    norm = LogNorm(min(1e-7, high / 10), max(1e-3, high))
    with new_figure(WIDTH, 1.0 + lines * (1.15 + min(8.0, 0.23 * longest))) as figure:
        grid = figure.subplots(lines, columns, sharey=len({tuple(c[1]) for c in chosen}) == 1, squeeze=False)
        image = None
        for axes, (look, layers, cells) in zip(grid.flat, chosen):
            shown = np.where(cells > 0, cells, np.nan)
            image = axes.imshow(shown, cmap=shares_colours(), norm=norm, aspect="auto", interpolation="nearest")
            axes.grid(visible=False)
            layer_ticks(axes, layers)
            axes.set_xticks(range(len(TENSORS)), ["z", "a", "dz", "da"])
            axes.tick_params(length=0)
            axes.set_title(look.label, loc="left", fontsize=10, fontweight="bold", color=INK)
            for spine in axes.spines.values():
                spine.set_visible(False)
            if len(layers) <= 40:
                for (row, tensor), value in np.ndenumerate(cells):
                    cell_text(axes, row, tensor, value, norm)
        for axes in grid.flat[len(chosen) :]:
            axes.set_visible(False)
        figure.tight_layout(rect=(0, 0, 0.93, 1))
        bar = figure.colorbar(image, cax=figure.add_axes((0.945, 0.2, 0.012, 0.6)))
        bar.outline.set_visible(False)
        bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: per_million(value)))
        bar.ax.set_title("per million", fontsize=8.5, color=INK, loc="left", pad=8)
        bar.ax.tick_params(length=0, colors=INK, labelsize=8.5, which="both")
        bar.ax.minorticks_off()
        return finish(figure, "saturation", tight=False)
