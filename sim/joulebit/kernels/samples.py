"""What a gated residual block does with single samples: in vectors of 16 elements, addresses in bytes.

Those that enter its body are taken out and put back, all others are passed on by the shortcut, and the gate learns
from inner products. Threads take the samples first .. last - 1 each.
"""

from __future__ import annotations

import numpy as np

from joulebit.kernels.compile import kernel
from joulebit.kernels.launch import read_word, write_word
from joulebit.kernels.scalar import Int
from joulebit.kernels.vector import (
    copy_bytes,
    count_different,
    count_greater,
    fold_max,
    fold_sum,
    keep,
    lanes,
    larger,
    load_i16,
    load_u8,
    smaller,
    splat,
    store_8,
    store_16,
    where_between,
    zeros,
)

_SUMMED = 256  # elements: the sum of their products, of 32768 * 255 at most, fits 32 bits


@kernel
def copy(target: Int, source: Int, first: Int, last: Int, size: Int, targets: Int, sources: Int) -> None:
    """Copy samples of `size` bytes, number sources[i] to number targets[i]; an address of 0 means i."""
    for i in range(first, last):
        to = read_word(targets + 8 * i) if targets != 0 else i
        of = read_word(sources + 8 * i) if sources != 0 else i
        copy_bytes(target + to * size, source + of * size, size)


@kernel
def shortcut_forward(
    x: Int, a: Int, first: Int, last: Int, height: Int, width: Int, channels: Int, x_height: Int, x_width: Int,
    x_channels: Int, stride: Int, flip: Int, left: Int, right: Int, low: Int, high: Int,
) -> Int:  # fmt: skip
    """`plain_norm.shortcut_forward` of bytes, rounding half up: a = clamp((x << left + half) >> right, low, high).

    flip: 128 for signed x, else 0. left or right is 0.
    """
    turn, up, down, half = splat(flip), splat(left), splat(right), splat((np.int64(1) << right) >> 1)
    ceiling, floor = splat(high), splat(low)
    outside = np.int64(0)
    for n in range(first, last):
        over = zeros()
        for i in range(height):
            row = x + (n * x_height + i * stride) * x_width * x_channels
            for c in range(0, channels, 16):
                on, given = lanes(channels - c), lanes(x_channels - c)
                source, place = row + c, a + (n * height + i) * width * channels + c
                for _ in range(width):
                    y = ((((load_u8(source, given) ^ turn) - turn) << up) + half) >> down
                    over = count_greater(over, y, ceiling)
                    if low < 0:
                        over = count_greater(over, floor, y)
                    store_8(place, larger(smaller(y, ceiling), floor), on)
                    source += stride * x_channels
                    place += channels
        outside += fold_sum(over)
    return outside


@kernel
def shortcut_gradient(
    add: Int, mask: Int, g: Int, first: Int, last: Int, height: Int, width: Int, channels: Int, add_height: Int,
    add_width: Int, add_channels: Int, stride: Int, masked: Int, below: Int, early: Int, left: Int, right: Int,
    limit: Int,
) -> tuple[Int, Int]:  # fmt: skip
    """`elementwise.shortcut_gradient` of int16, rounding half up; (peak before the second shift, saturated).

    v = (add + half) >> early where it passes; g = clamp((v << left + half) >> right, -limit, limit), left or right
    is 0. mask: bytes that say where; 16 of 1 where masked is 0. below: bound of the mask, above 255 for none.
    """
    none, top = zeros(), splat(below)
    before, first_half = splat(early), splat((np.int64(1) << early) >> 1)
    up, down, half = splat(left), splat(right), splat((np.int64(1) << right) >> 1)
    high, low = splat(limit), splat(-limit)
    peak = zeros()
    saturated = np.int64(0)
    for n in range(first, last):
        clamped = zeros()
        for i in range(height):
            within = i % stride == 0 and i // stride < add_height
            row = add + (n * add_height + i // stride) * add_width * add_channels * 2
            for c in range(0, channels, 16):
                on = lanes(channels - c)
                place = (n * height + i) * width * channels + c
                for j in range(width):
                    given = within and j % stride == 0 and j // stride < add_width
                    source = row + (j // stride * add_channels + c) * 2
                    v = load_i16(source, lanes((add_channels - c) * given))
                    passes = where_between(load_u8(mask + place * masked, on), none, top)
                    v = keep(passes, (v + first_half) >> before)
                    peak = larger(peak, larger(v, none - v))
                    u = ((v << up) + half) >> down
                    q = smaller(larger(u, low), high)
                    clamped = count_different(clamped, q, u)
                    store_16(g + 2 * place, q, on)
                    place += channels
        saturated += fold_sum(clamped)
    return fold_max(peak), saturated


@kernel
def dot(g: Int, a: Int, base: Int, out: Int, first: Int, last: Int, elements: Int, flip: Int) -> None:
    """`elementwise.sample_dot` of int16 and bytes; flip: 128 for signed ones, else 0."""
    turn = splat(flip)
    for n in range(first, last):
        total = np.int64(0)
        for start in range(0, elements, _SUMMED):
            products = zeros()
            for i in range(start, min(start + _SUMMED, elements), 16):
                place, on = n * elements + i, lanes(elements - i)
                change = (load_u8(a + place, on) ^ turn) - (load_u8(base + place, on) ^ turn)
                products = products + load_i16(g + 2 * place, on) * change
            total += fold_sum(products)
        write_word(out + 8 * n, total)
