"""Passes of the weight gradient, against pairs counted one by one."""

import numpy as np
import pytest

from joulebit.accelerator.slots import class_slots, expected_share, layer_passes, plain_passes
from joulebit.errors import JoulebitError


def counted(decided, out_lanes):
    """Hands out slots one at a time, class by class, window by window."""
    height, width, inputs, outputs = decided.shape
    half = min(8, out_lanes)
    result = []
    for block in range(0, outputs, out_lanes):
        for word in range(0, inputs, 8):
            for top in range(0, height, 3):
                for left in range(0, width, 3):
                    most = 0
                    for first in range(block, min(block + out_lanes, outputs), half):
                        for part in (0, 4):
                            passes, free = 0, 0
                            for row in range(top, min(top + 3, height)):
                                for column in range(left, min(left + 3, width)):
                                    for channel in range(word + part, word + part + 4):
                                        waiting = 0
                                        for lane in range(first, min(first + half, outputs)):
                                            waiting += not decided[row, column, channel, lane]
                                        while waiting > 0:
                                            if not free:
                                                passes, free = passes + 1, class_slots(out_lanes)
                                            free, waiting = free - 1, waiting - 2
                            most = max(most, passes)
                    result.append(most)
    return result


@pytest.mark.parametrize("out_lanes", [4, 8, 16])
def test_passes_of_random_masks(out_lanes):
    rng = np.random.default_rng(out_lanes)
    for _ in range(20):
        shape = (*rng.integers(1, 8, 2), 8 * rng.integers(1, 3), 4 * rng.integers(1, 6))
        decided = rng.random(shape) < rng.random()
        assert layer_passes(decided, out_lanes).reshape(-1).tolist() == counted(decided, out_lanes)


@pytest.mark.parametrize("out_lanes", [4, 8, 16])
def test_a_plain_3x3_window_takes_six_passes(out_lanes):
    assert (plain_passes(3, 3, 2, 2 * out_lanes, out_lanes) == 6).all()


def test_sixty_percent_decided_leave_at_most_0_58_of_the_passes():
    assert expected_share(0.0, 16, windows=10) == 1.0
    assert expected_share(1.0, 16, windows=10) == 0.0
    assert 0.5 <= expected_share(0.6, 16) <= 0.58


def test_masks_without_whole_words_are_refused():
    with pytest.raises(JoulebitError, match="multiples of 8 and 4"):
        layer_passes(np.zeros((3, 3, 3, 16), bool), 16)
