"""The Verilated accelerator as a device: a byte array for memory, registers, and `run`.

with RtlModel("tiny", memory_bytes=1 << 20) as device:
    device.memory[...] = ...
    status = device.run(descriptor_address, count)
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np

from joulebit.accelerator.build import library
from joulebit.accelerator.functional import Status
from joulebit.errors import JoulebitError
from joulebit.spec.accelerator import CONFIGS, Register

__all__ = ["BusTiming", "RtlModel", "Traffic"]

_COUNTERS = [register for register in Register if register >= Register.CYCLES_TOTAL]
_POLL_CYCLES = 32


@dataclass(frozen=True)
class BusTiming:
    """How the memory behaves: latency in cycles (uniform between both ends), shares of cycles in 1/1000.

    Attributes:
        idle: cycles in which a slave that could answer does not.
        back_pressure: cycles in which a slave takes no address and no data.
        outstanding: bursts that a port takes before it has answered them.
    """

    latency_min: int = 20
    latency_max: int = 20
    idle: int = 0
    back_pressure: int = 0
    outstanding: int = 8


@dataclass(frozen=True)
class Traffic:
    """What one port carried: 8-byte beats, and cycles in which a side waited."""

    read_beats: int
    write_beats: int
    address_waits: int
    write_waits: int
    read_idle: int


def _load(config: str, clock_hz: int) -> Any:
    code = ctypes.CDLL(str(library(config, clock_hz)))
    u32, u64, handle = ctypes.c_uint32, ctypes.c_uint64, ctypes.c_void_p
    signatures: dict[str, tuple[Any, list[Any]]] = {
        "jb_open": (handle, [u64, u64]),
        "jb_close": (None, [handle]),
        "jb_memory": (ctypes.POINTER(ctypes.c_uint8), [handle]),
        "jb_reset": (None, [handle]),
        "jb_configure": (None, [handle, u64, u32, u32, u32, u32, u32]),
        "jb_fault": (None, [handle, u64, u64]),
        "jb_read": (ctypes.c_int64, [handle, u32]),
        "jb_write": (ctypes.c_int, [handle, u32, u32]),
        "jb_run_until": (ctypes.c_int64, [handle, u32, u32, u32, u64]),
        "jb_cycles": (None, [handle, u64]),
        "jb_now": (u64, [handle]),
        "jb_irq": (ctypes.c_int, [handle]),
        "jb_violation": (ctypes.c_char_p, [handle]),
        "jb_quiet": (ctypes.c_int, [handle]),
        "jb_traffic": (None, [handle, ctypes.POINTER(u64)]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(code, name)
        function.restype, function.argtypes = result, arguments
    return code


class RtlModel:
    """The RTL of a named configuration with `memory_bytes` of memory from address `base` on.

    Attributes:
        memory: uint8 array that the design reads and writes; changes are seen at once by both sides.
    """

    def __init__(
        self, config: str = "tiny", memory_bytes: int = 1 << 20, base: int = 0x100000, clock_hz: int = 100_000_000
    ) -> None:
        self.config = CONFIGS[config]
        self.base = base
        self._code = _load(config, clock_hz)
        self._handle = self._code.jb_open(memory_bytes, base)
        self.memory = np.ctypeslib.as_array(self._code.jb_memory(self._handle), (memory_bytes,))

    def __enter__(self) -> RtlModel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the model; `memory` must not be used afterwards."""
        if self._handle:
            self.memory = np.zeros(0, np.uint8)
            self._code.jb_close(self._handle)
            self._handle = None

    def configure(self, timing: BusTiming, seed: int = 0) -> None:
        """How the memory answers from now on; the same seed gives the same run."""
        self._code.jb_configure(
            self._handle, seed, timing.latency_min, timing.latency_max, timing.idle, timing.back_pressure,
            timing.outstanding,
        )  # fmt: skip

    def fault(self, start: int, stop: int) -> None:
        """Accesses to addresses start..stop-1 are answered by SLVERR."""
        self._code.jb_fault(self._handle, start, stop)

    def reset(self) -> None:
        """The design's reset input, for a few cycles; memory stays."""
        self._code.jb_reset(self._handle)

    def read(self, register: int) -> int:
        """A 32-bit register."""
        value = int(self._code.jb_read(self._handle, register))
        if value < 0:
            raise JoulebitError(
                f"reading register 0x{register:02X}: {'no answer' if value == -1 else 'bus error'}"
            )
        return value

    def write(self, register: int, value: int) -> None:
        """Writes a 32-bit register."""
        code = int(self._code.jb_write(self._handle, register, value & 0xFFFFFFFF))
        if code < 0:
            raise JoulebitError(f"writing register 0x{register:02X}: {'no answer' if code == -1 else 'bus error'}")

    def cycles(self, count: int) -> None:
        """Lets the clock run."""
        self._code.jb_cycles(self._handle, count)

    def start(self, address: int, count: int) -> None:
        """Starts a list of descriptors."""
        self.write(Register.STATUS, 6)
        self.write(Register.DESC_ADDRESS, address)
        self.write(Register.DESC_COUNT, count)
        self.write(Register.CTRL, 1)

    def run_until_done(self, max_cycles: int = 10_000_000) -> Status:
        """Waits for done or error; JoulebitError when neither comes, or when a bus rule was broken."""
        value = int(self._code.jb_run_until(self._handle, Register.STATUS, 6, _POLL_CYCLES, max_cycles))
        self.check_bus()
        if value < 0:
            raise JoulebitError(
                f"the accelerator did not finish in {max_cycles} cycles: "
                f"{self.read(Register.DESC_DONE)} descriptors done"
            )
        error, index = self.read(Register.ERROR), self.read(Register.ERROR_INDEX)
        return Status(error, index if error else 0, self.read(Register.DESC_DONE))

    def run(self, address: int, count: int, max_cycles: int = 10_000_000) -> Status:
        """Runs a list of descriptors to its end."""
        self.start(address, count)
        return self.run_until_done(max_cycles)

    def check_bus(self) -> None:
        """JoulebitError with the first broken rule of the buses, if any."""
        text = self._code.jb_violation(self._handle).decode()
        if text:
            raise JoulebitError(f"bus rule broken: {text}")

    @property
    def quiet(self) -> bool:
        """Whether no burst is under way."""
        return bool(self._code.jb_quiet(self._handle))

    @property
    def irq(self) -> bool:
        """The interrupt output."""
        return bool(self._code.jb_irq(self._handle))

    @property
    def now(self) -> int:
        """Cycles since the model was made."""
        return int(self._code.jb_now(self._handle))

    def counters(self, clear: bool = False) -> dict[str, int]:
        """All counters by register name, as of one cycle."""
        self.write(Register.SNAPSHOT, int(clear))
        return {r.name: self.read(r) | self.read(r + 4) << 32 for r in _COUNTERS}

    def traffic(self) -> tuple[Traffic, Traffic]:
        """What both ports carried since the model was made."""
        numbers = (ctypes.c_uint64 * 10)()
        self._code.jb_traffic(self._handle, numbers)
        return Traffic(*numbers[:5]), Traffic(*numbers[5:])
