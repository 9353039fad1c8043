"""Ranking by accuracy against joules: fronts by hand, and suites that ask for them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from joulebit.cli.main import run
from joulebit.experiments.config import ConfigError
from joulebit.experiments.pareto import figure, front, ranked, render, write
from joulebit.experiments.suite import load_suite, suite_names

SURVEYS = ("survey", "survey-mnist", "survey-cifar10")


def row(label: str, energy: float, top1: float | None, finished: bool = True) -> dict[str, Any]:
    return {
        "label": label,
        "energy_simulated_j": energy,
        "top1": top1,
        "finished": finished,
        "energy_table": "45nm",
        "saving_vs_float32": None,
        "mac_saving": None,
    }


ROWS = [
    row("dear", 9.0, 99.0),
    row("worse", 5.0, 90.0),
    row("good", 4.0, 95.0),
    row("twin", 4.0, 95.0),
    row("cheap", 1.0, 80.0),
    row("worst", 6.0, 70.0),
    row("stopped", 0.5, None, finished=False),
]


def test_ranks_are_fronts_one_after_the_other() -> None:
    found = ranked(ROWS, {"good": "a"}, test_samples=400)
    assert [(r["number"], r["label"], r["rank"]) for r in found] == [
        (1, "cheap", 1), (2, "good", 1), (3, "twin", 1), (4, "dear", 1), (5, "worse", 2), (6, "worst", 3),
        (7, "stopped", None),
    ]  # fmt: skip
    by_label = {r["label"]: r for r in found}
    assert by_label["worse"]["dominated_by"] == "good"
    assert by_label["worst"]["dominated_by"] == "cheap"
    assert by_label["twin"]["dominated_by"] is by_label["stopped"]["dominated_by"] is None
    assert by_label["good"]["class"] == "a"
    assert by_label["cheap"]["top1_error"] == pytest.approx(2.0)
    assert [r["label"] for r in front(found)] == ["cheap", "good", "twin", "dear"]
    assert "rank" not in ROWS[0]


def test_no_row_of_the_front_is_beaten_whatever_the_numbers() -> None:
    import random

    generator = random.Random(5)
    rows = [row(str(i), generator.randrange(12), generator.randrange(12)) for i in range(60)]
    found = ranked(rows)
    best = front(found)
    for one in found:
        beaten = [
            other
            for other in rows
            if other["top1"] >= one["top1"]
            and other["energy_simulated_j"] <= one["energy_simulated_j"]
            and (other["top1"], other["energy_simulated_j"]) != (one["top1"], one["energy_simulated_j"])
        ]
        assert bool(beaten) == (one not in best)


def test_table_figure_and_files(tmp_path: Path) -> None:
    found = ranked(ROWS, {"good": "a", "dear": "b"}, test_samples=360)
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(render(found))
    text = console.export_text()
    assert "rank 1 is the Pareto front" in text
    assert "stopped" in text and "standard deviation of about" in text
    drawing = figure(found)
    assert drawing and all(f">{row['label']}<" in drawing.svg for row in found if row["rank"])
    assert ">stopped<" not in drawing.svg
    paths = write(found, tmp_path / "out")
    assert [path.name for path in paths] == ["pareto.json", "pareto.svg", "pareto.png"]
    report = json.loads(paths[0].read_text())
    assert report["front"] == ["cheap", "good", "twin", "dear"]
    assert paths[1].read_text().startswith('<svg xmlns="http://www.w3.org/2000/svg"')
    assert figure(ranked([ROWS[-1]])) is None


@pytest.mark.parametrize("name", SURVEYS)
def test_surveys_have_every_class_and_a_baseline(name: str) -> None:
    suite = load_suite(name)
    assert suite.pareto and name in suite_names()
    groups = {run.group for run in suite.runs}
    assert groups >= {
        "baseline",
        "quantisation",
        "fewer multiplications",
        "pruning",
        "distillation",
        "data selection",
    }
    assert "" not in groups
    folders = [run.folder for run in suite.runs]
    assert len(set(folders)) == len(folders)


SUITE = """
set = [
    "data.name=digits", "data.train_limit=40", "data.test_limit=20", "training.iterations=2",
    "training.statistics_samples=16", "engine=numpy", "training.batch_size=10",
]
pareto = true
[[runs]]
name = "teacher"
class = "plain"
preset = "digits-resnet8-fixed"
[[runs]]
name = "pupil"
class = "taught"
preset = "digits-resnet8-fixed"
set = ['method.distillation.teacher="suite:teacher"']
"""


def test_a_ranked_suite_teaches_writes_and_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "two.toml"
    file.write_text(SUITE)
    arguments = ["compare", "--suite", str(file), "--out-dir", str(tmp_path / "runs")]
    assert run([*arguments, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert {r["label"]: r["class"] for r in report["rows"]} == {"teacher": "plain", "pupil": "taught"}
    assert set(report["front"]) <= {"teacher", "pupil"}
    assert all(Path(path).is_file() for path in report["files"])
    pupil = next(r for r in report["rows"] if r["label"] == "pupil")
    summary = json.loads((Path(pupil["run"]) / "summary.json").read_text())
    assert summary["energy_simulated_j"]["by_phase"]["teacher"] > 0
    assert run([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == report
    assert run(arguments) == 0
    text = capsys.readouterr()
    assert "rank 1 is the Pareto front" in text.out
    assert "pareto.json" in text.err


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("pareto = true", 'pareto = "yes"', "pareto must be true or false"),
        ('class = "plain"', "class = 3", "class must be a text"),
        ("suite:teacher", "suite:nobody", "'suite:nobody' must name a run before it: teacher"),
    ],
)
def test_bad_suites_are_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    file = tmp_path / "bad.toml"
    file.write_text(SUITE.replace(old, new))
    with pytest.raises(ConfigError, match=message):
        load_suite(file)
