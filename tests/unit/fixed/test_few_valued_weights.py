"""Binary, ternary and power-of-two weights against plain Python integers, on every engine."""

from math import floor, log2

import numpy as np
import pytest

from joulebit.engine.factory import make_engine
from joulebit.fixed.arithmetic import Arithmetic
from joulebit.fixed.weights import nearest_log2, nearest_power

ENGINES = ("numpy", "numba", "torch")


def ref_power(mean_times, count):
    """The power of two at the smallest distance from a mean (the larger one of two at the same distance)."""
    if not count:
        return 0
    return min(range(40), key=lambda k: (abs(mean_times - (count << k)), -k))


def ref_log2(value):
    return next(k for k in range(40) if value * value < 1 << (2 * k + 1))


def ref_weights(masters, kind, bits):
    size = [abs(m) for m in masters]
    if kind == "binary":
        return [-1 if m < 0 else 1 for m in masters], ref_power(sum(size), len(size)) - 28
    if kind == "ternary":
        kept = [10 * len(size) * v > 7 * sum(size) for v in size]
        large = [v for v, k in zip(size, kept) if k]
        signs = [(m > 0) - (m < 0) if k else 0 for m, k in zip(masters, kept)]
        return signs, ref_power(sum(large), len(large)) - 28
    lowest = max(0, ref_log2(max(size)) - (bits - 2)) if any(size) else 0
    weights = []
    for m, v in zip(masters, size):
        power = ref_log2(v) - lowest if v else -1
        weights.append(0 if power < 0 else (2**power if m > 0 else -(2**power)))
    return weights, lowest - 28


def masters_of(seed):
    rng = np.random.default_rng(seed)
    edge = [0, 1, -1, 2, 3, -3, 5, 6, 181, -182, 1 << 28, -(1 << 28), (1 << 31) - 1, -((1 << 31) - 1), 3037000499]
    edge = [value for value in edge if abs(value) < 1 << 31]
    wide = (rng.standard_normal(57) * 2.0 ** rng.integers(0, 28)).astype(np.int64)
    choice = (wide, np.array(edge), np.zeros(6, np.int64), np.array([7, 7, 7, -7]), rng.integers(-4, 5, 40))
    return choice[seed % len(choice)].astype(np.int32)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", ["binary", "ternary", "shift"])
def test_weights_are_those_of_the_specification(engine, kind):
    for seed in range(40):
        bits = (8, 16, 4, 2)[seed % 4]
        masters = masters_of(seed)
        computer = make_engine(engine, Arithmetic(w_bits=bits))
        w, exponent = computer.quantise_weights(computer.from_numpy(masters.reshape(1, 1, 1, -1)), kind)
        expected = ref_weights([int(m) for m in masters], kind, bits)
        found = computer.to_numpy(w)
        assert (found.reshape(-1).tolist(), exponent) == expected, (seed, bits)
        assert found.dtype == (np.int16 if kind == "shift" and bits > 8 else np.int8)
        assert np.abs(found).max() <= (1 << (bits - 1)) - (bits > 2)


def test_rounded_logarithms():
    for value in [*range(1, 3000), *(1 << k for k in range(31)), 3037000500, 3037000499]:
        assert nearest_log2(value) == ref_log2(value)
        if value < 3000:
            assert nearest_log2(value) == floor(log2(value) + 0.5)
    assert [nearest_power(total, 8) for total in (0, 3, 8, 11, 12, 13, 23, 24)] == [0, 0, 0, 0, 1, 1, 1, 2]


@pytest.mark.parametrize("engine", ENGINES)
def test_masters_are_limited_in_place(engine):
    computer = make_engine(engine, Arithmetic())
    masters = computer.from_numpy(np.array([-9, -8, 0, 8, 9], np.int32))
    computer.limit_masters(masters, 8)
    assert computer.to_numpy(masters).tolist() == [-8, -8, 0, 8, 8]


def test_an_unknown_kind_is_refused():
    for engine in ENGINES:
        computer = make_engine(engine, Arithmetic())
        with pytest.raises(ValueError, match="kind must be binary, ternary or shift, got 'quinary'"):
            computer.quantise_weights(computer.from_numpy(np.ones(3, np.int32)), "quinary")
