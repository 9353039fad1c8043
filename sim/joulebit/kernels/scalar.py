"""Rounding and saturation of single integers inside kernels: twins of `joulebit.fixed.rounding`.

`mode` is the integer value of a `Rounding`; `index` is the element's position in its tensor (NHWC).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from joulebit.kernels.compile import inline

Int = Any  #: a machine integer of 64 bits


@inline
def mix64(key: np.uint64, index: int) -> np.uint64:
    """splitmix64's finaliser of key + index * golden ratio, as uint64 (spec, section 1)."""
    z = key + np.uint64(index) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@inline
def half_up(value: Int, shift: Int) -> Int:
    """RND(value, shift) of the specification: ties go up, negative shifts multiply."""
    if shift <= 0:
        return value << -shift
    return (value + (np.int64(1) << (shift - 1))) >> shift


@inline
def shift_round(value: Int, shift: Int, mode: int, key: np.uint64, index: int) -> Int:
    """RND*(value, shift) in rounding mode `mode`, int64."""
    if shift <= 0:
        return value << -shift
    half = np.int64(1) << (shift - 1)
    if mode == 0:  # half_up
        return (value + half) >> shift
    if mode == 1:  # half_even
        return (value + half - 1 + ((value >> shift) & 1)) >> shift
    if mode == 2:  # half_away
        magnitude = (abs(value) + half) >> shift
        return magnitude if value >= 0 else -magnitude
    if mode == 3:  # toward_zero
        magnitude = abs(value) >> shift
        return magnitude if value >= 0 else -magnitude
    if mode == 4:  # floor
        return value >> shift
    noise = mix64(key, index) & np.uint64((np.int64(1) << shift) - 1)
    return (value + np.int64(noise)) >> shift


@inline
def clamp(value: Int, low: Int, high: Int) -> Int:
    """value limited to low .. high."""
    return min(max(value, low), high)
