"""pynq's four remote services on a virtual board.

How errors are told follows pynq's own server as far as its client acts on it: services with a `msg` field answer
with it (the client raises RuntimeError), the others with a gRPC status (the client raises RpcError).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from joulebit_host.boards.server.board import Pins, ServedBoard
from joulebit_host.boards.server.limits import Refused
from joulebit_host.boards.server.messages import SERVICES, Service, message

__all__ = ["handlers"]

_CHUNK = 512 << 10  #: of a buffer that is read; larger messages leave the processor's caches


class _Device:
    """remote_device.RemoteDevice: files, and what is defined but never called by the client."""

    def __init__(self, board: ServedBoard) -> None:
        self._board = board

    def existsfile(self, request: Any, peer: str) -> dict[str, Any]:
        return {"exists": self._board.files.exists(request.file_path)}

    def readfile(self, request: Any, peer: str) -> Iterator[dict[str, Any]]:
        return ({"data": piece} for piece in self._board.files.read(request.file_path))

    def writefile(self, requests: Iterator[Any], peer: str) -> dict[str, Any]:
        self._board.files.write((request.file_path, request.data) for request in requests)
        return {}

    def set_bitstream_attrs(self, request: Any, peer: str) -> dict[str, Any]:
        if request.partial:
            raise Refused("UNIMPLEMENTED", "the virtual board takes full bitstreams only")
        return {"status": True}

    def shutdown(self, request: Any, peer: str) -> dict[str, Any]:
        return {"status": True}

    def set_pl_clk(self, request: Any, peer: str) -> dict[str, Any]:
        raise Refused("UNIMPLEMENTED", "clocks are set through the SLCR registers")

    def download(self, requests: Iterator[Any], peer: str) -> dict[str, Any]:
        raise Refused("UNIMPLEMENTED", "bitstreams are loaded through /lib/firmware")


class _Mmio:
    """mmio.Mmio: registers."""

    def __init__(self, board: ServedBoard) -> None:
        self._board = board

    def get_mmio(self, request: Any, peer: str) -> dict[str, Any]:
        return {"status": True, "mmio_id": self._board.window(request.base_addr, request.length)}

    def read(self, request: Any, peer: str) -> dict[str, Any]:
        if request.length not in (1, 2, 4):
            raise Refused(
                "INVALID_ARGUMENT",
                f"{request.length} bytes do not fit an answer of this protocol: read 4 bytes at a time",
            )
        value = self._board.read(request.mmio_id, request.offset)
        return {"status": True, "data": value & (1 << 8 * request.length) - 1}

    def write(self, request: Any, peer: str) -> dict[str, Any]:
        self._board.write(request.mmio_id, request.offset, request.data)
        return {"status": True}


class _Buffer:
    """buffer.RemoteBuffer: contiguous memory.

    `start` and `end` of reads and writes are honoured, which pynq's own server (4.0) does not do and its client
    does not ask for: bytes start..end-1, both 0 for all of a buffer and for the piece after the one before.
    """

    def __init__(self, board: ServedBoard) -> None:
        self._board = board

    def allocate(self, request: Any, peer: str) -> dict[str, Any]:
        with self._board.lock:
            return {"buffer_id": self._board.memory.allocate(request.size, request.cacheable, peer)}

    def write(self, requests: Iterator[Any], peer: str) -> dict[str, Any]:
        memory, at = self._board.memory, 0
        for request in requests:
            with self._board.lock:
                entry = memory.find(request.buffer_id, peer)
                start = request.start if request.end else at
                at = start + len(request.data)
                if request.end and request.end != at:
                    raise Refused(
                        "INVALID_ARGUMENT", f"{len(request.data)} bytes for {request.start}..{request.end}"
                    )
                memory.window(entry, start, at)[:] = memoryview(request.data)
        return {}

    def read(self, request: Any, peer: str) -> Iterator[dict[str, Any]]:
        memory = self._board.memory
        with self._board.lock:
            entry = memory.find(request.buffer_id, peer)
            stop = request.end or entry.size
            memory.window(entry, request.start, stop)
        for start in range(request.start, stop, _CHUNK):
            with self._board.lock:
                entry = memory.find(request.buffer_id, peer)
                data = memory.window(entry, start, min(stop, start + _CHUNK)).tobytes()
            yield {"data": data}

    def freebuffer(self, request: Any, peer: str) -> dict[str, Any]:
        with self._board.lock:
            self._board.memory.free(request.buffer_id)
        return {}

    def _found(self, request: Any, peer: str) -> Any:
        with self._board.lock:
            return self._board.memory.find(request.buffer_id, peer)

    def flush(self, request: Any, peer: str) -> dict[str, Any]:
        self._found(request, peer)
        return {}

    def invalidate(self, request: Any, peer: str) -> dict[str, Any]:
        self._found(request, peer)
        return {}

    def physical_address(self, request: Any, peer: str) -> dict[str, Any]:
        return {"address": self._board.memory.base + self._found(request, peer).offset}

    def virtual_address(self, request: Any, peer: str) -> dict[str, Any]:
        # Any address does: it is one of the server's process, which no client may use.
        return {"address": self._board.memory.base + self._found(request, peer).offset}

    def cacheable(self, request: Any, peer: str) -> dict[str, Any]:
        return {"cacheable": self._found(request, peer).cacheable}


class _Gpio:
    """gpio.Gpio: the processing system's pins."""

    def __init__(self, board: ServedBoard) -> None:
        self._pins: Pins = board.pins

    def get_gpio(self, request: Any, peer: str) -> dict[str, Any]:
        return {"gpio_id": self._pins.open(request.index)}

    def read(self, request: Any, peer: str) -> dict[str, Any]:
        return {"value": self._pins.read(request.gpio_id)}

    def write(self, request: Any, peer: str) -> dict[str, Any]:
        self._pins.write(request.gpio_id, request.value)
        return {}

    def unexport(self, request: Any, peer: str) -> dict[str, Any]:
        self._pins.close(request.gpio_id)
        return {}

    def is_exported(self, request: Any, peer: str) -> dict[str, Any]:
        return {"is_exported": self._pins.is_open(request.gpio_id)}

    def get_gpio_base_path(self, request: Any, peer: str) -> dict[str, Any]:
        return {"base_path": f"/sys/class/gpio/gpiochip{Pins.BASE}"}

    def get_gpio_npins(self, request: Any, peer: str) -> dict[str, Any]:
        return {"npins": Pins.COUNT}


_SERVANTS: dict[str, Callable[[ServedBoard], Any]] = {
    "remote_device": _Device,
    "mmio": _Mmio,
    "buffer": _Buffer,
    "gpio": _Gpio,
}


def handlers(board: ServedBoard) -> list[Any]:
    """One gRPC handler per service."""
    import grpc

    return [
        grpc.method_handlers_generic_handler(
            f"{service.package}.{service.name}",
            {name: _handler(service, name, _SERVANTS[service.package](board), board) for name in service.methods},
        )
        for service in SERVICES
    ]


def _handler(service: Service, name: str, servant: Any, board: ServedBoard) -> Any:
    """A procedure: turns messages into calls of the servant, and refusals into what the client understands."""
    import grpc

    method = service.methods[name]
    request_class = message(service.package, method.request)
    response_class = message(service.package, method.response)
    serve = getattr(servant, name)
    # The client looks at `msg` of single answers; where there is none, and in streams, a status is what it sees.
    tells = "msg" in response_class.DESCRIPTOR.fields_by_name and not method.stream_out and name != "allocate"

    def refuse(refused: Refused, context: Any) -> Any:
        if tells:
            return response_class(msg=str(refused))
        context.abort(grpc.StatusCode[refused.code], str(refused))
        raise AssertionError("abort raises")

    def single(request: Any, context: Any) -> Any:
        peer = context.peer()
        with board.call(peer):
            try:
                return response_class(**serve(request, peer))
            except Refused as refused:
                return refuse(refused, context)

    def stream(request: Any, context: Any) -> Iterator[Any]:
        peer = context.peer()
        with board.call(peer):
            try:
                for values in serve(request, peer):
                    yield response_class(**values)
            except Refused as refused:
                refuse(refused, context)

    makers = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
    }
    return makers[method.stream_in, method.stream_out](
        stream if method.stream_out else single,
        request_deserializer=request_class.FromString,
        response_serializer=response_class.SerializeToString,
    )
