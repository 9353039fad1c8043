"""Neuron selection: exact velocities, budgets that count groups right, gradients of the chosen neurons alone."""

from __future__ import annotations

from decimal import Decimal, localcontext
from fractions import Fraction
from math import prod

import numpy as np
import pytest
from technique_bench import PARTNERS, alone, outcome, shared, small

from joulebit.energy.neuron_budget import Costs
from joulebit.energy.table import load_table
from joulebit.experiments.config import ConfigError, load_config
from joulebit.fixed.arithmetic import Arithmetic
from joulebit.nn.graph import Conv, GlobalPool, Model, plan
from joulebit.nn.models import model
from joulebit.techniques.neuron_selection import (
    SCHEMES,
    NeuronSelection,
    Scheme,
    fastest_first,
    flops_saved,
    scheme,
)
from joulebit.techniques.neuron_velocity import ONE_Q30, NeuronVelocity, cosine_q30, similarities
from joulebit.techniques.neurons import Neurons, longest_prefix

VELOCITY = "digits-resnet8-neurons-velocity"
SEPARABLE = Model("separable", (Conv(4), Conv(8, groups=0), Conv(6, 1), Conv(6, groups=2), GlobalPool()), 3)


def costs_of(described: Model, shape: tuple[int, int, int] = (6, 6, 2), batch: int = 4) -> Costs:
    network = plan(described, shape)
    return Costs(network, Neurons.of(network), Arithmetic(), batch, load_table("45nm"))


# --- velocity --------------------------------------------------------------------------------------------


def ref_cosine(a: list[int], b: list[int]) -> int:
    """Truncated to 2^-30, by decimal arithmetic of 120 digits."""
    with localcontext() as context:
        context.prec = 120
        norm = Decimal(sum(x * x for x in a)).sqrt() * Decimal(sum(y * y for y in b)).sqrt()
        return int(Decimal(sum(x * y for x, y in zip(a, b))) / norm * 2**30)


def test_cosines_are_exact_to_the_last_bit_over_the_whole_range_of_z():
    random = np.random.default_rng(5)
    for length in (1, 2, 9, 64):
        for limit in (2, 300, 32767):
            a, b = random.integers(-limit, limit + 1, (2, length)).tolist()
            dot, square, other = (sum(x * y for x, y in zip(u, v)) for u, v in ((a, b), (a, a), (b, b)))
            if square and other:
                assert cosine_q30(dot, square, other) == ref_cosine(a, b)
                assert cosine_q30(square, square, square) == ONE_Q30


def test_a_silent_neuron_is_like_itself_and_unlike_any_other_output():
    assert cosine_q30(0, 0, 0) == ONE_Q30
    assert cosine_q30(0, 7, 0) == cosine_q30(0, 0, 7) == 0
    assert cosine_q30(-9, 9, 9) == -ONE_Q30


def test_similarities_are_sums_over_samples_of_each_channel():
    random = np.random.default_rng(1)
    now, before = random.integers(-400, 400, (2, 3, 2, 5, 4)).astype(np.int16)
    now[1, :, :, 2] = before[1, :, :, 2] = 0
    before[2, :, :, 0] = 0
    expected = []
    for channel in range(4):
        total = 0
        for a, b in zip(now[..., channel].reshape(3, -1).tolist(), before[..., channel].reshape(3, -1).tolist()):
            total += ref_cosine(a, b) if any(a) and any(b) else ONE_Q30 * (any(a) == any(b))
        expected.append(total)
    assert similarities(now, before).tolist() == expected


def test_velocities_follow_the_recurrence_from_a_first_similarity_of_one():
    random = np.random.default_rng(2)
    measured = [{"conv1": random.integers(-9, 9, (2, 2, 2, 3)).astype(np.int16)} for _ in range(4)]
    velocity = NeuronVelocity(3, 0.5)
    velocity.measure(measured[0])
    assert not velocity.measured
    phi, change, v = [2 << 30] * 3, [0] * 3, [0] * 3
    for now, before in zip(measured[1:], measured):
        velocity.measure(now)
        new = similarities(now["conv1"], before["conv1"]).tolist()
        for i in range(3):
            d = new[i] - phi[i]
            v[i] = d - change[i] + ((v[i] * 16384 + 16384) >> 15)
            phi[i], change[i] = new[i], d
        assert velocity.measured
        assert velocity.velocity.tolist() == v


# --- order and budget ------------------------------------------------------------------------------------


def test_neurons_per_parameter_are_compared_as_exact_fractions():
    big = 3**35
    velocity = np.array([big, -(3 * big + 1), 0, 3 * big], np.int64)
    parameters = np.array([1, 3, 1, 3], np.int64)
    assert fastest_first(velocity).tolist() == [1, 3, 0, 2]
    assert fastest_first(velocity, parameters).tolist() == [1, 0, 3, 2]  # 0 and 3 are equal: in network order


def test_the_first_neuron_that_does_not_fit_ends_the_selection():
    price = np.array([4, 5, 3, 1])
    cost = lambda chosen: int(price[chosen].sum())  # noqa: E731
    order = np.array([1, 0, 3, 2])
    for budget, expected in ((4, []), (5, [1]), (8, [1]), (9, [1, 0]), (10, [1, 0, 3]), (99, [1, 0, 3, 2])):
        assert longest_prefix(order, budget, cost).tolist() == expected


def test_a_neuron_of_a_depthwise_or_grouped_layer_has_its_own_weights_alone():
    neurons = Neurons.of(plan(SEPARABLE, (6, 6, 2)))
    assert neurons.names == ("conv1", "conv2", "conv3", "conv4")
    assert neurons.parameters.tolist() == [18] * 4 + [9] * 8 + [8] * 6 + [27] * 6


def test_the_published_schemes_train_the_published_numbers_of_weights():
    network = plan(model("mobilenetv2-imagenet", 1000), (224, 224, 3))
    neurons = Neurons.of(network)
    assert int(neurons.parameters.sum()) == 2_189_760
    for (name, described), weights, biases in zip(SCHEMES.items(), (192_312, 464_640, 675_840), (16, 25, 34)):
        chosen, shifts = described.selection(network, neurons)
        assert int(neurons.parameters[chosen].sum()) == weights
        assert name == f"mobilenetv2-{weights}"
        assert shifts == {conv.name for conv in list(network.convs())[-biases:]}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((1, 2), (Fraction(1),)), "one ratio per convolution"),
        (((2, 1), (Fraction(1), Fraction(1))), "must ascend"),
        (((1,), (Fraction(3, 2),)), "in \\[0, 1\\]"),
        (((), (), -1), "at least 0"),
    ],
)
def test_impossible_schemes_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Scheme(*arguments)


def test_schemes_of_another_network_and_unknown_names_are_refused():
    network = plan(SEPARABLE, (6, 6, 2))
    with pytest.raises(ValueError, match="has 4 convolutions"):
        Scheme((4,), (Fraction(1),)).selection(network, Neurons.of(network))
    with pytest.raises(ValueError, match="mobilenetv2-192312"):
        scheme("mobilenetv2-192311")


def test_random_selections_differ_between_epochs_and_seeds_and_keep_the_budget():
    costs = costs_of(model("resnet8", 10), (8, 8, 1))
    policy = NeuronSelection("random", 0.3, "share")
    found = [policy.select(costs, seed, renewal, None)[0] for seed in (1, 2) for renewal in (0, 1)]
    limit = Fraction(3, 10) * int(costs.neurons.parameters.sum())
    for chosen in found:
        spent = int(costs.neurons.parameters[chosen].sum())
        assert limit - max(costs.neurons.parameters) < spent <= limit
    assert len({chosen.tobytes() for chosen in found}) == 4


def test_equilibrium_freezes_what_is_not_faster_than_epsilon():
    costs = costs_of(SEPARABLE)
    velocity = np.zeros(len(costs.neurons), np.int64)
    velocity[[0, 5, 7]] = -(8 << 30) // 1000 - 1, (8 << 30) // 1000 + 1, (8 << 30) // 1000
    chosen, _ = NeuronSelection("equilibrium", epsilon=0.001).select(costs, 0, 3, velocity, 8)
    assert np.flatnonzero(chosen).tolist() == [0, 5]
    assert NeuronSelection("equilibrium").select(costs, 0, 0, None)[0].all()


# --- the cost of a selection -----------------------------------------------------------------------------


def test_training_memory_by_hand():
    costs = costs_of(SEPARABLE)  # 6 x 6 images, batch 4; x 8 bits, z 16, momentum 48, gradients 48
    neurons = costs.neurons
    elements = 4 * 36
    # Two depthwise neurons of different inputs (2 and 3): 9 weights, gamma and beta each.
    chosen = neurons.mask(np.flatnonzero((neurons.layer == 1) & np.isin(neurons.channel, (4, 6))))
    bits = 2 * 11 * 96 + 2 * elements * 8 + elements * (8 + 6 + 6) * 17
    assert costs.memory_bytes(neurons.selection(chosen)) == bits // 8
    # The last layer alone, one neuron of its second group, which reads three channels.
    chosen = neurons.mask(np.flatnonzero((neurons.layer == 3) & (neurons.channel == 5)))
    bits = 29 * 96 + 3 * elements * 8 + elements * 6 * 17
    assert costs.memory_bytes(neurons.selection(chosen)) == bits // 8
    nothing = neurons.selection(np.zeros(len(neurons), bool))
    assert costs.memory_bytes(nothing) == costs.backward_aj(nothing) == 0


def test_more_neurons_never_cost_less():
    costs = costs_of(SEPARABLE)
    random = np.random.default_rng(0)
    for unit in ("parameters", "bytes", "joules"):
        cost = costs.of(unit)
        order = random.permutation(len(costs.neurons))
        prices = [cost(order[:count]) for count in range(len(order) + 1)]
        assert prices == sorted(prices)
        assert prices[0] == 0 < prices[1]


def test_limits_count_numbers_as_they_are_written():
    costs = costs_of(SEPARABLE)
    total = int(costs.neurons.parameters.sum())
    assert costs.limit(0.3, "share") == 3 * total // 10
    assert costs.limit(1000.9, "bytes") == 1000
    assert costs.limit(0.005, "joules") == 5 * 10**15


# --- whole runs ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "method", ["velocity", "per-parameter", "random", "static", "bytes", "joules", "equilibrium"]
)
def test_every_engine_chooses_and_trains_the_same_neurons(method, tmp_path):
    tight = {"bytes": ["method.neuron_selection.budget=2e5"], "joules": ["method.neuron_selection.budget=1e-4"]}
    configs = [
        small(f"digits-resnet8-neurons-{method}", *tight.get(method, []), engine=engine)
        for engine in ("numpy", "numba", "torch")
    ]
    found = [outcome(config, tmp_path / config.engine) for config in configs]
    assert found[0] == found[1] == found[2]
    frozen = found[0]["counters"].get("skipped.weight_gradient.frozen", 0)
    assert frozen > 0 or method == "equilibrium"


@pytest.mark.parametrize("stop_after", [2, 3, 5])
@pytest.mark.parametrize("method", ["velocity", "static"])
def test_an_interrupted_run_goes_on_to_the_same_bits(method, stop_after, tmp_path):
    config = small(f"digits-resnet8-neurons-{method}")  # 44 training images: epochs of 4 steps
    whole = outcome(config, tmp_path / "whole")
    assert outcome(config, tmp_path / "resumed", stop_after) == whole


@pytest.mark.parametrize("partner", PARTNERS)
def test_it_combines_with_the_techniques_of_e2_train(partner, tmp_path):
    overrides = PARTNERS[partner]
    found = [
        outcome(small(VELOCITY, *overrides, engine=engine), tmp_path / engine, stop)
        for engine, stop in (("numpy", 0), ("numba", 3), ("torch", 0))
    ]
    assert found[0] == found[1] == found[2]
    assert found[0]["counters"]["skipped.weight_gradient.frozen"] > 0


def test_workers_train_as_one_process_does():
    config = small(VELOCITY, 'method.update="psg"', "training.sign_learning_rate=0.0078125")
    expected = alone(config)
    for found in shared(config, 3):
        assert found == expected


@pytest.mark.parametrize("partner", [(), PARTNERS["slu"], PARTNERS["psg"], PARTNERS["smd"]])
def test_done_and_skipped_work_make_up_full_training(partner, tmp_path):
    """Multiply-accumulates of the samples that entered: frozen ones and computed ones are those of the shapes."""
    config = small(VELOCITY, *partner)
    found = outcome(config, tmp_path / "run")["counters"]
    network = plan(model("resnet8", 10), (8, 8, 1))
    convs = list(network.convs())
    samples = found["samples.seen"]

    def total(begin, end=""):
        return sum(value for key, value in found.items() if key.startswith(begin) and key.endswith(end))

    closed = {phase: total(f"skipped.{phase}.slu") for phase in ("forward", "input_gradient", "weight_gradient")}
    head = network.head.macs * samples
    every = sum(conv.macs for conv in convs) * samples
    done = total("macs.weight_gradient.8x16") + total("skipped.weight_gradient.psg")
    assert done + total("skipped.weight_gradient.frozen") == every - closed["weight_gradient"]
    done = total("macs.input_gradient.8x16") - head  # the classifier's gradient always goes back here
    frozen = total("skipped.input_gradient.frozen")
    assert done + frozen == every - convs[0].macs * samples - closed["input_gradient"]
    epochs = -(-(found["steps"] + found.get("batches.dropped", 0)) // 4)  # 44 training images
    measured = 16 * epochs  # samples: before each epoch all of validation
    assert found["macs.selection.8x8"] == measured * sum(conv.macs for conv in convs)
    assert found["macs.selection.16x16"] == 2 * measured * sum(prod(conv.out_shape) for conv in convs)
    assert 0 < flops_saved(found) < 1


def test_the_joules_of_a_budget_are_those_that_a_step_counts(tmp_path):
    """What `Costs` expects of a selection, out of the counters of real steps with it."""
    from joulebit.energy.accounting import Accountant
    from joulebit.energy.counters import Counters
    from joulebit.energy.model import simulate_energy

    config = small("digits-resnet8-neurons-static", "training.iterations=1")
    found = outcome(config, tmp_path / "run")["counters"]
    network = plan(model("resnet8", 10), (8, 8, 1))
    neurons = Neurons.of(network)
    costs = Costs(network, neurons, config.arithmetic, 12, load_table("45nm"))
    policy = config.method.neuron_selection.policy()
    selection = neurons.selection(*policy.select(costs, 0, 0, None))
    rest = Counters()
    other = Accountant(rest, config.arithmetic)
    for conv in network.convs():
        other.forward(conv, 12)
    other.head(network.head, 12, backward=False)
    other.head(network.head, 12, backward=True)
    other.update(network.head.macs + network.head.classes)
    table = load_table("45nm")
    whole = simulate_energy(found, table).total_aj
    assert whole - simulate_energy(rest, table).total_aj == costs.backward_aj(selection)


# --- configuration ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("method.neuron_selection.budget=0",), "budget must be above 0"),
        (("method.neuron_selection.budget=1.5",), "at most 1"),
        (('method.neuron_selection.unit="watts"',), "parameters, share, bytes, joules"),
        (('method.neuron_selection.method="fastest"',), "velocity_per_parameter"),
        (('method.neuron_selection.scheme="mobilenet"',), "unknown scheme"),
        (("method.neuron_selection.convolutions=[1.5]", "method.neuron_selection.ratios=[1]"), "whole numbers"),
        (("method.neuron_selection.convolutions=[1]",), "one ratio per convolution"),
        (('method.neuron_selection.method="static"',), "needs a scheme"),
    ],
)
def test_bad_configurations_are_refused_in_one_line(overrides, message):
    with pytest.raises(ConfigError, match=message) as error:
        load_config(VELOCITY, overrides)
    assert "\n" not in str(error.value)


def test_more_validation_samples_than_there_are_is_an_error():
    with pytest.raises(ConfigError, match="validation_samples must be below the 60"):
        alone(small(VELOCITY, "method.neuron_selection.validation_samples=60"))


def test_a_scheme_for_another_network_is_an_error():
    with pytest.raises(ConfigError, match="has 7 convolutions"):
        alone(small("digits-resnet8-neurons-static", "method.neuron_selection.convolutions=[5, 9]"))
