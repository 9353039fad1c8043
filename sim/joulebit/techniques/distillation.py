"""Knowledge distillation: a network learns from labels and from the softened answers of another one.

Source: Hinton, Vinyals and Dean, "Distilling the knowledge in a neural network", arXiv:1503.02531, section 2. With
z the student's and t the teacher's logits, temperature T and weight a, the loss of a sample is

    (1 - a) H(label, softmax(z)) + a T^2 KL(softmax(t / T) || softmax(z / T))

and its gradient (1 - a) (softmax(z) - label) + a T (softmax(z / T) - softmax(t / T)), in integers by
`joulebit.nn.loss.distilled_gradient`.

The teacher is a trained network, whose own training is not part of the student's cost; or the student as it was at
an earlier moment (self-distillation): the run has several parts of equal length, and in each part after the first
the teacher is the network with which the part began. Source: Yang et al., "Training deep neural networks in
generations: a more tolerant teacher educates better students", AAAI 2019, and Yang et al., "Snapshot distillation:
teacher-student optimization in one generation", CVPR 2019. What the teacher's forward passes cost counts as phase
teacher.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import floor

import numpy as np
from numpy.typing import NDArray

from joulebit.nn.loss import TEMPERATURE_BITS, Lesson

SELF = "self"


@dataclass(frozen=True)
class Distillation:
    """How much a teacher counts, and when a self-teacher is renewed."""

    temperature: float = 4.0  #: T, 1..64, a multiple of 1/16
    weight: float = 0.5  #: a, above 0 and at most 1
    snapshots: int = 1  #: of a self-teacher, at least 1

    def __post_init__(self) -> None:
        if not 1 <= self.temperature <= 64 or self.temperature * 16 % 1:
            raise ValueError(f"temperature must be a multiple of 1/16 in [1, 64], got {self.temperature}")
        if not 0 < self.weight <= 1:
            raise ValueError(f"weight must be in (0, 1], got {self.weight}")
        if self.snapshots < 1:
            raise ValueError(f"snapshots must be at least 1, got {self.snapshots}")

    def lesson(self, logits: NDArray[np.int64], exponent: int) -> Lesson:
        """The teacher's logits (int64 [N, classes]) with the scalars of this distillation."""
        weight_q15 = max(1, floor(Fraction(str(self.weight)) * (1 << 15) + Fraction(1, 2)))
        return Lesson(logits, exponent, weight_q15, int(self.temperature * (1 << TEMPERATURE_BITS)))

    def generation(self, step: int, total: int) -> int:
        """Which part of the run a step belongs to: 0 (no self-teacher yet) to snapshots."""
        if not 0 <= step < total:
            raise ValueError(f"step must be in [0, {total - 1}], got {step}")
        return step * (self.snapshots + 1) // total
