"""The networks that peers train are this package's, and a peer that is not installed is told and left out."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
import torch

from joulebit.bench.peer_networks import torch_network
from joulebit.bench.peers import PEERS, bench_peers
from joulebit.bench.step import image_shape, random_batches
from joulebit.nn.graph import plan
from joulebit.nn.models import model as named_model
from joulebit.train.float32 import Float32Network


@pytest.mark.parametrize("model", ["lenet5", "resnet8", "mobilenetv2"])
def test_the_module_computes_what_the_float32_engine_computes(model: str) -> None:
    resolved = plan(named_model(model, 10), image_shape(model))
    engine = Float32Network(resolved, seed=3)
    module = torch_network(resolved).train()
    weights = engine.weights()
    # Both list convolutions in the order of the network. torch_network's norms begin as the engine's do.
    kernels = [value for name, value in weights.items() if name.endswith(".weight") and value.ndim == 4]
    layers = [layer for layer in module.modules() if isinstance(layer, torch.nn.Conv2d)]
    head = weights["head.weight"]
    if not resolved.head.pooled:  # the classifier's features are in NCHW order here
        height, width, channels = resolved.head.in_shape
        head = head.reshape(-1, height, width, channels).transpose(0, 3, 1, 2).reshape(head.shape)
    assert len(kernels) == len(layers)
    with torch.no_grad():
        for layer, kernel in zip(layers, kernels):
            layer.weight.copy_(torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy()))
            if layer.bias is not None:
                layer.bias.zero_()
        module[-1].weight.copy_(torch.from_numpy(head.copy()))
        module[-1].bias.zero_()
    batch = random_batches(resolved, 8)[0]
    logits = module(torch.from_numpy(batch.images).permute(0, 3, 1, 2))
    loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(batch.labels)).item()
    assert abs(loss - engine.train_step(batch, 0.0, 0.0).loss) < 1e-4


def test_a_peer_that_is_not_installed_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "qtorch", None)
    heard: list[str] = []
    result: dict[str, Any] = bench_peers(["lenet5"], batch=4, threads=1, rounds=2, note=heard.append)
    assert result["missing"] == {"qtorch": "qtorch is not installed: pip install qtorch ninja"}
    found = result["models"]["lenet5"]
    assert set(found["peers"]) == set(PEERS) - {"qtorch"} == set(result["peers"])
    assert found["peers"][found["float32"]]["ratio"] == 1.0
    assert all(peer["ratio_low"] <= peer["ratio"] <= peer["ratio_high"] for peer in found["peers"].values())
    assert all(np.isfinite(peer["step_s"]) and peer["step_s"] > 0 for peer in found["peers"].values())
    assert heard[-1] == "lenet5: round 2 of 2"
