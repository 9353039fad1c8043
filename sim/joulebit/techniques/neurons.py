"""The neurons of a network in one order, and selections of them under a budget.

A neuron is an output channel of a convolution (a row of a hidden dense layer). Its parameters are its weights,
k_h * k_w * c_in / groups of them: a neuron of a depthwise convolution has 9, not 9 * c_in. Batch norm and the
classifier are not counted, as in the published totals (MobileNetV2 2,189,760, ResNet-18 11,166,912, ResNet-50
23,454,912).

Source: A. Quelennec et al., "Towards On-device Learning on the Edge: Ways to Select Neurons to Update under a
Budget Constraint", WACV 2024 workshops, sections 3.2 to 3.4.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from joulebit.nn.graph import NetworkPlan
from joulebit.nn.trained import Trained

Int64Array = NDArray[np.int64]
Selection = dict[str, Trained]  #: by the name of the convolution


@dataclass(frozen=True, eq=False)
class Neurons:
    """All neurons: convolutions in network order, within one by channel.

    names: of the convolutions. layer, channel, parameters: int64 [N], of each neuron.
    """

    names: tuple[str, ...]
    layer: Int64Array
    channel: Int64Array
    parameters: Int64Array

    @classmethod
    def of(cls, plan: NetworkPlan) -> Neurons:
        """Those of a network."""
        convs = list(plan.convs())
        counts = [conv.out_shape[2] for conv in convs]
        each = [int(np.prod(conv.weight_shape[:3])) for conv in convs]
        return cls(
            tuple(conv.name for conv in convs),
            np.repeat(np.arange(len(convs)), counts),
            np.concatenate([np.arange(count) for count in counts]),
            np.repeat(np.array(each, np.int64), counts),
        )

    def __len__(self) -> int:
        return len(self.layer)

    def selection(self, chosen: NDArray[np.bool_], shifts: frozenset[str] = frozenset()) -> Selection:
        """chosen: bool [N]; shifts: convolutions of which all betas (or biases) are trained."""
        return {
            name: Trained(self.channel[chosen & (self.layer == index)], name in shifts)
            for index, name in enumerate(self.names)
        }

    def mask(self, chosen: Int64Array) -> NDArray[np.bool_]:
        """bool [N] with True at the neurons' numbers `chosen`."""
        found = np.zeros(len(self), np.bool_)
        found[chosen] = True
        return found


def longest_prefix(order: Int64Array, budget: int, cost: Callable[[Int64Array], int]) -> Int64Array:
    """The most neurons from the front of `order` whose cost is within the budget (equation (6), greedy).

    cost gives the cost of training a set of neurons together; it never shrinks when one is added.
    """
    low, high = 0, len(order)  # the first `low` fit, the first `high` + 1 do not
    while low < high:
        middle = (low + high + 1) // 2
        if cost(order[:middle]) <= budget:
            low = middle
        else:
            high = middle - 1
    return order[:low]
