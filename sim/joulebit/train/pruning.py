"""Pruning at initialisation in the training loop: masks are found before the first step and hold to the end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from joulebit.data import epoch_batches
from joulebit.energy.counters import Counters
from joulebit.nn.workers import part_of
from joulebit.techniques.pruning import Masks, Pruning
from joulebit.train.adaptable import Adaptable, adaptable
from joulebit.train.hooks import Hook, Run
from joulebit.train.network import Batch
from joulebit.train.weights import masters_of

_FLOW_MACS = 4  # per weight and round: its parts of both flows, and two products for its score
_FLOW_BYTES = 4 + 8 + 8  # per weight and round: the master, and its score written and ranked


class PruningHook(Hook):
    """`Pruning` (`joulebit.techniques.pruning`) in a run.

    SNIP takes its gradients from the first batch of the first epoch, not augmented.
    """

    name = "pruning"

    def __init__(self, policy: Pruning) -> None:
        self._policy = policy
        self._masks: Masks = {}
        self._counters: Counters | None = None

    def begin(self, run: Run) -> None:
        network = adaptable(run)
        if not self._masks:
            self._masks = self._found(run, network)
        network.prune(self._masks)

    def _found(self, run: Run, network: Adaptable) -> Masks:
        policy = self._policy
        if policy.method == "random":
            return policy.random_masks(network.plan, run.seed)
        if policy.method == "snip":
            return policy.snip_masks(network.conv_weights(), network.weight_gradients(_first_batch(run)))
        masks = policy.synflow_masks(network.plan, masters_of(network.weights()))
        elements = policy.rounds * sum(mask.size for mask in masks.values())
        network.counters.add("macs.selection.32x32", _FLOW_MACS * elements)
        network.counters.add("bytes.selection.dram", _FLOW_BYTES * elements)
        network.counters.add("bytes.selection.sram", _FLOW_BYTES * elements)
        return masks

    def state(self) -> dict[str, NDArray[Any]]:
        return {name: np.packbits(mask) for name, mask in self._masks.items()}

    def load_state(self, run: Run, state: Mapping[str, NDArray[Any]]) -> None:
        shapes = {conv.name: conv.weight_shape for conv in run.network.plan.convs()}
        self._masks = {
            name: np.unpackbits(bits, count=int(np.prod(shapes[name]))).astype(np.bool_).reshape(shapes[name])
            for name, bits in state.items()
        }

    def finish(self, run: Run) -> None:
        self._counters = run.network.counters

    def summary(self) -> Mapping[str, Any]:
        """What stays, and the share of all products that were formed with pruned weights, or for them."""
        if self._counters is None:
            return {}
        done = self._counters.as_dict()
        macs = sum(
            amount
            for key, amount in done.items()
            if key.startswith(("macs.forward.", "macs.input_gradient.", "macs.weight_gradient."))
        )
        return {
            "weights": sum(mask.size for mask in self._masks.values()),
            "kept": sum(int(mask.sum()) for mask in self._masks.values()),
            "kept_by_layer": {name: int(mask.sum()) for name, mask in self._masks.items()},
            "macs_with_pruned_weights": self._counters.total("pruned."),
            "share_of_macs_with_pruned_weights": self._counters.total("pruned.") / macs if macs else 0.0,
            "macs_skipped": 0,  # zeros strewn over the kernels save no cycle here
        }


def _first_batch(run: Run) -> Batch:
    """This worker's part of the first batch of the first epoch."""
    train = run.data.train
    samples = next(iter(epoch_batches(len(train), run.batch_size, run.seed, 0)))
    chosen = samples[part_of(len(samples), run.workers)]
    return Batch(train.images[chosen], train.labels[chosen], chosen, 0, len(samples))
