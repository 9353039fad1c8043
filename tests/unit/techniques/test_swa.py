"""Weight averaging against Python integers."""

import random

import numpy as np
import pytest

from joulebit.techniques.swa import StochasticWeightAveraging

EXTREME = 2**31 - 1


def ref_average(values):
    """Mean of Python integers, ties up."""
    n = len(values)
    return (2 * sum(values) + n) // (2 * n)


@pytest.mark.parametrize("n", [1, 2, 3, 7, 40])
def test_the_average_is_that_of_python_integers(n):
    rng = random.Random(n)
    moments = [
        [rng.choice([rng.randint(-EXTREME, EXTREME), EXTREME, -EXTREME]) for _ in range(50)] for _ in range(n)
    ]
    averaging = StochasticWeightAveraging()
    for moment in moments:
        averaging.add({"w": np.array(moment, np.int32).reshape(5, 10)})
    average = averaging.average()["w"]
    assert average.dtype == np.int32 and average.shape == (5, 10)
    assert average.reshape(-1).tolist() == [ref_average(column) for column in zip(*moments)]
    assert averaging.count == n


def test_ties_go_up():
    averaging = StochasticWeightAveraging()
    averaging.add({"w": np.array([0, 0, -1], np.int32)})
    averaging.add({"w": np.array([1, -1, -2], np.int32)})
    assert averaging.average()["w"].tolist() == [1, 0, -1]


def test_float32_weights_are_summed_in_float64():
    averaging = StochasticWeightAveraging()
    for value in (1.0, 2.0**-24, 2.0**-24):
        averaging.add({"w": np.array([value], np.float32)})
    average = averaging.average()["w"]
    assert average.dtype == np.float32 and average[0] == np.float32((1 + 2.0**-23) / 3)


def test_a_restored_average_goes_on_to_the_same_integers():
    rng = np.random.default_rng(0)
    moments = [{"a": rng.integers(-EXTREME, EXTREME, 9, np.int32), "b": np.int32([i])} for i in range(6)]
    whole, first = StochasticWeightAveraging(), StochasticWeightAveraging()
    for moment in moments:
        whole.add(moment)
    for moment in moments[:4]:
        first.add(moment)
    saved = first.state()
    first.add(moments[0])  # the state is a copy
    second = StochasticWeightAveraging()
    second.load_state(saved)
    for moment in moments[4:]:
        second.add(moment)
    assert second.count == 6
    for name, value in whole.average().items():
        assert np.array_equal(value, second.average()[name])


def test_an_empty_state_is_restored():
    averaging = StochasticWeightAveraging()
    averaging.load_state(StochasticWeightAveraging().state())
    assert averaging.count == 0
    with pytest.raises(ValueError, match="no average before the first moment"):
        averaging.average()


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"w": np.zeros(3, np.int32), "x": np.zeros(3, np.int32)}, "'x'"),
        ({"w": np.zeros(4, np.int32)}, "w was"),
        ({"w": np.zeros(3, np.float32)}, "w was"),
        ({"w": np.zeros(3, np.int64)}, "w must be int32 or float32, got int64"),
    ],
)
def test_weights_that_do_not_fit_are_refused_and_change_nothing(weights, message):
    averaging = StochasticWeightAveraging()
    averaging.add({"w": np.full(3, 5, np.int32)})
    with pytest.raises(ValueError, match=message):
        averaging.add(weights)
    assert averaging.count == 1 and averaging.average()["w"].tolist() == [5, 5, 5]


def test_a_foreign_state_is_refused():
    with pytest.raises(ValueError, match="'count'"):
        StochasticWeightAveraging().load_state({"sum.w": np.zeros(3, np.int64)})
    with pytest.raises(ValueError, match="velocity"):
        StochasticWeightAveraging().load_state({"count": np.array(1), "velocity": np.zeros(3)})
    with pytest.raises(ValueError, match=r"sum\.w must be int64"):
        StochasticWeightAveraging().load_state({"count": np.array(1), "sum.w": np.zeros(3, np.int32)})
