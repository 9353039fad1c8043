"""What is left to do with a convolution's exact sums when another device formed them.

An accelerator returns z without the sums that batch norm needs, and the input gradient of a residual block as
64-bit sums to which the shortcut's gradient is still to be added (spec, section 5).
"""

from __future__ import annotations

from joulebit.kernels.compile import kernel
from joulebit.kernels.scalar import Int
from joulebit.kernels.vector import (
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
    load_all64,
    load_i16,
    load_i64,
    load_u8,
    multiply_wide,
    narrow,
    narrow_saturating,
    prefetch,
    prefetch_write,
    smaller,
    splat,
    splat64,
    store_16,
    store_all64,
    where_between,
    widen,
    zeros,
    zeros64,
)

#: bytes. Sums, shortcut, mask and result are four streams, more than the processor follows by itself, and all but
#: the sums come from DRAM: without these prefetches the loops take two to three times as long.
_AHEAD = 2048


@kernel
def channel_sums(counter: Int, samples: Int, pixels: Int, channels: Int, z: Int, statistics: Int) -> None:
    """Sums of every channel of int16 [samples][pixels][channels] and of its squares.

    Addresses: counter (int64, shared by the threads), z (dense), statistics (int64 [2][channels rounded up to 16],
    zeros, of this thread). |value| <= 32767, and at most 2^16 pixels of a sample.
    """
    blocks = (channels + 15) // 16
    squares = statistics + blocks * 128
    step = channels * 2
    n = fetch_add(counter, 1)
    while n < samples:
        for block in range(blocks):
            on = lanes(channels - 16 * block)
            place = z + n * pixels * step + block * 32
            total, square = zeros(), zeros64()
            for _ in range(pixels):
                prefetch(place + _AHEAD)
                value = load_i16(place, on)
                total = total + value
                square = square + multiply_wide(value, value)
                place += step
            store_all64(statistics + 128 * block, load_all64(statistics + 128 * block) + widen(total))
            store_all64(squares + 128 * block, load_all64(squares + 128 * block) + square)
        n = fetch_add(counter, 1)


@kernel
def finish_narrow_gradient(
    counter: Int, samples: Int, sums: Int, height: Int, width: Int, channels: Int, pitch: Int, align: Int,
    add: Int, add_h: Int, add_w: Int, add_channels: Int, add_stride: Int, add_align: Int, mask: Int,
    masked: Int, below: Int, shift: Int, limit: Int, g: Int,
) -> tuple[int, int]:  # fmt: skip
    """As `finish_gradient` where all values fit 32 bits, no alignment is negative, and shift is at most 31."""
    blocks = (channels + 15) // 16
    left, add_left = splat(align), splat(add_align)
    whole, before = splat(shift), splat(max(shift - 1, 0))
    last_bit = splat(1 if shift > 0 else 0)
    high, low = splat(limit), splat(-limit)
    none, top = zeros(), splat(below)
    peak, saturated = zeros(), zeros()
    rejected = 0
    n = fetch_add(counter, 1)
    while n < samples:
        for line in range(height):
            row = (n * height + line) * width
            source_row = 0
            if add != 0 and line % add_stride == 0 and line // add_stride < add_h:
                source_row = add + (n * add_h + line // add_stride) * add_w * add_channels * 2
            for block in range(blocks):
                on = lanes(channels - 16 * block)
                added = lanes(min(channels, add_channels) - 16 * block)
                source = source_row + block * 32
                next_added = 0 if source_row != 0 else width
                for j in range(width):
                    from_here = sums + (row + j) * pitch + block * 128
                    prefetch(from_here + _AHEAD)
                    prefetch(from_here + _AHEAD + 64)
                    v = narrow(load_i64(from_here, on)) << left
                    place = (row + j) * channels + block * 16
                    prefetch(mask + (place + _AHEAD // 2) * masked)
                    prefetch(source + _AHEAD)
                    prefetch_write(g + place * 2 + _AHEAD)
                    if j == next_added:
                        v = v + (load_i16(source, added) << add_left)
                        source += add_channels * 2
                        next_added += add_stride
                        if next_added >= add_w * add_stride:
                            next_added = width
                    a = load_u8(mask + place * masked, on)
                    v = keep(where_between(a, none, top), v)
                    peak = larger(peak, larger(v, none - v))
                    rounded = (v >> whole) + ((v >> before) & last_bit)
                    q = smaller(larger(rounded, low), high)
                    saturated = count_different(saturated, q, rounded)
                    store_16(g + place * 2, q, on)
        rejected += fold_sum(saturated)
        saturated = zeros()
        n = fetch_add(counter, 1)
    return fold_max(peak), rejected


@kernel
def finish_gradient(
    counter: Int, samples: Int, sums: Int, height: Int, width: Int, channels: Int, pitch: Int, align: Int,
    add: Int, add_h: Int, add_w: Int, add_channels: Int, add_stride: Int, add_align: Int, mask: Int,
    masked: Int, below: Int, shift: Int, limit: Int, g: Int,
) -> tuple[int, int]:  # fmt: skip
    """`Engine.conv_input_gradient` from the convolution's sums, rounding half up; (peak, saturated).

    Addresses: counter (int64, shared by the threads), sums (int64, pixels are `pitch` bytes apart), add (int16;
    0: none), mask (uint8; 16 bytes of 1 where masked is 0), g (int16, dense). below: bound of the mask, above 255
    for none. No sum may exceed the accumulator.
    """
    blocks = (channels + 15) // 16
    left, right = splat64(max(align, 0)), splat64(max(-align, 0))
    half = splat64((1 << max(-align, 0)) >> 1)
    add_left, add_right = splat64(max(add_align, 0)), splat64(max(-add_align, 0))
    add_half = splat64((1 << max(-add_align, 0)) >> 1)
    whole, last_half = splat64(shift), splat64((1 << shift) >> 1)
    high, low = splat(limit), splat(-limit)
    none, none64, top = zeros(), zeros64(), splat(below)
    peak, saturated = zeros64(), zeros()
    rejected = 0
    n = fetch_add(counter, 1)
    while n < samples:
        for line in range(height):
            row = (n * height + line) * width
            source_row = 0
            if add != 0 and line % add_stride == 0 and line // add_stride < add_h:
                source_row = add + (n * add_h + line // add_stride) * add_w * add_channels * 2
            for block in range(blocks):
                on = lanes(channels - 16 * block)
                added = lanes(min(channels, add_channels) - 16 * block)
                source = source_row + block * 32
                next_added = 0 if source_row != 0 else width
                for j in range(width):
                    from_here = sums + (row + j) * pitch + block * 128
                    prefetch(from_here + _AHEAD)
                    prefetch(from_here + _AHEAD + 64)
                    v = ((load_i64(from_here, on) << left) + half) >> right
                    place = (row + j) * channels + block * 16
                    prefetch(mask + (place + _AHEAD // 2) * masked)
                    prefetch(source + _AHEAD)
                    prefetch_write(g + place * 2 + _AHEAD)
                    if j == next_added:
                        u = widen(load_i16(source, added))
                        v = v + (((u << add_left) + add_half) >> add_right)
                        source += add_channels * 2
                        next_added += add_stride
                        if next_added >= add_w * add_stride:
                            next_added = width
                    a = load_u8(mask + place * masked, on)
                    v = keep64(where_between(a, none, top), v)
                    peak = larger64(peak, larger64(v, none64 - v))
                    rounded = narrow_saturating((v + last_half) >> whole)
                    q = smaller(larger(rounded, low), high)
                    saturated = count_different(saturated, q, rounded)
                    store_16(g + place * 2, q, on)
        rejected += fold_sum(saturated)
        saturated = zeros()
        n = fetch_add(counter, 1)
    return fold_max64(peak), rejected
