"""What whole training steps cost, from shapes alone: the counters of a real step, with nothing computed."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from joulebit.energy.accounting import Accountant
from joulebit.energy.counters import Counters, counted_as
from joulebit.energy.widths import Widths
from joulebit.fixed.arithmetic import Arithmetic
from joulebit.nn.graph import ConvPlan, MaxPoolPlan, NetworkPlan, ResidualPlan


class StepCounters(Counters):
    """Counters of one step or part of one, to be multiplied."""

    def times(self, count: int) -> StepCounters:
        """Those of `count` such steps."""
        if count < 0:
            raise ValueError(f"count must be at least 0, got {count}")
        return StepCounters({key: count * value for key, value in self.items()} if count else {})


def conv_step(accountant: Accountant, conv: ConvPlan, samples: int, predicted: Fraction | None = None) -> None:
    """All passes over one convolution in one step, its update included.

    predicted: the share of weight elements whose sign the predictor decides; None = plain gradients.
    """
    accountant.forward(conv, samples)
    accountant.norm_backward(conv, samples)
    if conv.index:
        accountant.input_gradient(conv, samples)
    kernel_h, kernel_w, c_in, c_out = conv.weight_shape
    weights = kernel_h * kernel_w * c_in * c_out
    split = None if predicted is None else (int(predicted * weights), weights)
    accountant.weight_gradient(conv, samples, split)
    accountant.update(weights + c_out * (2 if conv.norm else 1))
    accountant.weights(conv)


def block_step(
    plan: ResidualPlan,
    samples: int,
    arithmetic: Arithmetic | Widths | None,
    predicted: Fraction | None = None,
    closed: str = "",
) -> StepCounters:
    """One residual block in one step; closed = the reason why no sample enters it ("slu", "sd"), or empty."""
    counters = StepCounters()
    accountant = Accountant(counters, arithmetic)
    if closed:
        accountant.shortcut(plan, samples, backward=False)
        accountant.shortcut(plan, samples, backward=True)
        accountant.skip_block(plan, samples, closed)
    else:
        for conv in plan.convs:
            conv_step(accountant, conv, samples, predicted)
    return counters


def trunk_step(
    plan: NetworkPlan,
    samples: int,
    arithmetic: Arithmetic | Widths | None,
    predicted: Fraction | None = None,
    gates: Mapping[int, int] | None = None,
) -> StepCounters:
    """Everything of one step but the residual blocks.

    gates: multiply-accumulates per sample of the gate of each gated block, by the block's index.
    """
    counters = StepCounters()
    accountant = Accountant(counters, arithmetic)
    for node in plan.nodes:
        if isinstance(node, ConvPlan):
            conv_step(accountant, node, samples, predicted)
        elif not isinstance(node, ResidualPlan):
            for backward in (False, True):
                accountant.pool(node.in_shape, node.out_shape, samples, backward)
    for backward in (False, True):
        accountant.head(plan.head, samples, backward)
        for macs in (gates or {}).values():
            accountant.gate(macs, samples, backward)
    accountant.update(plan.head.features * plan.head.classes + plan.head.classes)
    for key, amount in (("steps", 1), ("batches.seen", 1), ("samples.seen", samples)):
        counters.add(key, amount)
    return counters


def training_step(
    plan: NetworkPlan,
    samples: int,
    arithmetic: Arithmetic | Widths | None,
    predicted: Fraction | None = None,
) -> StepCounters:
    """One step with every block open; arithmetic None is float32."""
    counters = trunk_step(plan, samples, arithmetic, predicted)
    for block in plan.blocks():
        counters.merge(block_step(block, samples, arithmetic, predicted))
    return counters


def forward_pass(plan: NetworkPlan, samples: int, arithmetic: Arithmetic | Widths | None) -> StepCounters:
    """A forward pass with every block open, as data selection needs it: all its work counts as phase selection."""
    counters = StepCounters()
    accountant = Accountant(counters, arithmetic)
    with counted_as(counters, "selection"):
        for node in plan.nodes:
            if isinstance(node, MaxPoolPlan):
                accountant.pool(node.in_shape, node.out_shape, samples, backward=False)
            else:
                for conv in node.body if isinstance(node, ResidualPlan) else (node,):
                    accountant.forward(conv, samples)
        accountant.head(plan.head, samples, backward=False)
    return counters
