"""Whole runs through the command: what techniques leave out, fine-tuning, a user's own network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from joulebit.cli import main as command

CONFIG = """
name = "small"
engine = "numpy"
[data]
name = "digits"
train_limit = 160
test_limit = 40
[model]
name = "resnet8"
[training]
epochs = 2
batch_size = 32
learning_rate = 0.05
sign_learning_rate = 0.0078125
sign_momentum = 0.0
sign_weight_decay = 0.0
statistics_samples = 32
"""

MODEL = """
from joulebit.nn.graph import Conv, GlobalPool, Model, Residual

def small(classes):
    body = (Conv(12, 1, activation="relu6"), Conv(12, groups=0, activation="relu6"), Conv(8, 1, activation=None))
    return Model("small", (Conv(8, stride=2), Residual(body, activation=None), GlobalPool()), classes)
"""


@pytest.fixture
def train(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Trains with overrides and returns (exit code, the summary or the error's text)."""
    config = tmp_path / "run.toml"
    config.write_text(CONFIG)

    def run(name: str, *overrides: str, more: tuple[str, ...] = ()) -> tuple[int, Any]:
        arguments = ["train", str(config), "--run-dir", str(tmp_path / name), "--json", *more]
        code = command.run(arguments + [part for text in overrides for part in ("--set", text)])
        printed = capsys.readouterr()
        return code, json.loads(printed.out) if code == 0 else printed.err

    return run


def macs(counters: dict[str, int], phase: str) -> int:
    """All multiply-accumulates of a phase."""
    return sum(value for name, value in counters.items() if name.startswith(f"macs.{phase}."))


def test_the_summary_has_the_keys_of_the_contract(train: Any) -> None:
    code, summary = train("run")
    assert code == 0
    assert set(summary) >= {
        "run_dir", "config_hash", "engine", "dataset", "model", "method", "steps", "top1", "top5",
        "weights_sha256", "counters", "energy_simulated_j", "saving_vs_float32", "predictor_share", "skip_ratio",
        "batch_share",
    }  # fmt: skip
    energy = summary["energy_simulated_j"]
    assert sum(energy["by_phase"].values()) == pytest.approx(energy["total"])
    assert sum(energy["by_component"].values()) == pytest.approx(energy["total"])
    assert summary["steps"] == 10


def test_dropped_batches_change_nothing_but_are_counted(train: Any) -> None:
    whole = train("whole", "training.iterations=40", "training.schedule=constant")[1]
    dropped = train(
        "dropped", "training.iterations=40", "training.schedule=constant", "method.smd.probability=0.5",
        "method.smd.energy_ratio=0.5",
    )[1]  # fmt: skip
    counters = dropped["counters"]
    assert dropped["steps"] == whole["steps"] == 40
    assert counters["batches.seen"] + counters["batches.dropped"] == 40
    assert 8 <= counters["batches.dropped"] <= 32
    seen = counters["batches.seen"] / 40
    assert macs(counters, "forward") == seen * macs(whole["counters"], "forward")
    assert counters["skipped.forward.smd"] == (1 - seen) * macs(whole["counters"], "forward")
    assert dropped["energy_simulated_j"]["total"] == pytest.approx(seen * whole["energy_simulated_j"]["total"])


@pytest.mark.parametrize("key", ["method.slu.target_skip=0.4", "method.stochastic_depth.final_survival=0.3"])
def test_closed_blocks_are_not_computed(train: Any, key: str) -> None:
    plain = train("plain", "training.epochs=4")[1]["counters"]
    summary = train("skipping", "training.epochs=4", key, "method.slu.alpha=2")[1]
    counters, reason = summary["counters"], "slu" if "slu" in key else "sd"
    for phase in ("forward", "input_gradient", "weight_gradient"):
        assert macs(counters, phase) + counters[f"skipped.{phase}.{reason}"] == macs(plain, phase)
    assert summary["skip_ratio"] > 0
    assert counters["bytes.forward.dram"] < plain["bytes.forward.dram"]


def test_psg_counts_full_products_only_where_the_predictor_did_not_decide(train: Any) -> None:
    counters = train("psg", "method.update=psg")[1]["counters"]
    assert 0 < counters["predictor.decided"] < counters["predictor.total"]
    assert 0 <= counters["predictor.wrong"] < counters["predictor.decided"]
    predicted, full = counters["macs.weight_gradient.4x10"], counters["skipped.weight_gradient.psg"]
    assert 0 < full < predicted


def test_fine_tuning_the_head_changes_the_head_alone(train: Any, tmp_path: Path) -> None:
    from joulebit.experiments.rundir import read_weights

    first = train("first", "data.part=first_half", "data.train_limit=96")[1]
    tuned = train(
        "tuned", "data.part=second_half", "data.train_limit=96", "training.layers=head",
        f"training.initial_weights={json.dumps(first['run_dir'])}",
    )[1]  # fmt: skip
    before, after = read_weights(tmp_path / "first"), read_weights(tmp_path / "tuned")
    changed = {name for name in before if (before[name] != after[name]).any()}
    assert changed == {"head.weight", "head.bias"}
    assert "macs.input_gradient.8x16" not in tuned["counters"]
    e2train = train(
        "e2train", "data.part=second_half", "data.train_limit=96", "method.update=psg",
        "method.smd.probability=0.3", f"training.initial_weights={json.dumps(first['run_dir'])}",
    )[1]  # fmt: skip
    assert e2train["weights_sha256"] != first["weights_sha256"]


def test_a_user_s_own_network_trains_and_must_not_change_under_a_run(train: Any, tmp_path: Path) -> None:
    file = tmp_path / "networks.py"
    file.write_text(MODEL)
    name = f"model.name={file}:small"
    code, summary = train("own", name)
    assert code == 0
    assert summary["counters"]["macs.forward.8x8"] > 0
    (tmp_path / "own" / "summary.json").unlink()
    file.write_text(MODEL.replace('activation="relu6"), Conv(8', 'activation="relu"), Conv(8'))
    code, error = train("own", name, more=("--resume",))
    assert code == 2
    assert "is not described as it was" in error


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("def small(classes):\n    return 3\n", "must return a Model"),
        ("def small(classes):\n    raise KeyError('x')\n", "KeyError"),
        (MODEL.replace(", classes)", ", 7)"), "has 7 classes, the data set has 10"),
    ],
)
def test_a_broken_network_file_is_one_line(train: Any, tmp_path: Path, body: str, words: str) -> None:
    file = tmp_path / "networks.py"
    file.write_text(body)
    code, error = train("own", f"model.name={file}:small")
    assert code == 2
    assert words in error
    assert len(error.strip().splitlines()) == 1


def test_weights_of_another_network_are_refused(train: Any) -> None:
    first = train("first")[1]
    code, error = train(
        "other", "model.name=resnet14", f"training.initial_weights={json.dumps(first['run_dir'])}"
    )  # fmt: skip
    assert code == 2
    assert "initial_weights" in error
