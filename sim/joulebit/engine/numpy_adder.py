"""Adder layers in plain numpy: the sums of `Engine.adder_forward` and `Engine.adder_input_gradient`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from joulebit.engine.base import ConvGeometry, Int64Array


def distances(x: NDArray[Any], w: NDArray[Any], geometry: ConvGeometry) -> Int64Array:
    """-sum of |x - w| over the window of each output, int64 [N, H_out, W_out, c_out]; x is 0 in the padding."""
    out_h, out_w = geometry.output_size(x.shape[1], x.shape[2])
    padded = _padded(x, geometry)
    total = np.zeros((x.shape[0], out_h, out_w, w.shape[3]), np.int64)
    for row in range(geometry.kernel_h):
        for column in range(geometry.kernel_w):
            seen = padded[_tap(geometry, row, column, out_h, out_w)]
            for c in range(x.shape[3]):
                total -= np.abs(seen[..., c, None] - w[row, column, c].astype(np.int64))
    return total


def clipped_gradient(
    dz: NDArray[Any], x: NDArray[Any], w: NDArray[Any], geometry: ConvGeometry, clip: int
) -> Int64Array:
    """Sum over outputs of dz * clamp(w - x, +-clip), int64 in the shape of x."""
    height, width = x.shape[1:3]
    out_h, out_w = dz.shape[1:3]
    padded, gradient = _padded(x, geometry), dz.astype(np.int64)
    total = np.zeros(padded.shape, np.int64)
    for row in range(geometry.kernel_h):
        for column in range(geometry.kernel_w):
            tap = _tap(geometry, row, column, out_h, out_w)
            seen, target = padded[tap], total[tap]
            for c in range(x.shape[3]):
                difference = np.clip(w[row, column, c].astype(np.int64) - seen[..., c, None], -clip, clip)
                target[..., c] += (gradient * difference).sum(-1)
    rows, columns = geometry.padding_h, geometry.padding_w
    return np.ascontiguousarray(total[:, rows : rows + height, columns : columns + width])


def _padded(x: NDArray[Any], geometry: ConvGeometry) -> Int64Array:
    rows, columns = geometry.padding_h, geometry.padding_w
    return np.pad(x.astype(np.int64), ((0, 0), (rows, rows), (columns, columns), (0, 0)))


def _tap(geometry: ConvGeometry, row: int, column: int, out_h: int, out_w: int) -> tuple[slice, slice, slice]:
    """Index of the padded input's elements that kernel tap (row, column) meets."""
    stride = geometry.stride
    return (
        slice(None),
        slice(row, row + (out_h - 1) * stride + 1, stride),
        slice(column, column + (out_w - 1) * stride + 1, stride),
    )
