"""Passes of the weight gradient, exactly as the accelerator's scheduler makes them (`hw/rtl/jb_scheduler.sv`).

A pass takes every pixel of a tile's dz once and gives each of 6 * out_lanes slots one of the 72 values of a
window of x (3 x 3 taps of a word of 8 channels) and up to two channels of dz. Slots belong to classes: to a
half of the output block (at most 8 channels of dz) and to channels 0..3 or 4..7 of the word of x. Elements
whose sign was predicted need no slot. A value of x with n undecided channels of dz in a half needs ceil(n / 2)
slots, and a window takes as many passes as its fullest class. A window in which nothing is undecided costs one
request to the scheduler but no pass.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from joulebit.errors import JoulebitError

WORD = 8  #: channels of x in a word
WINDOW = 3  #: kernel rows and columns in a window


def class_slots(out_lanes: int) -> int:
    """Slots of a class: 24 with 8 or 16 output lanes, 12 with 4."""
    return 6 * out_lanes // (2 * (out_lanes // min(8, out_lanes)))


def window_passes(undecided: npt.NDArray[np.bool_], out_lanes: int) -> int:
    """Passes of one window and output block.

    Args:
        undecided: (rows, columns, 8, channels of dz), rows and columns at most 3, channels at most out_lanes.
        out_lanes: of the configuration: 4, 8 or 16.
    """
    half = min(8, out_lanes)
    needed = []
    for first in range(0, undecided.shape[3], half):
        slots = (undecided[..., first : first + half].sum(3) + 1) // 2  # rows, columns, 8
        needed += [int(slots[..., :4].sum()), int(slots[..., 4:].sum())]
    return -(-max(needed) // class_slots(out_lanes))


def layer_passes(decided: npt.NDArray[np.bool_], out_lanes: int) -> npt.NDArray[np.int64]:
    """Passes of every window of a layer, or of the channels of x and dz that a tile works on.

    Args:
        decided: (kernel_h, kernel_w, channels of x, channels of dz), where the sign was predicted; the channels as
            they lie in memory, those of padding included: multiples of 8 of x and of 4 of dz.
        out_lanes: of the configuration.

    Returns:
        (output blocks, words of x, windows in a column, windows in a row), 0 where nothing is undecided.

    Raises:
        JoulebitError: when the channels are no such multiples.
    """
    height, width, inputs, outputs = decided.shape
    if inputs % WORD or outputs % 4 or not decided.size:
        raise JoulebitError(
            f"channels of x and dz must be multiples of 8 and 4, got {inputs}, {outputs}: pad the mask"
        )
    shape = (-(-outputs // out_lanes), inputs // WORD, -(-height // WINDOW), -(-width // WINDOW))
    passes = np.zeros(shape, np.int64)
    for block, word, row, column in np.ndindex(shape):
        passes[block, word, row, column] = window_passes(
            ~decided[
                row * WINDOW : (row + 1) * WINDOW,
                column * WINDOW : (column + 1) * WINDOW,
                word * WORD : (word + 1) * WORD,
                block * out_lanes : (block + 1) * out_lanes,
            ],
            out_lanes,
        )
    return passes


def plain_passes(
    kernel_h: int, kernel_w: int, x_words: int, g_channels: int, out_lanes: int
) -> npt.NDArray[np.int64]:
    """Passes without prediction, shape as of `layer_passes`; 6 for each window of a 3x3 kernel and full block."""
    return layer_passes(np.zeros((kernel_h, kernel_w, x_words * WORD, g_channels), np.bool_), out_lanes)


def expected_share(decided_share: float, out_lanes: int, windows: int = 2000, seed: int = 0) -> float:
    """Passes relative to the plain list, 3x3 kernel and full blocks, where each element is decided independently.

    Monte Carlo over `windows` windows. With 16 lanes: 0.84 at 30 %, 0.67 at 50 %, 0.55 at 60 %, 0.50 at 70 %.
    """
    if not 0.0 <= decided_share <= 1.0:
        raise JoulebitError(f"decided_share must be in 0 .. 1, got {decided_share}")
    generator = np.random.default_rng(seed)
    plain = window_passes(np.ones((WINDOW, WINDOW, WORD, out_lanes), np.bool_), out_lanes)
    total = sum(
        window_passes(generator.random((WINDOW, WINDOW, WORD, out_lanes)) >= decided_share, out_lanes)
        for _ in range(windows)
    )
    return total / (windows * plain)
