"""Studies of training efficiency: tables by hand, real small runs, folds, measured joules, command and page."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from joulebit.cli import main as command
from joulebit.experiments.config import ConfigError, config_hash, load_config
from joulebit.experiments.efficiency import figures
from joulebit.experiments.efficiency.analysis import analyse
from joulebit.experiments.efficiency.formulas import EfficiencyError
from joulebit.experiments.efficiency.inputs import gather
from joulebit.experiments.efficiency.study import load_study, run_study, study_names
from joulebit.experiments.efficiency.trials import (
    LONGER,
    Point,
    Trial,
    architecture_and_size,
    criterion_of,
    with_longer,
)
from joulebit.experiments.efficiency.trials import trial as trial_of

STUDY = """
description = "two methods"
set = [
    "engine=numpy", "data.name=digits", "data.train_limit=60", "data.test_limit=20", "training.batch_size=12",
    "training.statistics_samples=12", 'training.schedule="constant"',
]
epochs = 1
longest = 2
accuracy = 1.0
energy_j = 0.001
overtraining = true
[[tasks]]
name = "digits"
[[architectures]]
name = "plain"
preset = "digits-resnet8-fixed"
sizes = ["resnet8"]
[[architectures]]
name = "predicted"
preset = "digits-resnet8-psg"
sizes = ["resnet8"]
"""


def trial(architecture, size, criterion, accuracy, energy_j, fold=1, task="easy", **more):
    values = {
        "epochs": 2.0, "measured": False, "train_accuracy": 0.9, "met": True,
        "curve": (Point(1.0, accuracy / 2, energy_j / 4), Point(2.0, accuracy, energy_j)),
    } | more  # fmt: skip
    return Trial(task, architecture, size, criterion, fold, accuracy, energy_j, **values)


# -- tables by hand -----------------------------------------------------------------------------------------------


def test_means_over_sizes_then_over_criteria():
    found = analyse([
        trial("a", "1", "epochs", 0.8, 2.0), trial("a", "2", "epochs", 0.9, 9.0),
        trial("a", "1", "accuracy", 0.5, 1.0), trial("a", "2", "accuracy", 0.5, 1.0),
        trial("b", "1", "epochs", 0.8, 4.0), trial("b", "2", "epochs", 0.8, 4.0),
        trial("b", "1", "accuracy", 0.4, 2.0), trial("b", "2", "accuracy", 0.8, 4.0),
    ])  # fmt: skip
    by_criterion = {(row["architecture"], row["criterion"]): row["efficiency"] for row in found["architectures"]}
    assert by_criterion == pytest.approx(
        {("a", "epochs"): 0.25, ("a", "accuracy"): 0.5, ("b", "epochs"): 0.2, ("b", "accuracy"): 0.2}
    )
    assert [row["efficiency"] for row in found["overall"]] == pytest.approx([0.375, 0.2])
    assert found["ratios"] == pytest.approx({"a / b on easy": 1.875})
    first = found["architectures"][0]
    assert (first["sizes"], first["lowest"], first["highest"]) == (2, pytest.approx(0.1), pytest.approx(0.4))
    assert found["notes"] == []


def test_folds_of_a_model_are_one_result():
    found = analyse([trial("a", "1", "epochs", 0.8, 3.0, 1), trial("a", "1", "epochs", 0.6, 1.0, 2)])
    assert len(found["models"]) == 1
    row = found["models"][0]
    assert (row["folds"], row["accuracy"], row["energy_j"]) == (2, pytest.approx(0.7), pytest.approx(2.0))
    assert row["efficiency"] == pytest.approx(0.35)
    curve = found["curves"][0]
    assert curve["accuracy"] == pytest.approx([0.35, 0.7])
    assert curve["efficiency"] == pytest.approx([0.35 / 0.5, 0.7 / 2.0])


def test_seeds_are_averaged_and_their_ratios_spread_is_told():
    trials = [
        trial(name, "s", "epochs", accuracy, 1.0, seed=seed)
        for name, accuracies in (("a", (0.9, 0.8)), ("b", (0.45, 0.5)))
        for seed, accuracy in enumerate(accuracies)
    ]
    found = analyse(trials)
    assert [row["efficiency"] for row in found["overall"]] == pytest.approx([0.85, 0.475])
    assert found["ratio_deviations"] == {"a / b on easy": pytest.approx((2.0 - 1.6) / 2**0.5)}
    assert analyse(trials[::2])["ratio_deviations"] == {}
    first, second = found["models"]
    assert (first["seeds"], first["folds"]) == (2, 1)
    assert first["accuracy_deviation"] == pytest.approx(0.1 / 2**0.5)
    assert second["efficiency_deviation"] == pytest.approx(0.05 / 2**0.5)
    assert analyse(trials[::2])["models"][0]["accuracy_deviation"] is None


def test_spreads_over_seeds_are_those_of_means_over_folds():
    trials = [
        trial("a", "s", "epochs", accuracy, energy_j, fold, seed=seed)
        for seed, fold, accuracy, energy_j in (
            (0, 1, 0.9, 1.0),
            (0, 2, 0.7, 3.0),
            (1, 1, 0.6, 1.0),
            (1, 2, 0.6, 1.0),
        )
    ]
    (row,) = analyse(trials)["models"]
    assert (row["seeds"], row["folds"]) == (2, 2)
    assert row["accuracy_deviation"] == pytest.approx(0.2 / 2**0.5)
    assert row["efficiency_deviation"] == pytest.approx((0.6 - 0.4) / 2**0.5)


def test_tasks_are_compared_for_the_same_architecture():
    found = analyse([trial("a", "1", "epochs", 0.8, 1.0), trial("a", "1", "epochs", 0.4, 1.0, task="hard")])
    assert found["ratios"] == pytest.approx({"easy / hard of a": 2.0})


def test_longer_runs_serve_overtraining_alone():
    found = analyse([
        trial("a", "1", "epochs", 0.80, 1.0, train_accuracy=0.82),
        trial("a", "1", LONGER, 0.84, 2.0, train_accuracy=0.95),
    ])  # fmt: skip
    assert [row["criterion"] for row in found["architectures"]] == ["epochs"]
    row = found["overtraining"][0]
    assert (row["a"], row["b"], row["overtrained"]) == (0.04, 0.09, True)


def test_what_was_not_run_alike_or_not_met_is_noted():
    found = analyse([
        trial("a", "1", "epochs", 0.8, 1.0), trial("b", "1", "epochs", 0.8, 1.0),
        trial("b", "1", "patience", 0.8, 1.0, met=False),
    ])  # fmt: skip
    assert len(found["notes"]) == 2
    assert "not run alike" in found["notes"][0]
    assert "b 1 on easy did not meet the criterion patience" in found["notes"][1]


def test_simulated_and_measured_joules_never_meet():
    with pytest.raises(EfficiencyError, match="simulated and measured"):
        analyse([trial("a", "1", "epochs", 0.8, 1.0), trial("b", "1", "epochs", 0.8, 1.0, measured=True)])
    with pytest.raises(EfficiencyError, match="no runs"):
        analyse([])


def test_of_two_lengths_the_longer_one_is_told_apart():
    one, two = trial("a", "1", "epochs", 0.8, 1.0), trial("a", "1", "epochs", 0.9, 2.0, epochs=4.0)
    assert [found.criterion for found in with_longer([two, one])] == [LONGER, "epochs"]
    with pytest.raises(EfficiencyError, match="2, 4, 6 epochs"):
        with_longer([one, two, replace(one, epochs=6.0)])


def test_criterion_and_architecture_follow_from_a_configuration():
    config = load_config("digits-lenet-bayesian", ["model.name=lenet5x3", "training.stop.patience=3"])
    assert criterion_of(config) == "patience"
    assert architecture_and_size(config) == ("Bayesian, lenet5", "lenet5x3")
    assert architecture_and_size(load_config("digits-resnet8-psg"))[0] == "PSG, resnet"
    with pytest.raises(EfficiencyError, match="accuracy or patience"):
        criterion_of(load_config("demo", ["training.stop.patience=3", "training.stop.accuracy=3"]))


@pytest.mark.parametrize(
    ("sizes", "labels", "axis"),
    [(("lenet5", "lenet5x3"), ["x1", "x3"], "width of lenet5"), (("resnet8", "resnet14"), None, "size")],
)
def test_the_sizes_have_a_panel_per_criterion(sizes, labels, axis):
    trials = [
        trial(name, size, criterion, 0.5, joules)
        for criterion in ("epochs", "energy")
        for name in "ab"
        for size, joules in zip(sizes, (1.0, 2.0))
    ]
    drawing = figures.over_sizes(analyse(trials))
    for text in (axis, *(labels or sizes), "epochs", "energy"):
        assert f"<!-- {text} -->" in drawing.svg or f">{text}<" in drawing.svg
    assert figures.over_sizes(analyse(trials[::2])) is None


# -- real runs ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """(the study's file, its runs with their folders)."""
    folder = tmp_path_factory.mktemp("study")
    (folder / "study.toml").write_text(STUDY)
    return folder / "study.toml", run_study(load_study(folder / "study.toml"), folder / "runs")


def test_a_study_trains_every_cell_once(done):
    file, runs = done
    cells = {(run.architecture, run.criterion) for run, _ in runs}
    assert cells == {
        (name, c) for name in ("plain", "predicted") for c in ("epochs", "accuracy", "energy", LONGER)
    }
    said = []
    assert run_study(load_study(file), file.parent / "runs", announce=said.append) == runs
    assert len(said) == 8
    assert all("finished before" in text for text in said)


def test_a_run_that_reached_its_end_first_did_not_meet_its_criterion(done, tmp_path, make_run):
    stopped = next(path for run, path in done[1] if run.criterion == "accuracy")
    patient = make_run(tmp_path / "patient", "digits-resnet8-fixed", ("training.stop.patience=3",))
    plain = make_run(tmp_path / "plain", "digits-resnet8-fixed")
    assert [trial_of(path).met for path in (stopped, patient, plain)] == [True, False, True]


def test_its_analysis_has_all_tables(done):
    _, runs = done
    found = analyse(gather({path: run.place for run, path in runs}))
    assert found["joules"] == "simulated"
    assert [row["criteria"] for row in found["overall"]] == [["epochs", "accuracy", "energy"]] * 2
    assert len(found["overtraining"]) == 2
    by_energy = [row for row in found["models"] if row["criterion"] == "energy"]
    step_j = [row["energy_j"] / row["epochs"] / 5 for row in found["models"] if row["criterion"] == "epochs"]
    for row, one in zip(by_energy, step_j):
        assert 0.001 <= row["energy_j"] < 0.001 + 1.3 * one
    # the runs alone, without their study, tell the same
    alone = analyse(gather({path: None for _, path in runs}))
    assert sorted(row["efficiency"] for row in alone["models"]) == sorted(
        row["efficiency"] for row in found["models"]
    )
    assert {row["architecture"] for row in alone["models"]} == {"fixed-point SGD, resnet", "PSG, resnet"}


def campaign(folder, joules):
    """A campaign's folder with a cell per configuration hash."""
    for number, (digest, net_j) in enumerate(joules):
        cell = folder / "cells" / f"cell-{number}"
        cell.mkdir(parents=True)
        entry = {"valid": net_j is not None, "config_hash": digest, "net_j": net_j}
        (cell / "result.json").write_text(json.dumps(entry))
    return folder


def test_measured_joules_are_matched_by_configuration(done, tmp_path):
    _, runs = done
    chosen = [(run, path) for run, path in runs if run.criterion == "epochs"]
    cells = [(config_hash(run.config), joules) for (run, _), joules in zip(chosen, (2.0, 8.0))]
    folder = campaign(tmp_path / "c", [*cells, (cells[0][0], 4.0), (cells[0][0], None)])
    found = analyse(gather({path: run.place for run, path in chosen}, [folder]))
    assert found["joules"] == "measured"
    assert [row["energy_j"] for row in found["models"]] == [3.0, 8.0]
    assert found["curves"] == []
    with pytest.raises(EfficiencyError, match="was not measured"):
        gather({path: run.place for run, path in runs}, [folder])
    with pytest.raises(EfficiencyError, match="no measured cells"):
        gather({path: run.place for run, path in chosen}, [tmp_path])


def test_a_campaign_s_cells_alone_are_measured_trials(tmp_path):
    folder = tmp_path / "bench"
    for number, (method, top1, net_j) in enumerate([("a", 90.0, 1.0), ("a", 90.0, 2.0), ("b", 60.0, 6.0)]):
        cell = folder / "cells" / str(number)
        cell.mkdir(parents=True)
        entry = {"valid": True, "config_hash": "", "net_j": net_j, "method": method, "model": "resnet8"}
        (cell / "result.json").write_text(json.dumps(entry | {"outcome": {"top1": top1}}))
    found = analyse(gather({folder: None}))
    assert found["joules"] == "measured"
    assert [row["efficiency"] for row in found["overall"]] == pytest.approx([0.6, 0.1])
    assert found["ratios"] == pytest.approx({"a / b on bench": 6.0})
    assert found["models"][0]["epochs"] is None
    (folder / "cells" / "0" / "result.json").write_text(json.dumps(entry | {"method": "c", "outcome": {}}))
    with pytest.raises(EfficiencyError, match="of c have no accuracy"):
        gather({folder: None})


def test_the_command_prints_one_object_and_writes_a_page(done, tmp_path, capsys):
    file, runs = done
    page = tmp_path / "page.html"
    arguments = ["efficiency", str(file), "--out-dir", str(file.parent / "runs"), "-o", str(page), "--json"]
    assert command.run(arguments) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["report"] == str(page)
    assert len(found["models"]) == 8
    text = page.read_text()
    assert "times as much as" in text
    assert text.count("<figure>") == 4
    assert len(list((tmp_path / "page_figures").glob("*.png"))) == 4
    assert command.run(["efficiency", *(str(path) for _, path in runs)]) == 0
    out = capsys.readouterr().out
    assert "Overall: mean over criteria" in out
    assert "Overtraining" in out


def test_a_page_that_cannot_be_is_told_before_anything_is_trained(done, tmp_path, capsys):
    assert command.run(["efficiency", str(done[0]), "--out-dir", str(tmp_path / "new"), "-o", "page.txt"]) == 2
    assert "ends in .html" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_folds_are_runs_of_their_own(tmp_path):
    text = STUDY.replace('name = "digits"', 'name = "digits"\nfolds = 3', 1)
    (tmp_path / "s.toml").write_text(text)
    runs = load_study(tmp_path / "s.toml").runs
    assert len(runs) == 3 * 8
    assert {run.config.data.split.fold for run in runs} == {1, 2, 3}
    assert len({run.folder for run in runs}) == 24


def test_seeds_are_runs_of_their_own(tmp_path):
    (tmp_path / "s.toml").write_text(STUDY.replace("epochs = 1\n", "epochs = 1\nseeds = 2\n", 1))
    runs = load_study(tmp_path / "s.toml").runs
    assert [run.config.seed for run in runs] == [0, 1] * 8 == [run.place["seed"] for run in runs]
    assert len({run.folder for run in runs}) == 16
    (tmp_path / "s.toml").write_text(STUDY.replace("epochs = 1\n", "epochs = 1\nseeds = 0\n", 1))
    with pytest.raises(ConfigError, match="seeds must be a whole number"):
        load_study(tmp_path / "s.toml")


@pytest.mark.parametrize("name", study_names())
def test_studies_of_the_package_can_be_loaded(name):
    study = load_study(name)
    assert study.description
    assert {run.criterion for run in study.runs} == {"epochs", "accuracy", "patience", "energy", LONGER}


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("epochs = 1", "epoch = 1", "unknown key 'epoch'"),
        ("epochs = 1\n", "epochs = 0\n", "epochs must be a number above 0"),
        ('sizes = ["resnet8"]', 'sizes = ["resnet9"]', "got 9"),
        ('name = "predicted"', 'name = "plain"', "names of architectures must differ"),
        ("[[tasks]]", "[[tasks]]\nfolds = 1", "folds of .* must be a whole number of at least 2, or 0, got 1"),
        (
            "[[tasks]]",
            '[[tasks]]\nfolds = "six"',
            "folds of .* must be a whole number of at least 2, or 0, got 'six'",
        ),
        ('[[tasks]]\nname = "digits"\n', "", "at least one"),
    ],
)
def test_a_study_that_makes_no_sense_is_one_line(old, new, words, tmp_path):
    (tmp_path / "s.toml").write_text(STUDY.replace(old, new, 1))
    with pytest.raises(ConfigError, match=words) as error:
        load_study(tmp_path / "s.toml")
    assert "\n" not in str(error.value)


def test_an_unknown_study_names_the_known_ones():
    with pytest.raises(ConfigError, match="known: digits, mnist, mnist-adam, paper"):
        load_study("minst")
