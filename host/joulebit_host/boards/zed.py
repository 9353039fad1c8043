"""The ZedBoard that this process runs on, by pynq 3.0 or 3.1: `zed`.

Buffers are cached: the processor packs tensors into them many times as fast as into uncached memory. The
accelerator's ports are not coherent, so that `flush` and `invalidate` do real work here.

A register access to a fabric that has no design, or another one, ends the process by SIGBUS, or hangs it:
registers are out of reach until `load` has succeeded.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from joulebit.errors import JoulebitError
from joulebit_host.boards.base import Bitstream, BoardError, BoardMemoryError, MovedBuffer, poll
from joulebit_host.boards.loading import core_window, fitting, xadc_temperature_c

__all__ = ["ZedBoard", "ZedBuffer", "open_zed"]


class ZedBuffer(MovedBuffer):
    """A buffer of pynq's."""

    def __init__(self, board: ZedBoard, buffer: Any) -> None:
        super().__init__(buffer.view(np.ndarray), int(buffer.device_address))
        self._board = board
        self._buffer = buffer

    def _send(self, start: int, stop: int) -> None:
        self._sync("TO", start, stop)

    def _fetch(self, start: int, stop: int) -> None:
        self._sync("FROM", start, stop)

    def _sync(self, direction: str, start: int, stop: int) -> None:
        bo = self._buffer.bo
        if hasattr(bo, "sync"):
            # pynq 3.1 synchronises the whole buffer, however small the slice; XRT itself can do a range.
            import pyxrt

            bo.sync(getattr(pyxrt.xclBOSyncDirection, f"XCL_BO_SYNC_BO_{direction}_DEVICE"), stop - start, start)
        elif direction == "TO":
            self._buffer[start:stop].flush()
        else:
            self._buffer[start:stop].invalidate()

    def free(self) -> None:
        if self._buffer is not None:
            self._board.forget(self)
            self._buffer.freebuffer()
            self._buffer = None
            self._array = np.zeros(0, np.uint8)


class ZedBoard:
    """`Board` on the board itself; needs root, as pynq does."""

    name = "zed"

    def __init__(self) -> None:
        try:
            from pynq import Device

            self._device = Device.active_device
        except ModuleNotFoundError as error:
            raise JoulebitError(
                f"board zed is the ZedBoard that the program runs on, with a PYNQ image: {error}; "
                "elsewhere choose virtual or remote:HOST"
            ) from error
        except RuntimeError as error:
            raise JoulebitError(
                f"pynq finds no board here ({error}): run as root on a board with a PYNQ image, after "
                "`source /etc/profile.d/pynq_venv.sh` and `source /etc/profile.d/xrt_setup.sh`"
            ) from error
        self._mmio: Any = None
        self._buffers: list[ZedBuffer] = []

    def load(self, bitstream: Bitstream) -> None:
        """Programs the fabric by `pynq.Overlay`; a Bitstream without files is looked up in `bitstreams/`."""
        from pynq import MMIO, Overlay

        bitstream = fitting(bitstream, virtual=False)
        self._mmio = None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                overlay = Overlay(str(bitstream.bit))
                address, size = core_window(overlay, bitstream)
                self._mmio = MMIO(address, size)
        except (RuntimeError, OSError) as error:
            raise BoardError(f"loading {bitstream.name} failed: {error}") from error

    def read(self, register: int) -> int:
        return int(self._registers().read(int(register)))

    def write(self, register: int, value: int) -> None:
        self._registers().write(int(register), int(value) & 0xFFFFFFFF)

    def _registers(self) -> Any:
        if self._mmio is None:
            raise BoardError("board zed: no bitstream is loaded; call load() first")
        return self._mmio

    def allocate(self, size: int) -> ZedBuffer:
        from pynq import allocate

        try:
            buffer = allocate((size,), "u1", cacheable=1)
        except (RuntimeError, MemoryError, OSError) as error:
            raise BoardMemoryError(
                f"board zed has no {size:,} contiguous bytes ({error}): use smaller batches, or give the kernel a "
                "larger CMA area (cma=256M)"
            ) from error
        made = ZedBuffer(self, buffer)
        self._buffers.append(made)
        return made

    def forget(self, buffer: ZedBuffer) -> None:
        """Called by a buffer that is being freed."""
        self._buffers = [other for other in self._buffers if other is not buffer]

    def wait(self, mask: int, timeout_s: float) -> int:
        return poll(self.read, mask, timeout_s)

    def temperature_c(self) -> float | None:
        """The XADC's; None where its driver is not in the kernel."""

        def read(path: str) -> str | None:
            file = Path(path)
            return file.read_text() if file.exists() else None

        return xadc_temperature_c(read)

    def close(self) -> None:
        for buffer in list(self._buffers):
            buffer.free()
        self._mmio = None


def open_zed(where: str, config: str) -> ZedBoard:
    """`zed`; the configuration is that of the bitstream that will be loaded."""
    return ZedBoard()
