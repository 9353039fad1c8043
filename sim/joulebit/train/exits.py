"""Auxiliary exits in training: `joulebit.techniques.exits` on an integer network (spec, section 21)."""

from __future__ import annotations

from math import prod

import numpy as np
from numpy.typing import NDArray

from joulebit.engine.base import Quantised
from joulebit.fixed.philox import initial_normal
from joulebit.fixed.rounding import peak, saturate, shift_round
from joulebit.fixed.update import UpdateRule
from joulebit.nn.context import Pass
from joulebit.nn.graph import NetworkPlan
from joulebit.nn.head import Head
from joulebit.nn.parameters import HostParameters
from joulebit.nn.tensor import DelayedExponent, Tensor
from joulebit.techniques.exits import STREAM, Exits, classifier_deviation_q30, exit_head

Int64Array = NDArray[np.int64]
_FARTHEST = 30  # bits between two exponents, beyond which the smaller number is rounded before the sum
_KEYS = 1 << 20  # layers of the rounding keys: the head has this one, the exits the next ones


class ExitClassifiers:
    """The exits of one integer network.

    Args:
        plan: the network.
        policy: how many, and how they learn.
        seed: of their initial weights.
        g_bits: width of gradients.

    Raises:
        ValueError: the network has not enough residual blocks.
    """

    def __init__(self, plan: NetworkPlan, policy: Exits, seed: int, g_bits: int) -> None:
        self._policy = policy
        self._heads: dict[int, Head] = {}  # by position of the node
        self._joints: dict[int, DelayedExponent] = {}  # of the sum of the gradients there
        self._waiting: dict[int, Tensor] = {}  # gradients of this step
        self._read: dict[int, tuple[int, int]] = {}  # samples of workers of lower rank, and of all workers
        weights: dict[str, NDArray[np.int32]] = {}
        biases: dict[str, NDArray[np.int32]] = {}
        places = policy.places(plan)
        for number, position in enumerate(places):
            described, name = exit_head(plan, position), f"exit{number + 1}"
            shape = (described.classes, described.features)
            values = initial_normal(seed, STREAM + number, prod(shape), classifier_deviation_q30(described))
            weights[f"{name}.weight"] = values.reshape(shape)
            biases[f"{name}.bias"] = np.zeros(described.classes, np.int32)
        self.groups = (HostParameters(weights), HostParameters(biases))
        for number, position in enumerate(places):
            described, name = exit_head(plan, position), f"exit{number + 1}"
            self._heads[position] = Head(described, *self.groups, g_bits, name, _KEYS + 1 + number)
            self._joints[position] = DelayedExponent(g_bits)
        self.logits: list[tuple[Int64Array, int]] = []  #: of the last pass, exit by exit

    def __contains__(self, position: int) -> bool:
        return position in self._heads

    def use(self, g_bits: int) -> None:
        """Gradients of another width from now on."""
        for head, joint in zip(self._heads.values(), self._joints.values()):
            head.use(g_bits)
            joint.width = g_bits

    def start(self) -> None:
        """Before a forward pass."""
        self.logits = []

    def forward(self, position: int, x: Tensor, run: Pass) -> None:
        """The exit at `position` answers for the block output x."""
        self._read[position] = (x.before, x.samples)
        self.logits.append(self._heads[position].forward(x, run))

    def backward(self, last: tuple[Int64Array, int], labels: Int64Array, lowest: int | None, run: Pass) -> None:
        """Every exit's own gradients, and those of what it read, which wait for `joined`.

        last: logits of the last classifier and their exponent. lowest: no gradient is needed below this node.
        """
        lesson = self._policy.lesson(*last)
        for (position, head), (logits, exponent) in zip(self._heads.items(), self.logits):
            needed = lowest is not None and position >= lowest
            gradient, _ = head.backward(logits, exponent, labels, run, needed, lesson, self._policy.weight_log2)
            if gradient is not None:
                self._waiting[position] = gradient

    def joined(self, position: int, gradient: Tensor, run: Pass) -> Tensor:
        """The gradient that arrives at a block's output from above, plus its exit's."""
        own = self._waiting.pop(position, None)
        if own is None:
            return gradient
        engine, joint = run.engine, self._joints[position]
        above, beside = engine.to_numpy(gradient.data), engine.to_numpy(own.data)
        total, exponent = _sum(above, gradient.exponent, beside, own.exponent)
        head = self._heads[position]
        before, samples = self._read[position]
        key = run.rounding_key(head.number, 6, before, head.plan.in_shape)
        rounding, largest = engine.arithmetic.rounding_mode, peak(total)

        def compute(shift: int) -> Quantised:
            rounded = shift_round(total, shift, rounding, key)
            kept = saturate(rounded, joint.width)
            data = engine.from_numpy(kept.astype(above.dtype))
            return Quantised(data, largest, int(np.count_nonzero(kept != rounded)))

        result, exponent = joint.quantise(exponent, compute, run.totals)
        elements = samples * prod(head.plan.in_shape)
        run.accountant.join(elements)
        run.record(head.name, joint_elements=elements)
        run.record_total(head.name, "joint_saturated", result.saturated)
        return gradient._replace(data=result.data, exponent=exponent)

    def update(self, samples: int, decayed: UpdateRule, plain: UpdateRule) -> int:
        """One optimiser step of the weights (with decay) and the biases; returns how many changed."""
        weights, biases = self.groups
        return weights.update(samples, decayed) + biases.update(samples, plain)

    # --- state ---------------------------------------------------------------------------------------

    def exponents(self) -> Int64Array:
        """The states of all exponents, for a checkpoint."""
        heads = [head.g_exponent.to_int() for head in self._heads.values()]
        return np.array([*heads, *(joint.to_int() for joint in self._joints.values())], np.int64)

    def load_exponents(self, values: Int64Array) -> None:
        """The reverse of `exponents`."""
        states = [*(head.g_exponent for head in self._heads.values()), *self._joints.values()]
        for state, value in zip(states, values, strict=True):
            state.from_int(int(value))


def _sum(a: Int64Array, a_exponent: int, b: Int64Array, b_exponent: int) -> tuple[Int64Array, int]:
    """a * 2^a_exponent + b * 2^b_exponent and its exponent: the smaller one, but at most 30 below the other."""
    exponent = max(min(a_exponent, b_exponent), max(a_exponent, b_exponent) - _FARTHEST)
    return shift_round(a, exponent - a_exponent) + shift_round(b, exponent - b_exponent), exponent
