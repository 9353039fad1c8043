"""`joulebit meter`: results on stdout, one JSON object, exit codes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import pytest

from joulebit.cli.main import run
from joulebit_host.meters.emulators.curve import Constant
from joulebit_host.meters.emulators.faults import FaultPlan
from joulebit_host.meters.emulators.ina226 import InaEmulator
from joulebit_host.meters.emulators.pty import PtyServer


@pytest.fixture
def port(tmp_path):
    with PtyServer(InaEmulator(Constant(3.0), interval_s=0.01), tmp_path / "tty") as server:
        yield server.path


def json_of(capsys):
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    return json.loads(out)


def test_list(capsys):
    assert run(["meter", "list", "--json"]) == 0
    result = json_of(capsys)
    assert {kind["kind"] for kind in result["kinds"]} >= {"ina226", "wt300", "rapl", "replay"}
    assert all(set(found) == {"spec", "title", "usable", "hint"} for found in result["meters"])
    assert run(["meter", "list"]) == 0
    assert "Yokogawa" in capsys.readouterr().out


def test_list_options_of_a_kind(capsys):
    assert run(["meter", "list", "--options", "ina226", "--json"]) == 0
    names = [option["name"] for option in json_of(capsys)["options"]]
    assert "shunt_ohm" in names
    assert run(["meter", "list", "--options", "wt300"]) == 0
    assert "RMS" in capsys.readouterr().out


def test_read(port, capsys):
    assert run(["meter", "read", f"ina226:{port}?interval_s=0.01", "--seconds", "0.5", "--json"]) == 0
    result = json_of(capsys)
    assert {"samples", "mean_w", "energy_j", "seconds", "dropped", "faults"} <= result.keys()
    assert result["mean_w"] == pytest.approx(3.0, abs=0.01)
    assert result["energy_j"] == pytest.approx(3.0 * result["seconds"], rel=0.01)
    assert result["faults"] == {}


def test_read_a_number_of_samples_as_csv(port, capsys):
    assert run(["meter", "read", f"ina226:{port}?interval_s=0.01", "--samples", "7", "--csv"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("t_s,power_w")
    assert len(lines) == 8
    assert all(line.split(",")[1].startswith(("2.9", "3")) for line in lines[1:])


def test_faults_reach_the_json(tmp_path, capsys):
    faults = FaultPlan.parse(["corrupt=0.3", "unplug@0.5+0.3"])
    with PtyServer(InaEmulator(Constant(3.0), interval_s=0.01, faults=faults), tmp_path / "tty") as server:
        assert run(["meter", "read", f"ina226:{server.path}?interval_s=0.01", "--seconds", "2", "--json"]) == 0
    result = json_of(capsys)
    assert result["faults"]["unplugged"] == 1
    assert result["faults"]["checksum"] + result["faults"].get("framing", 0) > 5
    assert result["gap_s"] > 0.2
    assert result["dropped"] > 5


def test_record_and_replay(port, tmp_path, capsys):
    file = tmp_path / "run.evidence.jsonl"
    spec = f"ina226:{port}?interval_s=0.01"
    assert run(["meter", "record", spec, "-o", str(file), "--seconds", "0.4", "--json"]) == 0
    recorded = json_of(capsys)
    assert recorded["recording"] == str(file)
    assert run(["meter", "read", f"replay:{file}", "--json"]) == 0
    replayed = json_of(capsys)
    for key in ("samples", "mean_w", "energy_j", "seconds", "dropped", "faults", "gap_s", "identity"):
        assert replayed[key] == recorded[key]
    assert run(["meter", "record", spec, "-o", str(file), "--seconds", "0.4"]) != 0
    assert "exists already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["read", "ina22:/x"], 2, "did you mean ina226"),
        (["read", "ina226:/no/such/port"], 2, "cannot open /no/such/port"),
        (["read", "ina226:/x", "--seconds", "0"], 2, "--seconds"),
        (["read", "ina226:/x", "--csv", "--json"], 2, "exclude each other"),
        (["read", "replay:/none"], 2, "no such recording"),
        (["record", "ina226:/x"], 2, "--output"),
        (["list", "--options", "x"], 2, "unknown meter"),
        (["emulate", "ina22"], 2, "did you mean ina226"),
        (["emulate", "ina226", "--curve", "stps:0=1"], 2, "did you mean steps"),
        (["emulate", "ina226", "--set", "shunt=1"], 2, "did you mean shunt_ohm"),
        (["emulate", "ina226", "--set", "shunt_ohm=x"], 2, "must be a number"),
        (["emulate", "ruideng", "--set", "model=UM99"], 2, "model must be one of"),
        (["emulate", "ina226", "--fault", "melt=1"], 2, "unknown fault"),
        (["emulate", "ina226", "--link", "/"], 2, "exists and is no link"),
        (["emulate", "ina226", "--link", "/no/such/folder/tty"], 2, "/no/such/folder"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments, code, said, capsys):
    assert run(["meter", *arguments]) == code
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_a_meter_that_says_nothing_fails_the_check(tmp_path, capsys):
    emulator = InaEmulator(Constant(3.0), interval_s=0.01, faults=FaultPlan.parse(["stall@0.2+100"]))
    with PtyServer(emulator, tmp_path / "tty") as server:
        time.sleep(0.3)
        assert run(["meter", "read", f"ina226:{server.path}", "--seconds", "0.4", "--json"]) == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out)["mean_w"] is None
    assert "no valid sample" in captured.err


def test_emulate_and_read_as_two_programs(tmp_path):
    link = tmp_path / "tty"
    command = [sys.executable, "-m", "joulebit.cli.main", "meter"]
    emulate = [
        *command,
        "emulate",
        "wt300",
        "--curve",
        "steps:0=2.5,0.5=3.5,period=1",
        "--link",
        str(link),
        "--json",
    ]
    process = subprocess.Popen(emulate, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 20
        while not link.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        read = subprocess.run(
            [*command, "read", f"wt300:{link}", "--seconds", "2", "--json"],
            capture_output=True,
            text=True,
            check=True,
        )
        result = json.loads(read.stdout)
        assert result["reading"] == "energy"
        assert result["mean_w"] == pytest.approx(3.0, rel=0.12)
    finally:
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=10)
    assert process.returncode == 0
    assert f"wt300:{link}" in err
    played = json.loads(out)
    assert played["true_mean_w"] == pytest.approx(3.0, rel=0.2)
    assert not link.exists()


def test_a_recording_ends_in_good_order_when_interrupted(port, tmp_path):
    file = tmp_path / "run.jsonl"
    command = [
        sys.executable,
        "-m",
        "joulebit.cli.main",
        "meter",
        "record",
        f"ina226:{port}",
        "-o",
        str(file),
        "--json",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and (not file.exists() or file.stat().st_size < 5000):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=10)
    assert process.returncode == 0
    assert json.loads(out)["samples"] > 5
    assert b'"type":"end"' in file.read_bytes().splitlines()[-1]
