"""Builds the techniques that decide which parts of a network there are and which are trained."""

from __future__ import annotations

from joulebit.energy.neuron_budget import Costs
from joulebit.energy.table import load_table
from joulebit.experiments.config import ConfigError, RunConfig
from joulebit.nn.graph import NetworkPlan
from joulebit.techniques.early_bird import EarlyBird, free_channels
from joulebit.techniques.growing import Growing
from joulebit.techniques.neurons import Neurons
from joulebit.techniques.pruning import Pruning
from joulebit.train.neurons import NeuronSelectionHook
from joulebit.train.pruning import PruningHook
from joulebit.train.structure import EarlyBirdHook, GrowingHook


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


def resizing_hook(config: RunConfig, plan: NetworkPlan) -> EarlyBirdHook | GrowingHook:
    """[method.early_bird] or [method.growing] of a run that has one of them.

    Raises:
        ConfigError: the network has nothing that can shrink or grow.
    """
    growing, early = config.method.growing, config.method.early_bird
    try:
        if growing.kind != "off":
            return GrowingHook(Growing(growing.kind, growing.shares, growing.points), plan)
        free_channels(plan)
        return EarlyBirdHook(EarlyBird(early.ratio, early.distance, early.window, early.until), plan)
    except ValueError as error:
        name = "growing" if growing.kind != "off" else "early_bird"
        raise ConfigError(f"[method.{name}] {error}") from None
