"""Weight gradient of a convolution 3 wide at stride 1 by minimal filtering (`minimal_filtering`).

The transformed operands of some rows, or of some pairs of small images, lie in scratch memory that stays in the
cache, 16 channels after another: `dot.outer_tile` runs over all their positions before it stores its sums.
"""

from __future__ import annotations

import numpy as np

from joulebit.kernels.compile import inline, kernel
from joulebit.kernels.dot import outer_channels, outer_tile
from joulebit.kernels.fast_weight import FULL, flush
from joulebit.kernels.launch import INTERRUPTED, read_word, waits, write_word
from joulebit.kernels.minimal_filtering import PART, transform_g, transform_g_6, transform_x, transform_x_6
from joulebit.kernels.padding import fill
from joulebit.kernels.pairs import count_magnitude, narrowed
from joulebit.kernels.scalar import Int
from joulebit.kernels.vector import (
    fetch_add,
    fold_max,
    fold_min_halves,
    lanes,
    larger,
    pairs_i16,
    zeros,
)

HELD = 128  #: couples or quads of positions that are held at once, if a row is no longer


@inline
def _magnitudes(
    first: Int, second: Int, both: Int, pixels: Int, channels: Int, shift: Int, limit: Int
) -> tuple[Int, Int]:
    """The largest |dz| of two images (both: 0 if there is no second), and the largest sum of |dz| over a channel.

    As `pairs.magnitudes`; with shift >= 0 dz is narrowed to +-limit after RND(dz, shift).
    """
    none = zeros()
    lowest, totals = none, none
    for c in range(0, channels, 16):
        on, other = lanes(channels - c), lanes((channels - c) * both)
        total = none
        for place in range(2 * c, 2 * pixels * channels, 2 * channels):
            value = narrowed(pairs_i16(first + place, second + place, on, other), shift, -limit, limit)
            lowest, total = count_magnitude(value, lowest, total)
        totals = larger(totals, none - total)
    return -fold_min_halves(lowest), fold_max(totals)


@inline
def _transform_x(
    first: Int, second: Int, both: Int, height: Int, width: Int, channels: Int, flip: Int, shift: Int, low: Int,
    high: Int, padding: Int, products: Int, units: Int, target: Int, group: Int, part: Int,
) -> None:  # fmt: skip
    """Rows of x, transformed: [products, `part` apart][blocks of 16 channels, `group` apart][rows][units][16]."""
    for row in range(height):
        for c in range(0, channels, 16):
            a, b = first + row * width * channels + c, second + row * width * channels + c
            place = target + c // 16 * group + row * units * 64
            if products == 4:
                transform_x(a, b, both, width, channels, flip, shift, low, high, padding, units, place, part)
            else:
                transform_x_6(a, b, both, width, channels, flip, shift, low, high, padding, units, place, part)


@inline
def _transform_g(
    first: Int, second: Int, both: Int, rows: Int, width: Int, channels: Int, shift: Int, limit: Int,
    products: Int, units: Int, turn: Int, clamped: Int, target: Int, group: Int, part: Int,
) -> None:  # fmt: skip
    """Rows of dz, transformed: [products, `part` apart][blocks, two in `group` bytes][rows][units][2 or 1][16]."""
    blocks = channels // 16
    for block in range(blocks):
        step = np.int64(128 if block // 2 * 2 + 1 < blocks else 64)
        for row in range(rows):
            start = (row * width * channels + 16 * block) * 2
            a, b = first + start, second + start
            place = target + block // 2 * group + block % 2 * 64 + row * units * step
            if products == 4:
                transform_g(
                    a, b, both, width, channels, shift, limit, units, turn, clamped, place, step, part
                )  # fmt: skip
            else:
                transform_g_6(a, b, both, width, channels, shift, limit, units, place, step, part)


@inline
def _outer_products(
    x: Int, x_image: Int, x_part: Int, x_group: Int, x_tap: Int, taps: Int, c_in: Int, g: Int, g_image: Int,
    g_part: Int, g_group: Int, blocks: Int, products: Int, images: Int, unit: Int, units: Int, sums: Int,
    next_x: Int, x_bytes: Int, next_g: Int, g_bytes: Int,
) -> None:  # fmt: skip
    """Adds the products of `units` places, from place `unit` on, of some pairs of images to all sums.

    Meanwhile x_bytes and g_bytes of the next operands are fetched.
    """
    tiles = (blocks // 2 * (16 // outer_channels(2)) + blocks % 2 * (16 // outer_channels(1))) * c_in // 16
    tiles *= products * taps
    x_step, g_step = x_bytes // (tiles * images * units) + 1, g_bytes // (tiles * images * units) + 1
    place = sums
    for pair in range(blocks // 2):
        for part in range(products):
            for tap in range(taps):
                source = x + part * x_part + tap * x_tap + unit * 64
                for c in range(0, c_in, outer_channels(2)):
                    outer_tile(
                        2, source + c // 16 * x_group + c % 16 * 4, x_image, 64,
                        g + part * g_part + pair * g_group + unit * 128, g_image, 128, images, units, place,
                        next_x, x_step, next_g, g_step,
                    )  # fmt: skip
                    place += outer_channels(2) * 128
                    next_x += x_step * images * units
                    next_g += g_step * images * units
    if blocks % 2 == 1:
        for part in range(products):
            for tap in range(taps):
                source = x + part * x_part + tap * x_tap + unit * 64
                for c in range(0, c_in, outer_channels(1)):
                    outer_tile(
                        1, source + c // 16 * x_group + c % 16 * 4, x_image, 64,
                        g + part * g_part + blocks // 2 * g_group + unit * 64, g_image, 64, images, units, place,
                        next_x, x_step, next_g, g_step,
                    )  # fmt: skip
                    place += outer_channels(1) * 64
                    next_x += x_step * images * units
                    next_g += g_step * images * units


@kernel
def weight_gradient(
    counter: Int, samples: Int, pairs: Int, x: Int, height: Int, width: Int, c_in: Int, flip: Int, x_shift: Int,
    x_low: Int, x_high: Int, dz: Int, out_h: Int, out_w: Int, c_out: Int, g_shift: Int, g_limit: Int,
    kernel_h: Int, padding_h: Int, padding_w: Int, products: Int, scratch: Int, totals: Int, count: Int,
    apart: Int, box: Int, state: Int,
) -> Int:  # fmt: skip
    """`fast_weight.weight_gradient` of a kernel 3 wide at stride 1, of channels that are multiples of 16.

    products: 4 for two positions or 6 for four (see `fast_weight.products_of`); there are as many arrays of sums
    for each block, and a tap has c_in inputs. pairs: of images that a thread draws at once, see `pairs_at_once`.
    apart is not used: one product is formed.
    """
    blocks, per = c_out // 16, products - 2
    across = (out_w + per - 1) // per  # couples or quads of a row
    rows_held = max(np.int64(1), min(out_h, HELD // across))
    x_size, g_size = height * width * c_in, out_h * out_w * c_out * 2
    x_row, g_row = width * c_in, out_w * c_out * 2
    x_group = (height + 2 * padding_h) * across * 64
    x_part = c_in // 16 * x_group
    g_group = rows_held * across * 128
    g_part = rows_held * across * blocks * 64
    x_image, g_image = products * x_part, products * g_part
    resumed = read_word(state) != 0
    n = read_word(state) - 1 if resumed else 2 * pairs * fetch_add(counter, 1)
    if n >= samples:
        return 0
    sums = scratch
    inputs = sums + count * 4
    gradients = inputs + pairs * x_image
    largest_x = max(x_high, -x_low) * (2 if products == 4 else 10)
    first, used = read_word(state + 8) == 0, read_word(state + 16)
    if not resumed:
        fill(sums, count * 4, np.int64(0))
        fill(inputs, pairs * x_image, np.int64(0))
    while n < samples:
        following = 2 * pairs * fetch_add(counter, 1)
        images = min(pairs, (samples - n + 1) // 2)
        largest_g, sum_g = np.int64(0), np.int64(0)
        for image in range(images):
            both = np.int64(n + 2 * image + 1 < samples)
            a = dz + (n + 2 * image) * g_size
            if products == 4:
                largest, total = _magnitudes(a, a + g_size, both, out_h * out_w, c_out, g_shift, g_limit)
                largest_g, sum_g = max(largest_g, largest), sum_g + total
            else:
                largest_g, sum_g = 15 * g_limit, sum_g + 2 * out_h * across * 15 * g_limit
        whole = sum_g * largest_x <= FULL  # the products of all positions, of all parts, fit together
        parts = max(np.int64(1), (largest_g + PART - 1) // PART) if products == 4 else np.int64(1)
        # the products of a place, and how many of them fit 32 bits in any case
        one, fitting = 2 * largest_x * largest_g, np.int64(HELD)
        if products == 4:
            one, fitting = min(2 * one, 4 * largest_x * PART), np.int64(HELD // 2)
        for part in range(parts):
            ready = np.int64(0)  # rows of the inputs' transform; those below are formed when they are needed
            for i in range(0, out_h, rows_held):
                rows = min(rows_held, out_h - i)
                if part > 0:  # few gradients are so large
                    beyond = np.int64(0)
                    for image in range(images):
                        both = np.int64(n + 2 * image + 1 < samples)
                        a = dz + (n + 2 * image) * g_size + i * g_row
                        largest, _ = _magnitudes(a, a + g_size, both, rows * out_w, c_out, g_shift, g_limit)
                        beyond = max(beyond, largest)
                    if beyond <= part * PART:
                        continue
                needed = max(ready, min(height, i + rows + kernel_h - 1 - padding_h))
                for image in range(images):
                    both = np.int64(n + 2 * image + 1 < samples)
                    if part == 0:
                        a = x + (n + 2 * image) * x_size + ready * x_row
                        _transform_x(
                            a, a + x_size, both, needed - ready, width, c_in, flip, x_shift, x_low, x_high,
                            padding_w, products, across,
                            inputs + image * x_image + (padding_h + ready) * across * 64, x_group, x_part,
                        )  # fmt: skip
                    a = dz + (n + 2 * image) * g_size + i * g_row
                    _transform_g(
                        a, a + g_size, both, rows, out_w, c_out, g_shift, g_limit, products, across, part,
                        parts > 1, gradients + image * g_image, g_group, g_part,
                    )  # fmt: skip
                ready = needed
                start = inputs + i * across * 64
                x_bytes, g_bytes = 2 * images * x_size * rows // out_h, 2 * images * g_size * rows // out_h
                next_x = x + following * x_size + x_bytes * i // rows
                next_g = dz + following * g_size + g_bytes * i // rows
                if whole:
                    need = sum_g * largest_x if part == 0 and i == 0 else np.int64(0)
                    if used + need > FULL:
                        flush(sums, totals, count, first)
                        first, used = False, np.int64(0)
                    used += need
                    _outer_products(
                        start, x_image, x_part, x_group, across * 64, kernel_h, c_in, gradients, g_image, g_part,
                        g_group, blocks, products, images, np.int64(0), rows * across, sums,
                        next_x, x_bytes, next_g, g_bytes,
                    )  # fmt: skip
                    continue
                for image in range(images):
                    for unit in range(0, rows * across, fitting):
                        units = min(fitting, rows * across - unit)
                        if used + units * one > FULL:
                            flush(sums, totals, count, first)
                            first, used = False, np.int64(0)
                        used += units * one
                        _outer_products(
                            start + image * x_image, x_image, x_part, x_group, across * 64, kernel_h, c_in,
                            gradients + image * g_image, g_image, g_part, g_group, blocks, products, np.int64(1),
                            unit, units, sums, next_x, np.int64(0), next_g, np.int64(0),
                        )  # fmt: skip
        n = following
        if n < samples and waits(box):
            write_word(state, n + 1)
            write_word(state + 8, np.int64(not first))
            write_word(state + 16, used)
            return INTERRUPTED
    flush(sums, totals, count, first)
    return 1


def pairs_at_once(samples: int, threads: int, out_h: int, out_w: int, products: int) -> int:
    """How many pairs of images a thread draws at once: small ones whose places `HELD` can hold together."""
    places = out_h * -(-out_w // (products - 2))
    return max(1, min(HELD // places, (samples + 1) // 2 // (4 * threads)))


def scratch_size(
    height: int, c_in: int, out_h: int, out_w: int, c_out: int, padding_h: int, count: int, products: int,
    pairs: int,
) -> int:  # fmt: skip
    """Bytes of scratch memory that `weight_gradient` needs per thread."""
    across = -(-out_w // (products - 2))
    rows = (height + 2 * padding_h) * c_in + max(1, min(out_h, HELD // across)) * c_out
    return 4 * count + pairs * products * rows * across * 4 + 64
