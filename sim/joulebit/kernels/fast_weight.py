"""Weight gradient of a convolution with 8-bit activations (spec, section 5): outer products of image pairs.

Two images are interleaved as pairs of 16-bit integers (x of image 2n beside x of image 2n + 1, dz likewise), so
that one instruction multiplies and adds both. For a kernel row the inputs of all kernel columns lie side by side
in memory (kernel_w * c_in of them): `dot.outer_tile` takes them 16 or 8 at a time. Sums of 32 bits are added to
64-bit totals before they could overflow, by a bound from the largest |dz| of each pair of images.

The predictor's operands (spec, section 6) are narrowed where they lie. Kernels 3 wide at stride 1 take
fewer products (`filtered_weight`); `collect` forms dw from either's sums.
"""

from __future__ import annotations

import numpy as np

from joulebit.kernels.compile import inline, kernel
from joulebit.kernels.dot import outer_channels, outer_columns, outer_tile
from joulebit.kernels.launch import INTERRUPTED, read_word, waits, write_word
from joulebit.kernels.padding import fill, prefetch_part
from joulebit.kernels.pairs import interleave_g, interleave_x, magnitudes, narrow_all
from joulebit.kernels.scalar import Int
from joulebit.kernels.vector import (
    count_different64,
    fetch_add,
    fold_sum,
    lanes,
    larger64,
    load_all,
    load_all64,
    smaller64,
    splat64,
    store_all,
    store_all64,
    store_i64,
    widen,
    zeros,
)

FULL = (1 << 31) - 1


@inline
def _interleave_x(
    first: Int, second: Int, both: Int, height: Int, length: Int, target: Int, pitch: Int, flip: Int
) -> None:
    """Rows of `length` bytes of two images as pairs, at rows `pitch` bytes apart."""
    whole, rest = length // 32, length % 32
    for i in range(height):
        a, b, place = first + i * length, second + i * length, target + i * pitch
        interleave_x(a, b, both, whole, 32, 32, flip, place, 128, 64)
        if rest > 0:
            a, b = a + 32 * whole, b + 32 * whole
            interleave_x(a, b, both, 1, 0, rest, flip, place + 128 * whole, 128, 64)


@inline
def _interleave_g(first: Int, second: Int, both: Int, pixels: Int, channels: Int, target: Int, size: Int) -> None:
    """dz of two images as pairs, `size` bytes per pixel: channels padded with zeros to a multiple of 16."""
    for c in range(0, channels, 32):
        some = min(channels - c, 32)
        interleave_g(first + 2 * c, second + 2 * c, both, pixels, 2 * channels, some, target + 4 * c, size, 64)


@inline
def flush(sums: Int, totals: Int, count: Int, first: Int) -> None:
    """totals (int64) += sums (int32), or = sums the first time; sums = 0. count is a multiple of 16."""
    none = zeros()
    for i in range(0, count, 16):
        total = widen(load_all(sums + 4 * i))
        if not first:
            total = total + load_all64(totals + 8 * i)
        store_all64(totals + 8 * i, total)
        store_all(sums + 4 * i, none)


@inline
def make_room(sums: Int, totals: Int, count: Int, mark: Int, need: Int) -> None:
    """Flush the sums if `need` more may not fit 32 bits; mark: int64 (bound on sums, whether totals are set)."""
    if read_word(mark) + need > FULL:
        flush_marked(sums, totals, count, mark)
    write_word(mark, read_word(mark) + need)


@inline
def flush_marked(sums: Int, totals: Int, count: Int, mark: Int) -> None:
    """`flush`, by and to the mark of `make_room`."""
    flush(sums, totals, count, read_word(mark + 8) == 0)
    write_word(mark, np.int64(0))
    write_word(mark + 8, np.int64(1))


@inline
def _outer_products(
    x: Int, x_row: Int, x_pixel: Int, x_tap: Int, taps: Int, run: Int, g: Int, g_row: Int, g_pixel: Int, rows: Int,
    columns: Int, blocks: Int, sums: Int,
) -> None:  # fmt: skip
    """Adds the products of rows x columns positions to all sums: of `taps` runs of inputs, x_tap apart."""
    groups_2 = (run + outer_channels(2) - 1) // outer_channels(2)
    groups_1 = (run + outer_channels(1) - 1) // outer_channels(1)
    place = sums
    for block in range(0, blocks - 1, 2):
        for tap in range(taps):
            source = x + tap * x_tap
            for _ in range(groups_2):
                outer_tile(
                    2, source, x_row, x_pixel, g + block * 64, g_row, g_pixel, rows, columns, place, g, 0, g, 0
                )  # fmt: skip
                source += outer_channels(2) * 4
                place += outer_channels(2) * 128
    if blocks % 2 == 1:
        for tap in range(taps):
            source = x + tap * x_tap
            for _ in range(groups_1):
                outer_tile(
                    1, source, x_row, x_pixel, g + (blocks - 1) * 64, g_row, g_pixel, rows, columns, place, g, 0,
                    g, 0,
                )  # fmt: skip
                source += outer_channels(1) * 4
                place += outer_channels(1) * 64


@kernel
def weight_gradient(
    counter: Int, samples: Int, x: Int, height: Int, width: Int, c_in: Int, flip: Int, x_limit: Int, exact: Int,
    x_shift: Int, x_low: Int, x_high: Int, dz: Int, out_h: Int, out_w: Int, c_out: Int, g_shift: Int,
    g_limit: Int, kernel_h: Int, kernel_w: Int, stride: Int, step: Int, padding_h: Int, padding_w: Int,
    scratch: Int, totals: Int, count: Int, apart: Int, box: Int, state: Int,
) -> Int:  # fmt: skip
    """Sums x * dz over the pairs of samples that this thread draws from the counter; 1 if there were any, else 0.

    When something `waits` in `box` it returns INTERRUPTED instead, and goes on at the next call from the `state`
    (address of an int64, 0 before the first call) that it left there.

    Addresses: counter (int64, shared by the threads), x, dz, scratch, totals (int64, `count` of them, set here
    if the thread draws any):
    for each two blocks of 16 output channels [kernel_h][groups of inputs][inputs][2][16], for a last single
    block [kernel_h][groups][inputs][16]. They are those of the exact operands unless `exact` is 0; then, `apart`
    bytes further if both are wanted, those of the predictor's unless x_shift is -1. x_limit: the largest |x|.
    stride is that of the rows, step that of the columns.
    """
    blocks, run, predicted = (c_out + 15) // 16, kernel_w * c_in, np.int64(x_shift >= 0)
    x_size, g_size = height * width * c_in, out_h * out_w * c_out * 2
    x_pixel, g_pixel = c_in * 4, blocks * 64
    pitch = (width + 2 * padding_w) * x_pixel
    resumed = read_word(state) != 0
    n = read_word(state) - 1 if resumed else 2 * fetch_add(counter, 1)
    if n >= samples:
        return 0
    marks = scratch + (exact + predicted) * count * 4
    image = marks + (exact + predicted) * 64
    image_size = pitch * (height + 2 * padding_h)
    gradient = image + (image_size + 2 * x_pixel + 127 + outer_channels(1) * 4) // 64 * 64
    columns_held = min(out_w, 128)  # 2 * 128 * 255 * 2^15 < 2^31: the products of 128 positions always fit
    rows_held = max(1, min(out_h, 128 // columns_held))
    if not resumed:
        fill(scratch, image + image_size - scratch, np.int64(0))
    while n < samples:
        following = 2 * fetch_add(counter, 1)
        both = np.int64(n + 1 < samples)
        a, b = x + n * x_size, dz + n * g_size
        inside = image + padding_h * pitch + padding_w * x_pixel
        _interleave_x(a, a + x_size * both, both, height, width * c_in, inside, pitch, flip)
        _interleave_g(b, b + g_size * both, both, out_h * out_w, c_out, gradient, g_pixel)
        for product in range(exact + predicted):
            largest_x = x_limit
            if product >= exact:
                largest_x = max(x_high, -x_low)
                narrow_all(image, image, image_size, x_shift, x_low, x_high)
                narrow_all(gradient, gradient, out_h * out_w * g_pixel, g_shift, -g_limit, g_limit)
            sums, total, mark = scratch + product * count * 4, totals + product * apart, marks + product * 64
            largest_g, sum_g = magnitudes(gradient, out_h * out_w, blocks)
            whole = sum_g * largest_x < FULL  # the products of all positions fit together
            if whole:
                make_room(sums, total, count, mark, sum_g * largest_x)
            for i in range(0, out_h, rows_held):
                rows = min(rows_held, out_h - i)
                if product == 0:
                    prefetch_part(x + following * x_size, 2 * x_size, i, i + rows, out_h)
                    prefetch_part(dz + following * g_size, 2 * g_size, i, i + rows, out_h)
                for j in range(0, out_w, columns_held):
                    columns = min(columns_held, out_w - j)
                    if not whole:
                        make_room(sums, total, count, mark, 2 * rows * columns * largest_x * largest_g)
                    _outer_products(
                        image + i * stride * pitch + j * step * x_pixel, stride * pitch, step * x_pixel, pitch,
                        kernel_h, run, gradient + (i * out_w + j) * g_pixel, out_w * g_pixel, g_pixel, rows,
                        columns, blocks, sums,
                    )  # fmt: skip
        n = following
        if n < samples and waits(box):
            write_word(state, n + 1)
            return INTERRUPTED
    for product in range(exact + predicted):
        flush_marked(scratch + product * count * 4, totals + product * apart, count, marks + product * 64)
    return 1


@inline
def _total(totals: Int, threads: Int, size: Int) -> Int:
    """The sum over all threads of 16 totals; a thread's are `size` bytes after those of the one before."""
    total = load_all64(totals)
    for thread in range(1, threads):
        total = total + load_all64(totals + thread * size)
    return total


@inline
def _third(value: Int) -> Int:
    """value / 3 for multiples of 3: times the inverse of 3 modulo 2^64."""
    return value * splat64(-6148914691236517205)


@kernel
def collect(
    counter: Int, totals: Int, threads: Int, count: Int, dw: Int, kernel_h: Int, kernel_w: Int, c_in: Int,
    c_out: Int, products: Int, limit: Int,
) -> Int:  # fmt: skip
    """dw[kernel_h, kernel_w, c_in, c_out] = the sums of all threads' totals [threads, count], within +-limit.

    Of the blocks of 16 output channels and the kernel rows that this thread draws from the counter; returns how
    many sums were out of the limits.
    """
    blocks, run, size = (c_out + 15) // 16, (1 if products > 1 else kernel_w) * c_in, count * 8
    width_2 = (run + outer_channels(2) - 1) // outer_channels(2) * outer_channels(2)
    width_1 = (run + outer_channels(1) - 1) // outer_channels(1) * outer_channels(1)
    high, low, outside = splat64(limit), splat64(-limit), zeros()
    one, two, three = splat64(1), splat64(2), splat64(3)
    task = fetch_add(counter, 1)
    while task < blocks * kernel_h:
        block, row = task // kernel_h, task % kernel_h
        paired = block // 2 * 2 + 1 < blocks
        step = 256 if paired else 128  # bytes from an input channel to the next
        length = (width_2 if paired else width_1) * step
        part = kernel_h * length
        start = totals + block // 2 * products * kernel_h * width_2 * 256 + row * length + block % 2 * 128
        on = lanes(c_out - block * 16)
        for c in range(c_in):
            for column in range(kernel_w):
                place = start + c * step
                if products == 1:
                    value = _total(place + column * c_in * step, threads, size)
                elif products == 4:
                    m1, m2 = _total(place + part, threads, size), _total(place + 2 * part, threads, size)
                    if column == 1:
                        value = (m1 - m2) >> one
                    else:
                        last = _total(place + (0 if column == 0 else 3 * part), threads, size)
                        value = ((m1 + m2) >> one) + last
                else:
                    m1, m2 = _total(place + part, threads, size), _total(place + 2 * part, threads, size)
                    m3, m4 = _total(place + 3 * part, threads, size), _total(place + 4 * part, threads, size)
                    if column == 0:
                        m0 = _total(place, threads, size)
                        value = _third((splat64(6) * m0 - ((m1 + m2) << two) + m3 + m4) >> three)
                    elif column == 1:
                        value = _third((((m2 - m1) << two) + ((m3 - m4) << one)) >> three)
                    else:
                        last = _total(place + 5 * part, threads, size)
                        value = _third(((m3 + m4 - m1 - m2) << two) >> three) + last
                kept = larger64(smaller64(value, high), low)
                outside = outside + count_different64(value, kept, on)
                store_i64(dw + (((row * kernel_w + column) * c_in + c) * c_out + block * 16) * 8, kept, on)
        task = fetch_add(counter, 1)
    return fold_sum(outside)


def products_of(
    kernel_w: int, stride: int, c_in: int, c_out: int, out_w: int, x_limit: int, g_limit: int
) -> int:  # fmt: skip
    """How many products stand for some positions side by side: 6 for four, 4 for two, or 1 for each.

    x_limit, g_limit: the largest |x| and |dz|. Six need gradients whose weighted sums (1, 2, 4, 8) fit 16 bits,
    and products of 128 places that fit 32.
    """
    if kernel_w != 3 or stride != 1 or c_in % 16 or c_out % 16 or out_w < 4:
        return 1
    fits = 15 * g_limit < 1 << 15 and 256 * 10 * x_limit * 15 * g_limit <= FULL
    return 6 if fits else 4


def sums_count(kernel_h: int, kernel_w: int, c_in: int, c_out: int, products: int) -> int:
    """Number of sums that a thread keeps, unused lanes and channels included."""
    blocks, run = -(-c_out // 16), (products if products > 1 else kernel_w) * c_in
    pairs = blocks // 2 * -(-run // outer_columns(2)) * outer_columns(2) * 32
    single = blocks % 2 * -(-run // outer_columns(1)) * outer_columns(1) * 16
    return kernel_h * (pairs + single)


def scratch_size(
    height: int, width: int, c_in: int, out_h: int, out_w: int, c_out: int, padding_h: int, padding_w: int,
    count: int, products: int,
) -> int:  # fmt: skip
    """Bytes of scratch memory that `weight_gradient` needs per thread; products: 1, or 2 for both.

    What tiles read past x is included.
    """
    image = ((width + 2 * padding_w) * (height + 2 * padding_h) + 2) * c_in * 4 + 64 * 4
    return products * (4 * count + 64) + image + out_h * out_w * -(-c_out // 16) * 64 + 512
