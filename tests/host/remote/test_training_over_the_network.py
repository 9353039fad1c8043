"""A training run whose convolutions go through pynq's client to the server, which goes away in the middle."""

import json
import re
import subprocess
import time

import pytest

from joulebit.experiments.config import load_config
from joulebit.experiments.run import run_training
from joulebit.experiments.rundir import RunDirectory

SETTINGS = [
    "training.iterations=12",
    "training.batch_size=8",
    "training.checkpoint_every=1",
    "training.statistics_samples=16",
    "data.train_limit=100",
    "data.test_limit=20",
]


@pytest.mark.slow
@pytest.mark.pynq
def test_a_run_goes_on_after_its_board_was_gone_to_the_same_weights(serve_process, client_environment, tmp_path):
    python, environment = client_environment
    run = tmp_path / "run"

    def train(address, *more):
        command = [python, "-m", "joulebit.cli.main", "train", "digits-lenet-fixed", "--engine", "overlay"]
        command += [
            "--board",
            f"remote:{address}",
            "--array-config",
            "open",
            "--run-dir",
            str(run),
            "--json",
            *more,
        ]
        command += [word for setting in SETTINGS for word in ("--set", setting)]
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )

    process, address = serve_process("--memory-mb", "64")
    first = train(address)
    deadline = time.monotonic() + 120
    metrics = run / "metrics.jsonl"
    while not (metrics.exists() and metrics.read_text().count("\n") >= 3) and first.poll() is None:
        assert time.monotonic() < deadline, "no step in two minutes"
        time.sleep(0.02)
    process.kill()
    _, err = first.communicate(timeout=60)
    assert first.returncode not in (0, 1, 70), err
    assert re.search(r"joulebit: remote:127\.0\.0\.1:\d+ does not answer", err), err

    out, err = train(serve_process("--memory-mb", "64")[1], "--resume").communicate(timeout=120)
    summary = json.loads(out)
    config = load_config("digits-lenet-fixed", [*SETTINGS, "engine=numpy"])
    with RunDirectory.create(tmp_path / "alone", config) as folder:
        alone = run_training(config, folder)
    assert summary["steps"] == 12
    assert summary["weights_sha256"] == alone["weights_sha256"]
    reports = json.loads((run / "accelerator.json").read_text())
    assert len(reports) == 2 and all(report["passes"]["forward"] for report in reports)
