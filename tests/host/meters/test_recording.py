"""Recordings: what is read again is what came, also after a crash."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from joulebit.errors import JoulebitError
from joulebit_host.meters.collect import collect
from joulebit_host.meters.emulators.curve import Constant
from joulebit_host.meters.emulators.faults import FaultPlan
from joulebit_host.meters.emulators.ina226 import InaEmulator
from joulebit_host.meters.emulators.pty import PtyServer
from joulebit_host.meters.recording import Recording, create_recording
from joulebit_host.meters.registry import open_meter


@pytest.fixture
def recording(tmp_path):
    """A recording of 0.6 s with damage and an unplugging, and the summary as it was seen live."""
    faults = FaultPlan.parse(["corrupt=0.1", "unplug@0.3+0.1"])
    with PtyServer(InaEmulator(Constant(3.0), interval_s=0.005, faults=faults), tmp_path / "tty") as server:
        meter = open_meter(f"ina226:{server.path}?interval_s=0.005")
        path = tmp_path / "run.evidence.jsonl"
        with create_recording(path, meter) as log:
            summary = collect(meter, seconds=0.8, log=log)
        meter.close()
    return path, summary


def test_a_recording_gives_the_same_energy_again(recording):
    path, live = recording
    assert live.samples > 30
    assert Recording(path).summary() == live
    replayed = collect(open_meter(f"replay:{path}"))
    assert replayed == live


def test_a_torn_last_line_ends_the_recording(recording, tmp_path):
    path, _ = recording
    whole = list(Recording(path))
    torn = tmp_path / "torn.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    torn.write_bytes(b"".join(lines[:-3]) + lines[-3][:20])
    assert list(Recording(torn)) == whole[: len(list(Recording(torn)))]
    assert len(list(Recording(torn))) >= len(whole) - 3


def test_an_altered_byte_is_refused(recording, tmp_path):
    path, _ = recording
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    altered = tmp_path / "altered.jsonl"
    altered.write_bytes(data)
    with pytest.raises(JoulebitError):
        list(Recording(altered))


def test_a_file_that_is_no_recording(tmp_path):
    other = tmp_path / "x"
    other.write_text("hello\n")
    with pytest.raises(JoulebitError):
        Recording(other)


def test_a_killed_recorder_leaves_what_it_had(tmp_path):
    path = tmp_path / "run.jsonl"
    with PtyServer(InaEmulator(Constant(3.0), interval_s=0.005), tmp_path / "tty") as server:
        command = [
            sys.executable,
            "-m",
            "joulebit.cli.main",
            "meter",
            "record",
            f"ina226:{server.path}",
            "-o",
            path,
        ]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and (not path.exists() or path.stat().st_size < 10_000):
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    summary = Recording(path).summary()
    assert summary.samples > 10
    assert summary.mean_w == pytest.approx(3.0, abs=0.01)
