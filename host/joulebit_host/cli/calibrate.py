"""`joulebit calibrate`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from joulebit.cli.console import clean_stdout, emit_json, json_option, note, show


@click.command()
@click.argument("campaigns", type=click.Path(path_type=Path), nargs=-1, required=True, metavar="CAMPAIGN...")
@click.option(
    "--energy",
    type=click.Choice(["net", "gross"]),
    default="net",
    show_default=True,
    help="Net: static power is what is drawn above rest while a run computes; gross: all that is drawn.",
)
@click.option("--base", default="xc7z020", show_default=True, help="Table for all that no run did.")
@click.option("--table", "shown", help="Simulate with this table instead of the calibrated one.")
@click.option(
    "--run",
    "runs",
    type=click.Path(path_type=Path),
    multiple=True,
    help="A simulated run (of joulebit train) to set beside its measurement.",
)
@click.option("--write", type=click.Path(path_type=Path), metavar="FILE.toml", help="Keep the calibrated table.")
@json_option
def calibrate(
    campaigns: tuple[Path, ...],
    energy: str,
    base: str,
    shown: str | None,
    runs: tuple[Path, ...],
    write: Path | None,
    as_json: bool,
) -> None:
    """Fit the energy table to measured campaigns, and set simulated beside measured energy.

    CAMPAIGN is a folder that `joulebit measure` filled. Says for each coefficient how well it is known (k = 2),
    and which the runs cannot resolve.
    """
    from joulebit.energy.table import load_table, parse_table
    from joulebit_host.campaign.beside import beside_runs
    from joulebit_host.campaign.calibration import calibrate as fit
    from joulebit_host.campaign.measured import measured_runs
    from joulebit_host.campaign.state import read_cells, write_file
    from joulebit_host.campaign.table_file import calibrated_table

    base_table = load_table(base)
    if write is not None and write.suffix != ".toml":
        raise click.UsageError(f"--write takes a file that ends in .toml, got {write}")
    with clean_stdout():
        entries = [(folder, entry) for folder in campaigns for entry in read_cells(folder)[1]]
        measured = measured_runs(entries, energy)
        found = fit(measured)
        name = write.stem if write is not None else "calibrated"
        names = ", ".join(sorted({str(folder.resolve().name) for folder in campaigns}))
        source = f"fitted to the {energy} energy of {len(measured)} measured runs of {names}"
        text = calibrated_table(found, measured, base_table, name, source)
        table = load_table(shown) if shown else parse_table(text, name)
        rows = beside_runs([entry for _, entry in entries], runs, table, energy)
        if write is not None:
            write_file(write, text)
    result = {
        "energy": energy,
        **found.as_json(),
        "beside": rows,
        "table": None if write is None else str(write),
    }
    if as_json:
        emit_json(result)
        return
    show(_coefficients(result["coefficients"]))
    for entry in result["unresolved"]:
        show(f"not resolved: {entry['text']}")
    show(_left_out(result["left_out"]))
    show(_beside(rows))
    note(f"chi^2 = {found.chi2:.3g} with {found.dof} degrees of freedom")
    if write is not None:
        note(f"table: {write}")


def _coefficients(rows: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(title="coefficients, fitted to measured energy", title_justify="left")
    table.add_column("name")
    for heading in ("value", "k = 2 interval", "unit"):
        table.add_column(heading, justify="right")
    table.add_column("resolved")
    for row in rows:
        interval = f"{row['low']:.5g} ... {row['high']:.5g}"
        table.add_row(
            row["name"], f"{row['value']:.5g}", interval, row["unit"], "yes" if row["resolved"] else "NO"
        )
    return table


def _left_out(rows: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(title="each work left out and predicted from the others", title_justify="left")
    table.add_column("work")
    for heading in ("measured J", "predicted J", "residual / u", "within k = 2"):
        table.add_column(heading, justify="right")
    for row in rows:
        if row["predicted_j"] is None:
            table.add_row(row["work"], f"{row['measured_j']:.5g}", "", "", row["reason"])
            continue
        verdict = "yes" if row["within_k2"] else "NO"
        predicted = f"{row['predicted_j']:.5g}"
        table.add_row(row["work"], f"{row['measured_j']:.5g}", predicted, f"{row['residual_u']:.2f}", verdict)
    return table


def _beside(rows: Sequence[Mapping[str, Any]]) -> Table:
    name = rows[0]["table"] if rows else ""
    table = Table(title=f"simulated (table {name}) beside measured, one run", title_justify="left")
    table.add_column("cell")
    for heading in ("simulated J", "measured J", "residual J", "residual / u", "/ u at measured time"):
        table.add_column(heading, justify="right")
    for row in rows:
        measured = f"{row['measured_j']:.5g} +- {row['u_k2_j']:.2g}"
        units = "" if row["residual_u"] is None else f"{row['residual_u']:.2f}"
        timed = row["residual_at_measured_time_u"]
        last = "" if timed is None else f"{timed:.2f}"
        table.add_row(row["cell"], f"{row['simulated_j']:.5g}", measured, f"{row['residual_j']:.2g}", units, last)
    return table
