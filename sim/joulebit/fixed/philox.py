"""Counter-based random numbers: Philox4x32-10 and what training draws from it.

A random number here is a pure function of *what it is for*: (seed, purpose, a, b, index). Nothing is
consumed and no state advances, so the same number comes out whatever the engine, the number of workers or
threads, the order of the calls, or the step from which a run was resumed.

Layout of one 128-bit Philox counter (four 32-bit words) and its 64-bit key::

    key     = (seed mod 2^32, seed div 2^32)
    counter = (index mod 2^32,  a,  b,  purpose * 2^24 + index div 2^32)

``index`` (below 2^56) counts samples or elements, ``a`` is by convention the epoch or the step, ``b`` the
layer or 0. Every distinct (purpose, a, b, index) is a distinct counter, so two streams never overlap under
one seed.

Source: J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw, "Parallel random numbers: as easy as 1, 2, 3",
SC 2011; constants and known answers as in the authors' Random123 library. Everything below is integer
arithmetic.
"""

from __future__ import annotations

import operator
from enum import IntEnum
from math import isqrt
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    UInt32Array = npt.NDArray[np.uint32]
    Words = tuple[UInt32Array, UInt32Array, UInt32Array, UInt32Array]

ROUNDS = 10
_MULTIPLIER_0 = 0xD2511F53
_MULTIPLIER_1 = 0xCD9E8D57
_WEYL_0 = 0x9E3779B9  # golden ratio
_WEYL_1 = 0xBB67AE85  # sqrt(3) - 1
_MASK32 = 0xFFFFFFFF
_INDEX_LIMIT = 1 << 56
_CHUNK = 1 << 13  # counters worked on at a time: the temporaries (0.5 MiB) stay in the second-level cache


class Purpose(IntEnum):
    """What a random number is for: one stream each. The values belong to a run's identity; never renumber."""

    SHUFFLE = 1
    AUGMENT = 2
    BATCH_DROP = 3
    GATE = 4
    STOCHASTIC_DEPTH = 5
    INIT = 6
    ROUNDING = 7
    DATA_SELECTION = 8
    NEURON_SELECTION = 9
    SPLIT = 10
    CALIBRATION = 11
    PRUNING = 12
    VARIATIONAL = 13
    TEST = 255


def philox4x32(key: tuple[int, int], counter: tuple[Any, Any, Any, Any]) -> Words:
    """Four random words for each counter, by Philox4x32-10.

    Args:
        key: (k0, k1), integers in [0, 2^32).
        counter: (c0, c1, c2, c3), integers or integer arrays in [0, 2^32) that broadcast together.

    Returns:
        Four uint32 arrays of the broadcast shape.

    Raises:
        ValueError: a word is outside [0, 2^32).
        TypeError: a word is not of an integer type.
    """
    k0, k1 = (_checked_int(f"key[{i}]", word, 1 << 32) for i, word in enumerate(key))
    words = np.broadcast_arrays(*(_checked(f"counter[{i}]", word, 1 << 32) for i, word in enumerate(counter)))
    shape = words[0].shape
    flat = [word.reshape(-1) for word in words]
    out = np.empty((4, flat[0].size), np.uint32)
    for start in range(0, flat[0].size, _CHUNK):
        part = slice(start, start + _CHUNK)
        _rounds(k0, k1, [word[part] for word in flat], out[:, part])
    return (out[0].reshape(shape), out[1].reshape(shape), out[2].reshape(shape), out[3].reshape(shape))


def _rounds(k0: int, k1: int, words: list[npt.NDArray[np.uint64]], out: UInt32Array) -> None:
    """Ten rounds on 1-D uint64 arrays that hold 32-bit words; the result goes to ``out`` [4, n]."""
    m0, m1 = np.uint64(_MULTIPLIER_0), np.uint64(_MULTIPLIER_1)
    high, low = np.uint64(32), np.uint64(_MASK32)
    c0, c1, c2, c3 = words
    for _ in range(ROUNDS):
        p0 = c0 * m0  # 32 x 32 -> 64 bits: never overflows
        p1 = c2 * m1
        c0 = (p1 >> high) ^ c1 ^ np.uint64(k0)
        c2 = (p0 >> high) ^ c3 ^ np.uint64(k1)
        c1 = p1 & low
        c3 = p0 & low
        k0 = (k0 + _WEYL_0) & _MASK32
        k1 = (k1 + _WEYL_1) & _MASK32
    out[0], out[1], out[2], out[3] = c0, c1, c2, c3


def uniform_words(seed: int, purpose: Purpose, a: Any, b: Any, index: Any) -> Words:
    """The whole block (four independent uint32 words) that belongs to (seed, purpose, a, b, index).

    Args:
        seed: integer in [0, 2^64).
        purpose: the stream.
        a, b: integers or integer arrays in [0, 2^32); by convention epoch or step, and layer or 0.
        index: integer or integer array in [0, 2^56); sample or element. a, b and index broadcast together.

    Returns:
        Four uint32 arrays of the broadcast shape.

    Raises:
        ValueError: an argument is outside its range.
        TypeError: an argument is not of an integer type.
    """
    seed = _checked_int("seed", seed, 1 << 64)
    stream = int(Purpose(purpose)) << 24
    position = _checked("index", index, _INDEX_LIMIT)
    counter = (
        position & np.uint64(_MASK32),
        _checked("a", a, 1 << 32),
        _checked("b", b, 1 << 32),
        (position >> np.uint64(32)) | np.uint64(stream),
    )
    return philox4x32((seed & _MASK32, seed >> 32), counter)


def uniform_bits(seed: int, purpose: Purpose, a: Any, b: Any, index: Any) -> UInt32Array:
    """One uniform uint32 for each (a, b, index): word 0 of :func:`uniform_words`, with its errors."""
    return uniform_words(seed, purpose, a, b, index)[0]


def uniform_below(seed: int, purpose: Purpose, a: Any, b: Any, index: Any, bound: int) -> npt.NDArray[np.int64]:
    """Integers in [0, bound), as ``(bits * bound) >> 32`` of :func:`uniform_bits`.

    ``bound`` is in [1, 2^32]; a value's probability differs from 1/bound by less than 2^-32.
    Returns int64 of the broadcast shape.
    """
    if not 1 <= bound <= 1 << 32:
        raise ValueError(f"bound must be in [1, 2^32], got {bound}")
    bits = uniform_bits(seed, purpose, a, b, index).astype(np.uint64)
    return ((bits * np.uint64(bound)) >> np.uint64(32)).astype(np.int64)


def bernoulli(
    seed: int, purpose: Purpose, a: Any, b: Any, index: Any, probability_q32: Any
) -> npt.NDArray[np.bool_]:
    """True with probability ``probability_q32 / 2^32``, for each (a, b, index).

    ``probability_q32`` is an integer or integer array in [0, 2^32] that broadcasts with the rest: 0 is never,
    2^32 is always. The outcome is ``uniform_bits(...) < probability_q32``, so raising the probability only
    ever adds trues.
    """
    threshold = _checked("probability_q32", probability_q32, (1 << 32) + 1)
    return np.asarray(uniform_bits(seed, purpose, a, b, index).astype(np.uint64) < threshold)


def probability_q32(probability: float) -> int:
    """A probability in [0, 1] as an integer in units of 2^-32, to the nearest.

    Scaling a float by 2^32 is exact, so every platform rounds the same number.
    """
    if not 0.0 <= probability <= 1.0:
        raise ValueError(f"probability must be in [0, 1], got {probability}")
    return round(float(probability) * float(1 << 32))


def permutation(seed: int, purpose: Purpose, epoch: int, n: int) -> npt.NDArray[np.int64]:
    """A random order of 0 .. n-1 (int64 [n]) for one epoch.

    Item i has the 64-bit sort key ``word0 + 2^32 * word1`` of (seed, purpose, a=epoch, b=0, index=i); items
    go by ascending key, ties by index (stable sort). Any engine that sorts gets the same order.
    """
    if n < 0:
        raise ValueError(f"n must be at least 0, got {n}")
    word0, word1, _, _ = uniform_words(seed, purpose, epoch, 0, np.arange(n, dtype=np.int64))
    keys = word0.astype(np.uint64) | (word1.astype(np.uint64) << np.uint64(32))
    return np.argsort(keys, kind="stable").astype(np.int64)


# Sum of 16 integers uniform on [0, 65535]: mean 524280 exactly, variance 16 * (2^32 - 1) / 12.
_TERMS = 16
_SUM_MEAN = _TERMS * 65535 // 2
# round(2^(28+31) / standard deviation) in integers:
# 2^59 / sqrt(4 (2^32 - 1) / 3) = sqrt(3 * 2^116 / (2^32 - 1)).
_SUM_TO_Q28_SHIFT = 31
_SUM_TO_Q28 = (isqrt(4 * (3 * (1 << 116) // ((1 << 32) - 1))) + 1) // 2


def standard_normal_q28(seed: int, layer: int, count: int) -> npt.NDArray[np.int32]:
    """``count`` nearly normal numbers of mean 0 and deviation 1, in Q3.28 (int32, unit 2^-28), for one layer.

    Irwin-Hall: element i is the sum of the 16 half-words of blocks 2i and 2i+1 of (seed, INIT, a=layer, b=0),
    less its mean, times a constant, rounded half up. Integer arithmetic alone, so every platform gets the
    same bits; the logarithm and cosine of Box and Muller's method differ in the last bit between maths
    libraries. The range is +-6.93 deviations, the excess kurtosis -0.075 (normal: 0).
    """
    if count < 0:
        raise ValueError(f"count must be at least 0, got {count}")
    values = np.empty(count, np.int32)
    for start in range(0, count, _CHUNK):
        stop = min(start + _CHUNK, count)
        total = np.full(stop - start, -_SUM_MEAN, np.int64)
        for word in uniform_words(seed, Purpose.INIT, layer, 0, np.arange(2 * start, 2 * stop, dtype=np.int64)):
            halves = (word & np.uint32(0xFFFF)).astype(np.int64) + (word >> np.uint32(16)).astype(np.int64)
            total += halves[0::2] + halves[1::2]
        # |total| <= 524280 < 2^19 and the constant < 2^43: the product fits 63 bits.
        half = np.int64(1 << (_SUM_TO_Q28_SHIFT - 1))
        values[start:stop] = (total * np.int64(_SUM_TO_Q28) + half) >> np.int64(_SUM_TO_Q28_SHIFT)
    return values


def initial_normal(seed: int, layer: int, count: int, std_q30: int) -> npt.NDArray[np.int32]:
    """Initial weights of one layer in Q3.28: ``RND(standard_normal_q28 * std_q30, 30)``, int32 [count].

    Args:
        seed: integer in [0, 2^64).
        layer: the layer's number in [0, 2^32); each has its own stream.
        count: number of weights.
        std_q30: standard deviation in units of 2^-30, in [0, 2^30]; see :func:`he_std_q30`.

    Raises:
        ValueError: an argument is outside its range.
    """
    if not 0 <= std_q30 <= 1 << 30:
        raise ValueError(f"std_q30 must be in [0, 2^30] (a deviation of 0 to 1), got {std_q30}")
    wide = standard_normal_q28(seed, layer, count).astype(np.int64) * np.int64(std_q30)
    return ((wide + np.int64(1 << 29)) >> np.int64(30)).astype(np.int32)


def he_std_q30(fan_in: int) -> int:
    """floor(2^30 * sqrt(2 / fan_in)), at most 2^30: He et al. (ICCV 2015), for layers before a ReLU."""
    if fan_in < 1:
        raise ValueError(f"fan_in must be at least 1, got {fan_in}")
    return min(1 << 30, isqrt((1 << 61) // fan_in))


def _checked_int(name: str, value: Any, limit: int) -> int:
    """``value`` as a Python int in [0, limit)."""
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {type(value).__name__}") from None
    if not 0 <= number < limit:
        raise ValueError(f"{name} must be in [0, {limit - 1}], got {number}")
    return number


def _checked(name: str, value: Any, limit: int) -> npt.NDArray[np.uint64]:
    """``value`` as a uint64 array whose elements are all in [0, limit)."""
    if isinstance(value, int):  # numpy would turn large ones into float64 or object arrays
        return np.asarray(np.uint64(_checked_int(name, value, limit)))
    array = np.asarray(value)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} must have an integer type, got {array.dtype}")
    if array.size:
        lowest, highest = int(array.min()), int(array.max())
        if lowest < 0 or highest >= limit:
            raise ValueError(f"{name} must be in [0, {limit - 1}], got {lowest if lowest < 0 else highest}")
    return array.astype(np.uint64)
