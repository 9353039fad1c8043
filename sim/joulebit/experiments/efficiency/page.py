"""The framework's results as one self-contained HTML page, with the figures as PNG files beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import joulebit
from joulebit.errors import JoulebitError
from joulebit.experiments import figure_style
from joulebit.experiments.arrays import replace_file
from joulebit.experiments.compare import joules
from joulebit.experiments.efficiency.table import accuracy, per_joule

_TEMPLATE = "efficiency.html.jinja"


def write_page(found: Mapping[str, Any], out: Path, title: str = "") -> Path:
    """Writes what `analysis.analyse` found as a page and returns its path.

    Raises:
        JoulebitError: matplotlib or jinja2 is missing, out is no .html file, or the page cannot be written.
    """
    check_path(out)
    try:
        import jinja2

        from joulebit.experiments.efficiency import figures
    except ImportError as error:
        missing = (error.name or str(error)).partition(".")[0]
        raise JoulebitError(
            f"a page needs {missing}, which is not installed: pip install 'joulebit[simulator]'"
        ) from None
    drawn = [
        (
            "Efficiency as training goes on",
            "Accuracy on the test set after each epoch over all joules so far (equation 2), per model. It falls: "
            "accuracy levels off while every epoch costs the same.",
            figures.over_epochs(found),
        ),
        (
            "Efficiency over sizes, by stopping criterion",
            "Every model: its accuracy over its joules; bars are standard deviations over seeds.",
            figures.over_sizes(found),
        ),
        (
            "Efficiency by stopping criterion",
            "Each box holds the models of one architecture, one point per size. In the paper, criteria that bound "
            "energy squeeze the sizes together, and criteria that bound accuracy spread them.",
            figures.boxes(found, "criterion"),
        ),
        (
            "Efficiency by size",
            "The same models by size; each box holds one point per criterion.",
            figures.boxes(found, "size"),
        ),
        (
            "One architecture against the other",
            "Mean efficiency over sizes, one marker per criterion; below the dashed line the architecture on the "
            "horizontal axis is more efficient.",
            figures.against_each_other(found),
        ),
    ]
    folder = out.with_name(f"{out.stem}_figures")
    shown = [
        {"title": name, "sees": sees, "drawing": drawing, "png": f"{folder.name}/{number:02d}.png"}
        for number, (name, sees, drawing) in enumerate(drawn, 1)
        if drawing
    ]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parents[1] / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(joules=joules, per_joule=per_joule, accuracy=accuracy)
    html = environment.get_template(_TEMPLATE).render(
        found=found,
        title=title or ", ".join(dict.fromkeys(row["task"] for row in found["overall"])),
        headline=headline(found),
        figures=shown,
        version=joulebit.__version__,
        dark=figure_style.DARK,
        light=figure_style.VARIABLES,
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for figure in shown:
            (out.parent / str(figure["png"])).write_bytes(figure["drawing"].png)  # type: ignore[attr-defined]
        replace_file(out, lambda file: file.write(html.encode()))
    except OSError as error:
        raise JoulebitError(f"cannot write the page {out}: {error.strerror or error}") from error
    return out


def check_path(out: Path) -> None:
    """JoulebitError unless `out` may become a page."""
    if out.is_dir() or out.suffix.lower() not in (".html", ".htm"):
        raise JoulebitError(f"a page is a file that ends in .html, got {out}")


def headline(found: Mapping[str, Any]) -> str:
    """What a person can quote: the most efficient architecture of each task, and by how much."""
    parts = []
    for task in dict.fromkeys(row["task"] for row in found["overall"]):
        ranked = sorted(
            (row for row in found["overall"] if row["task"] == task), key=lambda row: -row["efficiency"]
        )
        text = (
            f"On {task}, {ranked[0]['architecture']} gives {per_joule(ranked[0]['efficiency'])} accuracy per joule"
        )
        if len(ranked) > 1:
            ratio = ranked[0]["efficiency"] / ranked[1]["efficiency"]
            text += f", {ratio:.2f} times as much as {ranked[1]['architecture']}"
        parts.append(text)
    return "; ".join(parts) + f" ({found['joules']} joules)."
