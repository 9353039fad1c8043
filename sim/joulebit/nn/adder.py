"""Adder layers: distances between windows and weights in place of products (spec, section 15).

Source: Chen et al., "AdderNet: Do we really need multiplications in deep learning?", CVPR 2020: the output is
-sum |x - w| (equation (2)), the weights learn from x - w (equation (5)), the input from w - x clipped to +-1
(equations (6), (7)). Weights and activations share their exponent, as in Wang et al., "AdderNet and its
minimalist hardware design for energy-efficient artificial intelligence", arXiv:2101.10015, so that a difference of
integers is a difference of values.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from joulebit.engine.base import Array, ConvOutput, Engine, Quantised
from joulebit.nn.conv import ConvLayer
from joulebit.nn.graph import ConvPlan
from joulebit.nn.tensor import Tensor


class AdderLayer(ConvLayer):
    """A `ConvLayer` whose convolution is an adder's."""

    def sums(self, x: Tensor, engine: Engine) -> tuple[int, Callable[[int, int], ConvOutput]]:
        self.weight.quantise_at(x.exponent)
        w, geometry = self.weight.w, self.plan.geometry
        return x.exponent, lambda shift, key: engine.adder_forward(x.data, w, geometry, shift, key)

    def gradient_exponent(self, x: Tensor, dz_exponent: int) -> int:
        return dz_exponent + x.exponent

    def input_gradient(self, engine: Engine, dz: Array, x: Tensor, *rest: Any) -> Quantised:
        clip = 1 << max(0, -x.exponent)
        return engine.adder_input_gradient(dz, x.data, self.weight.w, self.plan.geometry, clip, *rest)


def conv_layer(plan: ConvPlan, master: NDArray[np.int32], engine: Engine) -> ConvLayer:
    """The layer of a plan, by its kind."""
    kind = AdderLayer if plan.kind == "adder" else ConvLayer
    return kind(plan, master, engine)
