"""Overtraining: did the second half of a long training make a model better, or only fit its training data closer?

With the accuracies on training and test data after the shorter and the longer training (50 and 100 epochs in the
paper), Table 13 has two columns, both rounded to two decimals:

    A = test(long) - test(short)
    B = (train - test)(long) - (train - test)(short)

A model is overtrained when A is not above 0 (no meaningful gain), or when B is of a comparable scale. The paper
does not say what is comparable; its verdicts (B = 0.02 beside A = 0.04 is, B = 0.01 beside A = 0.05 is not) hold
for any threshold of B / A above 0.2 and up to 0.5. Here it is 1/2: overtrained when 2 B >= A.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

from joulebit.experiments.efficiency.formulas import EfficiencyError

COMPARABLE = Decimal("0.5")  #: of B / A, at least


@dataclass(frozen=True)
class Overtraining:
    """The four accuracies of one model, as shares of 1, and what follows."""

    train_short: float
    test_short: float
    train_long: float
    test_long: float

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0 <= value <= 1:
                raise EfficiencyError(f"{name} must be an accuracy in [0, 1], got {value}")

    @property
    def gain(self) -> Decimal:
        """Column A, two decimals."""
        return _rounded(_exact(self.test_long) - _exact(self.test_short))

    @property
    def divergence(self) -> Decimal:
        """Column B, two decimals."""
        long = _exact(self.train_long) - _exact(self.test_long)
        return _rounded(long - (_exact(self.train_short) - _exact(self.test_short)))

    @property
    def overtrained(self) -> bool:
        """The verdict on the longer training."""
        return self.gain <= 0 or self.divergence >= COMPARABLE * self.gain

    @property
    def reason(self) -> str:
        """The verdict in words."""
        if self.gain <= 0:
            return "no gain on the test set"
        if self.overtrained:
            return "the gap to the training data grew by half of the gain or more"
        return "a gain on the test set"


def _exact(value: float) -> Decimal:
    return Decimal(repr(float(value)))


def _rounded(value: Decimal) -> Decimal:
    """Two decimals, ties away from zero; never -0."""
    return value.quantize(Decimal("0.01"), ROUND_HALF_UP) + Decimal("0.00")
