"""What techniques ask of a network beside training it: freezing, pruning, growing, and a look at its numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from joulebit.nn.graph import NetworkPlan
from joulebit.nn.structure import Snapshot
from joulebit.nn.trained import Trained
from joulebit.train.hooks import Run
from joulebit.train.network import Batch, Network

Int64Array = NDArray[np.int64]


class Adaptable(Network, Protocol):
    """A network that techniques can change: `IntegerNetwork`, `Float32TechniqueNetwork`."""

    bytes_per_parameter: int  #: of a master and its momentum

    def like(self, plan: NetworkPlan) -> Adaptable:
        """A new network of another plan that computes, trains and counts as this one does (into its counters)."""
        ...

    def snapshot(self) -> Snapshot:
        """All that the network has learnt, as copies."""
        ...

    def load_snapshot(self, snapshot: Snapshot) -> None:
        """The reverse of `snapshot`; ValueError names what is missing or of another shape."""
        ...

    def select(self, trained: Mapping[str, Trained] | None) -> None:
        """From the next step on train these neurons alone, by the name of their convolution; None: all."""
        ...

    def channel_outputs(self, images: NDArray[np.uint8]) -> dict[str, NDArray[np.int16]]:
        """The output of every convolution before its batch norm, [N, H, W, C], by its name."""
        ...

    def prune(self, kept: Mapping[str, NDArray[np.bool_]]) -> None:
        """Weights outside `kept` are 0 from now on; by the name of the convolution, in its weights' shape."""
        ...

    def conv_weights(self) -> dict[str, tuple[NDArray[Any], int]]:
        """What every convolution computes with, as integers and their exponent, by its name."""
        ...

    def weight_gradients(self, batch: Batch) -> dict[str, tuple[Int64Array, int]]:
        """Plain gradients of every convolution's weights, as integers and their exponent; nothing moves."""
        ...

    def answers(self, images: NDArray[np.uint8], whole: int) -> tuple[Int64Array, int]:
        """(logits [N, classes] as integers, their exponent) of this worker's part of `whole` images; counted."""
        ...

    def exit_logits(self, images: NDArray[np.uint8]) -> list[NDArray[Any]]:
        """[N, classes] of every exit, with the statistics of the last prepare_evaluation."""
        ...


def adaptable(run: Run) -> Adaptable:
    """A run's network: every one that `joulebit.experiments.assembly` builds is adaptable."""
    return cast(Adaptable, run.network)
