"""Normalisation in vectors of 16 channels, rounding half up (spec, sections 4 and 5).

Constants of a block of channels stay in registers while a few pixels pass: as many as the first-level cache holds
with all their channels. Threads draw such portions from a shared counter. All addresses are in
bytes; those of constants are of int64 [C] arrays.
"""

from __future__ import annotations

import numpy as np

from joulebit.kernels.compile import inline, kernel
from joulebit.kernels.portions import following, units_ahead
from joulebit.kernels.scalar import Int
from joulebit.kernels.vector import (
    count_different,
    count_greater,
    fetch_add,
    fold_max,
    fold_sum,
    keep,
    lanes,
    larger,
    load_i16,
    load_i64,
    load_u8,
    multiply_wide,
    narrow,
    narrow_saturating,
    prefetch,
    prefetch_write,
    smaller,
    splat,
    splat64,
    store_8,
    store_16,
    store_i64,
    widen,
    zeros,
)


@inline
def _normalised(z: Int, mean: Int, rsqrt: Int, half: Int, shift: Int, low: Int, high: Int, eight: Int) -> Int:
    """x-hat = SAT16(RND(((z << 8) - mean) * rsqrt, shift)), lane by lane."""
    product = multiply_wide((z << eight) - mean, rsqrt)
    return smaller(larger(narrow_saturating((product + half) >> shift), low), high)


@inline
def _halves(shift: Int) -> Int:
    """2^(shift - 1) per lane, 0 for a shift of 0."""
    return (splat64(1) << shift) >> splat64(1)


@kernel
def norm_forward(
    counter: Int, lines: Int, grain: Int, run: Int, z: Int, height: Int, width: Int, channels: Int, mean: Int,
    rsqrt: Int, scale: Int, gamma: Int, beta: Int, short: Int, short_h: Int, short_w: Int, short_c: Int,
    short_stride: Int, short_flip: Int, short_shift: Int, shift: Int, low: Int, high: Int, a: Int,
) -> Int:  # fmt: skip
    """`Engine.norm_forward` on the image rows that this thread draws, `grain` at a time; elements out of bounds.

    short: address of the shortcut (bytes), 0 for none; short_flip: 128 for a signed one, else 0. y and the
    rounding's half fit 32 bits.
    """
    top, bottom, eight = splat(32767), splat(-32767), splat(8)
    ceiling, floor, whole = splat(high), splat(low), splat(shift)
    half_step, turn, left = splat((np.int64(1) << shift) >> 1), splat(short_flip), splat(short_shift)
    outside = np.int64(0)
    first = grain * run * fetch_add(counter, 1)
    while first < lines:
        last = min(lines, first + grain)
        after = following(counter, first, grain, run)
        rows_ahead = units_ahead(first, after, lines)
        ahead, short_ahead = rows_ahead * width * channels, rows_ahead * short_stride * short_w * short_c
        for c in range(0, channels, 16):
            on, shared = lanes(channels - c), lanes(min(channels, short_c) - c)
            m, r = narrow(load_i64(mean + 8 * c, on)), narrow(load_i64(rsqrt + 8 * c, on))
            right = splat64(35) - load_i64(scale + 8 * c, on)
            half = _halves(right)
            weight = narrow(load_i64(gamma + 8 * c, on))
            offset = (narrow(load_i64(beta + 8 * c, on)) << splat(11)) + half_step
            over = zeros()
            for line in range(first, last):
                place = line * width * channels + c
                source = np.int64(0)
                if short != 0 and c < short_c:
                    n, i = line // height, line % height
                    source = short + (n * short_h + i * short_stride) * short_w * short_c + c
                for j in range(width):
                    prefetch(z + 2 * (place + j * channels + ahead))
                    prefetch_write(a + place + j * channels + ahead)
                    value = load_i16(z + 2 * (place + j * channels), on)
                    y = weight * _normalised(value, m, r, half, right, bottom, top, eight) + offset
                    if source != 0:
                        prefetch(source + j * short_stride * short_c + short_ahead)
                        x = load_u8(source + j * short_stride * short_c, shared)
                        y = y + (((x ^ turn) - turn) << left)
                    y = keep(on, y >> whole)
                    over = count_greater(over, y, ceiling)
                    if low < 0:
                        over = count_greater(over, floor, y)
                    store_8(a + place + j * channels, larger(smaller(y, ceiling), floor), on)
            outside += fold_sum(over)
        first = after
    return outside


@kernel
def norm_sums(
    counter: Int, pixels: Int, grain: Int, run: Int, g: Int, z: Int, channels: Int, mean: Int, rsqrt: Int,
    scale: Int, total: Int, products: Int,
) -> None:  # fmt: skip
    """Adds the sums of g and of g * x-hat per channel of the drawn pixels to total and products (int64 [C])."""
    top, bottom, eight = splat(32767), splat(-32767), splat(8)
    first = grain * run * fetch_add(counter, 1)
    while first < pixels:
        last = min(pixels, first + grain)
        after = following(counter, first, grain, run)
        ahead = units_ahead(first, after, pixels) * channels * 2
        for c in range(0, channels, 16):
            on = lanes(channels - c)
            m, r = narrow(load_i64(mean + 8 * c, on)), narrow(load_i64(rsqrt + 8 * c, on))
            right = splat64(35) - load_i64(scale + 8 * c, on)
            half = _halves(right)
            plain, product = load_i64(total + 8 * c, on), load_i64(products + 8 * c, on)
            part = zeros()
            for j in range(first, last):
                place = 2 * (j * channels + c)
                prefetch(g + place + ahead)
                prefetch(z + place + ahead)
                gradient = load_i16(g + place, on)
                xhat = _normalised(load_i16(z + place, on), m, r, half, right, bottom, top, eight)
                part = part + gradient
                product = product + multiply_wide(gradient, xhat)
            store_i64(total + 8 * c, plain + widen(part), on)
            store_i64(products + 8 * c, product, on)
        first = after


@kernel
def norm_backward(
    counter: Int, pixels: Int, grain: Int, run: Int, g: Int, z: Int, channels: Int, mean: Int, rsqrt: Int,
    scale: Int, mean_g: Int, mean_gx: Int, multiplier: Int, shift: Int, limit: Int, peak_limit: Int, dz: Int,
) -> tuple[Int, Int]:  # fmt: skip
    """`Engine.norm_backward` on the pixels that this thread draws, `grain` at a time; (peak, saturated)."""
    top, bottom, eight, none = splat(32767), splat(-32767), splat(8), zeros()
    high, low, most = splat(limit), splat(-limit), splat(peak_limit)
    step, half_step = splat64(19), splat64(1 << 18)
    peak = zeros()
    saturated = np.int64(0)
    first = grain * run * fetch_add(counter, 1)
    while first < pixels:
        last = min(pixels, first + grain)
        after = following(counter, first, grain, run)
        ahead = units_ahead(first, after, pixels) * channels * 2
        for c in range(0, channels, 16):
            on = lanes(channels - c)
            m, r = narrow(load_i64(mean + 8 * c, on)), narrow(load_i64(rsqrt + 8 * c, on))
            right = splat64(35) - load_i64(scale + 8 * c, on)
            half = _halves(right)
            c1, c2 = narrow(load_i64(mean_g + 8 * c, on)), narrow(load_i64(mean_gx + 8 * c, on))
            factor, shifts = narrow(load_i64(multiplier + 8 * c, on)), load_i64(shift + 8 * c, on)
            last_half = _halves(shifts)
            clamped = zeros()
            for j in range(first, last):
                place = 2 * (j * channels + c)
                prefetch(g + place + ahead)
                prefetch(z + place + ahead)
                prefetch_write(dz + place + ahead)
                xhat = _normalised(load_i16(z + place, on), m, r, half, right, bottom, top, eight)
                drift = narrow((multiply_wide(xhat, c2) + half_step) >> step)
                t = (load_i16(g + place, on) << eight) - c1 - drift
                u = narrow_saturating((multiply_wide(t, factor) + last_half) >> shifts)
                q = smaller(larger(u, low), high)
                clamped = count_different(clamped, q, u)
                peak = larger(peak, larger(smaller(u, most), none - larger(u, none - most)))
                store_16(dz + place, q, on)
            saturated += fold_sum(clamped)
        first = after
    return fold_max(peak), saturated
