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
    return hooks
