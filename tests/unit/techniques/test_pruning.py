"""Pruning at initialisation: scores against slow oracles, masks that hold, and honest counters."""

from __future__ import annotations

from fractions import Fraction
from math import prod

import numpy as np
import pytest
from technique_bench import PARTNERS, alone, outcome, shared, small

from joulebit.engine.factory import make_engine
from joulebit.experiments.config import ConfigError, load_config
from joulebit.experiments.run import Trainer
from joulebit.fixed.arithmetic import Arithmetic
from joulebit.nn.context import Update
from joulebit.nn.graph import Conv, GlobalPool, MaxPool, Model, Residual, plan
from joulebit.nn.init import initial_masters
from joulebit.nn.models import model
from joulebit.techniques.pruning import Pruning, geometric, largest, layer_shares
from joulebit.techniques.synaptic_flow import synaptic_flow_scores
from joulebit.train.integer import IntegerNetwork, TrainingMethod
from joulebit.train.network import Batch
from joulebit.train.progress import SilentProgress

METHODS = ("snip", "synflow", "random-pruning")
MIXED = Model(
    "mixed",
    (
        Conv(4),
        Residual((Conv(3), Conv(4, activation=None))),
        Residual((Conv(6, stride=2), Conv(6, activation=None))),
        MaxPool(2, 1),
        Conv(6, groups=0),
        Residual((Conv(4, 1), Conv(4, groups=2), Conv(5, 1, activation=None)), projection=True),
        GlobalPool(),
    ),
    3,
)


# --- scores ----------------------------------------------------------------------------------------------------


def ref_flow(network, masters, masks):
    """w * dR/dw of the network of |w|, in exact fractions: forward and backward, channel by channel."""
    absolute = {}
    for conv in network.convs():
        whole = [abs(m) for m in masters[f"{conv.name}.weight"].reshape(-1).tolist()]
        kept = masks[conv.name].reshape(-1).tolist()
        shape = conv.weight_shape
        table = np.empty(shape, object)
        table.reshape(-1)[:] = [Fraction(m, 2**28) if k else Fraction(0) for m, k in zip(whole, kept)]
        absolute[conv.name] = table
    inputs, gradient = {}, {}

    def forward(conv, flow):
        inputs[conv.name] = flow
        _, _, c_in, c_out = conv.weight_shape
        each = c_out // conv.geometry.groups
        table = absolute[conv.name]
        return [
            sum(sum(table[:, :, i, o].reshape(-1)) * flow[o // each * c_in + i] for i in range(c_in))
            for o in range(c_out)
        ]

    def backward(conv, back):
        gradient[conv.name] = back
        _, _, c_in, c_out = conv.weight_shape
        each = c_out // conv.geometry.groups
        found = [Fraction(0)] * conv.in_shape[2]
        for o in range(c_out):
            for i in range(c_in):
                found[o // each * c_in + i] += sum(absolute[conv.name][:, :, i, o].reshape(-1)) * back[o]
        return found

    def padded(flow, size):
        return (list(flow) + [Fraction(0)] * size)[:size]

    flow = [Fraction(1)] * network.image_shape[2]
    for node in network.nodes:
        if hasattr(node, "body"):
            entering = flow
            for conv in node.body:
                flow = forward(conv, flow)
            shortcut = forward(node.projection, entering) if node.projection else padded(entering, len(flow))
            flow = [a + b for a, b in zip(flow, shortcut)]
        elif hasattr(node, "geometry"):
            flow = forward(node, flow)
    head = masters["head.weight"]
    back = [Fraction(sum(abs(int(v)) for v in head[:, c]), 2**28) for c in range(head.shape[1])]
    for node in reversed(network.nodes):
        if hasattr(node, "body"):
            current = back
            for conv in reversed(node.body):
                current = backward(conv, current)
            passed = backward(node.projection, back) if node.projection else padded(back, node.in_shape[2])
            back = [a + b for a, b in zip(current, passed)]
        elif hasattr(node, "geometry"):
            back = backward(node, back)
    scores = {}
    for conv in network.convs():
        _, _, c_in, c_out = conv.weight_shape
        each = c_out // conv.geometry.groups
        scores[conv.name] = np.array(
            [
                float(absolute[conv.name][index] * inputs[conv.name][index[3] // each * c_in + index[2]]
                      * gradient[conv.name][index[3]])
                for index in np.ndindex(*conv.weight_shape)
            ]
        ).reshape(conv.weight_shape)  # fmt: skip
    return scores


@pytest.mark.parametrize("pruned", [False, True])
def test_synaptic_flow_is_that_of_the_network_of_absolute_weights(pruned):
    network = plan(MIXED, (8, 8, 2))
    masters = initial_masters(network, 4)
    random = np.random.default_rng(8)
    masks = {c.name: (random.random(c.weight_shape) < 0.5) | (not pruned) for c in network.convs()}
    expected = ref_flow(network, masters, masks)
    found = synaptic_flow_scores(network, masters, masks)
    factor = None
    for name, scores in found.items():
        assert ((scores == 0) <= (~masks[name] | (expected[name] < 1e-3 * expected[name].max()))).all()
        ratio = (
            scores[expected[name] > 1e-2 * expected[name].max()]
            / expected[name][expected[name] > 1e-2 * expected[name].max()]
        )
        factor = factor or float(ratio.mean())
        assert np.abs(ratio / factor - 1).max() < 1e-2, name


def test_synaptic_flow_is_conserved_layer_by_layer():
    """The scores of every layer of a chain add up to the same number (Tanaka et al., theorem 1)."""
    network = plan(Model("chain", (Conv(4), Conv(6), Conv(6, groups=0), GlobalPool()), 3), (8, 8, 2))
    masters = initial_masters(network, 4)
    masks = {conv.name: np.ones(conv.weight_shape, bool) for conv in network.convs()}
    sums = [float(scores.sum()) for scores in synaptic_flow_scores(network, masters, masks).values()]
    assert max(sums) / min(sums) < 1.001


def test_snip_takes_the_largest_products_of_weight_and_gradient_over_all_layers():
    random = np.random.default_rng(3)
    weights = {n: (random.integers(-127, 128, (3, 3, 2, 4)).astype(np.int8), e) for n, e in (("a", -7), ("b", -9))}
    gradients = {n: (random.integers(-(2**40), 2**40, (3, 3, 2, 4)), e) for n, e in (("a", -30), ("b", -26))}
    masks = Pruning("snip", 0.7).snip_masks(weights, gradients)
    scores = []
    for number, name in enumerate(weights):
        (w, w_e), (g, g_e) = weights[name], gradients[name]
        for index, (a, b) in enumerate(zip(w.reshape(-1).tolist(), g.reshape(-1).tolist())):
            scores.append((-Fraction(abs(a * b)) * Fraction(2) ** (w_e + g_e), number, index))
    kept = {(number, index) for _, number, index in sorted(scores)[: 144 - 100]}
    for number, name in enumerate(weights):
        assert {(number, i) for i in np.flatnonzero(masks[name].reshape(-1)).tolist()} == {
            pair for pair in kept if pair[0] == number
        }


def test_gradients_for_saliency_are_those_of_a_plain_step_and_move_nothing():
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (6, 8, 8, 1)).astype(np.uint8)
    batch = Batch(images, random.integers(0, 10, 6), np.arange(6), 0)
    results = []
    for engine in ("numpy", "numba", "torch"):
        method = TrainingMethod(Update.PSG)
        network = IntegerNetwork(
            plan(model("resnet8", 10), (8, 8, 1)), make_engine(engine, Arithmetic(), 1), 1, method
        )
        before = {key: value.tolist() for key, value in network.state().items()}
        gradients = network.weight_gradients(batch)
        assert {key: value.tolist() for key, value in network.state().items()} == before
        assert not network.counters.total("macs.forward.") and network.counters.total("macs.selection.")
        assert network.counters["steps"] == 0
        results.append({name: (value.tolist(), exponent) for name, (value, exponent) in gradients.items()})
    assert results[0] == results[1] == results[2]
    plain = IntegerNetwork(plan(model("resnet8", 10), (8, 8, 1)), make_engine("numpy", Arithmetic(), 1), 1,
                           TrainingMethod(momentum=0.0, weight_decay=0.0))  # fmt: skip
    masters = plain.weights()["block2.conv1.weight"].astype(np.int64).copy()
    plain.train_step(batch, 1.0, 0.0)
    moved = plain.weights()["block2.conv1.weight"] - masters
    gradient, exponent = results[0]["block2.conv1"]
    exact = -np.ldexp(np.array(gradient, float), exponent + 28) / 6
    assert np.abs(moved - exact).max() <= 2 + np.abs(exact).max() * 2**-15


# --- how many stay ---------------------------------------------------------------------------------------------


def test_equal_scores_stay_in_order_and_pruned_ones_never_return():
    scores = {"a": np.array([1.0, 2.0, 2.0]), "b": np.array([2.0, 3.0, 0.0])}
    assert largest(scores, 3)["a"].tolist() == [False, True, True]
    assert largest(scores, 3)["b"].tolist() == [False, True, False]
    among = {"a": np.array([True, True, False]), "b": np.array([False, False, True])}
    assert [mask.tolist() for mask in largest(scores, 3, among).values()] == [
        [True, True, False],
        [False, False, True],
    ]
    assert not any(mask.any() for mask in largest(scores, 0).values())


def test_rounds_of_synflow_fall_geometrically_to_the_exact_number():
    for total, kept, rounds in ((74_160, 14_832, 100), (10, 1, 3), (7, 7, 5)):
        found = [geometric(total, kept, number, rounds) for number in range(1, rounds + 1)]
        assert found[-1] == kept
        assert found == sorted(found, reverse=True)
        for number, count in enumerate(found, 1):
            assert abs(count - total * (kept / total) ** (number / rounds)) <= 1
    assert geometric(100, 1, 1, 2) == 10  # an exact root is not rounded down


@pytest.mark.parametrize("distribution", ["erk", "uniform"])
@pytest.mark.parametrize("name", ["resnet20", "mobilenetv2"])
def test_layers_keep_their_shares_and_all_together_the_exact_number(name, distribution):
    convs = list(plan(model(name, 10), (32, 32, 3)).convs())
    sizes = [prod(conv.weight_shape) for conv in convs]
    kept = sum(sizes) // 5
    shares = layer_shares(convs, kept, distribution)
    assert sum(shares) == kept
    assert all(0 <= share <= size for share, size in zip(shares, sizes))
    densities = [share / size for share, size in zip(shares, sizes)]
    if distribution == "uniform":
        assert max(densities) - min(densities) < 2 / min(sizes)
        return
    free = [(d, sum(c.weight_shape) / s) for d, c, s in zip(densities, convs, sizes) if d < 1 and s > 500]
    factors = [density / raw for density, raw in free]
    assert max(factors) / min(factors) < 1.1


# --- whole runs ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_every_engine_keeps_and_trains_the_same_weights(method, tmp_path):
    configs = [small(f"digits-resnet8-{method}", engine=engine) for engine in ("numpy", "numba", "torch")]
    found = [outcome(config, tmp_path / config.engine) for config in configs]
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("method", ["snip", *(pytest.param(name, marks=pytest.mark.slow) for name in METHODS[1:])])
@pytest.mark.parametrize("partner", [(), *PARTNERS.values()])
def test_pruned_weights_stay_zero_and_an_interrupted_run_goes_on_to_the_same_bits(method, partner, tmp_path):
    config = small(
        f"digits-resnet8-{method}", *partner, "training.weight_decay=0.1", "training.sign_weight_decay=0.1"
    )
    assert outcome(config, tmp_path / "resumed", 3) == outcome(config, tmp_path / "whole")
    trainer = Trainer(config, None)
    trainer.train(SilentProgress(), lambda: 0)
    state = trainer.network.state()
    weights = trainer.network.weights()
    kept = 0
    for conv in trainer.network.plan.convs():
        zero = weights[f"{conv.name}.weight"] == 0
        assert (state[f"{conv.name}.momentum"][zero] == 0).all()
        kept += int((~zero).sum())
    assert kept == pytest.approx(14_775, abs=5)  # trained weights are hardly ever exactly 0
    summary = next(hook for hook in trainer.hooks if hook.name == "pruning")
    summary.finish(trainer)
    assert summary.summary()["kept"] == 14_775  # of 73,872


def test_workers_prune_and_train_as_one_process_does():
    config = small("digits-resnet8-snip")
    expected = alone(config)
    for found in shared(config, 3):
        assert found == expected


def test_products_with_pruned_weights_are_counted_apart_and_as_done(tmp_path):
    pruned = outcome(small("digits-resnet8-random-pruning"), tmp_path / "pruned")["counters"]
    whole = outcome(small("digits-resnet8-fixed"), tmp_path / "whole")["counters"]
    for key, value in whole.items():
        if key.startswith(("macs.", "bytes.", "ops.")):
            assert pruned[key] == value, key
    network = plan(model("resnet8", 10), (8, 8, 1))
    masks = Pruning("random", 0.8).random_masks(network, 0)
    samples, convs = pruned["samples.seen"], list(network.convs())
    by_hand = [int((~masks[c.name]).sum()) * c.out_shape[0] * c.out_shape[1] * samples for c in convs]
    assert pruned["pruned.forward"] == pruned["pruned.weight_gradient"] == sum(by_hand)
    assert pruned["pruned.input_gradient"] == sum(by_hand[1:])
    assert not [key for key in pruned if key.startswith("skipped.")]


def test_the_passes_that_find_the_masks_are_counted(tmp_path):
    network = plan(model("resnet8", 10), (8, 8, 1))
    snip = outcome(small("digits-resnet8-snip"), tmp_path / "snip")["counters"]
    macs = [conv.macs for conv in network.convs()]
    head = network.head.macs
    assert snip["macs.selection.8x8"] == 12 * sum(macs)  # one batch of 12: forward
    assert snip["macs.selection.8x16"] == 12 * (2 * sum(macs) - macs[0] + head)
    flow = outcome(small("digits-resnet8-synflow", "method.pruning.rounds=7"), tmp_path / "flow")["counters"]
    assert flow["macs.selection.32x32"] == 7 * 4 * sum(prod(conv.weight_shape) for conv in network.convs())


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("method.pruning.sparsity=0",), "sparsity must be above 0"),
        (("method.pruning.sparsity=1",), r"\[0, 1\)"),
        (('method.pruning.method="magnitude"',), "snip, synflow, random"),
        (("method.pruning.rounds=0",), "rounds"),
        (('method.pruning.distribution="even"',), "erk, uniform"),
    ],
)
def test_bad_configurations_are_refused_in_one_line(overrides, message):
    with pytest.raises(ConfigError, match=message) as error:
        load_config("digits-resnet8-snip", overrides)
    assert "\n" not in str(error.value)
