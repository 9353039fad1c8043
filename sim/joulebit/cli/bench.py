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
