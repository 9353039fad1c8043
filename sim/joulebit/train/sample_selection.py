"""Data selection in the training loop: chooses subsets, and the selected samples of every step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from joulebit.fixed.philox import Purpose, permutation
from joulebit.techniques.data_selection import ONE_Q32, DataSelection, loss_subset, random_subset
from joulebit.train.hooks import Hook, Int64Array, Run


class DataSelectionHook(Hook):
    """`DataSelection` (`joulebit.techniques.data_selection`) in a run.

    Every sample that a step offers is skipped (samples.skipped, and what its training would have cost under
    skipped.<phase>.selection), trained, dropped with its batch by SMD, or still waiting at the end of the run.
    """

    name = "data_selection"

    def __init__(self, policy: DataSelection) -> None:
        self._policy = policy
        self._chosen: NDArray[np.bool_] | None = None  # of the training set; None: all, as before the first epoch
        self._waiting = np.zeros(0, np.int64)  # selected, in order, until they fill a batch
        self._history = np.zeros(0, np.int64)  # of losses
        self._ratio_q32 = ONE_Q32
        self._offered = self._skipped = 0

    def begin_epoch(self, run: Run, epoch: int) -> None:
        policy, samples = self._policy, len(run.data.train)
        if not policy.renews(epoch):
            return
        self._ratio_q32 = policy.ratio_q32(epoch, -(-run.total_steps // run.epoch_steps))
        if self._ratio_q32 >= ONE_Q32:
            self._chosen = None
        elif policy.approach == "random":
            self._chosen = random_subset(run.seed, epoch, samples, self._ratio_q32)
        else:
            train = run.data.train
            losses = run.network.sample_losses(train.images, train.labels, run.statistics_images)
            order = permutation(run.seed, Purpose.SHUFFLE, epoch, samples)
            self._chosen, self._history = loss_subset(
                run.seed, epoch, losses, order, run.batch_size, self._ratio_q32, self._history
            )

    def choose(self, run: Run, batch: Int64Array) -> Int64Array:
        self._offered += len(batch)
        if self._chosen is None:
            return batch
        selected = batch[self._chosen[batch]]
        skipped = len(batch) - len(selected)
        self._skipped += skipped
        run.network.skip_samples(skipped, "selection")
        if self._policy.batches == "thinned":
            return selected
        waiting = np.concatenate([self._waiting, selected])
        ready = run.batch_size if len(waiting) >= run.batch_size else 0
        self._waiting = waiting[ready:]
        return waiting[:ready]

    def state(self) -> dict[str, NDArray[Any]]:
        everything = np.zeros(0, np.bool_)
        return {
            "chosen": everything if self._chosen is None else self._chosen,
            "waiting": self._waiting,
            "history": self._history,
            "numbers": np.array([self._ratio_q32, self._offered, self._skipped], np.int64),
        }

    def load_state(self, run: Run, state: Mapping[str, NDArray[Any]]) -> None:
        if not state:
            return
        self._chosen = state["chosen"].astype(np.bool_) if len(state["chosen"]) else None
        self._waiting, self._history = state["waiting"], state["history"]
        self._ratio_q32, self._offered, self._skipped = (int(number) for number in state["numbers"])

    def metrics(self) -> Mapping[str, Any]:
        share = 1.0 if self._chosen is None else float(self._chosen.mean())
        return {"ratio": self._ratio_q32 / ONE_Q32, "share": share}

    def summary(self) -> Mapping[str, Any]:
        """share: of the samples on offer that were selected; waiting: selected, but the run ended before their
        batch was full."""
        share = 1 - self._skipped / self._offered if self._offered else None
        policy = self._policy
        return {
            "approach": policy.approach,
            "ratio": policy.ratio,
            "renew_every": policy.renew_every,
            "schedule": policy.schedule,
            "share": share,
            "waiting": len(self._waiting),
        }
