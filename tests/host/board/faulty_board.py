"""Boards for tests: two whose memory is not coherent, and one that fails on demand."""

import numpy as np

from joulebit.spec.accelerator import Register
from joulebit_host.boards.base import BoardGoneError, BoardTimeoutError, byte_range
from joulebit_host.boards.virtual import VirtualBoard

MEMORY = 8 << 20


class ShadowBuffer:
    """A buffer whose array is a copy: only flush and invalidate move bytes, as between caches and memory."""

    def __init__(self, buffer):
        self._buffer = buffer
        self.address = buffer.address
        self._array = np.full(len(buffer.array), 0xA5, np.uint8)

    @property
    def array(self):
        return self._array

    def flush(self, start=0, stop=None):
        start, stop = byte_range(self._array, start, stop)
        self._buffer.array[start:stop] = self._array[start:stop]

    def invalidate(self, start=0, stop=None):
        start, stop = byte_range(self._array, start, stop)
        self._array[start:stop] = self._buffer.array[start:stop]

    def free(self):
        self._buffer.free()


class ShadowBoard(VirtualBoard):
    """The virtual board with memory that is not coherent; counts register accesses."""

    def __init__(self, config="tiny", tier="functional", memory_bytes=MEMORY, moves_ranges=True):
        super().__init__(config, tier, memory_bytes)
        self.moves_ranges = moves_ranges
        self.accesses = 0

    def allocate(self, size):
        return ShadowBuffer(super().allocate(size))

    def read(self, register):
        self.accesses += 1
        return super().read(register)

    def write(self, register, value):
        self.accesses += 1
        super().write(register, value)


class CachedBuffer(ShadowBuffer):
    """A buffer seen through a write-back cache: what was written and not flushed may reach memory at any time."""

    def __init__(self, buffer):
        super().__init__(buffer)
        self._clean = self._array.copy()

    def flush(self, start=0, stop=None):
        super().flush(start, stop)
        self._settle(start, stop)

    def invalidate(self, start=0, stop=None):
        super().invalidate(start, stop)
        self._settle(start, stop)

    def evict(self):
        """What was not flushed comes down."""
        dirty = self._array != self._clean
        self._buffer.array[dirty] = self._array[dirty]
        self._clean[dirty] = self._array[dirty]

    def _settle(self, start, stop):
        start, stop = byte_range(self._array, start, stop)
        self._clean[start:stop] = self._array[start:stop]


class CachedBoard(ShadowBoard):
    """The virtual board behind a cache that writes back after each list, when that does the most harm.

    idle: it says that a list is done and does nothing.
    """

    def __init__(self, **options):
        self.buffers = []
        super().__init__("default", **options)
        self.idle = False

    def allocate(self, size):
        self.buffers.append(CachedBuffer(VirtualBoard.allocate(self, size)))
        return self.buffers[-1]

    def write(self, register, value):
        if not (self.idle and register == Register.CTRL):
            super().write(register, value)

    def wait(self, mask, timeout_s):
        status = super().wait(mask, timeout_s)
        for buffer in self.buffers:
            buffer.evict()
        return status


class FaultyBoard(VirtualBoard):
    """The virtual board that does wrong what its attributes say.

    Attributes:
        registers: values that replace those of registers, by offset.
        gone_after: starts of lists until the board answers nothing any more; None: never.
        hangs: lists never end.
        corrupts: called with the memory after each list.
    """

    def __init__(self, config="default", tier="functional", memory_bytes=64 << 20):
        super().__init__(config, tier, memory_bytes)
        self.registers = {}
        self.gone_after = None
        self.hangs = False
        self.corrupts = None
        self.starts = 0

    def _answer(self):
        if self.gone_after is not None and self.starts > self.gone_after:
            raise BoardGoneError(f"board {self.name} does not answer: check its power and network")

    def read(self, register):
        self._answer()
        return self.registers.get(register, super().read(register))

    def write(self, register, value):
        if register == Register.CTRL and value & 1:
            self.starts += 1
        self._answer()
        if not (self.hangs and register == Register.CTRL):
            super().write(register, value)

    def wait(self, mask, timeout_s):
        self._answer()
        if self.hangs:
            raise BoardTimeoutError(f"the accelerator was not done after {timeout_s:g} s")
        status = super().wait(mask, timeout_s)
        if self.corrupts is not None:
            self.corrupts(self.fabric.memory)
        return status
