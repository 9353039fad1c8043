"""Training runs on a board's accelerator, in a device's worker: what the accelerator itself counted of a run.

`outcome` is JSON:

    board, array_config, clock_hz
    counters     the accelerator's registers by name, over the training steps of one run (without set-up before and
                 evaluation after)
    work         the same as `macs.all.WIDTHS` and `bytes.all.PORT`: what a calibration is fitted to. `gated` are
                 products that the predictor left out
    passes, processor   passes on the accelerator by name, and on the processor by reason, over the same steps
    lists        if asked for: [phase, work] of each list of passes in turn. A list with passes of several phases
                 has that of most of its descriptors
    temperature_c       of the board at the end; None if it cannot tell
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any, cast

from joulebit.engine.sessions import engine_session
from joulebit.errors import JoulebitError
from joulebit.spec.accelerator import DESCRIPTOR_BYTES, Operation, Register
from joulebit.spec.descriptor import DESCRIPTOR_DTYPE
from joulebit_host.boards.base import Bitstream, Board, Buffer
from joulebit_host.boards.virtual import VirtualBoard
from joulebit_host.engine.session import OverlaySession

__all__ = ["AcceleratorRuns", "WatchedBoard", "work_of"]

_TEMPERATURE_S = 5.0  #: between two readings
_PHASES = {
    Operation.FORWARD: "forward",
    Operation.INPUT_GRADIENT: "input_gradient",
    Operation.WEIGHT_GRADIENT: "weight_gradient",
    Operation.PREDICT: "weight_gradient",
}
_WORK = {
    "MACS_8X8": "macs.8x8",
    "MACS_8X16": "macs.8x16",
    "MACS_4X10": "macs.4x10",
    "MACS_GATED": "macs.gated",
    "PORT0_READ_BYTES": "bytes.port0",
    "PORT0_WRITE_BYTES": "bytes.port0",
    "PORT1_READ_BYTES": "bytes.port1",
    "PORT1_WRITE_BYTES": "bytes.port1",
}


def work_of(counters: dict[str, int]) -> dict[str, int]:
    """The accelerator's registers as counters of `joulebit.energy.counters` (phase `all`), without zeros."""
    work: dict[str, int] = {}
    for register, key in _WORK.items():
        if count := counters.get(register, 0):
            family, _, kind = key.partition(".")
            name = f"{family}.all.{kind}"
            work[name] = work.get(name, 0) + count
    return work


class WatchedBoard:
    """A board between its driver and its accelerator: notes what each list did, and the temperature.

    Args:
        board: to which everything goes.
        counters: reads the accelerator's counters.
        on_temperature: told the temperature every few seconds, between two lists.
    """

    def __init__(
        self, board: Board, counters: Callable[[], dict[str, int]], on_temperature: Callable[[float], None]
    ) -> None:
        self._board = board
        self._counters = counters
        self._on_temperature = on_temperature
        self._due_s = 0.0
        self._list = (0, 0)
        self._before: dict[str, int] | None = None
        self.lists: list[tuple[str, dict[str, int]]] = []

    @property
    def name(self) -> str:
        return self._board.name

    def watch(self, on: bool) -> None:
        """Whether lists are noted one by one, from now on; a virtual board's only."""
        self.lists = []
        self._before = self._counters() if on else None

    def load(self, bitstream: Bitstream) -> None:
        self._board.load(bitstream)

    def read(self, register: int) -> int:
        return self._board.read(register)

    def write(self, register: int, value: int) -> None:
        address, count = self._list
        if register == Register.DESC_ADDRESS:
            self._list = (value, count)
        elif register == Register.DESC_COUNT:
            self._list = (address, value)
        self._board.write(register, value)

    def allocate(self, size: int) -> Buffer:
        return self._board.allocate(size)

    def wait(self, mask: int, timeout_s: float) -> int:
        status = self._board.wait(mask, timeout_s)
        if self._before is not None:
            now = self._counters()
            done = {name: count - self._before[name] for name, count in now.items()}
            self._before = now
            self.lists.append((self._phase(), done))
        self.tell_temperature()
        return status

    def tell_temperature(self) -> None:
        """Passes the temperature on, where the board has one and it is time."""
        if time.monotonic() >= self._due_s:
            self._due_s = time.monotonic() + _TEMPERATURE_S
            celsius = self._board.temperature_c()
            if celsius is not None:
                self._on_temperature(celsius)

    def _phase(self) -> str:
        address, count = self._list
        assert isinstance(self._board, VirtualBoard), "lists are noted on virtual boards"
        fabric = self._board.fabric
        start = address - fabric.base
        listed = fabric.memory[start : start + DESCRIPTOR_BYTES * count].view(DESCRIPTOR_DTYPE)
        found = Counter(_PHASES[Operation(int(operation))] for operation in listed["operation"])
        return found.most_common(1)[0][0]

    def temperature_c(self) -> float | None:
        return self._board.temperature_c()

    def close(self) -> None:
        self._board.close()


class AcceleratorRuns:
    """An accelerator that is open for runs of one configuration.

    Args:
        board, array_config: see `joulebit_host.boards.open_board`.
        selective: the run's weights follow predicted signs.
        on_temperature: see `WatchedBoard`.
    """

    def __init__(
        self, board: str, array_config: str, selective: bool, on_temperature: Callable[[float], None]
    ) -> None:
        self._context = engine_session("overlay", board=board, array_config=array_config, selective=selective)
        self.session = cast(OverlaySession, self._context.__enter__())
        accelerator = self.session.accelerator
        self._watched = WatchedBoard(accelerator.board, accelerator.counters, on_temperature)
        self._watched.tell_temperature()
        accelerator.board = self._watched
        self._array_config = array_config
        self._before: dict[str, Any] = {}
        self._outcome: dict[str, Any] = {}

    def _now(self) -> dict[str, Any]:
        report = self.session.report()
        if report["counters"] is None:
            raise JoulebitError(f"board {report['board']} does not tell its counters any more")
        return report

    def started(self, lists: bool) -> None:
        """The training steps begin; lists: note each list of passes."""
        self._before = self._now()
        self._watched.watch(lists)

    def ended(self) -> None:
        """They have ended."""
        now, before = self._now(), self._before
        counters = {name: count - before["counters"][name] for name, count in now["counters"].items()}
        self._outcome = {
            "board": now["board"],
            "array_config": self._array_config,
            "clock_hz": now["clock_hz"],
            "counters": counters,
            "work": work_of(counters),
            "temperature_c": now["temperature_c"],
        }
        for key in ("passes", "processor"):
            new = {name: count - before[key].get(name, 0) for name, count in now[key].items()}
            self._outcome[key] = {name: count for name, count in new.items() if count}
        if self._watched.lists:
            self._outcome["lists"] = self._watched.lists
        self._watched.watch(False)

    def outcome(self) -> dict[str, Any]:
        """Of the last run, see the module."""
        return dict(self._outcome)

    def close(self) -> None:
        """Gives the board back."""
        self._context.__exit__(None, None, None)
