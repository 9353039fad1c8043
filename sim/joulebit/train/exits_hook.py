"""Exits in the training loop: how accurate they are in the end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from joulebit.train.adaptable import adaptable
from joulebit.train.hooks import Hook, Run

_BATCH = 500


class ExitsHook(Hook):
    """Tells in the summary how accurate the exits are on the test set (before an averaging of weights)."""

    name = "exits"

    def __init__(self) -> None:
        self._top1: list[float] = []

    def finish(self, run: Run) -> None:
        network = adaptable(run)
        run.network.prepare_evaluation(run.statistics_images)
        test, correct = run.data.test, np.zeros(0, np.int64)
        for start in range(0, len(test), _BATCH):
            part = slice(start, start + _BATCH)
            answers = network.exit_logits(test.images[part])
            found = np.array([np.count_nonzero(logits.argmax(1) == test.labels[part]) for logits in answers])
            correct = found if not len(correct) else correct + found
        self._top1 = [100.0 * int(count) / len(test) for count in correct]

    def summary(self) -> Mapping[str, Any]:
        """top1: percent, exit by exit from the first one on."""
        return {"top1": self._top1} if self._top1 else {}
