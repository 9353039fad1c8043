"""`joulebit bench`: the group, and the benches of single training steps."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, TypeVar

import click

from joulebit.cli.console import clean_stdout, emit_json, json_option, note, show

BENCHES = "joulebit.bench"  #: the entry points by which other packages add benches

_Function = TypeVar("_Function", bound=Callable[..., Any])


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


def model_options(function: _Function) -> _Function:
    """The options --model, --batch and --threads."""
    for option in (threads_option, batch_option, model_option):
        function = option(function)
    return function


model_option = click.option(
    "--model", default="resnet20", show_default=True, help="Which network, at 32 x 32 x 3."
)
batch_option = click.option(
    "--batch", default=128, show_default=True, type=click.IntRange(min=1), help="Samples per step."
)
threads_option = click.option(
    "--threads", default=0, show_default=True, type=click.IntRange(min=0), help="CPU threads; 0 = all cores."
)


def rounds_option(default: int, what: str = "Alternating rounds.") -> Callable[[_Function], _Function]:
    """The option --rounds."""
    return click.option("--rounds", default=default, show_default=True, type=click.IntRange(min=1), help=what)


def _png(_: click.Context, __: click.Parameter, path: Path | None) -> Path | None:
    if path and path.suffix != ".png":
        raise click.BadParameter(f"the name of a chart must end in .png, got {str(path)!r}")
    if path and not path.parent.is_dir():
        raise click.BadParameter(f"there is no folder {str(path.parent)!r}: make it first")
    return path


chart_option = click.option(
    "--chart", type=click.Path(path_type=Path), metavar="FILE.png", callback=_png, help="Also draw the result."
)


def draw(chart: Path | None, figure: str, result: Any) -> None:
    """Draw a result by a function of `joulebit.bench.figures`, if a chart was asked for."""
    if not chart:
        return
    from joulebit.bench import figures

    figures.write_png(chart, getattr(figures, figure)(result))
    note(f"drawn: {chart}")


@click.group(cls=_Benches, no_args_is_help=False)
def bench() -> None:
    """Measure speed, memory and growth, as ratios within one run."""


@bench.command()
@model_options
@rounds_option(10)
@click.option(
    "--device", default="cpu", show_default=True, metavar="cpu|cuda|cuda:N|auto",
    help="Where both compute; the integers on a CUDA device by the torch engine.",
)  # fmt: skip
@json_option
def step(model: str, batch: int, threads: int, rounds: int, device: str, as_json: bool) -> None:
    """One training step of the integer network against one of float32 PyTorch."""
    from joulebit.bench.step import bench_step

    with clean_stdout():
        result: dict[str, Any] = bench_step(
            model=model, batch=batch, threads=threads, rounds=rounds, device=device
        )
    if as_json:
        emit_json(result)
    else:
        show(
            f"{model}, batch {batch}, {result['device']}: {1000 * result['step_s']:.1f} ms in integers, "
            f"{1000 * result['float32_step_s']:.1f} ms in float32, ratio {result['ratio']:.3f}"
        )


@bench.command()
@rounds_option(10)
@chart_option
@json_option
def networks(rounds: int, chart: Path | None, as_json: bool) -> None:
    """Four networks, on one thread and on all, against float32."""
    from joulebit.bench.step import bench_networks
    from joulebit.cli.bench_tables import networks_table

    with clean_stdout():
        results = bench_networks(rounds, note)
        draw(chart, "step_times", results)
    if as_json:
        emit_json({"results": results})
    else:
        show(networks_table(results))


@bench.command()
@model_options
@rounds_option(8, "Steps that count.")
@click.option("--psg", is_flag=True, help="Train with predicted signs, which has the predictor's product too.")
@chart_option
@json_option
def kernels(
    model: str, batch: int, threads: int, rounds: int, psg: bool, chart: Path | None, as_json: bool
) -> None:
    """Where a training step's time and bytes go, against the machine's ceilings."""
    from joulebit.bench.kernels import bench_kernels
    from joulebit.cli.bench_tables import kernels_table

    with clean_stdout():
        result = bench_kernels(model=model, batch=batch, threads=threads, rounds=rounds, psg=psg)
        draw(chart, "roofline", result)
    if as_json:
        emit_json(result)
        return
    ceilings = result["ceilings"]
    show(
        f"{model}, batch {batch}, {result['threads']} threads: step {1000 * result['step_s']:.1f} ms, "
        f"{1000 * result['between_s']:.1f} of them between operations; ceilings "
        f"{ceilings['byte_gmac_s']:.0f} GMAC/s (8x8 bits), {ceilings['pair_gmac_s']:.0f} GMAC/s (8x16 bits), "
        f"{ceilings['memory_gb_s']:.1f} GB/s"
    )
    show(kernels_table(result["kernels"]))


@bench.command()
@click.option(
    "--model", "models", multiple=True, default=("resnet20", "lenet5"), show_default=True,
    help="Which networks; may be repeated.",
)  # fmt: skip
@batch_option
@threads_option
@rounds_option(10)
@chart_option
@json_option
def peers(
    models: tuple[str, ...], batch: int, threads: int, rounds: int, chart: Path | None, as_json: bool
) -> None:
    """A training step against float32 PyTorch, torch.ao and QPyTorch.

    Peers that are not installed are left out. QPyTorch compiles its C++ on first use, which takes a minute.
    """
    from joulebit.bench.peers import bench_peers
    from joulebit.cli.bench_tables import peers_table

    with clean_stdout():
        result = bench_peers(models, batch, threads, rounds, note)
        for name, why in result["missing"].items():
            note(f"without {name}: {why}")
        draw(chart, "peers", result)
    if as_json:
        emit_json(result)
    else:
        show(peers_table(result))
