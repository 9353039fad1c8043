"""The bound on the sign predictor's failures: by its formula in fractions, and against failures that happen."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import numpy as np
import pytest

from joulebit.engine.base import ConvGeometry
from joulebit.engine.numpy_engine import NumpyEngine
from joulebit.fixed.arithmetic import Arithmetic
from joulebit.nn.predictor import failure_bound, square_sums

FIXED = Arithmetic()  # x: 4 of 8 bits, steps of 2^4; dz: 10 of 16 bits, steps of 2^6


def bound_by_hand(squares_x, squares_g, exact, predicted, threshold, groups) -> Fraction:
    total = Fraction(0)
    rows, columns, c_in, c_out = exact.shape
    for row, column, c, k in product(range(rows), range(columns), range(c_in), range(c_out)):
        if abs(int(predicted[row, column, c, k])) < threshold:
            continue
        source = k // (c_out // groups) * c_in + c
        variance = Fraction(2**8 * int(squares_g[k]) + 2**12 * int(squares_x[source]), 12)
        margin = abs(int(exact[row, column, c, k])) + threshold * 2**10
        total += min(Fraction(1), variance / (2 * margin**2))
    return total


@pytest.mark.parametrize("groups, c_in, c_out", [(1, 3, 4), (2, 2, 6), (3, 1, 3)])
def test_the_bound_is_the_formula(groups: int, c_in: int, c_out: int) -> None:
    rng = np.random.default_rng(groups)
    shape = (2, 3, c_in, c_out)
    squares_x, squares_g = rng.integers(0, 10**6, groups * c_in), rng.integers(0, 10**9, c_out)
    exact, predicted = rng.integers(-(10**6), 10**6, shape), rng.integers(-60, 61, shape)
    geometry = ConvGeometry(2, 3, groups=groups)
    for threshold in (1, 20, 60, 61):
        found = failure_bound(squares_x, squares_g, exact, predicted, threshold, geometry, FIXED)
        expected = bound_by_hand(squares_x, squares_g, exact, predicted, threshold, groups)
        assert found == pytest.approx(float(expected), rel=1e-12)
    assert expected == 0  # nothing is decided above the largest


def test_no_element_counts_more_than_once() -> None:
    exact = predicted = np.ones((1, 1, 1, 2), np.int64)
    large = np.full(2, 10**12)
    assert failure_bound(large[:1], large, exact, predicted, 1, ConvGeometry(1, 1), FIXED) == 2.0


def test_squares_are_exact_sums_of_channels() -> None:
    rng = np.random.default_rng(0)
    for dtype in (np.uint8, np.int16):
        limits = np.iinfo(dtype)
        value = rng.integers(limits.min, limits.max, (3, 5, 7, 4), dtype, endpoint=True)
        expected = [sum(int(v) ** 2 for v in value[..., c].ravel()) for c in range(4)]
        assert square_sums(value).tolist() == expected


def test_fewer_signs_are_wrong_than_the_bound_allows() -> None:
    engine = NumpyEngine(FIXED)
    geometry = ConvGeometry(3, 3, padding_h=1, padding_w=1)
    wrong, bounds = 0, 0.0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        x = rng.integers(0, 256, (4, 6, 6, 4)).astype(np.uint8)
        dz = np.rint(rng.normal(0, 2000, (4, 6, 6, 4))).astype(np.int16)
        exact = engine.conv_weight_gradient(x, dz, geometry)[0]
        predicted = engine.conv_weight_gradient_msb(x, dz, geometry)
        _, counts = engine.predict_signs(exact, predicted, 41)
        wrong += counts["wrong"]
        sums = square_sums(x), square_sums(dz)
        bounds += failure_bound(*sums, exact, predicted, counts["threshold"], geometry, FIXED)
    assert 0 < wrong < bounds
