"""Results that contradict themselves, or that a cache hides, are not believed."""

from __future__ import annotations

import accelerator_bench as bench
import numpy as np
import pytest
from faulty_board import CachedBoard, FaultyBoard

from joulebit.accelerator.tiling import Layer
from joulebit.spec.accelerator import Operation, Register
from joulebit.spec.descriptor import RESULT_DTYPE
from joulebit_host.boards.base import BoardError
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
        blocks["compute_cycles"][where] = blocks["cycles"][where] + more

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


def test_result_blocks_of_an_earlier_list_are_not_taken_for_those_of_this_one() -> None:
    """The list is the same one, at the same place; only what the accelerator wrote the first time is there."""
    board = CachedBoard()
    accelerator = Accelerator(board)
    data = bench.random_data(LAYER, np.random.default_rng(0), raw=False, relu=False)
    x = accelerator.upload(data.x)

    def run() -> None:
        job = accelerator.job()
        job.forward(x, data.w, LAYER, 5)
        job.run()

    run()
    run()
    assert len(accelerator._lists) == 1
    board.idle = True
    with pytest.raises(ResultError, match="result block 0 of a forward"):
        run()


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
