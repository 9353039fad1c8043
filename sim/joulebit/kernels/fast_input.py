"""Input gradient of a convolution with 8-bit weights (spec, section 5): direct, sums in 32 bits.

With stride s, the input rows i with (i + padding) mod s = r meet only the kernel rows r, r + s, ...: their
gradient is a convolution of dz of stride 1 with those rows, turned around. So each of the s * s phases is a
call of the same tile (`dot.window_tile`) on one padded copy of dz. Rows of the result are masked,
added to the shortcut's gradient and requantised while their sums are in the first-level cache.

Kernels 3 wide at stride 1 take four products instead of six for two pixels side by side (Winograd's minimal
filtering F(2, 3), Lavin and Gray, CVPR 2016; `dot.coupled_tile`), exactly: a few rows at a time, where
|dz| <= 16383, so that sums of two fit 16 bits.

|sum| < 2^31 holds if no input channel has a sum of |w| above 65,535 (|dz| <= 2^15): `pack` returns the largest.
"""

from __future__ import annotations

import numpy as np

from joulebit.kernels.compile import called, kernel
from joulebit.kernels.dot import coupled_tile, sliding_tile, window_columns, window_rows, window_tile
from joulebit.kernels.packing import TURNED, turn_pairs
from joulebit.kernels.padding import copy_i16, fill, prefetch_part
from joulebit.kernels.portions import ahead_of_row, next_sample, samples_at_once
from joulebit.kernels.scalar import Int
from joulebit.kernels.vector import (
    add_halves,
    count_different,
    fetch_add,
    fold_max,
    fold_max64,
    fold_sum,
    keep,
    keep64,
    lanes,
    larger,
    larger64,
    larger_halves,
    load_all,
    load_i16,
    load_u8,
    narrow_saturating,
    prefetch,
    prefetch_write,
    smaller,
    smaller_halves,
    splat,
    splat64,
    splat_halves,
    store_16,
    store_all,
    store_i64,
    sub_halves,
    where_between,
    widen,
    zeros,
    zeros64,
)

MAX_WEIGHT_SUM = 65_535
_COUPLED = 16_383  #: the largest |dz| whose sums of two fit 16 bits; 2 * 65,535 * 16,383 < 2^31
_ROWS = 8  #: rows of g whose operands are held at a time, so that they stay in the first-level cache; even


@kernel
def pack(w: Int, packed: Int, stride: Int) -> Int:
    """Weights as `window_tile` reads them, phase after phase (row phase, then column phase).

    A phase is [block of 16 c_in][its kernel rows][its kernel columns][c_out / 2][16][2] int16, the last row and
    column first. w is contiguous; packed: flat, `packed_size` elements, the last ones for what is written behind
    the end. Returns the largest sum of |w| over an input channel.
    """
    kernel_h, kernel_w, c_in, c_out = w.shape
    pairs = (c_out + 1) // 2
    source, target = np.int64(w.ctypes.data), np.int64(packed.ctypes.data)
    for phase_h in range(stride):
        for phase_w in range(stride):
            for c in range(0, c_in, TURNED):
                for row in range(kernel_h - 1, -1, -1):
                    for column in range(kernel_w - 1, -1, -1):
                        if row % stride == phase_h and column % stride == phase_w:
                            weights = source + ((row * kernel_w + column) * c_in + c) * c_out
                            for k in range(0, c_out, 2 * TURNED):
                                turn_pairs(weights + k, c_out, c_in - c, c_out - k, target + 32 * k)
                            target += 64 * pairs
    largest = np.int64(0)
    for c in range(c_in):
        total = np.int64(0)
        for row in range(kernel_h):
            for column in range(kernel_w):
                for k in range(c_out):
                    total += abs(np.int64(w[row, column, c, k]))
        largest = max(largest, total)
    return largest


@kernel
def pack_coupled(packed: Int, kernel_h: Int, blocks: Int, pairs: Int, coupled: Int) -> None:
    """Weights of a kernel 3 wide as `coupled_tile` reads them, from those of `pack` at stride 1.

    Addresses; coupled: int16 [block of 16 c_in][2][kernel_h][c_out / 2][2][16][2].
    """
    for block in range(blocks):
        for tap in range(kernel_h):
            source = packed + (block * kernel_h + tap) * 3 * pairs * 64
            outer = coupled + (block * 2 * kernel_h + tap) * pairs * 128
            inner = outer + kernel_h * pairs * 128
            for k in range(pairs):
                first, last = load_all(source), load_all(source + 2 * pairs * 64)
                middle, both = load_all(source + pairs * 64), add_halves(first, last)
                store_all(outer + 128 * k, add_halves(both, middle))
                store_all(outer + 128 * k + 64, sub_halves(both, middle))
                store_all(inner + 128 * k, add_halves(first, first))
                store_all(inner + 128 * k + 64, sub_halves(zeros(), add_halves(last, last)))
                source += 64


@called
def _transform(image: Int, pitch: Int, rows: Int, couples: Int, size: Int, target: Int, part: Int) -> Int:
    """d0 - d2, d1 + d2, d2 - d1, d1 - d3 of four gradients side by side from every second on; whether they fit.

    Pixels have `size` bytes; results go to [rows][4][part bytes]. What is written above a pixel's channels is
    overwritten by what follows: the last channels are done first, and part is 64 bytes longer than it need be.
    """
    low, high = splat_halves(-_COUPLED), splat_halves(_COUPLED)
    top, bottom = zeros(), zeros()
    for i in range(rows):
        for c in range((size - 1) // 64 * 64, -1, -64):
            source, place = image + i * pitch + c, target + i * 4 * part + c
            d0, d1 = load_all(source), load_all(source + size)
            top, bottom = larger_halves(top, d0), smaller_halves(bottom, d0)
            top, bottom = larger_halves(top, d1), smaller_halves(bottom, d1)
            for _ in range(couples):
                source += 2 * size
                d2, d3 = load_all(source), load_all(source + size)
                top, bottom = larger_halves(top, d2), smaller_halves(bottom, d2)
                top, bottom = larger_halves(top, d3), smaller_halves(bottom, d3)
                store_all(place, sub_halves(d0, d2))
                store_all(place + part, add_halves(d1, d2))
                store_all(place + 2 * part, sub_halves(d2, d1))
                store_all(place + 3 * part, sub_halves(d1, d3))
                d0, d1 = d2, d3
                place += size
    outside = count_different(zeros(), top, smaller_halves(top, high))
    return fold_sum(count_different(outside, bottom, larger_halves(bottom, low))) == 0


@called
def finish_narrow(
    sums: Int, pixels: Int, first: Int, last: Int, channels: Int, align: Int, add: Int, add_stride: Int,
    add_channels: Int, add_align: Int, mask: Int, mask_step: Int, below: Int, shift: Int, limit: Int, g: Int,
    ahead: Int, peak: Int, saturated: Int,
) -> Int:  # fmt: skip
    """g = SAT(RND(v, shift)) for a row of pixels, v = (sum << align) + (add << add_align) where the mask passes.

    v fits 32 bits. sums: int32 [pixels][last - first][16], of the blocks of 16 channels from first to last - 1.
    add: address of the row of the shortcut's gradient, or 0. mask_step: 0 for no mask, else 1. ahead: bytes of g
    ahead of its use at which memory is asked for.
    """
    before, last_bit = splat(max(shift - 1, 0)), splat(1 if shift > 0 else 0)
    high, low = splat(limit), splat(-limit)
    left, add_left = splat(align), splat(add_align)
    none, top = zeros(), splat(below)
    for block in range(first, last):
        on = lanes(channels - 16 * block)
        added = lanes(min(channels, add_channels) - 16 * block)
        source, next_added = add + block * 32, (0 if add != 0 else pixels)
        for j in range(pixels):
            v = load_all(sums + (j * (last - first) + block - first) * 64) << left
            place = j * channels + block * 16
            prefetch(mask + (place + ahead // 2) * mask_step)
            prefetch_write(g + place * 2 + ahead)
            if j == next_added:
                prefetch(source + ahead)
                v = v + (load_i16(source, added) << add_left)
                source += add_channels * 2
                next_added += add_stride
            a = load_u8(mask + place * mask_step, on)
            v = keep(where_between(a, none, top), v)
            peak = larger(peak, larger(v, none - v))
            rounded = ((v >> before) + last_bit) >> last_bit
            q = smaller(larger(rounded, low), high)
            saturated = count_different(saturated, q, rounded)
            store_16(g + place * 2, q, on)
    return peak, saturated


@called
def finish_wide(
    sums: Int, pixels: Int, first: Int, last: Int, channels: Int, align: Int, add: Int, add_stride: Int,
    add_channels: Int, add_align: Int, mask: Int, mask_step: Int, below: Int, shift: Int, limit: Int, g: Int,
    ahead: Int, peak: Int, saturated: Int,
) -> Int:  # fmt: skip
    """As `finish_narrow` with v in 64 bits and alignments of either sign (negative ones round half up)."""
    left, right = splat64(max(align, 0)), splat64(max(-align, 0))
    half = splat64((np.int64(1) << max(-align, 0)) >> 1)
    add_left, add_right = splat64(max(add_align, 0)), splat64(max(-add_align, 0))
    add_half = splat64((np.int64(1) << max(-add_align, 0)) >> 1)
    whole, last_half = splat64(shift), splat64((np.int64(1) << shift) >> 1)
    high, low = splat(limit), splat(-limit)
    none, none64, top = zeros(), zeros64(), splat(below)
    for block in range(first, last):
        on = lanes(channels - 16 * block)
        added = lanes(min(channels, add_channels) - 16 * block)
        source, next_added = add + block * 32, (0 if add != 0 else pixels)
        for j in range(pixels):
            v = ((widen(load_all(sums + (j * (last - first) + block - first) * 64)) << left) + half) >> right
            place = j * channels + block * 16
            prefetch(mask + (place + ahead // 2) * mask_step)
            prefetch_write(g + place * 2 + ahead)
            if j == next_added:
                prefetch(source + ahead)
                u = widen(load_i16(source, added))
                v = v + (((u << add_left) + add_half) >> add_right)
                source += add_channels * 2
                next_added += add_stride
            a = load_u8(mask + place * mask_step, on)
            v = keep64(where_between(a, none, top), v)
            peak = larger64(peak, larger64(v, none64 - v))
            rounded = narrow_saturating((v + last_half) >> whole)
            q = smaller(larger(rounded, low), high)
            saturated = count_different(saturated, q, rounded)
            store_16(g + place * 2, q, on)
    return peak, saturated


@called
def _finish_raw(
    sums: Int, pixels: Int, first: Int, last: Int, channels: Int, mask: Int, mask_step: Int, below: Int, g: Int,
    peak: Int,
) -> Int:  # fmt: skip
    """g (int64) = the sums of a row of pixels where the mask passes, else 0."""
    none, top = zeros(), splat(below)
    for block in range(first, last):
        on = lanes(channels - 16 * block)
        for j in range(pixels):
            place = j * channels + block * 16
            prefetch_write(g + place * 8 + 4096)
            prefetch_write(g + place * 8 + 4160)
            a = load_u8(mask + place * mask_step, on)
            v = keep(where_between(a, none, top), load_all(sums + (j * (last - first) + block - first) * 64))
            peak = larger(peak, larger(v, none - v))
            store_i64(g + place * 8, widen(v), on)
    return peak


@kernel
def input_gradient(
    counter: Int, samples: Int, dz: Int, out_h: Int, out_w: Int, c_out: Int, packed: Int, coupled: Int,
    kernel_h: Int, kernel_w: Int, stride: Int, padding_h: Int, padding_w: Int, g: Int, height: Int, width: Int,
    c_in: Int, wide: Int, align: Int, add: Int, add_h: Int, add_w: Int, add_channels: Int, add_stride: Int,
    add_align: Int, mask: Int, masked: Int, below: Int, shift: Int, limit: Int, scratch: Int, records: Int,
    part: Int,
) -> tuple[Int, Int]:  # fmt: skip
    """`Engine.conv_input_gradient` on the samples that this thread draws from the counter; (peak, saturated).

    Addresses: counter (int64, shared by the threads), dz, packed, coupled (of `pack_coupled`; 0: none), g,
    add (0: none), mask (uint8; 16 bytes of 1 where masked is 0), scratch. below: bound of the mask, above 255 for
    none. wide: 1 where v may need 64 bits;
    2 for the masked sums themselves, g int64. records: int64 [samples][height][parts of `part` columns][2], peak
    and saturated elements of g, without add; or 0, part width.
    """
    blocks, pairs = (c_in + 15) // 16, (c_out + 1) // 2
    c_padded = pairs * 2
    margin_h, margin_w = (kernel_h - 1) // stride, (kernel_w - 1) // stride
    rows_held = margin_h + max(out_h, (height - 1 + padding_h) // stride + 1)
    columns_held = margin_w + max(out_w, (width - 1 + padding_w) // stride + 1)
    pitch = columns_held * c_padded * 2
    sums = scratch + (pitch * (rows_held + 2) + 16 * c_padded * 2 + 127) // 64 * 64
    pixel = blocks * 64
    sums_row = (width + 8 * stride) * pixel
    peak, saturated = zeros(), zeros()
    peak64 = zeros64()
    largest, rejected = np.int64(0), np.int64(0)
    step = c_padded * 2
    size = out_h * out_w * c_out * 2
    couples = (width + 1) // 2
    part_size = couples * step + 64
    operands = sums + 2 * (sums_row + 8 * pixel) + 64
    coupled_block = kernel_h * pairs * 256
    ahead = ahead_of_row(min(part, width) * c_in * 2)
    at_once = samples_at_once(samples, height * width * c_in * 2)
    n = at_once * fetch_add(counter, 1)
    if n < samples:
        fill(scratch, pitch * rows_held + 2 * step + 64, np.int64(0))  # `_transform` reads that far
    while n < samples:
        following = next_sample(counter, n, at_once)
        copy_i16(
            dz + n * size, out_h, out_w, c_out,
            scratch + margin_h * pitch + margin_w * step, pitch, c_padded,
        )  # fmt: skip
        together = False
        row_weights = packed
        for phase_h in range(stride):
            taps_h = (kernel_h - phase_h + stride - 1) // stride if phase_h < kernel_h else 0
            taps_all = np.int64(0)
            for phase_w in range(stride):
                if phase_w < kernel_w:
                    taps_all += (kernel_w - phase_w + stride - 1) // stride
            first_i = (phase_h - padding_h) % stride
            source_i = (first_i + padding_h - phase_h) // stride - taps_h + 1 + margin_h
            for i in range(first_i, height, 2 * stride):
                rows = 2 if i + stride < height else 1
                if phase_h == 0:
                    prefetch_part(dz + following * size, size, i - first_i, i - first_i + 2 * stride, height)
                top = scratch + (source_i + (i - first_i) // stride) * pitch
                if coupled != 0 and i % _ROWS == 0:
                    together = _transform(
                        top + padding_w * step, pitch, min(_ROWS, height - i) + kernel_h - 1, couples, step,
                        operands, part_size,
                    )  # fmt: skip
                weights = row_weights
                for phase_w in range(stride):
                    taps_w = (kernel_w - phase_w + stride - 1) // stride if phase_w < kernel_w else 0
                    first_j = (phase_w - padding_w) % stride
                    source_j = (first_j + padding_w - phase_w) // stride - taps_w + 1 + margin_w
                    run = taps_w * pairs
                    block_size = taps_h * run * 64
                    columns = (width - first_j + stride - 1) // stride
                    lone = blocks // 2 * 2
                    if together:
                        d = operands + i % _ROWS * 4 * part_size
                        for block in range(0, blocks - 1, 2):
                            for row in range(rows):
                                for j in range(0, width, window_columns(2)):
                                    coupled_tile(
                                        2, d + row * 4 * part_size + j // 2 * step, 0, part_size, step, kernel_h,
                                        4 * part_size, pairs, coupled + block * coupled_block, coupled_block,
                                        sums + row * sums_row + j * pixel + block * 64, 0, pixel,
                                    )  # fmt: skip
                        if lone < blocks:
                            for row in range(0, rows, window_rows(1)):
                                for j in range(0, width, window_columns(1)):
                                    coupled_tile(
                                        1, d + row * 4 * part_size + j // 2 * step, 4 * part_size, part_size, step,
                                        kernel_h, 4 * part_size, pairs, coupled + lone * coupled_block, 0,
                                        sums + row * sums_row + j * pixel + lone * 64, sums_row, pixel,
                                    )  # fmt: skip
                        continue
                    for block in range(0, blocks - 1, 2):
                        for row in range(rows):
                            for j in range(0, columns, window_columns(2)):
                                window_tile(
                                    0, 2, top + row * pitch + (source_j + j) * step, 0, step, taps_h, pitch, run,
                                    weights + block * block_size, block_size,
                                    sums + row * sums_row + (first_j + j * stride) * pixel + block * 64, 0,
                                    pixel * stride,
                                )  # fmt: skip
                    if blocks % 2 == 1:
                        block = blocks - 1
                        for row in range(0, rows, window_rows(1)):
                            for j in range(0, columns, window_columns(1)):
                                source = top + row * pitch + (source_j + j) * step
                                target = sums + row * sums_row + (first_j + j * stride) * pixel + block * 64
                                if taps_w == 3:
                                    sliding_tile(
                                        0, source, pitch, step, taps_h, pitch, pairs, weights + block * block_size,
                                        target, sums_row, pixel * stride,
                                    )  # fmt: skip
                                else:
                                    window_tile(
                                        0, 1, source, pitch, step, taps_h, pitch, run,
                                        weights + block * block_size, 0, target, sums_row, pixel * stride,
                                    )  # fmt: skip
                    weights += blocks * block_size
                for row in range(rows):
                    line = i + row * stride
                    place = (n * height + line) * width * c_in
                    added = np.int64(0)
                    if add != 0 and line % add_stride == 0 and line // add_stride < add_h:
                        added = add + (n * add_h + line // add_stride) * add_w * add_channels * 2
                    for first in range(0, width, part):
                        pixels = min(part, width - first)
                        start = place + first * c_in
                        own = sums + row * sums_row + first * pixel
                        if wide == 2:
                            peak = _finish_raw(
                                own, pixels, 0, blocks, c_in, mask + start * masked, masked, below, g + start * 8,
                                peak,
                            )  # fmt: skip
                        elif wide == 1:
                            peak64, saturated = finish_wide(
                                own, pixels, 0, blocks, c_in, align, added, add_stride, add_channels, add_align,
                                mask + start * masked, masked, below, shift, limit, g + start * 2,
                                ahead, peak64, saturated,
                            )  # fmt: skip
                        else:
                            peak, saturated = finish_narrow(
                                own, pixels, 0, blocks, c_in, align, added, add_stride, add_channels, add_align,
                                mask + start * masked, masked, below, shift, limit, g + start * 2,
                                ahead, peak, saturated,
                            )  # fmt: skip
                        if records != 0:
                            parts = (width + part - 1) // part
                            record = records + ((n * height + line) * parts + first // part) * 16
                            part_peak = max(fold_max(peak), fold_max64(peak64))
                            store_i64(record, splat64(part_peak), lanes(1))
                            store_i64(record + 8, splat64(fold_sum(saturated)), lanes(1))
                            rejected += fold_sum(saturated)
                            largest = max(largest, part_peak)
                            peak, saturated = zeros(), zeros()
                            peak64 = zeros64()
            row_weights += blocks * taps_h * taps_all * pairs * 64
        rejected += fold_sum(saturated)
        saturated = zeros()
        n = following
    return max(largest, fold_max(peak), fold_max64(peak64)), rejected


def packed_size(kernel_h: int, kernel_w: int, c_in: int, c_out: int) -> int:
    """Elements that `pack` needs."""
    return kernel_h * kernel_w * -(-c_in // 16) * -(-c_out // 2) * 32 + TURNED * 32


def scratch_size(
    out_h: int, out_w: int, c_out: int, kernel_h: int, kernel_w: int, stride: int, padding_h: int, padding_w: int,
    height: int, width: int, c_in: int,
) -> int:  # fmt: skip
    """Bytes of scratch memory that `input_gradient` needs per thread, what tiles read past dz included."""
    step = (c_out + 1) // 2 * 4
    rows = (kernel_h - 1) // stride + max(out_h, (height - 1 + padding_h) // stride + 1)
    columns = (kernel_w - 1) // stride + max(out_w, (width - 1 + padding_w) // stride + 1)
    image = columns * step * (rows + kernel_h + 4) + 32 * step + 256
    held = 4 * (-(-width // 2) * step + 64) * (_ROWS + kernel_h + 1) + 8 * step + 256
    operands = held if stride == 1 and kernel_w == 3 else 0
    return image + 2 * (width + 16 * stride) * -(-c_in // 16) * 64 + 256 + operands
