"""Comparing runs: exact rows and one-line errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from joulebit.errors import JoulebitError
from joulebit.experiments.compare import compare, joules, percent, render
from joulebit.experiments.config import load_config
from joulebit.experiments.results import load_result, method_title
from joulebit.experiments.rundir import RunDirectory, read_summary
from joulebit.experiments.seeds import AVERAGED, averaged


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, make_run: Any) -> list[Path]:
    """float32, fixed-point and E²-Train runs of the same length."""
    folder = tmp_path_factory.mktemp("runs")
    return [
        make_run(folder / "f32", "digits-resnet8-float32", top1=97.5),
        make_run(folder / "fx", "digits-resnet8-fixed", top1=97.0),
        make_run(folder / "e2", "digits-resnet8-e2train", ("method.smd.energy_ratio=0.5",), top1=95.0),
    ]


def test_rows_hold_what_the_summaries_say(runs: list[Path]) -> None:
    for row, run in zip(compare(runs), runs):
        summary = read_summary(run)
        assert row["run"] == str(run)
        assert row["energy_simulated_j"] == summary["energy_simulated_j"]["total"]
        for key in ("top1", "top5", "saving_vs_float32", "weights_sha256", "steps", "config_hash"):
            assert row[key] == summary[key], key
        json.dumps(row, allow_nan=False)


def test_methods_have_the_paper_s_names(runs: list[Path]) -> None:
    assert [row["method"] for row in compare(runs)] == ["float32 SGD", "fixed-point SGD", "E²-Train"]


@pytest.mark.parametrize(
    ("overrides", "title"),
    [
        (["method.smd.probability=0.5"], "SMD"),
        (["method.slu.target_skip=0.2"], "SLU"),
        (["method.slu.target_skip=0.2", "method.smd.probability=0.5"], "SMD+SLU"),
        (["method.stochastic_depth.final_survival=0.5"], "SD"),
        (["method.update=sign"], "SignSGD"),
        (["method.update=psg"], "PSG"),
        (["method.update=psg", "method.smd.probability=0.5"], "PSG+SMD"),
        (["engine=float32", "method.update=sign"], "float32 SignSGD"),
        (["engine=float32", "method.smd.probability=0.5"], "float32 SMD"),
        (["engine=float32", "training.adam.enabled=true"], "float32 Adam"),
        (
            ["engine=float32", "training.adam.enabled=true", "method.variational.enabled=true"],
            "float32 Adam+Bayesian",
        ),
        (["method.exits.count=2"], "exits"),
    ],
)
def test_titles(overrides: list[str], title: str) -> None:
    assert method_title(load_config("digits-resnet8-fixed", overrides)) == title


def test_the_float32_run_is_the_baseline(runs: list[Path]) -> None:
    float32, fixed, e2 = compare(runs)
    assert float32["energy_ratio"] == 1 and float32["top1_against_baseline"] is None
    assert fixed["energy_ratio"] == fixed["energy_simulated_j"] / float32["energy_simulated_j"]
    assert {row["baseline"] for row in (float32, fixed, e2)} == {"float32 SGD"}
    assert e2["top1_against_baseline"] == -2.5


def test_without_a_float32_run_the_fixed_point_run_is_the_baseline(runs: list[Path]) -> None:
    fixed, e2 = compare(runs[1:])
    assert fixed["baseline"] == e2["baseline"] == "fixed-point SGD"
    assert e2["energy_ratio"] == e2["energy_simulated_j"] / fixed["energy_simulated_j"]


def test_alone_a_run_is_compared_with_modelled_float32(runs: list[Path]) -> None:
    for run in runs[1:]:
        (row,) = compare([run])
        assert row["baseline"] == "float32 SGD (modelled, not run)"
        assert row["energy_ratio"] == pytest.approx(1 - row["saving_vs_float32"], rel=1e-12)


def test_runs_of_another_length_are_no_baseline(runs: list[Path], tmp_path: Path, make_run: Any) -> None:
    longer = make_run(tmp_path / "long", "digits-resnet8-float32", ("training.iterations=30",))
    row = compare([longer, runs[1]])[1]
    assert row["baseline"] == "float32 SGD (modelled, not run)"


def test_mac_saving_counts_dropped_batches_and_closed_blocks(runs: list[Path]) -> None:
    float32, fixed, e2 = compare(runs)
    assert float32["mac_saving"] == 0 and fixed["mac_saving"] == 0
    counters = load_result(runs[2]).counters
    # Half of the batches of the standard run are computed; in a third of those block2 is closed.
    block = counters["skipped.forward.slu"] / counters["skipped.forward.smd"]
    assert e2["batch_share"] == 0.5
    assert 0.5 < e2["mac_saving"] < 0.5 + block  # the forward share is the largest
    assert e2["skip_ratio"] == pytest.approx(block, rel=1e-9)


def test_predictor_columns(runs: list[Path]) -> None:
    _, fixed, e2 = compare(runs)
    assert fixed["predictor_share"] is None and fixed["predictor_error"] is None
    assert e2["predictor_share"] == pytest.approx(0.75, abs=1e-3)
    assert e2["predictor_error"] == pytest.approx(0.125, abs=1e-2)


def test_equal_methods_are_told_apart(runs: list[Path], tmp_path: Path, make_run: Any) -> None:
    other = make_run(tmp_path / "seed1", "digits-resnet8-fixed", ("seed=1",))
    lenet = make_run(tmp_path / "lenet", "digits-lenet-fixed")
    names = [row["label"] for row in compare([runs[1], other, lenet])]
    assert names == [
        "fixed-point SGD · resnet8 · seed 0",
        "fixed-point SGD · resnet8 · seed 1",
        "fixed-point SGD · lenet5",
    ]


def test_an_unfinished_run_says_so(tmp_path: Path, make_run: Any) -> None:
    run = make_run(tmp_path / "half", "digits-resnet8-fixed", finished=False)
    (row,) = compare([run])
    assert not row["finished"] and row["state"] == "unfinished: 10 of 20 steps"
    assert row["saving_vs_float32"] is None and row["weights_sha256"] is None and row["energy_ratio"] is None
    assert row["top1"] == 80.0 and row["steps"] == 10
    assert "unfinished: 10 of 20 steps" in _text([row])


def test_the_table_shows_every_run_and_that_joules_are_simulated(runs: list[Path]) -> None:
    rows = compare(runs)
    text = _text(rows)
    assert "not measured" in text and "45nm" in text
    for row in rows:
        line = next(line for line in text.splitlines() if line.strip().startswith(row["label"]))
        assert f"{row['top1']:.2f} %" in line
        assert joules(row["energy_simulated_j"]) in line
        assert percent(row["saving_vs_float32"]) in line
        assert row["weights_sha256"][:12] in line


def _text(rows: list[dict[str, Any]]) -> str:
    console = Console(width=240, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(render(rows))
    return console.export_text()


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 J"), (1.5e-8, "15 nJ"), (2.14e-2, "21.4 mJ"), (3.07, "3.07 J"), (11_300, "11.3 kJ"), (2e6, "2 MJ")],
)
def test_joules_have_prefixes(value: float, text: str) -> None:
    assert joules(value) == text


def test_a_negative_saving_has_a_minus_sign() -> None:
    assert percent(-0.051) == "−5.1 %" and percent(None) == "–"


# --- what cannot be compared -------------------------------------------------------------------------------------


def test_missing_and_foreign_folders(tmp_path: Path) -> None:
    with pytest.raises(JoulebitError, match="no runs given"):
        compare([])
    with pytest.raises(JoulebitError, match="nowhere: no such folder"):
        compare([tmp_path / "nowhere"])
    with pytest.raises(JoulebitError, match=r"holds no run \(config\.toml is missing\)"):
        compare([tmp_path])
    (tmp_path / "file").write_text("")
    with pytest.raises(JoulebitError, match="file: is a file"):
        compare([tmp_path / "file"])


def test_a_run_without_metrics(tmp_path: Path) -> None:
    RunDirectory.create(tmp_path / "new", load_config("digits-resnet8-fixed")).close()
    with pytest.raises(JoulebitError, match="new has no metrics yet"):
        compare([tmp_path / "new"])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{]", "line 3 is no JSON"),
        ("[1]", "line 3 is damaged: its kind must be one of train, evaluation"),
        ('{"kind": "other"}', "line 3 is damaged: its kind"),
        ('{"kind": "evaluation", "step": 1}', "line 3 is damaged: it has no epoch"),
    ],
)
def test_damaged_metrics(tmp_path: Path, make_run: Any, line: str, message: str) -> None:
    file = make_run(tmp_path / "run", "digits-resnet8-fixed") / "metrics.jsonl"
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines[:2], line, *lines[2:]]) + "\n")
    with pytest.raises(JoulebitError, match=message):
        compare([tmp_path / "run"])


def test_a_damaged_summary(tmp_path: Path, make_run: Any) -> None:
    file = make_run(tmp_path / "run", "digits-resnet8-fixed") / "summary.json"
    file.write_text('{"top1": 1}')
    with pytest.raises(JoulebitError, match="damaged: it has no top5"):
        compare([tmp_path / "run"])
    file.write_text("{")
    with pytest.raises(JoulebitError, match="cannot be read"):
        compare([tmp_path / "run"])


def test_an_unfinished_run_leaves_its_group_unfinished() -> None:
    common = {"group": "g", "seed": 0, "finished": True, "state": "finished", **dict.fromkeys(AVERAGED, 1.0)}
    (row,) = averaged([common, common | {"seed": 1, "finished": False, "state": "at step 3", "top1": None}])
    assert (row["finished"], row["state"], row["top1"], row["top1_deviation"]) == (False, "at step 3", None, None)
    assert row["energy_simulated_j"] == 1.0
