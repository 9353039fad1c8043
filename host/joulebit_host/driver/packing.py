"""Tensors and weights into board memory, with as few passes over them as can be.

`joulebit.accelerator.packing` defines the layouts; here are its fast forms: a tensor whose channels are a multiple
of 8 is one copy, and the order of packed weights is worked out once per shape and then one gather per call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from joulebit.accelerator.packing import GradientPiece, pack_weights, pad8
from joulebit.spec.accelerator import ArrayConfig, Operation
from joulebit.spec.descriptor import ceil_div, weight_bytes

__all__ = [
    "Empty",
    "WeightPacker",
    "tensor_bytes",
    "tensor_view",
    "unpack_directions",
    "unpack_sums",
    "weight_packer",
    "write_tensor",
]

Empty = Callable[[tuple[int, ...], Any], NDArray[Any]]  #: numpy.empty, or memory that is used again

_DIGIT = 100  #: of the numbers by which the order of packed weights is found: fits int8


def tensor_bytes(shape: Sequence[int], dtype: Any) -> int:
    """Bytes that an NHWC tensor takes in board memory."""
    n, height, width, channels = shape
    return int(n * height * width * pad8(channels) * np.dtype(dtype).itemsize)


def tensor_view(data: NDArray[np.uint8], shape: Sequence[int], dtype: Any) -> NDArray[Any]:
    """The NHWC tensor of this shape in `data` (flat bytes): a view, without the channels of padding."""
    n, height, width, channels = shape
    size = tensor_bytes(shape, dtype)
    values: NDArray[Any] = data[:size].view(np.dtype(dtype).newbyteorder("<"))
    values = values.reshape(n, height, width, pad8(channels))
    return values if channels == pad8(channels) else values[..., :channels]


def write_tensor(data: NDArray[np.uint8], tensor: NDArray[Any]) -> None:
    """An NHWC tensor into `data` (flat bytes of its size); the channels of padding become 0."""
    channels = tensor.shape[3]
    target = tensor_view(data, tensor.shape, tensor.dtype)
    if channels == pad8(channels):
        np.copyto(target, tensor, casting="no")
        return
    data[: tensor_bytes(tensor.shape, tensor.dtype)] = 0
    if channels > pad8(channels) // 2:
        np.copyto(target, tensor, casting="no")
        return
    for channel in range(channels):  # numpy's inner loop is over pixels then
        np.copyto(target[..., channel], tensor[..., channel], casting="no")


def unpack_sums(
    data: NDArray[np.uint8], pieces: Sequence[GradientPiece], shape: tuple[int, int, int, int],
    config: ArrayConfig, empty: Empty = np.empty,
) -> NDArray[np.int64]:  # fmt: skip
    """`joulebit.accelerator.packing.unpack_gradient`: int64 [kernel_h, kernel_w, c_in, c_out], by one copy.

    empty: gives the array, as numpy's does.
    """
    return _collect(data.view("<i8"), pieces, shape, config, empty)


def unpack_directions(
    data: NDArray[np.uint8], pieces: Sequence[GradientPiece], shape: tuple[int, int, int, int],
    config: ArrayConfig, empty: Empty = np.empty,
) -> NDArray[np.int64]:  # fmt: skip
    """The directions of `joulebit.accelerator.packing.unpack_signs`, as int64; empty: as for `unpack_sums`."""
    signs = _collect(data.view(np.int8), pieces, shape, config, empty)
    directions = empty(shape, np.int64)
    np.copyto(directions, signs << 6 >> 6)  # the sign of the lowest two bits
    return directions


def _collect(
    values: NDArray[Any], pieces: Sequence[GradientPiece], shape: tuple[int, int, int, int], config: ArrayConfig,
    empty: Empty,
) -> NDArray[Any]:  # fmt: skip
    """Pieces [block, word, kernel row, kernel column, 8, lane], put together."""
    height, width, c_in, c_out = shape
    lanes, size = config.out_lanes, values.itemsize
    all_words, all_blocks = pad8(c_in) // 8, ceil_div(pad8(c_out), lanes)
    flat = empty((height, width, 8 * all_words, lanes * all_blocks), values.dtype)
    side_by_side = np.dtype((np.void, size * lanes))  # all lanes: numpy copies them as one
    whole = flat.view(side_by_side).reshape(height, width, all_words, 8, all_blocks)
    for piece in pieces:
        blocks, words, rows, columns = (stop - start for start, stop in piece[1:])
        start = piece.offset // size
        part = values[start : start + piece.elements(config)].view(side_by_side)
        whole[slice(*piece.rows), slice(*piece.columns), slice(*piece.words), :, slice(*piece.blocks)] = (
            part.reshape(blocks, words, rows, columns, 8).transpose(2, 3, 1, 4, 0)
        )
    return np.ascontiguousarray(flat[:, :, :c_in, :c_out])


@dataclass(frozen=True)
class WeightPacker:
    """Where each byte of the packed weights of one shape comes from.

    Attributes:
        size: bytes of the packed weights.
        index: intp [size]: flat position in w of each byte that holds a weight, 0 for the others.
        inverse: int32 [w.size]: the byte that holds each weight.
        zeros: intp: bytes that hold neither a weight nor a part of an initial sum.
        heads: intp [ranges, blocks * out_lanes]: the initial sums, as places of 64-bit words.
        lanes, blocks, produced: output lanes, output blocks per range, channels produced.
        transposed: whether the channels exchange their roles (input gradient).
    """

    size: int
    index: NDArray[np.intp]
    inverse: NDArray[np.int32]
    zeros: NDArray[np.intp]
    heads: NDArray[np.intp]
    lanes: int
    blocks: int
    produced: int
    transposed: bool

    def pack(self, w: NDArray[np.int8], out: NDArray[np.uint8], x_unsigned: bool) -> None:
        """The packed weights of w into `out` [size]; x_unsigned: the forward pass of unsigned activations."""
        w.reshape(-1).view(np.uint8).take(self.index, out=out, mode="clip")
        if len(self.zeros):
            out[self.zeros] = 0
        out.view("<i8")[self.heads] = self._initial(w) if x_unsigned and not self.transposed else 0

    def unpack(
        self, data: NDArray[np.uint8], shape: tuple[int, int, int, int], x_unsigned: bool
    ) -> NDArray[np.int8] | None:
        """The weights, int8 of this shape, from packed bytes; None where `pack` does not give those bytes."""
        w = data[self.inverse].view(np.int8).reshape(shape)
        if len(self.zeros) and data[self.zeros].any():
            return None
        return w if self.heads_fit(data, w, x_unsigned) else None

    def heads_fit(self, data: NDArray[np.uint8], w: NDArray[np.int8], x_unsigned: bool) -> bool:
        """Whether the initial sums in packed bytes are those of these weights."""
        found = data.view("<i8")[self.heads]
        if not x_unsigned or self.transposed:
            return not found.any()
        return bool((found == self._initial(w)).all())

    def _initial(self, w: NDArray[np.int8]) -> NDArray[np.int64]:
        """Initial sums of all lanes: 128 * the sum of the weights, since the array multiplies x - 128."""
        sums = np.zeros(self.blocks * self.lanes, "<i8")
        weights = self._weights
        sums[: self.produced] = weights.dot(w.reshape(len(weights), -1).astype(weights.dtype))
        return sums

    @cached_property
    def _weights(self) -> NDArray[Any]:
        """128 for each weight that is summed: floating point, which is quicker than integers, and exact here."""
        count = len(self.inverse) // self.produced
        return np.full(count, 128, np.float32 if 128 * 128 * count <= 1 << 24 else np.float64)


@lru_cache(maxsize=512)
def weight_packer(
    shape: tuple[int, int, int, int],
    config: ArrayConfig,
    operation: Operation,
    stride: int,
    lane_mode: int,
    ranges: tuple[tuple[int, int], ...],
) -> WeightPacker:
    """The packer of weights [kernel_h, kernel_w, c_in, c_out] for a planned pass (`Plan.lane_mode`, `.ranges`)."""
    count = int(np.prod(shape))
    numbers = np.arange(count)
    position = np.zeros(0, np.int64)
    factor = 1
    while factor <= max(count - 1, 1):
        # 1 .. _DIGIT in each byte that holds a weight, 0 elsewhere: one digit of the weight's number.
        digit = (numbers // factor % _DIGIT + 1).astype(np.int8).reshape(shape)
        packed = pack_weights(digit, config, operation, stride, lane_mode, False, ranges).astype(np.int64)
        position = position if factor > 1 else np.zeros(len(packed), np.int64)
        position += (packed - 1) * factor
        used = packed > 0
        factor *= _DIGIT
    index = np.where(used, position, 0).astype(np.intp)
    inverse = np.zeros(count, np.int32)
    inverse[index[used]] = np.flatnonzero(used)
    height, width, c_in, c_out = shape
    forward = operation == Operation.FORWARD
    produced = c_out if forward else c_in
    blocks = ceil_div(pad8(produced), config.out_lanes)
    starts: list[list[int]] = []
    start = 0
    for first, last in ranges or ((0, pad8(c_in if forward else c_out)),):
        x_words, g_words = (ceil_div(last - first, 8), 0) if forward else (0, ceil_div(last - first, 4))
        size = weight_bytes(operation, (height, width), lane_mode, x_words, g_words, config)
        starts.append([start + block * size for block in range(blocks)])
        start += blocks * size
    heads = (np.array(starts, np.intp)[..., None] // 8 + np.arange(config.out_lanes)).reshape(len(starts), -1)
    empty = ~used
    empty.reshape(-1, 8)[heads] = False
    zeros = np.flatnonzero(empty)
    return WeightPacker(
        len(index),
        index,
        inverse,
        zeros,
        heads,
        config.out_lanes,
        blocks,
        produced,
        not forward,
    )
