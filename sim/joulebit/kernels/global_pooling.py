"""Sums over the positions of an image, and a gradient that is the same at all of them: vectors of 16 channels."""

from __future__ import annotations

import numpy as np

from joulebit.kernels.compile import kernel
from joulebit.kernels.scalar import Int
from joulebit.kernels.vector import (
    count_different,
    fold_max64,
    fold_sum,
    keep,
    keep64,
    lanes,
    larger,
    larger64,
    load_i64,
    load_u8,
    narrow_saturating,
    smaller,
    splat,
    splat64,
    store_16,
    store_i64,
    where_between,
    widen,
    zeros,
    zeros64,
)

MOST_POSITIONS = 1 << 22  #: whose bytes' sums fit 32 bits


@kernel
def spatial_sum(x: Int, out: Int, first: Int, last: Int, positions: Int, channels: Int, flip: Int) -> None:
    """`elementwise.spatial_sum` of bytes on samples first .. last - 1; flip: 128 for signed x, else 0."""
    turn = splat(flip)
    for n in range(first, last):
        for c in range(0, channels, 16):
            on = lanes(channels - c)
            place = x + n * positions * channels + c
            total = zeros()
            for _ in range(positions):
                total = total + ((load_u8(place, on) ^ turn) - turn)
                place += channels
            store_i64(out + (n * channels + c) * 8, widen(total), on)


@kernel
def spread(
    value: Int, like: Int, g: Int, first: Int, last: Int, positions: Int, channels: Int, masked: Int, below: Int,
    shift: Int, limit: Int,
) -> tuple[Int, Int]:  # fmt: skip
    """`elementwise.spread`, rounding half up, on samples first .. last - 1; (peak, saturated).

    value: int64. like: bytes that say where it passes; 16 of 1 where masked is 0. below: bound of the mask, above
    255 for none. shift: 0..62.
    """
    none, one, top, none64 = zeros(), splat(1), splat(below), zeros64()
    half, right = splat64((np.int64(1) << shift) >> 1), splat64(shift)
    high, low = splat(limit), splat(-limit)
    peak = zeros64()
    saturated = np.int64(0)
    for n in range(first, last):
        for c in range(0, channels, 16):
            on = lanes(channels - c)
            v = load_i64(value + (n * channels + c) * 8, on)
            rounded = narrow_saturating((v + half) >> right)
            q = smaller(larger(rounded, low), high)
            clamped = count_different(none, q, rounded)
            passed, lost = zeros(), zeros()
            place = n * positions * channels + c
            for _ in range(positions):
                passes = where_between(load_u8(like + place * masked, on), none, top)
                store_16(g + 2 * place, keep(passes, q), on)
                passed = larger(passed, keep(passes, one))
                lost = lost + keep(passes, clamped)
                place += channels
            peak = larger64(peak, keep64(where_between(passed, none, splat(2)), larger64(v, none64 - v)))
            saturated += fold_sum(lost)
    return fold_max64(peak), saturated
