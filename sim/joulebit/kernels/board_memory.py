"""What a virtual board does beside convolving: packed weights, result blocks and bytes of signs in its memory.

The layouts are those of `joulebit.accelerator.packing`.
"""

from __future__ import annotations

from joulebit.kernels.compile import kernel
from joulebit.kernels.scalar import Int
from joulebit.kernels.vector import (
    count_different,
    fold_max64,
    fold_sum,
    keep,
    lanes,
    larger,
    larger64,
    load_i64,
    narrow_saturating,
    smaller,
    splat,
    splat64,
    store_8,
    store_i64,
    where_equal,
    zeros,
    zeros64,
)


@kernel
def unpack_weights(packed: Int, inverse: Int, zeros: Int, w: Int) -> bool:
    """w[i] = packed[inverse[i]]; whether all bytes packed[zeros[i]] are 0. Flat arrays, packed and w int8."""
    for i in range(w.size):
        w[i] = packed[inverse[i]]
    unused = 0
    for i in range(zeros.size):
        unused |= packed[zeros[i]]
    return unused == 0


@kernel
def tile_results(records: Int, images: Int, rows: Int, peaks: Int, saturated: Int) -> None:
    """Peak and saturated elements of each tile, in the order of the list, of records [images, rows, columns, 2].

    images, rows: where tiles begin; a tile has one column of the records.
    """
    tile = 0
    for a in range(images.size):
        last_image = images[a + 1] if a + 1 < images.size else records.shape[0]
        for b in range(rows.size):
            last_row = rows[b + 1] if b + 1 < rows.size else records.shape[1]
            for column in range(records.shape[2]):
                peak, count = 0, 0
                for n in range(images[a], last_image):
                    for i in range(rows[b], last_row):
                        peak = max(peak, records[n, i, column, 0])
                        count += records[n, i, column, 1]
                peaks[tile], saturated[tile] = peak, count
                tile += 1


@kernel
def store_sums(
    exact: Int, blocks: Int, words: Int, rows: Int, columns: Int, block_step: Int, word_step: Int, row_step: Int,
    column_step: Int, input_step: Int, lane_count: Int, out: Int,
) -> Int:  # fmt: skip
    """Copies int64 [block, word, kernel row, kernel column, 8, lane] to `out` without gaps; the largest magnitude.

    exact, out: addresses. The steps between elements of `exact` are in bytes; up to 16 lanes are side by side.
    """
    on, none, peak = lanes(lane_count), zeros64(), zeros64()
    for block in range(blocks):
        for word in range(words):
            for row in range(rows):
                for column in range(columns):
                    place = exact + block * block_step + word * word_step + row * row_step + column * column_step
                    for _ in range(8):
                        v = load_i64(place, on)
                        peak = larger64(peak, larger64(v, none - v))
                        store_i64(out, v, on)
                        place += input_step
                        out += lane_count * 8
    return fold_max64(peak)


@kernel
def sign_bytes(
    exact: Int, blocks: Int, words: Int, rows: Int, columns: Int, block_step: Int, word_step: Int, row_step: Int,
    column_step: Int, input_step: Int, lane_count: Int, guess: Int, threshold: Int, out: Int,
) -> Int:  # fmt: skip
    """Directions in the lowest two bits, and 128 where |guess| >= threshold > 0 decides; how many are decided.

    As `store_sums`; guess: address of int64 of the same shape without gaps; out: of as many bytes.
    """
    on, none, none64, limit = lanes(lane_count), zeros(), zeros64(), splat64(threshold)
    one, minus, mark, low_bits = splat(1), splat(-1), splat(128), splat(3)
    decided = zeros()
    for block in range(blocks):
        for word in range(words):
            for row in range(rows):
                for column in range(columns):
                    place = exact + block * block_step + word * word_step + row * row_step + column * column_step
                    for _ in range(8):
                        g = load_i64(guess, on)
                        beyond = narrow_saturating(larger64(g, none64 - g) - limit)
                        taken = larger(smaller(beyond, none), minus)  # 0 where the guess decides, else -1
                        sign_of_guess = keep(where_equal(taken, none), narrow_saturating(g))
                        v = sign_of_guess + keep(where_equal(taken, minus), narrow_saturating(load_i64(place, on)))
                        direction = larger(smaller(v, one), minus) & low_bits
                        store_8(out, direction + keep(where_equal(taken, none), mark), on)
                        decided = count_different(decided, taken, minus)
                        place += input_step
                        guess += lane_count * 8
                        out += lane_count
    return fold_sum(decided)
