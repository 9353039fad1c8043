"""Depthwise convolutions (one channel in and out per group) in vectors of 16 channels; sums in 32 bits.

An image is copied to scratch memory as 16-bit integers with a border of zeros and channels up to a multiple of
16. A lane multiplies by the instruction for pairs of 16-bit integers with the upper half of one factor zero, which
makes it a multiply-add. The ends of the rows are those of the dense kernels. 3 x 3 kernels with a border of 1 are
those of `depthwise_3x3`; weight gradients are in `depthwise_weight`.

Bounds: a forward sum is at most taps * 255 * 127, an input gradient's at most 2^15 times the sum of |w| of its
channel (`pack` returns the largest).
"""

from __future__ import annotations

import numpy as np

from joulebit.kernels.compile import inline, kernel
from joulebit.kernels.dot import add_products
from joulebit.kernels.fast_forward import finish_row
from joulebit.kernels.fast_input import finish_narrow, finish_wide
from joulebit.kernels.padding import fill, prefetch_part
from joulebit.kernels.portions import ahead_of_row
from joulebit.kernels.scalar import Int
from joulebit.kernels.vector import (
    fetch_add,
    fold_max,
    fold_max64,
    fold_sum,
    lanes,
    load_all,
    load_i16,
    load_u8,
    splat,
    store_16,
    store_all,
    zeros,
    zeros64,
)


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
    source: Int, height: Int, width: Int, channels: Int, target: Int, pitch: Int, pixel: Int, flip: Int
) -> None:  # fmt: skip
    """An image of bytes as int16, rows `pitch` and pixels `pixel` bytes apart."""
    turn, full = splat(flip), lanes(16)
    for i in range(height):
        for j in range(width):
            start, place = source + (i * width + j) * channels, target + i * pitch + j * pixel
            for c in range(0, channels, 16):
                store_16(place + 2 * c, (load_u8(start + c, lanes(channels - c)) ^ turn) - turn, full)


@inline
def _copy_g(
    source: Int, height: Int, width: Int, channels: Int, target: Int, pitch: Int, pixel: Int
) -> None:  # fmt: skip
    """An image of int16."""
    full = lanes(16)
    for i in range(height):
        for j in range(width):
            start, place = source + (i * width + j) * channels * 2, target + i * pitch + j * pixel
            for c in range(0, channels, 16):
                store_16(place + 2 * c, load_i16(start + 2 * c, lanes(channels - c)), full)


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
        _copy_x(x + n * size, height, width, channels, inside, pitch, pixel, flip)
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
        _copy_g(dz + n * size, out_h, out_w, channels, inside, pitch, pixel)
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
                    mask + place * masked, masked, below, shift, limit, g + place * 2, ahead, peak64,
                    saturated,
                )  # fmt: skip
            else:
                peak, saturated = finish_narrow(
                    sums, width, 0, blocks, channels, align, added, add_stride, add_channels, add_align,
                    mask + place * masked, masked, below, shift, limit, g + place * 2, ahead, peak,
                    saturated,
                )  # fmt: skip
        rejected += fold_sum(saturated)
        saturated = zeros()
        n = following
    return max(fold_max(peak), fold_max64(peak64)), rejected


def scratch_size(
    height: int, width: int, channels: int, out_h: int, out_w: int, kernel_h: int, kernel_w: int, padding_h: int,
    padding_w: int,
) -> int:  # fmt: skip
    """Bytes of scratch memory that each pass needs per thread."""
    blocks = -(-channels // 16)
    rows = max(height, out_h) + 2 * (kernel_h + padding_h)
    columns = max(width, out_w) + 2 * (kernel_w + padding_w)
    sums = max(max(width, out_w) + 2, kernel_h * kernel_w) * blocks * 64
    return 2 * rows * columns * blocks * 32 + sums + 1024
