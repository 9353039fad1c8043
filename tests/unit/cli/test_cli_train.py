"""`joulebit train`: what it hands to the training loop, where runs go, and what an interruption says."""

from __future__ import annotations

import json
import types
from pathlib import Path

import numpy as np
import pytest
from cli_calls import one_json_object, one_line_error

from joulebit.cli.main import run
from joulebit.data import DataError
from joulebit.errors import Interrupted
from joulebit.experiments.config import config_hash, load_config
from joulebit.experiments.rundir import RunDirectory, holds_run

SUMMARY = {
    "run_dir": "runs/x",
    "model": "resnet8",
    "steps": 1234,
    "top1": 97.5,
    "energy_simulated_j": {"total": 1234.5},
    "saving_vs_float32": 0.8,
    "predictor_share": None,
    "weights_sha256": "abc",
}


@pytest.fixture
def training(stand_in):
    """A stand-in for the training loop that keeps what it was given; `calls.act` may raise."""
    calls = types.SimpleNamespace(given=[], act=lambda run_dir: None)

    def run_training(config, run_dir, resume, data_dir, progress):
        calls.given.append((config, run_dir.path, resume, data_dir))
        progress.start(10, 3 if resume else 0)
        progress.update(4, 0.5, 0.75, 1.5)
        progress.evaluation(4, 50.0, 90.0)
        print("a library prints")
        calls.act(run_dir)
        return SUMMARY

    stand_in("joulebit.experiments.run", run_training=run_training)
    return calls


def test_train_hands_over_the_resolved_run(capsys, training):
    arguments = ["train", "demo", "--set", "seed=5", "--engine", "numpy", "--data-dir", "d", "--run-dir", "r"]
    result = one_json_object(capsys, *arguments)
    assert result == SUMMARY
    ((config, path, resume, data_dir),) = training.given
    assert config == load_config("demo", ["seed=5", "engine=numpy"])
    assert (path, resume, data_dir) == (Path("r"), False, Path("d"))
    assert json.loads(Path("r/summary.json").read_text()) == SUMMARY


def test_train_keeps_progress_and_prints_of_libraries_off_stdout(capsys, training):
    assert run(["train", "demo", "--run-dir", "r", "--json"]) == 0
    out, err = capsys.readouterr()
    assert out == json.dumps(SUMMARY) + "\n"
    assert "a library prints" in err
    assert "step 4/10  test top-1 50.00 %  top-5 90.00 %" in err


def test_train_shows_a_summary_for_people(capsys, training):
    assert run(["train", "demo", "--run-dir", "r"]) == 0
    out = capsys.readouterr().out
    for part in ("resnet8", "1,234", "97.50 %", "1.23 kJ", "80.0 %", "abc"):
        assert part in out
    assert "signs predicted" not in out  # null: this run has no predictor


@pytest.mark.parametrize(
    ("arguments", "folder"),
    [
        (["demo"], "runs/demo"),
        (["demo", "--engine", "numpy"], "runs/demo-numpy"),
        (["demo", "--set", "seed=5"], f"runs/demo-{config_hash(load_config('demo', ['seed=5']))[:8]}"),
    ],
)
def test_the_default_folder_tells_runs_apart(training, arguments, folder):
    assert run(["train", *arguments]) == 0
    assert training.given[0][1] == Path(folder)
    assert holds_run(folder)


def test_train_does_not_overwrite_a_run(capsys, training):
    assert run(["train", "demo"]) == 0
    capsys.readouterr()
    line = one_line_error(capsys, "train", "demo")
    assert "runs/demo holds a finished run: go on with --resume, or name another by --run-dir" in line


def test_resume_starts_a_run_that_is_not_there(training):
    assert run(["train", "demo", "--resume"]) == 0
    assert training.given[0][2] is False


def test_resume_goes_on_with_an_unfinished_run(capsys, training):
    with RunDirectory.create("runs/demo", load_config("demo")) as directory:
        directory.save_checkpoint(3, {"x": np.zeros(1)}, {})
    assert run(["train", "demo", "--resume"]) == 0
    assert training.given[0][2] is True
    assert "going on after step 3 of 10" in capsys.readouterr().err


def test_resume_of_a_finished_run_prints_its_summary(capsys, training):
    assert run(["train", "demo"]) == 0
    capsys.readouterr()
    assert one_json_object(capsys, "train", "demo", "--resume") == SUMMARY
    assert len(training.given) == 1


def test_resume_of_another_run_is_refused(capsys, training):
    assert run(["train", "demo", "--run-dir", "r"]) == 0
    capsys.readouterr()
    line = one_line_error(capsys, "train", "demo", "--set", "seed=9", "--run-dir", "r", "--resume")
    assert "seed: 0 -> 9" in line


@pytest.mark.parametrize(("number", "code"), [(2, 130), (15, 143)])
def test_an_interrupted_run_says_how_to_go_on(capsys, training, number, code):
    def stop(run_dir):
        run_dir.save_checkpoint(4, {"x": np.zeros(1)}, {})
        raise Interrupted(number, 4)

    training.act = stop
    words = ["train", "demo", "--set", 'description="a b"', "--engine", "numpy", "--run-dir", "my run"]
    assert run([*words, "--json"]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[-1].endswith(
        "after step 4, which is saved; go on with: joulebit train demo --set 'description=\"a b\"' "
        "--engine numpy --run-dir 'my run' --resume"
    )
    training.act = lambda run_dir: None
    assert run([*words, "--resume"]) == 0


def test_a_run_that_cannot_start_leaves_no_folder(capsys, training):
    def fail(_):
        raise ValueError("data directory nowhere does not exist")

    training.act = fail
    assert run(["train", "demo"]) == 2
    assert not Path("runs/demo").exists()


def test_a_run_that_fails_later_keeps_its_folder(capsys, training):
    def fail(run_dir):
        run_dir.save_checkpoint(4, {"x": np.zeros(1)}, {})
        raise RuntimeError("boom")

    training.act = fail
    assert run(["train", "demo"]) == 70
    assert holds_run("runs/demo")


def test_download_fetches_the_data_set_before_the_run_begins(monkeypatch, tmp_path, capsys):
    asked = []

    def refuse(name, data_dir, download=False):
        asked.append((name, data_dir, download))
        raise DataError("the mirror is away")

    monkeypatch.setattr("joulebit.data.load_dataset", refuse)
    arguments = ["train", "mnist-lenet5-fixed", "--download", "--data-dir", str(tmp_path)]
    assert run([*arguments, "--run-dir", str(tmp_path / "run")]) == 2
    assert asked == [("mnist", tmp_path, True)]
    assert "the mirror is away" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
