"""Networks that shrink and grow: functions that are kept, the same bits everywhere, counters that follow."""

from __future__ import annotations

import json

import numpy as np
import pytest
from technique_bench import PARTNERS, alone, outcome, shared, small

from joulebit.data import load_dataset
from joulebit.engine.factory import make_engine
from joulebit.experiments.config import ConfigError, load_config
from joulebit.fixed.arithmetic import Arithmetic
from joulebit.nn.graph import Conv, GlobalPool, Model, Residual, plan
from joulebit.nn.models import model
from joulebit.nn.structure import Structure, cut, inner_groups, part_of_model, put
from joulebit.techniques.early_bird import EarlyBird, channel_mask, free_channels, structure_of
from joulebit.techniques.growing import Growing, with_silent_additions
from joulebit.train.integer import IntegerNetwork, TrainingMethod
from joulebit.train.network import Batch
from joulebit.train.structure import part_of_plan

INVERTED = Model(
    "inverted",
    (
        Conv(4),
        Residual(
            (Conv(8, 1, activation="relu6"), Conv(8, groups=0, activation="relu6"), Conv(4, 1, activation=None))
        ),
        Residual((Conv(6, stride=2), Conv(5), Conv(6, activation=None)), projection=True),
        Residual((Conv(4, 1), Conv(6, activation=None))),
        GlobalPool(),
    ),
    3,
)
SHAPE = (8, 8, 1)
EARLY, WIDTH, DEPTH = "digits-resnet8-early-bird", "digits-resnet8-growing-width", "digits-resnet14-growing-depth"
QUICK = {
    EARLY: ("method.early_bird.until=0.4",),
    WIDTH: ("method.growing.points=[0.5]",),
    DEPTH: ("method.growing.points=[0.5]",),
}
RUNS = 12  # iterations: at 60 images and batches of 12 two epochs and a half


def run_of(preset, *overrides, engine="numba"):
    return small(preset, f"training.iterations={RUNS}", *QUICK[preset], *overrides, engine=engine)


def trained(described, steps=2, engine="numba"):
    network_plan = plan(described, SHAPE)
    network = IntegerNetwork(network_plan, make_engine(engine, Arithmetic(), 1), 5, TrainingMethod())
    for step in range(steps):
        network.train_step(batch_of(step, described.classes), 0.1, 0.01)
    return network


def batch_of(step, classes):
    random = np.random.default_rng(step)
    images = random.integers(0, 256, (6, *SHAPE)).astype(np.uint8)
    return Batch(images, random.integers(0, classes, 6), np.arange(6), step)


def logits_of(network):
    images = load_dataset("digits").test.images[:20]
    network.prepare_evaluation(images[:10])
    return network.logits(images).tolist()


def with_parameters(network, change):
    """The network with changed copies of its parameters."""
    snapshot = network.snapshot()
    change(snapshot.parameters)
    network.load_snapshot(snapshot)
    return network


# --- parts -----------------------------------------------------------------------------------------------


def test_a_part_has_the_named_blocks_and_channels():
    network_plan = plan(INVERTED, SHAPE)
    channels = {
        "block1.conv1": np.array([0, 3, 6]),
        "block1.conv2": np.array([0, 3, 6]),
        "block2.conv2": np.array([4]),
    }
    part = plan(part_of_model(network_plan, Structure((0, 1), channels)), SHAPE)
    assert [conv.weight_shape for conv in part.convs()] == [
        (3, 3, 1, 4), (1, 1, 4, 3), (3, 3, 1, 3), (1, 1, 3, 4),
        (3, 3, 4, 6), (3, 3, 6, 1), (3, 3, 1, 6), (1, 1, 4, 6),
    ]  # fmt: skip
    assert part.head.features == 6


@pytest.mark.parametrize("name", ["inverted", "resnet14"])
def test_what_is_cut_out_and_put_back_is_the_same(name):
    described = INVERTED if name == "inverted" else model(name, 10)
    network = trained(described)
    whole = network.snapshot()
    random = np.random.default_rng(0)
    blocks = [
        block for block in network.plan.blocks() if block.index % 2 == 0 or block.in_shape != block.out_shape
    ]
    channels = {}
    for block in network.plan.blocks():
        for group in inner_groups(block):
            count = group[0].out_shape[2]
            kept = np.sort(random.permutation(count)[: count // 2])
            channels.update({conv.name: kept for conv in group})
    structure = Structure(tuple(block.index for block in blocks), channels)
    part = part_of_plan(network.plan, structure)
    smaller = network.like(part)
    smaller.load_snapshot(cut(whole, network.plan, structure, part))
    back = put(smaller.snapshot(), whole, network.plan, structure, part)
    for key, (master, momentum) in whole.parameters.items():
        assert (back.parameters[key][0] == master).all() and (back.parameters[key][1] == momentum).all()
    assert {key: value.tolist() for key, value in back.exponents.items()} == {
        key: value.tolist() for key, value in whole.exponents.items()
    }
    blank = IntegerNetwork(network.plan, make_engine("numba", Arithmetic(), 1), 6).snapshot()
    mixed = put(smaller.snapshot(), blank, network.plan, structure, part)
    again = cut(mixed, network.plan, structure, part)
    for key, (master, _) in again.parameters.items():
        assert (master == smaller.weights()[key]).all()
    assert any((mixed.parameters[key][0] != whole.parameters[key][0]).any() for key in mixed.parameters)


def test_channels_of_a_grouped_convolution_are_not_free():
    odd = Model("odd", (Conv(4), Residual((Conv(4, groups=2), Conv(4, activation=None))), GlobalPool()), 3)
    with pytest.raises(ValueError, match=r"block1.conv1 has 2 groups"):
        free_channels(plan(odd, SHAPE))


# --- early-bird tickets ----------------------------------------------------------------------------------


def test_the_smallest_scales_of_all_layers_go_and_each_layer_keeps_its_largest():
    network_plan = plan(INVERTED, SHAPE)
    gammas = {f"{conv.name}.gamma": np.zeros(conv.out_shape[2], np.int32) for conv in network_plan.convs()}
    gammas["block1.conv1.gamma"][:] = [9, -8, 7, 1, 5, 4, 3, 2]
    gammas["block1.conv2.gamma"][:] = [9, -9, 0, 9, 9, 9, 9, 9]  # depthwise: the third is the weakest by its own
    gammas["block2.conv1.gamma"][:] = [1, 20, -20, 20, 20, 1]
    gammas["block2.conv2.gamma"][:] = [0, 0, -1, 0, 0]
    gammas["block3.conv1.gamma"][:] = 20
    mask = channel_mask(network_plan, gammas, 0.5)  # 11 of 23
    scales = [9, 8, 0, 1, 5, 4, 3, 2, 1, 20, 20, 20, 20, 1, 0, 0, 1, 0, 0, 20, 20, 20, 20]
    going = {i for _, i in sorted((s, -i) for i, s in enumerate(scales))[:11]}
    expected = [-i not in going for i in range(23)]
    expected[16] = True  # the only layer that would be left without a channel
    assert mask.tolist() == expected


def test_the_ticket_is_drawn_when_all_recent_masks_are_close():
    policy = EarlyBird(0.5, distance=0.1, window=3)
    assert not policy.drawn([0, 0], 100)
    assert policy.drawn([50, 10, 9, 10], 100)
    assert not policy.drawn([10, 11, 0], 100)


@pytest.mark.parametrize("name", ["inverted", "resnet8"])
def test_leaving_out_silent_channels_leaves_the_function(name):
    """Channels whose gamma and beta are 0 give 0: without them every logit is the same integer."""
    described = INVERTED if name == "inverted" else model(name, 10)
    network = trained(described)
    mask = np.random.default_rng(1).random(sum(g[0].out_shape[2] for g in free_channels(network.plan))) < 0.6
    structure = structure_of(network.plan, mask)

    def silence(parameters):
        entering = None
        for conv in network.plan.convs():
            kept = structure.channels.get(conv.name, np.arange(conv.out_shape[2]))
            gone = np.setdiff1d(np.arange(conv.out_shape[2]), kept)
            weight = parameters[f"{conv.name}.weight"][0]
            for kind in ("weight", "gamma", "beta"):
                parameters[f"{conv.name}.{kind}"][0][..., gone] = 0
            inner = entering[0] if entering is not None and weight.shape[2] > 1 else 0
            weight[0, 0, inner, kept[0]] = np.abs(weight).max()  # w keeps its scale without the others
            entering = structure.channels.get(conv.name)

    with_parameters(network, silence)
    part = part_of_plan(network.plan, structure)
    smaller = network.like(part)
    smaller.load_snapshot(cut(network.snapshot(), network.plan, structure, part))
    assert part.parameters < network.plan.parameters
    assert logits_of(smaller) == logits_of(network)


# --- growing ---------------------------------------------------------------------------------------------


def grown(network, before, after):
    """The network of structure `before` (a part of `network`), and what it grows into."""
    initial = network.snapshot()
    part = part_of_plan(network.plan, before)
    smaller = network.like(part)
    smaller.load_snapshot(cut(initial, network.plan, before, part))
    for step in range(2):
        smaller.train_step(batch_of(step, network.plan.head.classes), 0.05, 0.01)
    larger = network.like(part_of_plan(network.plan, after))
    whole = with_silent_additions(
        put(smaller.snapshot(), initial, network.plan, before, part), network.plan, before
    )
    larger.load_snapshot(cut(whole, network.plan, after, larger.plan))
    return smaller, larger


def test_new_blocks_pass_on_their_input_to_the_bit():
    network = trained(model("resnet20", 10), 0)
    one, two, three = Growing("depth", (0.3, 0.6), (0.3, 0.6)).structures(network.plan)
    assert [one.blocks, two.blocks] == [(0, 3, 6), (0, 1, 3, 4, 6, 7)]
    for before, after in ((one, two), (two, three), (one, three)):
        smaller, larger = grown(network, before, after)
        assert larger.plan.macs > smaller.plan.macs
        assert logits_of(smaller) == logits_of(larger)


def test_new_channels_change_nothing_at_first():
    network = trained(model("resnet8", 10), 0)

    def level(parameters):  # no new weight is larger than the old ones: w keeps its scale
        for conv in network.plan.convs():
            parameters[f"{conv.name}.weight"][0][0, 0, 0, 0] = (
                np.abs(parameters[f"{conv.name}.weight"][0]).max() * 3
            )

    with_parameters(network, level)
    before, after = Growing("width", (0.5,), (0.5,)).structures(network.plan)
    smaller, larger = grown(network, before, after)
    assert larger.plan.parameters == network.plan.parameters
    assert logits_of(smaller) == logits_of(larger)
    momenta = larger.snapshot().parameters["block1.conv1.weight"][1]
    assert momenta[..., :8].any() and not momenta[..., 8:].any()


def test_what_cannot_grow_says_so():
    with pytest.raises(ValueError, match="no stage of several"):
        Growing("depth", (0.5,), (0.5,)).structures(plan(model("resnet8", 10), SHAPE))
    with pytest.raises(ValueError, match="no channels inside"):
        Growing("width", (0.5,), (0.5,)).structures(plan(model("lenet5", 10), (28, 28, 1)))


# --- whole runs ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", QUICK)
def test_every_engine_comes_to_the_same_network(preset, tmp_path):
    configs = [run_of(preset, engine=engine) for engine in ("numpy", "numba", "torch")]
    found = [outcome(config, tmp_path / config.engine) for config in configs]
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("stop_after", [3, 9, *(pytest.param(step, marks=pytest.mark.slow) for step in (5, 6))])
@pytest.mark.parametrize("preset", QUICK)
def test_a_run_interrupted_before_or_after_the_change_goes_on_to_the_same_bits(preset, stop_after, tmp_path):
    config = run_of(preset)
    assert outcome(config, tmp_path / "resumed", stop_after) == outcome(config, tmp_path / "whole")


@pytest.mark.parametrize("partner", PARTNERS)
@pytest.mark.parametrize("preset", [EARLY, pytest.param(WIDTH, marks=pytest.mark.slow), DEPTH])
def test_it_combines_with_the_techniques_of_e2_train(preset, partner, tmp_path):
    overrides = ["method.slu.target_skip=0.2"] if partner == "slu" else PARTNERS[partner]
    found = [
        outcome(run_of(preset, *overrides, engine=engine), tmp_path / engine, stop)
        for engine, stop in (("numpy", 0), ("numba", 8))
    ]
    assert found[0] == found[1]


@pytest.mark.parametrize("preset", [EARLY, DEPTH])
def test_workers_come_to_the_same_network(preset):
    config = run_of(preset)
    expected = alone(config)
    for found in shared(config, 3):
        assert found == expected


@pytest.mark.parametrize("preset", [WIDTH, DEPTH])
def test_a_grown_run_costs_what_its_networks_cost(preset, tmp_path):
    found = outcome(run_of(preset), tmp_path / "run")["counters"]
    config = run_of(preset)
    network_plan = plan(model(config.model.name, 10), SHAPE)
    growing = Growing(config.method.growing.kind, (0.5,), (0.5,))
    macs = updated = 0
    for structure, steps in zip(growing.structures(network_plan), (6, 6)):
        part = part_of_plan(network_plan, structure)
        macs += sum(conv.macs for conv in part.convs()) * steps * 12
        updated += part.parameters * steps
    assert found["macs.forward.8x8"] == macs
    assert found["updated"] == updated


def test_a_ticket_makes_every_later_step_cheaper(tmp_path):
    folder = tmp_path / "run"
    config = run_of(EARLY)
    found = outcome(config, folder)["counters"]
    summary = json.loads((folder / "summary.json").read_text())["early_bird"]
    assert summary["drawn_at_step"] == 5  # the first epoch that begins after 0.4 of 12 steps
    assert summary["channels_kept"] == 56
    network_plan = plan(model("resnet8", 10), SHAPE)
    head = network_plan.head.macs
    before, after = network_plan.macs - head, summary["macs_kept"] - head
    assert found["macs.forward.8x8"] == 12 * (5 * before + 7 * after)
    assert 0.4 < after / before < 0.7


# --- configuration ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("preset", "overrides", "message"),
    [
        (EARLY, ("method.early_bird.ratio=1",), r"\[0, 1\)"),
        (EARLY, ("method.early_bird.window=0",), "window"),
        (EARLY, ("method.early_bird.until=1",), r"\(0, 1\)"),
        (EARLY, ('method.growing.kind="depth"',), "method.growing needs as it is"),
        (EARLY, ('method.neuron_selection.method="all"',), "method.neuron_selection needs as it is"),
        (WIDTH, ('method.pruning.method="snip"', "method.pruning.sparsity=0.5"), "method.pruning needs as it is"),
        (WIDTH, ("method.swa=true", "method.swa_start=0.4"), "cannot be averaged before"),
        (WIDTH, ("method.growing.shares=[0.25, 0.5]",), "equally many"),
        (WIDTH, ("method.growing.points=[1.5]",), "rising numbers"),
    ],
)
def test_bad_configurations_are_refused_in_one_line(preset, overrides, message):
    with pytest.raises(ConfigError, match=message) as error:
        load_config(preset, overrides)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("preset", "network"), [(DEPTH, "resnet8"), (WIDTH, "lenet5"), (EARLY, "lenet5")])
def test_networks_without_such_parts_are_refused(preset, network):
    with pytest.raises(ConfigError, match=r"\[method\.(growing|early_bird)\]"):
        alone(run_of(preset, f"model.name={network}", "data.name=digits32"))


def test_weights_are_averaged_once_the_size_is_settled(tmp_path):
    overrides = ("method.swa=true", "method.swa_start=0.6", "method.early_bird.until=0.55")
    whole = outcome(run_of(EARLY, *overrides), tmp_path / "whole")
    assert outcome(run_of(EARLY, *overrides), tmp_path / "resumed", 9) == whole
