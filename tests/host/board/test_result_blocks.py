"""Results that contradict themselves, or that a cache hides, are not believed."""

from __future__ import annotations

import accelerator_bench as bench
import numpy as np
import pytest
from faulty_board import FaultyBoard, ShadowBoard, ShadowBuffer

from joulebit.accelerator.tiling import Layer
from joulebit.spec.accelerator import Operation, Register
from joulebit.spec.descriptor import RESULT_DTYPE
from joulebit_host.boards.base import BoardError, byte_range
from joulebit_host.boards.virtual import VirtualBoard
from joulebit_host.driver import Accelerator
from joulebit_host.driver.faults import ResultError

LAYER = Layer(2, 8, 8, 8, 8, 3, 3, 1, 1, 1)


def forward(accelerator):
    """The result blocks of one forward pass."""
    data = bench.random_data(LAYER, np.random.default_rng(0), raw=False, relu=False)
    job = accelerator.job()
    result = job.forward(accelerator.upload(data.x), data.w, LAYER, 5)
    job.run()
    return result.blocks


@pytest.mark.parametrize("more", [0, 1])
def test_a_tile_cannot_compute_for_more_cycles_than_it_took(more: int) -> None:
    board = FaultyBoard()
    accelerator = Accelerator(board)
    right = forward(accelerator).copy()

    def corrupt(memory):
        blocks = memory.view(RESULT_DTYPE)
        where = np.flatnonzero((blocks["status"] == 1) & (blocks["macs"] == right["macs"][0]))
        blocks["compute_cycles"][where[0]] = blocks["cycles"][where[0]] + more

    board.corrupts = corrupt
    if more:
        with pytest.raises(ResultError, match="result block 0 of a forward"):
            forward(accelerator)
    else:
        assert forward(accelerator)["compute_cycles"][0] == right["cycles"][0]


def test_a_list_that_ended_early_is_not_done() -> None:
    board = FaultyBoard()
    accelerator = Accelerator(board)
    count = len(forward(accelerator))
    board.registers[Register.DESC_DONE] = count - 1
    with pytest.raises(ResultError, match=f"done after {count - 1} of {count} descriptors"):
        forward(accelerator)
    board.registers.clear()
    with pytest.raises(BoardError, match="given up after an error"):
        forward(accelerator)


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

    def _settle(self, start, stop):
        start, stop = byte_range(self._array, start, stop)
        self._clean[start:stop] = self._array[start:stop]


class CachedBoard(ShadowBoard):
    """The virtual board behind a cache that writes back after each list, when that does the most harm.

    idle: it says that a list is done and does nothing.
    """

    def __init__(self):
        self.buffers = []
        super().__init__("default")
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


def test_result_blocks_of_an_earlier_list_are_not_taken_for_those_of_this_one() -> None:
    board = CachedBoard()
    accelerator = Accelerator(board)
    forward(accelerator)
    board.idle = True
    with pytest.raises(ResultError, match="result block 0 of a forward"):
        forward(accelerator)


def test_what_was_written_into_a_result_does_not_come_down_on_the_next_one() -> None:
    accelerator = Accelerator(CachedBoard())
    accelerator.memory.lent = True  # the processor works in board memory, too
    data = bench.random_data(LAYER, np.random.default_rng(0), raw=False, relu=False)
    expected = bench.expected(data, Operation.FORWARD)[0]
    x = accelerator.upload(data.x)
    for _ in range(3):
        job = accelerator.job()
        result = job.forward(x, data.w, LAYER, data.shift, data.rounding)
        job.run()
        tensor = result.tensor()
        np.testing.assert_array_equal(tensor, expected)
        tensor[...] = -1
        del job, result, tensor
