"""Passes of the weight gradient, against pairs counted one by one."""

import numpy as np
import pytest

from joulebit.accelerator.slots import candidates, expected_share, layer_passes, plain_passes
from joulebit.errors import JoulebitError


def choice(sets, home_row):
    """Where a multiplier takes its element from: (row, column, channel) -> lanes left, its candidates in order."""
    home = [place for place in sets if place[0] == home_row]
    others = [place for place in sets if place[0] != home_row]
    for places, least in ((home, 2), (others, 3), (home, 1), (others, 1)):
        for place in places:
            if len(sets[place]) >= least:
                return place
    return None


def passes_of_class(undecided):
    """Hands out elements one at a time; undecided: (row, column, channel) -> set of lanes."""
    passes = 0
    while any(undecided.values()):
        passes += 1
        for multiplier in range(48):
            row, channel = multiplier // 16, multiplier // 2 % 8
            step = 3 if multiplier % 2 else 2
            places = [(row, column, channel) for column in range(3)]
            foreign = [
                (r, c, (channel + step * (3 * r + c + 1)) % 8) for r in range(3) for c in range(3) if r != row
            ]
            places += [place for number, place in enumerate(foreign) if number != multiplier % 6]
            place = choice({place: undecided[place] for place in sorted(places) if place in undecided}, row)
            if place:
                undecided[place].remove(min(undecided[place]))
    return passes


def counted(decided, out_lanes):
    """Passes window by window, class by class."""
    height, width, inputs, outputs = decided.shape
    result = []
    for block in range(0, outputs, out_lanes):
        for word in range(0, inputs, 8):
            for top in range(0, height, 3):
                for left in range(0, width, 3):
                    most = 0
                    for first in range(block, min(block + out_lanes, outputs), 4):
                        undecided = {
                            (row - top, column - left, channel - word): {
                                lane for lane in range(first, first + 4) if not decided[row, column, channel, lane]
                            }
                            for row in range(top, min(top + 3, height))
                            for column in range(left, min(left + 3, width))
                            for channel in range(word, word + 8)
                        }
                        most = max(most, passes_of_class(undecided))
                    result.append(most)
    return result


def test_every_value_has_two_homes_and_others():
    table = candidates()
    homes = np.bincount(table[:, :3].ravel(), minlength=72)
    assert (homes == 2).all()
    assert np.bincount(table.ravel(), minlength=72).min() >= 4
    assert all(len(set(row)) == 8 for row in table.tolist())


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


def test_sixty_percent_decided_leave_at_most_0_53_of_the_passes():
    assert expected_share(0.0, 16, windows=10) == 1.0
    assert expected_share(1.0, 16, windows=10) == 0.0
    assert 0.5 <= expected_share(0.6, 16) <= 0.53


def test_masks_without_whole_words_are_refused():
    with pytest.raises(JoulebitError, match="multiples of 8 and 4"):
        layer_passes(np.zeros((3, 3, 3, 16), bool), 16)
