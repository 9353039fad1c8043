"""Parts of a split: chosen samples, prefixes, and partitions that keep the shares of the classes."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from joulebit.data.dataset import Dataset, Split
from joulebit.fixed.philox import Purpose, permutation

if TYPE_CHECKING:
    import numpy.typing as npt

    Indices = npt.NDArray[np.int64]


def subset(split: Split, indices: npt.ArrayLike) -> Split:
    """The samples at ``indices`` (integers in [0, N), in that order; repeats allowed), copied.

    Raises ValueError for no index, or one out of range; TypeError for indices that are not integers.
    """
    chosen = np.asarray(indices)
    if chosen.size and chosen.dtype.kind not in "iu":
        raise TypeError(f"indices must be integers, got {chosen.dtype}")
    if chosen.ndim != 1 or chosen.size == 0:
        raise ValueError(f"indices must be a non-empty list, got shape {list(chosen.shape)}")
    lowest, highest = int(chosen.min()), int(chosen.max())
    if lowest < 0 or highest >= len(split):
        wrong = lowest if lowest < 0 else highest
        raise ValueError(f"indices must be in [0, {len(split) - 1}], got {wrong}")
    return Split(np.asarray(split.images[chosen]), split.labels[chosen])


def first_n(split: Split, n: int) -> Split:
    """The first n samples, without copying the images. Raises ValueError unless 1 <= n <= N."""
    _check_count(n, len(split))
    return Split(split.images[:n], split.labels[:n])


def balanced_prefix_indices(labels: npt.NDArray[np.int64], n: int) -> Indices:
    """Ascending positions (int64 [n]) of a prefix that takes the classes in turn.

    The first sample of each class, then the second of each, and so on, until n are taken (within a turn by
    position). Class counts differ by at most one while no class runs out, and a smaller n takes part of a
    larger one.
    """
    _check_count(n, len(labels))
    rank = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        rank[members] = np.arange(len(members))
    return np.sort(np.argsort(rank, kind="stable")[:n]).astype(np.int64)


def balanced_prefix(split: Split, n: int) -> Split:
    """The n samples of :func:`balanced_prefix_indices`, in the split's order."""
    return subset(split, balanced_prefix_indices(split.labels, n))


def limit_train(dataset: Dataset, n: int) -> Dataset:
    """The data set with a balanced prefix of n training samples; the test split stays whole."""
    if n == len(dataset.train):
        return dataset
    return dataclasses.replace(dataset, train=balanced_prefix(dataset.train, n))


def stratified_indices(labels: npt.NDArray[np.int64], first: int, seed: int) -> tuple[Indices, Indices]:
    """Two disjoint sets of positions, the first of size ``first``, each with the class shares of the whole.

    A class of n_c samples gives floor(n_c * first / N) to the first set; the classes with the largest
    remainders give one more (ties: the lower label), so that the size is exact. Which samples: the first
    ones of the permutation (seed, SPLIT, a=label). Both results ascend (int64).
    """
    if not 0 <= first <= len(labels):
        raise ValueError(f"first must be in [0, {len(labels)}], got {first}")
    names, counts = np.unique(labels, return_counts=True)
    quotas = counts.astype(np.int64) * first // max(1, len(labels))
    remainders = counts.astype(np.int64) * first % max(1, len(labels))
    quotas[np.argsort(-remainders, kind="stable")[: first - int(quotas.sum())]] += 1
    in_first = np.zeros(len(labels), np.bool_)
    for label, quota in zip(names.tolist(), quotas.tolist()):
        members = np.flatnonzero(labels == label)
        in_first[members[permutation(seed, Purpose.SPLIT, label, len(members))[:quota]]] = True
    return np.flatnonzero(in_first).astype(np.int64), np.flatnonzero(~in_first).astype(np.int64)


def stratified_halves(split: Split, seed: int) -> tuple[Split, Split]:
    """Two disjoint random halves with equal class shares: to pre-train on one and fine-tune on the other.

    Sizes are ceil(N / 2) and floor(N / 2); in each class they differ by at most one. See
    :func:`stratified_indices`. Raises ValueError for fewer than two samples.
    """
    if len(split) < 2:
        raise ValueError(f"two halves need at least 2 samples, got {len(split)}")
    one, two = stratified_indices(split.labels, (len(split) + 1) // 2, seed)
    return subset(split, one), subset(split, two)


def _check_count(n: int, available: int) -> None:
    if not 1 <= n <= available:
        raise ValueError(f"number of samples must be in [1, {available}], got {n}")
