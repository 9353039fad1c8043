"""What training some of a network's neurons costs, as integers: the units of a budget.

**parameters**: their weights. This is the paper's budget.

**bytes**: the memory that their training needs beside that of inference, at the run's batch size:

    per trained parameter               its momentum (48 bits) and its gradient (accumulator_bits)
    per layer with trained weights      its input x, until its weight gradient (x bits each; of a depthwise
                                        layer, or a group, only the trained channels' inputs)
    per layer that a gradient reaches   with batch norm its output z (16 bits each), and one bit per element
                                        that tells where the activation lets the gradient pass

The paper leaves the activations out; they are what an early layer costs. The classifier's own share is not
counted: it is trained anyway.

**joules**: what the backward pass and the update of the convolutions cost in one step with a full batch, by the
run's energy table, in attojoules: with fewer neurons the weight gradients shrink, and the input gradients end
where the lowest trained layer lies. With a sign predictor its saving is not known beforehand and not counted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from math import floor

import numpy as np
from numpy.typing import NDArray

from joulebit.energy.accounting import Accountant
from joulebit.energy.counters import Counters
from joulebit.energy.model import simulate_energy
from joulebit.energy.table import EnergyTable
from joulebit.energy.widths import Widths
from joulebit.fixed.arithmetic import Arithmetic
from joulebit.nn.graph import ConvPlan, NetworkPlan
from joulebit.nn.trained import GradientFlow, Trained, gradient_flow, outputs_per_group
from joulebit.techniques.neurons import Neurons, Selection

_AJ_PER_J = 10**18

Int64Array = NDArray[np.int64]


@dataclass(frozen=True)
class Costs:
    """The costs of training neurons of one network in one run.

    gated: residual blocks (index) with a gate, which needs the gradient of their output in any case.
    """

    plan: NetworkPlan
    neurons: Neurons
    arithmetic: Arithmetic
    batch_size: int
    table: EnergyTable
    gated: frozenset[int] = frozenset()

    def limit(self, budget: float, unit: str) -> int:
        """The budget as an integer of what `of` counts: parameters, bytes or attojoules.

        A share is one of all neurons' parameters. Numbers count as the decimals they are written as.
        """
        exact = Fraction(str(budget))
        if unit == "share":
            return floor(exact * int(self.neurons.parameters.sum()))
        return floor(exact * _AJ_PER_J) if unit == "joules" else floor(exact)

    def of(self, unit: str) -> Callable[[Int64Array], int]:
        """The cost, in the unit, of training the neurons with the given numbers together."""
        if unit == "bytes":
            return lambda chosen: self.memory_bytes(self._selection(chosen))
        if unit == "joules":
            return lambda chosen: self.backward_aj(self._selection(chosen))
        return lambda chosen: int(self.neurons.parameters[chosen].sum())

    def _selection(self, chosen: Int64Array) -> Selection:
        return self.neurons.selection(self.neurons.mask(chosen))

    def memory_bytes(self, selection: Selection) -> int:
        """Bytes of training memory of a selection (see above)."""
        bits = Widths.of(self.arithmetic)
        flow = gradient_flow(self.plan, selection, self.gated)
        total = 0
        for conv in self.plan.convs():
            trained = selection[conv.name]
            total += _parameters(conv, trained) * (bits.momentum + bits.accumulator)
            height, width, _ = conv.in_shape
            inputs = conv.weight_shape[2] * sum(count > 0 for count in outputs_per_group(conv, trained.channels))
            total += self.batch_size * height * width * inputs * bits.x
            if conv.name in flow.reached:
                elements = self.batch_size * int(np.prod(conv.out_shape))
                total += elements * (bits.z * conv.norm + (conv.activation is not None))
        return -(-total // 8)

    def backward_aj(self, selection: Selection) -> int:
        """Attojoules of the convolutions' backward pass and update in one step (see above)."""
        counters = Counters()
        accountant = Accountant(counters, self.arithmetic)
        flow = gradient_flow(self.plan, selection, self.gated)
        for conv in self.plan.convs():
            count_backward(accountant, conv, selection[conv.name], flow, self.batch_size)
        return simulate_energy(counters, self.table).total_aj


def count_backward(
    accountant: Accountant, conv: ConvPlan, trained: Trained, flow: GradientFlow, samples: int
) -> None:
    """The backward pass and update of one convolution of which some neurons are trained."""
    if conv.name not in flow.reached:
        return
    weights = bool(len(trained.channels))
    passing = conv.name in flow.passing
    accountant.norm_backward(conv, samples, shifts_only=not weights and not passing)
    if passing:
        accountant.input_gradient(conv, samples)
    if weights:
        accountant.weight_gradient(conv, samples, None, outputs_per_group(conv, trained.channels))
        accountant.weights(conv)
    accountant.update(_parameters(conv, trained))


def _parameters(conv: ConvPlan, trained: Trained) -> int:
    """Trained weights, gammas and betas (or biases)."""
    channels = len(trained.channels)
    shifts = conv.out_shape[2] if trained.shifts else channels
    return channels * int(np.prod(conv.weight_shape[:3])) + (channels if conv.norm else 0) + shifts
