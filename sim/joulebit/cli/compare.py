"""`joulebit compare`."""

from __future__ import annotations

from pathlib import Path

import click

from joulebit.cli.console import clean_stdout, emit_json, json_option, show


@click.command()
@click.argument("runs", nargs=-1, type=click.Path(path_type=Path), metavar="RUN...")
@click.option("--suite", metavar="NAME", help="All runs of a suite instead, such as a table of the paper.")
@json_option
def compare(runs: tuple[Path, ...], suite: str | None, as_json: bool) -> None:
    """Show runs side by side: accuracy, joules, savings."""
    if bool(runs) == bool(suite):
        raise click.UsageError("name either run directories or --suite NAME")
    from joulebit.experiments.compare import compare as compare_runs
    from joulebit.experiments.compare import render

    with clean_stdout():
        rows = compare_runs(list(runs), suite)
    if as_json:
        emit_json({"rows": rows})
    else:
        show(render(rows))
