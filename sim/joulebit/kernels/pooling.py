"""Maximum pooling of bytes in vectors of 16 channels, and its gradient. All addresses are in bytes.

Both are bound by memory: a row of windows asks for the tensors' lines some kilobytes ahead, because accesses of a
few channels at a time do not make the processor do so by itself.
"""

from __future__ import annotations

from joulebit.kernels.compile import inline, kernel
from joulebit.kernels.scalar import Int
from joulebit.kernels.vector import (
    keep,
    lanes,
    larger,
    load_i16,
    load_u8,
    prefetch,
    prefetch_write,
    splat,
    store_8,
    store_16,
    where_equal,
    zeros,
)

_AHEAD = 4096  # bytes


@inline
def _fetch(address: Int, size: Int) -> None:
    """Ask for what is read _AHEAD bytes after these."""
    for offset in range(0, size, 64):
        prefetch(address + _AHEAD + offset)


@inline
def _fetch_to_write(address: Int, size: Int) -> None:
    """Ask for what is written _AHEAD bytes after these."""
    for offset in range(0, size, 64):
        prefetch_write(address + _AHEAD + offset)


@inline
def _largest(x: Int, pitch: Int, pixel: Int, size: Int, turn: Int, on: Int) -> Int:
    """The maximum of a window whose rows are `pitch` and whose pixels are `pixel` bytes apart."""
    if size == 2:
        above = larger(load_u8(x, on) ^ turn, load_u8(x + pixel, on) ^ turn)
        return larger(above, larger(load_u8(x + pitch, on) ^ turn, load_u8(x + pitch + pixel, on) ^ turn))
    best = zeros()
    for row in range(size):
        for column in range(size):
            best = larger(best, load_u8(x + row * pitch + column * pixel, on) ^ turn)
    return best


@inline
def _route(x: Int, out: Int, turn: Int, on: Int, best: Int, rest: Int) -> Int:
    """Write `rest` where the element x is the window's maximum, else 0; returns what is left of it."""
    taken = keep(where_equal(load_u8(x, on) ^ turn, best), rest)
    store_16(out, taken, on)
    return rest - taken


@kernel
def max_pool(
    x: Int, out: Int, first: Int, last: Int, height: Int, width: Int, channels: Int, size: Int, flip: Int
) -> None:
    """`elementwise.max_pool` on samples first .. last - 1; flip: 128 for signed x, else 0."""
    rows, columns = height // size, width // size
    pitch, step, out_pitch = width * channels, size * channels, columns * channels
    turn = splat(flip)
    for n in range(first, last):
        for i in range(rows):
            band, target = x + (n * height + i * size) * pitch, out + (n * rows + i) * out_pitch
            _fetch(band, size * pitch)
            _fetch_to_write(target, out_pitch)
            for c in range(0, channels, 16):
                on = lanes(channels - c)
                corner, place = band + c, target + c
                for _ in range(columns):
                    store_8(place, _largest(corner, pitch, channels, size, turn, on) ^ turn, on)
                    corner += step
                    place += channels


@kernel
def max_pool_gradient(
    g: Int, x: Int, out: Int, first: Int, last: Int, height: Int, width: Int, channels: Int, size: Int, flip: Int
) -> None:  # fmt: skip
    """`elementwise.max_pool_gradient` on samples first .. last - 1, without the rest of rows and columns."""
    rows, columns = height // size, width // size
    pitch, step, g_pitch = width * channels, size * channels, columns * channels * 2
    turn = splat(flip)
    for n in range(first, last):
        for i in range(rows):
            place = (n * height + i * size) * pitch
            band, target, source = x + place, out + 2 * place, g + (n * rows + i) * g_pitch
            _fetch(band, size * pitch)
            _fetch(source, g_pitch)
            _fetch_to_write(target, 2 * size * pitch)
            for c in range(0, channels, 16):
                on = lanes(channels - c)
                corner, gradient, goal = band + c, source + 2 * c, target + 2 * c
                for _ in range(columns):
                    best = _largest(corner, pitch, channels, size, turn, on)
                    rest = load_i16(gradient, on)
                    if size == 2:
                        rest = _route(corner, goal, turn, on, best, rest)
                        rest = _route(corner + channels, goal + 2 * channels, turn, on, best, rest)
                        rest = _route(corner + pitch, goal + 2 * pitch, turn, on, best, rest)
                        store_16(goal + 2 * pitch + 2 * channels, rest, on)
                    else:
                        for row in range(size):
                            for column in range(size):
                                element = row * pitch + column * channels
                                rest = _route(corner + element, goal + 2 * element, turn, on, best, rest)
                    corner += step
                    gradient += 2 * channels
                    goal += 2 * step
