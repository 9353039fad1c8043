"""`joulebit efficiency`."""

from __future__ import annotations

from pathlib import Path

import click

from joulebit.cli.console import clean_stdout, command_line, emit_json, json_option, note, resumable, show
from joulebit.cli.progress import RichProgress
from joulebit.engine.factory import INTEGER_ENGINES
from joulebit.errors import Interrupted


@click.command()
@click.argument("sources", nargs=-1, required=True, metavar="STUDY|FILE.toml|RUN...")
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a key in all runs of a study."
)
@click.option("--engine", type=click.Choice(INTEGER_ENGINES), help="Who computes the study's integer runs.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Where data sets lie (or JOULEBIT_DATA_DIR).")
@click.option("--out-dir", type=click.Path(path_type=Path), help="Where the study's runs lie.")
@click.option(
    "--measured",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="CAMPAIGN",
    help="Take the joules from a campaign of `joulebit measure` that measured these runs; repeatable.",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE.html", help="Also write a page.")
@json_option
def efficiency(
    sources: tuple[str, ...],
    overrides: tuple[str, ...],
    engine: str | None,
    data_dir: Path | None,
    out_dir: Path | None,
    measured: tuple[Path, ...],
    output: Path | None,
    as_json: bool,
) -> None:
    """Compare architectures by accuracy per joule: over epochs, sizes and stopping criteria.

    A STUDY (digits, mnist, mnist-adam, paper, or a file) trains its missing runs first. Finished RUN
    directories are grouped by task, network, size and criterion, a campaign's cells by method and model.
    """
    study = sources[0] if len(sources) == 1 and not Path(sources[0]).is_dir() else None
    if study is None and (overrides or engine or data_dir or out_dir):
        raise click.UsageError("--set, --engine, --data-dir and --out-dir belong to a study")
    from joulebit.experiments.efficiency.analysis import analyse
    from joulebit.experiments.efficiency.inputs import gather
    from joulebit.experiments.efficiency.study import load_study, run_study
    from joulebit.experiments.efficiency.table import render

    if output:
        from joulebit.experiments.efficiency.page import check_path, write_page

        check_path(output)
    places: dict[Path, dict[str, str | int] | None] = {}
    with clean_stdout():
        if study is None:
            title = ""
            places.update({Path(source): None for source in sources})
        else:
            loaded = load_study(study, overrides)
            title = loaded.description
            try:
                done = run_study(loaded, out_dir, engine, data_dir, RichProgress(), note)
            except Interrupted as stop:
                again = command_line(
                    "efficiency", study, set=overrides, engine=engine, data_dir=data_dir, out_dir=out_dir,
                    measured=measured, output=output,
                )  # fmt: skip
                raise resumable(stop, again) from None
            places.update({path: run.place for run, path in done})
        found = analyse(gather(places, measured))
        if output:
            write_page(found, output, title)
    if as_json:
        emit_json(found | ({"report": str(output)} if output else {}))
    else:
        for table in render(found):
            show(table)
        if output:
            show(str(output))
