"""A run of the integer network beside the reference: masters, momenta, exponents and ranges, then the logits."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import cache

import numpy as np

from joulebit.engine.factory import make_engine
from joulebit.nn.graph import plan
from joulebit.train.integer import IntegerNetwork
from joulebit.train.network import Batch
from reference.cases import CASES, batches_of
from reference.network import ReferenceNetwork

UNSET = -(2**31)  # an exponent state before its first use


def engines():
    """numpy, and numba where it is installed."""
    return ["numpy", "numba"] if importlib.util.find_spec("numba") else ["numpy"]


def vectors(network):
    """All parameters of the reference by the names of `parameter_shapes`; the gates' last."""
    found = {}
    for layer in network.layers:
        found[f"{layer.plan.name}.weight"] = layer.weight
        if layer.gamma:
            found[f"{layer.plan.name}.gamma"] = layer.gamma
        found[f"{layer.plan.name}.{'beta' if layer.gamma else 'bias'}"] = layer.beta
    found |= {"head.weight": network.head.weight, "head.bias": network.head.bias}
    return found | (network.gates.parameters if network.gates else {})


def state_of(network):
    """The state of the reference in the form of `IntegerNetwork.state`."""
    parameters = vectors(network)
    convs = {f"{layer.plan.name}.weight" for layer in network.layers}
    gates = set(network.gates.parameters) if network.gates else set()
    groups = [
        [p for name, p in parameters.items() if name not in convs | gates | {"head.weight"}],
        [parameters["head.weight"]],
        [parameters[name] for name in parameters if name in gates],
    ]
    state = {}
    for layer in network.layers:
        name = layer.plan.name
        state[f"{name}.weight"], state[f"{name}.momentum"] = layer.weight.master, layer.weight.momentum
        state[f"{name}.exponents"] = [*(position(s) for s in (layer.z, layer.dz, layer.g)), layer.range]
    state["head.exponent"] = [position(network.head.g)]
    for i, group in enumerate(groups if gates else groups[:2]):
        state[f"group{i}.masters"] = [value for parameter in group for value in parameter.master]
        state[f"group{i}.momentum"] = [value for parameter in group for value in parameter.momentum]
    return state


def position(state):
    return UNSET if state.b is None else state.b


def copied(state):
    return {name: list(values) for name, values in state.items()}


@dataclass
class Expected:
    """What the reference found."""

    states: list  #: before the first step, after each, and after the evaluation
    logits: list
    entered: list  #: per step and block, how many of the samples
    network: ReferenceNetwork


def expected(case):
    network = ReferenceNetwork(plan(case.model, case.shape), case.arithmetic, case.seed, case.method)
    for name, value in case.weights.items():
        parameter = vectors(network)[name]
        parameter.master = [value] * len(parameter.master)
    states, entered = [copied(state_of(network))], []
    steps, statistics, images = batches_of(case)
    for *arrays, step in steps:
        network.train_step(*(array.tolist() for array in arrays), step, case.rate, case.sign_rate)
        states.append(copied(state_of(network)))
        entered.append([(len(block.opened), len(arrays[0])) for block in network.blocks])
    network.prepare_evaluation(statistics.tolist())
    logits = network.logits(images.tolist())
    states.append(copied(state_of(network)))
    return Expected(states, logits, entered, network)


@cache
def expected_of(name):
    return expected(CASES[name])


def integer_network(case, engine):
    network = IntegerNetwork(
        plan(case.model, case.shape), make_engine(engine, case.arithmetic), case.seed, case.method
    )
    weights = dict(network.weights())
    for name, value in case.weights.items():
        weights[name] = np.full(weights[name].shape, value, np.int32)
    network.load_weights(weights)
    return network


def check(case, engine, found):
    network = integer_network(case, engine)
    steps, statistics, images = batches_of(case)
    same(network, found.states[0], "at the start")
    for i, (pixels, labels, samples, step) in enumerate(steps):
        network.train_step(Batch(pixels, labels, samples, step), case.rate, case.sign_rate)
        same(network, found.states[i + 1], f"after step {i + 1}")
    network.prepare_evaluation(statistics)
    assert network.logits(images).tolist() == found.logits
    same(network, found.states[-1], "after the evaluation")


def same(network, state, moment):
    ours = network.state()
    assert ours.keys() == state.keys()
    for name, values in ours.items():
        assert values.reshape(-1).tolist() == state[name], f"{name} {moment}"
