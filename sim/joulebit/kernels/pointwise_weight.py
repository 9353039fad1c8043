"""Weight gradients of 1 x 1 convolutions, exact and of the predictor's operands from one pass over them.

They are products of two matrices, x [positions, c_in] transposed and dz [positions, c_out]. Two positions side by
side are interleaved as pairs of 16-bit integers (`pairs`), of a chunk of positions at a time: all inputs, then 32
output channels after another, which meet all inputs before the next ones are interleaved. These panels lie in the
caches in the order in which `dot.outer_tile` reads them.

Sums of 32 bits are added to 64-bit totals before they could overflow, by the largest sum of |dz| over a channel.
"""

from __future__ import annotations

import numpy as np

from joulebit.kernels.compile import inline, kernel
from joulebit.kernels.dot import outer_channels, outer_tile
from joulebit.kernels.fast_weight import flush_marked, make_room
from joulebit.kernels.launch import INTERRUPTED, read_word, waits, write_word
from joulebit.kernels.padding import fill
from joulebit.kernels.pairs import interleave_g, interleave_x, magnitudes, narrow_all
from joulebit.kernels.scalar import Int
from joulebit.kernels.vector import fetch_add

MOST_HELD = 128  #: pairs of positions whose products fit 32 bits: 2 * 128 * 255 * 2^15 < 2^31
_PANELS = 512 << 10  #: bytes of the panels of the inputs, so that they and the sums in work stay in the cache


@inline
def _panel_sums(c_in: Int, vectors: Int) -> Int:
    """Sums of c_in inputs, padded for the tiles, and `vectors` of 16 output channels."""
    if vectors == 2:
        return (c_in + outer_channels(2) - 1) // outer_channels(2) * outer_channels(2) * 32
    return (c_in + outer_channels(1) - 1) // outer_channels(1) * outer_channels(1) * 16


@inline
def _outer_products(
    inputs: Int, held: Int, c_in: Int, panel: Int, vectors: Int, pairs: Int, sums: Int, next_x: Int, x_ahead: Int,
    next_g: Int, g_ahead: Int,
) -> None:  # fmt: skip
    """Adds the products of all inputs [blocks of 16][held][16] and a panel of gradients [pairs][vectors][16]."""
    if vectors == 2:
        for c in range(0, c_in, outer_channels(2)):
            outer_tile(
                2, inputs + (c // 16 * held * 16 + c % 16) * 4, 0, 64, panel, 0, 128, 1, pairs, sums, next_x,
                x_ahead, next_g, g_ahead,
            )  # fmt: skip
            sums += outer_channels(2) * 128
            next_x, next_g = next_x + x_ahead * pairs, next_g + g_ahead * pairs
    else:
        for c in range(0, c_in, outer_channels(1)):
            outer_tile(
                1, inputs + (c // 16 * held * 16 + c % 16) * 4, 0, 64, panel, 0, 64, 1, pairs, sums, next_x,
                x_ahead, next_g, g_ahead,
            )  # fmt: skip
            sums += outer_channels(1) * 64
            next_x, next_g = next_x + x_ahead * pairs, next_g + g_ahead * pairs


@kernel
def weight_gradient(
    counter: Int, positions: Int, held: Int, x: Int, c_in: Int, flip: Int, x_limit: Int, exact: Int, x_shift: Int,
    x_low: Int, x_high: Int, dz: Int, c_out: Int, g_shift: Int, g_limit: Int, scratch: Int, totals: Int,
    count: Int, apart: Int, box: Int, state: Int,
) -> Int:  # fmt: skip
    """Sums x * dz over the chunks of `held` pairs of positions that this thread draws; 1 if there were any, or 0.

    May return INTERRUPTED as `fast_weight.weight_gradient` does (`box`, `state`).

    totals: int64 [count] as there, of the exact operands unless `exact` is 0; then, `apart` bytes further if both
    are wanted, of the predictor's unless x_shift is -1. x_limit: the largest |x|.
    """
    panels, predicted = (c_out + 31) // 32, np.int64(x_shift >= 0)
    resumed = read_word(state) != 0
    n = read_word(state) - 1 if resumed else 2 * held * fetch_add(counter, 1)
    if n >= positions:
        return 0
    size = (c_in + 15) // 16 * held * 64
    sums, marks = scratch, scratch + (exact + predicted) * count * 4
    inputs = marks + (exact + predicted) * panels * 64
    narrow_inputs = inputs + size * exact
    gradients = inputs + size * (exact + predicted)
    narrow_limit = max(x_high, -x_low) * g_limit
    steps = panels * ((c_in + outer_channels(2) - 1) // outer_channels(2))  # tiles of a chunk
    if not resumed:
        fill(sums, inputs - sums, np.int64(0))
    while n < positions:
        following = 2 * held * fetch_add(counter, 1)
        here = min(2 * held, positions - n)
        pairs, single = (here + 1) // 2, here % 2
        for c in range(0, c_in, 32):
            channels, target = min(c_in - c, 32), inputs + c // 16 * held * 64
            place = x + n * c_in + c
            interleave_x(
                place, place + c_in, 1, pairs - single, 2 * c_in, channels, flip, target, np.int64(64), held * 64
            )
            place, target = place + (here - 1) * c_in, target + (pairs - 1) * 64
            interleave_x(place, place, 0, single, 0, channels, flip, target, np.int64(64), held * 64)
        if predicted:
            narrow_all(inputs, narrow_inputs, size, x_shift, x_low, x_high)
        x_ahead, g_ahead = 2 * c_in // steps + 1, 4 * c_out // steps + 1
        for panel in range(panels):
            channels = min(c_out - panel * 32, 32)
            vectors = np.int64(2 if channels > 16 else 1)
            place = dz + 2 * (n * c_out + panel * 32)
            interleave_g(
                place, place + 2 * c_out, 1, pairs - single, 4 * c_out, channels, gradients, vectors * 64, 64
            )
            place = place + 2 * (here - 1) * c_out
            interleave_g(
                place, place, 0, single, 0, channels, gradients + (pairs - 1) * vectors * 64, vectors * 64, 64
            )
            length = _panel_sums(c_in, vectors)
            first = panel * _panel_sums(c_in, np.int64(2))
            next_x = x + following * c_in + 2 * pairs * c_in * panel // panels
            next_g = dz + 2 * (following * c_out + 2 * pairs * c_out * panel // panels)
            for product in range(exact + predicted):
                if product < exact:
                    need, source = x_limit * magnitudes(gradients, pairs, vectors)[1], inputs
                else:
                    need, source = 2 * pairs * narrow_limit, narrow_inputs
                    narrow_all(gradients, gradients, pairs * vectors * 64, g_shift, -g_limit, g_limit)
                own, total = sums + (product * count + first) * 4, totals + product * apart + first * 8
                mark = marks + (product * panels + panel) * 64
                make_room(own, total, length, mark, need)
                _outer_products(
                    source, held, c_in, gradients, vectors, pairs, own, next_x, x_ahead, next_g, g_ahead
                )  # fmt: skip
        n = following
        if n < positions and waits(box):
            write_word(state, n + 1)
            return INTERRUPTED
    for product in range(exact + predicted):
        for panel in range(panels):
            length = _panel_sums(c_in, np.int64(2 if c_out - panel * 32 > 16 else 1))
            first = panel * _panel_sums(c_in, np.int64(2))
            flush_marked(
                sums + (product * count + first) * 4, totals + product * apart + first * 8, length,
                marks + (product * panels + panel) * 64,
            )  # fmt: skip
    return 1


def pairs_held(positions: int, c_in: int, threads: int) -> int:
    """How many pairs of positions make a chunk."""
    fitting = max(32, _PANELS // (8 * c_in) // 32 * 32)
    return max(1, min(MOST_HELD, fitting, -(-positions // (2 * threads))))


def scratch_size(c_in: int, c_out: int, held: int, count: int, products: int) -> int:
    """Bytes of scratch memory that `weight_gradient` needs per thread; products: 1, or 2 for both."""
    inputs = -(-c_in // 16) * held * 64
    return products * (count * 4 + -(-c_out // 32) * 64 + inputs) + held * 128 + 64
