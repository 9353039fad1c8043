"""Distillation in a run: finds or remembers the teacher, and asks it about every batch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import attrs
import numpy as np
from numpy.typing import NDArray

from joulebit.energy.counters import Counters, counted_as
from joulebit.experiments.arrays import read_arrays
from joulebit.experiments.assembly import build_network, described_model
from joulebit.experiments.config import ConfigError, RunConfig, load_config
from joulebit.experiments.method_schema import DistillationConfig
from joulebit.experiments.rundir import CHECKPOINTS, CONFIG, read_weights
from joulebit.nn.graph import NetworkPlan, plan
from joulebit.techniques.distillation import SELF, Distillation
from joulebit.train.adaptable import Adaptable
from joulebit.train.hooks import Hook, Run
from joulebit.train.network import Batch
from joulebit.train.weights import weights_sha256

_WORK = ("macs", "ops", "bytes")


class DistillationHook(Hook):
    """`Distillation` (`joulebit.techniques.distillation`) in a run.

    A trained teacher is read at the beginning; a resumed run checks that it is the same. A self-teacher is copied
    from the network and lies in the checkpoints.
    """

    name = "distillation"

    def __init__(self, config: RunConfig) -> None:
        settings = config.method.distillation
        self._config = config
        self._policy = Distillation(settings.temperature, settings.weight, settings.snapshots)
        self._source = settings.teacher
        self._teacher: Adaptable | None = None
        self._generation = 0  # of a self-teacher; 0: none yet
        self._expected: str | None = None  # SHA-256 of the teacher's weights when the run began

    # --- the teacher -----------------------------------------------------------------------------------------

    def begin(self, run: Run) -> None:
        if self._source == SELF:
            return
        self._teacher = _trained(self._source, self._config, run)
        found = weights_sha256(self._teacher.weights())
        if self._expected not in (None, found):
            raise ConfigError(
                f"[method.distillation] teacher {self._source} has other weights than when the run began "
                f"({found[:12]}, then {str(self._expected)[:12]}): bring them back, or begin a new run"
            )
        self._expected = found
        self._prepare(run, costs=run.step == 0)

    def _prepare(self, run: Run, costs: bool) -> None:
        """Batch norm's statistics of the teacher; costs: this is the first time that they are taken."""
        assert self._teacher is not None
        self._teacher.prepare_evaluation(run.statistics_images, costs=True)
        self._count(run if costs else None)

    def _count(self, run: Run | None) -> None:
        """What the teacher did since the last call, into the run's counters; None forgets it."""
        assert self._teacher is not None
        counters = self._teacher.counters
        if run is not None:
            work = {key: value for key, value in counters.items() if key.partition(".")[0] in _WORK}
            with counted_as(run.network.counters, "teacher"):
                run.network.counters.merge(Counters(work))
        counters.load({})

    def _remember(self, run: Run, state: dict[str, NDArray[Any]]) -> None:
        self._teacher = _untrained(self._config, self._config, run, run.network.plan)
        self._teacher.load_state(state)

    # --- every step ------------------------------------------------------------------------------------------

    def before_step(self, run: Run, batch: Batch) -> Batch:
        if self._source == SELF:
            generation = self._policy.generation(run.step, run.total_steps)
            if generation > self._generation:
                self._generation = generation
                self._remember(run, run.network.state())
                self._prepare(run, costs=True)
        if self._teacher is None:
            return batch
        whole = len(batch.labels) if batch.whole is None else batch.whole
        logits, exponent = self._teacher.answers(batch.images, whole)
        self._count(run)
        return batch._replace(lesson=self._policy.lesson(logits, exponent))

    # --- state -----------------------------------------------------------------------------------------------

    def state(self) -> dict[str, NDArray[Any]]:
        if self._source != SELF:
            return {"sha256": np.frombuffer(bytes.fromhex(self._expected or ""), np.uint8)}
        found: dict[str, NDArray[Any]] = {"generation": np.array(self._generation, np.int64)}
        if self._teacher is not None:
            found |= {f"teacher/{name}": value for name, value in self._teacher.state().items()}
        return found

    def load_state(self, run: Run, state: Mapping[str, NDArray[Any]]) -> None:
        if "sha256" in state:
            self._expected = state["sha256"].tobytes().hex()
        self._generation = int(state.get("generation", 0))
        teacher = {name[8:]: value for name, value in state.items() if name.startswith("teacher/")}
        if teacher:
            self._remember(run, teacher)
            self._prepare(run, costs=False)


def _untrained(teacher: RunConfig, student: RunConfig, run: Run, resolved: NetworkPlan) -> Adaptable:
    """A network for the teacher, computed as the student's is."""
    training = attrs.evolve(teacher.training, initial_weights="", layers="all")
    method = attrs.evolve(teacher.method, distillation=DistillationConfig())
    config = attrs.evolve(teacher, engine=student.engine, training=training, method=method)
    return cast(Adaptable, build_network(config, resolved, run.workers))


def _trained(source: str, student: RunConfig, run: Run) -> Adaptable:
    """The finished run in a directory, as a network: its final weights, its ranges from its last checkpoint."""
    where = f"[method.distillation] teacher {source}"
    folder = Path(source).expanduser()
    folder = folder.parent if folder.is_file() else folder
    if not (folder / CONFIG).is_file():
        raise ConfigError(f"{where}: name the directory of a finished run; {folder / CONFIG} is no file")
    config = load_config(folder / CONFIG)
    if config.engine == "float32" and student.engine != "float32":
        raise ConfigError(f"{where} was trained by engine float32: choose a run of an integer engine")
    data = run.data
    try:
        resolved = plan(described_model(config, data.classes), data.image_shape)
        network = _untrained(config, student, run, resolved)
        if student.engine != "float32":
            _load_ranges(network, folder, where)
        network.load_weights(read_weights(folder))
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from None
    return network


def _load_ranges(network: Adaptable, folder: Path, where: str) -> None:
    """The ranges of a trained network's activations, from its last checkpoint."""
    checkpoints = sorted((folder / CHECKPOINTS).glob("step-*.npz"))
    if not checkpoints:
        raise ConfigError(f"{where} has no checkpoint, which holds the ranges of its activations")
    arrays = read_arrays(checkpoints[-1])[0]
    state = network.state()
    for name in state:
        if name.endswith(".exponents") and f"network/{name}" in arrays:
            state[name] = arrays[f"network/{name}"]
    network.load_state(state)
