"""Frozen neurons do not move, trained ones move as in full training, and what is not needed is not formed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from joulebit.engine.factory import make_engine
from joulebit.fixed.arithmetic import Arithmetic
from joulebit.nn.context import Update
from joulebit.nn.graph import Conv, Dense, GlobalPool, MaxPool, Model, Residual, plan
from joulebit.nn.trained import Trained, gradient_flow
from joulebit.train.integer import IntegerNetwork, TrainingMethod
from joulebit.train.network import Batch

ENGINES = ("numpy", "numba", "torch")
SHAPE = (7, 6, 2)
MODELS = {
    "residual": Model(
        "residual",
        (
            Conv(4),
            Residual((Conv(4), Conv(4, activation=None))),
            Residual((Conv(6, stride=2), Conv(6, activation=None))),
            GlobalPool(),
        ),
        3,
    ),
    "separable": Model(
        "separable",
        (
            Conv(4, activation="relu6"),
            Residual(
                (
                    Conv(8, 1, activation="relu6"),
                    Conv(8, groups=0, activation="relu6"),
                    Conv(4, 1, activation=None),
                ),
                None,
            ),
            Conv(8, groups=0),
            Conv(6, 2, stride=2, groups=2),
            Conv(6, groups=6),
            GlobalPool(),
        ),
        3,
    ),
    "biases": Model("biases", (Conv(3, norm=False), MaxPool(2), Conv(5, 2, padding=0, norm=False), Dense(4)), 3),
    "projected": Model(
        "projected",
        (
            Conv(4, 5, 2),
            MaxPool(3, 2, 1),
            Residual((Conv(3, 1), Conv(3), Conv(8, 1, activation=None)), projection=True),
            Residual((Conv(8), Conv(6, stride=2, activation=None)), projection=True),
            GlobalPool(),
        ),
        3,
    ),
}
PLAIN = TrainingMethod(momentum=0.5, weight_decay=0.01, sign_weight_decay=0.01)


def network_of(name, engine="numba", method=PLAIN):
    return IntegerNetwork(plan(MODELS[name], SHAPE), make_engine(engine, Arithmetic(), 1), 3, method)


def batch_of(step, samples=5):
    random = np.random.default_rng(step)
    images = random.integers(0, 256, (samples, *SHAPE)).astype(np.uint8)
    return Batch(images, random.integers(0, 3, samples), np.arange(samples), step)


def random_selection(network_plan, seed, shifts=False):
    random = np.random.default_rng(seed)
    found = {}
    for conv in network_plan.convs():
        count = int(random.integers(0, conv.out_shape[2] + 1))
        channels = np.sort(random.permutation(conv.out_shape[2])[:count]).astype(np.int64)
        found[conv.name] = Trained(channels, bool(shifts and random.integers(2)))
    return found


def moved(before, after, trained):
    """What is frozen is as before; of the rest, its values after."""
    found = {}
    for name, value in after.items():
        if name.startswith("head."):
            continue
        layer, kind = name.rsplit(".", 1)
        chosen = np.zeros(value.shape[-1], bool)
        chosen[trained[layer].channels] = True
        if kind in ("beta", "bias") and trained[layer].shifts:
            chosen[:] = True
        assert (value[..., ~chosen] == before[name][..., ~chosen]).all(), name
        found[name] = value[..., chosen]
    return found


@pytest.mark.parametrize("update", list(Update))
@pytest.mark.parametrize("name", MODELS)
def test_a_step_moves_chosen_neurons_as_full_training_does_and_no_others(name, update):
    """Gradients do not depend on what is frozen. PSG's threshold does: it is that of the chosen neurons."""
    full = network_of(name, method=replace(PLAIN, update=update))
    before = {key: value.copy() for key, value in full.weights().items()}
    full.train_step(batch_of(0), 0.1, 0.01)
    expected = full.weights()
    for seed in range(6):
        network = network_of(name, method=replace(PLAIN, update=update))
        trained = random_selection(network.plan, seed, shifts=seed > 2)
        network.select(trained)
        network.train_step(batch_of(0), 0.1, 0.01)
        values = moved(before, network.weights(), trained)
        for key, value in values.items():
            layer = key.rsplit(".", 1)[0]
            chosen = trained[layer].channels
            if trained[layer].shifts and not key.endswith((".weight", ".gamma")):
                chosen = np.arange(before[key].shape[-1])
            if update is not Update.PSG or not key.endswith(".weight"):
                assert (value == expected[key][..., chosen]).all(), key
        for key in ("head.weight", "head.bias"):
            assert (network.weights()[key] == expected[key]).all()


@pytest.mark.parametrize("update", [Update.SGD, Update.PSG])
@pytest.mark.parametrize("name", MODELS)
def test_all_engines_train_changing_selections_to_the_same_bits(name, update):
    results = []
    for engine in ENGINES:
        network = network_of(name, engine, replace(PLAIN, update=update, observe_every=2))
        details = []
        for step in range(4):
            network.select(random_selection(network.plan, 10 + step, shifts=True) if step != 2 else None)
            details.append(network.train_step(batch_of(step), 0.1, 0.01).details)
        state = {key: value.tolist() for key, value in network.state().items()}
        results.append((state, network.counters.as_dict(), details))
    assert results[0] == results[1] == results[2]


def test_a_frozen_neuron_keeps_its_momentum_until_it_is_trained_again():
    network, twin = network_of("residual"), network_of("residual")
    whole = {conv.name: Trained(np.arange(conv.out_shape[2])) for conv in network.plan.convs()}
    for each in (network, twin):
        each.train_step(batch_of(0), 0.1, 0.01)
    frozen = whole | {"block1.conv2": Trained(np.array([1, 3]))}
    network.select(frozen)
    before = network.state()["block1.conv2.momentum"]
    network.train_step(batch_of(1), 0.1, 0.01)
    after = network.state()["block1.conv2.momentum"]
    assert before.any()
    assert (after[..., [0, 2]] == before[..., [0, 2]]).all()
    assert (after[..., [1, 3]] != before[..., [1, 3]]).any()


def test_psg_takes_its_threshold_from_the_chosen_neurons(monkeypatch):
    seen = []
    engine = make_engine("numpy", Arithmetic(), 1)
    predict = type(engine).predict_signs

    def spy(self, exact, predicted, threshold):
        result = predict(self, exact, predicted, threshold)
        seen.append((predicted.copy(), result[1]["threshold"]))
        return result

    monkeypatch.setattr(type(engine), "predict_signs", spy)
    method = replace(PLAIN, update=Update.PSG, beta=0.5)
    full = IntegerNetwork(plan(MODELS["residual"], SHAPE), engine, 3, method)
    full.train_step(batch_of(0), 0.1, 0.01)
    whole, _ = seen[0]  # of the last convolution, the first in the backward pass
    peaks = np.abs(whole).max((0, 1, 2))
    smallest = int(peaks.argmin())
    assert peaks[smallest] < peaks.max()
    seen.clear()
    network = IntegerNetwork(plan(MODELS["residual"], SHAPE), engine, 3, method)
    nothing = Trained(np.zeros(0, np.int64))
    chosen = {conv.name: nothing for conv in network.plan.convs()}
    network.select(chosen | {"block2.conv2": Trained(np.array([smallest]))})
    network.train_step(batch_of(0), 0.1, 0.01)
    ((part, threshold),) = seen
    assert (part == whole[..., [smallest]]).all()
    assert threshold == max(1, (2048 * int(peaks[smallest])) >> 12)


def test_no_gradient_goes_below_the_lowest_trained_neuron():
    network = network_of("residual")
    nothing = Trained(np.zeros(0, np.int64))
    chosen = {conv.name: nothing for conv in network.plan.convs()}
    flow = gradient_flow(network.plan, chosen)
    assert (flow.lowest, flow.reached) == (None, frozenset())
    chosen["block2.conv1"] = Trained(np.array([2]))
    flow = gradient_flow(network.plan, chosen)
    assert (flow.lowest, flow.reached, flow.passing) == (2, {"block2.conv1", "block2.conv2"}, {"block2.conv2"})
    network.select(chosen)
    network.train_step(batch_of(0), 0.1, 0.01)
    counters = network.counters.as_dict()
    convs = {conv.name: conv for conv in network.plan.convs()}
    head = network.plan.head.macs
    assert counters["macs.input_gradient.8x16"] == 5 * (convs["block2.conv2"].macs + head)
    assert counters["macs.weight_gradient.8x16"] == 5 * convs["block2.conv1"].macs // 6
    below = sum(convs[name].macs for name in ("block1.conv1", "block1.conv2", "block2.conv1"))
    assert counters["skipped.input_gradient.frozen"] == 5 * below
    every = sum(conv.macs for conv in convs.values())
    assert counters["skipped.weight_gradient.frozen"] == 5 * every - 5 * convs["block2.conv1"].macs // 6


def test_with_a_gate_the_gradient_goes_down_to_the_first_gated_block():
    nothing = Trained(np.zeros(0, np.int64))
    network_plan = plan(MODELS["residual"], SHAPE)
    flow = gradient_flow(network_plan, {conv.name: nothing for conv in network_plan.convs()}, gated={1})
    assert (flow.lowest, flow.reached) == (2, frozenset())


def test_a_frozen_network_trains_its_classifier_alone():
    network = network_of("separable")
    nothing = Trained(np.zeros(0, np.int64))
    before = {key: value.copy() for key, value in network.weights().items()}
    network.select({conv.name: nothing for conv in network.plan.convs()})
    network.train_step(batch_of(0), 0.1, 0.01)
    after = network.weights()
    assert [key for key in after if (after[key] != before[key]).any()] == ["head.weight", "head.bias"]
    assert not network.counters.total("macs.input_gradient.")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"conv9": Trained(np.zeros(0, np.int64))}, "must name the convolutions"),
        ({"conv1": Trained(np.array([4]))}, "within 0..3"),
        ({"conv1": Trained(np.array([2, 1]))}, "must ascend"),
    ],
)
def test_impossible_selections_are_refused(change, message):
    network = network_of("residual")
    whole = {conv.name: Trained(np.arange(conv.out_shape[2])) for conv in network.plan.convs()}
    with pytest.raises(ValueError, match=message):
        network.select(whole | change)
