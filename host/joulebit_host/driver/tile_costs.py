"""What tiles do, from their descriptors alone: products and bytes, of a whole list at once.

The formulas are those of `hw/README.md` ("macs of a result block", "The shell"), as arrays.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from joulebit.spec import accelerator as spec
from joulebit.spec.accelerator import ArrayConfig, Flag, Operation

__all__ = ["ListTotals", "TileCosts", "tile_costs"]

Int64Array = NDArray[np.int64]


class TileCosts(NamedTuple):
    """Per tile."""

    macs: NDArray[np.uint64]  #: products of the pass, gated ones included
    positions: Int64Array  #: pixels of z or dz: products of one element of a weight gradient
    macs_4x10: Int64Array  #: the predictor's
    port0_read: Int64Array  #: bytes: x
    port0_write: Int64Array  #: results
    port1_read: Int64Array  #: dz, weights, mask, the descriptor
    port1_write: Int64Array  #: the result block


class ListTotals(NamedTuple):
    """Sums over a list, of the same names."""

    macs: int
    macs_4x10: int
    port0_read: int
    port0_write: int
    port1_read: int
    port1_write: int


def tile_costs(descriptors: NDArray[Any], config: ArrayConfig) -> TileCosts:
    """The costs of descriptors (DESCRIPTOR_DTYPE) that the hardware accepts."""
    d = {name: descriptors[name].astype(np.int64) for name in descriptors.dtype.names or ()}

    def on(flag: Flag) -> NDArray[np.bool_]:
        return np.asarray(d["flags"] >> flag & 1 == 1)

    operation, lanes = d["operation"], config.out_lanes
    forward, backward = operation == Operation.FORWARD, operation == Operation.INPUT_GRADIENT
    weights, predict = operation == Operation.WEIGHT_GRADIENT, (operation == Operation.PREDICT) | on(Flag.PREDICT)
    convolves = forward | backward
    taps = d["kernel_h"] * d["kernel_w"]
    whole = np.where(backward, 8 * d["x_words"], 4 * d["g_words"])
    channels = np.minimum(whole, (d["out_block"] + d["out_blocks"]) * lanes) - d["out_block"] * lanes
    positions = d["images"] * d["g_rows"] * d["g_columns"]
    meeting = positions * taps * 8 * d["x_words"]
    reached = (
        d["images"]
        * _along(d["x_rows"], d["kernel_h"], d["pad_top"], d["stride"])
        * _along(d["x_columns"], d["kernel_w"], d["pad_left"], d["stride"])
    )
    macs = np.where(forward | weights, meeting * channels, 0) + backward * reached * 4 * d["g_words"] * channels
    pixels = np.where(backward, d["images"] * d["x_rows"] * d["x_columns"], positions)
    last = on(Flag.LAST)
    element = np.where(on(Flag.RAW), 8, np.where(on(Flag.RELU), 1, 2))
    results = convolves * last * pixels * _beat_bytes(channels, element, lanes)
    sums = weights * last * d["out_blocks"] * d["x_words"] * taps * 8 * lanes * np.where(on(Flag.RAW), 8, 1)
    x_bytes = d["images"] * d["x_rows"] * d["x_columns"] * 8 * d["x_words"]
    g_bytes = positions * 8 * d["g_words"]
    masks = convolves * last * on(Flag.MASK) * pixels * _beat_bytes(channels, np.ones_like(element), lanes)
    return TileCosts(
        macs.astype(np.uint64),
        positions,
        predict * positions * taps * 32 * d["x_words"] * d["g_words"],
        np.where(~backward | on(Flag.PREDICT), x_bytes, 0),
        results + sums,
        spec.DESCRIPTOR_BYTES + ~forward * g_bytes + convolves * d["w_bytes"] + masks,
        np.full(len(descriptors), spec.RESULT_BYTES),
    )


def _along(size: Int64Array, kernel: Int64Array, pad: Int64Array, stride: Int64Array) -> Int64Array:
    """Pairs of a place and a tap of its parity, along one axis; stride 1 or 2."""
    even = size - size // 2  # places 0, 2, 4, ...
    first = -(-(kernel - pad % 2) // 2)  # taps that an even place meets: of the parity of pad
    both = even * first + (size - even) * (kernel - first)
    return np.where(stride == 1, size * kernel, both)


def _beat_bytes(channels: Int64Array, element: Int64Array, lanes: int) -> Int64Array:
    """Bytes of the beats of one pixel: each block has beats of its own."""
    full, rest = channels // lanes, channels % lanes
    beats = full * -(-lanes * element // spec.WORD_BYTES) + -(-rest * element // spec.WORD_BYTES)
    return spec.WORD_BYTES * beats
