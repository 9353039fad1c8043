"""When a run ends before its last step: at an accuracy, when patience is over, or at an energy budget.

Source: E. Cueto-Mendoza, J. Kelleher, "A framework for measuring the training efficiency of a neural
architecture", 2024: the convergence criteria. (The first of the four, a number of epochs, is the run's own
length.) The paper checks its energy budget at the end of an epoch, so that a run may exceed it by an epoch's
energy. Here it is checked after every step, and exceeded by one step at most. The paper's accuracy criterion
looks at the training data, its patience at the validation data; so it is here, with the test set of the run (its
held-out fold, say) for validation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from joulebit.train.hooks import Hook, Run
from joulebit.train.network import Batch, StepResult

MEASURED = ("train", "test")


@dataclass(frozen=True)
class StopCriteria:
    """`[training.stop]` of a configuration; several may be given, the first that is met ends the run."""

    accuracy: float = 0.0  #: percent to be reached; 0 = off
    accuracy_of: str = "train"  #: train: of an epoch's samples while they were trained on; test: of an evaluation
    patience: int = 0  #: evaluations in a row without a better test accuracy than the best before; 0 = off
    energy_j: float = 0.0  #: budget in joules; 0 = off

    def __post_init__(self) -> None:
        if not 0 <= self.accuracy <= 100:
            raise ValueError(f"accuracy must be in [0, 100] percent, got {self.accuracy}")
        if self.accuracy_of not in MEASURED:
            raise ValueError(f"accuracy_of must be one of {', '.join(MEASURED)}, got {self.accuracy_of!r}")
        if self.patience < 0:
            raise ValueError(f"patience must be at least 0, got {self.patience}")
        if not self.energy_j >= 0:
            raise ValueError(f"energy_j must be at least 0, got {self.energy_j}")

    @property
    def on(self) -> bool:
        return bool(self.accuracy or self.patience or self.energy_j)


NEVER = StopCriteria()


class StopHook(Hook):
    """Ends a run by `StopCriteria`.

    Args:
        criteria: which.
        measured_j: joules that the machine has drawn since this process began the run, for the energy budget;
            None: simulated joules. What earlier processes of the run drew is kept in its checkpoints. Of several
            workers the first one's counts.
    """

    name = "stop"

    def __init__(self, criteria: StopCriteria, measured_j: Callable[[], float] | None = None) -> None:
        self._criteria = criteria
        self._measured_j = measured_j
        self._measured_before = 0.0  # by earlier processes
        self._correct = self._samples = 0  # of the epoch that is going on
        self._train_accuracy = -1.0  # percent, of the last whole epoch
        self._best = self._test_accuracy = -1.0
        self._waited = 0
        self._ended = {"reason": "", "energy_j": 0.0}

    def begin_epoch(self, run: Run, epoch: int) -> None:
        self._correct = self._samples = 0

    def after_step(self, run: Run, batch: Batch, result: StepResult) -> None:
        self._correct += result.correct
        self._samples += len(batch.labels) if batch.whole is None else batch.whole

    def evaluated(self, run: Run, top1: float, top5: float) -> None:
        self._test_accuracy = top1
        self._waited = 0 if top1 > self._best else self._waited + 1
        self._best = max(self._best, top1)

    def stop(self, run: Run) -> str:
        criteria = self._criteria
        if run.step % run.epoch_steps == 0 and self._samples:
            self._train_accuracy = 100.0 * self._correct / self._samples
        energy_j = self._spent(run) if criteria.energy_j else 0.0
        reached = self._train_accuracy if criteria.accuracy_of == "train" else self._test_accuracy
        why = ""
        if criteria.energy_j and energy_j >= criteria.energy_j:
            why = "energy"
        elif criteria.accuracy and reached >= criteria.accuracy:
            why = "accuracy"
        elif criteria.patience and self._waited >= criteria.patience:
            why = "patience"
        self._ended = {"reason": why, "energy_j": energy_j}
        return why

    def _spent(self, run: Run) -> float:
        if self._measured_j is None:
            return run.energy_j()
        return float(run.workers.broadcast(self._measured_before + self._measured_j()))

    def state(self) -> dict[str, NDArray[Any]]:
        measured = self._measured_before + (self._measured_j() if self._measured_j else 0.0)
        return {
            "counts": np.array([self._correct, self._samples, self._waited], np.int64),
            "numbers": np.array([self._train_accuracy, self._test_accuracy, self._best, measured], np.float64),
        }

    def load_state(self, run: Run, state: Mapping[str, NDArray[Any]]) -> None:
        if state:
            self._correct, self._samples, self._waited = (int(count) for count in state["counts"])
            self._train_accuracy, self._test_accuracy, self._best, self._measured_before = map(
                float, state["numbers"]
            )

    def summary(self) -> Mapping[str, Any]:
        """reason: energy, accuracy, patience, or empty when the run went on to its last step; with an energy
        budget energy_j, what was compared with it (measured: whether it came from a meter)."""
        found: dict[str, Any] = {"reason": self._ended["reason"]}
        if self._criteria.energy_j:
            found |= {"energy_j": self._ended["energy_j"], "measured": self._measured_j is not None}
        return found
