"""`joulebit bench cosim`."""

from __future__ import annotations

from typing import Any

import click
from rich.table import Table

from joulebit.cli.console import clean_stdout, emit_json, json_option, note, show, si
from joulebit.spec.accelerator import CONFIGS

__all__ = ["cosim"]


@click.command()
@click.option("--model", default="resnet20", show_default=True, help="Which network, at 32 x 32 x 3.")
@click.option("--batch", default=128, show_default=True, type=click.IntRange(min=1), help="Samples per step.")
@click.option(
    "--threads", default=0, show_default=True, type=click.IntRange(min=0), help="CPU threads; 0 = all cores."
)
@click.option("--rounds", default=8, show_default=True, type=click.IntRange(min=1), help="Alternating rounds.")
@click.option("--rtl/--no-rtl", default=True, show_default=True, help="Also run a layer on the Verilated RTL.")
@click.option(
    "--array-config", type=click.Choice(list(CONFIGS)), default="default", show_default=True,
    help="The accelerator's configuration.",
)  # fmt: skip
@json_option
def cosim(model: str, batch: int, threads: int, rounds: int, rtl: bool, array_config: str, as_json: bool) -> None:
    """Both tiers of the virtual board against the plain engine."""
    from joulebit_host.engine.cosim import bench_cosim

    with clean_stdout():
        result = bench_cosim(model, batch, threads, rounds, rtl, array_config, note)
    if as_json:
        emit_json(result)
        return
    show(_table(result))
    for method, found in result["methods"].items():
        show(
            f"{model}, batch {batch}, {method}: {1000 * found['step_s']:.1f} ms on the virtual board, "
            f"{1000 * found['numba_step_s']:.1f} ms by numba, ratio {found['ratio']:.2f}: "
            f"{100 * found['loss']:.0f} % of the throughput lost"
        )
    show(f"same weights: {'yes' if result['identical'] else 'NO'}")


def _table(result: dict[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in ("tier", "layer", "forward", "input gradient", "weight gradient", "clock", "ready after"):
        table.add_column(title)
    for tier, found in result["tiers"].items():
        rates = [si(found["macs_s"][name], "MAC/s") for name in ("forward", "input_gradient", "weight_gradient")]
        clock = si(found["cycles_s"], "cycles/s") if found["cycles_s"] else ""
        table.add_row(tier, found["layer"], *rates, clock, f"{found['open_s']:.1f} s")
    return table
