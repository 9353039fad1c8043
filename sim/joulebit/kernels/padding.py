"""Copies of one image with a border, in scratch memory that stays in the cache."""

from __future__ import annotations

from joulebit.kernels.compile import inline
from joulebit.kernels.scalar import Int
from joulebit.kernels.vector import (
    copy_bytes,
    lanes,
    load_i16,
    load_u8,
    prefetch_far,
    splat,
    store_8,
    store_16,
    store_all,
)


@inline
def fill(address: Int, size: Int, word: Int) -> None:
    """size bytes, rounded up to 64, of a repeated 32-bit word."""
    value = splat(word)
    for offset in range(0, size, 64):
        store_all(address + offset, value)


@inline
def copy_u8(source: Int, height: Int, length: Int, target: Int, pitch: Int, flip: Int) -> None:
    """Rows of `length` bytes, each ^ flip, to rows `pitch` bytes apart."""
    turn = splat(flip)
    for i in range(height):
        start, place = source + i * length, target + i * pitch
        if flip == 0:
            copy_bytes(place, start, length)
        else:
            for c in range(0, length, 16):
                mask = lanes(length - c)
                store_8(place + c, load_u8(start + c, mask) ^ turn, mask)


@inline
def copy_i16(source: Int, height: Int, width: Int, channels: Int, target: Int, pitch: Int, padded: Int) -> None:
    """An image of int16 [height, width, channels] to rows `pitch` bytes apart, `padded` channels per pixel."""
    if channels == padded:
        for i in range(height):
            copy_bytes(target + i * pitch, source + i * width * channels * 2, width * channels * 2)
        return
    for i in range(height):
        for j in range(width):
            start, place = source + (i * width + j) * channels * 2, target + i * pitch + j * padded * 2
            for c in range(0, channels, 16):
                mask = lanes(channels - c)
                store_16(place + c * 2, load_i16(start + c * 2, mask), mask)


@inline
def prefetch_part(start: Int, size: Int, part: Int, next_part: Int, parts: Int) -> None:
    """Fetch parts part .. next_part - 1 of `parts` of the next image, while this one is worked on."""
    for offset in range(size * part // parts, size * min(next_part, parts) // parts, 64):
        prefetch_far(start + offset)
