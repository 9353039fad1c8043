"""Input gradient of a convolution of stride 1 with few input channels, in vectors of kernel columns by channels.

`fast_input` gives a lane to each input channel, and most lanes nothing to do where there are few. Here a vector
holds the channels of all columns of the kernel, [kernel_w][c_in]: first, for every column j of dz and every row of
the input, its products with all kernel columns are summed over kernel rows and output channels,

    part[j][column][c] = sum over row, k of dz[i + padding_h - row][j][k] * w[row][column][c][k],

and then each pixel adds up what the columns contribute: g[i][j][c] = sum over column of
part[j + padding_w - column][column][c]. The first is a convolution kernel_h high and 1 wide; its steps count.
"""

from __future__ import annotations

import numpy as np

from joulebit.kernels.compile import inline, kernel
from joulebit.kernels.dot import window_columns, window_rows, window_tile
from joulebit.kernels.fast_input import finish_narrow, finish_wide
from joulebit.kernels.padding import copy_i16, fill, prefetch_part
from joulebit.kernels.portions import ahead_of_row, next_sample, samples_at_once
from joulebit.kernels.scalar import Int
from joulebit.kernels.vector import (
    fetch_add,
    fold_max,
    fold_max64,
    fold_sum,
    load_all,
    store_all,
    zeros,
    zeros64,
)


@inline
def _add_columns(parts: Int, pixel: Int, kernel_w: Int, c_in: Int, width: Int, sums: Int) -> None:
    """sums[width][c_in] int32 from the parts, whose first is that of column 0 for pixel 0.

    Vectors are written whole: what is above a pixel's channels is overwritten by the next ones, or unused.
    """
    for j in range(width):
        part = parts + j * pixel
        total = load_all(part)
        for _ in range(kernel_w - 1):
            part += 4 * c_in - pixel
            total = total + load_all(part)
        store_all(sums + 4 * j * c_in, total)


@kernel
def input_gradient(
    counter: Int, samples: Int, dz: Int, out_h: Int, out_w: Int, c_out: Int, packed: Int, kernel_h: Int,
    kernel_w: Int, padding_h: Int, padding_w: Int, g: Int, height: Int, width: Int, c_in: Int, wide: Int,
    align: Int, add: Int, add_h: Int, add_w: Int, add_channels: Int, add_stride: Int, add_align: Int, mask: Int,
    masked: Int, below: Int, shift: Int, limit: Int, scratch: Int,
) -> tuple[Int, Int]:  # fmt: skip
    """`fast_input.input_gradient` for stride 1 and at most 16 input channels.

    packed: of `fast_input.pack` for the weights as [kernel_h, 1, kernel_w * c_in, c_out]. add: of g's shape, or 0.
    """
    lanes_used = kernel_w * c_in
    blocks, pairs = (lanes_used + 15) // 16, (c_out + 1) // 2
    step, pixel = 4 * pairs, 64 * blocks
    block_size = kernel_h * pairs * 64
    columns = (out_w + window_columns(1) - 1) // window_columns(1) * window_columns(1)
    pitch = columns * step
    outside = max(0, padding_h - kernel_h + 1)  # rows of dz that meet no input
    margin = max(0, kernel_h - 1 - padding_h)
    rows = margin + max(out_h, outside + height + kernel_h - 1)
    parts = scratch + (pitch * (rows + 1) + 127) // 64 * 64
    before = kernel_w - 1  # parts of no column of dz, on both sides
    parts_row = (before + max(columns, width + padding_w) + 1) * pixel
    sums = parts + 2 * parts_row + 64
    size, row_size = out_h * out_w * c_out * 2, width * c_in
    row_blocks = (row_size + 15) // 16
    ahead = ahead_of_row(2 * row_size)
    peak, saturated = zeros(), zeros()
    peak64 = zeros64()
    rejected = np.int64(0)
    at_once = samples_at_once(samples, height * width * c_in * 2)
    n = at_once * fetch_add(counter, 1)
    if n < samples:
        fill(scratch, pitch * (rows + 1), np.int64(0))
        fill(parts, 2 * parts_row, np.int64(0))
    while n < samples:
        following = next_sample(counter, n, at_once)
        copy_i16(dz + n * size, out_h, out_w, c_out, scratch + margin * pitch, pitch, 2 * pairs)
        for i in range(0, height, 2):
            rows_now = min(2, height - i)
            prefetch_part(dz + following * size, size, i, i + 2, height)
            top = scratch + (outside + i) * pitch
            for block in range(0, blocks - 1, 2):
                for row in range(rows_now):
                    for j in range(0, columns, window_columns(2)):
                        window_tile(
                            0, 2, top + row * pitch + j * step, 0, step, kernel_h, pitch, pairs,
                            packed + block * block_size, block_size,
                            parts + row * parts_row + (before + j) * pixel + block * 64, 0, pixel,
                        )  # fmt: skip
            if blocks % 2 == 1:
                lone = packed + (blocks - 1) * block_size
                for row in range(0, rows_now, window_rows(1)):
                    for j in range(0, columns, window_columns(1)):
                        window_tile(
                            0, 1, top + row * pitch + j * step, pitch, step, kernel_h, pitch, pairs, lone, 0,
                            parts + row * parts_row + (before + j) * pixel + (blocks - 1) * 64, parts_row, pixel,
                        )  # fmt: skip
            for row in range(rows_now):
                first = parts + row * parts_row + (before + padding_w) * pixel
                _add_columns(first, pixel, kernel_w, c_in, width, sums)
                place = (n * height + i + row) * row_size
                added = add + 2 * place if add != 0 else np.int64(0)
                if wide != 0:
                    peak64, saturated = finish_wide(
                        sums, 1, 0, row_blocks, row_size, align, added, 1, row_size, add_align,
                        mask + place * masked, masked, below, shift, limit, g + 2 * place, ahead, peak64,
                        saturated,
                    )  # fmt: skip
                else:
                    peak, saturated = finish_narrow(
                        sums, 1, 0, row_blocks, row_size, align, added, 1, row_size, add_align,
                        mask + place * masked, masked, below, shift, limit, g + 2 * place, ahead, peak,
                        saturated,
                    )  # fmt: skip
        rejected += fold_sum(saturated)
        saturated = zeros()
        n = following
    return max(fold_max(peak), fold_max64(peak64)), rejected


def suits(kernel_w: int, stride: int, c_in: int) -> bool:
    """Whether it takes at most half of the steps of a kernel with a lane for each input channel."""
    return stride == 1 and c_in <= 16 and 2 * -(-kernel_w * c_in // 16) <= kernel_w


def scratch_size(
    out_h: int, out_w: int, c_out: int, kernel_h: int, kernel_w: int, padding_h: int, padding_w: int, height: int,
    width: int, c_in: int,
) -> int:  # fmt: skip
    """Bytes of scratch memory that `input_gradient` needs per thread, what tiles read past dz included."""
    rows, columns = max(out_h, height) + kernel_h + padding_h + 3, max(out_w, width) + kernel_w + padding_w + 16
    pixel = -(-kernel_w * c_in // 16) * 64
    return rows * columns * -(-c_out // 2) * 4 + 2 * columns * pixel + 4 * width * c_in + 1024
