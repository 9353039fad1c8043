"""What drawing variational weights costs (`joulebit.techniques.variational`)."""

from __future__ import annotations

from joulebit.energy.accounting import Accountant
from joulebit.techniques.variational import GRADIENT_OPERATIONS, SAMPLE_OPERATIONS


def count_samples(accountant: Accountant, weights: int, training: bool) -> None:
    """What drawing `weights` weights costs: phase other.

    training: and rho's gradient, which draws epsilon again rather than keep it.
    """
    operations = SAMPLE_OPERATIONS + (SAMPLE_OPERATIONS + GRADIENT_OPERATIONS if training else 0)
    accountant.other(operations * weights, (2 * accountant.widths.master + accountant.widths.w) * weights)
    if training:
        accountant.other(0, accountant.widths.accumulator * weights)
