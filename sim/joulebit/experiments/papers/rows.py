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


def render(rows: Sequence[Row]) -> Table:
    """The rows as a rich table: one line per printed number and what was computed."""
    from rich.table import Table

    table = Table(title="Printed by the paper, and computed here (percent unless said otherwise)")
    for column in ("Table", "Row", "Quantity"):
        table.add_column(column, overflow="fold")
    for column in ("Printed", "Computed"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("Kind", overflow="fold")
    previous = ""
    for row in rows:
        if previous and row["table"] != previous:
            table.add_section()
        previous = row["table"]
        table.add_row(
            f"{row['paper']} {row['table']}",
            row["row"],
            row["quantity"],
            _text(row["printed"]),
            _text(row["computed"]),
            row["kind"],
        )
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
