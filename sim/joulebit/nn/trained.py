"""Which of a layer's parameters are trained; all the others are frozen: no gradient, no decay, no momentum.

A *neuron* is one output channel of a convolution, with its weights, its gamma and beta, or its bias. A hidden
dense layer is a convolution whose kernel is the whole image: its rows are neurons, too.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from joulebit.engine.base import Array, ConvGeometry, Engine
from joulebit.nn.graph import ConvPlan, NetworkPlan, ResidualPlan

Int64Array = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Trained:
    """The neurons of one layer that are trained.

    channels: their output channels, ascending, int64 [k]; perhaps none.
    shifts: beta (or the bias) of every channel is trained, even where the rest of the neuron is frozen.
    """

    channels: Int64Array
    shifts: bool = False

    @property
    def any(self) -> bool:
        """Whether anything of the layer is trained."""
        return bool(len(self.channels)) or self.shifts


@dataclass(frozen=True)
class GradientFlow:
    """How far down a network gradients go when some of its neurons are frozen."""

    lowest: int | None  #: the first node whose output needs a gradient; None: not even the last one
    reached: frozenset[str]  #: convolutions whose output's gradient is formed
    passing: frozenset[str]  #: those whose input's gradient is formed, too


def gradient_flow(
    plan: NetworkPlan, trained: Mapping[str, Trained] | None, gated: Collection[int] = ()
) -> GradientFlow:
    """trained: by the name of the convolution; None: everything. gated: residual blocks with a gate (their index),
    which learns from the gradient of the block's output.
    """

    def needs(conv: ConvPlan) -> bool:
        return trained is None or trained[conv.name].any

    lowest: int | None = None
    reached: set[str] = set()
    passing: set[str] = set()
    for position, node in enumerate(plan.nodes):
        if not isinstance(node, ConvPlan | ResidualPlan):
            continue
        convs = (node,) if isinstance(node, ConvPlan) else node.body
        projection = None if isinstance(node, ConvPlan) else node.projection
        own = convs if projection is None else (*convs, projection)
        if lowest is None:
            if not any(map(needs, own)) and not (isinstance(node, ResidualPlan) and node.index in gated):
                continue
            lowest = position
        if position == lowest and (trained is not None or isinstance(node, ConvPlan)):
            first = next((i for i, conv in enumerate(convs) if needs(conv)), len(convs))
            reached.update(conv.name for conv in convs[first:])
            passing.update(conv.name for conv in convs[first + 1 :])
            if projection is not None and needs(projection):
                reached.add(projection.name)
        else:
            reached.update(conv.name for conv in own)
            passing.update(conv.name for conv in own)
    return GradientFlow(lowest, frozenset(reached), frozenset(passing))


def check_selection(plan: NetworkPlan, trained: Mapping[str, Trained]) -> None:
    """ValueError where a convolution is missing, or unknown, or has no such channels."""
    outputs = {conv.name: conv.out_shape[2] for conv in plan.convs()}
    if set(trained) != set(outputs):
        raise ValueError(f"a selection must name the convolutions {list(outputs)}, got {list(trained)}")
    for name, chosen in trained.items():
        channels = chosen.channels.tolist()
        if channels != sorted(set(channels)) or not all(0 <= channel < outputs[name] for channel in channels):
            raise ValueError(f"{name}: trained channels must ascend within 0..{outputs[name] - 1}, got {channels}")


def outputs_per_group(plan: ConvPlan, channels: Int64Array) -> tuple[int, ...]:
    """How many of the channels lie in each group of the convolution."""
    each = plan.out_shape[2] // plan.geometry.groups
    return tuple(np.bincount(channels // each, minlength=plan.geometry.groups).tolist())


def neuron_operands(
    plan: ConvPlan, x: Array, dz: Array, channels: Int64Array, engine: Engine
) -> list[tuple[Array, Array, ConvGeometry]]:
    """Smaller (input, gradient of the output, convolution) whose weight gradients are those of the channels.

    The weight gradients, one after another along the last dimension, are those of the channels in order. A group
    without any of them takes no part; of a depthwise convolution neither do the channels' inputs.
    """
    geometry = plan.geometry
    c_in, each = plan.weight_shape[2], plan.out_shape[2] // geometry.groups
    if geometry.groups == 1:
        return [(x, engine.take_channels(dz, channels), geometry)]
    if each == 1:
        inputs = (channels[:, None] * c_in + np.arange(c_in)).reshape(-1)
        chosen = replace(geometry, groups=len(channels))
        return [(engine.take_channels(x, inputs), engine.take_channels(dz, channels), chosen)]
    found = []
    for group in np.unique(channels // each):
        inputs = np.arange(group * c_in, (group + 1) * c_in)
        outputs = channels[channels // each == group]
        alone = replace(geometry, groups=1)
        found.append((engine.take_channels(x, inputs), engine.take_channels(dz, outputs), alone))
    return found
