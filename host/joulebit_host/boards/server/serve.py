"""A server of pynq's remote protocol with a virtual board behind it.

with Server("functional", port=0) as server:
    print(server.address)        # 127.0.0.1:PORT; until the block ends

The protocol has neither passwords nor encryption: whoever reaches the port uses the board. What a client can do is
confined to the virtual board (`files`, `board`, `limits`); it reaches no file, process or device of this machine.
"""

from __future__ import annotations

import ipaddress
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

from joulebit.errors import JoulebitError
from joulebit_host.boards.server.board import ServedBoard
from joulebit_host.boards.server.limits import Limits

__all__ = ["PORT", "Server", "is_loopback"]

PORT = 7967  #: pynq's own; its client can use another only where the program names it, not through its environment
_STOP_S = 1.0  #: that calls have to end by themselves
_END_S = 30.0  #: that the server has to end, calls that were cancelled included
_COLLECT_S = 5.0


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


class Server:
    """Serves until it is closed.

    Args:
        tier: "functional" or "rtl".
        config: the only configuration that clients may load, or None for any.
        host, port: where to listen; port 0 takes one that is free.
        limits: what clients may use.
        log: called with one line when something noteworthy happens.

    Attributes:
        address: HOST:PORT.
    """

    def __init__(
        self,
        tier: str = "functional",
        config: str | None = None,
        host: str = "127.0.0.1",
        port: int = PORT,
        limits: Limits | None = None,
        log: Callable[[str], None] = lambda text: None,
    ) -> None:
        try:
            import grpc
        except ModuleNotFoundError as error:
            raise JoulebitError("serving a board needs gRPC: pip install 'joulebit[board-server]'") from error
        from concurrent.futures import ThreadPoolExecutor

        from joulebit_host.boards.server.services import handlers

        limits = limits or Limits()
        self.board = ServedBoard(tier, config, limits, log)
        self._server: Any = grpc.server(
            ThreadPoolExecutor(limits.calls, "board"),
            handlers=handlers(self.board),
            maximum_concurrent_rpcs=limits.calls,
            options=[
                ("grpc.max_receive_message_length", limits.message),
                ("grpc.max_send_message_length", limits.message),
                ("grpc.max_concurrent_streams", limits.calls),
                ("grpc.max_metadata_size", 16 << 10),
                ("grpc.so_reuseport", 0),
                ("grpc.keepalive_time_ms", 20_000),
                ("grpc.keepalive_timeout_ms", 10_000),
            ],
        )
        bracketed = f"[{host}]" if ":" in host and not host.startswith("[") else host
        try:
            bound = self._server.add_insecure_port(f"{bracketed}:{port}")
        except RuntimeError:
            bound = 0
        if not bound:
            self.board.close()
            raise JoulebitError(
                f"cannot listen on {bracketed}:{port}: the port is in use or the address is not this machine's; "
                "choose another by --port (0 takes a free one) or --host"
            )
        self.address = f"{bracketed}:{bound}"
        self._stopping = threading.Event()
        self._collector = threading.Thread(target=self._collect, name="collector", daemon=True)
        self._server.start()
        self._collector.start()

    def _collect(self) -> None:
        pause = min(_COLLECT_S, self.board.limits.idle_s / 4)
        while not self._stopping.wait(pause):
            self.board.collect()

    def close(self) -> None:
        """Stops listening and ends what runs; a second call does nothing."""
        if not self._stopping.is_set():
            self._stopping.set()
            self._server.stop(_STOP_S).wait(_END_S)
            self.board.close()

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
