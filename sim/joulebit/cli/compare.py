"""`joulebit compare`."""

from __future__ import annotations

from pathlib import Path

import click

from joulebit.cli.console import clean_stdout, command_line, emit_json, json_option, note, resumable, show
from joulebit.cli.progress import RichProgress
from joulebit.engine.factory import INTEGER_ENGINES
from joulebit.errors import Interrupted


@click.command()
@click.argument("runs", nargs=-1, type=click.Path(path_type=Path), metavar="RUN...")
@click.option("--suite", metavar="NAME|FILE.toml", help="Train the runs of a suite first, those that are missing.")
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a key in all runs of the suite."
)
@click.option("--average", is_flag=True, help="Show the mean of runs that differ in their seed alone.")
@click.option("--engine", type=click.Choice(INTEGER_ENGINES), help="Who computes the suite's integer runs.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Where data sets lie (or JOULEBIT_DATA_DIR).")
@click.option("--out-dir", type=click.Path(path_type=Path), help="Where the suite's runs lie.")
@json_option
def compare(
    runs: tuple[Path, ...],
    suite: str | None,
    overrides: tuple[str, ...],
    average: bool,
    engine: str | None,
    data_dir: Path | None,
    out_dir: Path | None,
    as_json: bool,
) -> None:
    """Show runs side by side: accuracy, joules, savings.

    A suite that was interrupted goes on when it is called again; one with several seeds is averaged.
    """
    if bool(runs) == bool(suite):
        raise click.UsageError("name either run directories or --suite NAME")
    if runs and (overrides or engine or data_dir or out_dir):
        raise click.UsageError("--set, --engine, --data-dir and --out-dir belong to --suite")
    from joulebit.experiments.compare import compare as compare_runs
    from joulebit.experiments.compare import render
    from joulebit.experiments.pareto import as_dict, write
    from joulebit.experiments.pareto import render as render_ranked
    from joulebit.experiments.seeds import averaged
    from joulebit.experiments.suite import load_suite, rank_suite, run_suite

    with clean_stdout():
        paths = list(runs)
        ranking = None
        if suite:
            loaded = load_suite(suite, overrides)
            try:
                paths = run_suite(loaded, out_dir, engine, data_dir, RichProgress(), note)
            except Interrupted as stop:
                again = command_line(
                    "compare", suite=suite, set=overrides, engine=engine, data_dir=data_dir, out_dir=out_dir
                )
                raise resumable(stop, again) from None
            ranking = rank_suite(loaded, paths, data_dir)
            average = average or loaded.seeds > 1
        rows = compare_runs(paths) if ranking is None else ranking
        if average and ranking is None:
            rows = averaged(rows)
        files = write(ranking, paths[0].parent) if ranking else []
    if as_json:
        emit_json({"rows": rows, **(as_dict(ranking, files) if ranking else {})})
        return
    show(render_ranked(ranking) if ranking else render(rows))
    for file in files:
        note(f"written: {file}")
