"""The accelerator as the rest of the package sees it: load, check, run lists of passes, read results and counters.

    with Accelerator(open_board("virtual")) as accelerator:
        job = accelerator.job()
        z = job.forward(accelerator.upload(x), w, layer, shift=9)
        g = job.input_gradient(accelerator.upload(dz), w, layer, shift=12, x_unsigned=True)
        job.run()                        # one list, one start, a constant number of register accesses
        z.tensor(), z.peak, z.saturated, g.tensor()

Everything that differs between boards is in `Board` (`joulebit_host.boards.base`). numpy is all that is needed.
"""

from __future__ import annotations

import weakref
from contextlib import suppress
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from joulebit.spec import accelerator as spec
from joulebit.spec.accelerator import CONFIGS, ArrayConfig, Register, specification_hash
from joulebit_host.boards.base import Bitstream, Board, BoardError, BoardMemoryError, until
from joulebit_host.driver.faults import IncompatibleError, ResultError, explain
from joulebit_host.driver.jobs import DeviceTensor, Entry, Job
from joulebit_host.driver.lists import ListCache, PreparedList
from joulebit_host.driver.memory import Memory, Region
from joulebit_host.driver.packing import WeightPacker, tensor_bytes, write_tensor
from joulebit_host.driver.plans import Template

__all__ = ["Accelerator", "default_bitstream"]

_DONE, _ERROR = 2, 4
_COUNTERS = tuple(register for register in Register if register >= Register.CYCLES_TOTAL)


def patience_s(board: Board) -> float:
    """How long a list may take: a board computes 100,000 times as fast as its simulated gates."""
    return 3600.0 if "rtl" in board.name or board.name.startswith("remote") else 60.0


class _Running(NamedTuple):
    """A list that the accelerator works on, and what must live until it has ended."""

    prepared: PreparedList
    entries: list[Entry]
    keep: Any
    accepted: int = 0  #: passes whose results are known


class Accelerator:
    """The accelerator on a board.

    Args:
        board: which.
        bitstream: what to load; by default the one of the board's configuration.
        timeout_s: how long a list may take.
        load: False: something is loaded already (it is checked all the same).
        memory_limit: bytes of board memory to use at most.

    Attributes:
        config: of what is loaded.
        clock_hz: of the fabric, as built.
        submissions: lists run.
    """

    def __init__(
        self,
        board: Board,
        bitstream: Bitstream | None = None,
        timeout_s: float | None = None,
        load: bool = True,
        memory_limit: int | None = None,
    ) -> None:
        self.board = board
        self.timeout_s = patience_s(board) if timeout_s is None else timeout_s
        self.submissions = 0
        self.memory = Memory(board, memory_limit)
        self._lists = ListCache(self.memory)
        self._packed: tuple[weakref.ref[Any], WeightPacker, bool, Region] | None = None  #: the last weights
        self._running: _Running | None = None
        self._broken: str | None = None
        if load:
            wanted = bitstream or default_bitstream()
            if wanted.specification_hash != specification_hash():
                raise IncompatibleError(
                    f"bitstream {wanted.name} was built from specification {wanted.specification_hash[:8]}, this "
                    f"version of joulebit needs {specification_hash()[:8]}: {_BUILD}"
                )
            board.load(wanted)
        self.config, self.clock_hz = self._checked()
        if load and bitstream is not None and self.config.name != bitstream.config:
            raise IncompatibleError(
                f"bitstream {bitstream.name} should hold configuration {bitstream.config!r}, the fabric says "
                f"{self.config.name!r}: its manifest is wrong, or it was not loaded"
            )

    def __enter__(self) -> Accelerator:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Gives the board's memory back, after the list that runs; the board itself stays open."""
        with suppress(BoardError):
            self.finish()
        self._lists.clear()
        self._packed = None
        self.memory.close()

    def _checked(self) -> tuple[ArrayConfig, int]:
        """Whether what is loaded is ours; (configuration, clock)."""
        board = self.board
        found = board.read(Register.ID)
        if found != spec.ID_VALUE:
            raise IncompatibleError(
                f"board {board.name} answers 0x{found:08X} where the accelerator says "
                f"0x{spec.ID_VALUE:08X}: another bitstream is loaded; {_BUILD}"
            )
        version = board.read(Register.VERSION)
        if version >> 16 != spec.VERSION:
            raise IncompatibleError(
                f"the accelerator on board {board.name} has registers of version {version >> 16}, this driver "
                f"speaks version {spec.VERSION}: {_BUILD}"
            )
        loaded, wanted = board.read(Register.SPEC_HASH), int(specification_hash()[:8], 16)
        if loaded != wanted:
            raise IncompatibleError(
                f"the accelerator on board {board.name} was built from specification {loaded:08x}, this version "
                f"of joulebit needs {wanted:08x}: {_BUILD}"
            )
        names = list(CONFIGS)
        if version & 0xFFFF >= len(names):
            raise IncompatibleError(f"the accelerator has configuration number {version & 0xFFFF}: unknown here")
        config = CONFIGS[names[version & 0xFFFF]]
        caps = board.read(Register.CAPS)
        expected = config.out_lanes << 16 | config.in_lanes << 8 | config.columns
        if caps != expected:
            raise IncompatibleError(
                f"configuration {config.name!r} should have capabilities 0x{expected:X}, the accelerator says "
                f"0x{caps:X}: {_BUILD}"
            )
        return config, board.read(Register.CLOCK_HZ)

    # --- operands

    def upload(self, tensor: NDArray[Any]) -> DeviceTensor:
        """A tensor (uint8, int8 or int16, NHWC) in board memory."""
        region = self.allocate(tensor_bytes(tensor.shape, tensor.dtype))
        write_tensor(region.array, tensor)
        region.flush()
        return DeviceTensor(region, tensor.shape, tensor.dtype)

    def packed_weights(self, w: NDArray[np.int8], template: Template, x_unsigned: bool) -> Region:
        """w, int8 [kernel_h, kernel_w, c_in, c_out], packed for a planned pass; w must not change afterwards."""
        packer = template.packer
        known = self._packed
        if known is not None and known[0]() is w and known[1] is packer and known[2] == x_unsigned:
            return known[3]
        region = self.allocate(packer.size)
        packer.pack(w, region.array, x_unsigned)
        region.flush()
        self._packed = (weakref.ref(w), packer, x_unsigned, region)
        return region

    # --- lists

    def job(self) -> Job:
        """An empty list of passes."""
        return Job(self)

    def submit(self, entries: list[Entry]) -> None:
        """Runs passes (made by a `Job`) as one list of at most 65535 descriptors; checks their result blocks."""
        self.start(entries)
        self.finish()

    def start(self, entries: list[Entry], keep: Any = None) -> None:
        """As `submit`, but the accelerator is left to itself. A list that it works on is waited for, once this one
        is prepared.

        keep: what must live until the list has ended: the operands, which nobody may change before.
        """
        self.check_usable()
        prepared = self._prepared(entries)
        if self.memory.lent:  # what the processor wrote there before must not come down on the results later
            for entry in entries:
                entry.result.flush()
        self.finish()
        prepared.clear()
        board = self.board
        try:
            board.write(Register.DESC_ADDRESS, prepared.address)
            board.write(Register.DESC_COUNT, prepared.count)
            board.write(Register.CTRL, 1)
        except BoardError as error:
            self._broken = str(error)
            raise
        self._running = _Running(prepared, entries, keep)

    def finish(self, entries: list[Entry] | None = None) -> None:
        """Waits for the list that was started, if any, and checks its result blocks.

        entries: nothing is to be done where others were started after these.
        """
        running = self._running
        if running is None or (entries is not None and running.entries is not entries):
            return
        self._running = None
        try:
            self._wait(running.prepared)
            running.prepared.accept(running.entries, running.accepted, len(running.entries))
        except BoardError as error:
            self._broken = str(error)
            raise
        self.submissions += 1

    def reach(self, entries: list[Entry], passes: int) -> None:
        """Waits until the first passes of the list that was started are done, and checks their result blocks."""
        running = self._running
        if running is None or running.entries is not entries:
            self.finish()
            return
        count = running.prepared.ends(passes)
        try:
            done = until(lambda: self._done_or_ended(count), self.timeout_s)
            if done >= count:
                running.prepared.accept(entries, running.accepted, passes)
                self._running = running._replace(accepted=passes)
        except BoardError as error:
            self._running, self._broken = None, str(error)
            raise
        if done < count:
            self.finish()

    def _done_or_ended(self, count: int) -> int | None:
        """How many descriptors are done: `count` or more, or all that will be; None as long as neither is so."""
        done = self.board.read(Register.DESC_DONE)
        ended = done < count and self.board.read(Register.STATUS) & (_DONE | _ERROR)
        return done if done >= count or ended else None

    def check_usable(self) -> None:
        """BoardError after one that ended a list: what the fabric and its memory are like is not known then."""
        if self._broken:
            raise BoardError(f"the accelerator was given up after an error ({self._broken}): open the board again")

    def _wait(self, prepared: PreparedList) -> None:
        board, count = self.board, prepared.count
        status = board.wait(_DONE | _ERROR, self.timeout_s)
        if status & _ERROR:
            bits, index = board.read(Register.ERROR), board.read(Register.ERROR_INDEX)
            raise explain(bits, index, count, prepared.descriptor(index))
        done = board.read(Register.DESC_DONE)
        if done != count:
            raise ResultError(
                f"the accelerator says that it is done after {done} of {count} descriptors: "
                "load the bitstream again"
            )

    def _prepared(self, entries: list[Entry]) -> PreparedList:
        try:
            return self._lists.get(entries, self.finish)
        except BoardMemoryError:
            self._forget()
        return self._lists.get(entries, self.finish)

    def allocate(self, size: int) -> Region:
        """Board memory; what is kept for later goes where there is not enough. BoardMemoryError: not even then."""
        try:
            return self.memory.allocate(size)
        except BoardMemoryError:
            self._forget()
        return self.memory.allocate(size)

    def _forget(self) -> None:
        """Frees the memory of what is kept in case that it is needed again."""
        self._lists.clear()
        self._packed = None

    def info(self) -> dict[str, Any]:
        """What the accelerator says of itself, for people and JSON."""
        return {
            "board": self.board.name,
            "array_config": self.config.name,
            "out_lanes": self.config.out_lanes,
            "in_lanes": self.config.in_lanes,
            "columns": self.config.columns,
            "multipliers": self.config.multipliers,
            "clock_hz": self.clock_hz,
            "version": spec.VERSION,
            "specification_hash": specification_hash(),
            "memory_free_bytes": self._largest_buffer(),
            "temperature_c": self.board.temperature_c(),
            "counters": self.counters(),
        }

    def _largest_buffer(self) -> int:
        """Bytes (a power of two up to 512 MiB) that the board can give in one piece just now."""
        size = 1 << 29
        while size >= 1 << 12:
            try:
                self.board.allocate(size).free()
            except BoardMemoryError:
                size >>= 1
            else:
                return size
        return 0

    # --- counters

    def counters(self, clear: bool = False) -> dict[str, int]:
        """All counters since the bitstream was loaded (or the last clear), by register name, as of one moment.

        A list that runs is waited for.
        """
        self.finish()
        self.board.write(Register.SNAPSHOT, int(clear))
        return {r.name: self.board.read(r) | self.board.read(r + 4) << 32 for r in _COUNTERS}


_BUILD = "load a bitstream of this version, or build one with `make -C hw vivado`"


def default_bitstream(config: str = "default") -> Bitstream:
    """The bitstream of a configuration, as this version needs it."""
    return Bitstream(f"joulebit-{config}", config, specification_hash())
