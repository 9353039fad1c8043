"""Which techniques take part in a run's training loop: one line each, in the order in which they are called."""

from __future__ import annotations

from joulebit.experiments.config import RunConfig
from joulebit.nn.graph import NetworkPlan
from joulebit.train.hooks import Hook


def build_hooks(config: RunConfig, plan: NetworkPlan) -> list[Hook]:
    """The hooks of a configuration (`joulebit.train.hooks`); none for a plain run.

    Raises:
        ConfigError: a technique does not fit the network.
    """
    hooks: list[Hook] = []
    if config.method.data_selection.on:
        from joulebit.train.sample_selection import DataSelectionHook

        hooks.append(DataSelectionHook(config.method.data_selection))
    if cyclic := config.method.cyclic_precision.policy():
        from joulebit.train.precision import CyclicPrecisionHook

        hooks.append(CyclicPrecisionHook(cyclic, config.arithmetic))
    if neurons := config.method.neuron_selection.policy():
        from joulebit.energy.neuron_budget import Costs
        from joulebit.energy.table import load_table
        from joulebit.techniques.neurons import Neurons
        from joulebit.train.neurons import NeuronSelectionHook

        gated = (
            [block.index for block in plan.blocks() if block.index] if config.method.slu.target_skip > 0 else []
        )
        costs = Costs(
            plan,
            Neurons.of(plan),
            config.arithmetic,
            config.training.batch_size,
            load_table(config.energy.table),
            frozenset(gated),
        )
        hooks.append(NeuronSelectionHook(neurons, costs, config.method.neuron_selection.renew_epochs))
    return hooks
