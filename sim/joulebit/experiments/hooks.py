"""Which techniques take part in a run's training loop: one line each, in the order in which they are called."""

from __future__ import annotations

from collections.abc import Callable

from joulebit.experiments.config import RunConfig
from joulebit.nn.graph import NetworkPlan
from joulebit.train.hooks import Hook
from joulebit.train.stop import StopHook


def build_hooks(config: RunConfig, plan: NetworkPlan, measured_j: Callable[[], float] | None = None) -> list[Hook]:
    """The hooks of a configuration (`joulebit.train.hooks`); none for a plain run.

    measured_j: joules drawn since the run began, for an energy budget; None: simulated ones.

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
    if config.method.distillation.teacher:
        from joulebit.experiments.distillation import DistillationHook

        hooks.append(DistillationHook(config))
    if config.method.exits.count:
        from joulebit.train.exits_hook import ExitsHook

        hooks.append(ExitsHook())
    if config.method.early_bird.ratio > 0 or config.method.growing.kind != "off":
        from joulebit.experiments.structure import resizing_hook

        hooks.insert(0, resizing_hook(config, plan))
    if config.method.pruning.method != "off":
        from joulebit.experiments.structure import pruning_hook

        hooks.append(pruning_hook(config))
    if config.method.neuron_selection.method != "off":
        from joulebit.experiments.structure import neuron_selection_hook

        hooks.append(neuron_selection_hook(config, plan))
    if config.training.stop.on:
        hooks.append(StopHook(config.training.stop, measured_j))
    return hooks
