"""`joulebit presets`."""

from __future__ import annotations

import click
from rich.table import Table

from joulebit.cli.console import emit_json, json_option, show


@click.command()
@json_option
def presets(as_json: bool) -> None:
    """List the configurations that come with the package."""
    from joulebit.experiments import presets as known
    from joulebit.experiments.config import load_config

    rows = [
        {
            "name": config.name,
            "description": config.description,
            "dataset": config.data.name,
            "model": config.model.name,
            "method": config.method.label(),
            "engine": config.engine,
        }
        for config in map(load_config, known.names())
    ]
    if as_json:
        emit_json({"presets": rows})
        return
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="ellipsis", no_wrap=True)
    for row in rows:
        table.add_row(row["name"], row["description"])
    show(table)
