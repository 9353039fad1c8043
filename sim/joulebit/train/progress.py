"""What a run tells its audience while it goes on."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Receives news of a run; nothing in the run depends on it.

    start(total_steps, done)
      update(step, ...)        once per step, dropped batches included
      evaluation(step, ...)    each time the test set was evaluated
    finish()                   always, also after an error
    """

    def start(self, total_steps: int, done: int) -> None:
        """A run of total_steps begins, or goes on after `done` of them."""
        ...

    def update(self, step: int, loss: float, accuracy: float, energy_j: float) -> None:
        """`step` steps are done: this batch's loss in nats, its share of right answers in 0..1, and the
        simulated joules of the run so far. A dropped batch repeats the last loss and accuracy.
        """
        ...

    def evaluation(self, step: int, top1: float, top5: float) -> None:
        """Accuracy on the test set after `step` steps, in percent."""
        ...

    def finish(self) -> None:
        """No more news."""
        ...


class SilentProgress:
    """Tells nobody."""

    def start(self, total_steps: int, done: int) -> None:
        pass

    def update(self, step: int, loss: float, accuracy: float, energy_j: float) -> None:
        pass

    def evaluation(self, step: int, top1: float, top5: float) -> None:
        pass

    def finish(self) -> None:
        pass
