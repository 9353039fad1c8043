"""The printed lines of E2-Train's Tables 2 to 4, with the schedule of each, and which real runs they match.

Source: Wang et al., "E2-Train", NeurIPS 2019, sections 4.2 to 4.5. Printed numbers are percentages.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from joulebit.energy.widths import Widths
from joulebit.experiments.papers.e2train_savings import savings_from_counters
from joulebit.experiments.papers.e2train_schedule import Schedule
from joulebit.nn.graph import NetworkPlan, plan
from joulebit.nn.models import model
from joulebit.techniques.smd import StochasticMinibatchDropping

PREDICTED_SHARE = Fraction(3, 5)  #: of the signs are predicted: "at least 60 %", section 4.4
STATED_SKIPS = (0.0, 0.2, 0.4, 0.6)
E2TRAIN_METHODS = ("psg+smd", "psg+smd+slu")  #: of E2-Train runs, without and with selective layer update


@dataclass(frozen=True)
class Accuracy:
    """One printed accuracy, in percent; beta 0 = the method has no threshold."""

    printed: float
    quantity: str = "top1"
    beta: float = 0.0


@dataclass(frozen=True)
class Case:
    """One printed line: a method on a network and a data set."""

    table: str
    method: str  #: sgd, fixed, sign, psg, sd or e2train
    network: str
    dataset: str
    skip: float = 0.0
    computational: float | None = None  #: printed savings in percent
    energy: float | None = None
    accuracies: tuple[Accuracy, ...] = ()

    @property
    def label(self) -> str:
        text = f"{METHODS[self.method]}, {_NETWORKS[self.network]}, {_DATASETS[self.dataset]}"
        return f"{text}, skip {round(100 * self.skip)} %" if self.method in {"sd", "e2train"} else text

    def plan(self) -> NetworkPlan:
        """The network for 32x32 images of the data set."""
        return plan(model(self.network, 100 if self.dataset == "cifar100" else 10), (32, 32, 3))

    def schedule(self, seed: int = 0) -> Schedule:
        """The paper's schedule of this line."""
        if self.method == "sgd":
            return Schedule(arithmetic=None, seed=seed)
        if self.method == "sd":
            return Schedule(arithmetic=None, policy="sd", skip=self.skip, seed=seed)
        if self.method == "fixed":
            return Schedule(arithmetic=FIXED_8_WITH_32_BIT_GRADIENTS, seed=seed)
        if self.method == "sign":
            return Schedule(seed=seed)
        if self.method == "psg":
            return Schedule(predicted=PREDICTED_SHARE, seed=seed)
        policy = "slu" if self.skip else ""
        smd = StochasticMinibatchDropping()
        return Schedule(smd=smd, policy=policy, skip=self.skip, predicted=PREDICTED_SHARE, seed=seed)

    def matches(self, run: Mapping[str, Any]) -> bool:
        """Whether a run is this line: the same network, data set and method."""
        if (run.get("model"), run.get("dataset")) != (self.network, self.dataset):
            return False
        method, float32 = run.get("method"), run.get("engine") == "float32"
        if self.method == "e2train":
            return method in E2TRAIN_METHODS and stated_skip(run) == self.skip
        known = {"sgd": ("sgd", True), "fixed": ("sgd", False), "sd": ("sgd+sd", float32)}
        return (method, float32) == known.get(self.method, (self.method, float32))


#: The 8-bit training of Table 2 as the paper describes it: 8-bit activations and weights, 32-bit gradients.
FIXED_8_WITH_32_BIT_GRADIENTS = Widths(x=8, w=8, g=32, input_gradient=32, z=16, accumulator=48)

METHODS = {
    "sgd": "SGD, float32",
    "fixed": "8-bit fixed point",
    "sign": "SignSGD",
    "psg": "PSG",
    "sd": "stochastic depth",
    "e2train": "E2-Train",
}
_NETWORKS = {"resnet74": "ResNet-74", "resnet110": "ResNet-110", "mobilenetv2": "MobileNetV2"}
_DATASETS = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100"}


def _top(top1: float, top5: float | None = None) -> tuple[Accuracy, ...]:
    return (Accuracy(top1),) if top5 is None else (Accuracy(top1), Accuracy(top5, "top5"))


CASES = (
    Case("2", "sgd", "resnet74", "cifar10", accuracies=_top(93.52)),
    Case("2", "fixed", "resnet74", "cifar10", energy=38.62, accuracies=_top(93.24)),
    Case("2", "sign", "resnet74", "cifar10", accuracies=_top(92.54)),
    Case("2", "psg", "resnet74", "cifar10", energy=63.28, accuracies=_top(92.59)),
    *(
        Case(
            "3",
            "e2train",
            "resnet74",
            "cifar10",
            skip,
            computational,
            energy,
            (Accuracy(low, beta=0.05), Accuracy(high, beta=0.1)),
        )
        for skip, computational, energy, low, high in (
            (0.2, 80.27, 84.64, 92.12, 92.15),
            (0.4, 85.20, 88.72, 91.84, 91.72),
            (0.6, 90.13, 92.81, 91.36, 90.94),
        )
    ),
    Case("4", "sgd", "resnet110", "cifar10", accuracies=_top(93.57)),
    Case("4", "sd", "resnet110", "cifar10", 0.5, 50.0, 46.03, _top(91.51)),
    Case("4", "sgd", "mobilenetv2", "cifar10", accuracies=_top(92.47)),
    Case("4", "e2train", "resnet110", "cifar10", 0.2, 80.27, 83.40, _top(93.01)),
    Case("4", "e2train", "resnet110", "cifar10", 0.4, 85.20, 87.42, _top(91.74)),
    Case("4", "e2train", "resnet110", "cifar10", 0.6, 90.13, 91.34, _top(91.68)),
    Case("4", "e2train", "mobilenetv2", "cifar10", 0.0, 75.34, 88.73, _top(92.06)),
    Case("4", "sgd", "resnet110", "cifar100", accuracies=_top(71.60, 91.50)),
    Case("4", "sd", "resnet110", "cifar100", 0.5, 50.0, 48.34, _top(70.40, 92.58)),
    Case("4", "sgd", "mobilenetv2", "cifar100", accuracies=_top(71.91)),
    Case("4", "e2train", "resnet110", "cifar100", 0.2, 80.27, 84.17, _top(71.63, 91.72)),
    Case("4", "e2train", "resnet110", "cifar100", 0.4, 85.20, 88.72, _top(68.61, 89.84)),
    Case("4", "e2train", "resnet110", "cifar100", 0.6, 90.13, 92.90, _top(67.94, 89.06)),
    Case("4", "e2train", "mobilenetv2", "cifar100", 0.0, 75.34, 88.17, _top(71.61)),
)


def stated_skip(run: Mapping[str, Any]) -> float | None:
    """The paper's skip ratio that a run was meant to have: its target_skip, or the nearest to what its counters
    say, within 0.07; None when there is none."""
    target = run.get("target_skip")
    if target is None:
        target = 1 - savings_from_counters(counters_of(run))["layer_share"]
    nearest = min(STATED_SKIPS, key=lambda skip: abs(skip - target))
    return nearest if abs(nearest - target) <= 0.07 else None


def counters_of(run: Mapping[str, Any]) -> Mapping[str, int]:
    """The counters of a run's summary; ValueError where it has none."""
    counters = run.get("counters")
    if not isinstance(counters, Mapping):
        raise ValueError(f"the summary of run {run_name(run)} has no counters: got {counters!r}")
    return counters


def run_name(run: Mapping[str, Any]) -> str:
    """Network and data set of a run, and its directory's name when it has one."""
    text = f"{run.get('model', '?')} on {run.get('dataset', '?')}"
    return f"{Path(run['run_dir']).name} ({text})" if run.get("run_dir") else text
