"""The tables of the neuron selection paper beside what this tool computes.

Kinds of rows:

    counted       parameters of the networks and schemes described here (`joulebit.nn.models`)
    analytic      the networks' budgets: the schemes' shares of MobileNetV2, of the other networks' weights
    simulated     one step of the scheme on 224 x 224 images at batch 1: multiply-accumulates, bytes and joules
    run, not-run  an accuracy of a real run of the preset named in the row, or that none was given; of the rows
                  "at a smaller size", means over the runs of the suite neuron-finetuning that were given

    joulebit compare --suite neuron-finetuning
    joulebit paper neuron-selection $(printf -- '--run %s ' runs/suite-neuron-finetuning/*)

What it shows: the paper's budgets are one below the weights that the sparse updates train (192,312 and 464,640),
and the third is 300 below (675,840): its shares of the ResNets come from 192,312, 464,640 and 675,540. What the
tables call velocity is velocity per parameter: the released code divides before it ranks. That code multiplies a
depthwise kernel by all input channels: 960 times too much in MobileNetV2's widest layers.

Source: A. Quelennec et al., "Towards On-device Learning on the Edge: Ways to Select Neurons to Update under a
Budget Constraint", WACV 2024 workshops, Tables 1 and 2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from statistics import fmean
from typing import Any

import numpy as np

from joulebit.energy.accounting import Accountant
from joulebit.energy.counters import Counters
from joulebit.energy.neuron_budget import Costs, count_backward
from joulebit.energy.table import load_table
from joulebit.experiments.papers.rows import Row, paper_row
from joulebit.fixed.arithmetic import Arithmetic
from joulebit.nn.graph import NetworkPlan, plan
from joulebit.nn.models import model
from joulebit.nn.trained import gradient_flow
from joulebit.techniques.neuron_selection import SCHEMES
from joulebit.techniques.neurons import Neurons

TOTALS = {"mobilenetv2": 2_189_760, "resnet18": 11_166_912, "resnet50": 23_454_912}
BUDGETS = {
    "mobilenetv2": (192_311, 464_639, 675_540),
    "resnet18": (980_715, 2_369_480, 3_444_987),
    "resnet50": (2_059_888, 4_976_842, 7_235_830),
}
SHARES = (8.8, 21.2, 30.8)  # percent of MobileNetV2's weights
#: Top-1 on CIFAR-10 in percent: Table 1 (first epoch by sparse update), and Table 2 (first epoch random).
TABLE_1: Mapping[str, tuple[float, ...]] = {
    "sparse": (95.13, 95.30, 95.16),
    "velocity": (95.25, 95.36, 95.49),
    "random": (94.41, 94.61, 94.57),
}
TABLE_2: Mapping[str, Mapping[str, tuple[float, ...]]] = {
    "mobilenetv2": {"velocity": (95.35, 95.49, 95.57), "random": (94.46, 94.51, 94.57), "all": (95.93,)},
    "resnet18": {"velocity": (95.51, 95.36, 95.58), "random": (95.20, 95.68, 95.80), "all": (96.2,)},
    "resnet50": {"velocity": (97.10, 97.12, 97.07), "random": (96.80, 96.97, 97.01), "all": (97.30,)},
}
_PAPER = "Neuron selection"
_NAMES = {"mobilenetv2": "MobileNetV2", "resnet18": "ResNet-18", "resnet50": "ResNet-50"}


def rows(runs: Sequence[Mapping[str, Any]] = ()) -> list[Row]:
    """All rows; runs are summaries of real runs, found by the names of their presets."""
    return [*_parameter_rows(), *_scheme_rows(), *_accuracy_rows(runs), *_smaller_rows(runs)]


def _network(name: str) -> NetworkPlan:
    return plan(model(f"{name}-imagenet", 1000), (224, 224, 3))


def _parameter_rows() -> list[Row]:
    found, totals = [], {}
    for name, printed in TOTALS.items():
        totals[name] = sum(prod(conv.weight_shape) for conv in _network(name).convs())
        what = "weights without batch norm and classifier"
        found.append(paper_row(_PAPER, "2", _NAMES[name], what, printed, totals[name], "counted"))
    exact = _exact_budgets()
    for printed, computed, share in zip(BUDGETS["mobilenetv2"], exact, SHARES):
        row = f"MobileNetV2, sparse update of {printed:,}"
        found.append(paper_row(_PAPER, "1", row, "weights trained", printed, computed, "counted"))
        percent = 100 * computed / totals["mobilenetv2"]
        found.append(paper_row(_PAPER, "1", row, "of the network", share, percent, "counted"))
    for name in ("resnet18", "resnet50"):
        used = (exact[0], exact[1], BUDGETS["mobilenetv2"][2])
        for printed, budget in zip(BUDGETS[name], used):
            computed = totals[name] * budget // totals["mobilenetv2"]
            row = f"{_NAMES[name]}, the share of {budget:,} in MobileNetV2"
            found.append(paper_row(_PAPER, "2", row, "weights", printed, computed, "analytic"))
    return found


def _exact_budgets() -> list[int]:
    network = _network("mobilenetv2")
    neurons = Neurons.of(network)
    return [int(neurons.parameters[scheme.selection(network, neurons)[0]].sum()) for scheme in SCHEMES.values()]


def _scheme_rows() -> list[Row]:
    """What the sparse updates save of a step: the paper shows operations saved as a figure only."""
    network, arithmetic = _network("mobilenetv2"), Arithmetic()
    neurons = Neurons.of(network)
    costs = Costs(network, neurons, arithmetic, 1, load_table("45nm"))
    every = neurons.selection(neurons.mask(np.arange(len(neurons))))
    found = []
    for name, scheme in [("all neurons", None), *SCHEMES.items()]:
        selection = every if scheme is None else neurons.selection(*scheme.selection(network, neurons))
        counters = Counters()
        accountant = Accountant(counters, arithmetic)
        flow = gradient_flow(network, selection)
        for conv in network.convs():
            count_backward(accountant, conv, selection[conv.name], flow, 1)
        done = counters.total("macs.input_gradient.") + counters.total("macs.weight_gradient.")
        stem = next(network.convs()).macs
        forward = network.macs - network.head.macs
        saved = 100 * (1 - (forward + done) / (3 * forward - stem))
        row = "MobileNetV2, all neurons" if scheme is None else f"MobileNetV2, scheme {name}"
        for quantity, value in (
            ("operations saved, convolutions", saved),
            ("training memory, MB", costs.memory_bytes(selection) / 1e6),
            ("backward pass and update, mJ", costs.backward_aj(selection) / 1e15),
        ):
            found.append(paper_row(_PAPER, "Figure 5", row, quantity, None, value, "simulated"))
    return found


def _accuracy_rows(runs: Sequence[Mapping[str, Any]]) -> list[Row]:
    measured = {run["name"]: run["top1"] for run in runs}
    found = []

    def add(table: str, preset: str, printed: float) -> None:
        kind = "run" if preset in measured else "not-run"
        found.append(paper_row(_PAPER, table, preset, "top-1", printed, measured.get(preset), kind))

    for method, figures in TABLE_1.items():
        for budget, printed in zip(BUDGETS["mobilenetv2"], figures):
            suffix = "" if method == "sparse" else "-sparse-first"
            add("1", f"neurons-mobilenetv2-cifar10-{method}-{budget}{suffix}", printed)
    for name, methods in TABLE_2.items():
        for method, figures in methods.items():
            for budget, printed in zip(BUDGETS[name], figures):
                add("2", f"neurons-{name}-cifar10-{method}" + ("" if method == "all" else f"-{budget}"), printed)
    return found


def _smaller_rows(runs: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Selections under the paper's shares of the weights, fine-tuned at a size that fits an hour."""
    found: list[Row] = []

    def add(row: str, quantity: str, printed: float | None, computed: float | None) -> None:
        if computed is not None:
            found.append(paper_row(_PAPER, "2", row, quantity, printed, computed, "run"))

    for position, share in enumerate(SHARES):
        row = f"at a smaller size, {share} % of the weights"
        top1 = {method: _tuned(runs, method, share, "top1") for method in _TUNED}
        printed = {name: TABLE_2["mobilenetv2"][name][position] for name in ("velocity", "random")}
        for method, name in _TUNED.items():
            add(row, f"{name}, top-1", printed.get(_PRINTED.get(method, "")), top1[method])
        ours, other = top1["velocity_per_parameter"], top1["random"]
        ahead = None if ours is None or other is None else ours - other
        add(row, "velocity per parameter above random, points", printed["velocity"] - printed["random"], ahead)
        for method, name in _TUNED.items():
            saved = _tuned(runs, method, share, "flops_saved")
            add(row, f"{name}, operations saved", None, None if saved is None else 100 * saved)
    return found


_TUNED = {"velocity_per_parameter": "velocity per parameter", "velocity": "velocity", "random": "random"}
_PRINTED = {"velocity_per_parameter": "velocity", "random": "random"}  # rows of the paper's tables


def _tuned(runs: Sequence[Mapping[str, Any]], method: str, share: float, figure: str) -> float | None:
    """Mean of a figure over the seeds of a selection; None where there is no run."""
    known = []
    for run in runs:
        selection = run.get("neuron_selection")
        if run["name"] != "mnist-finetuning" or not selection or not run["method"].endswith(f"neurons-{method}"):
            continue
        trained = 100 * selection["parameters"] / selection["all_parameters"]
        if min(SHARES, key=lambda known_share: abs(known_share - trained)) == share:
            known.append(float(run[figure] if figure in run else selection[figure]))
    return fmean(known) if known else None
