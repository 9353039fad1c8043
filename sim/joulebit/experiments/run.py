"""One training run from its configuration to its summary: the only training loop of the package."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import joulebit
from joulebit.data import (
    Augmentation,
    augment,
    batches_per_epoch,
    epoch_batches,
    step_position,
)
from joulebit.energy.counters import Counters
from joulebit.energy.model import EnergyReport, simulate_energy
from joulebit.energy.steps import training_step
from joulebit.energy.table import EnergyTable, load_table
from joulebit.errors import Interrupted, JoulebitError
from joulebit.experiments.assembly import build_network, described_model, prepared_data
from joulebit.experiments.config import ConfigError, RunConfig, config_hash
from joulebit.experiments.evaluation import accuracy
from joulebit.experiments.hooks import build_hooks
from joulebit.experiments.rundir import RunDirectory, spec_sha256
from joulebit.experiments.stopping import stop_requested
from joulebit.nn.graph import plan
from joulebit.nn.workers import OneWorker, Workers, part_of
from joulebit.techniques.schedule import Schedule
from joulebit.techniques.smd import StochasticMinibatchDropping
from joulebit.techniques.swa import StochasticWeightAveraging
from joulebit.train.distributed import WorkerLostError
from joulebit.train.network import Batch, Network
from joulebit.train.progress import Progress, SilentProgress
from joulebit.train.weights import weights_sha256

_LOG_LINES = 200  # about so many lines of training metrics per run
_SWA_MOMENTS = 20  # at least so many moments are averaged, where the run has them


def run_training(
    config: RunConfig,
    run_dir: RunDirectory | None,
    resume: bool = False,
    data_dir: Path | None = None,
    progress: Progress | None = None,
    workers: Workers | None = None,
    measured_j: Callable[[], float] | None = None,
) -> dict[str, Any]:
    """Train as configured, or go on from the last checkpoint; returns the summary of the contract.

    Of several workers each calls this; worker 0 alone has a run directory and gets a summary. measured_j: joules
    that a meter saw since the call, for an energy budget (`joulebit.train.stop`); None: simulated joules.

    Raises:
        Interrupted: after SIGINT or SIGTERM to any worker, once the checkpoint is written.
        WorkerLostError: another worker died or does not answer.
        ConfigError, DataError: what was asked for does not fit together or is not there.
    """
    trainer = Trainer(config, run_dir, data_dir, workers, measured_j)
    if resume:
        trainer.restore()
    trainer.check_agreement("before the first step")
    progress = progress or SilentProgress()
    progress.start(trainer.total_steps, trainer.step)
    try:
        with stop_requested() as requested:
            trainer.train(progress, requested)
        return trainer.finish(progress)
    except WorkerLostError as lost:
        raise WorkerLostError(f"{lost} (after step {trainer.step}); the last checkpoint is whole") from lost
    finally:
        progress.finish()


@dataclass
class _Interval:
    """Sums since the last line of training metrics."""

    loss: float = 0.0
    correct: int = 0
    samples: int = 0
    layers: dict[str, dict[str, float]] = field(default_factory=dict)

    def add(self, loss: float, correct: int, samples: int, details: Mapping[str, Mapping[str, float]]) -> None:
        self.loss += loss * samples
        self.correct += correct
        self.samples += samples
        for layer, values in details.items():
            entry = self.layers.setdefault(layer, {})
            for name, value in values.items():
                entry[name] = entry.get(name, 0) + value


class Trainer:
    """The state of one run between two steps; of several workers, worker 0 alone has a run directory."""

    def __init__(
        self,
        config: RunConfig,
        run_dir: RunDirectory | None,
        data_dir: Path | None = None,
        workers: Workers | None = None,
        measured_j: Callable[[], float] | None = None,
    ) -> None:
        self.config = config
        self.workers: Workers = workers or OneWorker()
        self.run_dir = run_dir
        self.data = prepared_data(config, data_dir)
        self.plan = plan(described_model(config, self.data.classes), self.data.image_shape)
        training = config.training
        count = len(self.data.train)
        if count < 1:
            raise ConfigError(f"data {config.data.name} has no training images")
        self.batch_size = min(training.batch_size, count)
        self.epoch_steps = batches_per_epoch(count, self.batch_size)
        self.total_steps = config.total_steps(self.epoch_steps)
        self.network: Network = build_network(config, self.plan, self.workers, len(self.data.train))
        self.table: EnergyTable = load_table(config.energy.table)
        self.step = 0
        self._schedule = Schedule(
            training.schedule,
            training.drops,
            training.drop_factor,
            training.final_factor,
            training.warmup_iterations,
        )
        smd = config.method.smd
        self._dropping = StochasticMinibatchDropping(smd.probability, smd.energy_ratio)
        self._averaging = StochasticWeightAveraging()
        self._interval = _Interval()
        self._trained = [0, 0]  # right answers and samples since the last evaluation
        self._last: tuple[float, float] = (float("nan"), 0.0)  # loss and accuracy of the last batch, to show
        self._epoch_order: tuple[int, list[NDArray[np.int64]]] = (-1, [])
        self._augmentation = Augmentation(config.data.mirror, config.data.shift)
        self.hooks = build_hooks(config, self.plan, measured_j)
        self.stopped = ""  #: why the run ended before its last step

    # --- what hooks see (`joulebit.train.hooks.Run`) -------------------------------------------------------

    @property
    def seed(self) -> int:
        return self.config.seed

    @property
    def run_path(self) -> Path | None:
        return self.run_dir.path if self.run_dir else None

    @property
    def statistics_images(self) -> NDArray[np.uint8]:
        return self.data.train.images[: self.config.training.statistics_samples]

    def energy_j(self) -> float:
        return self._energy().total_j

    # --- the loop ------------------------------------------------------------------------------------

    def train(self, progress: Progress, requested: Callable[[], int]) -> None:
        """All remaining steps; raises Interrupted once a checkpoint is written after a request to stop."""
        training = self.config.training
        log_every = max(1, self.total_steps // _LOG_LINES)
        checkpoint_every = training.checkpoint_every or max(self.epoch_steps, 50)
        evaluate_every = round(training.evaluate_every_epochs * self.epoch_steps)
        for hook in self.hooks:
            hook.begin(self)
        while self.step < self.total_steps and not self.stopped:
            self._one_step()
            self.step += 1
            end = self.step == self.total_steps
            self._average()
            evaluated = bool(evaluate_every) and self.step % evaluate_every == 0 and not end
            if evaluated or end or self.step % log_every == 0:
                self._log()
            if evaluated:
                accuracies = self._evaluate(progress)
                for hook in self.hooks:
                    hook.evaluated(self, *accuracies)
            self.stopped = next((why for hook in self.hooks if (why := hook.stop(self))), "")
            last = end or bool(self.stopped)
            progress.update(self.step, *self._last, self._energy().total_j)
            stop = self._any_requested(requested())
            if stop or last or self.step % checkpoint_every == 0:
                self._save()
            if stop and not last:
                raise Interrupted(stop, self.step)

    def _one_step(self) -> None:
        training = self.config.training
        epoch, number = step_position(self.step, len(self.data.train), self.batch_size)
        if number == 0:
            for hook in self.hooks:
                hook.begin_epoch(self, epoch)
        samples = self._batch(epoch, number)
        for hook in self.hooks:
            samples = hook.choose(self, samples)
        if not len(samples):
            return
        if not self._dropping.keeps(self.config.seed, self.step):
            self.network.skip_batch(len(samples))
            return
        batch = self._loaded(samples, epoch)
        for hook in self.hooks:
            batch = hook.before_step(self, batch)
        result = self.network.train_step(
            batch,
            self._schedule.rate(training.learning_rate, self.step, self.total_steps),
            self._schedule.rate(training.sign_learning_rate, self.step, self.total_steps),
        )
        for hook in self.hooks:
            hook.after_step(self, batch, result)
        self._interval.add(result.loss, result.correct, len(samples), result.details)
        self._last = (result.loss, result.correct / len(samples))
        self._trained = [self._trained[0] + result.correct, self._trained[1] + len(samples)]

    def _loaded(self, samples: NDArray[np.int64], epoch: int) -> Batch:
        """This worker's part of a batch, augmented."""
        chosen = samples[part_of(len(samples), self.workers)]
        images = self.data.train.images[chosen]
        if self._augmentation.mirror or self._augmentation.shift:
            images = augment(images, chosen, self.config.seed, epoch, self._augmentation)
        return Batch(images, self.data.train.labels[chosen], chosen, self.step, len(samples))

    def _batch(self, epoch: int, number: int) -> NDArray[np.int64]:
        if self._epoch_order[0] != epoch:
            order = list(epoch_batches(len(self.data.train), self.batch_size, self.config.seed, epoch))
            self._epoch_order = (epoch, order)
        return self._epoch_order[1][number]

    def _average(self) -> None:
        method = self.config.method
        start = round(method.swa_start * self.total_steps)
        every = max(1, min(self.epoch_steps, (self.total_steps - start) // _SWA_MOMENTS))
        if method.swa and self.step > start and (self.total_steps - self.step) % every == 0:
            self._averaging.add(self.network.weights())

    # --- metrics and evaluation ----------------------------------------------------------------------

    def _energy(self) -> EnergyReport:
        return simulate_energy(self.network.counters, self.table)

    def _log(self) -> None:
        interval = self._interval
        if not interval.samples:
            return
        training = self.config.training
        done = self.step - 1
        self._append(
            {
                "kind": "train",
                "step": self.step,
                "epoch": self.step / self.epoch_steps,
                "loss": interval.loss / interval.samples,
                "accuracy": interval.correct / interval.samples,
                "learning_rate": self._schedule.rate(training.learning_rate, done, self.total_steps),
                "sign_learning_rate": self._schedule.rate(training.sign_learning_rate, done, self.total_steps),
                "energy_j": self._energy().total_j,
                "layers": {layer: dict(sorted(values.items())) for layer, values in interval.layers.items()},
                "counters": self.network.counters.as_dict(),
                **{hook.name: found for hook in self.hooks if (found := hook.metrics())},
            }
        )
        self._interval = _Interval()

    def _evaluate(self, progress: Progress) -> tuple[float, float]:
        """(top-1, top-5) in percent on the test set, with the present weights.

        The line of metrics also has train_top1: of the samples trained on since the last evaluation, the
        percentage that was right at that moment; None where there was none.
        """
        self.network.prepare_evaluation(self.statistics_images)
        top1, top5 = accuracy(self.network, self.data.test)
        self._append(
            {
                "kind": "evaluation",
                "step": self.step,
                "epoch": self.step / self.epoch_steps,
                "top1": top1,
                "top5": top5,
                "train_top1": None if (share := _ratio(*self._trained)) is None else 100 * share,
                "energy_j": self._energy().total_j,
            }
        )
        self._trained = [0, 0]
        progress.evaluation(self.step, top1, top5)
        return top1, top5

    def _append(self, record: Mapping[str, Any]) -> None:
        if self.run_dir is not None:
            self.run_dir.append_metrics(record)

    # --- workers -------------------------------------------------------------------------------------

    def _any_requested(self, signal_number: int) -> int:
        """The signal that this or another worker received, or 0: all stop after the same step."""
        if self.workers.size == 1:
            return signal_number
        return int(self.workers.gather(np.array([signal_number], np.int64)).max())

    def check_agreement(self, when: str) -> None:
        """JoulebitError where the workers do not train the same weights on the same data by the same rules."""
        if self.workers.size == 1:
            return
        train = self.data.train
        facts = {
            "versions of joulebit": f"{joulebit.__version__} {spec_sha256()}",
            "configurations": config_hash(self.config),
            "data": f"{train.images.shape} {hashlib.sha256(train.labels.tobytes()).hexdigest()}",
            "weights": weights_sha256(self.network.weights()),
        }
        digests = [hashlib.sha256(fact.encode()).digest()[:8] for fact in facts.values()]
        every = self.workers.gather(np.array([int.from_bytes(d, "big", signed=True) for d in digests], np.int64))
        for name, own in zip(facts, every.T):
            if (own != own[0]).any():
                other = int(np.flatnonzero(own != own[0])[0])
                raise JoulebitError(
                    f"workers 0 and {other} have different {name} {when}: they cannot train one run"
                )

    # --- checkpoints ---------------------------------------------------------------------------------

    def _save(self) -> None:
        self._log()
        self.check_agreement(f"after step {self.step}")
        if self.run_dir is not None:
            self._write_checkpoint(self.run_dir)
        self.workers.broadcast(None)  # nobody goes on, or says that all is saved, before it is

    def _write_checkpoint(self, run_dir: RunDirectory) -> None:
        arrays = {f"network/{name}": value for name, value in self.network.state().items()}
        if self._averaging.count:
            arrays.update({f"average/{name}": value for name, value in self._averaging.state().items()})
        for hook in self.hooks:
            arrays.update({f"hook/{hook.name}/{name}": value for name, value in hook.state().items()})
        meta = {
            "counters": self.network.counters.as_dict(),
            "model": repr(self.plan.model),
            "stopped": self.stopped,
            "trained": self._trained,
        }
        run_dir.save_checkpoint(self.step, arrays, meta)

    def restore(self) -> None:
        """Go back to the last checkpoint, if there is one."""
        checkpoint = self.workers.broadcast(self.run_dir.load_latest_checkpoint() if self.run_dir else None)
        if checkpoint is None:
            return
        if checkpoint.meta["model"] != repr(self.plan.model):
            raise ConfigError(
                f"model {self.config.model.name} is not described as it was when the run "
                "began: restore its file, or begin a new run"
            )
        self.step = checkpoint.step
        for hook in self.hooks:
            hook.load_state(self, _part(checkpoint.arrays, f"hook/{hook.name}/"))
        self.network.load_state(_part(checkpoint.arrays, "network/"))
        if averages := _part(checkpoint.arrays, "average/"):
            self._averaging.load_state(averages)
        self.network.counters.load(checkpoint.meta["counters"])
        self.stopped = str(checkpoint.meta.get("stopped", ""))
        self._trained = list(checkpoint.meta.get("trained", [0, 0]))

    # --- the end -------------------------------------------------------------------------------------

    def finish(self, progress: Progress) -> dict[str, Any]:
        """Average, evaluate, and write weights and summary (worker 0 alone; the others return nothing)."""
        for hook in self.hooks:
            hook.finish(self)
        if self._averaging.count:
            self.network.load_weights(self._averaging.average())
        top1, top5 = self._evaluate(progress)
        if self.run_dir is None:
            return {}
        weights = self.network.weights()
        self.run_dir.write_weights(weights)
        summary = {"run_dir": str(self.run_dir.path), **self._summary(top1, top5, weights_sha256(weights))}
        self.run_dir.write_summary(summary)
        return summary

    def _summary(self, top1: float, top5: float, sha256: str) -> dict[str, Any]:
        config, counters = self.config, self.network.counters
        energy = self._energy()
        standard = config.training.iterations or round(config.training.epochs * self.epoch_steps)
        baseline = self._float32_baseline(standard)
        return {
            "name": config.name,
            "config_hash": config_hash(config),
            "engine": config.engine,
            "dataset": config.data.name,
            "model": config.model.name,
            "method": config.method.label(),
            "seed": config.seed,
            "steps": self.step,
            "baseline_steps": standard,
            "target_skip": config.method.slu.target_skip,
            "beta": config.method.beta,
            "epochs": self.step / self.epoch_steps,
            "top1": top1,
            "top5": top5,
            "weights_sha256": sha256,
            "counters": counters.as_dict(),
            "energy_simulated_j": {
                **energy.as_dict(),
                "table": self.table.name,
            },
            "float32_energy_j": baseline.total_j,
            "saving_vs_float32": energy.saving_against(baseline),
            "predictor_share": _ratio(counters["predictor.decided"], counters["predictor.total"]),
            "predictor_error": _ratio(counters["predictor.wrong"], counters["predictor.decided"])
            if "predictor.wrong" in counters.as_dict()
            else None,
            "skip_ratio": skip_ratio(counters),
            "batch_share": _ratio(
                counters["batches.seen"], counters["batches.seen"] + counters["batches.dropped"]
            ),
            **({"stopped": self.stopped} if self.stopped else {}),
            **{hook.name: found for hook in self.hooks if (found := hook.summary())},
        }

    def _float32_baseline(self, steps: int) -> EnergyReport:
        """What float32 SGD would have cost: so many standard iterations, the last batch of each epoch as it is."""
        rest = len(self.data.train) % self.batch_size or self.batch_size
        short = steps // self.epoch_steps
        counters = training_step(self.plan, self.batch_size, None).times(steps - short)
        counters.merge(training_step(self.plan, rest, None).times(short))
        return simulate_energy(counters, self.table)


def skip_ratio(counters: Counters) -> float:
    """Share of the forward computation that closed blocks left out (SLU or stochastic depth)."""
    skipped = counters["skipped.forward.slu"] + counters["skipped.forward.sd"]
    return _ratio(skipped, skipped + counters.total("macs.forward.")) or 0.0


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _part(arrays: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    return {name[len(prefix) :]: value for name, value in arrays.items() if name.startswith(prefix)}
