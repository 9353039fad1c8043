"""Stochastic mini-batch dropping: each mini-batch is left out with a fixed probability (E2-Train, section 3.1).

A dropped batch is neither loaded nor computed, and moves no weight: no momentum, no decay. The schedule runs over
all iterations, dropped ones included.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import floor

from joulebit.fixed.philox import Purpose, bernoulli, probability_q32


@dataclass(frozen=True)
class StochasticMinibatchDropping:
    """How often batches are dropped and how much of the baseline's computation the run may use.

    With probability p and energy ratio r, a baseline of T iterations becomes r T / (1 - p) iterations, of which
    r T are computed on average:

        StochasticMinibatchDropping(0.5, 2 / 3).total_iterations(64_000)  # 85,333
    """

    probability: float = 0.5  #: that a batch is dropped, 0 <= p < 1
    energy_ratio: float = 2 / 3  #: computed iterations / the baseline's iterations

    def __post_init__(self) -> None:
        if not 0 <= self.probability < 1:
            raise ValueError(f"probability must be in [0, 1), got {self.probability}")
        if not 0 < self.energy_ratio < float("inf"):
            raise ValueError(f"energy_ratio must be above 0 and finite, got {self.energy_ratio}")

    def keeps(self, seed: int, step: int) -> bool:
        """Whether the batch of this iteration (counted over the whole run, from 0) is computed.

        A pure function of seed, step and probability: resumed and distributed runs drop the same batches.
        """
        return not bernoulli(seed, Purpose.BATCH_DROP, step, 0, 0, probability_q32(self.probability))

    def total_iterations(self, baseline_iterations: int) -> int:
        """Iterations of the run, dropped ones included: baseline * ratio / (1 - probability), ties up.

        Both numbers count as the decimals they are written as (0.67 is 67/100).
        """
        if baseline_iterations < 0:
            raise ValueError(f"baseline_iterations must be at least 0, got {baseline_iterations}")
        ratio = Fraction(str(self.energy_ratio)) / (1 - Fraction(str(self.probability)))
        return floor(baseline_iterations * ratio + Fraction(1, 2))
