"""Forward convolution of 8-bit activations and weights (spec, section 4): direct, sums in 32 bits.

The image is copied once, with its border, to scratch memory. Then for every two rows of the output the sums of
all channels are made in tiles (`dot.window_tile`) and requantised while they are in the first-level cache. The
inputs of a kernel row, columns by channels, lie side by side in memory: tiles take them four bytes at a time.
Signed activations are stored as x + 128 with a border of 128; the excess 128 * (sum of the weights) is
subtracted from the sums. |sum| < 2^31 needs a reduction length of at most 66,311 (255 * 127 each).
"""

from __future__ import annotations

import numpy as np

from joulebit.kernels.compile import called, kernel
from joulebit.kernels.dot import sliding_tile, window_columns, window_rows, window_tile
from joulebit.kernels.padding import copy_u8, fill, prefetch_part
from joulebit.kernels.portions import ahead_of_row, next_sample, samples_at_once
from joulebit.kernels.scalar import Int
from joulebit.kernels.vector import (
    count_different,
    fetch_add,
    fold_max,
    fold_sum,
    lanes,
    larger,
    load_all,
    load_all64,
    prefetch_write,
    smaller,
    splat,
    splat64,
    store_16,
    store_all64,
    store_i64,
    widen,
    zeros,
)

MAX_REDUCTION = 66_311
MAX_ROW = 32_767  #: pixels of z whose statistics are summed in 32 bits


@called
def finish_row(
    sums: Int, pixels: Int, first: Int, last: Int, channels: Int, excess: Int, shift: Int, z: Int, total: Int,
    squares: Int, ahead: Int, peak: Int, saturated: Int,
) -> Int:  # fmt: skip
    """z = SAT16(RND(sum - excess, shift)) for a row of at most MAX_ROW pixels, and its statistics; shift 0..31.

    sums: int32 [pixels][last - first][16], of the blocks of 16 channels from first to last - 1. ahead: bytes ahead
    of its use at which memory of z is asked for. RND(v, s) is ((v >> s - 1) + 1) >> 1, which cannot overflow.
    Halves of the squares are summed apart: they fit.
    """
    before, last_bit = splat(max(shift - 1, 0)), splat(1 if shift > 0 else 0)
    high, low = splat(32767), splat(-32767)
    none, sixteen, low_half, sixteen64 = zeros(), splat(16), splat(65535), splat64(16)
    for block in range(first, last):
        mask = lanes(channels - 16 * block)
        over = load_all(excess + 64 * block)
        plain_total, squares_low, squares_high = zeros(), zeros(), zeros()
        for j in range(pixels):
            prefetch_write(z + (j * channels + block * 16) * 2 + ahead)
            v = load_all(sums + (j * (last - first) + block - first) * 64) - over
            peak = larger(peak, larger(v, none - v))
            rounded = ((v >> before) + last_bit) >> last_bit
            q = smaller(larger(rounded, low), high)
            saturated = count_different(saturated, q, rounded)
            store_16(z + (j * channels + block * 16) * 2, q, mask)
            plain_total = plain_total + q
            square = q * q
            squares_low = squares_low + (square & low_half)
            squares_high = squares_high + (square >> sixteen)
        store_all64(total + 128 * block, load_all64(total + 128 * block) + widen(plain_total))
        whole = (widen(squares_high) << sixteen64) + widen(squares_low)
        store_all64(squares + 128 * block, load_all64(squares + 128 * block) + whole)
    return peak, saturated


@kernel
def forward(
    counter: Int, samples: Int, x: Int, height: Int, width: Int, c_in: Int, flip: Int, packed: Int, excess: Int,
    kernel_h: Int, kernel_w: Int, stride: Int, step: Int, padding_h: Int, padding_w: Int, z: Int, out_h: Int,
    out_w: Int, c_out: Int, shift: Int, scratch: Int, statistics: Int, records: Int, part: Int,
) -> tuple[Int, Int]:  # fmt: skip
    """`Engine.conv_forward` on the samples that this thread draws from the counter; (peak, saturated).

    stride is that of the rows, step that of the columns.
    Addresses: counter (int64, shared by the threads), x, packed, excess, z, scratch, statistics (int64
    [2][blocks * 16], zeros: sums of z and of its squares). flip: 128 for signed x, else 0. records:
    int64 [samples][out_h][parts of `part` columns][2], peak and saturated elements of z; or 0, part out_w.
    """
    blocks = (c_out + 15) // 16
    pitch = (width + 2 * padding_w) * c_in
    padded_h = height + 2 * padding_h
    size = height * width * c_in
    image = scratch
    x_pixel = step * c_in
    run = (kernel_w * c_in + 3) // 4
    sums = scratch + (pitch * (padded_h + 2 * stride) + 16 * x_pixel + 4 * run + 127) // 64 * 64
    pixel = blocks * 64
    sums_row = (out_w + 8) * pixel
    block_size = kernel_h * run * 64
    squares = statistics + blocks * 128
    peak, saturated = zeros(), zeros()
    largest, rejected = zeros(), np.int64(0)
    ahead = ahead_of_row(min(part, out_w) * c_out * 2)
    at_once = samples_at_once(samples, out_h * out_w * c_out * 2)
    n = at_once * fetch_add(counter, 1)
    if n < samples:
        fill(image, pitch * padded_h, np.int64(flip * 0x01010101))
    while n < samples:
        following = next_sample(counter, n, at_once)
        inside = image + padding_h * pitch + padding_w * c_in
        copy_u8(x + n * size, height, width * c_in, inside, pitch, flip)
        for i in range(0, out_h, 2):
            rows = min(2, out_h - i)
            top = image + i * stride * pitch
            prefetch_part(x + following * size, size, i, i + 2, out_h)
            for block in range(0, blocks - 1, 2):
                for row in range(rows):
                    for j in range(0, out_w, window_columns(2)):
                        window_tile(
                            1, 2, top + row * stride * pitch + j * x_pixel, 0, x_pixel,
                            kernel_h, pitch, run, packed + block * block_size, block_size,
                            sums + row * sums_row + j * pixel + block * 64, 0, pixel,
                        )  # fmt: skip
            if blocks % 2 == 1:
                block = blocks - 1
                for row in range(0, rows, window_rows(1)):
                    for j in range(0, out_w, window_columns(1)):
                        source = top + row * stride * pitch + j * x_pixel
                        place = sums + row * sums_row + j * pixel + block * 64
                        if kernel_w == 3 and stride == 1 and step == 1 and c_in % 4 == 0:
                            sliding_tile(
                                1, source, pitch, c_in, kernel_h, pitch, c_in // 4,
                                packed + block * block_size, place, sums_row, pixel,
                            )  # fmt: skip
                        else:
                            window_tile(
                                1, 1, source, stride * pitch, x_pixel, kernel_h, pitch, run,
                                packed + block * block_size, 0, place, sums_row, pixel,
                            )  # fmt: skip
            for row in range(rows):
                line = n * out_h + i + row
                for first in range(0, out_w, part):
                    peak, saturated = finish_row(
                        sums + row * sums_row + first * pixel, min(part, out_w - first), 0, blocks, c_out, excess,
                        shift, z + (line * out_w + first) * c_out * 2, statistics, squares, ahead, peak,
                        saturated,
                    )  # fmt: skip
                    if records != 0:
                        record = records + (line * ((out_w + part - 1) // part) + first // part) * 16
                        store_i64(record, splat64(fold_max(peak)), lanes(1))
                        store_i64(record + 8, splat64(fold_sum(saturated)), lanes(1))
                        rejected += fold_sum(saturated)
                        largest = larger(largest, peak)
                        peak, saturated = zeros(), zeros()
        rejected += fold_sum(saturated)
        saturated = zeros()
        n = following
    return fold_max(larger(largest, peak)), rejected


def scratch_size(
    height: int, width: int, c_in: int, kernel_h: int, kernel_w: int, stride: int, step: int, padding_h: int,
    padding_w: int, out_w: int, c_out: int,
) -> int:  # fmt: skip
    """Bytes of scratch memory that `forward` needs per thread, what tiles read past the image included."""
    pitch = (width + 2 * padding_w) * c_in
    image = pitch * (height + 2 * padding_h + 2 * stride + kernel_h) + (16 * step + 2 * kernel_w) * c_in + 256
    return image + 2 * (out_w + 16) * -(-c_out // 16) * 64 + 256
