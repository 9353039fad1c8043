"""Weight gradient of a convolution with 8-bit activations (spec, section 5): outer products of image pairs.

Two images are interleaved as pairs of 16-bit integers (x of image 2n beside x of image 2n + 1, dz likewise), so
that one instruction multiplies and adds both. For a kernel row the inputs of all kernel columns lie side by side
in memory (kernel_w * c_in of them): `dot.outer_tile` takes them 16 or 8 at a time. Sums of 32 bits are added to
64-bit totals before they could overflow, by a bound from the largest |dz| of each pair of images.

The predictor's operands (spec, section 6) are narrowed while they are interleaved.
"""

from __future__ import annotations

import numpy as np

from joulebit.kernels.compile import inline, kernel
from joulebit.kernels.dot import outer_channels, outer_columns, outer_tile
from joulebit.kernels.padding import fill, prefetch_part
from joulebit.kernels.scalar import Int
from joulebit.kernels.vector import (
    fetch_add,
    fold_max,
    join_halves,
    join_unsigned,
    lanes,
    larger,
    load_all,
    load_all64,
    load_i16,
    load_u8,
    smaller,
    splat,
    store_all,
    store_all64,
    widen,
    zeros,
)


@inline
def _rounded(value: Int, half: Int, shift: Int, low: Int, high: Int) -> Int:
    """clamp(RND(value, shift), low, high), lane by lane."""
    return smaller(larger((value + half) >> shift, low), high)


@inline
def _interleave_x(
    first: Int, second: Int, both: Int, height: Int, length: Int, target: Int, pitch: Int, flip: Int, shift: Int,
    low: Int, high: Int,
) -> None:  # fmt: skip
    """Rows of `length` bytes of two images as pairs, at rows `pitch` bytes apart; both: 0 if there is no second.

    With shift >= 0 the values are narrowed to clamp(RND(x, shift), low, high).
    """
    for i in range(height):
        a, b, place = first + i * length, second + i * length, target + i * pitch
        if flip == 0 and shift < 0:
            for c in range(0, length, 16):
                mask, other = lanes(length - c), lanes((length - c) * both)
                store_all(place + 4 * c, join_unsigned(load_u8(a + c, mask), load_u8(b + c, other)))
        else:
            turn, half, right = splat(flip), splat((np.int64(1) << max(shift, 0)) >> 1), splat(max(shift, 0))
            bottom, top = splat(low), splat(high)
            for c in range(0, length, 16):
                mask, other = lanes(length - c), lanes((length - c) * both)
                u = (load_u8(a + c, mask) ^ turn) - turn
                v = (load_u8(b + c, other) ^ turn) - turn
                if shift >= 0:
                    u = _rounded(u, half, right, bottom, top)
                    v = _rounded(v, half, right, bottom, top)
                store_all(place + 4 * c, join_halves(u, v))


@inline
def _interleave_g(
    first: Int, second: Int, both: Int, pixels: Int, channels: Int, target: Int, shift: Int, limit: Int
) -> Int:
    """dz of two images as pairs, channels padded with zeros to a multiple of 16; the largest magnitude.

    With shift >= 0 the values are narrowed to +-limit after RND(dz, shift).
    """
    blocks = (channels + 15) // 16
    pieces, length = (1, pixels * channels) if channels % 16 == 0 else (pixels, channels)
    none, peak = zeros(), zeros()
    half, right = splat((np.int64(1) << max(shift, 0)) >> 1), splat(max(shift, 0))
    bottom, top = splat(-limit), splat(limit)
    for j in range(pieces):
        a, b, place = first + j * length * 2, second + j * length * 2, target + j * blocks * 64
        for k in range(0, length, 16):
            mask, other = lanes(length - k), lanes((length - k) * both)
            u, v = load_i16(a + 2 * k, mask), load_i16(b + 2 * k, other)
            if shift >= 0:
                u, v = _rounded(u, half, right, bottom, top), _rounded(v, half, right, bottom, top)
            peak = larger(peak, larger(larger(u, none - u), larger(v, none - v)))
            store_all(place + 4 * k, join_halves(u, v))
    return fold_max(peak)


@inline
def _flush(sums: Int, totals: Int, count: Int) -> None:
    """totals (int64) += sums (int32), sums = 0; count is a multiple of 16."""
    none = zeros()
    for i in range(0, count, 16):
        store_all64(totals + 8 * i, load_all64(totals + 8 * i) + widen(load_all(sums + 4 * i)))
        store_all(sums + 4 * i, none)


@kernel
def weight_gradient(
    counter: Int, samples: Int, x: Int, height: Int, width: Int, c_in: Int, flip: Int, x_shift: Int, x_low: Int,
    x_high: Int, dz: Int, out_h: Int, out_w: Int, c_out: Int, g_shift: Int, g_limit: Int, kernel_h: Int,
    kernel_w: Int, stride: Int, padding_h: Int, padding_w: Int, scratch: Int, totals: Int, count: Int,
) -> None:  # fmt: skip
    """Adds x * dz of the pairs of samples that this thread draws from the counter to its totals.

    Addresses: counter (int64, shared by the threads), x, dz, scratch, totals (int64, zeros, `count` of them):
    for each two blocks of 16 output channels [kernel_h][groups of inputs][inputs][2][16], for a last single
    block [kernel_h][groups][inputs][16]. x_shift and g_shift: -1 for all bits, else the predictor's shifts.
    """
    blocks = (c_out + 15) // 16
    run = kernel_w * c_in
    x_size, g_size = height * width * c_in, out_h * out_w * c_out * 2
    pitch = (width + 2 * padding_w) * c_in * 4
    g_pixel = blocks * 64
    sums = scratch
    image = sums + count * 4
    gradient = image + (pitch * (height + 2 * padding_h) + 127 + outer_channels(1) * 4) // 64 * 64
    groups_2 = (run + outer_channels(2) - 1) // outer_channels(2)
    groups_1 = (run + outer_channels(1) - 1) // outer_channels(1)
    size_2, size_1 = outer_channels(2) * 128, outer_channels(1) * 64
    columns_held = min(out_w, 128)  # 2 * 128 * 255 * 2^15 < 2^31: the products of 128 positions always fit
    rows_held = max(1, 128 // columns_held)
    largest_x = max(x_high, -x_low)
    used = np.int64(0)
    fill(sums, count * 4, np.int64(0))
    fill(image, pitch * (height + 2 * padding_h), np.int64(0))
    n = 2 * fetch_add(counter, 1)
    while n < samples:
        following = 2 * fetch_add(counter, 1)
        both = 1 if n + 1 < samples else 0
        x_first, g_first = x + n * x_size, dz + n * g_size
        _interleave_x(
            x_first, x_first + x_size, both, height, width * c_in,
            image + padding_h * pitch + padding_w * c_in * 4, pitch, flip, x_shift, x_low, x_high,
        )  # fmt: skip
        largest_g = _interleave_g(
            g_first, g_first + g_size, both, out_h * out_w, c_out, gradient, g_shift, g_limit
        )
        need = 2 * rows_held * columns_held * largest_x * largest_g
        for i in range(0, out_h, rows_held):
            rows = min(rows_held, out_h - i)
            prefetch_part(x + following * x_size, 2 * x_size, i, i + rows, out_h)
            prefetch_part(dz + following * g_size, 2 * g_size, i, i + rows, out_h)
            for j in range(0, out_w, columns_held):
                columns = min(columns_held, out_w - j)
                if used + need > (1 << 31) - 1:
                    _flush(sums, totals, count)
                    used = np.int64(0)
                used += need
                corner = image + i * stride * pitch + j * stride * c_in * 4
                g = gradient + (i * out_w + j) * g_pixel
                place = sums
                for block in range(0, blocks - 1, 2):
                    for row in range(kernel_h):
                        for group in range(groups_2):
                            outer_tile(
                                2, corner + row * pitch + group * outer_channels(2) * 4, stride * pitch,
                                stride * c_in * 4, g + block * 64, out_w * g_pixel, g_pixel, rows, columns, place,
                            )  # fmt: skip
                            place += size_2
                if blocks % 2 == 1:
                    for row in range(kernel_h):
                        for group in range(groups_1):
                            outer_tile(
                                1, corner + row * pitch + group * outer_channels(1) * 4, stride * pitch,
                                stride * c_in * 4, g + (blocks - 1) * 64, out_w * g_pixel, g_pixel, rows, columns,
                                place,
                            )  # fmt: skip
                            place += size_1
        n = following
    _flush(sums, totals, count)


@kernel
def collect(totals: Int, dw: Int, columns_2: Int, columns_1: Int, limit: Int) -> Int:
    """dw[kernel_h, kernel_w, c_in, c_out] = the sum of all threads' totals [threads, count], within +-limit.

    columns_b: input channels of an `outer_tile` of b blocks. Returns how many were out of the limits.
    """
    kernel_h, kernel_w, c_in, c_out = dw.shape
    blocks, run = (c_out + 15) // 16, kernel_w * c_in
    groups_2, groups_1 = (run + columns_2 - 1) // columns_2, (run + columns_1 - 1) // columns_1
    clamped = np.int64(0)
    for block in range(blocks):
        paired = block // 2 * 2 + 1 < blocks
        start = block // 2 * kernel_h * groups_2 * columns_2 * 32
        step = 32 if paired else 16
        lane = block % 2 * 16
        for row in range(kernel_h):
            begin = start + row * (groups_2 * columns_2 if paired else groups_1 * columns_1) * step + lane
            for column in range(kernel_w):
                for c in range(c_in):
                    place = begin + (column * c_in + c) * step
                    for k in range(min(16, c_out - block * 16)):
                        value = np.int64(0)
                        for thread in range(totals.shape[0]):
                            value += totals[thread, place + k]
                        kept = min(max(value, -limit), limit)
                        clamped += np.int64(kept != value)
                        dw[row, column, c, block * 16 + k] = kept
    return clamped


def sums_count(kernel_h: int, kernel_w: int, c_in: int, c_out: int) -> int:
    """Number of sums that a thread keeps, unused lanes and channels included."""
    blocks, run = -(-c_out // 16), kernel_w * c_in
    pairs = blocks // 2 * -(-run // outer_columns(2)) * outer_columns(2) * 32
    single = blocks % 2 * -(-run // outer_columns(1)) * outer_columns(1) * 16
    return kernel_h * (pairs + single)


def scratch_size(
    height: int, width: int, c_in: int, out_h: int, out_w: int, c_out: int, padding_h: int, padding_w: int,
    count: int,
) -> int:  # fmt: skip
    """Bytes of scratch memory that `weight_gradient` needs per thread, what tiles read past x included."""
    image = (width + 2 * padding_w) * c_in * 4 * (height + 2 * padding_h) + 64 * 4
    return 4 * count + image + out_h * out_w * -(-c_out // 16) * 64 + 512
