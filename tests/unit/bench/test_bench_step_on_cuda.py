"""The bench of a training step on a CUDA device, an emulated one where there is none."""

from __future__ import annotations

import json

import pytest
import torch
from emulated_cuda import EmulatedCuda

from joulebit.bench import step
from joulebit.cli import main as command

HAS_CUDA = torch.cuda.is_available()
EMULATED = pytest.mark.skipif(HAS_CUDA, reason="there is a CUDA device")


@EMULATED
def test_all_contestants_compute_on_the_device():
    with EmulatedCuda(float32=True) as cuda:
        result = step.bench_step("lenet5", 2, 1, rounds=1, memory=False, device="cuda")
        taken = cuda.launches["synchronize"]
        counts = []
        for name in step.CONTESTANTS:
            network = step.network(name, "lenet5", 1, "cuda")
            cuda.launches.clear()
            step.stepper(network, step.random_batches(network.plan, 2), "cuda")(0)
            counts.append(tuple(cuda.launches[each] > 0 for each in ("_int_mm", "convolution", "synchronize")))
    assert result["device"] == "emulated"
    assert set(result["median_s"]) == set(step.CONTESTANTS)
    assert taken >= 3 * len(step.CONTESTANTS)
    assert counts == [(True, False, True)] * 2 + [(False, True, True)] * 2


@EMULATED
def test_memory_is_that_of_the_device(capsys):
    with EmulatedCuda() as cuda:
        step._train_and_print_peak("integer", "lenet5", 2, 1, "cuda")
        assert json.loads(capsys.readouterr().out) == cuda.peak > 0


@pytest.mark.gpu
@pytest.mark.skipif(not HAS_CUDA, reason="needs a CUDA device")
def test_a_step_on_a_cuda_device_is_timed():
    result = step.bench_step("resnet20", 128, rounds=3, device="cuda")
    assert result["device"] == torch.cuda.get_device_name()
    assert result["ratio"] > 0
    assert min(result["peak_memory_bytes"].values()) > 0


@pytest.mark.skipif(HAS_CUDA, reason="needs a machine without a CUDA device")
@pytest.mark.parametrize(
    "device, words",
    [
        ("cuda", "device 'cuda' was asked for, but torch finds no CUDA device: use cpu or auto"),
        ("gpu", "device must be cpu, cuda, cuda:N or auto, got 'gpu'"),
    ],
)
def test_a_device_that_is_not_there_is_one_line(device, words, capsys):
    assert command.run(["bench", "step", "--device", device]) == 2
    assert capsys.readouterr().err == f"joulebit: {words}\n"
