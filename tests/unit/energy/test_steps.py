"""Steps counted from shapes are those that a real step counts."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from joulebit.energy.steps import block_step, training_step, trunk_step
from joulebit.engine.numpy_engine import NumpyEngine
from joulebit.fixed.arithmetic import Arithmetic
from joulebit.nn.graph import Conv, Dense, GlobalPool, MaxPool, Model, Residual, plan
from joulebit.nn.models import resnet
from joulebit.train.integer import IntegerNetwork
from joulebit.train.network import Batch

RESIDUAL = Model(
    "tiny",
    (
        Conv(8),
        Residual((Conv(8), Conv(8, activation=None))),
        Residual((Conv(16, stride=2), Conv(16, activation=None))),
        GlobalPool(),
    ),
    4,
)
PLAIN = Model("plain", (Conv(4, norm=False), MaxPool(2), Dense(12)), 4)
COST = ("macs", "ops", "bytes", "skipped", "updated", "steps", "batches", "samples")


@pytest.mark.parametrize("model", [RESIDUAL, PLAIN])
def test_a_real_step_counts_what_its_shapes_say(model: Model) -> None:
    network = plan(model, (8, 8, 3))
    real = IntegerNetwork(network, NumpyEngine(Arithmetic()), seed=1)
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (6, 8, 8, 3)).astype(np.uint8)
    labels = rng.integers(0, 4, 6)
    real.train_step(Batch(images, labels, np.arange(6), 0), 0.1, 0.03)
    counted = {key: value for key, value in real.counters.items() if key.split(".")[0] in COST}
    assert counted == training_step(network, 6, Arithmetic()).as_dict()


def test_macs_of_a_step_are_three_passes() -> None:
    network = plan(resnet(74), (32, 32, 3))
    step = training_step(network, 2, None)
    assert step["macs.forward.fp32"] == step["macs.weight_gradient.fp32"] == 2 * 167_953_024
    assert step["macs.input_gradient.fp32"] == 2 * (167_953_024 - 442_368)
    assert step["updated"] == network.parameters


def test_predicted_share_splits_every_layer() -> None:
    network = plan(RESIDUAL, (8, 8, 3))
    step = training_step(network, 2, Arithmetic(), Fraction(1, 2))
    convs = sum(conv.macs for conv in network.convs())
    assert step["macs.weight_gradient.4x10"] == 2 * convs
    assert step["macs.weight_gradient.8x16"] == step["skipped.weight_gradient.psg"] == convs


def test_trunk_and_blocks_make_a_step() -> None:
    network = plan(RESIDUAL, (8, 8, 3))
    whole = trunk_step(network, 5, Arithmetic())
    for block in network.blocks():
        whole.merge(block_step(block, 5, Arithmetic()))
    assert whole.as_dict() == training_step(network, 5, Arithmetic()).as_dict()


def test_a_closed_block_updates_nothing_and_counts_what_it_skipped() -> None:
    block = next(plan(RESIDUAL, (8, 8, 3)).blocks())
    closed = block_step(block, 5, Arithmetic(), closed="slu")
    assert closed["updated"] == closed.total("macs.") == 0
    assert closed["skipped.forward.slu"] == 5 * block.macs


def test_times_multiplies_exactly() -> None:
    step = trunk_step(plan(RESIDUAL, (8, 8, 3)), 5, None)
    assert step.times(3).as_dict() == {key: 3 * value for key, value in step.as_dict().items()}
    assert step.times(0).as_dict() == {}
    with pytest.raises(ValueError, match="count must be at least 0"):
        step.times(-1)
