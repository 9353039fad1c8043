"""Data selection: training on a part of the samples, chosen anew every few epochs.

Source: Boumendil, Bechkit, Benatchba, "On data selection for the energy efficiency of neural networks", ICTAI
2023: random selection, selection by loss history (Jiang et al., "Accelerating deep learning by focusing on the
biggest losers", arXiv 1910.00762), and a selectivity ratio S_t that falls along the run (equation 1).

Every R epochs (`renew_every`) a subset of the training set is chosen, and only it is trained on until the next
time. Choices where the paper leaves room, or the released code of selective back-propagation differs:

- t counts epochs from 0 (after the warm-up), so that the first epoch has a subset; the paper's t runs from 1, and
  its final ratio is the same.
- Random selection takes exactly round(S_t * N) of the N samples. The paper speaks of a subset of the batch in one
  place and of a subset of the data set in another (Algorithm 1); this is the latter.
- Loss-based selection: the paper keeps the last losses and selects a sample with its loss's percentile to the
  power beta. As in the released code the history holds 1,024 losses, the percentile counts those that are strictly
  lower, and the losses of a batch join the history before the batch is judged. With losses that all differ the
  percentile is uniform, so that the expected share is 1 / (beta + 1): beta = 1 / S_t - 1. Equal losses lower it.
  (The released code can also put a floor under the probability; there is none here.)
- All samples' losses are taken at once when the subset is renewed, with the weights of that moment and batch norm
  as at evaluation, without augmentation. The released code takes them batch by batch while it trains.
- A selected sample waits until a batch is full (`batches = "full"`, as in the released code) or is trained with
  what else is selected of its batch ("thinned"). In both the learning rate follows the epochs of the whole data
  set, as in the paper: a full epoch's steps pass, some of them with nothing to train.
- Selected samples are not weighted, as in the released code.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, localcontext
from fractions import Fraction
from functools import lru_cache
from math import floor

import numpy as np
from numpy.typing import NDArray

from joulebit.fixed.philox import Purpose, bernoulli, permutation
from joulebit.techniques.schedule import cos_pi_q62

Int64Array = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

APPROACHES = ("none", "random", "loss")
SCHEDULES = ("constant", "exponential", "linear", "cosine", "step")
BATCHES = ("full", "thinned")
HISTORY = 1024  #: losses that are remembered
ONE_Q32 = 1 << 32


@dataclass(frozen=True)
class DataSelection:
    """Which samples an epoch trains on; `[method.data_selection]` of a configuration.

    With t epochs since the warm-up, r = floor(t / R) renewals since, and L the last r of the run, the ratio S_t is

        constant     S
        exponential  S exp(-alpha r)
        linear       S + (S_L - S) r / L
        cosine       S_L + (S - S_L) (1 + cos(pi r / L)) / 2
        step         S drop_factor ^ (number of drops <= r / (L + 1))
    """

    approach: str = "none"  #: none (train on everything), random or loss
    ratio: float = 1.0  #: S: share of the samples to keep, or where a schedule begins; in (0, 1]
    renew_every: int = 3  #: R, epochs; 0 = never: the first subset stays (non-adaptive)
    warmup_epochs: int = 0  #: at first so many epochs with all samples
    schedule: str = "constant"  #: of the ratio: constant, exponential, linear, cosine or step
    alpha: float = 0.0  #: for exponential; 0 = such that the last ratio is final_ratio
    final_ratio: float = 0.0  #: S_L for linear and cosine, and for exponential without alpha
    drops: tuple[float, ...] = (0.5, 0.75)  #: for step: shares of the run, ascending
    drop_factor: float = 0.5  #: for step, in (0, 1]
    batches: str = "full"  #: full: wait for a whole batch of selected samples; thinned: train what is left

    def __post_init__(self) -> None:
        for name, known in (("approach", APPROACHES), ("schedule", SCHEDULES), ("batches", BATCHES)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}")
        if not 0 < self.ratio <= 1:
            raise ValueError(f"ratio must be in (0, 1], got {self.ratio}")
        for name in ("renew_every", "warmup_epochs"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        if not self.alpha >= 0:
            raise ValueError(f"alpha must be at least 0, got {self.alpha}")
        if not 0 <= self.final_ratio <= 1:
            raise ValueError(f"final_ratio must be in [0, 1], got {self.final_ratio}")
        if not all(0 < drop < 1 for drop in self.drops) or list(self.drops) != sorted(self.drops):
            raise ValueError(f"drops must be ascending shares of the run in (0, 1), got {list(self.drops)}")
        if not 0 < self.drop_factor <= 1:
            raise ValueError(f"drop_factor must be in (0, 1], got {self.drop_factor}")
        self._check_together()

    def _check_together(self) -> None:
        needs_final = self.schedule in ("linear", "cosine") or (self.schedule == "exponential" and not self.alpha)
        if needs_final and not 0 < self.final_ratio <= 1:
            what = "alpha or final_ratio" if self.schedule == "exponential" else "final_ratio"
            raise ValueError(f"schedule {self.schedule} needs {what} above 0")
        if self.schedule != "constant" and not self.renew_every:
            raise ValueError(
                f"schedule {self.schedule} changes the ratio at each renewal, but renew_every is 0: set it, or "
                "schedule to constant"
            )
        if self.approach == "none" and self.ratio != 1:
            raise ValueError(f"ratio is {self.ratio} but approach is none: set approach to random or loss")

    @property
    def on(self) -> bool:
        return self.approach != "none"

    def renews(self, epoch: int) -> bool:
        """Whether a subset is chosen before this epoch (from 0)."""
        since = epoch - self.warmup_epochs
        return since == 0 or (since > 0 and self.renew_every > 0 and since % self.renew_every == 0)

    def ratio_q32(self, epoch: int, epochs: int) -> int:
        """S_t of epoch 0..epochs - 1 in units of 2^-32, at least 1; 2^32 during the warm-up.

        By decimal arithmetic of 40 digits, so that every platform has the same number.
        """
        if not 0 <= epoch < epochs:
            raise ValueError(f"epoch must be in [0, {epochs - 1}], got {epoch}")
        since = epoch - self.warmup_epochs
        if since < 0 or not self.on:
            return ONE_Q32
        every = self.renew_every or epochs
        renewal, last = since // every, (epochs - self.warmup_epochs - 1) // every
        with localcontext() as context:
            context.prec = 40
            return max(1, int((self._ratio(renewal, last) * ONE_Q32).to_integral_value()))

    def _ratio(self, renewal: int, last: int) -> Decimal:
        first, final = Decimal(str(self.ratio)), Decimal(str(self.final_ratio))
        if self.schedule == "step":
            at = Fraction(renewal, last + 1)
            passed = sum(at >= Fraction(str(drop)) for drop in self.drops)
            return first * Decimal(str(self.drop_factor)) ** passed
        if self.schedule == "constant" or not renewal:
            return first
        if self.schedule == "exponential":
            alpha = Decimal(str(self.alpha)) if self.alpha else (first / final).ln() / last
            return first * (-alpha * renewal).exp()
        if self.schedule == "linear":
            return first + (final - first) * renewal / last
        cosine = Decimal(cos_pi_q62(renewal, last)) / (1 << 62)
        return final + (first - final) * (1 + cosine) / 2


NO_SELECTION = DataSelection()


def random_subset(seed: int, epoch: int, samples: int, ratio_q32: int) -> BoolArray:
    """bool [samples]: exactly round(ratio * samples) of them (ties up, at least one), drawn before this epoch."""
    count = max(1, floor(Fraction(ratio_q32 * samples, ONE_Q32) + Fraction(1, 2)))
    chosen = np.zeros(samples, np.bool_)
    chosen[permutation(seed, Purpose.DATA_SELECTION, epoch, samples)[:count]] = True
    return chosen


def expected_share(beta: float) -> float:
    """Of samples whose percentile is uniform, the share that is selected with probability percentile^beta."""
    if beta < 0:
        raise ValueError(f"beta must be at least 0, got {beta}")
    return 1 / (beta + 1)


@lru_cache(maxsize=4)
def selection_probabilities(ratio_q32: int, remembered: int) -> NDArray[np.uint64]:
    """P[k] = round(2^32 (k / remembered)^beta), k = 0..remembered - 1, with beta = 1 / ratio - 1; 0^0 is 1.

    k: how many of the remembered losses are lower. Decimal arithmetic of 40 digits; ties to even.
    """
    with localcontext() as context:
        context.prec = 40
        beta = Decimal(ONE_Q32) / ratio_q32 - 1
        if not beta:
            return np.full(remembered, ONE_Q32, np.uint64)
        powers = [Decimal(0)] + [((Decimal(k) / remembered).ln() * beta).exp() for k in range(1, remembered)]
        return np.array([int((power * ONE_Q32).to_integral_value()) for power in powers], np.uint64)


def loss_subset(
    seed: int,
    epoch: int,
    losses: Int64Array,
    order: Int64Array,
    batch_size: int,
    ratio_q32: int,
    history: Int64Array,
) -> tuple[BoolArray, Int64Array]:
    """Selection by loss history before an epoch.

    Args:
        seed: of the draws; sample i uses (DATA_SELECTION, epoch, 1, i).
        losses: int64 [N], only their order matters.
        order: in which the samples are judged: a permutation of 0..N-1.
        batch_size: so many losses join the history at a time, before they are judged.
        ratio_q32: the expected share.
        history: int64 [0..HISTORY], the last losses of earlier calls, oldest first.

    Returns:
        (bool [N], the new history).
    """
    thresholds = np.zeros(len(losses), np.uint64)
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        history = np.concatenate([history, losses[batch]])[-HISTORY:]
        lower = np.searchsorted(np.sort(history), losses[batch], side="left")
        # A loss that has left the history again (batches above HISTORY) may exceed all that is remembered.
        table = selection_probabilities(ratio_q32, len(history))
        thresholds[batch] = table[np.minimum(lower, len(history) - 1)]
    drawn = bernoulli(seed, Purpose.DATA_SELECTION, epoch, 1, np.arange(len(losses)), thresholds)
    return drawn, history
