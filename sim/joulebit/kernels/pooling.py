"""Maximum pooling of bytes in vectors of 16 channels, and its gradient. All addresses are in bytes."""

from __future__ import annotations

from joulebit.kernels.compile import kernel
from joulebit.kernels.scalar import Int
from joulebit.kernels.vector import (
    count_different,
    lanes,
    larger,
    load_i16,
    load_u8,
    splat,
    store_8,
    store_16,
    zeros,
)


@kernel
def max_pool(
    x: Int, out: Int, first: Int, last: Int, height: Int, width: Int, channels: Int, size: Int, flip: Int
) -> None:
    """`elementwise.max_pool` on samples first .. last - 1; flip: 128 for signed x, else 0."""
    rows, columns = height // size, width // size
    turn = splat(flip)
    for n in range(first, last):
        for i in range(rows):
            for j in range(columns):
                corner = x + ((n * height + i * size) * width + j * size) * channels
                place = out + ((n * rows + i) * columns + j) * channels
                for c in range(0, channels, 16):
                    on = lanes(channels - c)
                    best = zeros()
                    for row in range(size):
                        for column in range(size):
                            best = larger(best, load_u8(corner + (row * width + column) * channels + c, on) ^ turn)
                    store_8(place + c, best ^ turn, on)


@kernel
def max_pool_gradient(
    g: Int, x: Int, out: Int, first: Int, last: Int, height: Int, width: Int, channels: Int, size: Int, flip: Int
) -> None:  # fmt: skip
    """`elementwise.max_pool_gradient` on samples first .. last - 1, without the rest of rows and columns."""
    rows, columns = height // size, width // size
    turn = splat(flip)
    for n in range(first, last):
        for i in range(rows):
            for j in range(columns):
                corner = ((n * height + i * size) * width + j * size) * channels
                source = g + ((n * rows + i) * columns + j) * channels * 2
                for c in range(0, channels, 16):
                    on = lanes(channels - c)
                    best = zeros()
                    for row in range(size):
                        for column in range(size):
                            place = corner + (row * width + column) * channels + c
                            best = larger(best, load_u8(x + place, on) ^ turn)
                    gradient = load_i16(source + 2 * c, on)
                    free = splat(1)  # 1 until the first of the largest elements was met
                    for row in range(size):
                        for column in range(size):
                            place = corner + (row * width + column) * channels + c
                            other = count_different(zeros(), load_u8(x + place, on) ^ turn, best)
                            hit = free - free * other
                            free = free - hit
                            store_16(out + 2 * place, gradient * hit, on)
