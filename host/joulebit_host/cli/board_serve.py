"""`joulebit board serve`: a virtual ZedBoard for pynq's remote client."""

from __future__ import annotations

import signal
import threading

import click

from joulebit.cli.console import emit_json, json_option, note, show
from joulebit.spec.accelerator import CONFIGS

__all__ = ["serve"]


@click.command()
@click.option(
    "--tier",
    type=click.Choice(["functional", "rtl"]),
    default="functional",
    show_default=True,
    help="Who computes: the functional model, or the Verilated RTL.",
)
@click.option(
    "--array-config",
    type=click.Choice(list(CONFIGS)),
    help="The only configuration that clients may load; any by default.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=7967,
    show_default=True,
    help="0 takes one that is free. pynq's environment variable PYNQ_REMOTE_DEVICES reaches 7967 only.",
)
@click.option(
    "--memory-mb",
    type=click.IntRange(1, 1024),
    default=128,
    show_default=True,
    help="Memory for buffers, in MiB.",
)
@click.option(
    "--idle-s",
    type=click.FloatRange(min=1),
    default=900.0,
    show_default=True,
    help="Frees the buffers of a client that was silent for so long.",
)
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), help="How long; until Ctrl-C by default.")
@json_option
def serve(
    tier: str,
    array_config: str | None,
    host: str,
    port: int,
    memory_mb: int,
    idle_s: float,
    seconds: float | None,
    as_json: bool,
) -> None:
    """Serve a virtual ZedBoard over pynq's remote protocol, until Ctrl-C.

    Anything that uses pynq 4's RemoteDevice can use it, and `--board remote:HOST:PORT` of other commands.
    """
    from joulebit_host.boards.server import Limits, Server, is_loopback

    stop = threading.Event()
    before = {
        number: signal.signal(number, lambda _number, _frame: stop.set())
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        limits = Limits(memory=memory_mb << 20, idle_s=idle_s)
        with Server(tier, array_config, host, port, limits, log=note) as server:
            if not is_loopback(host):
                note(
                    f"joulebit: warning: the protocol has no passwords and no encryption: whoever reaches {host} "
                    "can use this virtual board and see what others compute on it"
                )
            if as_json:
                emit_json({"address": server.address, "tier": tier, "configuration": array_config})
            else:
                show(f"serving a virtual ZedBoard ({tier}) on {server.address}")
            stop.wait(seconds)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
