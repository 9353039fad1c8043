"""The integer network is the specification: whole training runs next to `reference`, compared with `==`.

After every step all masters, momenta, exponent states and ranges must agree, then the logits of an evaluation.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from reference.cases import CASES, LENET, LINEAR, MOBILE, RESNET, SHAPE, batches_of, random_case
from reference.network import ReferenceNetwork
from reference.random_numbers import GATE, philox
from reference.side_by_side import UNSET, check, engines, expected, expected_of, integer_network, vectors

from joulebit.fixed.arithmetic import Arithmetic
from joulebit.nn.graph import plan
from joulebit.nn.init import parameter_shapes
from joulebit.train.integer import TrainingMethod


@pytest.mark.parametrize("engine", engines())
@pytest.mark.parametrize("name", CASES)
def test_training_and_evaluation_are_those_of_the_specification(name, engine):
    check(CASES[name], engine, expected_of(name))


# --- the cases above meet what they are named after -------------------------------------------------------


def parts(name):
    return [count for step in expected_of(name).entered for count in step]


def test_gates_open_blocks_for_some_samples_for_none_and_for_all():
    counts = [
        count
        for name in CASES
        if name.startswith("selective")
        for step in expected_of(name).entered
        for count in step[1:]
    ]
    assert any(0 < opened < samples for opened, samples in counts)
    assert any(opened == samples for opened, samples in counts)
    closed = expected_of("selective layer update with all gates closed").entered
    assert {opened for step in closed for opened, _ in step[1:]} == {0}


def test_gates_learn():
    for name in ("selective layer update", "selective layer update that skips too little"):
        states = expected_of(name).states
        assert all(v != 0 for v in states[-1]["group2.momentum"][:20])
        assert states[0]["group2.masters"] != states[-1]["group2.masters"]


def test_stochastic_depth_closes_whole_blocks():
    counts = parts("stochastic depth")
    assert {opened / samples for opened, samples in counts} == {0.0, 1.0}
    assert all(
        step[-1][0] == 0 for step in expected_of("stochastic depth that always closes the last block").entered
    )


def test_ranges_grow_to_their_limit_and_relu6_keeps_its_own():
    ranges = [
        [state[f"{layer}.exponents"][3] for layer in ("conv1", "block1.conv2", "block2.conv1")]
        for state in expected_of("activations that leave their range").states
    ]
    assert ranges[0] == [4, 4, 3]
    assert max(ranges[-1]) == 6
    assert {state["conv1.exponents"][3] for state in expected_of("two bits").states} == {3}


def test_a_gradient_of_zero_leaves_exponents_unset():
    states = expected_of("gradients that are zero at first").states
    assert states[1]["head.exponent"] == [UNSET]
    assert states[2]["head.exponent"] != [UNSET]


def test_masters_reach_their_limits():
    final = expected_of("masters at their limits").states[-1]
    values = [v for name, values in final.items() if name.endswith((".weight", "masters")) for v in values]
    assert max(map(abs, values)) == 2**31 - 1


def test_the_narrow_accumulator_clamps():
    wide = replace(CASES["a narrow accumulator"], arithmetic=Arithmetic())
    assert expected(wide).states[1] != expected_of("a narrow accumulator").states[1]


def test_a_draw_that_equals_the_probability_keeps_the_gate_closed():
    found = expected_of("selective layer update with gates at one half").network
    found.gates.start(1)
    assert philox(7, GATE, 1, 1, 15321)[0] >> 17 == 2**14 == found.gates.probabilities(1, [[0] * 3], 0)[0]


@pytest.mark.parametrize("engine", engines())
def test_a_block_that_no_sample_of_the_list_enters_takes_its_statistics_from_all(engine):
    case = replace(CASES["selective layer update with all gates closed"], batches=())
    _, statistics, images = batches_of(case)
    network, reference = integer_network(case, engine), expected(case).network
    network.prepare_evaluation(statistics)
    assert all(layer.fixed is not None for layer in reference.layers)
    weights = dict(network.weights())
    weights["gate.output_bias"] = np.array([2**31 - 1], np.int32)
    network.load_weights(weights)
    reference.gates.parameters["gate.output_bias"].master = [2**31 - 1]
    logits = reference.logits(images.tolist())
    assert [len(block.opened) for block in reference.blocks] == [4, 4, 4]
    assert network.logits(images).tolist() == logits


# --- random networks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(16))
def test_random_networks_train_as_specified(seed):
    case = random_case(seed)
    found = expected(case)
    for engine in engines():
        check(case, engine, found)


# --- beside the steps --------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [RESNET, LENET, MOBILE, LINEAR])
def test_initial_masters_have_the_names_and_order_of_the_package(model):
    described = plan(model, SHAPE)
    ours = vectors(ReferenceNetwork(described, Arithmetic(), 3, TrainingMethod()))
    shapes = parameter_shapes(described)
    assert {name: len(parameter.master) for name, parameter in ours.items()} == {
        name: int(np.prod(shape)) for name, shape in shapes.items()
    }
    assert list(ours) == list(shapes)


def test_the_logits_of_an_image_do_not_depend_on_the_batch_it_is_in():
    case = CASES["selective layer update"]
    network = integer_network(case, "numpy")
    _, statistics, images = batches_of(case)
    network.prepare_evaluation(statistics)
    whole = network.logits(images).tolist()
    assert whole == [network.logits(images[i : i + 1]).tolist()[0] for i in range(len(images))]
