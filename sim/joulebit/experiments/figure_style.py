"""How the figures of a report look: colours, markers, legends, labels, and a page's SVG.

Colours in the SVG are CSS variables, so that the page can be light or dark; the PNG is always light. A run keeps
its colour and its marker in all figures. Palettes: Okabe and Ito for runs, Paul Tol's muted set for the rest; both
are told apart by people with colour-blindness, and nothing is said by colour alone.
"""

from __future__ import annotations

import functools
import io
import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from joulebit.experiments.results import Result
from joulebit.experiments.series import FloatArray

INK, MUTED, GRID, PAPER = "#1d2329", "#5c6773", "#dfe3e8", "#fefefe"
#: name in the style sheet -> colour (light); the page's style sheet gives the dark ones
RUN_COLOURS = ("#d55e00", "#0072b2", "#009e73", "#b0539c", "#c98a00", "#3fa7dd", "#8a2252", "#7d7f1e")
BASELINE_COLOUR = "#59616b"
TINTS = {
    "indigo": "#332288",
    "teal": "#44aa99",
    "sand": "#ddcc77",
    "cyan": "#88ccee",
    "rose": "#cc6677",
    "purple": "#aa4499",
    "pale": "#c3c9d1",
}
COMPONENT_COLOURS = {
    "dram": TINTS["indigo"],
    "sram": TINTS["teal"],
    "mac": TINTS["sand"],
    "static": TINTS["rose"],
}
REASON_COLOURS = {
    "done": TINTS["pale"],
    "psg": TINTS["sand"],
    "slu": TINTS["teal"],
    "sd": TINTS["cyan"],
    "frozen": TINTS["purple"],
    "smd": TINTS["indigo"],
    "selection": TINTS["rose"],
}
VARIABLES: dict[str, str] = {
    INK: "ink",
    MUTED: "muted",
    GRID: "grid",
    PAPER: "paper",
    BASELINE_COLOUR: "run-base",
    **{colour: f"run-{number}" for number, colour in enumerate(RUN_COLOURS)},
    **{colour: f"tint-{name}" for name, colour in TINTS.items()},
}
#: the same variables on a dark page
DARK: dict[str, str] = {
    "ink": "#e6e9ed",
    "muted": "#98a2ae",
    "grid": "#2c333b",
    "paper": "#14181c",
    "run-base": "#aab3be",
    "run-0": "#ff8b4a",
    "run-1": "#4aa3e0",
    "run-2": "#2cc493",
    "run-3": "#e08fcf",
    "run-4": "#f2b93b",
    "run-5": "#9bd6fb",
    "run-6": "#d9708f",
    "run-7": "#c3c64f",
    "tint-indigo": "#6f64d6",
    "tint-teal": "#44aa99",
    "tint-sand": "#ddcc77",
    "tint-cyan": "#88ccee",
    "tint-rose": "#d9808a",
    "tint-purple": "#c06bb0",
    "tint-pale": "#4b545e",
}
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
_EMPTY = "#b9bec5"  # a cell without a value
WIDTH = 9.2  #: of every figure, inches


@dataclass(frozen=True)
class Style:
    """How a run looks in every figure."""

    label: str
    colour: str
    marker: str


@dataclass(frozen=True)
class Drawing:
    """A finished figure."""

    svg: str  #: for the page: no prologue, unique ids, CSS variables for colours
    png: bytes


def styles(results: Sequence[Result], names: Sequence[str]) -> list[Style]:
    """A colour and a marker per run: grey for the first float32 SGD, vermilion for the first E²-Train."""
    colours: dict[int, str] = {}
    for index, result in enumerate(results):
        if result.is_float32 and result.is_standard and BASELINE_COLOUR not in colours.values():
            colours[index] = BASELINE_COLOUR
        elif result.method == "E²-Train" and RUN_COLOURS[0] not in colours.values():
            colours[index] = RUN_COLOURS[0]
    free = itertools.cycle([colour for colour in RUN_COLOURS if colour not in colours.values()])
    return [
        Style(name, colours.get(index) or next(free), _MARKERS[index % len(_MARKERS)])
        for index, name in enumerate(names)
    ]


@contextmanager
def new_figure(width: float, height: float) -> Iterator[Any]:
    """A figure with the report's look; settings of matplotlib elsewhere stay as they are."""
    settings = {
        "svg.fonttype": "none",
        "svg.hashsalt": "joulebit",
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans"],
        "font.size": 10,
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.edgecolor": MUTED,
        "axes.facecolor": "none",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.linewidth": 0.8,
        "axes.labelsize": 10,
        "grid.color": GRID,
        "grid.linewidth": 0.8,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "xtick.labelsize": 9,
        "ytick.labelsize": 9,
        "xtick.major.size": 3,
        "ytick.major.size": 3,
        "path.simplify": True,
    }
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(settings):
        yield Figure(figsize=(width, height))


def finish(figure: Any, name: str, tight: bool = True) -> Drawing:
    """The figure as SVG and PNG; `name` makes its ids unique within a page."""
    if tight and not figure.get_tight_layout():
        figure.tight_layout()
    png, svg = io.BytesIO(), io.BytesIO()
    figure.savefig(png, format="png", dpi=180, facecolor="white", bbox_inches="tight", pad_inches=0.12,
                   metadata={"Software": None})  # fmt: skip
    figure.savefig(svg, format="svg", dpi=144, transparent=True, bbox_inches="tight", pad_inches=0.04,
                   metadata={"Date": None, "Creator": None, "Format": None, "Type": None})  # fmt: skip
    return Drawing(_inline(svg.getvalue().decode(), name), png.getvalue())


def _inline(svg: str, name: str) -> str:
    """SVG as part of a page: without prologue and name spaces, ids of its own, colours from the style sheet."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", svg)
    svg = svg.replace("xlink:href", "href")
    seen: Counter[str] = Counter()

    def own_id(match: re.Match[str]) -> str:
        """Equal images of one figure share an id in some versions of matplotlib: later ones are numbered."""
        seen[match[1]] += 1
        return f'id="{name}-{match[1]}"' if seen[match[1]] == 1 else f'id="{name}-{match[1]}-{seen[match[1]]}"'

    svg = re.sub(r'\bid="([^"]+)"', own_id, svg)
    svg = re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', svg)
    svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", svg)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    return re.sub(r"#[0-9a-f]{6}\b", _variable, svg)


def _variable(match: re.Match[str]) -> str:
    colour = match.group()
    return f"var(--{VARIABLES[colour]}, {colour})" if colour in VARIABLES else colour


def accuracy_axis(axes: Any, curves: Sequence[FloatArray]) -> None:
    """From 30 points below the worst end, or the lowest value, to just above 100: where curves differ."""
    if not curves:
        return
    lowest = min(float(np.nanmin(curve)) for curve in curves)
    worst_end = min(float(curve[-1]) for curve in curves)
    low = max(lowest, worst_end - 30)
    axes.set_ylim(max(0.0, low - 0.06 * max(100 - low, 2.0)), 100 + 0.04 * max(100 - low, 2.0))


def joule_scale(top: float) -> tuple[float, str]:
    """What to divide joules by, and the unit, so that the largest has one to three digits before the point."""
    for factor, unit in ((1e6, "MJ"), (1e3, "kJ"), (1.0, "J"), (1e-3, "mJ"), (1e-6, "µJ")):
        if top >= factor:
            return factor, unit
    return 1e-9, "nJ"


def short(value: float) -> str:
    """Three digits."""
    return f"{value:.3g}" if value >= 0.001 else ("0" if value == 0 else f"{value:.0e}")


def per_million(value: float) -> str:
    """A share as parts per million."""
    number = value * 1e6
    return f"{number:.1g}" if number < 1 else f"{number:.0f}" if number < 9999.5 else f"{number / 1000:.0f}k"


def percent_tick(value: float, _: object) -> str:
    """A share as the label of a tick."""
    return f"{100 * value:.6f}".rstrip("0").rstrip(".") + " %"


def patch(colour: str, label: str) -> Any:
    """An entry of a legend: a coloured square."""
    from matplotlib.lines import Line2D

    return Line2D([], [], marker="s", markersize=9, color=colour, linestyle="none", label=label)


def legend_above(figure: Any, handles: Sequence[Any], columns: int = 3) -> None:
    """The figure's legend, left above all axes, in as many columns as fit."""
    longest = max(len(handle.get_label()) for handle in handles)
    columns = max(1, min(columns, 105 // (longest + 7)))
    figure.tight_layout()
    figure.legend(handles=handles, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=min(columns, len(handles)),
                  frameon=False, fontsize=9.5, labelcolor=INK, handletextpad=0.3, columnspacing=1.6)  # fmt: skip


def heat(axes: Any, cells: FloatArray, extent: tuple[float, float], layers: Sequence[str], high: float) -> Any:
    """A heat map of shares 0..high, one row per layer, over `extent` in x; grey where nothing is known."""
    axes.axvspan(*extent, color=_EMPTY, linewidth=0, zorder=0)
    image = axes.imshow(cells, cmap=shares_colours(), vmin=0, vmax=high, aspect="auto", interpolation="nearest",
                        extent=(*extent, len(layers) - 0.5, -0.5))  # fmt: skip
    axes.grid(visible=False)
    layer_ticks(axes, layers)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return image


def layer_ticks(axes: Any, layers: Sequence[str]) -> None:
    """Layer names from top to bottom, thinned out where there are many."""
    every = -(-len(layers) // 30)
    axes.set_yticks(range(0, len(layers), every), list(layers)[::every])
    axes.set_ylim(len(layers) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)


def cell_text(axes: Any, row: int, column: int, value: float, norm: Any) -> None:
    """A rate written into its cell of a map."""
    if np.isnan(value):
        return
    text, colour = "0", MUTED
    if value > 0:
        text = per_million(value)
        colour = "#fdfdfd" if norm(value) > 0.5 else "#15191e"
    axes.text(column, row, text, ha="center", va="center", fontsize=7, color=colour)


def label_points(
    figure: Any, axes: Any, points: Sequence[tuple[float, float, Style]], lines: Sequence[float]
) -> None:
    """The runs' names beside their points, moved apart where they would meet each other or a line."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    renderer = FigureCanvasAgg(figure).get_renderer()
    frame = axes.get_window_extent(renderer)
    pixel = figure.dpi / 72
    centres = [axes.transData.transform((x, y)) for x, y, _ in points]
    taken = [(cx - 8 * pixel, cy - 8 * pixel, cx + 8 * pixel, cy + 8 * pixel) for cx, cy in centres]
    for height in lines:
        level = axes.transData.transform((0, height))[1]
        taken.append((frame.x0, level - 1, frame.x1, level + 1))
    upright = axes.transData.transform((1.0, 0))[0]
    taken.append((upright - 1, frame.y0, upright + 1, frame.y1))
    places = [(11, 0, "left", "center"), (-11, 0, "right", "center"), (0, 11, "center", "bottom"),
              (0, -11, "center", "top"), (-9, 11, "right", "center"), (-9, -11, "right", "center"),
              (9, 11, "left", "center"), (9, -11, "left", "center")]  # fmt: skip
    for far in (14, 26, 40, 56):
        places += [(12, far, "left", "center"), (12, -far, "left", "center"), (-12, far, "right", "center"),
                   (-12, -far, "right", "center")]  # fmt: skip
    for x, y, look in points:
        for dx, dy, ha, va in places:
            far_off = abs(dy) > 20
            line = {"arrowstyle": "-", "color": MUTED, "lw": 0.6} if far_off else None
            note = axes.annotate(look.label, (x, y), (dx, dy), textcoords="offset points", ha=ha, va=va,
                                 fontsize=9.5, color=INK, arrowprops=line)  # fmt: skip
            box = note.get_window_extent(renderer) if not far_off else _text_box(note, renderer)
            bounds = (box.x0, box.y0, box.x1, box.y1)
            inside = box.x0 >= frame.x0 and box.x1 <= frame.x1 and box.y0 >= frame.y0 and box.y1 <= frame.y1
            if inside and not any(_overlap(bounds, other) for other in taken):
                taken.append(bounds)
                break
            note.remove()
        else:
            axes.annotate(look.label, (x, y), (11, 0), textcoords="offset points", va="center", fontsize=9.5)


def _text_box(note: Any, renderer: Any) -> Any:
    """The extent of an annotation's text without its line."""
    from matplotlib.text import Text

    note.update_positions(renderer)
    return Text.get_window_extent(note, renderer)


def _overlap(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


@functools.cache
def shares_colours() -> Any:
    """Light to dark, monotonous in lightness: readable in grey and with colour-blindness."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("share", ["#f3f0e4", "#a9cdb5", "#4c9aa0", "#2a5f8a", "#2b2d63"])
