"""Neuron selection under a budget: which neurons the next epoch trains.

    all                     every neuron: the baseline
    velocity                the fastest, |v|, until the budget is spent (equation (6))
    velocity_per_parameter  the fastest per parameter, |v| / parameters (equation (7)); in the paper's tables and
                            its released code this is "velocity"
    random                  in an order drawn anew each time
    static                  a fixed scheme (sparse update): the first share of some layers' neurons, and the betas
                            or biases of the last layers
    equilibrium             no budget: all but those at equilibrium, |v| <= epsilon (equation (4); NEq)

The order takes equal neurons as they lie in the network. A neuron that does not fit ends the selection, even if a
later one would fit. Before the first two measurements there is no velocity: then the selection is random, or a
scheme's, under the same budget; equilibrium then trains everything.

Source: A. Quelennec et al., WACV 2024 workshops; A. Bragagnolo et al., "To update or not to update? Neurons at
equilibrium in deep models", NeurIPS 2022; J. Lin et al., "On-device training under 256KB memory", NeurIPS 2022,
whose schemes for MobileNetV2 are those of the released code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from math import floor
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from joulebit.errors import did_you_mean
from joulebit.fixed.philox import Purpose, uniform_bits
from joulebit.nn.graph import NetworkPlan
from joulebit.techniques.neurons import Neurons, longest_prefix

METHODS = ("off", "all", "velocity", "velocity_per_parameter", "random", "static", "equilibrium")
MEASURING = ("velocity", "velocity_per_parameter", "equilibrium")  #: need validation samples
UNITS = ("parameters", "share", "bytes", "joules")  #: of a budget; a share is one of all parameters
BUDGETED = ("velocity", "velocity_per_parameter", "random")

Int64Array = NDArray[np.int64]


@dataclass(frozen=True)
class Scheme:
    """A static selection (sparse update).

    convolutions: indices in network order; ratios: the share of each one's output channels, the first ones;
    biases: so many of the last convolutions have all their betas (or biases) trained.
    """

    convolutions: tuple[int, ...]
    ratios: tuple[Fraction, ...]
    biases: int = 0

    def __post_init__(self) -> None:
        if len(self.convolutions) != len(self.ratios):
            raise ValueError(
                f"a scheme has one ratio per convolution, got {len(self.ratios)} for {len(self.convolutions)}"
            )
        if list(self.convolutions) != sorted(set(self.convolutions)):
            raise ValueError(f"convolutions of a scheme must ascend, got {list(self.convolutions)}")
        if not all(0 <= ratio <= 1 for ratio in self.ratios):
            raise ValueError(f"ratios of a scheme must be in [0, 1], got {[float(r) for r in self.ratios]}")
        if self.biases < 0:
            raise ValueError(f"biases of a scheme must be at least 0, got {self.biases}")

    def selection(self, plan: NetworkPlan, neurons: Neurons) -> tuple[NDArray[np.bool_], frozenset[str]]:
        """(neurons bool [N], names of the convolutions whose betas or biases are all trained).

        Raises:
            ValueError: the network has fewer convolutions.
        """
        convs = list(plan.convs())
        if max((*self.convolutions, self.biases - 1), default=0) >= len(convs):
            raise ValueError(
                f"{plan.model.name} has {len(convs)} convolutions, 0..{len(convs) - 1}; the scheme names "
                f"{list(self.convolutions)} and the last {self.biases}"
            )
        chosen = np.zeros(len(neurons), np.bool_)
        for index, ratio in zip(self.convolutions, self.ratios):
            count = floor(ratio * convs[index].out_shape[2])
            chosen |= (neurons.layer == index) & (neurons.channel < count)
        return chosen, frozenset(conv.name for conv in convs[len(convs) - self.biases :])


class Costs(Protocol):
    """What training neurons of one network costs (`joulebit.energy.neuron_budget.Costs`)."""

    @property
    def plan(self) -> NetworkPlan: ...

    @property
    def neurons(self) -> Neurons: ...

    def limit(self, budget: float, unit: str) -> int:
        """The budget as an integer of what `of` counts."""
        ...

    def of(self, unit: str) -> Callable[[Int64Array], int]:
        """The cost, in the unit, of training the neurons with the given numbers together."""
        ...


def _ratios(*texts: str) -> tuple[Fraction, ...]:
    return tuple(map(Fraction, texts))


_LAYERS = (27, 30, 33, 36, 39, 42, 45, 48)

#: For MobileNetV2, by the number of weights that they train.
SCHEMES = {
    "mobilenetv2-192312": Scheme(
        (36, 39, 40, 41, 42, 45, 48, 49), _ratios("1", "1", "0", "1/4", "1/8", "1/8", "1/8", "1/8"), 16
    ),
    "mobilenetv2-464640": Scheme(_LAYERS, _ratios("1", "1", "1", "1", "1", "1/8", "1/2", "1"), 25),
    "mobilenetv2-675840": Scheme(_LAYERS, _ratios(*["1"] * 8), 34),
}


def scheme(name: str) -> Scheme:
    """A scheme by name; ValueError names the nearest known one."""
    if name not in SCHEMES:
        raise ValueError(f"unknown scheme {name!r}{did_you_mean(name, SCHEMES)}; known: {', '.join(SCHEMES)}")
    return SCHEMES[name]


@dataclass(frozen=True)
class NeuronSelection:
    """How a run selects.

    budget: in units of `unit` (`joulebit.energy.neuron_budget`). fixed: the scheme of `static`, or of
    the first selection of the others; None: that one is random.
    """

    method: str
    budget: float = 0.0
    unit: str = "parameters"
    fixed: Scheme | None = None
    mu: float = 0.5  #: weight of the previous velocity
    epsilon: float = 1e-3  #: of equilibrium

    @property
    def measures(self) -> bool:
        """Whether it needs velocities."""
        return self.method in MEASURING

    def select(
        self, costs: Costs, seed: int, renewal: int, velocity: Int64Array | None, samples: int = 0
    ) -> tuple[NDArray[np.bool_], frozenset[str]]:
        """(neurons bool [N], convolutions whose betas or biases are all trained) of the renewal-th selection.

        velocity: int64 [N] in units of 2^-30 / samples (`neuron_velocity`); None: not known yet.
        """
        neurons = costs.neurons
        if self.fixed and (self.method == "static" or renewal == 0):
            return self.fixed.selection(costs.plan, neurons)
        if self.method == "all" or (self.method == "equilibrium" and velocity is None):
            return np.ones(len(neurons), np.bool_), frozenset()
        if self.method == "equilibrium":
            assert velocity is not None
            limit = floor(Fraction(str(self.epsilon)) * (samples << 30))
            return np.abs(velocity) > limit, frozenset()
        if self.method == "random" or velocity is None:
            words = uniform_bits(seed, Purpose.NEURON_SELECTION, renewal, 0, np.arange(len(neurons)))
            order = np.argsort(words, kind="stable")
        else:
            order = fastest_first(
                velocity, neurons.parameters if self.method == "velocity_per_parameter" else None
            )
        limit = costs.limit(self.budget, self.unit)
        return neurons.mask(longest_prefix(order, limit, costs.of(self.unit))), frozenset()


def fastest_first(velocity: Int64Array, parameters: Int64Array | None = None) -> Int64Array:
    """Numbers of the neurons by falling |velocity|, or |velocity| / parameters compared as exact fractions; equal
    ones in order.
    """
    if parameters is None:
        return np.argsort(-np.abs(velocity), kind="stable")
    keys = [Fraction(abs(v), p) for v, p in zip(velocity.tolist(), parameters.tolist())]
    return np.array(sorted(range(len(keys)), key=lambda i: (-keys[i], i)), np.int64)


def flops_saved(counters: dict[str, int]) -> float:
    """Share of full training's multiply-accumulates (of the samples that were computed) left out by freezing."""
    frozen = sum(
        value for key, value in counters.items() if key.startswith("skipped.") and key.endswith(".frozen")
    )
    done = sum(
        value
        for key, value in counters.items()
        if key.startswith(("macs.forward.", "macs.input_gradient.", "macs.weight_gradient."))
    )
    return frozen / (frozen + done) if frozen else 0.0
