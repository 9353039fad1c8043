"""One printed number of a paper beside what this tool computes: a row, and the table of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

Row = dict[str, Any]


def paper_row(
    paper: str,
    table: str,
    row: str,
    quantity: str,
    printed: float | str | None,
    computed: float | str | None,
    kind: str,
) -> Row:
    """A row with the keys paper, table, row, quantity, printed, computed, kind.

    quantity names the unit unless it is percent; an int is shown without decimals, a text (a verdict) as it is,
    None as a dash. kind says where the computed number comes from, such as analytic, counters, simulated, run,
    not-run or paper-input.
    """
    return {
        "paper": paper,
        "table": table,
        "row": row,
        "quantity": quantity,
        "printed": printed,
        "computed": computed,
        "kind": kind,
    }


#: What a kind of row means: shown below the table.
_KINDS = {
    "analytic": "by the paper's formulas",
    "counted": "parameters of the networks and schemes here",
    "counters": "counted here, without arithmetic or training",
    "described": "a network of the paper in this tool's layers, counted",
    "drawn": "random draws of this tool",
    "from printed": "follows from the paper's own figures",
    "has": "what to set here for it",
    "has not": "nothing here does it",
    "not-run": "no run was given: --run RUN",
    "paper-input": "a measurement of the paper, taken over",
    "preset": "a preset of this tool",
    "run": "runs that were given",
    "simulated": "counted here x energy table 45nm, without training",
}


def render(rows: Sequence[Row]) -> Table:
    """The rows as a rich table: one line per printed number and what was computed; below it what kinds mean.

    A table's and a row's name stand where they begin.
    """
    from rich.table import Table

    table = Table(title="Printed by the paper, and computed here (percent unless said otherwise)")
    for column in ("Table", "Row", "Quantity"):
        table.add_column(column, overflow="fold")
    for column in ("Printed", "Computed"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("Kind", overflow="fold")
    before: tuple[str, str] = ("", "")
    for row in rows:
        name = (f"{row['paper']} {row['table']}", row["row"])
        if before[0] and name[0] != before[0]:
            table.add_section()
        table.add_row(
            name[0] if name[0] != before[0] else "",
            name[1] if name != before else "",
            row["quantity"],
            _text(row["printed"]),
            _text(row["computed"]),
            row["kind"].partition(" (")[0],
        )
        before = name
    present = {row["kind"].partition(" (")[0] for row in rows}
    table.caption = "; ".join(f"{kind}: {meaning}" for kind, meaning in _KINDS.items() if kind in present)
    table.caption_justify = "left"
    return table


def _text(value: float | str | None) -> str:
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return f"{value:,}"
    size = abs(value)
    return f"{value:.2f}" if size >= 10 or not value else f"{value:.3f}" if size >= 0.1 else f"{value:.4g}"
