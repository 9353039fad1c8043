"""Small training runs for the tests of techniques: every engine, after an interruption, shared among workers.

A run is a preset with overrides, shrunk to a few steps on a few digits. `outcome` is what must not depend on who
computes it or in how many sessions: the weights, the counters and the metrics.
"""

from __future__ import annotations

import json
import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np

from joulebit.errors import Interrupted
from joulebit.experiments.config import RunConfig, load_config
from joulebit.experiments.run import Trainer, run_training
from joulebit.experiments.rundir import RunDirectory
from joulebit.train.progress import SilentProgress
from joulebit.train.weights import weights_sha256

SMALL = (
    "data.name=digits",
    "data.train_limit=60",
    "data.test_limit=20",
    "training.iterations=6",
    "training.batch_size=12",
    "training.statistics_samples=24",
    "training.evaluate_every_epochs=0",
    "training.checkpoint_every=2",
)
#: Techniques that another one must combine with: overrides by name.
PARTNERS = {
    "smd": ("method.smd.probability=0.4",),
    "slu": ("method.slu.target_skip=0.3",),
    "psg": ('method.update="psg"', "training.sign_learning_rate=0.0078125", "training.sign_momentum=0.0"),
}


def small(preset: str, *overrides: str, engine: str = "numba") -> RunConfig:
    """The preset's run in six steps on 60 digits of 8 x 8 pixels."""
    return load_config(preset, [*SMALL, f"engine={engine}", *overrides])


def outcome(config: RunConfig, folder: Path, stop_after: int = 0) -> dict[str, Any]:
    """Weights, counters, accuracy, energy and metrics of a run; stop_after: interrupted there, then resumed."""
    run = RunDirectory.create(folder, config)
    with run:
        if stop_after:
            try:
                run_training(config, run, progress=_Stop(stop_after))
            except Interrupted:
                pass
            else:
                raise AssertionError(f"the run was over before step {stop_after}")
        else:
            summary = run_training(config, run)
    if stop_after:
        with RunDirectory.open_for_resume(folder, config) as again:
            summary = run_training(config, again, resume=True)
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    kept = ("weights_sha256", "counters", "top1", "top5", "energy_simulated_j", "steps")
    return {key: summary[key] for key in kept} | {"evaluations": [m for m in metrics if m["kind"] == "evaluation"]}


class _Stop(SilentProgress):
    """Asks to stop after a step, as Ctrl-C does."""

    def __init__(self, step: int) -> None:
        self._step = step

    def update(self, step: int, loss: float, accuracy: float, energy_j: float) -> None:
        if step == self._step - 1:  # the request is seen after the next step
            signal.raise_signal(signal.SIGINT)


class ThreadWorker:
    """`joulebit.nn.workers.Workers` of one process: threads that meet at a barrier."""

    threads = 1

    def __init__(self, rank: int, slots: list[Any], barrier: threading.Barrier) -> None:
        self.rank, self.size = rank, len(slots)
        self._slots, self._barrier = slots, barrier

    def _exchange(self, value: Any) -> list[Any]:
        self._slots[self.rank] = value
        self._barrier.wait(60)
        found = list(self._slots)
        self._barrier.wait(60)
        return found

    def gather(self, values: Any) -> Any:
        return np.stack(self._exchange(values.copy()))

    def sum(self, values: Any) -> Any:
        return np.stack(self._exchange(values.copy())).sum(0)

    def broadcast(self, value: Any) -> Any:
        return self._exchange(value)[0]


def shared(config: RunConfig, workers: int) -> list[tuple[str, dict[str, int]]]:
    """(SHA-256 of the weights, counters) of every one of so many workers after training together."""
    slots, barrier = [None] * workers, threading.Barrier(workers)
    results: list[Any] = [None] * workers
    errors: list[BaseException] = []

    def work(rank: int) -> None:
        try:
            trainer = Trainer(config, None, workers=ThreadWorker(rank, slots, barrier))
            trainer.train(SilentProgress(), lambda: 0)
            results[rank] = (weights_sha256(trainer.network.weights()), trainer.network.counters.as_dict())
        except BaseException as error:
            errors.append(error)
            barrier.abort()

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results


def alone(config: RunConfig) -> tuple[str, dict[str, int]]:
    """`shared` of a single process."""
    trainer = Trainer(config, None)
    trainer.train(SilentProgress(), lambda: 0)
    return weights_sha256(trainer.network.weights()), trainer.network.counters.as_dict()
