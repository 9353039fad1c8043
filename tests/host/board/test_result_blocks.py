"""Results of an accelerator that contradicts itself are not believed."""

from __future__ import annotations

import accelerator_bench as bench
import numpy as np
import pytest
from faulty_board import FaultyBoard

from joulebit.accelerator.tiling import Layer
from joulebit.spec.accelerator import Register
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
