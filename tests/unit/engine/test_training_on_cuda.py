"""Steps and runs on a CUDA device: integers to the bits of the processor, float32 to the same bits each time.

Everything here runs on an emulated device where there is none (`emulated_cuda`): checked under CUDA's rules, but
not yet run on a GPU. On a machine with one, these commands confirm what the emulation cannot:

    pytest -m gpu tests                                             # these tests and test_torch_engine.py
    joulebit verify --engines numpy,torch                           # operations and training, on the CUDA device
    joulebit bench step --device cuda --model resnet20 --batch 128  # beside float32 on the same device
    joulebit train digits-resnet8-e2train --engine torch --run-dir runs/gpu
    joulebit train digits-resnet8-e2train --engine numba --run-dir runs/cpu     # the same weights_sha256
    torchrun --standalone --nproc-per-node 2 -m joulebit.cli train digits-resnet8-e2train --engine torch \\
        --backend nccl --run-dir runs/nccl                          # with two GPUs; the same weights_sha256
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from emulated_cuda import EmulatedCuda, tf32_switched_on
from technique_bench import outcome, small

from joulebit.bench.step import random_batches
from joulebit.engine import torch_conv, torch_engine
from joulebit.engine.base import ConvGeometry
from joulebit.engine.torch_engine import TorchEngine
from joulebit.experiments.verify import verify
from joulebit.fixed.arithmetic import Arithmetic
from joulebit.nn.context import Update
from joulebit.nn.graph import Conv, Dense, MaxPool, Model, Residual, plan
from joulebit.nn.models import model
from joulebit.train import float32
from joulebit.train.float32 import Float32Method, Float32Network
from joulebit.train.integer import IntegerNetwork, TrainingMethod

HAS_CUDA = torch.cuda.is_available()
NEEDS_CUDA = [pytest.mark.gpu, pytest.mark.skipif(not HAS_CUDA, reason="needs a CUDA device")]
EMULATED = pytest.mark.skipif(HAS_CUDA, reason="there is a CUDA device")
DEVICES = [pytest.param("emulated", marks=EMULATED), pytest.param("cuda", marks=NEEDS_CUDA)]
RUNS = {
    "E2-Train": ("digits-resnet8-e2train",),
    "adder layers": ("digits-resnet8-adder",),
    "chosen neurons": ("digits-resnet8-neurons-per-parameter",),
    "cyclic precision": ("digits-resnet8-cpt",),
    "early bird": ("digits-resnet8-early-bird",),
    "exits": ("digits-resnet8-exits",),
    "growing": ("digits-resnet8-growing-width",),
    "pruning": ("digits-resnet8-snip",),
    "weights of few values": ("digits-resnet8-shift",),
}
LONG_RUNS = {
    "16 bits, stochastic rounding": (
        "digits-lenet-fixed", "data.name=digits32", "arithmetic.x_bits=16", "arithmetic.rounding=stochastic",
    ),
    "Bayesian twin": ("digits-lenet-bayesian", "data.name=digits32"),
}  # fmt: skip
FLOATING = Model(
    "floating",
    (
        Conv(8),
        Residual((Conv(8), Conv(8, activation=None))),
        Residual((Conv(16, 1, 2, activation="relu6"), Conv(16, groups=0), Conv(12, activation=None))),
        Conv(16, 1, activation="relu6", kind="ternary"),
        MaxPool(2),
        Dense(20),
    ),
    5,
)


@pytest.fixture(params=DEVICES)
def cuda(request: pytest.FixtureRequest) -> Iterator[EmulatedCuda | None]:
    """While it lasts there is a CUDA device, emulated or not."""
    with EmulatedCuda() if request.param == "emulated" else nullcontext() as device:
        yield device


@pytest.fixture(params=DEVICES)
def float_cuda(request: pytest.FixtureRequest) -> Iterator[None]:
    """As `cuda`; products in float32 are meant."""
    with EmulatedCuda(float32=True) if request.param == "emulated" else nullcontext():
        yield


def test_operations_and_training_steps_have_the_bits_of_numpy(cuda: EmulatedCuda | None) -> None:
    """SGD, PSG, SLU, SignSGD, stochastic depth, evaluation; convolutions of all kinds, gated blocks, adders."""
    result = verify(["numpy", "torch"])
    assert result["first_difference"] is None
    assert result["cases"] >= 60
    if cuda:
        assert cuda.launches["_int_mm"] > 1000


@pytest.mark.parametrize("name", [*RUNS, *(pytest.param(name, marks=pytest.mark.slow) for name in LONG_RUNS)])
def test_a_run_on_cuda_has_the_bits_of_one_on_the_processor(
    name: str, cuda: EmulatedCuda | None, tmp_path: Path
) -> None:
    preset, *more = (*(RUNS | LONG_RUNS)[name], "training.iterations=4")
    expected = outcome(small(preset, *more, engine="numba"), tmp_path / "processor")
    assert outcome(small(preset, *more, engine="torch"), tmp_path / "cuda", stop_after=2) == expected


def test_the_engine_of_a_run_is_on_cuda(cuda: EmulatedCuda | None) -> None:
    engine = TorchEngine(device="auto")
    assert engine.device.type == "cuda"
    assert engine.zeros_like_gradient(torch.ones(2, device=engine.device)).device.type == "cuda"


@EMULATED
@pytest.mark.parametrize("update, waits", [(Update.SGD, 8.5), (Update.PSG, 9.5)])
def test_a_step_waits_once_for_each_operation(update: Update, waits: float) -> None:
    """Per layer three copies to the device, and what five operations tell the host; of predicted signs six."""
    with EmulatedCuda() as device:
        resolved = plan(model("resnet20", 10), (32, 32, 3))
        network = IntegerNetwork(resolved, TorchEngine(device="cuda"), 0, TrainingMethod(update=update))
        batches = random_batches(resolved, 4)
        network.train_step(batches[0], 0.1, 2**-9)
        device.waits = 0
        device.launches.clear()
        network.train_step(batches[1], 0.1, 2**-9)
    assert device.waits / len(list(resolved.convs())) < waits


@EMULATED
def test_products_of_8_and_16_bits_are_int8_products() -> None:
    """Forward one, input gradient two (16 x 8 bits), weight gradient one with both halves of dz side by side."""
    rng = np.random.default_rng(0)
    geometry = ConvGeometry(3, 3, padding_h=1, padding_w=1)
    with EmulatedCuda() as device:
        engine = TorchEngine(device="cuda")
        assert engine._int8
        x = engine.from_numpy(rng.integers(0, 256, (2, 8, 8, 16)).astype(np.uint8))
        w = engine.from_numpy(rng.integers(-127, 128, (3, 3, 16, 16)).astype(np.int8))
        dz = engine.from_numpy(rng.integers(-32767, 32768, (2, 8, 8, 16)).astype(np.int16))
        counts = []
        for compute in (
            lambda: engine.conv_forward(x, w, geometry, 6),
            lambda: engine.conv_input_gradient(dz, w, geometry, (8, 8), 9),
            lambda: engine.conv_weight_gradient(x, dz, geometry),
        ):
            device.launches.clear()
            compute()
            counts.append((device.launches["_int_mm"], device.launches["mm"]))
    assert counts == [(1, 0), (2, 0), (1, 0)]


@EMULATED
@pytest.mark.parametrize(
    "geometry, c_in, c_out",
    [
        (ConvGeometry(3, 3, padding_h=1, padding_w=1), 16, 16),
        (ConvGeometry(1, 1), 3, 64),
        (ConvGeometry(3, 3, padding_h=1, padding_w=1, groups=32), 32, 32),
    ],
)
@pytest.mark.parametrize("int8", [True, False])
def test_memory_follows_the_budget_not_the_batch(
    geometry: ConvGeometry, c_in: int, c_out: int, int8: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A convolution of many samples takes its result and 48 bytes for each element of a chunk."""
    budget = 1 << 16
    monkeypatch.setitem(torch_conv._PATCH_ELEMENTS, "cuda", budget)
    monkeypatch.setitem(torch_engine._VALUE_ELEMENTS, "cuda", budget // 8)
    monkeypatch.setattr(torch_engine, "int8_products_are_exact", lambda _: int8)
    with EmulatedCuda() as device:
        engine = TorchEngine(Arithmetic(rounding="stochastic"), "cuda")
        for samples in (32, 64):
            x = torch.ones((samples, 16, 16, c_in), dtype=torch.uint8, device="cuda")
            kernel = (geometry.kernel_h, geometry.kernel_w, c_in // geometry.groups, c_out)
            w = torch.ones(kernel, dtype=torch.int8, device="cuda")
            dz = torch.ones((samples, 16, 16, c_out), dtype=torch.int16, device="cuda")
            device.peak = held = device.used
            engine.conv_forward(x, w, geometry, 6)
            engine.conv_weight_gradient(x, dz, geometry)
            engine.conv_weight_gradient_msb(x, dz, geometry)
            assert device.peak - held < 48 * budget + 2 * dz.numel()
            device.peak = held
            engine.conv_input_gradient(dz, w, geometry, (16, 16), 9)
            assert device.peak - held < 48 * budget + 2 * x.numel()


def trained(device: str, channels_last: bool, method: Float32Method) -> dict[str, Any]:
    """What two steps and an evaluation of a float32 network leave."""
    network = Float32Network(plan(FLOATING, (8, 8, 3)), 0, method, device, channels_last)
    batches = random_batches(network.plan, 12)
    losses = [network.train_step(batch, 0.1, 2**-9).loss for batch in batches[:2]]
    network.prepare_evaluation(batches[0].images)
    return {**network.state(), "logits": network.logits(batches[1].images), "losses": np.array(losses)}


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("update", ["sgd", "sign"])
def test_float32_steps_repeat_their_bits(update: str, channels_last: bool, float_cuda: None) -> None:
    method = Float32Method(update=update)
    once, again = (trained("cuda", channels_last, method) for _ in range(2))
    expected = trained("cpu", channels_last, method)
    assert once["losses"][0] == pytest.approx(expected["losses"][0], rel=1e-4)
    for name, value in once.items():
        assert np.array_equal(value, again[name]), name
        assert HAS_CUDA or np.array_equal(value, expected[name]), name


@EMULATED
@pytest.mark.parametrize("name", ["chosen neurons", "exits", "growing", "pruning", "weights of few values"])
def test_techniques_in_float32_compute_on_the_device(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small(*RUNS[name], "training.iterations=4", engine="float32")
    expected = outcome(config, tmp_path / "processor")
    monkeypatch.setattr(float32, "named_device", lambda _: torch.device("cuda"))
    with EmulatedCuda(float32=True) as device:
        assert outcome(config, tmp_path / "cuda", stop_after=2) == expected
    assert device.launches["convolution_backward"] > 0


@EMULATED
def test_float32_steps_use_no_tf32_where_it_is_switched_on() -> None:
    with EmulatedCuda(float32=True), tf32_switched_on():
        trained("cuda", True, Float32Method())
        assert torch.backends.cuda.matmul.fp32_precision == "tf32"


@EMULATED
def test_overlapping_pooling_is_the_only_sum_of_floats_without_an_order() -> None:
    network = plan(Model("pooled", (Conv(4), MaxPool(3, 2, 1), Dense(8)), 5), (8, 8, 3))
    with EmulatedCuda(float32=True):
        batch = random_batches(network, 4)[0]
        with pytest.raises(RuntimeError, match="max_pool2d_with_indices_backward: the order of the sums"):
            Float32Network(network, 0, device="cuda").train_step(batch, 0.1, 2**-9)


@pytest.mark.skipif(HAS_CUDA, reason="needs a machine without a CUDA device")
def test_float32_names_a_missing_device() -> None:
    with pytest.raises(ValueError, match="'cuda' was asked for, but torch finds no CUDA device"):
        Float32Network(plan(FLOATING, (8, 8, 3)), 0, device="cuda")
