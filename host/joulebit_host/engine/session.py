"""One accelerator for all engines of a run, and what the run made it do."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from joulebit.engine.base import Engine
from joulebit.errors import JoulebitError
from joulebit.fixed.arithmetic import Arithmetic
from joulebit.kernels.memory import Pool
from joulebit_host.boards import Board, open_board
from joulebit_host.boards.base import BoardMemoryError
from joulebit_host.driver import Accelerator, Job, default_bitstream
from joulebit_host.engine.mapping import Mapper
from joulebit_host.engine.operands import Operands
from joulebit_host.engine.shared import SharedMemory, SharedPool

__all__ = ["OverlaySession", "open_session"]

T = TypeVar("T")


class Begun(Generic[T]):
    """Passes that run behind others, while the processor does other things (`OverlaySession.begin`)."""

    def __init__(self, session: OverlaySession, add: Callable[[Job], T]) -> None:
        self._session = session
        self._add = add
        self._job: Job | None = None
        self._found: T | None = None

    def join(self, job: Job) -> None:
        """Adds the passes to a job; where the board's memory is short they wait for `result`."""
        passes = job.passes
        try:
            self._found = self._add(job)
        except BoardMemoryError:
            job.drop(passes)
            return
        self._job = job

    def leave(self) -> None:
        """The job could not start."""
        self._job = None

    def result(self) -> T | None:
        """As `OverlaySession.run` returns."""
        session = self._session
        session.withdraw(self)
        if self._job is None:
            return session.run(self._add)
        started = time.perf_counter()
        self._job.finish()
        session.seconds += time.perf_counter() - started
        return self._found


class OverlaySession:
    """An accelerator and its book-keeping.

    Args:
        board: an open board.
        array_config: the configuration to load.
        selective: the run's weights follow predicted signs: leave out the sums that nobody needs.
        verify_every: compare every so many passes with the processor; 0: none.
        count_wrong: form the exact gradients of predicted signs, too, and count those that are wrong.
        timeout_s, memory_limit: of the driver.

    Attributes:
        part_bytes: exact sums are fetched in parts of so many bytes. Each part costs a list; a virtual board's
            should not be much larger than a processor's cache.
        beside: predict beside the input gradient, which costs no time on the hardware but brings 64-bit sums back
            where 16 bits would do. A functional model gains nothing from it.
    """

    def __init__(
        self,
        board: Board,
        array_config: str = "default",
        selective: bool = False,
        verify_every: int = 0,
        timeout_s: float | None = None,
        memory_limit: int | None = None,
        count_wrong: bool = False,
    ) -> None:
        self.board = board
        functional = board.name == "virtual"
        self.part_bytes = (6 if functional else 64) << 20
        self.beside = not functional
        self.selective = selective
        self.verify_every = verify_every
        self.count_wrong = count_wrong
        self.accelerator = Accelerator(
            board, default_bitstream(array_config), timeout_s=timeout_s, memory_limit=memory_limit
        )
        self.shared = SharedMemory(self.accelerator, board)
        self.pool = SharedPool(self.shared)
        self.recycled = Pool()  #: for what the accelerator will not read
        self.operands = Operands(self.accelerator, self.shared)
        self.mapper = Mapper(self.accelerator.config)
        self.passes: Counter[str] = Counter()  #: on the accelerator, by name
        self.processor: Counter[str] = Counter()  #: on the processor, by name and reason
        self.verified = 0
        self.split = 0  #: passes cut because the board's memory was too small
        self.seconds = 0.0  #: spent in lists, packing and waiting included
        self._following: Begun[Any] | None = None  #: that join the next list
        self._open = True

    def make(self, arithmetic: Arithmetic, threads: int | None = None) -> Engine:
        """An engine of these widths on this accelerator."""
        from joulebit_host.engine.background import BackgroundEngine
        from joulebit_host.engine.overlay import OverlayEngine

        # Predictions beside the input gradient must be asked for before it.
        kind = OverlayEngine if self.selective and self.beside else BackgroundEngine
        engine: Any = kind(self, arithmetic, threads)
        return engine  # type: ignore[no-any-return]

    def run(self, add: Callable[[Job], T], more: bool = False) -> T | None:
        """Runs the passes that `add` adds to a job, and returns what it returns.

        more: others of the same kind follow, before which nothing else is to be done.
        Where the board's memory is short, it is tried again without the tensors that are kept for later passes.
        None when even the passes alone do not fit.
        """
        started = time.perf_counter()
        try:
            try:
                return self._once(add, more)
            except BoardMemoryError:
                pass
            self.operands.clear()
            self.shared.retreat()
            return self._once(add, more)
        except BoardMemoryError:
            return None
        finally:
            self.seconds += time.perf_counter() - started

    def begin(self, add: Callable[[Job], T]) -> Begun[T]:
        """Passes that run in one list with the next ones of `run`, behind them: `run` does not wait for their end.

        Their operands must not change before somebody asked for the result.
        """
        self._following = begun = Begun(self, add)
        return begun

    def withdraw(self, begun: Begun[Any]) -> None:
        """Do not run these passes behind others, if they still wait for some."""
        if self._following is begun:
            self._following = None

    def _once(self, add: Callable[[Job], T], more: bool) -> T:
        job = self.accelerator.job()
        result = add(job)
        if self._following is None or more:
            job.run()
            return result
        following, self._following = self._following, None
        passes = job.passes
        following.join(job)
        try:
            job.start()
        except BoardMemoryError:
            following.leave()
            raise
        job.reach(passes)
        return result

    def verifies(self) -> bool:
        """Whether the pass that has just run is one to be compared."""
        number = sum(self.passes.values())
        return bool(self.verify_every) and number % self.verify_every == 0

    def report(self) -> dict[str, Any]:
        """What happened so far, for JSON; reads the counters of the board."""
        accelerator = self.accelerator
        counters: dict[str, int] = {}
        temperature: float | None = None
        try:
            counters = accelerator.counters()
            temperature = self.board.temperature_c()
        except JoulebitError:  # a board that is gone has no counters; the rest is known here
            pass
        clock = accelerator.clock_hz
        return {
            "board": self.board.name,
            "array_config": accelerator.config.name,
            "clock_hz": accelerator.clock_hz,
            "submissions": accelerator.submissions,
            "passes": dict(sorted(self.passes.items())),
            "processor": dict(sorted(self.processor.items())),
            "uploads": self.operands.uploads,
            "in_place": self.operands.in_place,
            "reused": self.operands.reuses,
            "split": self.split,
            "verified": self.verified,
            "wrong_signs": self._wrong_signs(),
            "host_s": self.seconds,
            "board_s": counters["CYCLES_TOTAL"] / clock if counters and clock else None,
            "temperature_c": temperature,
            "counters": counters or None,
        }

    def _wrong_signs(self) -> str | None:
        """How wrong signs are counted; None where no sign is predicted."""
        if not self.selective:
            return None
        if self.count_wrong:
            return "counted: exact gradients of all weights were formed beside"
        return "not counted: the accelerator leaves out the exact gradients of decided signs (--count-wrong)"

    def close(self) -> None:
        """Gives board and memory back. A second call does nothing."""
        if self._open:
            self._open = False
            self.operands.clear()
            self.accelerator.close()
            self.board.close()


def open_session(
    board: str = "virtual",
    array_config: str = "default",
    selective: bool = False,
    verify_every: int = 0,
    timeout_s: float | None = None,
    count_wrong: bool = False,
) -> OverlaySession:
    """The session behind `--engine overlay`: opens the board by name.

    JoulebitError where the board, its configuration or its bitstream is not what is needed.
    """
    opened = open_board(board, array_config)
    try:
        return OverlaySession(opened, array_config, selective, verify_every, timeout_s, count_wrong=count_wrong)
    except JoulebitError:
        opened.close()
        raise
