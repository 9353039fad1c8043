"""A run that was killed goes on to the same bits."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

CONFIG = """
name = "killed"
engine = "{engine}"
[data]
name = "digits"
mirror = true
shift = 1
train_limit = 160
test_limit = 40
[model]
name = "resnet8"
[training]
epochs = 3
batch_size = 16
statistics_samples = 32
checkpoint_every = 3
evaluate_every_epochs = 1.0
[method]
update = "{update}"
swa = true
swa_start = 0.0
"""

METHODS = {
    "sgd": CONFIG.format(engine="numpy", update="sgd"),
    "e2train": CONFIG.format(engine="numpy", update="psg")
    + "[method.smd]\nprobability = 0.3\n[method.slu]\ntarget_skip = 0.3\n",
    "selection": CONFIG.format(engine="numpy", update="sgd")
    + "[method.data_selection]\napproach = 'loss'\nratio = 0.7\nrenew_every = 1\n",
}


# Small matrices: more threads would only wait for each other.
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def command(config: Path, run_dir: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "joulebit.cli", "train", str(config), "--run-dir", str(run_dir), "--json", *more]


def finish(config: Path, run_dir: Path, *more: str) -> dict[str, object]:
    done = subprocess.run(
        command(config, run_dir, *more), capture_output=True, text=True, env=ENVIRONMENT, check=False
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def kill_after_checkpoints(config: Path, run_dir: Path, checkpoints: int, how: signal.Signals, *more: str) -> int:
    """Start a run, send a signal once that many checkpoints were written, return the exit code."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command(config, run_dir, *more), env=ENVIRONMENT, **quiet)
    seen: set[str] = set()
    deadline = time.monotonic() + 120
    while len(seen) < checkpoints and process.poll() is None and time.monotonic() < deadline:
        folder = run_dir / "checkpoints"
        seen |= {name for name in os.listdir(folder) if name.endswith(".npz")} if folder.is_dir() else set()
        time.sleep(0.005)
    assert process.poll() is None, "the run ended before it could be killed"
    process.send_signal(how)
    return process.wait()


@pytest.mark.parametrize("method", sorted(METHODS))
def test_a_run_killed_twice_ends_with_the_same_weights_counters_and_metrics(method: str, tmp_path: Path) -> None:
    config = tmp_path / "run.toml"
    config.write_text(METHODS[method])
    whole = finish(config, tmp_path / "whole")
    killed = tmp_path / "killed"
    assert kill_after_checkpoints(config, killed, 2, signal.SIGKILL) == -signal.SIGKILL
    assert kill_after_checkpoints(config, killed, 3, signal.SIGKILL, "--resume") == -signal.SIGKILL
    resumed = finish(config, killed, "--resume")
    for key in ("weights_sha256", "top1", "counters", "energy_simulated_j", "steps", "config_hash"):
        assert resumed[key] == whole[key], key
    assert (killed / "metrics.jsonl").read_text() == (tmp_path / "whole" / "metrics.jsonl").read_text()


@pytest.mark.parametrize(("how", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_saves_its_state_and_says_so_by_its_exit_code(
    how: signal.Signals, code: int, tmp_path: Path
) -> None:
    config = tmp_path / "run.toml"
    config.write_text(METHODS["sgd"])
    whole = finish(config, tmp_path / "whole")
    stopped = tmp_path / "stopped"
    assert kill_after_checkpoints(config, stopped, 1, how) == code
    resumed = finish(config, stopped, "--resume")
    assert resumed["weights_sha256"] == whole["weights_sha256"]


def test_a_run_is_resumed_on_another_engine_to_the_same_weights(tmp_path: Path) -> None:
    config = tmp_path / "run.toml"
    config.write_text(METHODS["e2train"])
    whole = finish(config, tmp_path / "whole")
    moved = tmp_path / "moved"
    assert kill_after_checkpoints(config, moved, 2, signal.SIGKILL) == -signal.SIGKILL
    resumed = finish(config, moved, "--resume", "--engine", "numba")
    assert resumed["weights_sha256"] == whole["weights_sha256"]
    assert resumed["engine"] == "numba"
