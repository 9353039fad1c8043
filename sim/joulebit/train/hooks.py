"""What a technique may do in the training loop, beside what lies inside the network.

The loop of `joulebit.experiments.run.Trainer` calls every hook of a run at these places::

    begin(run)                      once per process, after a checkpoint was restored
    for each epoch:
        begin_epoch(run, epoch)         before its first step; a resumed run does not call it a second time
        for each step of the epoch:
            batch = choose(run, batch)      which of the samples on offer are trained now, perhaps none
            before_step(run, batch)         images are there; may return another batch of the same samples
            after_step(run, batch, result)  the weights have moved
            evaluated(run, top1, top5)      where the test set was evaluated after this step
            why = stop(run)                 a text ends the run after this step
    finish(run)                     after the last step, before the last evaluation

A step whose batch is empty, or which SMD drops, has no `before_step` and no `after_step`. Hooks are called in the
order of the list. A hook may replace `run.network` by another one that takes over its counters. What it does
beside training costs energy as well: it adds that to `run.network.counters`. Its own state (random numbers need
none: they are counter-based, see `joulebit.fixed.philox`) goes through `state` and `load_state` into checkpoints,
under hook/<name>/. Of several workers every one calls the same hooks with the same samples, and all must decide
alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from joulebit.data import Dataset
from joulebit.nn.workers import Workers
from joulebit.train.network import Batch, Network, StepResult

Int64Array = NDArray[np.int64]


class Run(Protocol):
    """A training run as its hooks see it."""

    network: Network  #: may be replaced
    data: Dataset
    workers: Workers
    step: int  #: steps done, dropped ones included
    epoch_steps: int  #: steps of an epoch
    total_steps: int  #: steps of the whole run
    batch_size: int

    @property
    def seed(self) -> int:
        """Of everything that is random."""
        ...

    @property
    def run_path(self) -> Path | None:
        """The run's folder (of worker 0 alone)."""
        ...

    @property
    def statistics_images(self) -> NDArray[np.uint8]:
        """The fixed list of training images from which evaluation takes batch norm's statistics."""
        ...

    def energy_j(self) -> float:
        """Simulated joules so far."""
        ...


class Hook:
    """Takes part in the training loop. Everything here does nothing; a technique overrides what it needs."""

    name = ""  #: of its arrays in checkpoints; one word

    def begin(self, run: Run) -> None:
        """Before the first step of this process, with the state of the checkpoint, if there was one."""

    def begin_epoch(self, run: Run, epoch: int) -> None:
        """Before the first step of epoch `epoch` (from 0)."""

    def choose(self, run: Run, batch: Int64Array) -> Int64Array:
        """The positions in the training set (of all workers together) that are trained in this step.

        batch: what the step offers: a batch of the epoch's permutation, or what an earlier hook made of it.
        """
        return batch

    def before_step(self, run: Run, batch: Batch) -> Batch:
        """The batch (this worker's part) as it is to be trained."""
        return batch

    def after_step(self, run: Run, batch: Batch, result: StepResult) -> None:
        """A step was trained; `run.step` does not count it yet."""

    def evaluated(self, run: Run, top1: float, top5: float) -> None:
        """The test set was evaluated (percent) between two steps; the last evaluation of a run is not told."""

    def stop(self, run: Run) -> str:
        """Why the run ends after the steps done, or an empty text."""
        return ""

    def finish(self, run: Run) -> None:
        """Before the last evaluation."""

    def state(self) -> dict[str, NDArray[Any]]:
        """What a resumed run needs, as arrays."""
        return {}

    def load_state(self, run: Run, state: Mapping[str, NDArray[Any]]) -> None:
        """The reverse of `state`; empty where the checkpoint has none of this hook.

        Called before the network's own state is loaded: a hook that replaces networks puts the right one here.
        """

    def metrics(self) -> Mapping[str, Any]:
        """Figures for the next line of training metrics (under "<name>"); empty for none."""
        return {}

    def summary(self) -> Mapping[str, Any]:
        """Figures for the run's summary (under "<name>"); empty for none."""
        return {}
