"""Ending a run early: each criterion by hand, one step of overshoot at most, resumed runs, a meter's joules."""

from __future__ import annotations

import json

import numpy as np
import pytest
from technique_bench import alone, outcome, shared, small

from joulebit.data.dataset import Split
from joulebit.data.folds import TestSplit, apply_split, fold_indices
from joulebit.experiments.config import ConfigError, load_config
from joulebit.experiments.run import Trainer, run_training
from joulebit.experiments.rundir import RunDirectory
from joulebit.train.progress import SilentProgress
from joulebit.train.stop import StopCriteria, StopHook

PRESET = "digits-resnet8-fixed"
LONG = ("training.iterations=40", "training.evaluate_every_epochs=1")  # of 5 steps an epoch


def trained(*overrides, measured_j=None):
    run = Trainer(small(PRESET, *LONG, *overrides), None, measured_j=measured_j)
    run.train(SilentProgress(), lambda: 0)
    return run


@pytest.mark.parametrize("steps", [1, 7, 12])
def test_an_energy_budget_is_exceeded_by_less_than_one_step(steps):
    step_j = trained("training.iterations=1").energy_j()
    budget = (steps - 0.5) * step_j
    run = trained(f"training.stop.energy_j={budget}")
    assert (run.step, run.stopped) == (steps, "energy")
    assert budget <= run.energy_j() < budget + step_j
    assert run.hooks[-1].summary() == {"reason": "energy", "energy_j": run.energy_j(), "measured": False}


def test_the_budget_counts_what_the_selection_of_samples_costs():
    overrides = ("method.data_selection.approach=loss", "method.data_selection.ratio=0.5")
    with_selection = trained(*overrides, "training.stop.energy_j=0.005")
    assert with_selection.network.counters.total("macs.selection.") > 0
    assert with_selection.energy_j() >= 0.005
    before = trained(*overrides, f"training.iterations={with_selection.step - 1}")
    assert before.energy_j() < 0.005


def test_measured_joules_take_the_place_of_simulated_ones():
    readings = iter(np.arange(1.0, 100.0))
    run = trained("training.stop.energy_j=4.5", measured_j=lambda: next(readings))
    assert run.stopped == "energy"
    assert run.hooks[-1].summary()["measured"]
    assert run.step == 5


class _Run:
    """What StopHook looks at."""

    def __init__(self, epoch_steps=4):
        self.step, self.epoch_steps = 0, epoch_steps


def test_patience_counts_evaluations_without_a_better_one():
    hook, run = StopHook(StopCriteria(patience=2)), _Run()
    for top1, why in ((50, ""), (60, ""), (60, ""), (61, ""), (61, ""), (40, "patience")):
        hook.evaluated(run, top1, 99)
        assert hook.stop(run) == why


def test_accuracy_of_the_training_samples_is_that_of_a_whole_epoch():
    hook, run = StopHook(StopCriteria(accuracy=75)), _Run(epoch_steps=2)
    batch, right = type("B", (), {"labels": [0] * 4, "whole": None}), type("R", (), {"correct": 4})
    wrong = type("R", (), {"correct": 1})
    reached = []
    for result in (right, wrong, right, right):
        if run.step % 2 == 0:
            hook.begin_epoch(run, run.step // 2)
        hook.after_step(run, batch, result)
        run.step += 1
        reached.append(hook.stop(run))
    assert reached == ["", "", "", "accuracy"]


def test_accuracy_on_the_test_set_ends_a_run_at_an_evaluation():
    run = trained("training.stop.accuracy=10", "training.stop.accuracy_of=test")
    assert run.stopped == "accuracy"
    assert run.step % 5 == 0
    assert run.step < 40


def test_a_run_without_criteria_has_no_hook():
    assert trained("training.iterations=1").hooks == []


def test_a_stopped_run_resumes_to_the_same_end_and_says_why(tmp_path):
    stop = ("training.stop.patience=1", "training.stop.energy_j=0.05")
    whole = outcome(small(PRESET, *LONG, *stop), tmp_path / "whole")
    assert outcome(small(PRESET, *LONG, *stop), tmp_path / "again", stop_after=4) == whole
    summary = json.loads((tmp_path / "whole" / "summary.json").read_text())
    assert summary["stopped"] in ("patience", "energy")
    assert summary["stop"]["reason"] == summary["stopped"]
    assert whole["steps"] < 40
    config = small(PRESET, *LONG, *stop)
    with RunDirectory.open_for_resume(tmp_path / "whole", config) as again:
        (tmp_path / "whole" / "summary.json").unlink()
        assert run_training(config, again, resume=True)["weights_sha256"] == whole["weights_sha256"]


def test_workers_stop_together():
    config = small(PRESET, *LONG, "training.stop.energy_j=0.004")
    assert shared(config, 2) == [alone(config)] * 2


def test_measured_joules_go_on_after_a_resume():
    first = StopHook(StopCriteria(energy_j=10), lambda: 6.0)
    second = StopHook(StopCriteria(energy_j=10), lambda: 3.0)
    run = Trainer(small(PRESET), None)
    second.load_state(run, first.state())
    assert second.stop(run) == ""
    third = StopHook(StopCriteria(energy_j=10), lambda: 1.0)
    third.load_state(run, second.state())
    assert third.stop(run) == "energy"


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("training.stop.accuracy=101", "accuracy must be in"),
        ("training.stop.accuracy_of=both", "accuracy_of must be one of train, test"),
        ("training.stop.patience=-1", "patience must be at least 0"),
        ("training.stop.energy_j=-1.0", "energy_j must be at least 0"),
        ("data.split.folds=1", "folds must be 0"),
        ("data.split.hold_out=1.0", "hold_out must be in"),
    ],
)
def test_what_makes_no_sense_is_refused(override, words):
    with pytest.raises(ConfigError, match=words):
        load_config(PRESET, [override])


# -- other test sets ----------------------------------------------------------------------------------------------


def numbered(labels):
    """A split whose images say where they come from."""
    images = np.arange(len(labels), dtype=np.uint8).reshape(-1, 1, 1, 1)
    return Split(images, np.array(labels, np.int64))


def test_folds_are_disjoint_together_everything_and_keep_the_classes():
    labels = np.repeat(np.arange(10), 60)
    found = fold_indices(labels, 6)
    assert sorted(np.concatenate(found).tolist()) == list(range(600))
    for fold in found:
        assert np.bincount(labels[fold]).tolist() == [10] * 10
    uneven = fold_indices(np.array([0] * 17 + [1] * 6), 4)
    assert [len(fold) for fold in uneven] == [5, 6, 6, 6]
    assert sorted(np.concatenate(uneven).tolist()) == list(range(23))


def test_k_fold_tests_on_one_fold_of_everything_and_trains_on_the_rest():
    train, test = numbered([0, 1] * 20), numbered([0, 1] * 10)
    seen = []
    for fold in (1, 2, 3):
        rest, chosen = apply_split(TestSplit(folds=3, fold=fold), train, test)
        assert (len(rest), len(chosen)) == (40, 20)
        seen += chosen.labels.tolist()
    assert sorted(seen) == [0] * 30 + [1] * 30


def test_hold_out_keeps_a_share_of_the_training_set():
    train, test = numbered([0, 1] * 50), numbered([0, 1])
    rest, held = apply_split(TestSplit(hold_out=0.3), train, test)
    assert (len(rest), len(held)) == (70, 30)
    assert not set(rest.images.ravel().tolist()) & set(held.images.ravel().tolist())
    assert np.bincount(held.labels).tolist() == [15, 15]
    assert apply_split(TestSplit(), train, test) == (train, test)
    with pytest.raises(ValueError, match="leaves nothing"):
        apply_split(TestSplit(hold_out=0.001), train, test)


def test_folds_reach_a_run():
    config = small(PRESET, "data.train_limit=0", "data.test_limit=0", "data.split.folds=6", "data.split.fold=2")
    run = Trainer(config, None)
    assert len(run.data.train) + len(run.data.test) == 1797
    assert len(run.data.test) in (299, 300)
