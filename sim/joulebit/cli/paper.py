"""`joulebit paper`."""

from __future__ import annotations

from pathlib import Path

import click

from joulebit.cli.console import clean_stdout, emit_json, json_option, show
from joulebit.errors import did_you_mean
from joulebit.experiments.papers import PAPERS
from joulebit.experiments.rundir import read_summary


@click.command()
@click.argument("name", default="e2-train", metavar="[NAME]")
@click.option(
    "--run", "runs", multiple=True, type=click.Path(path_type=Path), help="A run to set beside; repeatable."
)
@json_option
def paper(name: str, runs: tuple[Path, ...], as_json: bool) -> None:
    """Show a paper's tables beside what this tool computes.

    NAME is e2-train (when none is given), data-selection, neuron-selection, efficiency or survey: the papers that
    the techniques come from.
    """
    if name not in PAPERS:
        raise click.BadParameter(f"unknown paper {name!r}{did_you_mean(name, PAPERS)}; known: {', '.join(PAPERS)}")
    from joulebit.experiments import papers
    from joulebit.experiments.papers.rows import render

    with clean_stdout():
        rows = papers.paper_rows(name, [read_summary(run) for run in runs])
    if as_json:
        emit_json({"rows": rows})
    else:
        show(render(rows))
