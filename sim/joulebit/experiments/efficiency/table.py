"""The framework's results as tables for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from joulebit.experiments.compare import accuracy_text, joules

if TYPE_CHECKING:
    from rich.table import Table


def render(found: Mapping[str, Any]) -> list[Table | str]:
    """The tables of `analysis.analyse`: models, architectures, overall efficiencies and ratios, overtraining."""
    kind = f"{found['joules']} joules"
    shown: list[Table | str] = [
        _table(
            f"Models: accuracy per joule ({kind})",
            ("Task", "Architecture", "Size", "Criterion"),
            ("Epochs", "Accuracy", "Energy", "Efficiency 1/J"),
            [
                (
                    row["task"],
                    row["architecture"],
                    row["size"],
                    row["criterion"],
                    "–" if row["epochs"] is None else f"{row['epochs']:.3g}",
                    accuracy(row),
                    joules(row["energy_j"]),
                    per_joule(row["efficiency"]),
                )
                for row in found["models"]
            ],
        ),
        _table(
            "Architectures by criterion: mean over sizes",
            ("Task", "Architecture", "Criterion"),
            ("Sizes", "Efficiency 1/J", "Lowest", "Highest"),
            [
                (
                    row["task"],
                    row["architecture"],
                    row["criterion"],
                    str(row["sizes"]),
                    *(per_joule(row[key]) for key in ("efficiency", "lowest", "highest")),
                )
                for row in found["architectures"]
            ],
        ),
        _table(
            "Overall: mean over criteria",
            ("Task", "Architecture", "Criteria"),
            ("Efficiency 1/J",),
            [
                (row["task"], row["architecture"], ", ".join(row["criteria"]), per_joule(row["efficiency"]))
                for row in found["overall"]
            ],
        ),
    ]
    if found["ratios"]:
        spread = found.get("ratio_deviations", {})
        rows = [
            (name, f"{value:.3f}" + (f" ± {spread[name]:.3f}" if name in spread else ""))
            for name, value in found["ratios"].items()
        ]
        title = "Ratios of overall efficiencies" + (" (± standard deviation over seeds)" if spread else "")
        shown.append(_table(title, ("",), ("Ratio",), rows))
    if found["overtraining"]:
        shown.append(
            _table(
                "Overtraining: A gain on the test set, B growth of the gap to the training data",
                ("Task", "Architecture", "Size"),
                ("Epochs", "A", "B", "Verdict"),
                [
                    (
                        row["task"],
                        row["architecture"],
                        row["size"],
                        " to ".join(f"{epochs:g}" for epochs in row["epochs"]),
                        f"{row['a']:.2f}",
                        f"{row['b']:.2f}",
                        f"{'overtrained' if row['overtrained'] else 'not overtrained'}: {row['reason']}",
                    )
                    for row in found["overtraining"]
                ],
            )
        )
    return [*shown, *(f"note: {note}" for note in found["notes"])]


def accuracy(row: Mapping[str, Any]) -> str:
    """Of a model, in percent, with the standard deviation over seeds where there are several."""
    deviation = row["accuracy_deviation"]
    return accuracy_text(100 * row["accuracy"], None if deviation is None else 100 * deviation)


def per_joule(value: float) -> str:
    """Three digits."""
    return f"{value:.3g}"


def _table(title: str, left: Sequence[str], right: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in left:
        table.add_column(name, no_wrap=True)
    for name in right:
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table
