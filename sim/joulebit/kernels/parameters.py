"""Weights and the optimiser: quantisation, one step in integers, signs and the choice between predictors."""

from __future__ import annotations

import numpy as np

from joulebit.kernels.compile import inline, kernel
from joulebit.kernels.scalar import Int, clamp, half_up


@kernel
def peak_of(values: Int) -> Int:
    """The largest magnitude of a flat integer array, 0 if it is empty."""
    peak = np.int64(0)
    for i in range(values.size):
        peak = max(peak, abs(np.int64(values[i])))
    return peak


@kernel
def quantise(master: Int, w: Int, shift: Int, limit: Int) -> None:
    """w = SAT(RND(master, shift)) on flat arrays."""
    half = (np.int64(1) << shift) >> 1
    for i in range(master.size):
        w[i] = clamp((np.int64(master[i]) + half) >> shift, -limit, limit)


@inline
def _updated(
    master: Int, momentum: Int, gradient: Int, shift: Int, inverse: Int, learning_rate_q20: Int, momentum_q15: Int,
    decay_q24: Int,
) -> tuple[Int, Int]:  # fmt: skip
    """A master and its momentum after one step."""
    left = min(max(shift, 0), 40)
    right = min(max(-shift, 0), 62)
    limit = np.int64((1 << 43) - 1) >> left
    mean = clamp(half_up(gradient, right), -limit, limit) << left
    step = clamp(half_up(mean * inverse, 16), np.int64(-((1 << 37) - 1)), np.int64((1 << 37) - 1))
    m = np.int64(master)
    if decay_q24 != 0:
        step += half_up(m * decay_q24, 24)
    v = half_up(momentum * momentum_q15, 15) + step
    v = clamp(v, np.int64(-((1 << 41) - 1)), np.int64((1 << 41) - 1))
    m -= half_up(v * learning_rate_q20, 20)
    return clamp(m, np.int64(-((1 << 31) - 1)), np.int64((1 << 31) - 1)), v


@kernel
def update(
    master: Int, momentum: Int, gradient: Int, shift: Int, inverse: Int, learning_rate_q20: Int, momentum_q15: Int,
    decay_q24: Int,
) -> None:  # fmt: skip
    """One optimiser step in place (spec, section 7) on flat arrays.

    shift: e - k + 28 with k = clog2(samples); inverse: 2^(16+k) / samples, rounded.
    """
    for i in range(master.size):
        master[i], momentum[i] = _updated(
            master[i], momentum[i], gradient[i], shift, inverse, learning_rate_q20, momentum_q15, decay_q24
        )


@kernel
def update_each(
    master: Int, momentum: Int, gradient: Int, exponent: Int, offset: Int, inverse: Int, learning_rate_q20: Int,
    momentum_q15: Int, decay_q24: Int,
) -> None:  # fmt: skip
    """As `update`, with an exponent for each element: its shift is exponent + offset."""
    for i in range(master.size):
        master[i], momentum[i] = _updated(
            master[i], momentum[i], gradient[i], exponent[i] + offset, inverse, learning_rate_q20, momentum_q15,
            decay_q24,
        )  # fmt: skip


@kernel
def signs(exact: Int, out: Int) -> None:
    """out = sign(exact) on flat arrays."""
    for i in range(exact.size):
        out[i] = np.int64(exact[i] > 0) - np.int64(exact[i] < 0)


@kernel
def choose_signs(exact: Int, predicted: Int, out: Int, threshold: Int) -> tuple[Int, Int]:
    """E2-Train, equation (2): sign(predicted) where |predicted| >= threshold, else sign(exact).

    Returns how many were decided by the predictor, and how many of those differ from sign(exact).
    """
    decided = np.int64(0)
    wrong = np.int64(0)
    for i in range(exact.size):
        sign = np.int64(exact[i] > 0) - np.int64(exact[i] < 0)
        guess = np.int64(predicted[i] > 0) - np.int64(predicted[i] < 0)
        sure = abs(predicted[i]) >= threshold
        out[i] = guess if sure else sign
        decided += np.int64(sure)
        wrong += np.int64(sure and guess != sign)
    return decided, wrong
