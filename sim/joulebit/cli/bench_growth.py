"""`joulebit bench growth`, `workers` and `all`: benches that start processes of their own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from joulebit.cli.bench import batch_option, chart_option, draw, model_option, rounds_option, threads_option
from joulebit.cli.console import clean_stdout, emit_json, json_option, note, show

_RUNS = click.IntRange(min=10)


@click.command()
@click.option("--quick", is_flag=True, help="Fewer and smaller points, in less than a minute.")
@click.option("--runs", multiple=True, type=_RUNS, help="Runs of a sweep, in tens; may be repeated.")
@threads_option
@rounds_option(7)
@chart_option
@json_option
def growth(
    quick: bool, runs: tuple[int, ...], threads: int, rounds: int, chart: Path | None, as_json: bool
) -> None:
    """Cost against depth, batch, size of the data set and number of runs in a sweep."""
    from joulebit.bench.growth import bench_growth
    from joulebit.cli.bench_tables import growth_table

    with clean_stdout():
        result = bench_growth(quick, threads, rounds, [count // 10 * 10 for count in runs], note)
        draw(chart, "growth", result)
    if as_json:
        emit_json(result)
    else:
        show(growth_table(result))


@click.command()
@model_option
@batch_option
@click.option(
    "--workers", multiple=True, default=(1, 2, 4), show_default=True, type=click.IntRange(min=1),
    help="How many; may be repeated.",
)  # fmt: skip
@rounds_option(3, "Launches of each number.")
@json_option
def workers(model: str, batch: int, workers: tuple[int, ...], rounds: int, as_json: bool) -> None:
    """A batch shared by several processes of torchrun, against one process."""
    from joulebit.bench.workers import bench_workers
    from joulebit.cli.bench_tables import workers_table

    with clean_stdout():
        result = bench_workers(model, batch, workers, rounds=rounds, note=note)
    if as_json:
        emit_json(result)
    else:
        show(workers_table(result))
        show(f"same weights: {'yes' if result['identical'] else 'NO'}")


@click.command(name="all")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), required=True,
    help="Folder for the charts and bench.json.",
)  # fmt: skip
@json_option
def everything(out: Path, as_json: bool) -> None:
    """All charts at once, in about six minutes on an idle machine."""
    from joulebit.bench.growth import bench_growth
    from joulebit.bench.kernels import bench_kernels
    from joulebit.bench.peers import bench_peers
    from joulebit.bench.step import bench_networks
    from joulebit.bench.workers import bench_workers

    out.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {}
    with clean_stdout():
        results["networks"] = bench_networks(rounds=6, note=note)
        draw(out / "step-times.png", "step_times", results["networks"])
        results["peers"] = bench_peers(rounds=6, note=note)
        draw(out / "peers.png", "peers", results["peers"])
        results["kernels"] = bench_kernels()
        draw(out / "roofline.png", "roofline", results["kernels"])
        results["growth"] = bench_growth(note=note)
        draw(out / "growth.png", "growth", results["growth"])
        results["workers"] = bench_workers(workers=(1, 2), rounds=2, note=note)
    (out / "bench.json").write_text(json.dumps(results, indent=1) + "\n")
    if as_json:
        emit_json(results)
    else:
        show(str(out / "bench.json"))
