"""Rounding, saturation and bit length of integers held in numpy arrays.

One definition each, used by the reference engine and by everything that is not a compiled kernel.
The specification is `joulebit/spec/numerics.md`, section 1.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

Int64Array = NDArray[np.int64]


class Rounding(IntEnum):
    """How `shift_round` drops the low `shift` bits of a value v (f = the dropped fraction, 0 <= f < 1).

    The integer values are part of the specification: compiled kernels receive them.
    """

    HALF_UP = 0  #: floor(v / 2^s + 1/2): ties go up. The default, and the only one with fast kernels.
    HALF_EVEN = 1  #: nearest, ties to the even neighbour.
    HALF_AWAY = 2  #: nearest, ties away from zero.
    TOWARD_ZERO = 3  #: truncation of the magnitude.
    FLOOR = 4  #: arithmetic right shift.
    STOCHASTIC = 5  #: up with probability f, by counter-based random bits.

    @classmethod
    def parse(cls, name: str) -> Rounding:
        """The member called `name` (lower case); ValueError names the known ones."""
        try:
            return cls[name.upper()]
        except KeyError:
            known = ", ".join(member.name.lower() for member in cls)
            raise ValueError(f"rounding must be one of {known}, got {name!r}") from None


def mix64(key: int, index: Int64Array) -> NDArray[np.uint64]:
    """Counter-based 64-bit random words: splitmix64's finaliser of key + index * golden ratio.

    key is a 64-bit integer, index any int64 array (the position of an element in its tensor, NHWC).
    Source: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014, section 5.
    """
    with np.errstate(over="ignore"):
        z = np.uint64(key & 0xFFFFFFFFFFFFFFFF) + index.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(z ^ (z >> np.uint64(31)), np.uint64)


def shift_round(value: ArrayLike, shift: int, rounding: Rounding = Rounding.HALF_UP, key: int = 0) -> Int64Array:
    """value / 2^shift as int64, rounded as asked; a negative shift multiplies by 2^-shift.

    Args:
        value: integers, |value| < 2^62.
        shift: -62..62.
        rounding: see `Rounding`.
        key: 64-bit key of the random bits, for STOCHASTIC only; the counter is the element's position.
    """
    if not -62 <= shift <= 62:
        raise ValueError(f"shift must be in [-62, 62], got {shift}")
    v = np.asarray(value, np.int64)
    if shift <= 0:
        return np.asarray(v << -shift, np.int64)
    return shift_round_each(v, np.int64(shift), rounding, key)


def shift_round_each(
    value: Int64Array, shift: Int64Array | np.int64, rounding: Rounding = Rounding.HALF_UP, key: int = 0
) -> Int64Array:
    """`shift_round` with shifts of 0..62 that broadcast against value (one per channel, say)."""
    half = (np.int64(1) << shift) >> 1
    if rounding == Rounding.HALF_UP:
        return np.asarray((value + half) >> shift)
    if rounding == Rounding.FLOOR:
        return np.asarray(value >> shift)
    if rounding == Rounding.HALF_EVEN:
        odd = (value >> shift) & 1
        return np.asarray(np.where(np.asarray(shift) > 0, (value + half - 1 + odd) >> shift, value))
    if rounding == Rounding.HALF_AWAY:
        return np.asarray(np.sign(value) * ((np.abs(value) + half) >> shift))
    if rounding == Rounding.TOWARD_ZERO:
        return np.asarray(np.sign(value) * (np.abs(value) >> shift))
    index = np.arange(value.size, dtype=np.int64).reshape(value.shape)
    kept = ((np.int64(1) << shift) - np.int64(1)).astype(np.uint64)
    return np.asarray((value + (mix64(key, index) & kept).astype(np.int64)) >> shift)


def saturate(value: ArrayLike, bits: int) -> Int64Array:
    """value clamped to the symmetric range of `bits` bits: -(2^(bits-1)-1) .. 2^(bits-1)-1."""
    limit = (1 << (bits - 1)) - 1
    return np.asarray(np.minimum(np.maximum(np.asarray(value, np.int64), -limit), limit))


def peak(value: ArrayLike) -> int:
    """The largest magnitude of an integer array; 0 for an empty one."""
    v = np.asarray(value)
    if v.size == 0:
        return 0
    return max(int(v.max()), -int(v.min()))


def bit_length(value: int) -> int:
    """Bits of a non-negative integer: 0 for 0, else floor(log2 value) + 1."""
    if value < 0:
        raise ValueError(f"value must not be negative, got {value}")
    return int(value).bit_length()


def ceil_log2(value: int) -> int:
    """The smallest k with 2^k >= value, for value >= 1."""
    if value < 1:
        raise ValueError(f"value must be at least 1, got {value}")
    return (int(value) - 1).bit_length()
