"""`joulebit paper`."""

from __future__ import annotations

from pathlib import Path

import click

from joulebit.cli.console import clean_stdout, emit_json, json_option, show
from joulebit.errors import did_you_mean
from joulebit.experiments.rundir import read_summary

PAPERS = ("e2-train",)


@click.command()
@click.argument("name", default=PAPERS[0], metavar="[NAME]")
@click.option(
    "--run", "runs", multiple=True, type=click.Path(path_type=Path), help="A run to set beside; repeatable."
)
@json_option
def paper(name: str, runs: tuple[Path, ...], as_json: bool) -> None:
    """Show a paper's tables beside what this tool computes."""
    if name not in PAPERS:
        raise click.BadParameter(f"unknown paper {name!r}{did_you_mean(name, PAPERS)}; known: {', '.join(PAPERS)}")
    from joulebit.experiments.paper import e2train_rows, render

    with clean_stdout():
        rows = e2train_rows([read_summary(run) for run in runs])
    if as_json:
        emit_json({"rows": rows})
    else:
        show(render(rows))
