"""The tables of E2-Train beside what this tool computes.

The paper's computational savings obey

    saving = 1 - (share of batches computed) * (share of layer computation done) * 0.37

with 2/3 of the batches (SMD at the energy ratio 0.67), 1 - skip of the layers, and 0.37 = 1 - 0.63: the energy
that PSG leaves by the paper's own measurement (Table 2). Here both shares come out of counters, of real runs or
of the paper's whole schedule with its decisions drawn and nothing computed, and only 0.37 is taken from the
paper. Beside it stands what the counters and an energy table give for the same run. Each row says which it is
(`kind`):

    analytic                                         the relation with the stated shares
    counters                                         the relation with the counters of a real run
    counters (decisions only, no arithmetic)         the same, of the schedule alone
    simulated                                        counters of a real run times an energy table
    simulated (decisions only, no arithmetic)        the same, of the schedule alone
    paper-input                                      measured by the paper, used as it is
    run                                              an accuracy that a real run reached
    not-run                                          needs a real run that was not given

Source: Wang et al., "E2-Train", NeurIPS 2019, sections 4.2 to 4.6, Tables 2 to 4. Printed numbers are percentages.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from joulebit.energy.accounting import Accountant
from joulebit.energy.counters import Counters
from joulebit.energy.model import float32_energy, simulate_energy
from joulebit.energy.steps import block_step, trunk_step
from joulebit.energy.table import EnergyTable, load_table
from joulebit.energy.widths import Widths
from joulebit.experiments.papers.rows import Row, paper_row
from joulebit.fixed.arithmetic import Arithmetic
from joulebit.fixed.philox import Purpose, bernoulli, probability_q32
from joulebit.nn.graph import NetworkPlan, plan
from joulebit.nn.models import model
from joulebit.techniques.gate import GateNetwork
from joulebit.techniques.smd import StochasticMinibatchDropping
from joulebit.techniques.stochastic_depth import StochasticDepth

PSG_ENERGY_SHARE = 0.37  #: of PSG to float32: 1 - 63 %, Table 2, measured by the paper
BASELINE_STEPS = 64_000  #: iterations of the standard run, section 4.1
BATCH_SIZE = 128  #: He et al., CVPR 2016, section 4.2, whose settings the paper takes
PREDICTED_SHARE = Fraction(3, 5)  #: of the signs are predicted: "at least 60 %", section 4.4
STATED_SKIPS = (0.0, 0.2, 0.4, 0.6)
DECISIONS = "(decisions only, no arithmetic)"

_SLU_METHODS = ("psg+smd", "psg+smd+slu")


# -- the relation -------------------------------------------------------------------------------------------------


def analytic_saving(batch_share: float, layer_share: float, energy_share: float = PSG_ENERGY_SHARE) -> float:
    """1 - batches * layers * energy share: the relation behind the paper's computational savings."""
    return 1 - batch_share * layer_share * energy_share


def savings_from_counters(
    counters: Counters | Mapping[str, int],
    reference_batches: int | None = None,
    energy_share: float = PSG_ENERGY_SHARE,
) -> dict[str, float]:
    """The shares that counters give, and the saving that follows.

    Args:
        counters: of a run, or of a schedule.
        reference_batches: batches of the standard run that this one replaces. SMD at the energy ratio 2/3 runs
            4/3 as long and drops half: it computes 1/2 of its own batches but 2/3 of these. None = its own.
        energy_share: what the arithmetic leaves of an iteration's energy; 1 for a method without PSG.

    Returns:
        batch_share: batches computed / reference_batches.
        layer_share: forward multiply-accumulates done / (done + those of blocks that were not entered).
        analytic_saving: 1 - batch_share * layer_share * energy_share.

    Raises:
        ValueError: the counters hold no batch or no forward pass.
    """
    values = Counters(dict(counters.items()))
    seen = values["batches.seen"]
    reference = seen + values["batches.dropped"] if reference_batches is None else reference_batches
    done = values.total("macs.forward.")
    if reference < 1 or done < 1:
        raise ValueError(
            f"shares need counters of a run: got {seen} batches of {reference}, "
            f"{done} forward multiply-accumulates"
        )
    closed = values["skipped.forward.slu"] + values["skipped.forward.sd"]
    batch_share, layer_share = seen / reference, done / (done + closed)
    return {
        "batch_share": batch_share,
        "layer_share": layer_share,
        "analytic_saving": analytic_saving(batch_share, layer_share, energy_share),
    }


# -- a schedule without arithmetic --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Schedule:
    """A training run as far as its counters depend on it.

    skip is the share of the network's layer computation to leave out; "slu" draws every block but the first with
    one probability, once per mini-batch, where a trained gate would look at the input; "sd" draws as stochastic
    depth does. Of the predicted share, the same is taken in every layer.
    """

    baseline_steps: int = BASELINE_STEPS
    batch_size: int = BATCH_SIZE
    smd: StochasticMinibatchDropping | None = None
    policy: str = ""  #: slu, sd or empty
    skip: float = 0.0
    predicted: Fraction | None = None  #: share of signs that the predictor decides
    arithmetic: Arithmetic | Widths | None = field(default_factory=Arithmetic)  #: None = float32
    seed: int = 0

    def __post_init__(self) -> None:
        if self.policy not in {"", "slu", "sd"}:
            raise ValueError(f"policy must be slu, sd or empty, got {self.policy!r}")
        if not 0 <= self.skip < 1 or bool(self.skip) != bool(self.policy):
            raise ValueError(f"skip must be in (0, 1) with a policy and 0 without, got {self.skip}")

    @property
    def steps(self) -> int:
        """Iterations, dropped ones included."""
        return self.smd.total_iterations(self.baseline_steps) if self.smd else self.baseline_steps


def count_decisions(network: NetworkPlan, schedule: Schedule) -> Counters:
    """The counters of a whole run: its decisions are drawn, one by one, and its work is counted but not done.

    The draws are those of a real run of this seed for SMD and stochastic depth. Raises ValueError when the blocks
    that may be closed hold less computation than is to be skipped.
    """
    samples, widths = schedule.batch_size, schedule.arithmetic
    kept = _kept_steps(schedule)
    blocks = list(network.blocks())
    gated = [block for block in blocks if block.index > 0] if schedule.policy == "slu" else []
    gates = GateNetwork({block.index: block.in_shape[2] for block in gated}, 0) if gated else None
    counters = Counters()
    counters.merge(
        trunk_step(network, samples, widths, schedule.predicted, gates.macs if gates else None).times(len(kept))
    )
    if gates:
        Accountant(counters, widths).update(len(kept) * int(gates.parameters.master.size))
    for block, opened in zip(blocks, _open_counts(network, schedule, kept)):
        closed = len(kept) - opened
        counters.merge(block_step(block, samples, widths, schedule.predicted).times(opened))
        if closed:
            counters.merge(block_step(block, samples, widths, closed=schedule.policy).times(closed))
    dropped = Counters()
    Accountant(dropped, widths).skip_batch(network, samples)
    for key, value in dropped.items():
        if schedule.steps > len(kept):
            counters.add(key, value * (schedule.steps - len(kept)))
    return counters


def _kept_steps(schedule: Schedule) -> NDArray[np.int64]:
    """The iterations whose batch is computed."""
    steps = np.arange(schedule.steps, dtype=np.int64)
    if schedule.smd is None:
        return steps
    dropped = bernoulli(schedule.seed, Purpose.BATCH_DROP, steps, 0, 0, probability_q32(schedule.smd.probability))
    return steps[~dropped]


def _open_counts(network: NetworkPlan, schedule: Schedule, kept: NDArray[np.int64]) -> list[int]:
    """For each block, in how many of the kept iterations it is open."""
    blocks = list(network.blocks())
    if not schedule.policy:
        return [len(kept)] * len(blocks)
    closable = blocks[1:] if schedule.policy == "slu" else blocks
    available = sum(block.macs for block in closable)
    share = schedule.skip * network.macs / available if available else 1.0
    if share >= 1:
        raise ValueError(
            f"{network.model.name}: the blocks that may be closed hold {available / network.macs:.3f} of the "
            f"computation, {schedule.skip} of it is to be skipped"
        )
    if schedule.policy == "sd":
        return _open_by_depth(schedule.seed, share, len(blocks), kept)
    opened = 1 - bernoulli(
        schedule.seed,
        Purpose.GATE,
        kept[:, None],
        np.array([block.index for block in closable])[None, :],
        0,
        probability_q32(share),
    )
    return [len(kept), *(int(count) for count in opened.sum(0))]


def _open_by_depth(seed: int, share: float, blocks: int, kept: NDArray[np.int64]) -> list[int]:
    depth = StochasticDepth.skipping(share, blocks)
    survival = np.array([depth.survival_q16(i, blocks) << 16 for i in range(blocks)], np.int64)
    opened = bernoulli(
        seed, Purpose.STOCHASTIC_DEPTH, kept[:, None], 0, np.arange(blocks)[None, :], survival[None, :]
    )
    return [int(count) for count in opened.sum(0)]


# -- the tables ---------------------------------------------------------------------------------------------------


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
        text = f"{_METHODS[self.method]}, {_NETWORKS[self.network]}, {_DATASETS[self.dataset]}"
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
            return method in _SLU_METHODS and stated_skip(run) == self.skip
        known = {"sgd": ("sgd", True), "fixed": ("sgd", False), "sd": ("sgd+sd", float32)}
        return (method, float32) == known.get(self.method, (self.method, float32))


#: The 8-bit training of Table 2 as the paper describes it: 8-bit activations and weights, 32-bit gradients.
FIXED_8_WITH_32_BIT_GRADIENTS = Widths(x=8, w=8, g=32, input_gradient=32, z=16, accumulator=48)

_METHODS = {
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
        target = 1 - savings_from_counters(_counters_of(run))["layer_share"]
    nearest = min(STATED_SKIPS, key=lambda skip: abs(skip - target))
    return nearest if abs(nearest - target) <= 0.07 else None


def e2train_rows(
    runs: Iterable[Mapping[str, Any]] | None = None, table: str | EnergyTable = "45nm", seed: int = 0
) -> list[Row]:
    """Tables 2 to 4 of the paper, each printed number beside what this tool computes.

    Args:
        runs: summaries of real runs, as `joulebit train --json` prints them: model, dataset, method, engine,
            counters and, for PSG with SMD, baseline_steps (batches of the standard run that this one replaces);
            optional run_dir, target_skip, beta, top1, top5 (percent) and saving_vs_float32. Runs of
            PSG with SMD, on any network, are set beside the printed savings at their skip ratio; accuracies only
            where network and data set are the printed ones.
        table: an energy table or its name.
        seed: of the drawn decisions.

    Returns:
        Rows with the keys paper, table, row, quantity, printed, computed, kind; percentages unless the quantity
        says otherwise, None where there is nothing.

    Raises:
        ValueError: a summary lacks its counters, or its baseline_steps.
    """
    energies = table if isinstance(table, EnergyTable) else load_table(table)
    given = list(runs or ())
    for run in given:
        _counters_of(run)
    found: list[Row] = [
        _row("2", _METHODS["psg"], "energy left by PSG (share)", PSG_ENERGY_SHARE, PSG_ENERGY_SHARE, "paper-input")
    ]
    for case in CASES:
        found.extend(_case_rows(case, energies, seed))
        found.extend(_accuracy_rows(case, given))
        for run in given:
            if _compares(case, run):
                found.extend(_run_rows(case, run))
    return found


def rows(runs: Sequence[Mapping[str, Any]] = ()) -> list[Row]:
    """`e2train_rows` with the default energy table: what `joulebit paper e2-train` shows."""
    return e2train_rows(runs)


def _row(table: str, row: str, quantity: str, printed: float | None, computed: float | None, kind: str) -> Row:
    return paper_row("E2-Train", table, row, quantity, printed, computed, kind)


def _case_rows(case: Case, table: EnergyTable, seed: int) -> list[Row]:
    """What shapes and drawn decisions give for one printed line."""
    rows = []
    if case.method == "sgd" or (case.computational is None and case.energy is None):
        return []
    counters = Counters(_case_counters(case.method, case.network, case.dataset, case.skip, seed))
    network = case.plan()
    if case.computational is not None:
        psg = case.method == "e2train"
        energy_share, stated_batches = (PSG_ENERGY_SHARE, 2 / 3) if psg else (1.0, 1.0)
        stated = analytic_saving(stated_batches, 1 - case.skip, energy_share)
        found = savings_from_counters(counters, BASELINE_STEPS, energy_share)
        kind = f"counters {DECISIONS}"
        quantity = "computational savings"
        rows = [
            _row(case.table, case.label, quantity, case.computational, 100 * stated, "analytic"),
            _row(case.table, case.label, quantity, case.computational, 100 * found["analytic_saving"], kind),
            _row(
                case.table,
                case.label,
                "batches computed",
                67.0 if psg else None,
                100 * found["batch_share"],
                kind,
            ),
            _row(
                case.table,
                case.label,
                "layer computation done",
                100 - 100 * case.skip,
                100 * found["layer_share"],
                kind,
            ),
        ]
    report = simulate_energy(counters, table)
    reference = float32_energy(network, BATCH_SIZE, BASELINE_STEPS, table)
    kind = f"simulated {DECISIONS}"
    arithmetic = 1 - report.by_component["mac"] / reference.by_component["mac"]
    return [
        *rows,
        _row(case.table, case.label, "energy savings", case.energy, 100 * report.saving_against(reference), kind),
        _row(case.table, case.label, "energy savings of the arithmetic alone", None, 100 * arithmetic, kind),
    ]


@lru_cache(maxsize=64)
def _case_counters(method: str, network: str, dataset: str, skip: float, seed: int) -> Mapping[str, int]:
    case = Case("", method, network, dataset, skip)
    return count_decisions(case.plan(), case.schedule(seed)).as_dict()


def _accuracy_rows(case: Case, runs: Sequence[Mapping[str, Any]]) -> list[Row]:
    rows = []
    for accuracy in case.accuracies:
        quantity = f"{accuracy.quantity[:3]}-{accuracy.quantity[3:]} accuracy"
        if accuracy.beta:
            quantity += f" (beta {accuracy.beta})"
        found = [
            run
            for run in runs
            if case.matches(run)
            and run.get(accuracy.quantity) is not None
            and (not accuracy.beta or run.get("beta", 0.05) == accuracy.beta)
        ]
        if not found:
            rows.append(_row(case.table, case.label, quantity, accuracy.printed, None, "not-run"))
        for run in found:
            label = f"{case.label}; run {_name(run)}"
            value = float(run[accuracy.quantity])
            rows.append(_row(case.table, label, quantity, accuracy.printed, value, "run"))
    return rows


def _compares(case: Case, run: Mapping[str, Any]) -> bool:
    """Whether a run's shares stand beside this line: its own, or else the first one of its skip ratio."""
    if case.method != "e2train" or run.get("method") not in _SLU_METHODS or stated_skip(run) != case.skip:
        return False
    if any(other.matches(run) for other in CASES):
        return case.matches(run)
    return case == next(c for c in CASES if c.method == "e2train" and c.skip == case.skip)


def _run_rows(case: Case, run: Mapping[str, Any]) -> list[Row]:
    """What a real run's counters give beside the printed line of its skip ratio."""
    if not run.get("baseline_steps"):
        raise ValueError(
            f"the summary of run {_name(run)} lacks baseline_steps: the batches of the standard run it replaces"
        )
    found = savings_from_counters(_counters_of(run), int(run["baseline_steps"]))
    label = f"{case.label}; run {_name(run)}"
    rows = [
        _row(
            case.table,
            label,
            "computational savings",
            case.computational,
            100 * found["analytic_saving"],
            "counters",
        ),
        _row(case.table, label, "batches computed", 67.0, 100 * found["batch_share"], "counters"),
        _row(
            case.table,
            label,
            "layer computation done",
            100 - 100 * case.skip,
            100 * found["layer_share"],
            "counters",
        ),
    ]
    if run.get("saving_vs_float32") is not None:
        saving = 100 * float(run["saving_vs_float32"])
        rows.append(_row(case.table, label, "energy savings", case.energy, saving, "simulated"))
    return rows


def _counters_of(run: Mapping[str, Any]) -> Mapping[str, int]:
    counters = run.get("counters")
    if not isinstance(counters, Mapping):
        raise ValueError(f"the summary of run {_name(run)} has no counters: got {counters!r}")
    return counters


def _name(run: Mapping[str, Any]) -> str:
    """Network and data set of a run, and its directory's name when it has one."""
    text = f"{run.get('model', '?')} on {run.get('dataset', '?')}"
    return f"{Path(run['run_dir']).name} ({text})" if run.get("run_dir") else text
