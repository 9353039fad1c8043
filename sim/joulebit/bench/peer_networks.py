"""The package's networks as `torch.nn` modules, the form that quantisation packages for PyTorch work on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from joulebit.nn.graph import ConvPlan, MaxPoolPlan, NetworkPlan, ResidualPlan
from joulebit.train.float32 import EPSILON

__all__ = ["torch_network"]

_ACTIVATIONS: dict[str | None, Callable[[], Any]] = {None: nn.Identity, "relu": nn.ReLU, "relu6": nn.ReLU6}
_PIXEL_MIDDLE, _PIXEL_SCALE = 128, 1 / 64  # as in `joulebit.train.float32`

Quantisers = Callable[[], Any]  #: makes the module that quantises a tensor; nn.Identity for none


def torch_network(
    plan: NetworkPlan, products: Quantisers = nn.Identity, activations: Quantisers = nn.Identity
) -> Any:
    """A module from uint8 images [N, C, H, W] to logits [N, classes]; torch chooses its weights.

    Args:
        plan: of linear convolutions.
        products: stands after each convolution. activations: after each activation, and after the input.
    """
    parts: list[Any] = [_Input(), activations()]
    for node in plan.nodes:
        if isinstance(node, ConvPlan):
            parts += _convolution(node, products, activations)
        elif isinstance(node, MaxPoolPlan):
            parts.append(nn.MaxPool2d(node.size, node.stride, node.padding))
        else:
            parts.append(_Block(node, products, activations))
    if plan.head.pooled:
        parts.append(nn.AdaptiveAvgPool2d(1))
    return nn.Sequential(*parts, nn.Flatten(), nn.Linear(plan.head.features, plan.head.classes))


def _convolution(
    conv: ConvPlan, products: Quantisers, activations: Quantisers, activate: bool = True
) -> list[Any]:
    geometry = conv.geometry
    if conv.kind != "linear":
        raise ValueError(f"{conv.name} must be a linear convolution, got {conv.kind!r}")
    layer = nn.Conv2d(
        conv.in_shape[2], conv.out_shape[2], (geometry.kernel_h, geometry.kernel_w), geometry.stride,
        (geometry.padding_h, geometry.padding_w), groups=geometry.groups, bias=not conv.norm,
    )  # fmt: skip
    parts: list[Any] = [layer, products()]
    if conv.norm:
        parts.append(nn.BatchNorm2d(conv.out_shape[2], EPSILON))
    if activate and conv.activation:
        parts += [_ACTIVATIONS[conv.activation](), activations()]
    return [part for part in parts if not isinstance(part, nn.Identity)]


class _Input(nn.Module):  # type: ignore[misc]
    """Pixels to numbers between -2 and 2."""

    def forward(self, images: Any) -> Any:
        return (images.to(torch.float32) - _PIXEL_MIDDLE) * _PIXEL_SCALE


class _Block(nn.Module):  # type: ignore[misc]
    """A residual block; its shortcut is the identity, a projection, or sampled and padded by zeros."""

    def __init__(self, block: ResidualPlan, products: Quantisers, activations: Quantisers) -> None:
        super().__init__()
        parts: list[Any] = []
        for conv in block.body[:-1]:
            parts += _convolution(conv, products, activations)
        self.body = nn.Sequential(*parts, *_convolution(block.body[-1], products, activations, activate=False))
        self.stride, self.added = block.stride, block.out_shape[2] - block.in_shape[2]
        self.projection: Any = None
        if block.projection:
            self.projection = nn.Sequential(*_convolution(block.projection, products, activations))
        self.activation = nn.Sequential(_ACTIVATIONS[block.activation](), activations())

    def forward(self, x: Any) -> Any:
        shortcut = x
        if self.projection is not None:
            shortcut = self.projection(x)
        else:
            if self.stride > 1:
                shortcut = shortcut[:, :, :: self.stride, :: self.stride]
            if self.added:
                shortcut = F.pad(shortcut, (0, 0, 0, 0, 0, self.added))
        return self.activation(self.body(x) + shortcut)
