"""Passes over whole layers in the memory of a virtual board, with peaks and saturated elements per tile.

The sums come from the compiled kernels where numba is installed and the processor has vectors, else from products
of matrices in numpy. Both give what the functional model computes tile by tile.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from joulebit.accelerator.tiling import Layer
from joulebit.engine.base import ConvGeometry
from joulebit.fixed.arithmetic import Arithmetic
from joulebit.fixed.matmul import integer_matmul
from joulebit.fixed.rounding import Rounding, peak, saturate, shift_round
from joulebit.kernels.scratch import address
from joulebit.spec.accelerator import Operation
from joulebit_host.boards.threads import shared_workers
from joulebit_host.driver.packing import WeightPacker
from joulebit_host.driver.plans import PassKey

if TYPE_CHECKING:
    from joulebit.engine.fast_kernels import FastKernels

__all__ = ["Tiles", "WholeLayers", "tiles_of"]

Int64Array = NDArray[np.int64]


@dataclass(frozen=True)
class Tiles:
    """How a pass's result is cut into tiles that hold all channels: starts along each axis, in order."""

    images: Int64Array
    rows: Int64Array
    columns: Int64Array

    @cached_property
    def part(self) -> int:
        """Columns of a tile; 0: all."""
        return int(self.columns[1]) if len(self.columns) > 1 else 0

    @cached_property
    def regular(self) -> bool:
        """Whether all tiles but the last ones of their rows have `part` columns."""
        return bool((self.columns == self.part * np.arange(len(self.columns))).all())

    def of_records(self, records: Int64Array) -> tuple[Int64Array, Int64Array]:
        """(peak, saturated) per tile, in list order, of records [images, rows, parts of `part` columns, 2]."""
        from joulebit.kernels.board_memory import tile_results

        count = len(self.images) * len(self.rows) * len(self.columns)
        peaks, saturated = np.empty(count, np.int64), np.empty(count, np.int64)
        tile_results(records, self.images, self.rows, peaks, saturated)
        return peaks, saturated

    def largest(self, values: Int64Array) -> Int64Array:
        """The maximum over each tile of [images, rows, columns or parts of them], in list order."""
        return self._reduce(np.maximum, values)

    def total(self, values: Int64Array) -> Int64Array:
        """The sum over each tile."""
        return self._reduce(np.add, values)

    def _reduce(self, function: Any, values: Int64Array) -> Int64Array:
        for axis, starts in enumerate((self.images, self.rows, self.columns)):
            if values.shape[axis] != len(starts):
                values = function.reduceat(values, starts, axis)
        return np.asarray(values.reshape(-1))


def tiles_of(descriptors: NDArray[Any], by_x: bool) -> Tiles | None:
    """The cut of a plan's descriptors (addresses from 0 on); None where tiles do not hold all channels.

    by_x: the result has the size of x (input gradient), else that of z.
    """
    side = "x" if by_x else "g"
    d = {name: descriptors[name].astype(np.int64) for name in descriptors.dtype.names or ()}
    if len(np.unique(d["out_block"])) > 1 or (d["x_pixel_stride"] | d["g_pixel_stride"]).any():
        return None
    image_stride, row_stride = d["out_image_stride"], d["out_row_stride"]
    image, rest = d["out_address"] // image_stride, d["out_address"] % image_stride
    row, column = rest // row_stride, rest % row_stride // d["out_pixel_stride"]
    tiles = Tiles(np.unique(image), np.unique(row), np.unique(column))
    place = np.stack([image, row, column])
    starts = (tiles.images, tiles.rows, tiles.columns)
    grid = np.stack([axis.reshape(-1) for axis in np.meshgrid(*starts, indexing="ij")])
    sizes = np.stack([d["images"], d[f"{side}_rows"], d[f"{side}_columns"]])
    return tiles if place.shape == grid.shape and (place == grid).all() and (sizes > 0).all() else None


class WholeLayers:
    """Computes passes on arrays; results do not depend on how.

    Args:
        compiled: False to do without numba even where it is installed.
        threads: of the compiled kernels; None: all processors.
    """

    def __init__(self, compiled: bool = True, threads: int | None = None) -> None:
        self._engine: Any = None
        self._fast: FastKernels | None = None
        if compiled:
            self._engine, self._fast = _compiled(threads)
        if self._engine is None:
            from joulebit.engine.numpy_engine import NumpyEngine

            self._engine = NumpyEngine(Arithmetic())

    def forward(
        self, key: PassKey, x: NDArray[Any], w: NDArray[np.int8], shift: int, out: NDArray[Any], tiles: Tiles
    ) -> tuple[Int64Array, Int64Array]:
        """z into out [N, H_out, W_out, C]; (peak, saturated) per tile."""
        if self._fast and not key.raw and not key.relu and key.rounding == 0 and tiles.regular:
            records = np.empty((*out.shape[:2], len(tiles.columns), 2), np.int64)
            if self._fast.conv_forward(x, w, _geometry(key.layer), shift, out, records, tiles.part):
                return tiles.of_records(records)
        return _store(key, _forward_sums(x, w, key.layer), None, shift, out, tiles)

    def input_gradient(
        self, key: PassKey, dz: NDArray[np.int16], w: NDArray[np.int8], mask: NDArray[np.uint8] | None, shift: int,
        out: NDArray[Any], tiles: Tiles,
    ) -> tuple[Int64Array, Int64Array]:  # fmt: skip
        """The gradient into out [N, H, W, C]; (peak, saturated) per tile."""
        layer = key.layer
        if self._fast and (key.raw or key.rounding == 0) and tiles.regular:
            records = np.empty((*out.shape[:2], len(tiles.columns), 2), np.int64)
            if self._fast.conv_input_gradient(
                dz, w, _geometry(layer), (layer.height, layer.width), shift, 0, None, 1, 0, mask, key.mask_below,
                out, records, tiles.part,
            ):  # fmt: skip
                return tiles.of_records(records)
        return _store(key, _input_sums(dz, w, layer), mask, shift, out, tiles)

    def begin_gradient(self, key: PassKey, x: NDArray[Any], dz: NDArray[np.int16]) -> Callable[[], Int64Array]:
        """Exact sums [kernel_h, kernel_w, c_in, c_out] of a weight gradient, of a prediction the predictor's.

        A call of what is returned gives them; compiled kernels begin at once, by helper threads.
        """
        geometry = _geometry(key.layer)
        msb = key.operation != Operation.WEIGHT_GRADIENT
        if self._fast is not None:
            begun = self._engine.begin_weight_gradient(x, dz, geometry, msb)
            return lambda: np.asarray(begun()[0])
        if msb:
            return lambda: np.asarray(self._engine.conv_weight_gradient_msb(x, dz, geometry))
        return lambda: np.asarray(self._engine.conv_weight_gradient(x, dz, geometry)[0])

    def unpack(
        self, packer: WeightPacker, packed: NDArray[np.uint8], shape: tuple[int, int, int, int], x_unsigned: bool
    ) -> NDArray[np.int8] | None:
        """`WeightPacker.unpack`."""
        if self._fast is None:
            return packer.unpack(packed, shape, x_unsigned)
        from joulebit.kernels.board_memory import unpack_weights

        w = np.empty(shape, np.int8)
        if not unpack_weights(packed.view(np.int8), packer.inverse, packer.zeros, w.reshape(-1)):
            return None
        return w if packer.heads_fit(packed, w, x_unsigned) else None

    def store_sums(self, exact: Int64Array, out: NDArray[np.uint8]) -> int:
        """Sums of a weight gradient [block, word of x, kernel row, kernel column, 8, lane] into `out`, flat; their
        largest magnitude.
        """
        if self._fast is not None:
            from joulebit.kernels import board_memory

            return int(board_memory.store_sums(*_sums(exact), address(out)))
        out.view(np.int64).reshape(exact.shape)[...] = exact
        return peak(exact)

    def sign_bytes(self, exact: Int64Array, guess: Int64Array, threshold: int, out: NDArray[np.uint8]) -> int:
        """Directions of a weight gradient into `out`, flat, 128 where |guess| decides; how many it decides."""
        if self._fast is not None:
            from joulebit.kernels import board_memory

            guess = np.ascontiguousarray(guess)
            return int(board_memory.sign_bytes(*_sums(exact), address(guess), threshold, address(out)))
        decided = np.abs(guess) >= threshold
        direction = np.where(decided, np.sign(guess), np.sign(exact)) & 3
        out[...] = (direction | np.where(decided, 128, 0)).astype(np.uint8).reshape(-1)
        return int(np.count_nonzero(decided))


def _sums(exact: Int64Array) -> tuple[int, ...]:
    """Sums of a weight gradient, whose lanes are side by side, as `joulebit.kernels.board_memory` takes them."""
    return (address(exact), *exact.shape[:4], *exact.strides[:5], exact.shape[5])


def _compiled(threads: int | None) -> tuple[Any, FastKernels | None]:
    try:
        from joulebit.engine.numba_engine import NumbaEngine
    except ModuleNotFoundError:
        return None, None
    engine = NumbaEngine(Arithmetic(), workers=shared_workers(threads))
    return engine, engine.fast


@lru_cache(maxsize=512)
def _geometry(layer: Layer) -> ConvGeometry:
    return ConvGeometry(layer.kernel_h, layer.kernel_w, layer.stride, layer.padding_h, layer.padding_w)


def _taps(layer: Layer) -> list[tuple[int, int, tuple[slice, slice, slice]]]:
    """Kernel row and column, and where all pixels of z meet it in x with its padding."""

    def along(first: int, count: int) -> slice:
        return slice(first, first + (count - 1) * layer.stride + 1, layer.stride)

    return [
        (row, column, (slice(None), along(row, layer.out_h), along(column, layer.out_w)))
        for row in range(layer.kernel_h)
        for column in range(layer.kernel_w)
    ]


def _forward_sums(x: NDArray[Any], w: NDArray[np.int8], layer: Layer) -> Int64Array:
    border = ((0, 0), (layer.padding_h, layer.padding_h), (layer.padding_w, layer.padding_w), (0, 0))
    padded = np.pad(x.astype(np.int64), border)
    total = np.zeros((layer.images, layer.out_h, layer.out_w, w.shape[3]), np.int64)
    for row, column, where in _taps(layer):
        total += integer_matmul(padded[where], w[row, column].astype(np.int64))
    return total


def _input_sums(dz: NDArray[np.int16], w: NDArray[np.int8], layer: Layer) -> Int64Array:
    rows, columns = layer.height + 2 * layer.padding_h, layer.width + 2 * layer.padding_w
    spread = np.zeros((layer.images, rows, columns, w.shape[2]), np.int64)
    wide = dz.astype(np.int64)
    for row, column, where in _taps(layer):
        spread[where] += integer_matmul(wide, w[row, column].astype(np.int64).T)
    return spread[
        :, layer.padding_h : layer.padding_h + layer.height, layer.padding_w : layer.padding_w + layer.width
    ]


def _store(
    key: PassKey, total: Int64Array, mask: NDArray[np.uint8] | None, shift: int, out: NDArray[Any], tiles: Tiles
) -> tuple[Int64Array, Int64Array]:
    """Mask, peak, shift, clamp; into out. (peak, saturated) per tile."""
    if mask is not None:
        passes = (mask > 0) & ((key.mask_below == 0) | (mask < key.mask_below))
        total = np.where(passes, total, 0)
    peaks = tiles.largest(np.abs(total).max(axis=3))
    if key.raw:
        out[...] = total
        return peaks, np.zeros_like(peaks)
    value = shift_round(total, shift, Rounding(key.rounding))
    clamped = np.clip(value, 0, 255) if key.relu else saturate(value, 16)
    lost = value > 255 if key.relu else value != clamped
    out[...] = clamped
    return peaks, tiles.total(lost.sum(axis=3, dtype=np.int64))
