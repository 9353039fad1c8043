"""`joulebit bench`."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

import click

from joulebit.cli.console import clean_stdout, emit_json, json_option, show

BENCHES = "joulebit.bench"  #: the entry points by which other packages add benches


class _Benches(click.Group):
    """This package's benches and those that installed packages add, loaded when used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *(point.name for point in entry_points(group=BENCHES))})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        added = next(iter(entry_points(group=BENCHES, name=cmd_name)), None)
        return None if added is None else added.load()


@click.group(cls=_Benches, no_args_is_help=False)
def bench() -> None:
    """Measure speed as ratios within one process."""


@bench.command()
@click.option("--model", default="resnet20", show_default=True, help="Which network, at 32 x 32 x 3.")
@click.option("--batch", default=128, show_default=True, type=click.IntRange(min=1), help="Samples per step.")
@click.option(
    "--threads", default=0, show_default=True, type=click.IntRange(min=0), help="CPU threads; 0 = all cores."
)
@click.option("--rounds", default=10, show_default=True, type=click.IntRange(min=1), help="Alternating rounds.")
@json_option
def step(model: str, batch: int, threads: int, rounds: int, as_json: bool) -> None:
    """One training step of the integer network against one of float32 PyTorch."""
    from joulebit.experiments.bench import bench_step

    with clean_stdout():
        result: dict[str, Any] = bench_step(model=model, batch=batch, threads=threads, rounds=rounds)
    if as_json:
        emit_json(result)
    else:
        show(
            f"{model}, batch {batch}: {1000 * result['step_s']:.1f} ms in integers, "
            f"{1000 * result['float32_step_s']:.1f} ms in float32, ratio {result['ratio']:.3f}"
        )


@bench.command()
@click.option("--model", default="resnet20", show_default=True, help="Which network, at 32 x 32 x 3.")
@click.option("--batch", default=128, show_default=True, type=click.IntRange(min=1), help="Samples per step.")
@click.option(
    "--threads", default=0, show_default=True, type=click.IntRange(min=0), help="CPU threads; 0 = all cores."
)
@click.option("--rounds", default=8, show_default=True, type=click.IntRange(min=1), help="Steps that count.")
@click.option("--psg", is_flag=True, help="Train with predicted signs, which has the predictor's product too.")
@json_option
def kernels(model: str, batch: int, threads: int, rounds: int, psg: bool, as_json: bool) -> None:
    """Where a training step's time and bytes go, against the machine's ceilings."""
    from joulebit.experiments.bench_kernels import bench_kernels

    with clean_stdout():
        result = bench_kernels(model=model, batch=batch, threads=threads, rounds=rounds, psg=psg)
    if as_json:
        emit_json(result)
        return
    ceilings = result["ceilings"]
    show(
        f"{model}, batch {batch}, {result['threads']} threads: step {1000 * result['step_s']:.1f} ms; ceilings "
        f"{ceilings['byte_gmac_s']:.0f} GMAC/s (8x8 bits), {ceilings['pair_gmac_s']:.0f} GMAC/s (8x16 bits), "
        f"{ceilings['memory_gb_s']:.1f} GB/s"
    )
    show(_kernel_table(result["kernels"]))


def _kernel_table(rows: list[dict[str, Any]]) -> Any:
    from rich.table import Table

    table = Table()
    for title in ("kernel", "shape"):
        table.add_column(title)
    for title in ("calls", "ms", "CPU ms", "GMAC/s", "of peak", "GB/s", "of peak"):
        table.add_column(title, justify="right")
    for row in rows:
        products = (
            ("", "") if row["gmac_s"] is None else (f"{row['gmac_s']:.0f}", f"{100 * row['gmac_share']:.0f} %")
        )
        table.add_row(
            row["name"], row["shape"], str(row["calls"]), f"{1000 * row['s']:.2f}", f"{1000 * row['cpu_s']:.2f}",
            *products, f"{row['gb_s']:.1f}", f"{100 * row['gb_share']:.0f} %",
        )  # fmt: skip
    return table
