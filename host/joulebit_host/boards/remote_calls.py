"""Time limits and plain errors for the calls that pynq's remote client makes.

pynq calls its stubs without a time limit, so that a board that hangs would hang the program: every call goes
through `with_deadline`. What comes back as a gRPC error, or as pynq's RuntimeError with the server's words, is
made one of `joulebit_host.boards.base`'s errors by `plain_errors`.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections import namedtuple
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from joulebit_host.boards.base import BoardError, BoardGoneError, BoardMemoryError, BusAccessError

__all__ = ["plain_errors", "with_deadline", "within"]

_Result = TypeVar("_Result")
_GONE = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED")


def within(seconds: float, function: Callable[[], _Result]) -> _Result:
    """What function returns or raises; TimeoutError after so many seconds (it goes on in the background)."""
    answer: queue.SimpleQueue[tuple[bool, Any]] = queue.SimpleQueue()

    def run() -> None:
        try:
            answer.put((True, function()))
        except BaseException as error:
            answer.put((False, error))

    threading.Thread(target=run, name="remote", daemon=True).start()
    try:
        good, value = answer.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"no answer in {seconds:g} s") from None
    if not good:
        raise value
    result: _Result = value
    return result


def with_deadline(channel: Any, seconds: Callable[[], float]) -> Any:
    """A gRPC channel whose calls all end after so many seconds from their start, streams as a whole."""
    import grpc

    fields = ("method", "timeout", "metadata", "credentials", "wait_for_ready", "compression")

    class _Details(namedtuple("_Details", fields), grpc.ClientCallDetails):  # type: ignore[misc]
        """A call's settings; grpc gives no class for them."""

    class _Deadline(
        grpc.UnaryUnaryClientInterceptor,  # type: ignore[misc]
        grpc.UnaryStreamClientInterceptor,  # type: ignore[misc]
        grpc.StreamUnaryClientInterceptor,  # type: ignore[misc]
    ):
        def _call(self, continuation: Any, details: Any, request: Any) -> Any:
            values = {name: getattr(details, name, None) for name in fields}
            if values["timeout"] is None:
                values["timeout"] = seconds()
            return continuation(_Details(**values), request)

        intercept_unary_unary = intercept_unary_stream = intercept_stream_unary = _call

    return grpc.intercept_channel(channel, _Deadline())


@contextlib.contextmanager
def plain_errors(board: str, doing: str) -> Iterator[None]:
    """Turns gRPC's and pynq's errors into BoardGoneError, BoardMemoryError, BusAccessError or BoardError.

    Args:
        board: its name, doing: such as "reading a register", for the message.
    """
    import grpc

    try:
        yield
    except grpc.RpcError as error:
        code = error.code().name if callable(getattr(error, "code", None)) else "UNKNOWN"
        text = " ".join(str(error.details() if callable(getattr(error, "details", None)) else error).split())
        if code in _GONE:
            raise BoardGoneError(
                f"{board} does not answer ({doing}: {text}): is it on, and does its server run? Then open it again"
            ) from error
        kind = BoardMemoryError if code == "RESOURCE_EXHAUSTED" else BoardError
        raise kind(f"{board}, {doing}: {text}") from error
    except TimeoutError as error:
        raise BoardGoneError(f"{board} does not answer ({doing}: {error}): does its server run?") from error
    except RuntimeError as error:
        if "Failed to connect" in str(error):
            raise BoardGoneError(f"no board answers at {board}: is it on, and does its server run?") from error
        kind = BusAccessError if "bus error" in str(error) else BoardError
        raise kind(f"{board}, {doing}: {error}") from error
