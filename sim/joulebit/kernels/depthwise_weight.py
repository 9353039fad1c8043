"""Weight gradients of depthwise convolutions, exact and of the predictor's operands from one pass over them.

x and dz of two images are interleaved as pairs of 16-bit integers (see `pairs`), of at most `HELD` positions and
32 channels: what fits the first-level cache. A lane is a channel; one instruction multiplies and adds a pair. The
predictor's operands (spec, section 6) are then made of the exact ones where they lie.

A position's products of a pair are at most 2 * 255 * 2^15: those of HELD positions fit 32 bits.
"""

from __future__ import annotations

import numpy as np

from joulebit.kernels.compile import inline, kernel
from joulebit.kernels.dot import add_products
from joulebit.kernels.launch import INTERRUPTED, read_word, waits, write_word
from joulebit.kernels.pairs import interleave_g, interleave_x, narrow_all
from joulebit.kernels.scalar import Int
from joulebit.kernels.vector import (
    fetch_add,
    load_all,
    load_all64,
    prefetch_far,
    store_all,
    store_all64,
    widen,
    zeros,
)

HELD = 128  #: positions whose products fit a 32-bit sum
_VECTOR = 64  #: bytes of the pairs of 16 channels at one position


@inline
def _row_of_x(
    first: Int, second: Int, both: Int, start: Int, count: Int, width: Int, channels: Int, flip: Int, size: Int,
    target: Int, plane: Int,
) -> None:  # fmt: skip
    """Columns start .. start + count - 1 of a row of x, zeros beside the image, as pairs (`interleave_x`)."""
    left, right = min(max(-start, 0), count), max(min(width - start, count), 0)
    right = max(left, right)
    skip = (start + left) * channels
    _no_columns(target, 0, left, size, plane)
    interleave_x(
        first + skip,
        second + skip,
        both,
        right - left,
        channels,
        size,
        flip,
        target + left * _VECTOR,
        np.int64(_VECTOR),
        plane,
    )
    _no_columns(target, right, count, size, plane)


@inline
def _no_columns(target: Int, first: Int, last: Int, size: Int, plane: Int) -> None:
    """Zeros in columns first .. last - 1 of both blocks."""
    for place in range(target + first * _VECTOR, target + last * _VECTOR, _VECTOR):
        store_all(place, zeros())
        if size > 16:
            store_all(place + plane, zeros())


@inline
def _add(totals: Int, sums: Int) -> None:
    store_all64(totals, load_all64(totals) + widen(sums))


@inline
def _outer_3x3(
    x: Int, pitch: Int, stride: Int, g: Int, rows: Int, columns: Int, totals: Int, next_x: Int, next_g: Int
) -> None:
    """totals[9][16] += x * dz of one block of channels over rows x columns positions.

    Meanwhile as many bytes of the next operands are fetched: single requests, since many at once are dropped.
    """
    step = stride * _VECTOR
    s00, s01, s02, s10, s11, s12 = zeros(), zeros(), zeros(), zeros(), zeros(), zeros()
    s20, s21, s22 = zeros(), zeros(), zeros()
    for i in range(rows):
        a = x + i * stride * pitch
        b, c = a + pitch, a + 2 * pitch
        x00, x10, x20 = load_all(a), load_all(b), load_all(c)
        x01, x11, x21 = load_all(a + _VECTOR), load_all(b + _VECTOR), load_all(c + _VECTOR)
        for _ in range(columns):
            v = load_all(g)
            prefetch_far(next_g)
            prefetch_far(next_x)
            next_g += 64
            next_x += 32 * stride
            x02, x12, x22 = load_all(a + 2 * _VECTOR), load_all(b + 2 * _VECTOR), load_all(c + 2 * _VECTOR)
            s00, s10, s20 = add_products(s00, v, x00), add_products(s10, v, x10), add_products(s20, v, x20)
            s01, s11, s21 = add_products(s01, v, x01), add_products(s11, v, x11), add_products(s21, v, x21)
            s02, s12, s22 = add_products(s02, v, x02), add_products(s12, v, x12), add_products(s22, v, x22)
            g += _VECTOR
            a += step
            b += step
            c += step
            if stride == 1:
                x00, x10, x20, x01, x11, x21 = x01, x11, x21, x02, x12, x22
            else:
                prefetch_far(next_x)
                next_x += 32 * stride
                x00, x10, x20 = load_all(a), load_all(b), load_all(c)
                x01, x11, x21 = load_all(a + _VECTOR), load_all(b + _VECTOR), load_all(c + _VECTOR)
    _add(totals, s00)
    _add(totals + 128, s01)
    _add(totals + 256, s02)
    _add(totals + 384, s10)
    _add(totals + 512, s11)
    _add(totals + 640, s12)
    _add(totals + 768, s20)
    _add(totals + 896, s21)
    _add(totals + 1024, s22)


@inline
def _outer(
    x: Int, pitch: Int, stride: Int, g: Int, rows: Int, columns: Int, kernel_h: Int, kernel_w: Int, totals: Int,
    next_x: Int, next_g: Int,
) -> None:  # fmt: skip
    """`_outer_3x3` for a kernel of any size: totals[kernel_h][kernel_w][16]."""
    if kernel_h == 3 and kernel_w == 3:
        _outer_3x3(x, pitch, stride, g, rows, columns, totals, next_x, next_g)
        return
    for row in range(kernel_h):
        for column in range(kernel_w):
            total = zeros()
            for i in range(rows):
                a, d = x + (i * stride + row) * pitch + column * _VECTOR, g + i * columns * _VECTOR
                for _ in range(columns):
                    total = add_products(total, load_all(d), load_all(a))
                    a += stride * _VECTOR
                    d += _VECTOR
            _add(totals + (row * kernel_w + column) * 128, total)


@inline
def _plane(rows: Int, columns: Int, kernel_h: Int, kernel_w: Int, stride: Int) -> Int:
    """Bytes of the operands of 16 channels: an odd number of cache lines, so that two blocks share no sets."""
    x = ((rows - 1) * stride + kernel_h) * ((columns - 1) * stride + kernel_w)
    return ((x + rows * columns) | 1) * _VECTOR


@kernel
def weight_gradient(
    counter: Int, samples: Int, x: Int, height: Int, width: Int, channels: Int, flip: Int, exact: Int,
    x_shift: Int, x_low: Int, x_high: Int, dz: Int, out_h: Int, out_w: Int, g_shift: Int, g_limit: Int,
    kernel_h: Int, kernel_w: Int, stride: Int, padding_h: Int, padding_w: Int, scratch: Int, totals: Int, box: Int,
    state: Int,
) -> Int:  # fmt: skip
    """Adds x * dz of the pairs of samples that this thread draws to totals, zeros before.

    Returns 1 if there were any, else 0; or is INTERRUPTED as `fast_weight.weight_gradient` is (`box`, `state`).

    totals: int64 [blocks][kernel_h][kernel_w][16], of the exact operands unless `exact` is 0; then the same of the
    predictor's, unless x_shift is -1.
    """
    blocks = (channels + 15) // 16
    taps = kernel_h * kernel_w * 128
    x_row, g_row = width * channels, out_w * channels * 2
    x_size, g_size = height * x_row, out_h * g_row
    columns_held = min(out_w, HELD)
    rows_held = min(out_h, HELD // columns_held)
    n = read_word(state) - 1 if read_word(state) != 0 else 2 * fetch_add(counter, 1)
    if n >= samples:
        return 0
    plane = _plane(rows_held, columns_held, kernel_h, kernel_w, stride)
    below = kernel_h - 1 - padding_h  # rows of x that a row of dz meets below the one at its place
    while n < samples:
        following = 2 * fetch_add(counter, 1)
        both = np.int64(n + 1 < samples)
        x_first, g_first = x + n * x_size, dz + n * g_size
        for i in range(0, out_h, rows_held):
            rows = min(rows_held, out_h - i)
            x_rows = (rows - 1) * stride + kernel_h
            ahead_n, ahead_i = (n, i + rows) if i + rows < out_h else (following, np.int64(0))
            next_x = x + ahead_n * x_size + (ahead_i * stride + below) * x_row
            next_g = dz + ahead_n * g_size + ahead_i * g_row
            for j in range(0, out_w, columns_held):
                columns = min(columns_held, out_w - j)
                x_columns = (columns - 1) * stride + kernel_w
                pitch = x_columns * _VECTOR
                gradient = scratch + x_rows * pitch
                for c in range(0, channels, 32):
                    size = min(channels - c, 32)
                    for row in range(x_rows):
                        r, target = i * stride - padding_h + row, scratch + row * pitch
                        if 0 <= r < height:
                            a = x_first + r * x_row + c
                            _row_of_x(
                                a, a + x_size * both, both, j * stride - padding_w, x_columns, width, channels,
                                flip, size, target, plane,
                            )  # fmt: skip
                        else:
                            _no_columns(target, np.int64(0), x_columns, size, plane)
                    for row in range(rows):
                        a = g_first + (i + row) * g_row + 2 * (j * channels + c)
                        interleave_g(
                            a, a + g_size * both, both, columns, 2 * channels, size,
                            gradient + row * columns * _VECTOR, np.int64(_VECTOR), plane,
                        )  # fmt: skip
                    for k in range((size + 15) // 16):
                        start, g, place = scratch + k * plane, gradient + k * plane, totals + (c // 16 + k) * taps
                        soon_x = next_x + k * x_size + c * rows * out_w * stride * stride
                        soon_g = next_g + k * g_size + c * rows * out_w * 2
                        if exact != 0:
                            _outer(
                                start, pitch, stride, g, rows, columns, kernel_h, kernel_w, place, soon_x, soon_g
                            )
                            place += blocks * taps
                        if x_shift >= 0:
                            narrow_all(start, start, x_rows * pitch, x_shift, x_low, x_high)
                            narrow_all(g, g, rows * columns * _VECTOR, g_shift, -g_limit, g_limit)
                            _outer(
                                start, pitch, stride, g, rows, columns, kernel_h, kernel_w, place, soon_x, soon_g
                            )
        n = following
        if n < samples and waits(box):
            write_word(state, n + 1)
            return INTERRUPTED
    return 1


def scratch_size(out_h: int, out_w: int, kernel_h: int, kernel_w: int, stride: int) -> int:
    """Bytes of scratch memory that `weight_gradient` needs per thread, what it reads past x included."""
    columns = min(out_w, HELD)
    rows = min(out_h, HELD // columns)
    x = ((rows - 1) * stride + kernel_h) * ((columns - 1) * stride + kernel_w)
    return (2 * (x + rows * columns + 1) + stride + kernel_w) * _VECTOR
