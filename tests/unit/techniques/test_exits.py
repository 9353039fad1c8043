"""Exits: places, the sum of two gradients against exact fractions, engines, interruptions, workers, counters."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from technique_bench import alone, outcome, shared, small

from joulebit.experiments.config import ConfigError
from joulebit.experiments.run import Trainer
from joulebit.nn.graph import plan
from joulebit.nn.models import model
from joulebit.techniques.exits import Exits, exit_head
from joulebit.train import exits_hook
from joulebit.train.exits import ExitClassifiers, _sum
from joulebit.train.progress import SilentProgress

PRESET = "digits-resnet8-exits"
PLAIN = "digits-resnet8-fixed"


@pytest.mark.parametrize(
    "name, count, blocks",
    [("resnet8", 2, [1, 2]), ("resnet20", 2, [3, 6]), ("resnet20", 1, [5]), ("resnet8", 1, [2])],
)
def test_exits_are_spread_over_the_blocks(name, count, blocks):
    resolved = plan(model(name, 10), (32, 32, 3))
    found = [resolved.nodes[position].index + 1 for position in Exits(count).places(resolved)]
    assert found == blocks


@pytest.mark.parametrize(
    "a_exponent, b_exponent, expected",
    [(-12, -15, -15), (-15, -12, -15), (-4, -4, -4), (0, -30, -30), (0, -31, -30), (0, -33, -30), (-50, -3, -33)],
)
def test_two_gradients_are_added_exactly_up_to_30_bits(a_exponent, b_exponent, expected):
    random = np.random.default_rng(1)
    a, b = random.integers(-(2**15) + 1, 2**15, (2, 40))
    total, exponent = _sum(a, a_exponent, b, b_exponent)
    assert exponent == expected
    for one, other, found in zip(a.tolist(), b.tolist(), total.tolist()):
        exact = one * Fraction(2) ** a_exponent + other * Fraction(2) ** b_exponent
        error = abs(found * Fraction(2) ** exponent - exact)
        assert error <= (Fraction(2) ** exponent / 2 if abs(a_exponent - b_exponent) > 30 else 0)


def test_engines_and_a_resumed_run_give_the_same_bits(tmp_path):
    found = {e: outcome(small(PRESET, engine=e), tmp_path / e) for e in ("numpy", "numba", "torch")}
    assert found["numpy"] == found["numba"] == found["torch"]
    assert outcome(small(PRESET), tmp_path / "resumed", stop_after=3) == found["numpy"]


@pytest.mark.parametrize("rounding", ["half_up", "stochastic"])
def test_workers_share_a_run(rounding):
    config = small(PRESET, f"arithmetic.rounding={rounding}")
    assert shared(config, 2) == [alone(config)] * 2


def test_the_counters_hold_the_exits_work_and_nothing_else():
    runs = [Trainer(small(preset), None) for preset in (PRESET, PLAIN)]
    for run in runs:
        run.train(SilentProgress(), lambda: 0)
    with_exits, plain = (run.network.counters for run in runs)
    resolved, samples = runs[0].plan, plain["samples.seen"]
    heads = [exit_head(resolved, position) for position in Exits(2).places(resolved)]
    macs = samples * sum(head.macs for head in heads)
    for phase in ("forward", "input_gradient", "weight_gradient"):
        assert with_exits.total(f"macs.{phase}.") - plain.total(f"macs.{phase}.") == macs
    parameters = sum(head.features * head.classes + head.classes for head in heads)
    assert with_exits["updated"] - plain["updated"] == plain["steps"] * parameters


LAST_ONLY = tuple(
    f"method.neuron_selection.{setting}"
    for setting in ("method=static", "convolutions=[6]", "ratios=[1.0]", "validation_samples=10")
)


def test_nothing_is_formed_below_what_is_trained():
    """What learns lies above the exits, so that no exit forms a gradient of what it reads."""
    formed = []
    for preset in (PRESET, PLAIN):
        run = Trainer(small(preset, *LAST_ONLY), None)
        run.train(SilentProgress(), lambda: 0)
        formed.append(run.network.counters.total("macs.input_gradient."))
    assert formed[0] == formed[1]


def test_every_exit_rounds_by_a_number_of_its_own():
    exits = ExitClassifiers(plan(model("resnet8", 10), (32, 32, 3)), Exits(2), 0, 16)
    assert [head.number for head in exits._heads.values()] == [(1 << 20) + 1, (1 << 20) + 2]  # spec, section 21


def test_exits_are_evaluated_batch_by_batch(monkeypatch):
    run = Trainer(small(PRESET, "data.train_limit=300", "training.iterations=20"), None)
    run.train(SilentProgress(), lambda: 0)
    found = []
    for size in (7, 500):
        monkeypatch.setattr(exits_hook, "_BATCH", size)
        hook = exits_hook.ExitsHook()
        hook.finish(run)
        found.append(hook.summary())
    assert found[0] == found[1] and len(run.data.test) > 7


def test_exits_learn_and_are_evaluated(tmp_path):
    """On more digits an exit is far better than chance, and its weights moved."""
    run = Trainer(small(PRESET, "data.train_limit=300", "training.iterations=60"), None)
    before = run.network.weights()["exit1.weight"].copy()
    run.train(SilentProgress(), lambda: 0)
    for hook in run.hooks:
        hook.finish(run)
    top1 = run.hooks[0].summary()["top1"]
    assert len(top1) == 2 and max(top1) > 30
    assert (run.network.weights()["exit1.weight"] != before).mean() > 0.9


def test_the_loss_of_an_exit_reaches_the_first_layer():
    """With the exits' weight the first layer's step differs, though the last classifier's loss is the same."""
    steps = []
    for weight in (1.0, 1 / 1024):
        run = Trainer(small(PRESET, f"method.exits.weight={weight}"), None)
        before = run.network.weights()["conv1.weight"].astype(np.int64)
        run._one_step()
        steps.append(run.network.weights()["conv1.weight"] - before)
    assert np.corrcoef(steps[0].ravel(), steps[1].ravel())[0, 1] < 0.99


def test_the_loss_of_an_exit_has_its_weight():
    """A quarter of the weight moves the exit's own biases by a quarter: the first step's logits are the same."""
    assert [Exits(2, weight).weight_log2 for weight in (1.0, 0.5, 0.25, 1 / 1024)] == [0, -1, -2, -10]
    moves = []
    for weight in (1.0, 0.25):
        run = Trainer(small(PRESET, f"method.exits.weight={weight}"), None)
        run._one_step()
        moves.append(run.network.weights()["exit1.bias"].astype(np.int64))
    assert np.abs(moves[0]).max() > 1000
    np.testing.assert_allclose(moves[0], 4 * moves[1], atol=4)


@pytest.mark.parametrize(
    "overrides, words",
    [
        (("method.exits.count=3",), "needs at least 4 residual blocks"),
        (("method.exits.weight=0.3",), "power of two"),
        (("method.exits.teaching=1.5",), "teaching must be"),
        (("method.growing.kind=depth", "model.name=resnet14"), "moves the blocks"),
        (("model.name=lenet5",), "needs at least 3 residual blocks"),
    ],
)
def test_what_cannot_be_is_refused(overrides, words):
    with pytest.raises(ConfigError, match=words):
        small(PRESET, *overrides)
