"""The synaptic flow of a network: how much of an input of ones passes through each weight, in integers.

The definition, with its source, is in `joulebit.techniques.pruning`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from joulebit.fixed.rounding import bit_length, shift_round
from joulebit.nn.graph import ConvPlan, NetworkPlan, ResidualPlan

_BITS = 24  # of a flow
_FRACTION = 16  # of absolute weights
_MASTER_SHIFT = 28 - _FRACTION

Int64Array = NDArray[np.int64]


class Flow(NamedTuple):
    """values * 2^exponent, by channel; int64, below 2^24."""

    values: Int64Array
    exponent: int


def synaptic_flow_scores(
    plan: NetworkPlan, masters: Mapping[str, NDArray[np.int32]], masks: Mapping[str, NDArray[np.bool_]]
) -> dict[str, NDArray[np.float64]]:
    """Scores of the convolutions' weights by the name of the convolution, up to one common factor.

    masters: int32, of `<name>.weight` and `head.weight`. masks: pruned weights (False) carry nothing.
    """
    absolute = {
        conv.name: shift_round(np.abs(masters[f"{conv.name}.weight"].astype(np.int64)), _MASTER_SHIFT)
        * masks[conv.name]
        for conv in plan.convs()
    }
    inputs: dict[str, Flow] = {}
    flow = Flow(np.full(plan.image_shape[2], 1 << (_BITS - 1), np.int64), 0)
    for node in plan.nodes:
        if isinstance(node, ConvPlan):
            inputs[node.name] = flow
            flow = _forward(node, absolute[node.name], flow)
        elif isinstance(node, ResidualPlan):
            shortcut = flow
            for conv in node.body:
                inputs[conv.name] = flow
                flow = _forward(conv, absolute[conv.name], flow)
            if node.projection:
                inputs[node.projection.name] = shortcut
                shortcut = _forward(node.projection, absolute[node.projection.name], shortcut)
            flow = _added(flow, shortcut)
    head = shift_round(np.abs(masters["head.weight"].astype(np.int64)), _MASTER_SHIFT)
    channels = plan.head.in_shape[2]
    back = _narrowed(head.reshape(head.shape[0], -1, channels).sum((0, 1)), 0)
    scores: dict[str, NDArray[np.float64]] = {}
    exponents: dict[str, int] = {}

    def down(conv: ConvPlan, outputs: Flow) -> Flow:
        scores[conv.name] = _scores(conv, absolute[conv.name], inputs[conv.name], outputs)
        exponents[conv.name] = inputs[conv.name].exponent + outputs.exponent
        return _backward(conv, absolute[conv.name], outputs)

    for node in reversed(plan.nodes):
        if isinstance(node, ConvPlan):
            back = down(node, back)
        elif isinstance(node, ResidualPlan):
            current = back
            for conv in reversed(node.body):
                current = down(conv, current)
            entering = node.in_shape[2]
            passed = down(node.projection, back) if node.projection else back
            kept = np.zeros(entering, np.int64)
            kept[: min(entering, len(passed.values))] = passed.values[:entering]
            back = _added(current, Flow(kept, passed.exponent))
    top = max(exponents.values())
    return {conv.name: np.ldexp(scores[conv.name], exponents[conv.name] - top) for conv in plan.convs()}


def _forward(conv: ConvPlan, absolute: Int64Array, flow: Flow) -> Flow:
    groups = conv.geometry.groups
    kernel = absolute.sum((0, 1)).reshape(absolute.shape[2], groups, -1)  # [c_in, group, c_out]
    entering = flow.values.reshape(groups, -1)
    return _narrowed(np.einsum("gi,igo->go", entering, kernel).reshape(-1), flow.exponent - _FRACTION)


def _backward(conv: ConvPlan, absolute: Int64Array, flow: Flow) -> Flow:
    groups = conv.geometry.groups
    kernel = absolute.sum((0, 1)).reshape(absolute.shape[2], groups, -1)
    return _narrowed(
        np.einsum("go,igo->gi", flow.values.reshape(groups, -1), kernel).reshape(-1), flow.exponent - _FRACTION
    )


def _scores(conv: ConvPlan, absolute: Int64Array, entering: Flow, leaving: Flow) -> NDArray[np.float64]:
    each = conv.out_shape[2] // conv.geometry.groups
    per_output = np.repeat(entering.values.reshape(conv.geometry.groups, -1), each, axis=0).T  # [c_in, c_out]
    product = (absolute * per_output).astype(np.float64) * leaving.values.astype(np.float64)
    return np.asarray(product)


def _added(one: Flow, other: Flow) -> Flow:
    """The sum at the larger exponent; channels that one lacks are 0."""
    exponent = max(one.exponent, other.exponent)
    total = np.zeros(max(len(one.values), len(other.values)), np.int64)
    for flow in (one, other):
        total[: len(flow.values)] += shift_round(flow.values, min(62, exponent - flow.exponent))
    return _narrowed(total, exponent)


def _narrowed(values: Int64Array, exponent: int) -> Flow:
    shift = max(0, bit_length(int(values.max())) - _BITS)
    narrowed = np.minimum(shift_round(values, shift), (1 << _BITS) - 1)
    return Flow(narrowed, exponent + shift)
