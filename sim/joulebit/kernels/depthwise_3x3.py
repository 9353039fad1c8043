"""Depthwise 3 x 3 convolutions of stride 1 or 2 with a border of 1, in vectors of 16 channels, without copies.

A lane is a channel. Rows of the image are joined in it (`joined_rows`): four of bytes, or two of 16-bit integers,
so that one multiply-add takes a column of the kernel with all these rows. Rows and columns outside the image are
zeros. At stride 1 two rows of the result come from the same four rows,

    result i:      w0 w1 w2 0  on rows  i - 1 .. i + 2
    result i + 1:  0 w0 w1 w2  on the same,

and each pixel is loaded once for both. With stride 2, pixels of the input gradient in even rows meet the middle
row of the kernel alone, those in odd rows the last and the first one; columns likewise.

Bounds: those of `depthwise`.
"""

from __future__ import annotations

import numpy as np

from joulebit.kernels.compile import inline, kernel
from joulebit.kernels.dot import add_products
from joulebit.kernels.fast_forward import finish_row
from joulebit.kernels.fast_input import finish_narrow, finish_wide
from joulebit.kernels.joined_rows import add_quads, load_pairs, load_quads
from joulebit.kernels.padding import fill
from joulebit.kernels.portions import ahead_of_row, next_sample, samples_at_once
from joulebit.kernels.scalar import Int
from joulebit.kernels.vector import (
    fetch_add,
    fold_max,
    fold_max64,
    fold_sum,
    lanes,
    load_all,
    prefetch,
    splat,
    store_all,
    zeros,
    zeros64,
)

VECTORS = 12  #: of weights per block of 16 channels, at most


@kernel
def pack_forward(w: Int, flip: Int, packed: Int, excess: Int) -> None:
    """Weights [3, 3, 1, channels] as int8 [block of 16 channels][result][column][16][row], packed: zeros.

    A result is one of two rows, see above. excess: int32 [blocks * 16], gets flip * the sum of the weights.
    """
    for c in range(w.shape[3]):
        total = np.int64(0)
        for row in range(3):
            for column in range(3):
                value = w[row, column, 0, c]
                total += value
                packed[c // 16, 0, column, c % 16, row] = value
                packed[c // 16, 1, column, c % 16, row + 1] = value
        excess[c] = flip * total


@kernel
def pack_input(w: Int, packed: Int, stride: Int) -> Int:
    """Weights [3, 3, 1, channels] as int16 [block of 16 channels][VECTORS][16][row], packed: zeros.

    Stride 1: [result][column][rows 0 and 1, or 2 and 3] of the turned kernel. Stride 2: [even or odd row][column].
    Returns the largest sum of |w| over a channel.
    """
    largest = np.int64(0)
    for c in range(w.shape[3]):
        block, lane = c // 16, c % 16
        total = np.int64(0)
        for row in range(3):
            for column in range(3):
                value = w[row, column, 0, c]
                total += abs(np.int64(value))
                if stride == 1:
                    for result in range(2):
                        place = 2 - row + result
                        packed[block, result * 6 + (2 - column) * 2 + place // 2, lane, place % 2] = value
                else:
                    packed[block, (0 if row == 1 else 3) + column, lane, 1 if row == 0 else 0] = value
        largest = max(largest, total)
    return largest


@inline
def _gather_quads(
    a: Int, b: Int, c: Int, d: Int, step: Int, count: Int, on: Int, turn: Int, w: Int, first: Int, second: Int,
    coming: Int, row: Int,
) -> None:  # fmt: skip
    """Two rows of sums [count][16] of a forward pass at stride 1, from four rows of pixels `step` bytes apart.

    turn: what bytes are flipped with, which is what they are outside the image. coming: the two rows, `row` bytes
    apart, that are fetched meanwhile.
    """
    u0, u1, u2 = load_all(w), load_all(w + 64), load_all(w + 128)
    v0, v1, v2 = load_all(w + 192), load_all(w + 256), load_all(w + 320)
    q = load_quads(a, b, c, d, on) ^ turn
    up = add_quads(add_quads(zeros(), turn, u0), q, u1)
    down = add_quads(add_quads(zeros(), turn, v0), q, v1)
    next_up, next_down = add_quads(zeros(), q, u0), add_quads(zeros(), q, v0)
    for j in range(1, count):
        place = j * step
        prefetch(coming + place)
        prefetch(coming + row + place)
        q = load_quads(a + place, b + place, c + place, d + place, on) ^ turn
        store_all(first, add_quads(up, q, u2))
        store_all(second, add_quads(down, q, v2))
        up, down = add_quads(next_up, q, u1), add_quads(next_down, q, v1)
        next_up, next_down = add_quads(zeros(), q, u0), add_quads(zeros(), q, v0)
        first += 64
        second += 64
    store_all(first, add_quads(up, turn, u2))
    store_all(second, add_quads(down, turn, v2))


@inline
def _gather_every_second(
    a: Int, b: Int, c: Int, d: Int, step: Int, width: Int, on: Int, turn: Int, w: Int, sums: Int, coming: Int,
    row: Int,
) -> None:  # fmt: skip
    """A row of sums of a forward pass at stride 2, from three rows of `width` pixels; d: zeros."""
    w0, w1, w2 = load_all(w), load_all(w + 64), load_all(w + 128)
    left = turn
    for j in range(0, width, 2):
        place = j * step
        prefetch(coming + place)
        prefetch(coming + row + place)
        prefetch(coming + step + place)
        prefetch(coming + row + step + place)
        q = load_quads(a + place, b + place, c + place, d, on) ^ turn
        total = add_quads(add_quads(zeros(), left, w0), q, w1)
        left = turn
        if j + 1 < width:
            place += step
            left = load_quads(a + place, b + place, c + place, d, on) ^ turn
        store_all(sums, add_quads(total, left, w2))
        sums += 64


@kernel
def forward(
    counter: Int, samples: Int, x: Int, height: Int, width: Int, channels: Int, flip: Int, packed: Int,
    excess: Int, stride: Int, z: Int, out_h: Int, out_w: Int, shift: Int, scratch: Int, statistics: Int,
) -> tuple[Int, Int]:  # fmt: skip
    """`fast_forward.forward` for a depthwise convolution, see above; packed, excess: of `pack_forward`."""
    blocks = (channels + 15) // 16
    row = width * channels
    size = height * row
    outside = scratch
    sums = outside + (row + 127) // 64 * 64
    second = sums + out_w * 64
    rows = 2 if stride == 1 else 1
    z_row = out_w * channels * 2
    ahead = ahead_of_row(rows * z_row)
    turn = splat(flip * 0x01010101)
    squares = statistics + blocks * 128
    peak, saturated = zeros(), zeros()
    rejected = np.int64(0)
    at_once = samples_at_once(samples, out_h * out_w * channels * 2)
    n = at_once * fetch_add(counter, 1)
    fill(outside, row, np.int64(0))
    while n < samples:
        following = next_sample(counter, n, at_once)
        image = x + n * size
        for i in range(0, out_h, rows):
            b = image + i * stride * row
            a = b - row if i > 0 else outside
            c = b + row if i * stride + 1 < height else outside
            d = b + 2 * row if i * stride + 2 < height and stride == 1 else outside
            place = z + (n * out_h + i) * z_row
            held = min(rows, out_h - i)
            coming = b + 3 * row if i * stride + 4 < height else x + following * size
            for block in range(blocks):
                first = 16 * block
                on = lanes(channels - first)
                w = packed + block * 384
                if stride == 1:
                    _gather_quads(
                        a + first, b + first, c + first, d + first, channels, width, on, turn, w, sums, second,
                        coming + first, row,
                    )  # fmt: skip
                else:
                    _gather_every_second(
                        a + first, b + first, c + first, outside, channels, width, on, turn, w, sums,
                        coming + first, row,
                    )  # fmt: skip
                for result in range(held):
                    peak, saturated = finish_row(
                        sums + result * out_w * 64, out_w, block, block + 1, channels, excess, shift,
                        place + result * z_row, statistics, squares, ahead, peak, saturated,
                    )  # fmt: skip
        rejected += fold_sum(saturated)
        saturated = zeros()
        n = following
    return fold_max(peak), rejected


@inline
def _gather_pairs(
    a: Int, b: Int, c: Int, d: Int, step: Int, count: Int, on: Int, w: Int, first: Int, second: Int, coming: Int,
    row: Int,
) -> None:  # fmt: skip
    """`_gather_quads` for 16-bit integers."""
    s0, t0, s1, t1, s2, t2 = (
        load_all(w), load_all(w + 64), load_all(w + 128), load_all(w + 192), load_all(w + 256), load_all(w + 320)
    )  # fmt: skip
    w += 384
    u0, v0, u1, v1, u2, v2 = (
        load_all(w), load_all(w + 64), load_all(w + 128), load_all(w + 192), load_all(w + 256), load_all(w + 320)
    )  # fmt: skip
    p, q = load_pairs(a, b, on), load_pairs(c, d, on)
    up = add_products(add_products(zeros(), p, s1), q, t1)
    down = add_products(add_products(zeros(), p, u1), q, v1)
    next_up = add_products(add_products(zeros(), p, s0), q, t0)
    next_down = add_products(add_products(zeros(), p, u0), q, v0)
    for j in range(1, count):
        place = j * step
        prefetch(coming + place)
        prefetch(coming + row + place)
        p, q = load_pairs(a + place, b + place, on), load_pairs(c + place, d + place, on)
        store_all(first, add_products(add_products(up, p, s2), q, t2))
        store_all(second, add_products(add_products(down, p, u2), q, v2))
        up = add_products(add_products(next_up, p, s1), q, t1)
        down = add_products(add_products(next_down, p, u1), q, v1)
        next_up = add_products(add_products(zeros(), p, s0), q, t0)
        next_down = add_products(add_products(zeros(), p, u0), q, v0)
        first += 64
        second += 64
    store_all(first, up)
    store_all(second, down)


@inline
def _spread_pairs(
    a: Int, b: Int, step: Int, count: Int, on: Int, w: Int, first: Int, second: Int, coming: Int
) -> None:  # fmt: skip
    """Two rows of sums [2 * count][16] of an input gradient at stride 2, from two rows of `count` pixels."""
    u0, u1, u2 = load_all(w), load_all(w + 64), load_all(w + 128)
    v0, v1, v2 = load_all(w + 192), load_all(w + 256), load_all(w + 320)
    p = load_pairs(a, b, on)
    for j in range(1, count + 1):
        prefetch(coming + j * step)
        after = zeros()
        if j < count:
            after = load_pairs(a + j * step, b + j * step, on)
        store_all(first, add_products(zeros(), p, u1))
        store_all(first + 64, add_products(add_products(zeros(), p, u2), after, u0))
        store_all(second, add_products(zeros(), p, v1))
        store_all(second + 64, add_products(add_products(zeros(), p, v2), after, v0))
        p = after
        first += 128
        second += 128


@kernel
def input_gradient(
    counter: Int, samples: Int, dz: Int, out_h: Int, out_w: Int, channels: Int, packed: Int, stride: Int, g: Int,
    height: Int, width: Int, wide: Int, align: Int, add: Int, add_h: Int, add_w: Int, add_channels: Int,
    add_stride: Int, add_align: Int, mask: Int, masked: Int, below: Int, shift: Int, limit: Int, scratch: Int,
) -> tuple[Int, Int]:  # fmt: skip
    """`fast_input.input_gradient` for a depthwise convolution, see above; packed: of `pack_input`."""
    blocks = (channels + 15) // 16
    row, step = out_w * channels * 2, channels * 2
    size = out_h * row
    outside = scratch
    sums = outside + (row + 127) // 64 * 64
    sums_row = (width + 1) * 64
    second = sums + sums_row
    g_row = width * channels * 2
    ahead = ahead_of_row(2 * g_row)
    peak, saturated = zeros(), zeros()
    peak64 = zeros64()
    rejected = np.int64(0)
    at_once = samples_at_once(samples, height * width * channels * 2)
    n = at_once * fetch_add(counter, 1)
    fill(outside, row, np.int64(0))
    while n < samples:
        following = next_sample(counter, n, at_once)
        image = dz + n * size
        for i in range(0, height, 2):
            line = i // stride
            b = image + line * row
            a = b - row if line > 0 else outside
            c = b + row if line + 1 < out_h else outside
            d = b + 2 * row if line + 2 < out_h else outside
            place = g + (n * height + i) * g_row
            held = min(2, height - i)
            coming = b + 3 * row if line + 4 < out_h else dz + following * size
            for block in range(blocks):
                on = lanes(channels - 16 * block)
                start, w = 32 * block, packed + block * 768
                if stride == 1:
                    _gather_pairs(
                        a + start, b + start, c + start, d + start, step, width, on, w, sums, second,
                        coming + start, row,
                    )  # fmt: skip
                else:
                    _spread_pairs(b + start, c + start, step, out_w, on, w, sums, second, coming + start)
                for result in range(held):
                    own = i + result
                    own_mask = mask + (n * height + own) * width * channels * masked
                    added = np.int64(0)
                    if add != 0 and own % add_stride == 0 and own // add_stride < add_h:
                        added = add + (n * add_h + own // add_stride) * add_w * add_channels * 2
                    if wide != 0:
                        peak64, saturated = finish_wide(
                            sums + result * sums_row, width, block, block + 1, channels, align, added, add_stride,
                            add_channels, add_align, own_mask, masked, below, shift, limit,
                            place + result * g_row, ahead, peak64, saturated,
                        )  # fmt: skip
                    else:
                        peak, saturated = finish_narrow(
                            sums + result * sums_row, width, block, block + 1, channels, align, added, add_stride,
                            add_channels, add_align, own_mask, masked, below, shift, limit,
                            place + result * g_row, ahead, peak, saturated,
                        )  # fmt: skip
        rejected += fold_sum(saturated)
        saturated = zeros()
        n = following
    return max(fold_max(peak), fold_max64(peak64)), rejected


def scratch_size(width: int, channels: int) -> int:
    """Bytes of scratch memory that either pass needs per thread; width: the wider of input and output."""
    return 2 * width * channels + 2 * 64 * (width + 2) + 256
