"""What a virtual board does beside convolving: packed weights, result blocks and bytes of signs in its memory.

The layouts are those of `joulebit.accelerator.packing`. Loops over arrays of any strides are written out, since
numba's iterators over them take two to six times as long.
"""

from __future__ import annotations

import numpy as np

from joulebit.kernels.compile import kernel
from joulebit.kernels.scalar import Int


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
def store_sums(exact: Int, out: Int) -> Int:
    """Copies int64 [block, word, kernel row, kernel column, 8, lane] of any strides to `out`, flat; the peak."""
    at, peak = 0, 0
    blocks, words, rows, columns, inputs, lanes = exact.shape
    for block in range(blocks):
        for word in range(words):
            for row in range(rows):
                for column in range(columns):
                    for c in range(inputs):
                        for lane in range(lanes):
                            value = exact[block, word, row, column, c, lane]
                            peak = max(peak, abs(value))
                            out[at] = value
                            at += 1
    return peak


@kernel
def sign_bytes(exact: Int, guess: Int, threshold: Int, out: Int) -> Int:
    """Directions in the lowest two bits, and 128 where |guess| >= threshold decides; how many are decided.

    exact, guess: int64 of the same shape [block, word, kernel row, kernel column, 8, lane]; out: uint8, flat.
    """
    at, decided = 0, 0
    blocks, words, rows, columns, inputs, lanes = exact.shape
    for block in range(blocks):
        for word in range(words):
            for row in range(rows):
                for column in range(columns):
                    for c in range(inputs):
                        for lane in range(lanes):
                            guessed = guess[block, word, row, column, c, lane]
                            taken = np.int64(abs(guessed) >= threshold)  # no branch: nobody could predict it
                            value = taken * guessed + (1 - taken) * exact[block, word, row, column, c, lane]
                            out[at] = np.int64(value > 0) + 3 * np.int64(value < 0) + 128 * taken
                            decided += int(taken)
                            at += 1
    return decided
