"""Plans that are made once per layer and then only moved: planning costs milliseconds, moving a plan microseconds.

    pass_ = PassKey(layer, Operation.FORWARD, x_unsigned=True)
    template = template_of(pass_, config)
    descriptors = template.at(addresses, shift=9)

`Template.at` gives exactly the descriptors that `joulebit.accelerator.tiling` plans for these addresses.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from joulebit.accelerator import tiling
from joulebit.accelerator.tiling import Addresses, Layer, Plan
from joulebit.spec.accelerator import ArrayConfig, Operation
from joulebit.spec.descriptor import RESULT_DTYPE, seal
from joulebit_host.driver.packing import WeightPacker, weight_packer
from joulebit_host.driver.tile_costs import ListTotals, TileCosts, tile_costs

__all__ = ["PassKey", "Template", "template_of"]


@dataclass(frozen=True)
class PassKey:
    """One pass over one layer, as far as its plan depends on it.

    Attributes:
        raw: results leave as 64-bit sums. Weight gradients always do, unless `selective`.
        masked, mask_below: input gradient, by the tensor at Addresses.mask.
        predict: input gradient, with the sign predictor beside it.
        selective: weight gradient, signs instead of sums.
    """

    layer: Layer
    operation: Operation
    x_unsigned: bool = False
    rounding: int = 0
    raw: bool = False
    relu: bool = False
    masked: bool = False
    mask_below: int = 0
    predict: bool = False
    selective: bool = False

    def plan(self, config: ArrayConfig, addresses: Addresses, shift: int = 0, threshold_q12: int = 0) -> Plan:
        """The planner's plan; JoulebitError where the layer does not fit the configuration."""
        layer = self.layer
        if self.operation == Operation.FORWARD:
            return tiling.plan_forward(
                layer, config, addresses, shift, self.rounding, self.x_unsigned, self.relu, self.raw
            )
        if self.operation == Operation.INPUT_GRADIENT:
            return tiling.plan_input_gradient(
                layer, config, addresses, shift, self.rounding, self.raw, self.masked, self.mask_below,
                self.predict, self.x_unsigned,
            )  # fmt: skip
        if self.operation == Operation.PREDICT:
            return tiling.plan_predict(layer, config, addresses, self.x_unsigned)
        return tiling.plan_weight_gradient(
            layer, config, addresses, self.x_unsigned, self.selective, threshold_q12
        )


@dataclass(frozen=True)
class Template:
    """A plan with every tensor at address 0.

    Attributes:
        plan: with shift 0 and threshold 0.
        costs: what its tiles do.
        weights, mask, out: whether the pass reads packed weights and a mask, and writes a tensor.
    """

    key: PassKey
    config: ArrayConfig
    plan: Plan
    weights: bool
    mask: bool
    out: bool
    costs: TileCosts

    @property
    def macs(self) -> NDArray[np.uint64]:
        """Products of each tile, whether formed or gated: what its result block must add up to."""
        return self.costs.macs

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Of the result: NHWC; [kernel_h, kernel_w, c_in, c_out] of a weight gradient; () of a prediction."""
        layer, operation = self.key.layer, self.key.operation
        if operation == Operation.FORWARD:
            return layer.images, layer.out_h, layer.out_w, layer.c_out
        if operation == Operation.INPUT_GRADIENT:
            return layer.images, layer.height, layer.width, layer.c_in
        if operation == Operation.WEIGHT_GRADIENT:
            return layer.kernel_h, layer.kernel_w, layer.c_in, layer.c_out
        return ()

    @cached_property
    def packer(self) -> WeightPacker:
        """Of the weights that the pass reads."""
        layer, plan = self.key.layer, self.plan
        shape = (layer.kernel_h, layer.kernel_w, layer.c_in, layer.c_out)
        return weight_packer(shape, self.config, self.key.operation, layer.stride, plan.lane_mode, plan.ranges)

    @cached_property
    def totals(self) -> ListTotals:
        """What all tiles do together."""
        return ListTotals(*(int(values.sum()) for values in self.costs if values is not self.costs.positions))

    @cached_property
    def blank_results(self) -> NDArray[np.uint64]:
        """Result blocks, as 64-bit words [tiles, 8], of a pass that was done: its products and nothing else."""
        blocks = np.zeros(len(self), RESULT_DTYPE)
        blocks["status"], blocks["macs"] = 1, self.costs.macs
        return blocks.view(np.uint64).reshape(len(self), -1)

    def __len__(self) -> int:
        return len(self.plan.descriptors)

    def at(self, addresses: Addresses, shift: int = 0, threshold_q12: int = 0) -> NDArray[Any]:
        """The descriptors for tensors at these addresses."""
        d = self.plan.descriptors.copy()
        d["x_address"] += addresses.x
        d["g_address"] += addresses.g
        d["result_address"] += addresses.results
        if self.weights:
            d["w_address"] += addresses.weights
            d["shift"] = shift
        if self.mask:
            d["mask_address"] += addresses.mask
        if self.out:
            d["out_address"] += addresses.out
        if self.key.operation == Operation.WEIGHT_GRADIENT:
            d["threshold_q12"] = threshold_q12
        return seal(d)


@lru_cache(maxsize=1024)
def template_of(key: PassKey, config: ArrayConfig) -> Template:
    """The plan of a pass, made on first use; JoulebitError where the layer does not fit the configuration."""
    convolves = key.operation in (Operation.FORWARD, Operation.INPUT_GRADIENT)
    plan = key.plan(config, Addresses(0))
    return Template(
        key,
        config,
        plan,
        weights=convolves,
        mask=key.masked,
        out=key.operation != Operation.PREDICT,
        costs=tile_costs(plan.descriptors, config),
    )
