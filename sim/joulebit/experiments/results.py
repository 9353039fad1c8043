"""A run as it is read back from its directory, finished or not: what comparisons and reports show.

Everything is derived from plain files (config.toml, run.json, metrics.jsonl, summary.json); no lock is taken, so a
run that is still going on can be looked at.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from joulebit.energy.counters import Counters
from joulebit.energy.model import EnergyReport, simulate_energy
from joulebit.energy.table import EnergyTableError, load_table
from joulebit.errors import JoulebitError
from joulebit.experiments.config import RunConfig, config_hash, differences
from joulebit.experiments.rundir import CONFIG, METRICS, RUN, SUMMARY, read_config, read_metrics, read_summary

Record = dict[str, Any]

_NEEDED = {
    "train": ("step", "epoch", "loss", "accuracy", "energy_j", "layers", "counters"),
    "evaluation": ("step", "epoch", "top1", "top5", "energy_j"),
}
_SUMMARY_NEEDED = ("top1", "top5", "steps", "epochs", "weights_sha256", "counters", "energy_simulated_j")
_LEFT_OUT = ("slu", "sd", "frozen", "smd", "selection")  # reasons for which a run does without some products
_PASSES = ("forward", "input_gradient", "weight_gradient")
_SAME_ENERGY = 1e-6  # relative


class ResultError(JoulebitError):
    """A run cannot be shown. One line: which, why, what to do."""


@dataclass(frozen=True)
class Result:
    """One run: its configuration, its metrics so far and, once it is finished, its summary."""

    path: Path
    config: RunConfig
    start: Mapping[str, Any]  #: run.json: versions, hashes, where and when; empty when there is none
    train: Sequence[Record]  #: lines of training metrics
    evaluations: Sequence[Record]  #: lines of evaluations
    summary: Mapping[str, Any] | None  #: None: not finished
    config_hash: str = field(default="")

    # --- how far ---------------------------------------------------------------------------------------------

    @property
    def finished(self) -> bool:
        return self.summary is not None

    @cached_property
    def step(self) -> int:
        """Iterations done, as far as the files tell."""
        if self.summary:
            return int(self.summary["steps"])
        return max(int(record["step"]) for record in (*self.train, *self.evaluations))

    @cached_property
    def epoch_steps(self) -> int:
        """Batches per epoch; 0 when nothing tells."""
        known = [(self.summary["steps"], self.summary["epochs"])] if self.summary else []
        known += [(record["step"], record["epoch"]) for record in (*self.train, *self.evaluations)]
        return next((round(step / epoch) for step, epoch in known if epoch), 0)

    @property
    def total_steps(self) -> int:
        """Iterations of the whole run, dropped batches included."""
        return self.config.total_steps(self.epoch_steps)

    @property
    def standard_steps(self) -> int:
        """Iterations of the standard mini-batch run that this one stands for."""
        training = self.config.training
        return training.iterations or round(training.epochs * self.epoch_steps)

    @property
    def epoch(self) -> float:
        return self.step / self.epoch_steps if self.epoch_steps else 0.0

    # --- figures ---------------------------------------------------------------------------------------------

    @cached_property
    def counters(self) -> Counters:
        """All that was counted up to the last line."""
        if self.summary:
            return Counters(self.summary["counters"])
        return Counters(self.train[-1]["counters"] if self.train else {})

    @property
    def top1(self) -> float | None:
        """Percent of the test set, by the last evaluation."""
        return self._accuracy("top1")

    @property
    def top1_epoch(self) -> float:
        """When that was."""
        return float(self.evaluations[-1]["epoch"]) if self.evaluations and not self.summary else self.epoch

    @property
    def top5(self) -> float | None:
        return self._accuracy("top5")

    def _accuracy(self, name: str) -> float | None:
        source = self.summary or (self.evaluations[-1] if self.evaluations else {})
        value = source.get(name)
        return None if value is None else float(value)

    @property
    def energy_j(self) -> float:
        """Simulated joules of training up to the last line."""
        if self.summary:
            return float(self.summary["energy_simulated_j"]["total"])
        return max(float(record["energy_j"]) for record in (*self.train, *self.evaluations))

    @property
    def table(self) -> str:
        """Name of the energy table."""
        if self.summary:
            return str(self.summary["energy_simulated_j"].get("table", self.config.energy.table))
        return self.config.energy.table

    @cached_property
    def energy(self) -> EnergyReport | None:
        """Joules by phase and component, from the counters; None where the table now gives another total."""
        try:
            report = simulate_energy(self.counters, load_table(self.config.energy.table))
        except (EnergyTableError, ValueError):
            return None
        recorded = self.energy_j if self.summary or not self.train else float(self.train[-1]["energy_j"])
        same = abs(report.total_j - recorded) <= _SAME_ENERGY * max(report.total_j, recorded)
        return report if same else None

    @property
    def float32_energy_j(self) -> float | None:
        """Of the standard run in float32, by the same table; None while unfinished."""
        value = self.summary.get("float32_energy_j") if self.summary else None
        return None if value is None else float(value)

    @property
    def saving_vs_float32(self) -> float | None:
        value = self.summary.get("saving_vs_float32") if self.summary else None
        return None if value is None else float(value)

    @property
    def predictor_share(self) -> float | None:
        """Weight gradients whose sign was predicted, of all that the predictor met."""
        return _ratio(self.counters["predictor.decided"], self.counters["predictor.total"])

    @property
    def predictor_error(self) -> float | None:
        if "predictor.wrong" not in self.counters.as_dict():
            return None
        return _ratio(self.counters["predictor.wrong"], self.counters["predictor.decided"])

    @property
    def skip_ratio(self) -> float:
        """Share of the forward computation that closed blocks left out."""
        skipped = self.counters["skipped.forward.slu"] + self.counters["skipped.forward.sd"]
        return _ratio(skipped, skipped + self.counters.total("macs.forward.")) or 0.0

    @property
    def batch_share(self) -> float | None:
        """Batches computed, of all that were offered."""
        seen = self.counters["batches.seen"]
        return _ratio(seen, seen + self.counters["batches.dropped"])

    @property
    def sample_share(self) -> float | None:
        """Samples that data selection kept, of all that were offered; None where nothing was selected."""
        found = self.summary.get("data_selection") if self.summary else None
        return None if found is None else found["share"]

    @cached_property
    def macs_done(self) -> int:
        """Multiply-accumulates of the three passes that were needed; one whose sign was predicted counts once."""
        predicted = 0
        if self.config.method.update == "psg":
            arithmetic, cyclic = self.config.arithmetic, self.config.method.cyclic_precision
            x, g = arithmetic.x_msb_bits, arithmetic.g_msb_bits
            narrow = bool(cyclic.cycles)  # then the predictor's operands are never wider than what they come from
            x_low = min(x, cyclic.x_low) if narrow and cyclic.x_low else x
            g_low = min(g, cyclic.g_low) if narrow and cyclic.g_low else g
            predicted = sum(
                self.counters[f"macs.weight_gradient.{one}x{other}"]
                for one in range(x_low, x + 1)
                for other in range(g_low, g + 1)
            )
        done = sum(self.counters.total(f"macs.{phase}.") for phase in _PASSES)
        return done + self.counters["skipped.weight_gradient.psg"] - predicted

    def skipped(self, reason: str) -> int:
        """Multiply-accumulates not done for a reason, over all phases."""
        return sum(value for key, value in self.counters.items() if _is_skip(key, reason))

    @property
    def mac_saving(self) -> float | None:
        """1 - multiply-accumulates done / those of the standard run; narrower ones count as done.

        None also for a network that changes its shape on the way: its counters do not tell what is missing.
        """
        method = self.config.method
        reshaped = method.early_bird.ratio > 0 or method.growing.kind != "off"
        if reshaped or not (self.summary and self.macs_done and self.standard_steps):
            return None
        whole = self.macs_done + sum(self.skipped(reason) for reason in _LEFT_OUT)
        aside = ("macs.selection.", "macs.teacher.")  # done beside training
        spent = self.macs_done + sum(self.counters.total(key) for key in aside)
        return 1 - spent * self.step / (whole * self.standard_steps)

    # --- names -----------------------------------------------------------------------------------------------

    @property
    def method(self) -> str:
        """The method in words, as the paper calls it."""
        return method_title(self.config)

    @property
    def is_float32(self) -> bool:
        return self.config.engine == "float32"

    @property
    def is_standard(self) -> bool:
        """A plain mini-batch run of gradient descent: nothing dropped, skipped, predicted or shortened."""
        training = self.config.training
        plain = self.config.method.label() == "sgd" and training.layers == "all" and not training.initial_weights
        return plain and training.iteration_factor == 1

    @property
    def state(self) -> str:
        """`finished`, or how far it came."""
        if self.finished:
            return "finished"
        of = f" of {self.total_steps:,}" if self.epoch_steps else ""
        return f"unfinished: {self.step:,}{of} steps"


def load_results(runs: Sequence[Path | str]) -> list[Result]:
    """All runs; ResultError or RunDirectoryError for the first that cannot be shown."""
    if not runs:
        raise ResultError("no runs given: name at least one run directory")
    return [load_result(Path(run)) for run in runs]


def load_result(path: Path) -> Result:
    """One run directory.

    Raises:
        ResultError, RunDirectoryError, ConfigError: what is missing or damaged, in one line.
    """
    if not path.is_dir():
        what = "is a file" if path.exists() else "no such folder"
        raise ResultError(f"{path}: {what}: name a run directory, such as joulebit train makes")
    if not (path / CONFIG).is_file():
        raise ResultError(f"{path} holds no run ({CONFIG} is missing): name a directory that joulebit train made")
    config = read_config(path)
    summary = read_summary(path) if (path / SUMMARY).is_file() else None
    if summary is not None:
        for key in _SUMMARY_NEEDED:
            if key not in summary:
                raise ResultError(f"{path / SUMMARY} is damaged: it has no {key}")
    train, evaluations = _metrics(path)
    if summary is None and not train and not evaluations:
        raise ResultError(f"{path} has no metrics yet: let it run for some steps, or go on with --resume")
    return Result(path, config, _start(path), train, evaluations, summary, config_hash(config))


def _metrics(path: Path) -> tuple[list[Record], list[Record]]:
    """Training lines and evaluations, checked."""
    kinds: dict[str, list[Record]] = {"train": [], "evaluation": []}
    for number, record in enumerate(read_metrics(path), 1):
        where = f"{path / METRICS}: line {number}"
        if not isinstance(record, dict) or record.get("kind") not in kinds:
            raise ResultError(f"{where} is damaged: its kind must be one of {', '.join(kinds)}")
        kind = record["kind"]
        for key in _NEEDED[kind]:
            if key not in record:
                raise ResultError(f"{where} is damaged: it has no {key}")
        kinds[kind].append(record)
    return kinds["train"], kinds["evaluation"]


def _start(path: Path) -> dict[str, Any]:
    try:
        start = json.loads((path / RUN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return start if isinstance(start, dict) else {}


def method_title(config: RunConfig) -> str:
    """The method in words: SGD, Adam, E²-Train and so on, with `float32` or `fixed-point` where it matters."""
    method = config.method
    parts = [
        name
        for name, on in (
            ("SMD", method.smd.probability > 0),
            ("SLU", method.slu.target_skip > 0),
            ("SD", method.stochastic_depth.final_survival < 1),
            ("CPT", method.cyclic_precision.cycles > 0),
            (f"{method.low_bit_weights.kind} weights", method.low_bit_weights.kind != "off"),
            ("self-distillation", method.distillation.teacher == "self"),
            ("distillation", method.distillation.teacher not in ("", "self")),
            ("exits", method.exits.count > 0),
            (f"{method.neuron_selection.method} neurons", method.neuron_selection.method != "off"),
            (f"{method.pruning.method} pruning", method.pruning.method != "off"),
            ("early bird", method.early_bird.ratio > 0),
            (f"growing in {method.growing.kind}", method.growing.kind != "off"),
            ("Bayesian", method.variational.enabled),
            (f"{method.data_selection.approach} selection", method.data_selection.on),
        )
        if on
    ]
    rule = {"sgd": "SGD", "sign": "SignSGD", "psg": "PSG"}[method.update]
    if config.training.adam.enabled:
        rule = "Adam"
    if method.update == "psg" and parts == ["SMD", "SLU"]:
        title = "E²-Train"
    elif rule == "SGD" and parts:
        title = "+".join(parts)
    else:
        title = "+".join([rule, *parts])
    if config.engine == "float32":
        title = f"float32 {title}"
    elif title == "SGD":
        title = "fixed-point SGD"
    return f"{title}, head only" if config.training.layers == "head" else title


def labels(results: Sequence[Result]) -> list[str]:
    """A short name for each run that tells it from the others."""
    names = [result.method for result in results]
    tellers = (
        lambda result: result.config.model.name,
        lambda result: result.config.data.name,
        lambda result: f"seed {result.config.seed}",
        lambda result: result.config.name,
        lambda result: result.path.name,
        lambda result: str(result.path),
    )
    for teller in tellers:
        for name in {name for name in names if names.count(name) > 1}:
            same = [index for index, other in enumerate(names) if other == name]
            told = [teller(results[index]) for index in same]
            if len(set(told)) > 1:
                for index, text in zip(same, told):
                    names[index] = f"{name} · {text}"
    return names


def comparable(one: Result, other: Result) -> bool:
    """Do both stand for the same standard run: data, model, batch size, length and energy table?"""

    def key(result: Result) -> tuple[object, ...]:
        config = result.config
        return config.data, config.model, config.training.batch_size, result.standard_steps, result.table

    return key(one) == key(other)


@dataclass(frozen=True)
class Baseline:
    """What a run's energy is divided by."""

    title: str  #: in words, as in `energy / energy of TITLE`
    energy_j: float
    run: Result | None  #: None: modelled by the shapes of the standard run, not trained


def baseline(result: Result, results: Sequence[Result]) -> Baseline | None:
    """The float32 run among those comparable, else the fixed-point standard run, else float32 by its shapes.

    None for an unfinished run of which nothing else is known.
    """
    peers = [other for other in results if other.finished and comparable(result, other)]
    standard = [other for other in peers if other.is_standard and other.energy_j > 0]
    for other in sorted(standard, key=lambda run: not run.is_float32):
        if other.is_float32 or len(peers) > 1:
            return Baseline(other.method, other.energy_j, other)
    for other in peers:
        if other.float32_energy_j:
            return Baseline("float32 SGD (modelled, not run)", other.float32_energy_j, None)
    return None


def changed_keys(results: Sequence[Result]) -> list[str]:
    """Keys of the configuration in which the runs differ, sorted."""
    first = results[0].config
    keys = {line.partition(":")[0] for other in results[1:] for line in differences(first, other.config)}
    return sorted(keys)


def _is_skip(key: str, reason: str) -> bool:
    family, _, rest = key.partition(".")
    return family == "skipped" and rest.rpartition(".")[2] == reason


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
