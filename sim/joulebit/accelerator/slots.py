"""Passes of the weight gradient, exactly as the accelerator's scheduler makes them (`hw/rtl/jb_scheduler.sv`).

A pass takes every pixel of a tile's dz once and gives each multiplier one of the 72 values of a window of x (3 x 3
taps of a word of 8 channels) and a channel of dz. Multipliers belong to classes of four channels of dz, 48 each;
each has 8 candidates among the values of x (`candidates`), so that it selects among few of them, and any of the
four channels. Elements whose sign was predicted need no multiplier. A pass is made multiplier by multiplier, and a
window takes as many passes as its slowest class. A window in which nothing is undecided costs one request to the
scheduler but no pass.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from joulebit.errors import JoulebitError
from joulebit.spec import candidates as spec
from joulebit.spec.candidates import HOMES, WINDOW, WORD

CLASS_LANES = 4  #: channels of dz in a class


def candidates() -> npt.NDArray[np.int64]:
    """The values of x that each multiplier of a class may take: `joulebit.spec.candidates`, int64 (48, 8)."""
    return np.array(spec.candidates(), np.int64)


def class_passes(left: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Passes of many classes side by side.

    Multipliers take elements in turn, 0 to 47: from the first home candidate with two elements or more, else from
    the first other one with three or more, else from the first home candidate with any, else from the first other
    one.

    Args:
        left: (classes, 72), undecided channels of dz at each value of x, 0..4.
    """
    left = left.copy()
    passes = np.zeros(len(left), np.int64)
    rows = np.arange(len(left))
    table = candidates()
    home = np.arange(WORD) < HOMES
    while left.any():
        passes += left.any(1)
        for own in table:
            count = left[:, own]
            rank = np.where(home, (count > 0) * 2 + (count > 1) * 2, (count > 0) + (count > 2) * 2)
            best = rank.argmax(1)  # the first of the highest
            left[rows, own[best]] -= rank[rows, best] > 0
    return passes


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
    if inputs % WORD or outputs % CLASS_LANES or not decided.size:
        raise JoulebitError(
            f"channels of x and dz must be multiples of 8 and 4, got {inputs}, {outputs}: pad the mask"
        )
    rows, columns, words = -(-height // WINDOW), -(-width // WINDOW), inputs // WORD
    undecided = np.zeros((rows * WINDOW, columns * WINDOW, inputs, outputs), np.int64)
    undecided[:height, :width] = ~decided
    classes = outputs // CLASS_LANES
    counts = undecided.reshape(rows, WINDOW, columns, WINDOW, words, WORD, classes, CLASS_LANES).sum(7)
    counts = counts.transpose(6, 4, 0, 2, 1, 3, 5)  # class, word, window row and column; row, column, channel
    passes = class_passes(counts.reshape(-1, WINDOW * WINDOW * WORD)).reshape(classes, words, rows, columns)
    starts = np.arange(0, classes, out_lanes // CLASS_LANES)
    return np.asarray(np.maximum.reduceat(passes, starts), np.int64)


def plain_passes(
    kernel_h: int, kernel_w: int, x_words: int, g_channels: int, out_lanes: int
) -> npt.NDArray[np.int64]:
    """Passes without prediction, shape as of `layer_passes`; 6 for each window of a 3x3 kernel."""
    one = layer_passes(np.zeros((kernel_h, kernel_w, WORD, CLASS_LANES), np.bool_), out_lanes)
    shape = (-(-g_channels // out_lanes), x_words, *one.shape[2:])
    return np.broadcast_to(one, shape).copy()


def expected_share(decided_share: float, out_lanes: int, windows: int = 2000, seed: int = 0) -> float:
    """Passes relative to the plain list, 3x3 kernel and full blocks, where each element is decided independently.

    Monte Carlo over `windows` windows. With 16 lanes: 0.83 at 30 %, 0.67 at 50 %, 0.51 at 60 %, 0.49 at 70 %.
    """
    if not 0.0 <= decided_share <= 1.0:
        raise JoulebitError(f"decided_share must be in 0 .. 1, got {decided_share}")
    generator = np.random.default_rng(seed)
    decided = generator.random((WINDOW, WINDOW, WORD * windows, out_lanes)) < decided_share
    plain = int(plain_passes(WINDOW, WINDOW, 1, out_lanes, out_lanes)[0, 0, 0, 0])
    return float(layer_passes(decided, out_lanes).sum()) / (windows * plain)
