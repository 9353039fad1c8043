"""Depthwise convolutions (one channel in and out per group) in vectors of 16 channels; sums in 32 bits.

An image is copied to scratch memory as 16-bit integers with a border of zeros and channels up to a multiple of
16. A lane multiplies by the instruction for pairs of 16-bit integers with the upper half of one factor zero, which
makes it a multiply-add. The ends of the rows are those of the dense kernels. The forward pass and the input
gradient of 3 x 3 kernels with a border of 1 are those of `depthwise_3x3`.

Bounds: a forward sum is at most taps * 255 * 127, an input gradient's at most 2^15 times the sum of |w| of its
channel (`pack` returns the largest), a weight gradient's 2^23 per position, so that 255 positions fit.
"""

from __future__ import annotations

import numpy as np

from joulebit.kernels.compile import inline, kernel
from joulebit.kernels.dot import add_products
from joulebit.kernels.fast_forward import finish_row
from joulebit.kernels.fast_input import finish_narrow, finish_wide
from joulebit.kernels.launch import INTERRUPTED, read_word, waits, write_word
from joulebit.kernels.padding import fill, prefetch_part
from joulebit.kernels.portions import ahead_of_row
from joulebit.kernels.scalar import Int
from joulebit.kernels.vector import (
    fetch_add,
    fold_max,
    fold_max64,
    fold_sum,
    lanes,
    larger,
    load_all,
    load_all64,
    load_i16,
    load_u8,
    load_u16,
    smaller,
    splat,
    store_16,
    store_all,
    store_all64,
    widen,
    zeros,
    zeros64,
)

HELD = 255  #: positions whose products fit a 32-bit sum


@kernel
def pack(w: Int, packed: Int, turned: Int) -> Int:
    """Weights [kernel_h, kernel_w, 1, channels] as [block of 16 channels][row][column][16] int32.

    packed comes in as zeros; the upper half of each lane stays 0. turned: 1 for the last row and column first.
    Returns the largest sum of |w| over a channel.
    """
    kernel_h, kernel_w, _, channels = w.shape
    largest = np.int64(0)
    for c in range(channels):
        total = np.int64(0)
        for row in range(kernel_h):
            for column in range(kernel_w):
                value = np.int64(w[row, column, 0, c])
                total += abs(value)
                i = kernel_h - 1 - row if turned != 0 else row
                j = kernel_w - 1 - column if turned != 0 else column
                packed[c // 16, i, j, c % 16] = value & 0xFFFF
        largest = max(largest, total)
    return largest


@inline
def _copy_x(
    source: Int, height: Int, width: Int, channels: Int, target: Int, pitch: Int, pixel: Int, flip: Int,
    shift: Int, low: Int, high: Int,
) -> None:  # fmt: skip
    """An image of bytes as int16, rows `pitch` and pixels `pixel` bytes apart; with shift >= 0 narrowed."""
    turn, half, right = splat(flip), splat((np.int64(1) << max(shift, 0)) >> 1), splat(max(shift, 0))
    bottom, top = splat(low), splat(high)
    full = lanes(16)
    for i in range(height):
        for j in range(width):
            start, place = source + (i * width + j) * channels, target + i * pitch + j * pixel
            for c in range(0, channels, 16):
                value = (load_u8(start + c, lanes(channels - c)) ^ turn) - turn
                if shift >= 0:
                    value = smaller(larger((value + half) >> right, bottom), top)
                store_16(place + 2 * c, value, full)


@inline
def _copy_g(
    source: Int,
    height: Int,
    width: Int,
    channels: Int,
    target: Int,
    pitch: Int,
    pixel: Int,
    shift: Int,
    limit: Int,
) -> None:
    """An image of int16; with shift >= 0 narrowed to +-limit after RND(dz, shift)."""
    half, right = splat((np.int64(1) << max(shift, 0)) >> 1), splat(max(shift, 0))
    bottom, top = splat(-limit), splat(limit)
    full = lanes(16)
    for i in range(height):
        for j in range(width):
            start, place = source + (i * width + j) * channels * 2, target + i * pitch + j * pixel
            for c in range(0, channels, 16):
                value = load_i16(start + 2 * c, lanes(channels - c))
                if shift >= 0:
                    value = smaller(larger((value + half) >> right, bottom), top)
                store_16(place + 2 * c, value, full)


@inline
def _gather(
    top: Int, pitch: Int, pixel: Int, count: Int, blocks: Int, packed: Int, kernel_h: Int, kernel_w: Int,
    stride: Int, sums: Int,
) -> None:  # fmt: skip
    """sums[count][blocks][16] of a row of any convolution whose first window starts at `top`."""
    full = lanes(16)
    for j in range(count):
        for block in range(blocks):
            total = zeros()
            w = packed + block * kernel_h * kernel_w * 64
            for row in range(kernel_h):
                x = top + row * pitch + j * stride * pixel + block * 32
                for _ in range(kernel_w):
                    total = add_products(total, load_i16(x, full), load_all(w))
                    x += pixel
                    w += 64
            store_all(sums + (j * blocks + block) * 64, total)


@inline
def _scatter(
    source: Int, pixel: Int, count: Int, blocks: Int, packed: Int, row: Int, kernel_h: Int, kernel_w: Int,
    stride: Int, width: Int, first: Int, sums: Int,
) -> None:  # fmt: skip
    """Adds one row of dz times one row of the kernel to sums[width][blocks][16], at first, first + stride, ..."""
    full = lanes(16)
    for block in range(blocks):
        for column in range(kernel_w):
            w = load_all(packed + ((block * kernel_h + row) * kernel_w + column) * 64)
            place = first + column
            for j in range(count):
                if 0 <= place < width:
                    y = sums + (place * blocks + block) * 64
                    store_all(y, add_products(load_all(y), load_i16(source + j * pixel + block * 32, full), w))
                place += stride


@kernel
def forward(
    counter: Int, samples: Int, x: Int, height: Int, width: Int, channels: Int, flip: Int, packed: Int, zero: Int,
    kernel_h: Int, kernel_w: Int, stride: Int, padding_h: Int, padding_w: Int, z: Int, out_h: Int, out_w: Int,
    shift: Int, scratch: Int, statistics: Int,
) -> tuple[Int, Int]:  # fmt: skip
    """`fast_forward.forward` for a depthwise convolution; zero: address of zeros, int32 [blocks * 16]."""
    blocks = (channels + 15) // 16
    pixel = blocks * 32
    pitch = (width + 2 * padding_w) * pixel
    size, z_row = height * width * channels, out_w * channels * 2
    ahead = ahead_of_row(z_row)
    sums = scratch + pitch * (height + 2 * padding_h) + 64
    squares = statistics + blocks * 128
    peak, saturated = zeros(), zeros()
    rejected = np.int64(0)
    n = fetch_add(counter, 1)
    if n < samples:
        fill(scratch, pitch * (height + 2 * padding_h), np.int64(0))
    while n < samples:
        following = fetch_add(counter, 1)
        inside = scratch + padding_h * pitch + padding_w * pixel
        _copy_x(x + n * size, height, width, channels, inside, pitch, pixel, flip, -1, 0, 0)
        for i in range(out_h):
            prefetch_part(x + following * size, size, i, i + 1, out_h)
            top = scratch + i * stride * pitch
            _gather(top, pitch, pixel, out_w, blocks, packed, kernel_h, kernel_w, stride, sums)
            peak, saturated = finish_row(
                sums, out_w, 0, blocks, channels, zero, shift, z + (n * out_h + i) * z_row, statistics, squares,
                ahead, peak, saturated,
            )  # fmt: skip
        rejected += fold_sum(saturated)
        saturated = zeros()
        n = following
    return fold_max(peak), rejected


@kernel
def input_gradient(
    counter: Int, samples: Int, dz: Int, out_h: Int, out_w: Int, channels: Int, packed: Int, kernel_h: Int,
    kernel_w: Int, stride: Int, padding_h: Int, padding_w: Int, g: Int, height: Int, width: Int, wide: Int,
    align: Int, add: Int, add_h: Int, add_w: Int, add_channels: Int, add_stride: Int, add_align: Int, mask: Int,
    masked: Int, below: Int, shift: Int, limit: Int, scratch: Int,
) -> tuple[Int, Int]:  # fmt: skip
    """`fast_input.input_gradient` for a depthwise convolution.

    packed: at stride 1 turned, with a border of kernel - 1 around dz in scratch memory; else as it is.
    """
    blocks = (channels + 15) // 16
    pixel = blocks * 32
    margin_h = max(0, kernel_h - 1 - padding_h) if stride == 1 else 0
    margin_w = max(0, kernel_w - 1 - padding_w) if stride == 1 else 0
    outside_h = max(0, padding_h - kernel_h + 1) if stride == 1 else 0  # rows of dz that meet no input
    outside_w = max(0, padding_w - kernel_w + 1) if stride == 1 else 0
    rows = margin_h + max(out_h, outside_h + height + kernel_h - 1)
    pitch = (margin_w + max(out_w, outside_w + width + kernel_w - 1)) * pixel
    size = out_h * out_w * channels * 2
    sums = scratch + pitch * rows + 64
    row_sums = width * blocks * 64
    ahead = ahead_of_row(width * channels * 2)
    peak, saturated = zeros(), zeros()
    peak64 = zeros64()
    rejected = np.int64(0)
    inside = scratch + margin_h * pitch + margin_w * pixel
    n = fetch_add(counter, 1)
    if n < samples:
        fill(scratch, pitch * rows, np.int64(0))
    while n < samples:
        following = fetch_add(counter, 1)
        _copy_g(dz + n * size, out_h, out_w, channels, inside, pitch, pixel, -1, 0)
        for i in range(height):
            prefetch_part(dz + following * size, size, i, i + 1, height)
            if stride == 1:
                top = scratch + (i + outside_h) * pitch + outside_w * pixel
                _gather(top, pitch, pixel, width, blocks, packed, kernel_h, kernel_w, 1, sums)
            else:
                fill(sums, row_sums, np.int64(0))
                for row in range(kernel_h):
                    up = i + padding_h - row
                    if up >= 0 and up % stride == 0 and up // stride < out_h:
                        _scatter(
                            inside + up // stride * pitch, pixel, out_w, blocks, packed, row, kernel_h, kernel_w,
                            stride, width, -padding_w, sums,
                        )  # fmt: skip
            place = (n * height + i) * width * channels
            added = np.int64(0)
            if add != 0 and i % add_stride == 0 and i // add_stride < add_h:
                added = add + (n * add_h + i // add_stride) * add_w * add_channels * 2
            if wide != 0:
                peak64, saturated = finish_wide(
                    sums, width, 0, blocks, channels, align, added, add_stride, add_channels, add_align,
                    mask + place * masked, masked, below, shift, limit, g + place * 2, ahead, ahead, peak64,
                    saturated,
                )  # fmt: skip
            else:
                peak, saturated = finish_narrow(
                    sums, width, 0, blocks, channels, align, added, add_stride, add_channels, add_align,
                    mask + place * masked, masked, below, shift, limit, g + place * 2, ahead, ahead, peak,
                    saturated,
                )  # fmt: skip
        rejected += fold_sum(saturated)
        saturated = zeros()
        n = following
    return max(fold_max(peak), fold_max64(peak64)), rejected


@inline
def _outer_3x3(
    x: Int, pitch: Int, x_pitch: Int, x_step: Int, pixel: Int, g: Int, g_pitch: Int, rows: Int, columns: Int,
    sums: Int,
) -> None:  # fmt: skip
    """sums[9][16] += x * dz of one block of channels over rows x columns positions."""
    full = lanes(16)
    s00, s01, s02 = load_all(sums), load_all(sums + 64), load_all(sums + 128)
    s10, s11, s12 = load_all(sums + 192), load_all(sums + 256), load_all(sums + 320)
    s20, s21, s22 = load_all(sums + 384), load_all(sums + 448), load_all(sums + 512)
    for i in range(rows):
        a, d = x + i * x_pitch, g + i * g_pitch
        b, c = a + pixel, a + 2 * pixel
        x00, x10, x20 = load_i16(a, full), load_i16(a + pitch, full), load_i16(a + 2 * pitch, full)
        x01, x11, x21 = load_i16(b, full), load_i16(b + pitch, full), load_i16(b + 2 * pitch, full)
        for _ in range(columns):
            v = load_u16(d, full)
            x02, x12, x22 = load_i16(c, full), load_i16(c + pitch, full), load_i16(c + 2 * pitch, full)
            s00, s10, s20 = add_products(s00, v, x00), add_products(s10, v, x10), add_products(s20, v, x20)
            s01, s11, s21 = add_products(s01, v, x01), add_products(s11, v, x11), add_products(s21, v, x21)
            s02, s12, s22 = add_products(s02, v, x02), add_products(s12, v, x12), add_products(s22, v, x22)
            d += pixel
            c += x_step
            if x_step == pixel:
                x00, x10, x20, x01, x11, x21 = x01, x11, x21, x02, x12, x22
            else:
                a += x_step
                b += x_step
                x00, x10, x20 = load_i16(a, full), load_i16(a + pitch, full), load_i16(a + 2 * pitch, full)
                x01, x11, x21 = load_i16(b, full), load_i16(b + pitch, full), load_i16(b + 2 * pitch, full)
    store_all(sums, s00)
    store_all(sums + 64, s01)
    store_all(sums + 128, s02)
    store_all(sums + 192, s10)
    store_all(sums + 256, s11)
    store_all(sums + 320, s12)
    store_all(sums + 384, s20)
    store_all(sums + 448, s21)
    store_all(sums + 512, s22)


@kernel
def weight_gradient(
    counter: Int, samples: Int, x: Int, height: Int, width: Int, channels: Int, flip: Int, x_shift: Int,
    x_low: Int, x_high: Int, dz: Int, out_h: Int, out_w: Int, g_shift: Int, g_limit: Int, kernel_h: Int,
    kernel_w: Int, stride: Int, padding_h: Int, padding_w: Int, scratch: Int, totals: Int, box: Int, state: Int,
) -> Int:  # fmt: skip
    """Adds x * dz of the samples that this thread draws to totals, int64 [blocks][kernel_h][kernel_w][16], zeros.

    Returns 1 if there were any, else 0; or is INTERRUPTED as `fast_weight.weight_gradient` is (`box`, `state`).

    x_shift and g_shift: -1 for all bits, else the predictor's shifts. out_w <= HELD.
    """
    blocks = (channels + 15) // 16
    taps = kernel_h * kernel_w
    pixel = blocks * 32
    pitch, g_pitch = (width + 2 * padding_w) * pixel, out_w * pixel
    x_size, g_size = height * width * channels, out_h * out_w * channels * 2
    sums = scratch
    count = blocks * taps
    image = sums + count * 64
    gradient = image + pitch * (height + 2 * padding_h) + pixel * 4
    full = lanes(16)
    rows_held = max(1, HELD // out_w)
    used = np.int64(0)
    resumed = read_word(state) != 0
    n = read_word(state) - 1 if resumed else fetch_add(counter, 1)
    if n >= samples:
        return 0
    if not resumed:
        fill(sums, count * 64, np.int64(0))
        fill(image, pitch * (height + 2 * padding_h), np.int64(0))
    while n < samples:
        following = fetch_add(counter, 1)
        inside = image + padding_h * pitch + padding_w * pixel
        _copy_x(x + n * x_size, height, width, channels, inside, pitch, pixel, flip, x_shift, x_low, x_high)
        _copy_g(dz + n * g_size, out_h, out_w, channels, gradient, g_pitch, pixel, g_shift, g_limit)
        for i in range(0, out_h, rows_held):
            rows = min(rows_held, out_h - i)
            prefetch_part(x + following * x_size, x_size, i, i + rows, out_h)
            prefetch_part(dz + following * g_size, g_size, i, i + rows, out_h)
            if used + rows * out_w > HELD:
                _flush(sums, totals, count)
                used = np.int64(0)
            used += rows * out_w
            for block in range(blocks):
                corner = image + i * stride * pitch + block * 32
                g = gradient + i * g_pitch + block * 32
                place = sums + block * taps * 64
                if kernel_h == 3 and kernel_w == 3:
                    _outer_3x3(
                        corner, pitch, stride * pitch, stride * pixel, pixel, g, g_pitch, rows, out_w, place
                    )
                else:
                    for row in range(kernel_h):
                        for column in range(kernel_w):
                            total = load_all(place)
                            for line in range(rows):
                                a = corner + (line * stride + row) * pitch + column * pixel
                                d = g + line * g_pitch
                                for _ in range(out_w):
                                    total = add_products(total, load_u16(d, full), load_i16(a, full))
                                    a += stride * pixel
                                    d += pixel
                            store_all(place, total)
                            place += 64
        n = following
        if n < samples and waits(box):
            write_word(state, n + 1)
            _flush(sums, totals, count)
            return INTERRUPTED
    _flush(sums, totals, count)
    return 1


@inline
def _flush(sums: Int, totals: Int, count: Int) -> None:
    """totals (int64) += sums (int32), sums = 0, in count vectors."""
    none = zeros()
    for i in range(count):
        store_all64(totals + 128 * i, load_all64(totals + 128 * i) + widen(load_all(sums + 64 * i)))
        store_all(sums + 64 * i, none)


def scratch_size(
    height: int, width: int, channels: int, out_h: int, out_w: int, kernel_h: int, kernel_w: int, padding_h: int,
    padding_w: int,
) -> int:  # fmt: skip
    """Bytes of scratch memory that each of the three passes needs per thread."""
    blocks = -(-channels // 16)
    rows = max(height, out_h) + 2 * (kernel_h + padding_h)
    columns = max(width, out_w) + 2 * (kernel_w + padding_w)
    sums = max(max(width, out_w) + 2, kernel_h * kernel_w) * blocks * 64
    return 2 * rows * columns * blocks * 32 + sums + 1024
