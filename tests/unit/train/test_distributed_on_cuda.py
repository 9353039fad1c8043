"""Workers whose large sums go between CUDA devices: two processes, each with emulated devices, gloo for nccl.

Everything runs as with nccl but nccl itself: devices are chosen, workers met, sums taken from the device and
brought back. Not yet run between GPUs.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from emulated_cuda import EmulatedCuda
from technique_bench import SMALL

from joulebit.cli import main as command
from joulebit.errors import JoulebitError
from joulebit.train.distributed import joined

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")

WORKER = """
import sys
from unittest import mock
import torch
import torch.distributed as dist
from emulated_cuda import EmulatedCuda
from joulebit.cli.main import run

begin = dist.init_process_group

def over_gloo(backends, **named):
    assert backends == "cpu:gloo,cuda:nccl"
    begin("gloo", **named)

with EmulatedCuda(devices=2) as cuda, mock.patch.object(dist, "init_process_group", over_gloo):
    code = run(sys.argv[1:])
    print(torch.cuda.current_device(), cuda.launches["allreduce_"], cuda.launches["_int_mm"] > 0, file=sys.stderr)
sys.exit(code)
"""
RUN = [
    "train", "digits-resnet8-psg", "--backend", "nccl", "--engine", "torch", "--json",
    *(word for key in (*SMALL, "training.iterations=3") for word in ("--set", key)),
]  # fmt: skip


def free_port() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return str(listener.getsockname()[1])


def test_two_workers_over_nccl_have_the_weights_of_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [*RUN, "--run-dir", str(tmp_path / "two")]
    shared = {
        **os.environ, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": free_port(), "PYTHONPATH": str(Path(__file__).parents[2]),
    }  # fmt: skip
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(2)
    ]  # fmt: skip
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert command.run([*RUN, "--engine", "numba", "--run-dir", str(tmp_path / "one")]) == 0
    expected = json.loads(capsys.readouterr().out)
    assert json.loads(outputs[0][0])["weights_sha256"] == expected["weights_sha256"]
    for rank, (_, prose) in enumerate(outputs):
        device, sums, products = prose.splitlines()[-1].split()
        assert (device, products) == (str(rank), "True")
        assert int(sums) == 1 + 3 + 1  # to connect, one for each step, and the logits of the evaluation


@pytest.mark.parametrize(
    "devices, variables, words",
    [
        (
            1,
            {"LOCAL_WORLD_SIZE": "2", "LOCAL_RANK": "0"},
            "for each worker, 2 workers here have 1: start",
        ),
        (2, {"LOCAL_RANK": "2"}, "for each worker, 3 workers here have 2: start fewer, or use gloo"),
        (0, {}, "backend nccl needs a CUDA device, and torch finds none: use gloo"),
    ],
)
def test_nccl_without_a_device_for_each_worker_is_refused(devices, variables, words, monkeypatch) -> None:
    launcher = {"WORLD_SIZE": "4", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    for name in ("LOCAL_WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {**launcher, **variables}.items():
        monkeypatch.setenv(name, value)
    with EmulatedCuda(devices), pytest.raises(JoulebitError, match=words), joined(1.0, "nccl"):
        pass
