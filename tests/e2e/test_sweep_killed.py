"""A sweep whose workers are killed while they train."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from joulebit.experiments.config import load_config
from joulebit.experiments.run import run_training
from joulebit.experiments.rundir import RunDirectory
from joulebit.train.progress import SilentProgress

BASE = "digits-lenet-fixed"
LENGTH = ["training.epochs=0.5", "training.checkpoint_every=3", "data.test_limit=100"]


def swept(folder: Path, seeds: int, rates: list[float]) -> subprocess.Popen[str]:
    """`joulebit sweep` with two workers, just started."""
    description = folder / "killed.toml"
    description.write_text(
        f"base = {BASE!r}\nset = {json.dumps(LENGTH)}\nseeds = {seeds}\n[grid]\ntraining.learning_rate = {rates}\n"
    )
    command = ["sweep", str(description), "--workers", "2", "--out-dir", str(folder / "out"), "--json"]
    return subprocess.Popen([sys.executable, "-m", "joulebit.cli", *command], stdout=subprocess.PIPE, text=True)


def kill_a_worker(folder: Path, process: subprocess.Popen[str], killed: set[int]) -> Path | None:
    """SIGKILL to the process that trains some run which has a checkpoint; that run, or None when all is over."""
    while process.poll() is None:
        for run in folder.glob("out/runs/*/*"):
            if (run / "summary.json").exists() or not list(run.glob("checkpoints/step-*.npz")):
                continue
            owner = (run / ".lock").read_text().strip()
            if owner and int(owner) not in killed:
                killed.add(int(owner))
                os.kill(int(owner), signal.SIGKILL)
                return run
        time.sleep(0.01)
    return None


def one_by_one(folder: Path, seeds: int, rates: list[float]) -> set[str]:
    """The hashes of the same runs, trained here one after the other."""
    hashes = set()
    for rate in rates:
        for seed in range(seeds):
            config = load_config(BASE, [*LENGTH, f"training.learning_rate={rate}", f"seed={seed}"])
            with RunDirectory.create(folder / f"{rate}-{seed}", config) as run:
                hashes.add(run_training(config, run, False, None, SilentProgress())["weights_sha256"])
    return hashes


def check(tmp_path: Path, seeds: int, rates: list[float], deaths: int) -> dict[str, Any]:
    process = swept(tmp_path, seeds, rates)
    killed: set[int] = set()
    hit = [kill_a_worker(tmp_path, process, killed) for _ in range(deaths)]
    output = process.communicate(timeout=600)[0]
    assert process.returncode == 0
    assert None not in hit, "every run was over before a worker could be killed"
    result: dict[str, Any] = json.loads(output)
    runs = result["runs"]
    assert len(runs) == seeds * len(rates) == len({row["key"] for row in runs})
    assert all(row["status"] == "done" for row in runs)
    for run in hit:
        assert run is not None
        assert json.loads((run / "run.json").read_text())["resumed"], f"{run} was not taken up again"
    lines = (tmp_path / "out" / "results.jsonl").read_text().splitlines()
    assert len(lines) == len(runs)  # none twice
    assert {row["weights_sha256"] for row in runs} == one_by_one(tmp_path, seeds, rates)
    return result


def test_a_killed_worker_costs_no_result_and_no_bit(tmp_path: Path) -> None:
    check(tmp_path, seeds=2, rates=[0.05, 0.1], deaths=1)


@pytest.mark.slow
def test_24_runs_with_two_workers_one_killed_twice(tmp_path: Path) -> None:
    check(tmp_path, seeds=6, rates=[0.02, 0.05, 0.1, 0.2], deaths=2)


def test_a_sweep_that_is_killed_itself_goes_on(tmp_path: Path) -> None:
    process = swept(tmp_path, 2, [0.05, 0.1])
    while process.poll() is None and not list(tmp_path.glob("out/runs/*/*/checkpoints/step-*.npz")):
        time.sleep(0.01)
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 60  # its workers notice that they are orphans, and let go of their runs
    again = swept(tmp_path, 2, [0.05, 0.1])
    output = again.communicate(timeout=600)[0]
    assert again.returncode == 0 and time.monotonic() < deadline + 600
    assert {row["weights_sha256"] for row in json.loads(output)["runs"]} == one_by_one(tmp_path, 2, [0.05, 0.1])
