"""Whole training runs of the torch engine on CUDA give the numba engine's weights, counters and metrics.

Where there is no CUDA device, a emulated one checks every operation (`emulated_cuda`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from emulated_cuda import EmulatedCuda
from technique_bench import outcome, small

from joulebit.engine.torch_engine import TorchEngine

HAS_CUDA = torch.cuda.is_available()
RUNS = {
    "E2-Train": ("digits-resnet8-e2train", "training.iterations=4"),
    "16 bits, stochastic rounding": (
        "digits-lenet-fixed", "data.name=digits32", "arithmetic.x_bits=16", "arithmetic.rounding=stochastic",
    ),
    "adder layers": ("digits-resnet8-adder",),
    "Bayesian twin": ("digits-lenet-bayesian", "data.name=digits32"),
    "early bird": ("digits-resnet8-early-bird",),
}  # fmt: skip


@pytest.fixture
def cuda() -> Iterator[None]:
    with nullcontext() if HAS_CUDA else EmulatedCuda():
        yield


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == "E2-Train" else pytest.mark.slow) for name in RUNS]
)
def test_a_run_on_cuda_has_the_bits_of_one_on_the_processor(name: str, cuda: None, tmp_path: Path) -> None:
    expected = outcome(small(*RUNS[name], engine="numba"), tmp_path / "processor")
    assert outcome(small(*RUNS[name], engine="torch"), tmp_path / "cuda", stop_after=3) == expected


def test_the_engine_of_a_run_is_on_cuda(cuda: None) -> None:
    engine = TorchEngine(device="auto")
    assert engine.device.type == "cuda"
    assert engine.zeros_like_gradient(torch.ones(2, device=engine.device)).device.type == "cuda"
