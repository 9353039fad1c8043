"""What a board is: the one thing that differs between the ZedBoard, pynq's remote client and the virtual boards.

    board = open_board("virtual")
    board.load(bitstream)                    # programs the fabric
    buffer = board.allocate(4096)            # contiguous memory that the accelerator reads and writes
    buffer.array[:] = 0; buffer.flush(0, 4096)
    board.write(Register.DESC_ADDRESS, buffer.address)
    board.write(Register.CTRL, 1)
    status = board.wait(mask=6, timeout_s=1.0)
    buffer.invalidate(0, 4096)               # what the accelerator wrote is in buffer.array from here on

A board knows nothing of descriptors, tensors or counters: `joulebit_host.driver` does.

Rules that every board keeps:

* Registers are 32 bits wide at byte offsets of `joulebit.spec.accelerator.Register`.
* The accelerator's memory ports are not coherent with the processor's caches. `flush` makes what the processor
  wrote visible to the accelerator, `invalidate` the reverse; without them neither side may rely on what the other
  wrote.
  Both take a byte range, since on a remote board each moves those bytes over the network.
* `Buffer.address` is that of the first byte. Addresses of parts are `address + offset`: a slice of pynq's remote
  buffers reports the base, so nobody ever asks a slice for its address.
* `shared_bytes`, where a board has it, says how much of its memory tensors of the processor may occupy:
  memory in which the processor works as quickly as in its own. Without it they are copied.
* Every failure raises: nothing returns an empty buffer, zero, or None for "did not work".
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from joulebit.errors import JoulebitError
from joulebit.spec.accelerator import Register

__all__ = [
    "Bitstream",
    "Board",
    "BoardError",
    "BoardGoneError",
    "BoardMemoryError",
    "BoardTimeoutError",
    "Buffer",
    "BusAccessError",
    "MovedBuffer",
    "byte_range",
    "poll",
    "until",
]

T = TypeVar("T")


class BoardError(JoulebitError):
    """Something between the driver and the accelerator failed. A run can go on from its last checkpoint."""

    exit_code = 75  #: of the command: failed for now, try again


class BoardGoneError(BoardError):
    """The board does not answer any more: switched off, unplugged, or the server's process ended."""


class BoardMemoryError(BoardError):
    """The board has no contiguous memory of this size."""


class BoardTimeoutError(BoardError):
    """The accelerator did not reach the awaited state in time."""


class BusAccessError(BoardError):
    """A register access was answered by a bus error."""


@dataclass(frozen=True)
class Bitstream:
    """What to load: the entry of a manifest in `bitstreams/`.

    Attributes:
        name: as people call it, for messages.
        config: of `joulebit.spec.accelerator.CONFIGS`.
        specification_hash: hex SHA-256 (`specification_hash()`) that the design was built from.
        bit, hwh: files; None for the virtual boards, which need none.
        core: name of the accelerator's instance in the block design, as pynq lists it.
    """

    name: str
    config: str
    specification_hash: str
    bit: Path | None = None
    hwh: Path | None = None
    core: str = "joulebit_0"


class Buffer(Protocol):
    """Contiguous memory that both the processor and the accelerator reach."""

    @property
    def address(self) -> int:
        """Physical address of the first byte, as the accelerator sees it; a multiple of 64."""
        ...

    @property
    def array(self) -> NDArray[np.uint8]:
        """All bytes, flat, writable. On a remote board a local copy that flush and invalidate keep in step."""
        ...

    def flush(self, start: int = 0, stop: int | None = None) -> None:
        """Makes bytes start..stop-1 (default: all) of `array` visible to the accelerator."""
        ...

    def invalidate(self, start: int = 0, stop: int | None = None) -> None:
        """Makes what the accelerator wrote to bytes start..stop-1 (default: all) visible in `array`."""
        ...

    def free(self) -> None:
        """Gives the memory back; the buffer must not be used afterwards. A second call does nothing."""
        ...


class Board(Protocol):
    """A board with the accelerator. Not thread-safe: one driver at a time."""

    @property
    def name(self) -> str:
        """As given to `open_board`, for messages and result files."""
        ...

    def load(self, bitstream: Bitstream) -> None:
        """Programs the fabric; everything in it is reset, buffers stay. BoardError when that fails."""
        ...

    def read(self, register: int) -> int:
        """The 32-bit register at this byte offset, 0 .. 2^32 - 1."""
        ...

    def write(self, register: int, value: int) -> None:
        """Writes the 32-bit register at this byte offset."""
        ...

    def allocate(self, size: int) -> Buffer:
        """A buffer of at least `size` > 0 bytes, its contents undefined. BoardMemoryError names the size."""
        ...

    def wait(self, mask: int, timeout_s: float) -> int:
        """Waits until STATUS & mask is not 0 and returns STATUS; BoardTimeoutError after timeout_s of host time.

        Boards poll (`poll` below): pynq's remote boards have no interrupts.
        """
        ...

    def temperature_c(self) -> float | None:
        """The die's temperature, where the board can tell."""
        ...

    def close(self) -> None:
        """Frees all buffers and the connection. A second call does nothing."""
        ...


def until(look: Callable[[], T | None], timeout_s: float, pause_s: float = 0.0) -> T:
    """What look gives as soon as it is not None; BoardTimeoutError after timeout_s.

    The pause between looks starts at pause_s and grows to a hundredth of the time waited so far (at most 50 ms):
    a long list costs few reads, a short one little delay.
    """
    started = time.monotonic()
    while (found := look()) is None:
        waited = time.monotonic() - started
        if waited > timeout_s:
            raise BoardTimeoutError(
                f"the accelerator was not done after {timeout_s:g} s: allow more time, or reset the board"
            )
        time.sleep(min(max(pause_s, waited / 100), 0.05))
    return found


def poll(read: Callable[[int], int], mask: int, timeout_s: float, pause_s: float = 0.0) -> int:
    """`Board.wait` for boards whose registers are read at some cost (`until`)."""

    def reached() -> int | None:
        status = read(Register.STATUS)
        return status if status & mask else None

    return until(reached, timeout_s, pause_s)


def byte_range(array: NDArray[Any], start: int, stop: int | None) -> tuple[int, int]:
    """(start, stop) of a flush or invalidate with its default filled in; ValueError outside the buffer."""
    end = len(array) if stop is None else stop
    if not 0 <= start <= end <= len(array):
        raise ValueError(f"bytes {start}..{end} lie outside a buffer of {len(array)} bytes")
    return start, end


class MovedBuffer(ABC):
    """`Buffer` whose bytes have to be moved, or caches written, for either side to see what the other wrote.

    Args:
        array: all bytes, as the processor sees them; address: of the first one, as the accelerator sees it.
    """

    def __init__(self, array: NDArray[np.uint8], address: int) -> None:
        self._array = array
        self.address = address

    @property
    def array(self) -> NDArray[np.uint8]:
        return self._array

    def flush(self, start: int = 0, stop: int | None = None) -> None:
        start, stop = byte_range(self._array, start, stop)
        if start < stop:
            self._send(start, stop)

    def invalidate(self, start: int = 0, stop: int | None = None) -> None:
        start, stop = byte_range(self._array, start, stop)
        if start < stop:
            self._fetch(start, stop)

    @abstractmethod
    def _send(self, start: int, stop: int) -> None:
        """`flush` of bytes that there are."""

    @abstractmethod
    def _fetch(self, start: int, stop: int) -> None:
        """`invalidate` of bytes that there are."""
