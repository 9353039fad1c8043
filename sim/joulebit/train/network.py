"""What the training loop needs of a network, whatever numbers it computes with."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from joulebit.energy.counters import Counters
from joulebit.nn.graph import NetworkPlan
from joulebit.nn.loss import Lesson


class Batch(NamedTuple):
    """One mini-batch and its place in the run; of several workers, the part that belongs to this one."""

    images: NDArray[np.uint8]  #: [N, H, W, C], augmented
    labels: NDArray[np.int64]  #: [N]
    samples: NDArray[np.int64]  #: [N] positions in the training set: counters of per-sample randomness
    step: int  #: iteration, counted over the whole run (dropped batches included)
    whole: int | None = None  #: samples of all workers' parts (`joulebit.nn.workers.part_of`); None: N
    lesson: Lesson | None = None  #: what a teacher says about these samples (integer networks alone)


class StepResult(NamedTuple):
    """What one training step reports; for display only, nothing in the run depends on it."""

    loss: float  #: mean cross-entropy, nats
    correct: int  #: samples whose label had the largest logit
    details: dict[str, Any]  #: per-layer figures of this step: see `joulebit.train.metrics`


class Network(Protocol):
    """A network that can be trained, evaluated, saved and restored."""

    plan: NetworkPlan
    counters: Counters

    def train_step(self, batch: Batch, learning_rate: float, sign_learning_rate: float) -> StepResult:
        """Forward, backward and update on one batch."""
        ...

    def skip_batch(self, samples: int) -> None:
        """Count a batch that was dropped before it was loaded."""
        ...

    def skip_samples(self, samples: int, reason: str) -> None:
        """Count samples that were left out of their batch before it was loaded; reason selection, say."""
        ...

    def sample_losses(
        self,
        images: NDArray[np.uint8],
        labels: NDArray[np.int64],
        statistics: NDArray[np.uint8],
        batch_size: int = 500,
    ) -> NDArray[np.int64]:
        """int64 [N]: numbers that order samples as their losses do, with the present weights, as at evaluation.

        statistics: images from which batch norm takes its statistics, as in prepare_evaluation. All the work, that
        of the statistics included, counts as phase selection; nothing of the training state changes.
        """
        ...

    def prepare_evaluation(self, images: NDArray[np.uint8], costs: bool = False) -> None:
        """Take the statistics of batch norm from these images (spec, section 8); costs: count this pass."""
        ...

    def logits(self, images: NDArray[np.uint8]) -> NDArray[Any]:
        """[N, classes] with the statistics of the last prepare_evaluation; nothing changes."""
        ...

    def state(self) -> dict[str, NDArray[Any]]:
        """Everything that a resumed run needs, as plain arrays."""
        ...

    def load_state(self, state: dict[str, NDArray[Any]]) -> None:
        """The reverse of `state`; ValueError names what is missing or of another shape."""
        ...

    def load_weights(self, weights: dict[str, NDArray[Any]]) -> None:
        """Replace the trained parameters: by an average, or by those of another run."""
        ...

    def weights(self) -> dict[str, NDArray[Any]]:
        """The trained parameters by name, in network order: what weights_sha256 is taken of."""
        ...
