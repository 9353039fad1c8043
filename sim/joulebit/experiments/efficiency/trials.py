"""What a training run tells about efficiency: its accuracy, its joules, and both over epochs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from joulebit.experiments.config import RunConfig
from joulebit.experiments.efficiency.formulas import EfficiencyError
from joulebit.experiments.results import Result, load_result, method_title

EPOCHS, ACCURACY, PATIENCE, ENERGY = CRITERIA = ("epochs", "accuracy", "patience", "energy")
LONGER = "longer"  #: as many epochs again: for overtraining alone, no part of the means


@dataclass(frozen=True)
class Point:
    """After one evaluation: epochs done, accuracy on the test set (share of 1), joules so far."""

    epoch: float
    accuracy: float
    energy_j: float


@dataclass(frozen=True)
class Trial:
    """One finished run in its place among the others."""

    task: str
    architecture: str
    size: str
    criterion: str  #: one of CRITERIA, or LONGER
    fold: int  #: 1 where there are no folds
    accuracy: float  #: on the test set at the end, share of 1
    energy_j: float
    epochs: float | None  #: None: not known (a measured cell alone)
    measured: bool  #: energy_j comes from a meter; simulated otherwise
    train_accuracy: float | None  #: of the last epoch's samples while they were trained on, share of 1
    met: bool  #: the criterion was met; False: the run ended at its greatest length
    curve: tuple[Point, ...]  #: empty where energy_j is measured: a meter's joules are those of the whole run
    seed: int = 0

    @property
    def model(self) -> tuple[str, str, str]:
        """Task, architecture and size."""
        return self.task, self.architecture, self.size


def criterion_of(config: RunConfig) -> str:
    """Which of CRITERIA ends a run; EfficiencyError where several could."""
    stop = config.training.stop
    given = [
        name for name, on in ((ACCURACY, stop.accuracy), (PATIENCE, stop.patience), (ENERGY, stop.energy_j)) if on
    ]
    if len(given) > 1:
        raise EfficiencyError(
            f"run {config.name} may end by {' or '.join(given)}: an efficiency needs runs with one criterion each"
        )
    return given[0] if given else EPOCHS


def architecture_and_size(config: RunConfig) -> tuple[str, str]:
    """Method and family of a run's network, and its model: ("Bayesian lenet5", "lenet5x2")."""
    name = config.model.name
    family = re.sub(r"(?<=\d)x\d+$", "", name.rpartition(":")[2])
    family = re.sub(r"^(resnet)\d+$", r"\1", family)
    return f"{method_title(config)}, {family}", name


def trial(path: Path, place: Mapping[str, str | int] | None = None) -> Trial:
    """The trial of a finished run directory.

    place: task, architecture, size, criterion and fold, where they are known better than from the configuration.

    Raises:
        EfficiencyError: the run is not finished, was never evaluated, or may end by several criteria.
    """
    result = load_result(path)
    if not result.finished or result.top1 is None:
        raise EfficiencyError(f"{path} is {result.state}: an efficiency needs a finished run")
    config = result.config
    architecture, size = architecture_and_size(config)
    found = Trial(
        task=config.data.name,
        architecture=architecture,
        size=size,
        criterion=criterion_of(config),
        fold=config.data.split.fold,
        accuracy=result.top1 / 100,
        energy_j=result.energy_j,
        epochs=result.epoch,
        measured=False,
        train_accuracy=_train_accuracy(result),
        seed=config.seed,
        met=bool((result.summary or {}).get("stopped")) or criterion_of(config) == EPOCHS,
        curve=_curve(result),
    )
    return replace(found, **place) if place else found  # type: ignore[arg-type]


def _curve(result: Result) -> tuple[Point, ...]:
    points = {
        float(line["epoch"]): Point(float(line["epoch"]), float(line["top1"]) / 100, float(line["energy_j"]))
        for line in result.evaluations
    }
    return tuple(points[epoch] for epoch in sorted(points) if epoch > 0)


def _train_accuracy(result: Result) -> float | None:
    known = [line["train_top1"] for line in result.evaluations if line.get("train_top1") is not None]
    return known[-1] / 100 if known else None


def with_longer(found: Sequence[Trial]) -> list[Trial]:
    """The same trials; where a model has runs by epochs of two lengths, those of the longer one are LONGER.

    Raises:
        EfficiencyError: more than two lengths.
    """
    lengths: dict[tuple[str, str, str], set[float]] = {}
    for one in found:
        if one.criterion == EPOCHS and one.epochs is not None:
            lengths.setdefault(one.model, set()).add(one.epochs)
    for model, values in lengths.items():
        if len(values) > 2:
            raise EfficiencyError(
                f"{', '.join(model)} was trained for {', '.join(f'{v:g}' for v in sorted(values))} epochs: "
                "an efficiency needs one length, and an analysis of overtraining a second one"
            )
    return [
        replace(one, criterion=LONGER)
        if one.criterion == EPOCHS and one.epochs is not None and one.epochs > min(lengths[one.model])
        else one
        for one in found
    ]
