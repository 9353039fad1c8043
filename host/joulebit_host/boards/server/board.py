"""The virtual ZedBoard behind the server: programmable fabric, address space, buffers, files, pins."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

import numpy as np

from joulebit.errors import JoulebitError
from joulebit.spec.accelerator import CONFIGS, Register, specification_hash
from joulebit_host.bitstreams import zedboard
from joulebit_host.bitstreams.bitfile import bit_to_bin, unpack_note
from joulebit_host.boards.base import BusAccessError
from joulebit_host.boards.fabric import BASE, Fabric, make_fabric
from joulebit_host.boards.server import slcr
from joulebit_host.boards.server.files import Files
from joulebit_host.boards.server.limits import Limits, Refused
from joulebit_host.boards.server.memory import Memory

__all__ = ["ServedBoard"]


class ServedBoard:
    """All that the services reach; every method may be called by any thread.

    Args:
        tier: "functional" or "rtl".
        config: the only configuration that may be loaded, or None for any.
        log: called with one line when something noteworthy happens.
    """

    def __init__(self, tier: str, config: str | None, limits: Limits, log: Callable[[str], None]) -> None:
        self._tier, self._config, self._log = tier, config, log
        self.lock = threading.RLock()
        self.limits = limits
        self._fabric: Fabric | None = None
        self._programmed: str | None = None  #: configuration in the fabric, None where nothing runs
        self._memory_bytes = limits.memory
        self.memory = Memory(limits, BASE, np.zeros(limits.memory, np.uint8))
        self.slcr = slcr.Slcr()
        self._loader = threading.local()
        self.files = Files(limits, self._program)
        self.pins = Pins()
        # What takes long the first time (imports, Verilator) is not left to the first client.
        if config is not None or tier == "functional":
            self._configure(config or "tiny")

    @contextlib.contextmanager
    def call(self, peer: str) -> Iterator[None]:
        """Around each call of a connection: while it lasts, the connection is not silent."""
        self._loader.peer = peer
        with self.lock:
            if self.memory.begin(peer):
                self._log(f"client {peer}")
        try:
            yield
        finally:
            with self.lock:
                self.memory.end(peer)

    def close(self) -> None:
        """Ends what runs."""
        with self.lock:
            if self._fabric is not None:
                self._fabric.close()
                self._fabric = None

    def collect(self) -> None:
        """Frees the buffers of clients that have gone, unless the accelerator is at work."""
        with self.lock:
            if self._busy():
                return
            freed = self.memory.free_idle()
        if freed:
            self._log(f"freed {freed} buffers of clients that were silent for {self.limits.idle_s:g} s")

    def _busy(self) -> bool:
        return self._fabric is not None and bool(self._fabric.read(Register.STATUS) & 1)

    # ---- the fabric

    def _program(self, name: str, content: bytes) -> None:
        """Loads a bitstream (.bin); the fabric is reset. Refused leaves it empty, as on a real board."""
        with self.lock:
            self._programmed = None
            try:
                config = self._accepted(content)
                self._configure(config)
            except JoulebitError as error:
                self._log(f"refused {name}: {error}")
                raise Refused("INVALID_ARGUMENT", f"{name}: {error}") from error
            self._programmed = config
            freed = self.memory.free_others(self._loader.peer)
        hertz = self.slcr.fclk_hz(0)
        self._log(f"loaded {name}: configuration {config}, FCLK0 {hertz / 1e6:.1f} MHz")
        if hertz > 1.001 * zedboard.CLOCK_HZ:
            self._log(
                f"warning: FCLK0 is faster than the {zedboard.CLOCK_HZ / 1e6:g} MHz that the design was built "
                "for: on a board it might compute wrong results"
            )
        if freed:
            self._log(f"freed {freed} buffers of other clients")

    def _accepted(self, content: bytes) -> str:
        note = unpack_note(bit_to_bin(content))
        config, own = str(note.get("configuration")), specification_hash()
        found = str(note.get("specification_hash"))
        if found != own:
            raise JoulebitError(
                f"built from specification {found[:8]}, this virtual board has {own[:8]}: "
                "use the bitstreams of the same version of joulebit"
            )
        if config not in CONFIGS or self._config not in (None, config):
            allowed = self._config or ", ".join(CONFIGS)
            raise JoulebitError(f"configuration {config}, this virtual board takes {allowed}")
        return config

    def _configure(self, config: str) -> None:
        if self._fabric is not None and self._fabric.config.name == config:
            self._fabric.reset()
            return
        if self._tier == "rtl":
            self._log(
                f"making the RTL of configuration {config}: minutes where Verilator compiles it the first time"
            )
        made = make_fabric(self._tier, config, self._memory_bytes, BASE, zedboard.CLOCK_HZ)
        for span in self.memory.spans():
            made.memory[span] = self.memory.array[span]
        self.memory.array = made.memory
        if self._fabric is not None:
            self._fabric.close()
        self._fabric = made

    # ---- the address space

    def window(self, base: int, length: int) -> str:
        """The name of a window of the address space; it says itself what it is, and outlives a restart."""
        for start, size in ((zedboard.REGISTER_BASE, zedboard.REGISTER_BYTES), (slcr.BASE, slcr.BYTES)):
            if length > 0 and start <= base and base + length <= start + size:
                return f"{base:08x}+{length:x}"
        raise Refused(
            "PERMISSION_DENIED",
            f"nothing can be mapped at 0x{base:08X}, {length} bytes: only the accelerator at "
            f"0x{zedboard.REGISTER_BASE:08X} and the clocks at 0x{slcr.BASE:08X}",
        )

    def _address(self, name: str, offset: int, size: int) -> int:
        base_text, _, length_text = name.partition("+")
        try:
            base, length = int(base_text, 16), int(length_text, 16)
        except ValueError as error:
            raise Refused("NOT_FOUND", f"no window {name!r}: it does not come from get_mmio") from error
        self.window(base, length)
        if offset % 4 or size % 4 or not 0 <= offset <= offset + size <= length:
            raise Refused(
                "OUT_OF_RANGE", f"offset 0x{offset:X}, {size} bytes: whole words in a window of {length} bytes"
            )
        return base + offset

    def read(self, name: str, offset: int) -> int:
        """A 32-bit register in a window."""
        with self.lock:
            address = self._address(name, offset, 4)
            if address >= slcr.BASE:
                return self.slcr.read(address - slcr.BASE)
            fabric, register = self._running(), address - zedboard.REGISTER_BASE
            try:
                value = fabric.read(register)
                if register == Register.STATUS and not value & 7:
                    fabric.wait(0, 0.0)  # tells of a list that could not be run to its end
                return value
            except JoulebitError as error:
                raise _bus_error(address, error) from error

    def write(self, name: str, offset: int, data: bytes) -> None:
        """Writes words from an offset on, in order."""
        with self.lock:
            address = self._address(name, offset, len(data))
            for at in range(0, len(data), 4):
                self._write_word(address + at, int.from_bytes(data[at : at + 4], "little"))

    def _write_word(self, address: int, value: int) -> None:
        if address >= slcr.BASE:
            self.slcr.write(address - slcr.BASE, value)
            return
        fabric = self._running()
        register = address - zedboard.REGISTER_BASE
        try:
            fabric.write(register, value)
            if register == Register.CTRL:
                fabric.read(Register.STATUS)  # a list runs from the first look at it on
        except JoulebitError as error:
            raise _bus_error(address, error) from error

    def _running(self) -> Fabric:
        if self._fabric is None or self._programmed is None:
            raise Refused(
                "FAILED_PRECONDITION", "bus error: nothing is programmed into the fabric; load an overlay"
            )
        return self._fabric


def _bus_error(address: int, error: JoulebitError) -> Refused:
    kind = "bus error" if isinstance(error, BusAccessError) else "the accelerator failed"
    return Refused("INTERNAL", f"{kind} at 0x{address:08X}: {error}")


class Pins:
    """The processing system's GPIO: 118 pins that read what was written to them."""

    BASE, COUNT = 906, 118

    def __init__(self) -> None:
        self._values: dict[int, int] = {}

    def open(self, index: int) -> str:
        """The name of a pin."""
        if not self.BASE <= index < self.BASE + self.COUNT:
            raise Refused("OUT_OF_RANGE", f"GPIO {index}: pins {self.BASE} to {self.BASE + self.COUNT - 1}")
        self._values.setdefault(index, 0)
        return f"gpio{index}"

    def _index(self, name: str) -> int:
        digits = name.removeprefix("gpio")
        index = int(digits) if digits.isdecimal() else -1
        if index not in self._values:
            raise Refused("NOT_FOUND", f"no GPIO {name!r}: open it first")
        return index

    def read(self, name: str) -> int:
        return self._values[self._index(name)]

    def write(self, name: str, value: int) -> None:
        self._values[self._index(name)] = value & 1

    def close(self, name: str) -> None:
        del self._values[self._index(name)]

    def is_open(self, name: str) -> bool:
        digits = name.removeprefix("gpio")
        return digits.isdecimal() and int(digits) in self._values
