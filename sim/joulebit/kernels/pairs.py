"""Operands of weight gradients: two positions interleaved as pairs of 16-bit integers, narrowed for the predictor.

A pair holds x (or dz) of the same place of two images, or of two pixels side by side, so that one instruction
multiplies and adds both (`dot`).
"""

from __future__ import annotations

import numpy as np

from joulebit.kernels.compile import inline
from joulebit.kernels.dot import add_products
from joulebit.kernels.scalar import Int
from joulebit.kernels.vector import (
    add_halves_saturating,
    fold_max,
    fold_min_halves,
    high_pairs,
    lanes,
    larger,
    larger_halves,
    load_all,
    load_halves_u8,
    low_pairs,
    pairs_i16,
    pairs_u8,
    shift_halves,
    smaller_halves,
    splat,
    splat_halves,
    store_all,
    sub_halves,
    zeros,
)


@inline
def narrowed(value: Int, shift: Int, low: Int, high: Int) -> Int:
    """clamp(RND(value, shift), low, high) of 16-bit halves (spec, section 6); with shift < 0 as they are.

    low <= 0; high <= 2^(15 - shift) - 1, or shift > 1.
    """
    if shift >= 0:
        one = splat_halves(np.int64(shift > 0))
        value = shift_halves(value, splat_halves(max(shift - 1, np.int64(0))))
        value = shift_halves(add_halves_saturating(value, one), one)
        value = smaller_halves(larger_halves(value, splat_halves(low)), splat_halves(high))
    return value


@inline
def pairs_of_x(first: Int, second: Int, on: Int, other: Int, flip: Int) -> Int:
    """16 bytes of two images, those that are `on` in the first and `other` in the second; flip: 128 if signed."""
    value = pairs_u8(first, second, on, other)
    if flip != 0:
        turn = splat_halves(flip)
        value = sub_halves(value ^ turn, turn)
    return value


@inline
def count_magnitude(value: Int, lowest: Int, total: Int) -> tuple[Int, Int]:
    """-max |value| of each half so far, and -sum of |value| of each pair, since 16 bits have no 2^15."""
    value = smaller_halves(value, sub_halves(zeros(), value))
    return smaller_halves(lowest, value), add_products(total, value, splat_halves(1))


@inline
def magnitudes(panel: Int, pixels: Int, vectors: Int) -> tuple[Int, Int]:
    """The largest magnitude of pairs [pixels][vectors][16], and the largest sum of a channel's."""
    none = zeros()
    lowest, totals = none, none
    for vector in range(vectors):
        total = none
        for place in range(panel + vector * 64, panel + pixels * vectors * 64, vectors * 64):
            lowest, total = count_magnitude(load_all(place), lowest, total)
        totals = larger(totals, none - total)
    return -fold_min_halves(lowest), fold_max(totals)


@inline
def interleave_x(
    first: Int, second: Int, both: Int, count: Int, step: Int, size: Int, flip: Int, target: Int, target_step: Int,
    apart: Int,
) -> None:  # fmt: skip
    """`count` pixels of bytes at first and second, each `step` bytes after the one before, as pairs.

    Of up to 32 channels (`size`): a pixel's first 16 go to vectors target_step bytes apart, from `target` on, and
    the others `apart` bytes further. both: 0 if there is no second; its memory must be readable nevertheless.
    """
    last = target + count * target_step
    if size >= 32:
        there, turn = splat(-both), splat_halves(flip)
        for place in range(target, last, target_step):
            u, v = load_halves_u8(first), load_halves_u8(second)
            if flip != 0:
                u, v = sub_halves(u ^ turn, turn), sub_halves(v ^ turn, turn)
            v = v & there
            store_all(place, low_pairs(u, v))
            store_all(place + apart, high_pairs(u, v))
            first, second = first + step, second + step
    else:
        on, other, on_16, other_16 = lanes(size), lanes(size * both), lanes(size - 16), lanes((size - 16) * both)
        for place in range(target, last, target_step):
            store_all(place, pairs_of_x(first, second, on, other, flip))
            if size > 16:
                store_all(place + apart, pairs_of_x(first + 16, second + 16, on_16, other_16, flip))
            first, second = first + step, second + step


@inline
def interleave_g(
    first: Int, second: Int, both: Int, count: Int, step: Int, size: Int, target: Int, target_step: Int, apart: Int
) -> None:
    """`interleave_x` of int16."""
    last = target + count * target_step
    if size >= 32:
        there = splat(-both)
        for place in range(target, last, target_step):
            u, v = load_all(first), load_all(second) & there
            store_all(place, low_pairs(u, v))
            store_all(place + apart, high_pairs(u, v))
            first, second = first + step, second + step
    else:
        on, other, on_16, other_16 = lanes(size), lanes(size * both), lanes(size - 16), lanes((size - 16) * both)
        for place in range(target, last, target_step):
            store_all(place, pairs_i16(first, second, on, other))
            if size > 16:
                store_all(place + apart, pairs_i16(first + 32, second + 32, on_16, other_16))
            first, second = first + step, second + step


@inline
def narrow_all(source: Int, target: Int, size: Int, shift: Int, low: Int, high: Int) -> None:
    """target = clamp(RND(value, shift), low, high) of `size` bytes of pairs."""
    for offset in range(0, size, 64):
        store_all(target + offset, narrowed(load_all(source + offset), shift, low, high))
