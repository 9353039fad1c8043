"""The benches drawn: times against float32, peers, a roofline, growth.

The look is `joulebit.experiments.figure_style`, the numbers are the results of `joulebit bench ... --json`.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from joulebit.experiments.figure_style import (
    BASELINE_COLOUR,
    INK,
    MUTED,
    PAPER,
    RUN_COLOURS,
    TINTS,
    WIDTH,
    Drawing,
    finish,
    legend_above,
    new_figure,
    patch,
)

Result = Mapping[str, Any]

_BARS = {
    "integer": ("Joulebit, fixed point", RUN_COLOURS[0]),
    "integer_psg": ("Joulebit, PSG", TINTS["sand"]),
    "float32_channels_last": ("PyTorch float32, channels_last", BASELINE_COLOUR),
    "float32_nchw": ("PyTorch float32, NCHW", TINTS["pale"]),
}
_PEER_COLOURS = {
    "joulebit": RUN_COLOURS[0],
    "joulebit_psg": TINTS["sand"],
    "float32_channels_last": BASELINE_COLOUR,
    "float32_nchw": TINTS["pale"],
}
_TITLES = {"resnet20": "ResNet-20", "resnet74": "ResNet-74", "mobilenetv2": "MobileNetV2", "lenet5": "LeNet-5"}
_PASSES = {
    "conv_forward": ("forward, 8 x 8 bits", RUN_COLOURS[1], "o"),
    "conv_input_gradient": ("input gradient, 8 x 16 bits", RUN_COLOURS[0], "s"),
    "conv_weight_gradient": ("weight gradient, 8 x 16 bits", RUN_COLOURS[2], "^"),
}
_TIMED = 9  # operations with a bar of their own


def write_png(path: Path, drawing: Drawing) -> None:
    """The figure as a PNG file of 64 colours, a third as large as one of all."""
    from PIL import Image

    with Image.open(io.BytesIO(drawing.png)) as image:
        image.convert("RGB").quantize(64, dither=Image.Dither.NONE).save(path, "PNG", optimize=True)


def model_title(name: str) -> str:
    """A network's name for people."""
    return _TITLES.get(name, name.replace("resnet", "ResNet-"))


def _whiskers(axes: Any, position: float, row: Mapping[str, float], upright: bool) -> None:
    ends = [row["ratio_low"]], [row["ratio_high"]]
    (axes.vlines if upright else axes.hlines)([position], *ends, color=INK, linewidth=1.0, zorder=4)


def step_times(results: Sequence[Result]) -> Drawing:
    """Results of `bench_step`: a panel for each number of threads, a group of bars for each network."""
    threads = list(dict.fromkeys(result["threads"] for result in results))
    with new_figure(WIDTH, 4.0) as figure:
        panels = figure.subplots(1, len(threads), sharey=True, squeeze=False)[0]
        for axes, number in zip(panels, threads):
            shown = [result for result in results if result["threads"] == number]
            for group, result in enumerate(shown):
                for bar, (name, (_, colour)) in enumerate(_BARS.items()):
                    row, x = result["relative"][name], group + 0.2 * (bar - 1.5)
                    axes.bar(x, row["ratio"], 0.19, color=colour)
                    _whiskers(axes, x, row, upright=True)
                    if name.startswith("integer"):
                        axes.text(x, 0.02, f"{row['ratio']:.2f}", rotation=90, ha="center", va="bottom",
                                  fontsize=9, color=INK)  # fmt: skip
            axes.axhline(1.0, color=MUTED, linewidth=0.9, dashes=(4, 3))
            axes.set_xticks(
                range(len(shown)),
                [
                    f"{model_title(r['model'])}\nbatch {r['batch']}\n{1000 * r['float32_step_s']:.0f} ms"
                    for r in shown
                ],
            )
            axes.tick_params(axis="x", length=0)
            axes.grid(axis="x", visible=False)
            axes.set_title(f"{number} thread{'s' if number > 1 else ''}", loc="left", fontsize=10.5, color=INK)
        panels[0].set_ylabel("time of a training step / float32's")
        figure.supxlabel(
            "ms: float32 PyTorch in its faster memory format (= 1). Lines: 10th to 90th percentile of the rounds.",
            fontsize=8.5, color=MUTED,
        )  # fmt: skip
        legend_above(figure, [patch(colour, title) for title, colour in _BARS.values()], 4)
        return finish(figure, "step-times", tight=False)


def peers(result: Result) -> Drawing:
    """The result of `bench_peers`: a panel for each network, a bar for each peer."""
    models, names = result["models"], list(result["peers"])
    with new_figure(WIDTH, 1.1 + 0.38 * len(names)) as figure:
        panels = figure.subplots(1, len(models), sharey=True, squeeze=False)[0]
        y = np.arange(len(names))
        for axes, (model, found) in zip(panels, models.items()):
            for position, name in enumerate(names):
                row = found["peers"][name]
                axes.barh(position, row["ratio"], 0.62, color=_PEER_COLOURS.get(name, RUN_COLOURS[1]))
                _whiskers(axes, position, row, upright=False)
                axes.annotate(f"{row['ratio']:.2f}", (max(row["ratio"], row["ratio_high"]), position), (5, 0),
                              textcoords="offset points", va="center", fontsize=9, color=INK, zorder=5,
                              bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 1})  # fmt: skip
            axes.axvline(1.0, color=MUTED, linewidth=0.9, dashes=(4, 3))
            axes.set_xlim(0, 1.12 * max(max(row["ratio_high"], row["ratio"]) for row in found["peers"].values()))
            axes.set_xlabel("time of a training step / float32's")
            axes.grid(axis="y", visible=False)
            axes.tick_params(axis="y", length=0)
            axes.set_title(f"{model_title(model)}, batch {result['batch']}", loc="left", fontsize=10.5, color=INK)
        panels[0].set_yticks(y, [result["peers"][name]["title"] for name in names])
        panels[0].invert_yaxis()
        return finish(figure, "peers")


def roofline(result: Result) -> Drawing:
    """The result of `bench_kernels`: convolutions under the machine's ceilings, and where a step's time goes."""
    ceilings, kernels = result["ceilings"], result["kernels"]
    with new_figure(WIDTH, 4.4) as figure:
        left, right = figure.subplots(1, 2, width_ratios=(1.15, 1))
        _roof(left, ceilings, [row for row in kernels if row["gmac_s"] is not None], result["step_cpu_s"])
        _time_by_operation(right, kernels, result["step_cpu_s"])
        figure.suptitle(
            f"{model_title(result['model'])}, batch {result['batch']}, {result['threads']} thread"
            f"{'s' if result['threads'] > 1 else ''}: {1000 * result['step_s']:.0f} ms per step",
            x=0.01, ha="left", fontsize=10.5, color=INK,
        )  # fmt: skip
        figure.supxlabel(
            "Bytes: each tensor read or written once; above 100 % where it was still in a cache.",
            fontsize=8.5, color=MUTED,
        )  # fmt: skip
        return finish(figure, "roofline")


def _roof(axes: Any, ceilings: Mapping[str, float], rows: Sequence[Result], step_cpu_s: float) -> None:
    intensities = [row["gmac_s"] / row["gb_s"] for row in rows]
    x = np.geomspace(min(intensities, default=10.0) / 8, 4 * max(intensities, default=1.0), 200)
    for name, title, dashes in (
        ("byte_gmac_s", "8 x 8 bits", (1, 0)),
        ("pair_gmac_s", "16 x 16 bits", (5, 2)),
    ):
        peak = ceilings[name]
        axes.plot(x, np.minimum(peak, ceilings["memory_gb_s"] * x), color=INK, linewidth=1.3, dashes=dashes)
        axes.annotate(f"{title}: {peak:.0f}", (x[-1], peak), (0, 3), textcoords="offset points", ha="right",
                      va="bottom", fontsize=8.5, color=INK)  # fmt: skip
    low = ceilings["memory_gb_s"] * x[0]
    axes.annotate(f"memory: {ceilings['memory_gb_s']:.0f} GB/s", (x[0], low), (8, 2), textcoords="offset points",
                  ha="left", va="top", fontsize=8.5, color=INK)  # fmt: skip
    for row, intensity in zip(rows, intensities):
        name = row["name"] if row["name"] in _PASSES else "conv_weight_gradient"
        _, colour, marker = _PASSES[name]
        size = 14 + 1600 * row["cpu_s"] / step_cpu_s
        axes.scatter([intensity], [row["gmac_s"]], size, color=colour, marker=marker, edgecolors=PAPER,
                     linewidths=0.7, alpha=0.85, zorder=3)  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("products per byte of the operation's tensors")
    axes.set_ylabel("products (GMAC/s)")
    handles = [patch(colour, title) for title, colour, _ in _PASSES.values()]
    for handle, (_, _, marker) in zip(handles, _PASSES.values()):
        handle.set_marker(marker)
        handle.set_markersize(6)
    axes.legend(handles=handles, loc="lower right", frameon=False, fontsize=8.5, labelcolor=INK,
                title="area: share of the step's time", title_fontsize=8.5, alignment="left")  # fmt: skip


def _time_by_operation(axes: Any, kernels: Sequence[Result], step_cpu_s: float) -> None:
    """Shares of the step's processor time; in words, how near an operation is to the nearer of its ceilings."""
    names = list(dict.fromkeys(row["name"] for row in kernels))
    groups = {name: [row for row in kernels if row["name"] == name] for name in names}
    times = {name: sum(row["cpu_s"] for row in rows) for name, rows in groups.items()}
    shown = sorted(names, key=lambda name: -times[name])[:_TIMED]
    rest = step_cpu_s - sum(times[name] for name in shown)
    for position, name in enumerate(shown):
        share = 100 * times[name] / step_cpu_s
        colour = _PASSES[name][1] if name in _PASSES else TINTS["teal"]
        axes.barh(position, share, 0.66, color=colour)
        near = {
            what: sum(row["cpu_s"] * row[key] for row in groups[name] if row[key] is not None) / times[name]
            for what, key in (("products", "gmac_share"), ("memory", "gb_share"))
        }
        what = max(near, key=near.__getitem__)
        axes.annotate(f"{100 * near[what]:.0f} % of the ceiling of {what}", (share, position), (5, 0),
                      textcoords="offset points", va="center", fontsize=8.5, color=INK)  # fmt: skip
    axes.barh(len(shown), 100 * max(rest, 0.0) / step_cpu_s, 0.66, color=TINTS["pale"])
    axes.set_yticks(range(len(shown) + 1), [*(name.replace("_", " ") for name in shown), "all else"])
    axes.invert_yaxis()
    axes.set_xlim(0, 2.1 * 100 * max(times.values()) / step_cpu_s)
    axes.set_xlabel("share of the step's processor time (%)")
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)


def growth(result: Result) -> Drawing:
    """The result of `bench_growth`: what was measured as points, the expected law as a line."""
    curves = result["curves"]
    panels: tuple[tuple[str, dict[str, tuple[str, str]]], ...] = (
        ("depth", {"depth": ("", RUN_COLOURS[0])}),
        ("batch", {"batch": ("", RUN_COLOURS[0])}),
        ("data set: time", {"epoch": ("", RUN_COLOURS[0])}),
        (
            "data set: memory",
            {
                "memory_read": ("compressed .npz, read", RUN_COLOURS[1]),
                "memory_mapped": (".npz, mapped", RUN_COLOURS[0]),
                "pages_mapped": ("files' pages, reclaimable", TINTS["pale"]),
            },
        ),
        ("sweep: time", {"sweep": ("do all", RUN_COLOURS[0]), "sweep_again": ("look again", RUN_COLOURS[1])}),
        ("sweep: memory", {"sweep_memory": ("", RUN_COLOURS[0])}),
    )
    with new_figure(WIDTH, 5.6) as figure:
        for axes, (title, names) in zip(figure.subplots(2, 3).flat, panels):
            _law_and_points(axes, title, {names[name]: curves[name] for name in names})
        return finish(figure, "growth")


def _law_and_points(axes: Any, title: str, curves: Mapping[tuple[str, str], Result]) -> None:
    top = 0.0
    for (label, colour), curve in curves.items():
        x = np.array([point["x"] for point in curve["points"]])
        y, low, high = (np.array([point[key] for point in curve["points"]]) for key in ("y", "y_low", "y_high"))
        top = max(top, float(high.max()))
        if law := curve.get("law"):
            line = np.array([0, x.max() * 1.04])
            axes.plot(line, law["overhead"] + law["slope"] * line, color=MUTED, linewidth=1.2)
        axes.vlines(x, low, high, color=colour, linewidth=1.2)
        axes.plot(x, y, marker="o", markersize=5, color=colour, markeredgecolor=PAPER, markeredgewidth=0.6,
                  linestyle="none" if law else "--", linewidth=1.0, label=label)  # fmt: skip
        axes.set_xlim(0, x.max() * 1.06)
        axes.set_xlabel(curve["x"], fontsize=8.5)
        axes.set_ylabel(curve["y"])
    axes.set_ylim(0, 1.16 * top)
    axes.set_title(title, loc="left", fontsize=10.5, color=INK)
    if len(curves) > 1:
        axes.legend(frameon=False, fontsize=8, labelcolor=INK, loc="best", borderaxespad=0.1)
    elif law:
        axes.text(0.03, 0.95, f"{law['overhead']:.3g} + {law['slope']:.3g} x\nwithin {100 * law['off_by']:.0f} %",
                  transform=axes.transAxes, va="top", fontsize=8.5, color=INK)  # fmt: skip
