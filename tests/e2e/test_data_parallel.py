"""Runs of several processes under torchrun end with the bits of one process, also after a worker was killed."""

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

from joulebit.cli import main as command

CONFIG = """
name = "shared"
engine = "numpy"
[data]
name = "digits"
mirror = true
shift = 1
train_limit = 120
test_limit = 41
[model]
name = "resnet8"
[training]
epochs = 2
batch_size = 17
statistics_samples = 33
checkpoint_every = 2
evaluate_every_epochs = 1.0
[method]
"""

METHODS = {
    "e2train": CONFIG
    + 'update = "psg"\nswa = true\nswa_start = 0.0\n[method.smd]\nprobability = 0.3\n'
    + "[method.slu]\ntarget_skip = 0.3\n",
    "batches smaller than the workers": CONFIG.replace("batch_size = 17", "batch_size = 3").replace("120", "20"),
    "lenet": CONFIG.replace("resnet8", "lenet5").replace('"digits"', '"digits32"').replace("numpy", "numba"),
    "stochastic rounding, slu": CONFIG.replace("[method]", '[arithmetic]\nrounding = "stochastic"\n[method]')
    + "[method.slu]\ntarget_skip = 0.3\n",
    "stochastic depth, narrow accumulator": CONFIG.replace(
        "[method]", "[arithmetic]\naccumulator_bits = 24\n[method]"
    )
    + 'update = "sign"\n[method.stochastic_depth]\nfinal_survival = 0.4\n',
    "torch": CONFIG.replace('"numpy"', '"torch"').replace("epochs = 2", "epochs = 1"),
}
SAME = (
    "weights_sha256",
    "top1",
    "top5",
    "counters",
    "energy_simulated_j",
    "predictor_error",
    "steps",
    "config_hash",
)

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
TIMEOUT_S = 120


@pytest.fixture
def run(tmp_path: Path) -> Any:
    """The tools of a test: one configuration, and runs of it in folders of their own."""
    return Runs(tmp_path)


class Runs:
    """Runs of one configuration with any number of workers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "run.toml"

    def arguments(self, name: str, *more: str) -> list[str]:
        return ["train", str(self.config), "--run-dir", str(self.folder / name), "--json", *more]

    def alone(self, name: str, capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, Any]:
        """In this process."""
        assert command.run(self.arguments(name, *more)) == 0
        return dict(json.loads(capsys.readouterr().out))

    def start(self, name: str, workers: int, *more: str, launcher: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={workers}", *launcher]
        arguments = [sys.executable, *torchrun, "-m", "joulebit.cli", *self.arguments(name, *more)]
        pipe = subprocess.PIPE
        return subprocess.Popen(arguments, stdout=pipe, stderr=pipe, text=True, env=ENVIRONMENT)

    def finish(self, name: str, workers: int, *more: str) -> dict[str, Any]:
        process = self.start(name, workers, *more)
        out, err = process.communicate(timeout=TIMEOUT_S)
        assert process.returncode == 0, err
        assert out.count("\n") == 1
        return dict(json.loads(out))

    def wait_for_checkpoints(self, name: str, process: subprocess.Popen[str], count: int) -> None:
        seen: set[str] = set()
        deadline = time.monotonic() + TIMEOUT_S
        folder = self.folder / name / "checkpoints"
        while len(seen) < count and process.poll() is None and time.monotonic() < deadline:
            seen |= {file.name for file in folder.glob("*.npz")}
            time.sleep(0.005)
        assert process.poll() is None, "the run ended too early"

    def metrics(self, name: str) -> str:
        return (self.folder / name / "metrics.jsonl").read_text()


def worker_pid(launcher: subprocess.Popen[str], rank: int) -> int:
    children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
    variable = f"RANK={rank}".encode()
    return next(int(pid) for pid in children if variable in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"))


def own_lines(errors: str) -> list[str]:
    return [line for line in errors.splitlines() if line.startswith("joulebit: ")]


def lost(process: subprocess.Popen[str]) -> None:
    """The launcher ends soon with an error, and one line says what happened and how to go on."""
    _, err = process.communicate(timeout=40)
    assert process.returncode not in (0, None)
    (line,) = own_lines(err)
    assert "lost contact with another of" in line
    assert "the last checkpoint is whole" in line
    assert "--resume" in line


def same_result(runs: Runs, one: dict[str, Any], other: dict[str, Any], names: tuple[str, str]) -> None:
    for key in SAME:
        assert other[key] == one[key], key
    assert runs.metrics(names[1]) == runs.metrics(names[0])


def test_a_run_whose_worker_is_killed_goes_on_with_other_numbers_of_workers(
    run: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    run.config.write_text(METHODS["e2train"])
    whole = run.alone("whole", capsys)
    process = run.start("killed", 2)
    run.wait_for_checkpoints("killed", process, 2)
    os.kill(worker_pid(process, 1), signal.SIGKILL)
    lost(process)
    process = run.start("killed", 3, "--resume")
    run.wait_for_checkpoints("killed", process, 3)
    os.kill(worker_pid(process, 2), signal.SIGTERM)  # one worker is asked to stop: all do
    _, err = process.communicate(timeout=TIMEOUT_S)
    (line,) = own_lines(err)
    assert "stopped by SIGTERM after step" in line
    resumed = run.alone("killed", capsys, "--resume")
    same_result(run, whole, resumed, ("whole", "killed"))
    record = json.loads((run.folder / "killed" / "run.json").read_text())
    assert [record["workers"], *(start["workers"] for start in record["resumed"])] == [2, 3, 1]


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_any_number_of_workers_gives_the_bits_of_one(
    method: str, run: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    run.config.write_text(METHODS[method])
    whole = run.alone("1", capsys)
    for workers in (2, 3, 4):
        same_result(run, whole, run.finish(str(workers), workers), ("1", str(workers)))


@pytest.mark.slow
def test_the_first_worker_may_be_killed_too(run: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    run.config.write_text(METHODS["e2train"])
    whole = run.alone("whole", capsys)
    process = run.start("killed", 3)
    run.wait_for_checkpoints("killed", process, 2)
    os.kill(worker_pid(process, 0), signal.SIGKILL)
    lost(process)
    same_result(run, whole, run.finish("killed", 4, "--resume"), ("whole", "killed"))


@pytest.mark.slow
def test_a_worker_that_hangs_is_given_up_after_the_timeout(run: Runs) -> None:
    run.config.write_text(METHODS["e2train"])
    process = run.start("hung", 2, "--worker-timeout", "5")
    run.wait_for_checkpoints("hung", process, 2)
    hung = worker_pid(process, 1)
    os.kill(hung, signal.SIGSTOP)
    try:
        time.sleep(10)
    finally:
        os.kill(hung, signal.SIGCONT)
    lost(process)


@pytest.mark.slow
def test_torchrun_restarts_a_run_by_itself(run: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    run.config.write_text(METHODS["e2train"])
    whole = run.alone("whole", capsys)
    process = run.start("restarted", 2, "--resume", launcher=("--max-restarts=1",))
    run.wait_for_checkpoints("restarted", process, 2)
    os.kill(worker_pid(process, 0), signal.SIGKILL)
    out, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, err
    same_result(run, whole, json.loads(out), ("whole", "restarted"))


@pytest.mark.slow
def test_an_error_of_all_workers_is_one_line(run: Runs) -> None:
    run.config.write_text(METHODS["e2train"].replace("resnet8", "resnet9"))
    process = run.start("wrong", 3)
    _, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode not in (0, None)
    (line,) = own_lines(err)
    assert "a CIFAR ResNet has depth 6n + 2" in line
    assert not (run.folder / "wrong").exists()
