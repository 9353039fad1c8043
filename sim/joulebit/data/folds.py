"""Hold-out and k-fold cross-validation: other test sets than the data set's own, the same in every run.

All partitions keep the shares of the classes and follow from the labels alone (`splits.stratified_indices` with a
fixed seed), so that every architecture, engine and seed meets the same samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import floor

import numpy as np
from numpy.typing import NDArray

from joulebit.data.dataset import Split
from joulebit.data.splits import stratified_indices, subset

Indices = NDArray[np.int64]

_SEED = 2  # of the partitions: another than that of the halves, and of the samples that techniques hold out


@dataclass(frozen=True)
class TestSplit:
    """What a run is tested on; `[data.split]` of a configuration. Nothing given: the data set's own test set."""

    __test__ = False  # no test case, whatever pytest makes of the name

    hold_out: float = 0.0  #: this share of the training set is kept for testing, the own test set unused; 0 = off
    folds: int = 0  #: k: training and test set together are cut into k folds; 0 = off
    fold: int = 1  #: which of the k (from 1) is the test set; the others are trained on

    def __post_init__(self) -> None:
        if not 0 <= self.hold_out < 1:
            raise ValueError(f"hold_out must be in [0, 1), got {self.hold_out}")
        if self.folds < 0 or self.folds == 1:
            raise ValueError(f"folds must be 0 (off) or at least 2, got {self.folds}")
        if self.hold_out and self.folds:
            raise ValueError(f"either hold_out or folds can be given, got {self.hold_out} and {self.folds}")
        if not 1 <= self.fold <= max(1, self.folds):
            raise ValueError(f"fold must be in [1, {max(1, self.folds)}], got {self.fold}")


OWN_TEST_SET = TestSplit()


def apply_split(split: TestSplit, train: Split, test: Split) -> tuple[Split, Split]:
    """(training, test) as the split says.

    Raises:
        ValueError: fewer samples than folds, or nothing left to train or test on.
    """
    if split.folds:
        whole = Split(np.concatenate([train.images, test.images]), np.concatenate([train.labels, test.labels]))
        chosen = fold_indices(whole.labels, split.folds)[split.fold - 1]
        rest = np.setdiff1d(np.arange(len(whole)), chosen)
        return subset(whole, rest), subset(whole, chosen)
    if split.hold_out:
        count = floor(Fraction(str(split.hold_out)) * len(train) + Fraction(1, 2))
        if not 0 < count < len(train):
            what = f"hold_out {split.hold_out} of {len(train)} samples"
            raise ValueError(f"{what} leaves nothing to train or test on")
        held_out, rest = stratified_indices(train.labels, count, _SEED)
        return subset(train, rest), subset(train, held_out)
    return train, test


def fold_indices(labels: Indices, folds: int) -> list[Indices]:
    """Positions (int64, ascending) of each of k folds: disjoint, together everything, sizes that differ by at most
    one, class shares kept.

    Fold i is cut from what the folds before it left, with `stratified_indices`. CIFAR-10's 60,000 images in six
    folds give 1,000 of each class, as in the efficiency framework's experiments.
    """
    if not 2 <= folds <= len(labels):
        raise ValueError(f"folds must be in [2, {len(labels)}] for {len(labels)} samples, got {folds}")
    left = np.arange(len(labels))
    found = []
    for remaining in range(folds, 1, -1):
        first, rest = stratified_indices(labels[left], len(left) // remaining, _SEED)
        found.append(left[first])
        left = left[rest]
    return [*found, left]
