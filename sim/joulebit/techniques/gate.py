"""The gating network of SLU in integers: one recurrent cell that walks through the depth of the network.

For each gated block: the block's input, averaged over the image, is projected to 10 numbers (a projection per
block); one LSTM cell of 10 units, shared by all blocks, takes them in; a linear unit and a sigmoid give the
probability that the block is open for the sample. Source: E2-Train, section 3.2; Wang et al., "SkipNet",
ECCV 2018, section 3.2 (the recurrent gate). Formats (spec, section 9): features and projections Q.8, weights Q.12
of Q.28 masters, pre-activations, cell and hidden state Q.12, gates Q.15, gradients Q.28, all saturating.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, localcontext
from functools import lru_cache
from math import isqrt

import numpy as np
from numpy.typing import NDArray

from joulebit.engine.base import UpdateRule
from joulebit.fixed.philox import initial_normal
from joulebit.fixed.rounding import ceil_log2, saturate, shift_round
from joulebit.fixed.update import update_step
from joulebit.nn.parameters import HostParameters
from joulebit.nn.workers import Totals

Int64Array = NDArray[np.int64]

UNITS = 10
ONE_Q15 = 1 << 15
_GRADIENT_BITS = 32
_INIT_LAYER = 1 << 20  # gates draw their initial weights from streams of their own
_LEAST_SLOPE = 1 << 26  # 1/16 in Q.30: a gate that is nearly sure can still be moved
_TABLE_STEP_BITS = 7  # Q.12 arguments, one entry every 2^7 (1/32)


@lru_cache(maxsize=1)
def sigmoid_table() -> Int64Array:
    """round(32768 / (1 + exp(-k / 32))) for k = -256..256, by decimal arithmetic: the same on every platform."""
    with localcontext() as context:
        context.prec = 40
        values = [32768 / (1 + (Decimal(-k) / 32).exp()) for k in range(-256, 257)]
        return np.array([int(value.to_integral_value()) for value in values], np.int64)


def sigmoid(x: Int64Array) -> Int64Array:
    """Sigmoid of Q.12 integers as Q.15: linear between the table's entries, constant beyond +-8."""
    table = sigmoid_table()
    offset = np.clip(x, -(8 << 12), (8 << 12) - 1) + (8 << 12)
    entry = offset >> _TABLE_STEP_BITS
    fraction = offset & ((1 << _TABLE_STEP_BITS) - 1)
    low = table[entry]
    return np.asarray(low + shift_round((table[entry + 1] - low) * fraction, _TABLE_STEP_BITS))


def tanh(x: Int64Array) -> Int64Array:
    """tanh(x) = 2 sigmoid(2x) - 1 of Q.12 integers, as Q.15."""
    return np.asarray(2 * sigmoid(2 * x) - ONE_Q15)


@dataclass
class _Step:
    """What the backward pass needs of one block's forward pass."""

    block: int
    features: Int64Array
    projected: Int64Array
    hidden_before: Int64Array
    cell_before: Int64Array
    gates: tuple[Int64Array, Int64Array, Int64Array, Int64Array]  # input, forget, candidate, output
    cell_tanh: Int64Array
    hidden: Int64Array
    probability: Int64Array


class GateNetwork:
    """Gates for the blocks whose input channels are given, by block index."""

    def __init__(self, channels: dict[int, int], seed: int) -> None:
        self.channels = channels
        initial: dict[str, NDArray[np.int32]] = {}
        for block, count in channels.items():
            weight = initial_normal(seed, _INIT_LAYER + block, count * UNITS, _std_q30(count))
            initial[f"gate{block}.weight"] = weight.reshape(count, UNITS)
            initial[f"gate{block}.bias"] = np.zeros(UNITS, np.int32)
        for name, rows, stream in (("input", UNITS, 1), ("hidden", UNITS, 2)):
            weight = initial_normal(seed, 2 * _INIT_LAYER + stream, rows * 4 * UNITS, _std_q30(2 * UNITS))
            initial[f"gate.{name}"] = weight.reshape(rows, 4 * UNITS)
        initial["gate.bias"] = np.zeros(4 * UNITS, np.int32)
        initial["gate.output"] = initial_normal(seed, 2 * _INIT_LAYER + 3, UNITS, _std_q30(UNITS))
        initial["gate.output_bias"] = np.full(1, 2 << 28, np.int32)  # open at first: sigmoid(2) = 0.88
        self.parameters = HostParameters(initial)
        self._weights: dict[str, Int64Array] = {}  #: Q.12, of this pass
        self._steps: list[_Step] = []
        self._hidden: Int64Array = np.zeros((0, UNITS), np.int64)
        self._cell: Int64Array = np.zeros((0, UNITS), np.int64)

    @property
    def macs(self) -> dict[int, int]:
        """Multiply-accumulates per sample of each block's gate."""
        recurrent = 2 * UNITS * 4 * UNITS + UNITS
        return {block: count * UNITS + recurrent for block, count in self.channels.items()}

    def start(self, samples: int) -> None:
        """Before the first block of a pass."""
        self._weights = {
            name: saturate(shift_round(self.parameters.view(name), 16), 16) for name in self.parameters
        }
        self._steps = []
        self._hidden = np.zeros((samples, UNITS), np.int64)
        self._cell = np.zeros((samples, UNITS), np.int64)

    def probability(self, block: int, pooled: Int64Array, exponent: int, positions: int) -> Int64Array:
        """Q.15 probability [N] that the block is open, from the sums of its input over the image [N, C].

        exponent is that of the input; positions is H * W.
        """
        weights = self._weights
        features = saturate(shift_round(pooled, -(8 + exponent - ceil_log2(positions))), 16)
        projected = saturate(
            shift_round(features @ weights[f"gate{block}.weight"] + (weights[f"gate{block}.bias"] << 8), 12), 16
        )
        before_hidden, before_cell = self._hidden, self._cell
        summed = (
            projected @ weights["gate.input"]
            + shift_round(before_hidden @ weights["gate.hidden"], 4)
            + (weights["gate.bias"] << 8)
        )
        pre = saturate(shift_round(summed, 8), 16).reshape(-1, 4, UNITS)
        pre[:, 2] *= 2  # tanh(x) = 2 sigmoid(2x) - 1
        enter, forget, candidate, leave = (gate for gate in sigmoid(pre).swapaxes(0, 1))
        candidate = 2 * candidate - ONE_Q15
        self._cell = saturate(shift_round(forget * before_cell, 15) + shift_round(enter * candidate, 18), 16)
        cell_tanh = tanh(self._cell)
        self._hidden = shift_round(leave * cell_tanh, 18)
        logit = shift_round(self._hidden @ weights["gate.output"] + (weights["gate.output_bias"] << 12), 12)
        probability = sigmoid(saturate(logit, 16))
        self._steps.append(
            _Step(
                block,
                features,
                projected,
                before_hidden,
                before_cell,
                (enter, forget, candidate, leave),
                cell_tanh,
                self._hidden,
                probability,
            )
        )
        return probability

    def backward(self, gradients: dict[int, Int64Array], totals: Totals) -> None:
        """Gradients of all gate parameters from those of the probabilities, Q.28 [N] per block.

        The gradient stops at the features: the trunk does not learn from its gates.
        """
        sums: dict[str, Int64Array] = {}

        def add(name: str, value: Int64Array) -> None:
            sums[name] = sums[name] + value if name in sums else value

        output, inputs, recurrent = (self._weights[f"gate.{name}"] for name in ("output", "input", "hidden"))
        d_hidden = np.zeros_like(self._hidden)
        d_cell = np.zeros_like(self._cell)
        for step in reversed(self._steps):
            enter, forget, candidate, leave = step.gates
            p = step.probability
            d_logit = _gradient(gradients[step.block] * np.maximum(_slope(p), _LEAST_SLOPE), 30)
            add("gate.output", step.hidden.T @ d_logit)
            add("gate.output_bias", d_logit.sum(keepdims=True))
            d_hidden = saturate(d_hidden + shift_round(d_logit[:, None] * output, 12), _GRADIENT_BITS)
            d_leave = _gradient(d_hidden * step.cell_tanh, 15)
            through = _gradient(d_hidden * leave, 15)
            d_cell = saturate(d_cell + _gradient(through * _tanh_slope(step.cell_tanh), 30), _GRADIENT_BITS)
            d_pre = np.concatenate(
                (
                    _gradient(_gradient(d_cell * candidate, 15) * _slope(enter), 30),
                    _gradient(_gradient(d_cell * step.cell_before, 12) * _slope(forget), 30),
                    _gradient(_gradient(d_cell * enter, 15) * _tanh_slope(candidate), 30),
                    _gradient(d_leave * _slope(leave), 30),
                ),
                axis=1,
            )
            d_cell = _gradient(d_cell * forget, 15)
            add("gate.input", step.projected.T @ d_pre)
            add("gate.hidden", step.hidden_before.T @ d_pre)
            add("gate.bias", d_pre.sum(0))
            d_projected = _gradient(d_pre @ inputs.T, 12)
            d_hidden = _gradient(d_pre @ recurrent.T, 12)
            add(f"gate{step.block}.weight", step.features.T @ d_projected)
            add(f"gate{step.block}.bias", d_projected.sum(0))

        def set_gradients(*values: Int64Array) -> None:
            for name, value in zip(sums, values):
                self.parameters.set_gradient(name, value, _exponent(name))

        totals.later(list(sums.values()), set_gradients)
        self._steps = []

    def update(self, samples: int, rule: UpdateRule, step: Callable[..., None] = update_step) -> int:
        """One optimiser step, done by `step`; returns the number of parameters changed."""
        return self.parameters.update(samples, rule, step)


def _exponent(name: str) -> int:
    """Exponent of a parameter's summed gradient: -28 of the gradient, and that of its factor."""
    if name in ("gate.output", "gate.hidden"):
        return -40
    return -36 if name == "gate.input" or name.endswith("weight") else -28


def _gradient(value: Int64Array, shift: int) -> Int64Array:
    return saturate(shift_round(value, shift), _GRADIENT_BITS)


def _slope(gate: Int64Array) -> Int64Array:
    """Derivative of the sigmoid in Q.30, from its Q.15 value."""
    return gate * (ONE_Q15 - gate)


def _tanh_slope(value: Int64Array) -> Int64Array:
    """Derivative of tanh in Q.30, from its Q.15 value."""
    return np.asarray((1 << 30) - value * value)


def _std_q30(fan_in: int) -> int:
    """1 / sqrt(fan_in) in Q.30, by integers."""
    return isqrt((1 << 60) // fan_in)
