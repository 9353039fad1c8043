"""The accelerator of a virtual board: registers and memory in this process, in two tiers.

    fabric = make_fabric("functional", "default")
    fabric.memory[...] = ...                      # uint8, first byte at address fabric.base
    fabric.write(Register.CTRL, 1)                # a list of descriptors runs in the background
    status = fabric.wait(6, timeout_s=10)

`functional` executes descriptors as a function of memory (`joulebit.accelerator.functional`, with whole layers at
once where a list is one of the planner's: `joulebit_host.boards.fast`). It has no notion of time: a list goes on
by one pass when DESC_DONE is read, to its end in the background when another register is, or in `wait`. Its cycle
counters and the cycle fields of its result blocks are those of `joulebit.accelerator.functional`: zero. `rtl`
clocks the Verilated design. What a list leaves in memory and in the other counters is the same.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from joulebit.accelerator.functional import Status
from joulebit.errors import JoulebitError
from joulebit.spec import accelerator as spec
from joulebit.spec.accelerator import CONFIGS, ArrayConfig, Register
from joulebit_host.boards.base import BusAccessError

__all__ = ["BASE", "MEMORY_BYTES", "TIERS", "Fabric", "make_fabric"]

TIERS = ("functional", "rtl")
BASE = 0x1000_0000  #: where the memory begins, as the accelerator sees it
MEMORY_BYTES = 128 << 20  #: what the stock configuration of a PYNQ image gives to contiguous buffers
CLOCK_HZ = 100_000_000
_BUSY, _DONE, _ERROR = 1, 2, 4
_SLICE_CYCLES = 512  #: of the RTL between two looks at its status
_END_S = 600.0  #: a list that was told to end, or cannot be, has ended after this time


class Fabric(Protocol):
    """Registers and memory of a virtual board."""

    @property
    def config(self) -> ArrayConfig: ...

    @property
    def base(self) -> int:
        """Address of the first byte of `memory`."""
        ...

    @property
    def memory(self) -> NDArray[np.uint8]: ...

    def read(self, offset: int) -> int:
        """The 32-bit register at a byte offset; BusAccessError where there is none."""
        ...

    def write(self, offset: int, value: int) -> None:
        """Writes a register; a list that this starts runs in the background."""
        ...

    def wait(self, mask: int, timeout_s: float) -> int:
        """STATUS as soon as it has a bit of mask, or after timeout_s; JoulebitError if the design broke a rule.

        (The functional tier cannot be interrupted: a list that nobody has looked at yet runs to its end here.)
        """
        ...

    def fault(self, start: int, stop: int) -> None:
        """Accesses of the accelerator to addresses start..stop-1 are answered by a bus error; 0, 0: to none."""
        ...

    def reset(self) -> None:
        """As if the fabric had just been programmed; memory stays."""
        ...

    def close(self) -> None:
        """Ends a list that runs; nothing may be used afterwards."""
        ...


def make_fabric(
    tier: str,
    config: str = "default",
    memory_bytes: int = MEMORY_BYTES,
    base: int = BASE,
    clock_hz: int = CLOCK_HZ,
) -> Fabric:
    """A fabric of a tier (`TIERS`) and a named configuration; JoulebitError for others."""
    if config not in CONFIGS:
        raise JoulebitError(f"no configuration {config!r}: choose one of {', '.join(CONFIGS)}")
    if tier == "functional":
        return FunctionalFabric(config, memory_bytes, base, clock_hz)
    if tier == "rtl":
        return RtlFabric(config, memory_bytes, base, clock_hz)
    raise JoulebitError(f"no tier {tier!r}: choose one of {', '.join(TIERS)}")


class _Background:
    """One list at a time in a thread of its own."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "fabric")
        self._job: Future[None] | None = None

    @property
    def running(self) -> bool:
        return self._job is not None and not self._job.done()

    def start(self, function: Any, *arguments: Any) -> None:
        self.finish(0)
        self._job = self._thread.submit(function, *arguments)

    def finish(self, timeout_s: float) -> bool:
        """Whether the list has ended by then; raises what it raised."""
        if self._job is None:
            return True
        if not wait([self._job], timeout_s).done:
            return False
        job, self._job = self._job, None
        job.result()
        return True

    def end(self) -> None:
        """Waits for the list's end and raises what it raised; JoulebitError where it does not end."""
        if not self.finish(_END_S):
            raise JoulebitError(f"a list of the virtual board has not ended after {_END_S:g} s")

    def close(self) -> None:
        """Ends the thread; as `end`, but what a list raised is lost."""
        running, self._job = self._job, None
        if running is not None and not wait([running], _END_S).done:
            raise JoulebitError(f"a list of the virtual board has not ended after {_END_S:g} s")
        self._thread.shutdown(wait=True)


_STORED = frozenset((Register.DESC_ADDRESS, Register.DESC_COUNT, Register.SCRATCH))


class FunctionalFabric:
    """The registers of the design around its functional model."""

    def __init__(self, config: str, memory_bytes: int, base: int, clock_hz: int) -> None:
        from joulebit_host.boards.fast import FastFunctional

        self.config = CONFIGS[config]
        self.base = base
        self.memory = np.zeros(memory_bytes, np.uint8)
        self._make = FastFunctional
        self.threads: int | None = None  #: that compute, from the next reset on; None: all processors
        self._faults: list[tuple[int, int]] = []
        self._constants: dict[int, int] = {
            Register.ID: spec.ID_VALUE,
            Register.VERSION: spec.VERSION << 16 | list(CONFIGS).index(config),
            Register.SPEC_HASH: int(spec.specification_hash()[:8], 16),
            Register.CAPS: self.config.out_lanes << 16 | self.config.in_lanes << 8 | self.config.columns,
            Register.CLOCK_HZ: clock_hz,
        }
        self._background = _Background()
        self._pending: Iterator[Status] | None = None  #: a list that was started, as far as nobody looked at it
        self._clear()

    def _clear(self) -> None:
        self.model = self._make(self.config, self.memory, self.base, threads=self.threads)
        self.model.faults[:] = self._faults
        self._values: dict[int, int] = dict.fromkeys(
            (Register.STATUS, Register.ERROR, Register.ERROR_INDEX, Register.DESC_ADDRESS, Register.DESC_COUNT,
             Register.DESC_DONE, Register.SCRATCH), 0,
        )  # fmt: skip
        self._snapshot: dict[int, int] = {}

    def reset(self) -> None:
        self._pending = None
        self._background.end()
        self._clear()

    def fault(self, start: int, stop: int) -> None:
        self._faults[:] = [(start, stop)] if stop > start else []
        self.model.faults[:] = self._faults

    def close(self) -> None:
        self._background.close()

    def read(self, offset: int) -> int:
        _check(offset)
        if offset >= Register.CYCLES_TOTAL:
            return self._snapshot.get(offset, 0)
        if self._pending is not None:
            if offset == Register.DESC_DONE:
                self._step(self._pending)
            else:
                pending, self._pending = self._pending, None
                self._background.start(self._run, pending)
        if offset == Register.STATUS and self._background.running:
            return _BUSY
        return self._values.get(offset, self._constants.get(offset, 0))

    def write(self, offset: int, value: int) -> None:
        _check(offset)
        values = self._values
        if offset in _STORED:
            values[offset] = value & 0xFFFFFFFF
        elif offset == Register.CTRL:
            if value & 2:
                self.reset()
            if value & 1 and not self._background.running and self._pending is None:
                count = values[Register.DESC_COUNT]
                values[Register.STATUS] = values[Register.DESC_DONE] = 0
                address = values[Register.DESC_ADDRESS]
                self._pending = self.model.start(address, count if count < 1 << 16 else 0)
        elif offset == Register.STATUS:
            values[Register.STATUS] &= ~(value & (_DONE | _ERROR))
        elif offset == Register.SNAPSHOT:
            self._take_snapshot(bool(value & 1))

    def _take_snapshot(self, clear: bool) -> None:
        for name, value in self.model.counters.items():
            register = Register[name]
            self._snapshot[register] = value & 0xFFFFFFFF
            self._snapshot[register + 4] = value >> 32 & 0xFFFFFFFF
            if clear:
                self.model.counters[name] = 0

    def _step(self, steps: Iterator[Status]) -> bool:
        """One pass of a list more; False where there was none."""
        values = self._values
        try:
            status = next(steps, None)
        except BaseException:
            self._pending = None
            raise
        if status is None:
            self._pending = None
            values[Register.STATUS] |= _ERROR if values[Register.ERROR] else _DONE
            return False
        values[Register.ERROR], values[Register.ERROR_INDEX] = status.error, status.error_index
        values[Register.DESC_DONE] = status.done
        return True

    def _run(self, steps: Iterator[Status]) -> None:
        while self._step(steps):
            pass

    def wait(self, mask: int, timeout_s: float) -> int:
        if self._pending is not None:
            self._run(self._pending)
        self._background.finish(timeout_s)
        return self.read(Register.STATUS)


class RtlFabric:
    """The Verilated design, clocked by a thread while it is busy."""

    def __init__(self, config: str, memory_bytes: int, base: int, clock_hz: int) -> None:
        from joulebit.accelerator.rtl import RtlModel

        self._model = RtlModel(config, memory_bytes, base, clock_hz)
        self.config = self._model.config
        self.base = base
        self._lock = threading.Lock()  #: of the model
        self._door = threading.Lock()  #: taken before the lock, so that whoever waits for the lock is the next
        self._background = _Background()
        self._closing = False

    @property
    def memory(self) -> NDArray[np.uint8]:
        return self._model.memory

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """The model belongs to the caller. The clock, which wants it again at once, has to wait at the door."""
        with self._door:
            self._lock.acquire()
        try:
            yield
        finally:
            self._lock.release()

    def read(self, offset: int) -> int:
        _check(offset)
        with self._turn():
            return self._model.read(offset)

    def write(self, offset: int, value: int) -> None:
        _check(offset)
        with self._turn():
            self._model.write(offset, value)
        if offset == Register.CTRL and value & 1:
            self._background.start(self._clock)

    def _clock(self) -> None:
        while not self._closing:
            with self._turn():
                self._model.cycles(_SLICE_CYCLES)
                self._model.check_bus()
                if not self._model.read(Register.STATUS) & _BUSY:
                    return

    def wait(self, mask: int, timeout_s: float) -> int:
        self._background.finish(timeout_s)
        return self.read(Register.STATUS)

    def fault(self, start: int, stop: int) -> None:
        with self._turn():
            self._model.fault(start, stop)

    def reset(self) -> None:
        self._closing = True
        try:
            self._background.end()
        finally:
            self._closing = False
        with self._turn():
            self._model.reset()

    def close(self) -> None:
        self._closing = True
        self._background.close()
        self._model.close()


def _check(offset: int) -> None:
    if not 0 <= offset < spec.REGISTER_BYTES or offset % 4:
        raise BusAccessError(
            f"no register at offset 0x{offset:X}: registers are at multiples of 4 below 0x{spec.REGISTER_BYTES:X}"
        )
