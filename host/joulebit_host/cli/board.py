"""`joulebit board`: boards with the accelerator."""

from __future__ import annotations

from typing import Any

import click
from rich.table import Table

from joulebit.cli.console import clean_stdout, emit_json, json_option, note, show, si
from joulebit.spec.accelerator import CONFIGS
from joulebit_host.boards import BOARD_NAMES
from joulebit_host.cli.board_serve import serve

__all__ = ["board"]

_NAMES = ", ".join(BOARD_NAMES)


@click.group(no_args_is_help=False)
def board() -> None:
    """Look at a board, check it, or play one."""


board.add_command(serve)

_board_option = click.option(
    "--board", "name", default="virtual", show_default=True, metavar="NAME", help=f"Which: {_NAMES}."
)
_config_option = click.option(
    "--array-config", type=click.Choice(list(CONFIGS)), default="default", show_default=True,
    help="The accelerator's configuration to load.",
)  # fmt: skip


@board.command()
@_board_option
@_config_option
@json_option
def info(name: str, array_config: str, as_json: bool) -> None:
    """Load the accelerator and show what it says of itself."""
    from joulebit_host.boards import open_board
    from joulebit_host.driver import Accelerator, default_bitstream

    with clean_stdout():
        opened = open_board(name, array_config)
        try:
            with Accelerator(opened, default_bitstream(array_config)) as accelerator:
                result = accelerator.info()
        finally:
            opened.close()
    if as_json:
        emit_json(result)
        return
    table = Table(show_header=False, box=None, pad_edge=False)
    for label, value in _lines(result):
        table.add_row(label, value)
    show(table)


def _lines(result: dict[str, Any]) -> list[tuple[str, str]]:
    lines = [
        ("board", str(result["board"])),
        ("configuration", f"{result['array_config']}: {result['out_lanes']} x {result['in_lanes']} x "
                          f"{result['columns']} = {result['multipliers']} multipliers"),
        ("clock", f"{result['clock_hz'] / 1e6:g} MHz"),
        ("registers", f"version {result['version']}"),
        ("specification", str(result["specification_hash"])),
        ("memory", f"{result['memory_free_bytes']:,} bytes could be allocated at once"),
    ]  # fmt: skip
    if result["temperature_c"] is not None:
        lines.append(("die", f"{result['temperature_c']:.1f} °C"))
    return lines


@board.command()
@_board_option
@_config_option
@click.option(
    "--shapes", type=click.Choice(["small", "resnet20", "all"]), default="small", show_default=True,
    help="Which layers: small ones of all kinds (seconds on the RTL), those of ResNet-20, or both.",
)  # fmt: skip
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Of the operands.")
@json_option
@click.pass_context
def check(context: click.Context, name: str, array_config: str, shapes: str, seed: int, as_json: bool) -> None:
    """Run all passes and compare with the processor; exit code 1 when anything differs."""
    from joulebit_host.boards import open_board
    from joulebit_host.driver import Accelerator, default_bitstream
    from joulebit_host.driver.checking import SETS, check_board

    with clean_stdout():
        opened = open_board(name, array_config)
        try:
            with Accelerator(opened, default_bitstream(array_config)) as accelerator:
                result = check_board(accelerator, SETS[shapes], seed, note)
        finally:
            opened.close()
    if as_json:
        emit_json(result)
    else:
        _show_check(result)
    context.exit(0 if result["identical"] else 1)


def _show_check(result: dict[str, Any]) -> None:
    table = Table(box=None, pad_edge=False)
    for title in ("layer", "shape", "pass"):
        table.add_column(title)
    for title in ("tiles", "cycles", "MACs", "at its clock", "host", ""):
        table.add_column(title, justify="right")
    for entry in result["passes"]:
        table.add_row(
            entry["layer"], entry["shape"], entry["pass"], str(entry["tiles"]),
            f"{entry['cycles']:,}" if entry["cycles"] else "", f"{entry['macs']:,}",
            si(entry["macs_s"], "MAC/s") if entry["macs_s"] else "", f"{1000 * entry['host_s']:.1f} ms",
            "same" if entry["identical"] else "DIFFERS",
        )  # fmt: skip
    show(table)
    for entry in result["skipped"]:
        show(f"left out: {entry['layer']}, {entry['pass']}: {entry['why']}")
    counters = ", ".join(f"{name} {value:,}" for name, value in result["counters"].items() if value)
    show(f"counters: {counters}")
    found = result["first_difference"]
    if found is None:
        show(f"{len(result['passes'])} passes on board {result['board']}: all the same as the processor's")
        return
    show(
        f"first difference: {found['layer']} ({found['shape']}), {found['pass']}, tile {found['tile']}, element "
        f"{found['element']}: got {found['got']}, expected {found['expected']}; {found['differences']} in all"
    )
    if found.get("descriptor"):
        show(f"its tile: {', '.join(f'{key} {value}' for key, value in found['descriptor'].items())}")
