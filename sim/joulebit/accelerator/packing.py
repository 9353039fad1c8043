"""Tensors as the accelerator reads and writes them: NHWC padded to 8 channels, packed weights, weight gradients.

All of it is gathers and reshapes of whole arrays. `hw/README.md` ("Tensors in memory", "What a tile computes,
exactly") defines the layouts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from joulebit.spec.accelerator import ArrayConfig, Operation
from joulebit.spec.descriptor import ceil_div

__all__ = [
    "GradientPiece",
    "WeightOrder",
    "pack_tensor",
    "pack_weights",
    "pad8",
    "unpack_gradient",
    "unpack_signs",
    "unpack_tensor",
    "weight_order",
]


def pad8(channels: int) -> int:
    """channels rounded up to a multiple of 8."""
    return 8 * ceil_div(channels, 8)


def pack_tensor(tensor: NDArray[Any]) -> NDArray[np.uint8]:
    """Bytes (flat) of an NHWC tensor, little-endian, its channels padded with zeros to a multiple of 8."""
    n, height, width, channels = tensor.shape
    padded = np.zeros((n, height, width, pad8(channels)), tensor.dtype.newbyteorder("<"))
    padded[..., :channels] = tensor
    return padded.reshape(-1).view(np.uint8)


def unpack_tensor(data: NDArray[np.uint8], shape: tuple[int, int, int, int], dtype: Any) -> NDArray[Any]:
    """The NHWC tensor of this shape and dtype from `pack_tensor`'s bytes."""
    n, height, width, channels = shape
    values: NDArray[Any] = data.view(np.dtype(dtype).newbyteorder("<"))
    return values.reshape(n, height, width, pad8(channels))[..., :channels]


class WeightOrder(NamedTuple):
    """Which weight each byte of a block's groups is, for one lane: int64 [groups, 4, 3] each."""

    channel: NDArray[np.int64]  #: summed over: of x (forward) or dz (input gradient)
    row: NDArray[np.int64]
    column: NDArray[np.int64]
    valid: NDArray[np.bool_]  #: False: a zero stands here


def weight_order(operation: int, kernel: tuple[int, int], stride: int, lane_mode: int, fours: int) -> WeightOrder:
    """The order of the stream for `fours` groups of 4 channels that are summed over.

    lane_mode 0: fours, kernel rows, threes of kernel columns. lane_mode 1: twelves, kernel rows, kernel columns;
    the input gradient with stride 2 goes by the parities of taps first.
    """
    height, width = kernel
    i, k = np.meshgrid(np.arange(4), np.arange(3), indexing="ij")
    if lane_mode == 0:
        grid = np.meshgrid(np.arange(fours), np.arange(height), np.arange(ceil_div(width, 3)), indexing="ij")
        four, row, third = (axis.reshape(-1, 1, 1) for axis in grid)
        channel, column = 4 * four + i + 0 * k, 3 * third + k + 0 * i
        row = row + 0 * channel
        column = column + 0 * channel
        valid = column < width
    else:
        parities = [(a, b) for a in (0, 1) for b in (0, 1)]
        if operation == Operation.INPUT_GRADIENT and stride == 2:
            parts = [(range(a, height, 2), range(b, width, 2)) for a, b in parities]
        else:
            parts = [(range(height), range(width))]
        twelves = ceil_div(fours, 3)
        visits = [
            (twelve, kr, kc)
            for rows, columns in parts
            for twelve in range(twelves)
            for kr in rows
            for kc in columns
        ]
        order = np.array(visits, np.int64).reshape(-1, 3, 1, 1)
        channel = 12 * order[:, 0] + 4 * k + i
        row = order[:, 1] + 0 * channel
        column = order[:, 2] + 0 * channel
        valid = channel < 4 * fours
    return WeightOrder(channel, row, column, valid)


def pack_weights(
    w: NDArray[Any],
    config: ArrayConfig,
    operation: Operation,
    stride: int,
    lane_mode: int,
    x_unsigned: bool = False,
    ranges: Sequence[tuple[int, int]] = (),
) -> NDArray[np.uint8]:
    """The packed weights (flat bytes) of w, int8 [kernel_h, kernel_w, c_in, c_out].

    ranges: (start, stop) of the channels summed over, multiples of 4 (of 8 for the forward pass), packed one after
    another; by default all at once. Each is [output block][initial sums, groups].
    """
    if operation == Operation.INPUT_GRADIENT:
        w = w.transpose(0, 1, 3, 2)
    height, width, summed, produced = w.shape
    blocks = ceil_div(pad8(produced), config.out_lanes)
    padded = np.zeros((height, width, pad8(summed) + 12, blocks * config.out_lanes), np.int8)
    padded[:, :, :summed, :produced] = w
    initial = np.zeros(blocks * config.out_lanes, "<i8")
    if operation == Operation.FORWARD and x_unsigned:
        initial[:produced] = 128 * w.astype(np.int64).sum(axis=(0, 1, 2))
    heads = initial.reshape(blocks, config.out_lanes).view(np.uint8)
    packed = []
    for start, stop in ranges or ((0, pad8(summed)),):
        order = weight_order(operation, (height, width), stride, lane_mode, ceil_div(stop - start, 4))
        column = np.where(order.valid, order.column, 0)
        channel = np.where(order.valid, order.channel + start, 0)
        values = np.where(order.valid[..., None], padded[order.row, column, channel], 0).astype(np.int8)
        values = values.reshape(len(values), 4, 3, blocks, config.out_lanes).transpose(3, 0, 4, 1, 2)
        groups = np.ascontiguousarray(values).reshape(blocks, -1).view(np.uint8)
        packed.append(np.concatenate([heads, groups], axis=1).reshape(-1))
    return np.concatenate(packed)


class GradientPiece(NamedTuple):
    """A part of a weight gradient that one run of tiles leaves in memory, linear from `offset`."""

    offset: int  #: bytes from the start of the result
    blocks: tuple[int, int]  #: output blocks of the layer, start and stop
    words: tuple[int, int]  #: 8-channel words of x
    rows: tuple[int, int]  #: kernel rows
    columns: tuple[int, int]  #: kernel columns

    def elements(self, config: ArrayConfig) -> int:
        size = 8 * config.out_lanes
        for start, stop in self[1:]:
            size *= stop - start
        return size


def _gather(
    data: NDArray[np.uint8],
    pieces: Sequence[GradientPiece],
    shape: tuple[int, int, int, int],
    config: ArrayConfig,
    dtype: Any,
) -> NDArray[Any]:
    height, width, c_in, c_out = shape
    lanes = config.out_lanes
    whole = np.zeros((height, width, pad8(c_in), ceil_div(pad8(c_out), lanes) * lanes), dtype)
    for piece in pieces:
        size = piece.elements(config) * np.dtype(dtype).itemsize
        part = data[piece.offset : piece.offset + size].view(dtype)
        blocks, words, rows, columns = (stop - start for start, stop in piece[1:])
        part = part.reshape(blocks, words, rows, columns, 8, lanes).transpose(2, 3, 1, 4, 0, 5)
        whole[
            slice(*piece.rows),
            slice(*piece.columns),
            8 * piece.words[0] : 8 * piece.words[1],
            lanes * piece.blocks[0] : lanes * piece.blocks[1],
        ] = part.reshape(rows, columns, 8 * words, lanes * blocks)
    return whole[:, :, :c_in, :c_out]


def unpack_gradient(
    data: NDArray[np.uint8],
    pieces: Sequence[GradientPiece],
    shape: tuple[int, int, int, int],
    config: ArrayConfig,
) -> NDArray[np.int64]:
    """int64 [kernel_h, kernel_w, c_in, c_out] (`shape`) from RAW weight gradients."""
    return _gather(data, pieces, shape, config, "<i8")


def unpack_signs(
    data: NDArray[np.uint8],
    pieces: Sequence[GradientPiece],
    shape: tuple[int, int, int, int],
    config: ArrayConfig,
) -> tuple[NDArray[np.int8], NDArray[np.bool_]]:
    """From SELECTIVE results: directions -1, 0, 1 and which were predicted; [kernel_h, kernel_w, c_in, c_out]."""
    raw = _gather(data, pieces, shape, config, np.uint8)
    direction = (raw & 3).astype(np.int8)
    return np.where(direction == 3, np.int8(-1), direction), raw >> 7 == 1
