"""The command: exit codes, one-line errors, and stdout that holds the result alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import types
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from cli_calls import one_json_object, one_line_error

from joulebit.cli.console import si
from joulebit.cli.main import run
from joulebit.errors import Interrupted
from joulebit.experiments import presets
from joulebit.experiments.config import load_config
from joulebit.experiments.rundir import RunDirectory

# Those of joulebit_host come by entry points.
COMMANDS = [
    "audit",
    "bench",
    "board",
    "calibrate",
    "compare",
    "efficiency",
    "measure",
    "meter",
    "paper",
    "presets",
    "report",
    "sweep",
    "train",
    "verify",
]


# --- the command itself ------------------------------------------------------------------------------------------


def test_help_lists_exactly_the_commands_that_exist(capsys):
    assert run(["--help"]) == 0
    out = capsys.readouterr().out
    listed = [line.split()[0] for line in out.partition("Commands:")[2].splitlines() if line.strip()]
    assert listed == COMMANDS


@pytest.mark.parametrize("command", [[name] for name in COMMANDS] + [["bench", "step"]])
def test_every_command_has_help(capsys, command):
    assert run([*command, "--help"]) == 0
    assert "Usage: joulebit" in capsys.readouterr().out


def test_the_version_is_printed(capsys):
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("joulebit, version ")


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ([], "Missing command. (`joulebit --help` tells more)"),
        (["bench"], "Missing command. (`joulebit bench --help` tells more)"),
        (["trian"], "No such command 'trian'"),
        (["train"], "Missing argument 'PRESET|FILE.toml'"),
        (
            ["train", "demo", "--engine", "cuda"],
            "'cuda' is not one of 'numpy', 'numba', 'torch', 'overlay'",
        ),
        (["train", "demo", "--sett", "a=1"], "No such option"),
        (["train", "dem"], "unknown preset 'dem' (did you mean demo?)"),
        (["train", "absent.toml"], "absent.toml: no such file"),
        (
            ["train", "demo", "--set", "training.epoch=1"],
            "unknown key 'epoch' in [training] (did you mean epochs?)",
        ),
        (["train", "demo", "--engine", "float32"], "must be sgd or sign, got psg"),
        (["compare"], "either run directories or --suite NAME"),
        (["report"], "Missing argument 'RUN...'"),
        (["verify", "--engines", "numpy,cuda"], "unknown engine 'cuda'; known: numpy, numba, torch"),
        (["verify", "--engines", "numpy"], "at least two engines"),
        (["paper", "e3-train"], "unknown paper 'e3-train' (did you mean e2-train?)"),
        (["paper", "--run", "nowhere"], "nowhere holds no run"),
        (["bench", "step", "--rounds", "0"], "0 is not in the range x>=1"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(capsys, arguments, part):
    assert part in one_line_error(capsys, *arguments)


@pytest.mark.parametrize(
    ("error", "code", "part"),
    [
        (ValueError("shift must be\nin [0, 31]"), 2, "shift must be in [0, 31]"),
        (PermissionError(13, "Permission denied", "/data/x"), 2, "/data/x: Permission denied"),
        (ModuleNotFoundError("No module named 'numba'", name="numba"), 2, "pip install 'joulebit[simulator]'"),
        (ModuleNotFoundError("No module named 'joulebit.x'", name="joulebit.x"), 70, "internal error"),
        (TypeError("None is not callable"), 70, "internal error: TypeError: None is not callable"),
        (AssertionError(), 70, "internal error: AssertionError"),
        (MemoryError(), 2, "out of memory: no more memory: take a smaller batch"),
        (MemoryError("Unable to allocate 9 GiB for an array"), 2, "out of memory: Unable to allocate 9 GiB"),
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB.\nGPU 0 has ..."),
            2,
            "CUDA out of memory. Tried to allocate 9 GiB: take a smaller batch (training.batch_size)",
        ),
        (KeyboardInterrupt(), 130, "stopped"),
    ],
)
def test_an_error_is_one_line_without_a_traceback(capsys, stand_in, error, code, part):
    def fail(*_):
        raise error

    stand_in("joulebit.experiments.report", write_report=fail)
    line = one_line_error(capsys, "report", "x", code=code)
    assert part in line
    assert ("--debug" in line) == (code == 70)


@pytest.mark.parametrize("by_environment", [False, True])
def test_debug_shows_the_traceback_and_keeps_the_exit_code(capsys, stand_in, monkeypatch, by_environment):
    def fail(*_):
        raise TypeError("deep inside")

    stand_in("joulebit.experiments.report", write_report=fail)
    if by_environment:
        monkeypatch.setenv("JOULEBIT_DEBUG", "1")
    assert run([*([] if by_environment else ["--debug"]), "report", "x"]) == 70
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" in err
    assert "in fail" in err


def test_warnings_are_one_line_on_stderr(capsys, stand_in):
    def warn(*_):
        warnings.warn("something\nodd", UserWarning, 2)
        return Path("x.html")

    stand_in("joulebit.experiments.report", write_report=warn)
    assert run(["report", "x"]) == 0
    out, err = capsys.readouterr()
    assert (out, err) == ("x.html\n", "joulebit: warning: something odd\n")


def test_the_help_needs_no_simulator_package_and_is_quick():
    code = (
        "import sys\n"
        "from joulebit.cli.main import run\n"
        "assert run(['--help']) == 0\n"
        "assert run(['presets']) == 0\n"
        "heavy = {'numba', 'torch', 'scipy', 'sklearn', 'matplotlib', 'jinja2'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_reader_that_goes_away_is_no_error():
    command = f"{sys.executable} -m joulebit.cli presets | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.count("\n") == 1


# --- presets -----------------------------------------------------------------------------------------------------


def test_presets_prints_one_line_each(capsys):
    assert run(["presets"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert [line.split()[0] for line in out.splitlines()] == presets.names()


def test_presets_as_json(capsys):
    rows = one_json_object(capsys, "presets")["presets"]
    assert [row["name"] for row in rows] == presets.names()
    assert set(rows[0]) == {"name", "description", "dataset", "model", "method", "engine"}
    by_name = {row["name"]: row for row in rows}
    assert by_name["paper-resnet74-cifar10-e2train-40"]["method"] == "psg+smd+slu"


# --- the other commands ------------------------------------------------------------------------------------------


@pytest.fixture
def comparison(stand_in):
    """A stand-in for comparing runs and training suites; keeps what it was given."""
    calls = types.SimpleNamespace(compared=[], suites=[], act=lambda: None)

    def compare(runs):
        calls.compared.append(runs)
        return [{"run": "a", "top1": float("nan")}]

    def run_suite(suite, out_dir, engine, data_dir, progress, announce):
        calls.suites.append((*suite.source, out_dir, engine, data_dir))
        announce("[1/1] psg begins")
        calls.act()
        return [Path("runs/suite/psg")]

    stand_in(
        "joulebit.experiments.compare",
        compare=compare,
        render=lambda rows: f"{len(rows)} row",
    )
    stand_in(
        "joulebit.experiments.suite",
        run_suite=run_suite,
        load_suite=lambda *source: types.SimpleNamespace(source=source, seeds=1),
        rank_suite=lambda *_: None,  # a suite that is shown in its order
    )
    stand_in("joulebit.experiments.pareto", as_dict=None, render=None, write=None)
    return calls


def test_compare_reads_runs(capsys, comparison):
    assert one_json_object(capsys, "compare", "a", "b") == {"rows": [{"run": "a", "top1": None}]}
    assert run(["compare", "a"]) == 0
    assert capsys.readouterr().out == "1 row\n"
    assert comparison.compared == [[Path("a"), Path("b")], [Path("a")]]
    assert comparison.suites == []


def test_compare_trains_a_suite_first(capsys, comparison):
    options = ["--set", "seed=1", "--engine", "numpy", "--data-dir", "d", "--out-dir", "o"]
    assert run(["compare", "--suite", "digits", *options, "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["rows"]
    assert "[1/1] psg begins" in err
    assert comparison.suites == [("digits", ("seed=1",), Path("o"), "numpy", Path("d"))]
    assert comparison.compared == [[Path("runs/suite/psg")]]


def test_an_interrupted_suite_says_how_to_go_on(capsys, comparison):
    def stop():
        raise Interrupted(15, 4)

    comparison.act = stop
    assert run(["compare", "--suite", "digits", "--set", "seed=1"]) == 143
    assert capsys.readouterr().err.endswith("go on with: joulebit compare --suite digits --set seed=1\n")


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["a", "--suite", "digits"], "either run directories or --suite"),
        (["a", "--engine", "numpy"], "belong to --suite"),
        (["--suite", "digits", "--engine", "float32"], "'float32' is not one of"),
    ],
)
def test_compare_takes_runs_or_a_suite(capsys, comparison, arguments, part):
    assert part in one_line_error(capsys, "compare", *arguments)


def test_report_prints_the_path_of_the_page(capsys, stand_in):
    given = []

    def write_report(runs, out):
        given.append((runs, out))
        return out or Path("runs/a/report.html")

    stand_in("joulebit.experiments.report", write_report=write_report)
    assert one_json_object(capsys, "report", "runs/a") == {"report": "runs/a/report.html"}
    assert one_json_object(capsys, "report", "a", "b", "-o", "x.html") == {"report": "x.html"}
    assert given == [([Path("runs/a")], None), ([Path("a"), Path("b")], Path("x.html"))]


@pytest.mark.parametrize(("identical", "code"), [(True, 0), (False, 1)])
def test_verify_exits_with_1_when_engines_differ(capsys, stand_in, identical, code):
    def verify(engines, progress):
        progress("conv 3x3")
        difference = None if identical else "conv 3x3: numba[0] = 1, numpy[0] = 2"
        return {"identical": identical, "engines": engines, "cases": 7, "first_difference": difference}

    stand_in("joulebit.experiments.verify", verify=verify)
    result = one_json_object(capsys, "verify", "--engines", "numpy, numba,numpy", code=code)
    assert (result["identical"], result["engines"], result["cases"]) == (identical, ["numpy", "numba"], 7)
    assert run(["verify"]) == code
    out, err = capsys.readouterr()
    assert ("agree to the bit in 7 cases" in out) == identical
    assert ("DIFFERENT: conv 3x3" in out) != identical
    assert "conv 3x3" in err


def test_paper_shows_rows_and_takes_runs(capsys, stand_in):
    given = []

    def rows(runs):
        given.append(runs)
        return [{"table": "2", "printed": 63.28, "computed": np.float64(60.3)}]

    stand_in("joulebit.experiments.papers.e2train", rows=rows)
    stand_in("joulebit.experiments.papers.rows", render=lambda rows: "a table")
    assert one_json_object(capsys, "paper") == {"rows": [{"table": "2", "printed": 63.28, "computed": 60.3}]}
    summary = {"top1": 97.5, "steps": 1234}
    with RunDirectory.create("r", load_config("demo")) as directory:
        directory.write_summary(summary)
    assert run(["paper", "e2-train", "--run", "r"]) == 0
    assert capsys.readouterr().out == "a table\n"
    assert given == [[], [summary]]


def test_bench_step_prints_a_ratio(capsys, stand_in):
    def bench_step(*, model, batch, threads, rounds, device):
        assert (model, batch, threads, rounds, device) == ("resnet20", 32, 1, 3, "cpu")
        return {"step_s": 0.1, "float32_step_s": 0.2, "ratio": 0.5, "device": device}

    stand_in("joulebit.bench.step", bench_step=bench_step)
    options = ["bench", "step", "--batch", "32", "--threads", "1", "--rounds", "3"]
    assert one_json_object(capsys, *options)["ratio"] == 0.5
    assert run(options) == 0
    assert "100.0 ms in integers, 200.0 ms in float32, ratio 0.500" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 J"), (1.5, "1.5 J"), (12345, "12.3 kJ"), (2.5e-4, "250 µJ"), (3e10, "30 GJ"), (1e-12, "1e-12 J")],
)
def test_joules_have_prefixes(value, text):
    assert si(value, "J") == text


def test_the_installed_entry_point_is_this_command():
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-m", "joulebit.cli", "train", "nothing"],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("joulebit: unknown preset 'nothing'")
