"""Normalisation in 32-bit lanes, rounding half up: the same integers as `fast_norm`, where they provably fit.

Each product of the specification (sections 4 and 5) has up to 47 bits, but is shifted right. A product v * k with
k = h * 2^q + l, 0 <= l < 2^q, can be shifted in two steps, exactly, because v * h is an integer:

    floor((v * k + b) / 2^s) = floor((v * h + floor((v * l + b) / 2^q)) / 2^(s - q))

The three products, with the bounds that `tabulate_forward` and `tabulate_backward` check for each channel:

    x-hat   z * rsqrt:    b = floor((2^(s-1) - mean * rsqrt) / 2^8), since the product is z * rsqrt * 2^8; q = 1
    drift   x-hat * c2:   q = 15; |x-hat * l| < 2^30, |x-hat * h| <= 2^30 for |c2| < 2^30
    dz      km * T:       T is split instead of km, q = 16, -2^15 <= l < 2^15; |km * l| <= 2^30, |T| < 2^27

All factors of 32-bit products have 16 bits, so that one multiply-add of pairs of them (`dot.add_products`) makes a
product and adds it: the half of a lane that has no part in it is 0 in the table. The halves of T + 2^15, with the
bit of 2^15 turned over, are l and h as signed integers.

Constants lie in tables of int32 rows, a row per constant and a column per channel. Channels come in multiples
of 16: fewer are repeated, a tensor of 24 channels being one of 48 with half as many pixels.
"""

from __future__ import annotations

import numpy as np

from joulebit.kernels.compile import inline, kernel
from joulebit.kernels.dot import add_products
from joulebit.kernels.portions import following, units_ahead
from joulebit.kernels.scalar import Int
from joulebit.kernels.vector import (
    count_different,
    count_greater,
    fetch_add,
    fold_max,
    fold_sum,
    lanes,
    larger,
    load_all,
    load_all64,
    load_i16,
    load_u8,
    prefetch,
    prefetch_write,
    smaller,
    splat,
    splat64,
    store_8,
    store_16,
    store_all64,
    widen,
    zeros,
)

FORWARD_ROWS, SUMS_ROWS, BACKWARD_ROWS = 7, 5, 12


@inline
def _tabulate_normalised(mean: Int, rsqrt: Int, scale: Int, table: Int, c: Int) -> Int:
    """Rows 0..4 of channel c; whether all values of x-hat's computation fit."""
    root, shift = rsqrt[c], 35 - scale[c] - 8
    if root == 1 << 16:  # an even factor and its half are the same, a bit less to shift
        root, shift = root >> 1, shift - 1
    if shift < 1 or shift > 31:
        return False
    offset = ((np.int64(1) << (shift + 7)) - mean[c] * root) >> 8
    half = root >> 1
    if 32768 * half + abs(offset >> 1) + 32768 >= np.int64(1) << 31:
        return False
    table[0, c] = half
    table[1, c] = root & 1
    table[2, c] = offset >> 1
    table[3, c] = offset & 1
    table[4, c] = shift - 1
    return True


@inline
def _repeat(table: Int, first: Int, last: Int, channels: Int) -> None:
    """Rows first .. last - 1 again and again, for pixels side by side."""
    for row in range(first, last):
        for c in range(channels, table.shape[1]):
            table[row, c] = table[row, c - channels]


@kernel
def tabulate_forward(mean: Int, rsqrt: Int, scale: Int, gamma: Int, beta: Int, shift: Int, table: Int) -> Int:
    """Fills the table [FORWARD_ROWS, repeated channels] of `norm_forward`; False if a value may leave 32 bits."""
    for c in range(mean.size):
        if not _tabulate_normalised(mean, rsqrt, scale, table, c):
            return False
        table[5, c] = gamma[c] & 0xFFFF
        table[6, c] = (beta[c] << 11) + ((np.int64(1) << shift) >> 1)
    _repeat(table, 0, FORWARD_ROWS, mean.size)
    return True


@kernel
def tabulate_sums(mean: Int, rsqrt: Int, scale: Int, table: Int) -> Int:
    """Fills rows 0..4 for `norm_sums`; False if a value may leave 32 bits."""
    for c in range(mean.size):
        if not _tabulate_normalised(mean, rsqrt, scale, table, c):
            return False
    _repeat(table, 0, SUMS_ROWS, mean.size)
    return True


@kernel
def tabulate_backward(mean_g: Int, mean_gx: Int, multiplier: Int, shift: Int, table: Int) -> Int:
    """Fills the rest of a table [BACKWARD_ROWS, repeated channels], whose rows 0..4 are those of `tabulate_sums`.

    False if a value may leave 32 bits in `norm_backward`.

    With |c1| <= 2^23 and |c2| < 2^30 is |T| <= 2^23 + 2^23 + 2^26 + 1 < 2^27 and |km * T| < 2^42: every shift
    from 44 on gives 0.
    """
    for c in range(mean_g.size):
        factor, last = multiplier[c], min(np.int64(46), shift[c])
        if factor == 1 << 15:
            factor, last = factor >> 1, last - 1
        fits = abs(mean_gx[c]) < 1 << 30 and abs(mean_g[c]) <= 1 << 23 and last >= 17
        if not fits or abs(factor) > 32768:
            return False
        table[5, c] = 32768 - mean_g[c]
        table[6, c] = (mean_gx[c] >> 15) & 0xFFFF
        table[7, c] = mean_gx[c] & 32767
        table[8, c] = factor & 0xFFFF
        table[9, c] = factor << 16
        table[10, c] = np.int64(1) << (last - 17)
        table[11, c] = last - 16
    _repeat(table, SUMS_ROWS, BACKWARD_ROWS, mean_g.size)
    return True


@inline
def _normalised(z: Int, half: Int, odd: Int, offset: Int, low_bit: Int, shift: Int, low: Int, high: Int) -> Int:
    """x-hat, lane by lane."""
    last_bit = add_products(low_bit, z, odd) >> splat(1)
    return smaller(larger((add_products(offset, z, half) + last_bit) >> shift, low), high)


@kernel
def norm_forward(
    counter: Int, lines: Int, grain: Int, run: Int, pixels: Int, z: Int, height: Int, width: Int, channels: Int,
    table: Int, short: Int, short_h: Int, short_w: Int, short_c: Int, short_stride: Int, short_flip: Int,
    short_shift: Int, shift: Int, low: Int, high: Int, a: Int,
) -> Int:  # fmt: skip
    """`fast_norm.norm_forward` by a table; channels and short_c are multiples of 16.

    pixels: of all lines together; the last line may have fewer than `width`.
    """
    full = lanes(16)
    top, bottom = splat(32767), splat(-32767)
    ceiling, floor, whole = splat(high), splat(low), splat(shift)
    turn, left = splat(short_flip), splat(short_shift)
    below = np.int64(low < 0)
    row = 4 * channels
    outside = np.int64(0)
    first = grain * run * fetch_add(counter, 1)
    while first < lines:
        last = min(lines, first + grain)
        after = following(counter, first, grain, run)
        rows_ahead = units_ahead(first, after, lines)
        ahead, short_ahead = rows_ahead * width * channels, rows_ahead * short_stride * short_w * short_c
        over = zeros()
        for c in range(0, channels, 16):
            t = table + 4 * c
            half, odd, offset, low_bit = (
                load_all(t),
                load_all(t + row),
                load_all(t + 2 * row),
                load_all(t + 3 * row),
            )
            right, weight, start = load_all(t + 4 * row), load_all(t + 5 * row), load_all(t + 6 * row)
            for line in range(first, last):
                place = line * width * channels + c
                count = min(width, pixels - line * width)
                if short != 0 and c < short_c:
                    n, i = line // height, line % height
                    source = short + (n * short_h + i * short_stride) * short_w * short_c + c
                    step = short_stride * short_c
                    for _ in range(count):
                        prefetch(z + 2 * (place + ahead))
                        prefetch(source + short_ahead)
                        prefetch_write(a + place + ahead)
                        xhat = _normalised(
                            load_i16(z + 2 * place, full), half, odd, offset, low_bit, right, bottom, top
                        )
                        x = (load_u8(source, full) ^ turn) - turn
                        y = add_products(start + (x << left), xhat, weight) >> whole
                        over = count_greater(over, y, ceiling)
                        if below != 0:
                            over = count_greater(over, floor, y)
                        store_8(a + place, larger(smaller(y, ceiling), floor), full)
                        place += channels
                        source += step
                else:
                    for _ in range(count):
                        prefetch(z + 2 * (place + ahead))
                        prefetch_write(a + place + ahead)
                        xhat = _normalised(
                            load_i16(z + 2 * place, full), half, odd, offset, low_bit, right, bottom, top
                        )
                        y = add_products(start, xhat, weight) >> whole
                        over = count_greater(over, y, ceiling)
                        if below != 0:
                            over = count_greater(over, floor, y)
                        store_8(a + place, larger(smaller(y, ceiling), floor), full)
                        place += channels
        outside += fold_sum(over)
        first = after
    return outside


@kernel
def norm_sums(
    counter: Int, pixels: Int, grain: Int, run: Int, g: Int, z: Int, channels: Int, table: Int, total: Int,
    products: Int,
) -> None:  # fmt: skip
    """`fast_norm.norm_sums` by a table; grain < 2^15. Halves of the products are summed apart: they fit."""
    full = lanes(16)
    top, bottom, sixteen, low_half = splat(32767), splat(-32767), splat(16), splat(65535)
    sixteen64 = splat64(16)
    row = 4 * channels
    first = grain * run * fetch_add(counter, 1)
    while first < pixels:
        last = min(pixels, first + grain)
        after = following(counter, first, grain, run)
        ahead = units_ahead(first, after, pixels) * channels * 2
        for c in range(0, channels, 16):
            t = table + 4 * c
            half, odd, offset, low_bit = (
                load_all(t),
                load_all(t + row),
                load_all(t + 2 * row),
                load_all(t + 3 * row),
            )
            right = load_all(t + 4 * row)
            plain, low, high = zeros(), zeros(), zeros()
            for j in range(first, last):
                place = 2 * (j * channels + c)
                prefetch(g + place + ahead)
                prefetch(z + place + ahead)
                gradient = load_i16(g + place, full)
                xhat = _normalised(load_i16(z + place, full), half, odd, offset, low_bit, right, bottom, top)
                product = gradient * xhat
                plain = plain + gradient
                low = low + (product & low_half)
                high = high + (product >> sixteen)
            store_all64(total + 8 * c, load_all64(total + 8 * c) + widen(plain))
            whole = (widen(high) << sixteen64) + widen(low)
            store_all64(products + 8 * c, load_all64(products + 8 * c) + whole)
        first = after


@kernel
def norm_backward(
    counter: Int, pixels: Int, grain: Int, run: Int, g: Int, z: Int, channels: Int, table: Int, limit: Int, dz: Int
) -> tuple[Int, Int]:  # fmt: skip
    """`fast_norm.norm_backward` by a table; (peak, saturated). No result reaches the peak's limit of 2^30."""
    full = lanes(16)
    top, bottom, none = splat(32767), splat(-32767), zeros()
    high, low = splat(limit), splat(-limit)
    four, fifteen, sixteen, half_step = splat(4), splat(15), splat(16), splat(1 << 18)
    unit, middle = splat(1 << 8), splat(1 << 15)
    row = 4 * channels
    peak = zeros()
    saturated = np.int64(0)
    first = grain * run * fetch_add(counter, 1)
    while first < pixels:
        last = min(pixels, first + grain)
        after = following(counter, first, grain, run)
        ahead = units_ahead(first, after, pixels) * channels * 2
        clamped = zeros()
        for c in range(0, channels, 16):
            t = table + 4 * c
            half, odd, offset, low_bit = (
                load_all(t),
                load_all(t + row),
                load_all(t + 2 * row),
                load_all(t + 3 * row),
            )
            right, start, c2_high, c2_low = (
                load_all(t + 4 * row), load_all(t + 5 * row), load_all(t + 6 * row), load_all(t + 7 * row)
            )  # fmt: skip
            low_factor, high_factor = load_all(t + 8 * row), load_all(t + 9 * row)
            last_half, last_shift = load_all(t + 10 * row), load_all(t + 11 * row)
            for j in range(first, last):
                place = 2 * (j * channels + c)
                prefetch(g + place + ahead)
                prefetch(z + place + ahead)
                prefetch_write(dz + place + ahead)
                xhat = _normalised(load_i16(z + place, full), half, odd, offset, low_bit, right, bottom, top)
                drift = add_products(add_products(half_step, xhat, c2_low) >> fifteen, xhat, c2_high) >> four
                t_halves = (add_products(start, load_i16(g + place, full), unit) - drift) ^ middle
                rest = add_products(none, t_halves, low_factor) >> sixteen
                u = (add_products(last_half, t_halves, high_factor) + rest) >> last_shift
                q = smaller(larger(u, low), high)
                clamped = count_different(clamped, q, u)
                peak = larger(peak, larger(u, none - u))
                store_16(dz + place, q, full)
        saturated += fold_sum(clamped)
        first = after
    return fold_max(peak), saturated
