"""`joulebit board`: boards with the accelerator."""

from __future__ import annotations

from typing import Any

import click
from rich.table import Table

from joulebit.cli.console import clean_stdout, emit_json, json_option, show
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
