"""Builds the techniques that decide which parts of a network there are and which are trained."""

from __future__ import annotations

from joulebit.energy.neuron_budget import Costs
from joulebit.energy.table import load_table
from joulebit.experiments.config import ConfigError, RunConfig
from joulebit.nn.graph import NetworkPlan
from joulebit.techniques.neurons import Neurons
from joulebit.techniques.pruning import Pruning
from joulebit.train.neurons import NeuronSelectionHook
from joulebit.train.pruning import PruningHook


def neuron_selection_hook(config: RunConfig, plan: NetworkPlan) -> NeuronSelectionHook:
    """[method.neuron_selection] of a run that has it.

    Raises:
        ConfigError: its scheme does not fit the network.
    """
    policy = config.method.neuron_selection.policy()
    assert policy is not None
    neurons = Neurons.of(plan)
    try:
        if policy.fixed:
            policy.fixed.selection(plan, neurons)
    except ValueError as error:
        raise ConfigError(f"[method.neuron_selection] {error}") from None
    slu = config.method.slu.target_skip > 0
    gated = frozenset(block.index for block in plan.blocks() if slu and block.index)
    table = load_table(config.energy.table)
    costs = Costs(plan, neurons, config.arithmetic, config.training.batch_size, table, gated)
    return NeuronSelectionHook(policy, costs, config.method.neuron_selection.renew_epochs)


def pruning_hook(config: RunConfig) -> PruningHook:
    """[method.pruning] of a run that has it."""
    section = config.method.pruning
    return PruningHook(Pruning(section.method, section.sparsity, section.rounds, section.distribution))
