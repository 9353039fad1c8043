"""Growing: what comes in is silent, and clamps nothing that it passes on."""

from __future__ import annotations

import numpy as np
import pytest

from joulebit.nn.graph import plan
from joulebit.nn.init import initial_masters
from joulebit.nn.models import model
from joulebit.nn.structure import Snapshot
from joulebit.techniques.growing import Growing, with_silent_additions


@pytest.mark.parametrize("entering", [2, 9])
def test_a_new_block_has_at_least_the_range_of_its_input(entering):
    """The last of a convolution's exponents is its output's range. Blocks 1, 3 and 5 of ResNet-14 are new."""
    network = plan(model("resnet14", 10), (32, 32, 3))
    before = Growing("depth", (0.5,), (0.5,)).structures(network)[0]
    assert before.blocks == (0, 2, 4)
    masters = {name: (value, np.zeros_like(value)) for name, value in initial_masters(network, 0).items()}
    exponents = {conv.name: np.array([1, 1, 4]) for conv in network.convs()}
    for block in network.blocks():
        if block.index in before.blocks:
            exponents[block.body[-1].name][-1] = entering
    whole = with_silent_additions(Snapshot(masters, exponents, np.zeros(1, np.int64)), network, before)
    for block in network.blocks():
        last = block.body[-1].name
        old = block.index in before.blocks
        assert whole.exponents[last][-1] == (entering if old else max(4, entering))
        assert whole.parameters[f"{last}.gamma"][0].any() == old
        np.testing.assert_array_equal(whole.exponents[block.body[0].name], [1, 1, 4])
    assert masters["block2.conv2.gamma"][0].any()  # the snapshot that came in stays as it is
