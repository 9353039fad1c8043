"""Run directories as training writes them, with exact counters from shapes and nothing computed."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from joulebit.energy.accounting import Accountant
from joulebit.energy.counters import Counters
from joulebit.energy.model import float32_energy, simulate_energy
from joulebit.energy.steps import block_step, trunk_step
from joulebit.energy.table import load_table
from joulebit.experiments.config import RunConfig, config_hash, load_config
from joulebit.experiments.rundir import RunDirectory
from joulebit.nn.graph import plan
from joulebit.nn.models import model

EPOCH_STEPS, EPOCHS, BATCH = 10, 2, 4
DECIDED, WRONG = Fraction(3, 4), Fraction(1, 8)  # of predicted signs, in every layer

MakeRun = Callable[..., Path]


@pytest.fixture(scope="session")
def make_run() -> MakeRun:
    """make_run(path, preset, overrides=(), finished=True, top1=90.0) -> path."""
    return _make_run


def _make_run(
    path: Path, preset: str, overrides: tuple[str, ...] = (), finished: bool = True, top1: float = 90.0
) -> Path:
    length = (f"training.epochs={EPOCHS}", f"training.batch_size={BATCH}")
    config = load_config(preset, [*length, *overrides])
    total = config.total_steps(EPOCH_STEPS)
    steps = total if finished else total // 2
    resolved = plan(model(config.model.name, 10), (32, 32, 3))
    table = load_table(config.energy.table)
    counters = Counters()
    with RunDirectory.create(path, config) as run:
        for step in range(1, steps + 1):
            layers: dict[str, dict[str, float]] = {}
            if config.method.smd.probability and step % 2 == 0:
                Accountant(counters, None).skip_batch(resolved, BATCH)
                continue
            _one_step(config, resolved, counters, layers, step)
            spent = simulate_energy(counters, table).total_j
            where = {"step": step, "epoch": step / EPOCH_STEPS, "energy_j": spent}
            run.append_metrics(
                {"kind": "train", "loss": 2.0 / step, "accuracy": 0.5, "learning_rate": 0.1,
                 "sign_learning_rate": 0.1, "layers": layers, "counters": counters.as_dict(), **where}
            )  # fmt: skip
            if step % 5 == 0:
                run.append_metrics({"kind": "evaluation", "top1": top1 - 10, "top5": 99.0, **where})
        if finished:
            energy = simulate_energy(counters, table)
            run.append_metrics(
                {"kind": "evaluation", "step": steps, "epoch": steps / EPOCH_STEPS, "top1": top1, "top5": 99.0,
                 "energy_j": energy.total_j}
            )  # fmt: skip
            reference = float32_energy(resolved, BATCH, EPOCHS * EPOCH_STEPS, table)
            run.write_summary(_summary(config, counters, energy, reference, steps, top1))
    return path


def _one_step(config: RunConfig, resolved: Any, counters: Counters, layers: Any, step: int) -> None:
    """Every block open but, with SLU, the second in each third step."""
    method = config.method
    arithmetic = None if config.engine == "float32" else config.arithmetic
    predicted = DECIDED if method.update == "psg" else None
    counters.merge(trunk_step(resolved, BATCH, arithmetic, predicted))
    closed_blocks = set()
    for block in resolved.blocks():
        closed = "slu" if method.slu.target_skip and block.index == 1 and step % 3 == 0 else ""
        counters.merge(block_step(block, BATCH, arithmetic, predicted, closed))
        layers[block.name] = {"entered": 0 if closed else BATCH, "samples": BATCH}
        if closed:
            closed_blocks.update(conv.name for conv in block.body)
    for conv in resolved.convs():
        if arithmetic is None or conv.name in closed_blocks:
            continue
        values: dict[str, float] = {"z_saturated": 1, "z_elements": 1000}
        if predicted is not None:
            kernel_h, kernel_w, c_in, c_out = conv.weight_shape
            total = kernel_h * kernel_w * c_in * c_out
            decided = int(DECIDED * total)
            values |= {"total": total, "decided": decided, "wrong": int(WRONG * decided)}
            for name in ("total", "decided", "wrong"):
                counters.add(f"predictor.{name}", int(values[name]))
            if step == 1:
                values |= {"bound_sum": 0.25 * decided, "bound_decided": decided}
        layers[conv.name] = values


def _summary(
    config: RunConfig, counters: Counters, energy: Any, reference: Any, steps: int, top1: float
) -> dict[str, Any]:
    return {
        "name": config.name, "config_hash": config_hash(config), "engine": config.engine, "steps": steps,
        "epochs": steps / EPOCH_STEPS, "top1": top1, "top5": 99.0, "weights_sha256": 8 * "0123abcd",
        "counters": counters.as_dict(), "energy_simulated_j": {**energy.as_dict(), "table": config.energy.table},
        "float32_energy_j": reference.total_j, "saving_vs_float32": energy.saving_against(reference),
    }  # fmt: skip
