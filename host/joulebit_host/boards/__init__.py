"""Boards by name: the ZedBoard itself, one over pynq's remote protocol, and virtual ones in this process.

A name is `KIND[:WHERE]`:

| name | is |
|---|---|
| `virtual` | registers and memory in this process, executed by the functional model |
| `virtual-rtl` | the same, executed by the Verilated RTL |
| `remote:HOST[:PORT]` | a board (or `joulebit board serve`) over pynq's remote protocol |
| `zed` | the board that this process runs on |
"""

from __future__ import annotations

from importlib import import_module

from joulebit.errors import JoulebitError, did_you_mean
from joulebit.spec.accelerator import CONFIGS
from joulebit_host.boards.base import Bitstream, Board, Buffer

__all__ = ["BOARD_NAMES", "Bitstream", "Board", "Buffer", "open_board"]

BOARD_NAMES = ("virtual", "virtual-rtl", "remote:HOST[:PORT]", "zed")
#: kind: "module:function"; the function takes WHERE ("" where there is none) and the configuration's name.
_OPENERS = {
    "virtual": "joulebit_host.boards.virtual:open_functional",
    "virtual-rtl": "joulebit_host.boards.virtual:open_rtl",
    "remote": "joulebit_host.boards.remote:open_remote",
    "zed": "joulebit_host.boards.zed:open_zed",
}


def open_board(name: str, config: str = "default") -> Board:
    """The board called `name`; imports only what that board needs.

    Args:
        name: see above.
        config: of the accelerator that will be loaded (`CONFIGS`); a virtual board is made with it.

    Raises:
        JoulebitError: for an unknown name or configuration, or where the board cannot be reached.
    """
    if config not in CONFIGS:
        raise JoulebitError(
            f"no configuration {config!r}{did_you_mean(config, CONFIGS)}: choose one of {', '.join(CONFIGS)}"
        )
    kind, separator, where = name.partition(":")
    opener = _OPENERS.get(kind)
    if opener is None or (bool(separator) and not where):
        raise JoulebitError(f"no board {name!r}: choose one of {', '.join(BOARD_NAMES)}")
    module, function = opener.split(":")
    board: Board = getattr(import_module(module), function)(where, config)
    return board
