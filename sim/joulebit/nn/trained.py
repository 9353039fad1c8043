"""Which of a layer's parameters are trained; all the others are frozen: no gradient, no decay, no momentum.

A *neuron* is one output channel of a convolution, with its weights, its gamma and beta, or its bias. A hidden
dense layer is a convolution whose kernel is the whole image: its rows are neurons, too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from joulebit.engine.base import Array, ConvGeometry, Engine
from joulebit.nn.graph import ConvPlan

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
