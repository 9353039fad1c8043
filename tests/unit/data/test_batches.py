"""The order of samples, and going on from any step."""

from itertools import islice

import numpy as np
import pytest

from joulebit.data import batch_stream, batches_per_epoch, epoch_batches, step_position
from joulebit.fixed.philox import Purpose, permutation


@pytest.mark.parametrize(("n", "batch_size"), [(1, 1), (10, 3), (12, 4), (5, 8), (1000, 128)])
def test_an_epoch_has_every_sample_once(n, batch_size):
    batches = list(epoch_batches(n, batch_size, 0, 0))
    assert len(batches) == batches_per_epoch(n, batch_size)
    assert all(len(batch) == batch_size for batch in batches[:-1])
    assert np.array_equal(np.sort(np.concatenate(batches)), np.arange(n))


def test_batches_cut_the_permutation_in_order():
    order = permutation(9, Purpose.SHUFFLE, 2, 50)
    assert np.array_equal(np.concatenate(list(epoch_batches(50, 7, 9, 2))), order)


def test_drop_last_leaves_out_only_a_short_batch():
    full = list(epoch_batches(10, 4, 0, 0))
    cut = list(epoch_batches(10, 4, 0, 0, drop_last=True))
    assert [len(batch) for batch in full] == [4, 4, 2]
    assert [batch.tolist() for batch in cut] == [batch.tolist() for batch in full[:2]]
    assert len(list(epoch_batches(8, 4, 0, 0, drop_last=True))) == 2


@pytest.mark.parametrize("drop_last", [False, True])
def test_step_and_position_are_inverse(drop_last):
    per_epoch = batches_per_epoch(103, 10, drop_last)
    assert per_epoch == (10 if drop_last else 11)
    for step in range(3 * per_epoch):
        epoch, batch = step_position(step, 103, 10, drop_last)
        assert 0 <= batch < per_epoch
        assert epoch * per_epoch + batch == step


@pytest.mark.parametrize("drop_last", [False, True])
def test_a_resumed_stream_goes_on_with_the_same_batches(drop_last):
    whole = list(islice(batch_stream(23, 5, 4, drop_last=drop_last), 17))
    assert [batch.step for batch in whole] == list(range(17))
    for first in range(17):
        resumed = islice(batch_stream(23, 5, 4, first_step=first, drop_last=drop_last), 17 - first)
        for one, other in zip(whole[first:], resumed):
            assert one[:3] == other[:3]
            assert np.array_equal(one.indices, other.indices)


def test_epochs_and_seeds_have_different_orders():
    orders = {np.concatenate(list(epoch_batches(40, 8, s, e))).tobytes() for s in range(3) for e in range(3)}
    assert len(orders) == 9


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: epoch_batches(0, 1, 0, 0), "number of samples must be at least 1, got 0"),
        (lambda: epoch_batches(5, 0, 0, 0), "batch_size must be at least 1, got 0"),
        (lambda: epoch_batches(5, 6, 0, 0, drop_last=True), "batch_size must be at most 5 .* got 6"),
        (lambda: epoch_batches(5, 2, 0, 0, first_batch=4), r"first_batch must be in \[0, 3\], got 4"),
        (lambda: epoch_batches(5, 2, 0, -1), "a must be in .* got -1"),
        (lambda: step_position(-1, 5, 2), "step must be at least 0, got -1"),
        (lambda: batch_stream(5, 2, 0, first_step=-3), "step must be at least 0, got -3"),
    ],
)
def test_wrong_arguments_are_refused_at_the_call(call, message):
    with pytest.raises(ValueError, match=message):
        call()
