"""Auxiliary exits: classifiers in the middle of a network, which the deepest one teaches (self-distillation).

A small classifier (global pooling and a linear layer) sits on the output of some residual blocks. Each has a loss
of its own, that of distillation (`joulebit.techniques.distillation`), whose teacher is the last classifier in the
same forward pass; no gradient goes through the teacher:

    loss = H(label, last) + weight * sum over the exits of [(1 - a) H(label, exit) + a T^2 KL(last || exit)]

Their gradients join that of the network where the exits sit. The run's accuracy is that of the last classifier; a
device that cannot afford the whole network may stop at an exit.

Source: L. Zhang et al., "Be your own teacher: improve the performance of convolutional neural networks via self
distillation", ICCV 2019, equation (5) without its hints between features (whose sizes must agree, for which the
paper adds convolutions); survey, section on knowledge distillation. The exits' classifiers have no convolutions of
their own either.

`weight` is a power of two: scaling a gradient by it is exact (spec, section 21).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import frexp, isqrt

import numpy as np
from numpy.typing import NDArray

from joulebit.nn.graph import HeadPlan, NetworkPlan, ResidualPlan
from joulebit.nn.loss import Lesson
from joulebit.techniques.distillation import Distillation

STREAM = 1 << 21  #: initial weights of the exits draw from streams of their own


@dataclass(frozen=True)
class Exits:
    """`[method.exits]` of a configuration."""

    count: int = 0  #: of exits, spread evenly over the residual blocks before the last one; 0 = off
    weight: float = 1.0  #: of each exit's loss; 1, 1/2, 1/4, ..., 1/1024
    teaching: float = 0.3  #: a: share of the last classifier's answers in an exit's loss, 0..1
    temperature: float = 3.0  #: T, 1..64, a multiple of 1/16

    def __post_init__(self) -> None:
        if self.count < 0:
            raise ValueError(f"count must be at least 0, got {self.count}")
        if not 2**-10 <= self.weight <= 1 or frexp(self.weight)[0] != 0.5:
            raise ValueError(f"weight must be a power of two in [1/1024, 1], got {self.weight}")
        if not 0 <= self.teaching <= 1:
            raise ValueError(f"teaching must be in [0, 1], got {self.teaching}")
        self._distillation()

    def _distillation(self) -> Distillation:
        return Distillation(self.temperature, self.teaching or 1.0)

    @property
    def weight_log2(self) -> int:
        """log2 of `weight`."""
        return frexp(self.weight)[1] - 1

    def lesson(self, logits: NDArray[np.int64], exponent: int) -> Lesson | None:
        """What the last classifier's logits (int64 [N, classes]) teach an exit; None where teaching is 0."""
        return self._distillation().lesson(logits, exponent) if self.teaching else None

    def places(self, plan: NetworkPlan) -> tuple[int, ...]:
        """Positions (in `plan.nodes`) of the blocks whose output an exit reads, ascending.

        With B blocks the exit i of k follows block ceil(i B / (k + 1)), counted from 1: the ends of a ResNet's
        first two stages for 2.

        Raises:
            ValueError: the network has not enough residual blocks.
        """
        blocks = [position for position, node in enumerate(plan.nodes) if isinstance(node, ResidualPlan)]
        if self.count >= len(blocks):
            raise ValueError(
                f"{self.count} exits need at least {self.count + 1} residual blocks, {plan.model.name} has "
                f"{len(blocks)}"
            )
        return tuple(blocks[-(-i * len(blocks) // (self.count + 1)) - 1] for i in range(1, self.count + 1))


OFF = Exits()


def classifier_deviation_q30(head: HeadPlan) -> int:
    """Deviation of an exit's initial weights, in 2^-30: that of the classifier (`joulebit.nn.init`)."""
    return isqrt((1 << 60) // (3 * head.features))


def exit_head(plan: NetworkPlan, position: int) -> HeadPlan:
    """The classifier on the output of node `position`."""
    shape = plan.nodes[position].out_shape
    return HeadPlan(True, shape, shape[2], plan.head.classes)
