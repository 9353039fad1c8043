"""A board over the network, by the unmodified remote client of pynq 4: `remote:HOST[:PORT]`.

On the other side is a board with a PYNQ.remote image, or `joulebit board serve`. Registers, the overlay and
buffers are pynq's own objects (`RemoteDevice`, `Overlay`, `MMIO`, `RemoteBuffer`).

Costs, in remote calls: a register access 1; `load` 33; `allocate` 2; `flush` and `invalidate` 2, and the
bytes. pynq 4.0's own server moves a buffer from its first byte on only: there, what precedes a range travels with
it. The virtual board's server moves ranges; which kind it is is found out once, with a buffer of 8 bytes.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from joulebit.errors import JoulebitError
from joulebit_host.boards.base import Bitstream, BoardError, BoardMemoryError, MovedBuffer, poll
from joulebit_host.boards.loading import core_window, fitting, xadc_temperature_c
from joulebit_host.boards.remote_calls import plain_errors, with_deadline, within

__all__ = ["PORT", "RemoteBoard", "RemotePart", "open_remote"]

PORT = 7967  #: pynq's; the only one that its environment variable PYNQ_REMOTE_DEVICES can reach
_VIRTUAL = "Virtual"  #: how the virtual board's name begins
_CHUNK = 512 << 10  #: of a message; larger ones leave the processor's caches
_CALL_S = 30.0
_LOAD_S = 600.0  #: a call while a bitstream is loaded: a virtual board may have to compile its RTL
_CONNECT_S = 15.0
_POLL_S = 0.0005


class RemotePart(MovedBuffer):
    """A buffer on the board and its copy here; `flush` and `invalidate` move bytes between them."""

    def __init__(self, board: RemoteBoard, buffer: Any) -> None:
        super().__init__(buffer.view(np.ndarray), int(buffer.device_address))
        self._board = board
        self._buffer = buffer

    def _send(self, start: int, stop: int) -> None:
        with plain_errors(self._board.name, f"sending {stop - start:,} bytes"):
            if start and not self._board.moves_ranges:
                # What comes before is overwritten with itself, since the copy here may be older.
                whole = np.empty(stop, np.uint8)
                self._read(0, whole[:start])
                whole[start:] = self._array[start:stop]
                self._write(0, whole)
            else:
                self._write(start, self._array[start:stop])

    def _fetch(self, start: int, stop: int) -> None:
        with plain_errors(self._board.name, f"fetching {stop - start:,} bytes"):
            if start and not self._board.moves_ranges:
                whole = np.empty(stop, np.uint8)
                self._read(0, whole)
                self._array[start:stop] = whole[start:]
            else:
                self._read(start, self._array[start:stop])

    def _write(self, first: int, data: NDArray[np.uint8]) -> None:
        """The board's bytes from `first` on."""
        messages, name = self._board.buffer_messages, self._buffer.buffer_id

        def pieces() -> Iterator[Any]:
            for at in range(0, len(data), _CHUNK):
                piece = data[at : at + _CHUNK].tobytes()
                where = {"start": first + at, "end": first + at + len(piece)} if self._board.moves_ranges else {}
                yield messages.BufferWriteRequest(buffer_id=name, data=piece, **where)

        _checked(self._buffer.stub.write(pieces()))
        _checked(self._buffer.stub.flush(messages.FlushRequest(buffer_id=name)))

    def _read(self, first: int, out: NDArray[np.uint8]) -> None:
        """Bytes from `first` on, as they are on the board, into `out`."""
        messages, name = self._board.buffer_messages, self._buffer.buffer_id
        _checked(self._buffer.stub.invalidate(messages.InvalidateRequest(buffer_id=name)))
        where = {"start": first, "end": first + len(out)} if self._board.moves_ranges else {}
        stream = self._buffer.stub.read(messages.BufferReadRequest(buffer_id=name, **where))
        got = 0
        for answer in stream:
            _checked(answer)
            piece = np.frombuffer(answer.data, np.uint8)[: len(out) - got]
            out[got : got + len(piece)] = piece
            got += len(piece)
            if got == len(out):
                stream.cancel()
                break
        if got < len(out):
            raise RuntimeError(f"the board sent {got:,} of {len(out):,} bytes")

    def free(self) -> None:
        if not self._buffer.freed:
            self._board.forget(self)
            with plain_errors(self._board.name, "freeing a buffer"):
                self._buffer.freebuffer()
            self._array = np.zeros(0, np.uint8)


class RemoteBoard:
    """`Board` over pynq's remote protocol.

    Args:
        host, port: where its server listens.
        call_s: after so many seconds without an answer the board is taken for gone.
    """

    def __init__(self, host: str, port: int = PORT, call_s: float = _CALL_S) -> None:
        try:
            from pynq.pl_server.remote_device import RemoteDevice
            from pynq.remote import buffer_pb2
        except ModuleNotFoundError as error:
            raise JoulebitError(
                f"a remote board needs pynq 4 ({error}): pip install 'pynq==4.0.0' 'setuptools<81' in Python "
                "3.10 to 3.12; it brings numpy 1.26"
            ) from error
        bracketed = f"[{host}]" if ":" in host else host
        self.name = f"remote:{bracketed}" + (f":{port}" if port != PORT else "")
        self.buffer_messages = buffer_pb2
        self._mmio: Any = None
        self._parts: list[RemotePart] = []
        with plain_errors(self.name, "connecting"):
            self._device = within(_CONNECT_S, lambda: RemoteDevice(0, bracketed, port))
        self._call_s = self._limit_s = call_s
        channel = with_deadline(self._device.client.channel, lambda: self._limit_s)
        self._device._stub = {kind: type(stub)(channel) for kind, stub in self._device._stub.items()}
        self.moves_ranges = False
        self.moves_ranges = self._finds_ranges()

    @property
    def is_virtual(self) -> bool:
        """Whether a virtual board's server is on the other side."""
        return str(self._device.name).startswith(_VIRTUAL)

    def _finds_ranges(self) -> bool:
        """Whether the server honours start and end of a write: 4 bytes sent to the end of 8 must arrive there."""
        part = self.allocate(8)
        try:
            part.array[:] = 0
            part.flush()
            self.moves_ranges = True
            part.array[4:] = 255
            part.flush(4, 8)
            self.moves_ranges = False
            part.invalidate()
            return bool((part.array == [0, 0, 0, 0, 255, 255, 255, 255]).all())
        finally:
            self.moves_ranges = False
            part.free()

    def load(self, bitstream: Bitstream) -> None:
        """Programs the fabric by `pynq.Overlay`; a Bitstream without files is looked up in `bitstreams/`."""
        bitstream = fitting(bitstream, virtual=self.is_virtual)
        self._mmio = None
        self._limit_s = max(_LOAD_S, self._call_s)
        try:
            self._load(bitstream)
        finally:
            self._limit_s = self._call_s

    def _load(self, bitstream: Bitstream) -> None:
        from pynq import MMIO, Overlay
        from pynq.pl_server.device import Device
        from pynq.ps import Clocks

        Device.active_device = self._device
        # pynq keeps the clocks of the first board that it saw, for all boards and all time.
        if "_real_instance" in vars(Clocks):
            del Clocks._real_instance
        with plain_errors(self.name, f"loading {bitstream.name}"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            Clocks.set_device(self._device)
            overlay = Overlay(str(bitstream.bit), device=self._device)
            address, size = core_window(overlay, bitstream)
            self._mmio = MMIO(address, size, device=self._device)

    def read(self, register: int) -> int:
        with plain_errors(self.name, f"reading register 0x{register:02X}"):
            return int(self._registers().read(register))

    def write(self, register: int, value: int) -> None:
        with plain_errors(self.name, f"writing register 0x{register:02X}"):
            self._registers().write(int(register), int(value) & 0xFFFFFFFF)

    def _registers(self) -> Any:
        if self._mmio is None:
            raise BoardError(f"{self.name}: no bitstream is loaded; call load() first")
        return self._mmio

    def allocate(self, size: int) -> RemotePart:
        with plain_errors(self.name, f"allocating {size:,} bytes"):
            if not 0 < size < 1 << 31:
                raise BoardMemoryError(
                    f"{self.name}: a buffer has 1 to {(1 << 31) - 1:,} bytes, asked for {size:,}"
                )
            buffer = self._device.allocate((size,), "u1")
            if not buffer.buffer_id:
                # pynq's own server answers without a name where it has no memory.
                buffer.freed = True
                raise BoardMemoryError(f"{self.name}: no {size:,} contiguous bytes; enlarge the kernel's CMA area")
            part = RemotePart(self, buffer)
        self._parts.append(part)
        return part

    def forget(self, part: RemotePart) -> None:
        """Called by a buffer that is being freed."""
        self._parts = [other for other in self._parts if other is not part]

    def wait(self, mask: int, timeout_s: float) -> int:
        return poll(self.read, mask, timeout_s, _POLL_S)

    def temperature_c(self) -> float | None:
        """The XADC's; None where the board's kernel has no driver for it."""

        def read(path: str) -> str | None:
            return self._device.read_file(path).decode() if self._device.exists_file(path).exists else None

        with plain_errors(self.name, "reading the temperature"):
            return xadc_temperature_c(read)

    def close(self) -> None:
        for part in list(self._parts):
            try:
                part.free()
            except BoardError:
                break  # the board is gone, and its buffers with it
        for part in self._parts:
            part._buffer.freed = True
        self._parts = []
        self._mmio = None
        self._device.client.channel.close()


def _checked(answer: Any) -> None:
    """RuntimeError with the server's words, as pynq's client does it."""
    if answer.msg:
        raise RuntimeError(answer.msg)


def parse_where(where: str) -> tuple[str, int]:
    """(host, port) of HOST, HOST:PORT, [IPV6] or [IPV6]:PORT."""
    host, port_text = where, ""
    if where.startswith("["):
        host, _, rest = where[1:].partition("]")
        port_text = rest.removeprefix(":")
    elif where.count(":") == 1:
        host, _, port_text = where.partition(":")
    port = int(port_text) if port_text.isdecimal() else PORT if not port_text else -1
    if not host or not 0 < port < 1 << 16:
        raise JoulebitError(
            f"remote:{where}: HOST[:PORT] is wanted, such as remote:192.168.2.99 or remote:[::1]:7967"
        )
    return host, port


def open_remote(where: str, config: str) -> RemoteBoard:
    """`remote:HOST[:PORT]`; the configuration is that of the bitstream that will be loaded."""
    return RemoteBoard(*parse_where(where))
