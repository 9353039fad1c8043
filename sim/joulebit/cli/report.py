"""`joulebit report`."""

from __future__ import annotations

from pathlib import Path

import click

from joulebit.cli.console import clean_stdout, emit_json, json_option, show


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN...")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE.html", help="Where to write it.")
@json_option
def report(runs: tuple[Path, ...], output: Path | None, as_json: bool) -> None:
    """Write figures and tables of runs as one self-contained HTML page."""
    from joulebit.experiments.report import write_report

    with clean_stdout():
        file = write_report(list(runs), output)
    if as_json:
        emit_json({"report": str(file)})
    else:
        show(str(file))
