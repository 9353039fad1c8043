"""A training step of this package beside those of PyTorch and of quantisation packages for it.

All take turns in one process with the same number of threads. What each computes is not the same: this package's
step is done in integers of which every bit is specified; the others train in float32 and round tensors on the way
(fake quantisation), of which `PEERS` says which ones.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

from joulebit.bench.step import Step, alternate, image_shape, network, random_batches, ratio, stepper
from joulebit.nn.graph import NetworkPlan, plan
from joulebit.nn.models import model as named_model
from joulebit.train.network import Batch

_RATE, _MOMENTUM, _DECAY = 0.1, 0.9, 1e-4


@dataclass(frozen=True)
class Peer:
    """A contestant."""

    title: str
    computes: str  #: in a training step


PEERS = {
    "joulebit": Peer("Joulebit", "integers: weights and activations 8 bits, gradients 16, exact sums"),
    "joulebit_psg": Peer(
        "Joulebit, PSG", "the same; signs predicted from 4-bit and 10-bit operands, both products"
    ),
    "float32_channels_last": Peer("PyTorch float32, channels_last", "float32"),
    "float32_nchw": Peer("PyTorch float32, NCHW", "float32"),
    "torch_ao": Peer(
        "torch.ao QAT",
        "float32; weights and activations rounded to 8 bits by FakeQuantize, gradients not at all",
    ),
    "qtorch": Peer(
        "QPyTorch",
        "float32; rounded to fixed point: activations and weights 8 bits, products, gradients, momentum 16",
    ),
}
_OWN = {
    "joulebit": "integer",
    "joulebit_psg": "integer_psg",
    "float32_channels_last": "float32_channels_last",
    "float32_nchw": "float32_nchw",
}


class _MissingError(Exception):
    """A peer cannot be used here; the text says what to do."""


def bench_peers(
    models: Sequence[str] = ("resnet20", "lenet5"),
    batch: int = 128,
    threads: int = 0,
    rounds: int = 10,
    note: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Time training steps on random images.

    Args:
        models: names that `joulebit.nn.models` knows.
        batch: samples per step. threads: of every contestant; 0 = all processors that this process may use.
        rounds: turns of each contestant. note: hears what goes on.

    Returns:
        batch, threads, rounds; missing: name -> how to get it, of peers that are not installed; peers: name ->
        title and computes; models: name -> float32 (the faster memory format) and peers: name -> step_s (median,
        seconds), and to the step of float32: ratio (median of paired ratios), ratio_low, ratio_high (10th and
        90th percentile).
    """
    threads = threads or len(os.sched_getaffinity(0))
    missing: dict[str, str] = {}
    results = {model: _model(model, batch, threads, rounds, note, missing) for model in models}
    return {
        "batch": batch,
        "threads": threads,
        "rounds": rounds,
        "missing": missing,
        "peers": {
            name: {"title": peer.title, "computes": peer.computes}
            for name, peer in PEERS.items()
            if name not in missing
        },
        "models": results,
    }


def _model(
    model: str,
    batch: int,
    threads: int,
    rounds: int,
    note: Callable[[str], None] | None,
    missing: dict[str, str],
) -> dict[str, Any]:
    resolved = plan(named_model(model, 10), image_shape(model))
    batches = random_batches(resolved, batch)
    steps: dict[str, Step] = {}
    for name in PEERS:
        try:
            if name in _OWN:
                steps[name] = stepper(network(_OWN[name], model, threads), batches)
            elif name not in missing:
                steps[name] = {"torch_ao": _torch_ao, "qtorch": _qtorch}[name](resolved, batches)
        except _MissingError as error:
            missing[name] = str(error)
    times, _ = alternate(steps, rounds, (lambda text: note(f"{model}: {text}")) if note else None)
    fastest = min(("float32_channels_last", "float32_nchw"), key=lambda name: median(times[name]))
    return {
        "float32": fastest,
        "peers": {
            name: {"step_s": median(seconds), **ratio(seconds, times[fastest])} for name, seconds in times.items()
        },
    }


def _torch_ao(resolved: NetworkPlan, batches: Sequence[Batch]) -> Step:
    """Quantisation-aware training by torch.ao, in the memory format that it is faster in."""
    import warnings

    import torch

    try:
        from torch.ao.quantization import get_default_qat_qconfig_mapping
        from torch.ao.quantization.quantize_fx import prepare_qat_fx
    except ImportError:
        raise _MissingError(
            "this version of torch has no torch.ao.quantization: pip install torch==2.13.0"
        ) from None
    from joulebit.bench.peer_networks import torch_network

    images = _images(batches, torch.channels_last)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its deprecation, and of observers without samples
        mapping = get_default_qat_qconfig_mapping("x86")
        module = prepare_qat_fx(torch_network(resolved).train(), mapping, (images[0],))
    module = module.to(memory_format=torch.channels_last)
    return _torch_step(module, images, batches, _sgd(module))


def _qtorch(resolved: NetworkPlan, batches: Sequence[Batch]) -> Step:
    """QPyTorch's optimiser, and its quantisers where its example preresnet_low.py has them; in NCHW, its format.

    Its C++ is compiled with -O3, which its own call leaves out: a tensor then takes it half the time.
    """
    import torch
    from torch.utils import cpp_extension

    load = cpp_extension.load
    cpp_extension.load = partial(load, extra_cflags=["-O3"])
    try:
        from qtorch import FixedPoint
        from qtorch.optim import OptimLP
        from qtorch.quant import Quantizer, quantizer
    except ModuleNotFoundError as error:
        raise _MissingError(f"{error.name} is not installed: pip install qtorch ninja") from None
    except (RuntimeError, OSError) as error:  # it compiles C++ when it is imported
        reason = str(error).splitlines()[0]
        raise _MissingError(f"qtorch does not compile its C++ here ({reason}): it needs ninja and g++") from None
    finally:
        cpp_extension.load = load
    from joulebit.bench.peer_networks import torch_network

    narrow, wide = FixedPoint(8, 4), FixedPoint(16, 12)

    def rounded(number: Any) -> Any:
        return quantizer(number, forward_rounding="nearest")

    module = torch_network(
        resolved,
        products=lambda: Quantizer(wide, wide, "nearest", "nearest"),
        activations=lambda: Quantizer(narrow, wide, "nearest", "nearest"),
    ).train()
    others = {f"{name}_quant": rounded(wide) for name in ("grad", "momentum", "acc")}
    optimiser = OptimLP(_sgd(module), weight_quant=rounded(narrow), **others)
    return _torch_step(module, _images(batches, torch.contiguous_format), batches, optimiser)


def _sgd(module: Any) -> Any:
    import torch

    return torch.optim.SGD(module.parameters(), _RATE, _MOMENTUM, weight_decay=_DECAY)


def _images(batches: Sequence[Batch], memory_format: Any) -> list[Any]:
    """uint8 tensors [N, C, H, W]."""
    import torch

    return [
        torch.from_numpy(batch.images).permute(0, 3, 1, 2).contiguous(memory_format=memory_format)
        for batch in batches
    ]


def _torch_step(module: Any, images: Sequence[Any], batches: Sequence[Batch], optimiser: Any) -> Step:
    import torch

    labels = [torch.from_numpy(batch.labels) for batch in batches]

    def step(number: int) -> float:
        which = number % len(images)
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(module(images[which]), labels[which])
        loss.backward()
        optimiser.step()
        return float(loss.item())

    return step
