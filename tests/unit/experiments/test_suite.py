"""Suites: nothing is trained twice, seeds are averaged, errors take one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from joulebit.errors import JoulebitError
from joulebit.experiments import execution
from joulebit.experiments import suite as suite_module
from joulebit.experiments.compare import compare
from joulebit.experiments.config import ConfigError
from joulebit.experiments.results import method_title
from joulebit.experiments.seeds import averaged
from joulebit.experiments.suite import load_suite, rank_suite, run_suite, suite_names

TINY = (
    "data.train_limit=10",
    "data.test_limit=10",
    "training.batch_size=5",
    "training.epochs=1",
    "training.statistics_samples=5",
    "model.name=lenet5",
)
SUITE = """
description = "two short runs"
set = ['engine="numpy"']
[[runs]]
name = "fixed"
preset = "digits-lenet-fixed"
[[runs]]
name = "sign"
preset = "digits-lenet-fixed"
set = ['method.update="sign"', "training.sign_learning_rate=0.001"]
"""


@pytest.mark.parametrize("name", suite_names())
def test_every_suite_of_the_package_is_sound(name: str) -> None:
    suite = load_suite(name)
    assert suite.description and len(suite.runs) >= 3
    assert len({run.folder for run in suite.runs}) == len(suite.runs)
    compared = [run for run in suite.runs if run.name != "pretrained"]
    assert len({run.config.data for run in compared}) == 1


@pytest.mark.parametrize("name", ["digits", "mnist", "cifar10"])
def test_suites_of_methods_have_a_baseline_and_equal_lengths(name: str) -> None:
    suite = load_suite(name)
    assert len(suite.runs) >= 6
    assert {run.config.engine == "float32" for run in suite.runs} == {True, False}
    assert len({run.config.training.epochs for run in suite.runs}) == 1


def test_the_digits_suite_has_the_paper_s_methods() -> None:
    titles = {method_title(run.config) for run in load_suite("digits").runs}
    assert titles == {"float32 SGD", "fixed-point SGD", "SignSGD", "PSG", "SMD", "SLU", "SD", "E²-Train"}


def test_a_suite_trains_what_is_missing_and_nothing_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite_module, "SUITES", tmp_path)
    (tmp_path / "two.toml").write_text(SUITE)
    said: list[str] = []
    suite = load_suite("two", TINY)
    first = compare(run_suite(suite, tmp_path / "out", announce=said.append))
    assert [row["method"] for row in first] == ["fixed-point SGD", "SignSGD"]
    assert all(row["finished"] for row in first)
    assert said[0].startswith("[1/2] fixed: begins: fixed-point SGD, lenet5 on digits32, engine numpy")
    times = {run: (run / "summary.json").stat().st_mtime_ns for run in map(Path, (r["run"] for r in first))}

    said.clear()
    (Path(first[1]["run"]) / "summary.json").unlink()  # as if it had been stopped before the end
    second = compare(run_suite(suite, tmp_path / "out", engine="numpy", announce=said.append))
    assert said[0].startswith("[1/2] fixed: finished before, used again")
    assert said[1].startswith("[2/2] sign: goes on")
    assert second == first
    assert times[Path(first[0]["run"])] == (Path(first[0]["run"]) / "summary.json").stat().st_mtime_ns

    changed = load_suite("two", (*TINY, "seed=1")).runs[0].folder
    assert changed != Path(first[0]["run"]).name  # another configuration never meets an old result


def test_a_run_of_another_specification_is_not_used_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_run: Any
) -> None:
    file = tmp_path / "one.toml"
    file.write_text('[[runs]]\nname = "fixed"\npreset = "digits-resnet8-fixed"\n')
    suite = load_suite(file, ("training.epochs=2", "training.batch_size=4"))
    folder = suite.runs[0].folder
    make_run(tmp_path / "out" / folder, "digits-resnet8-fixed")
    assert run_suite(suite, tmp_path / "out") == [tmp_path / "out" / folder]
    monkeypatch.setattr(execution, "spec_sha256", lambda: "f" * 64)
    with pytest.raises(JoulebitError, match="another numeric specification"):
        run_suite(suite, tmp_path / "out")


def test_another_engine_is_for_integer_runs_alone(tmp_path: Path) -> None:
    (tmp_path / "both.toml").write_text(
        "\n".join(f'[[runs]]\nname = "{n}"\npreset = "digits-lenet-{n}"' for n in ("fixed", "float32"))
    )
    paths = run_suite(load_suite(tmp_path / "both.toml", TINY), tmp_path / "out", engine="numpy")
    assert [json.loads((path / "summary.json").read_text())["engine"] for path in paths] == ["numpy", "float32"]


SEEDS = """
seeds = 2
set = ['engine="numpy"']
[[runs]]
name = "start"
preset = "digits-lenet-fixed"
seeds = 1
[[runs]]
name = "tuned"
preset = "digits-lenet-fixed"
set = ["training.initial_weights=suite:start"]
"""


def test_a_suite_with_seeds_is_averaged_and_starts_from_its_own_runs(tmp_path: Path) -> None:
    (tmp_path / "seeds.toml").write_text(SEEDS)
    paths = run_suite(load_suite(tmp_path / "seeds.toml", TINY), tmp_path / "out")
    rows = compare(paths)
    assert [row["seed"] for row in rows] == [0, 0, 1]
    assert len({path.name for path in paths}) == 3
    config = (paths[1] / "config.toml").read_text()
    assert f'initial_weights = "{paths[0]}"' in config
    start, tuned = averaged(rows)
    assert (start["seeds"], tuned["seeds"]) == ([0], [0, 1])
    assert "top1_deviation" not in start
    one, other = rows[1]["top1"], rows[2]["top1"]
    assert tuned["top1"] == pytest.approx((one + other) / 2)
    assert tuned["top1_deviation"] == pytest.approx(abs(one - other) / 2**0.5)
    assert tuned["energy_simulated_j"] == pytest.approx(rows[1]["energy_simulated_j"], rel=0.01)
    assert tuned["run"] is None

    (tmp_path / "seeds.toml").write_text("pareto = true\n" + SEEDS)
    (row,) = rank_suite(load_suite(tmp_path / "seeds.toml", TINY), paths)  # what the others start from is no rival
    assert (row["label"], row["seeds"], row["rank"]) == ("tuned", [0, 1], 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must have at least one"),
        ('seeds = 0\n[[runs]]\nname = "a"\npreset = "demo"', "seeds must be a whole number"),
        (
            '[[runs]]\nname = "a"\npreset = "demo"\nset = ["training.initial_weights=suite:b"]',
            "name a run before it",
        ),
        ("rnus = []", r"unknown key 'rnus' \(did you mean runs\?\)"),
        ("runs = [1]", "run 1 must be a table"),
        ('[[runs]]\nname = "a"', "run 1: preset must be a text"),
        ('[[runs]]\nname = "a/b"\npreset = "demo"', "run 1: name must be a text"),
        ('[[runs]]\nname = "a"\npreset = "dmeo"', r"run 1 \(a\): unknown preset"),
        ('set = "x=1"\n[[runs]]\nname = "a"\npreset = "demo"', "set must be a list"),
        ('[[runs]]\nname = "a"\npreset = "demo"\n' * 2, "two runs are called 'a'"),
    ],
)
def test_bad_suites_are_one_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "bad.toml").write_text(text)
    with pytest.raises(ConfigError, match=message) as error:
        load_suite(tmp_path / "bad.toml")
    assert "\n" not in str(error.value)


def test_an_unknown_suite_names_the_nearest() -> None:
    with pytest.raises(
        ConfigError,
        match=r"unknown suite .digit. \(did you mean digits\?\); known: cifar10, data-selection, ",
    ):
        load_suite("digit")
