"""Data sets in memory, and the parts taken from them."""

import numpy as np
import pytest

from joulebit.data import (
    DataError,
    Dataset,
    Split,
    balanced_prefix,
    first_n,
    limit_train,
    stratified_halves,
    subset,
)
from joulebit.data.splits import balanced_prefix_indices, stratified_indices


def make_split(labels):
    """Images that carry their own position, so that parts can be told."""
    labels = np.asarray(labels, np.int64)
    images = np.arange(len(labels), dtype=np.uint8)[:, None, None, None] * np.ones((2, 2, 1), np.uint8)
    return Split(images, labels)


def positions(split):
    return split.images[:, 0, 0, 0].tolist()


@pytest.fixture
def split():
    return make_split(np.random.default_rng(3).integers(0, 4, 101))


def test_splits_are_read_only(split):
    for array in (split.images, split.labels):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
    with pytest.raises(AttributeError):
        split.labels = np.zeros(101, np.int64)


def test_the_callers_array_stays_writable():
    images = np.zeros((2, 3, 3, 1), np.uint8)
    Split(images, np.zeros(2, np.int64))
    images[0] = 1


def test_images_are_contiguous():
    images = np.zeros((2, 3, 4, 5), np.uint8).transpose(0, 2, 3, 1)
    assert Split(images, np.zeros(2, np.int64)).images.flags.c_contiguous


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((2, 3, 3, 1)), np.zeros(2, np.int64), "images must be uint8 .* got float64"),
        (np.zeros((2, 9), np.uint8), np.zeros(2, np.int64), r"got uint8 \[2, 9\]"),
        (np.zeros((2, 3, 3, 1), np.uint8), np.zeros(2, np.int32), "labels must be int64 .* got int32"),
        (np.zeros((2, 3, 3, 1), np.uint8), np.zeros(3, np.int64), "equally many, got 2 and 3"),
        (np.zeros((0, 3, 3, 1), np.uint8), np.zeros(0, np.int64), "must not be empty"),
    ],
)
def test_wrong_arrays_are_refused(images, labels, message):
    with pytest.raises(DataError, match=message):
        Split(images, labels)


def test_a_data_set_checks_labels_and_shapes(split):
    with pytest.raises(DataError, match=r"mine \(train\): label 3 at record \d+, expected 0 to 2"):
        Dataset("mine", 3, split, split, (2, 2, 1))
    with pytest.raises(DataError, match=r"mine: train images are \[2, 2, 1\], expected \[2, 2, 3\]"):
        Dataset("mine", 4, split, split, (2, 2, 3))


def test_subset_takes_samples_in_the_given_order(split):
    part = subset(split, [5, 0, 5])
    assert positions(part) == [5, 0, 5]
    assert part.labels.tolist() == split.labels[[5, 0, 5]].tolist()
    for wrong, message in (
        ([101], r"\[0, 100\], got 101"),
        ([-1], "got -1"),
        ([], "non-empty"),
        ([[0]], "non-empty list"),
    ):
        with pytest.raises(ValueError, match=message):
            subset(split, wrong)
    with pytest.raises(TypeError, match="indices must be integers, got bool"):
        subset(split, [True, False])


def test_first_n_does_not_copy(split):
    part = first_n(split, 7)
    assert positions(part) == list(range(7))
    assert np.shares_memory(part.images, split.images)
    for wrong in (0, 102):
        with pytest.raises(ValueError, match=rf"must be in \[1, 101\], got {wrong}"):
            first_n(split, wrong)


def test_balanced_prefix_takes_the_classes_in_turn():
    split = make_split([0, 0, 0, 1, 0, 2, 1, 2, 0, 1])
    assert positions(balanced_prefix(split, 1)) == [0]
    assert positions(balanced_prefix(split, 3)) == [0, 3, 5]
    assert positions(balanced_prefix(split, 5)) == [0, 1, 3, 5, 6]
    assert positions(balanced_prefix(split, 10)) == list(range(10))


def test_balanced_prefixes_are_balanced_and_nested(split):
    fewest = int(np.bincount(split.labels).min())
    previous = set()
    for n in range(1, 102):
        chosen = balanced_prefix_indices(split.labels, n)
        assert len(chosen) == n
        assert previous <= set(chosen.tolist())
        previous = set(chosen.tolist())
        if n <= 4 * fewest:
            counts = np.bincount(split.labels[chosen], minlength=4)
            assert counts.max() - counts.min() <= 1


def test_limit_cuts_only_the_training_split(split):
    dataset = Dataset("mine", 4, split, split, (2, 2, 1))
    limited = limit_train(dataset, 20)
    assert len(limited.train) == 20
    assert len(limited.test) == 101
    assert limit_train(dataset, 101) is dataset
    with pytest.raises(ValueError, match="got 102"):
        limit_train(dataset, 102)


@pytest.mark.parametrize("seed", range(5))
def test_halves_are_disjoint_complete_and_stratified(split, seed):
    one, two = stratified_halves(split, seed)
    assert (len(one), len(two)) == (51, 50)
    assert sorted(positions(one) + positions(two)) == list(range(101))
    difference = np.bincount(one.labels, minlength=4) - np.bincount(two.labels, minlength=4)
    assert np.abs(difference).max() <= 1
    assert positions(one) == sorted(positions(one))


def test_halves_follow_the_seed(split):
    firsts = [positions(stratified_halves(split, seed)[0]) for seed in (0, 0, 1)]
    assert firsts[0] == firsts[1] != firsts[2]
    with pytest.raises(ValueError, match="two halves need at least 2 samples, got 1"):
        stratified_halves(make_split([0]), 0)


def test_stratified_sizes_are_exact_for_every_share(split):
    counts = np.bincount(split.labels)
    for first in range(102):
        one, two = stratified_indices(split.labels, first, 0)
        assert (len(one), len(two)) == (first, 101 - first)
        assert np.abs(np.bincount(split.labels[one], minlength=4) - counts * first / 101).max() < 1
    with pytest.raises(ValueError, match=r"first must be in \[0, 101\], got 102"):
        stratified_indices(split.labels, 102, 0)
