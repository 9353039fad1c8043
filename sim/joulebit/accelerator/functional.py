"""The accelerator as a function of memory: executes descriptor lists as `hw/README.md` says the hardware does.

    accelerator = Functional(CONFIGS["tiny"], memory)
    accelerator.run(descriptor_address, count)

Everything but time is that of the RTL: memory, result blocks, error bits, counters of products and elements. The
tests hold the RTL to this model, and this model to the engines.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from joulebit.accelerator.packing import weight_order
from joulebit.errors import JoulebitError
from joulebit.fixed.matmul import integer_matmul
from joulebit.fixed.rounding import Rounding, peak, saturate, shift_round
from joulebit.spec import accelerator as spec
from joulebit.spec.accelerator import ArrayConfig, ErrorBit, Flag, Operation
from joulebit.spec.descriptor import DESCRIPTOR_DTYPE, RESULT_DTYPE, ceil_div, errors, total_blocks, weight_bytes

__all__ = ["Functional", "Status"]

Int64Array = NDArray[np.int64]


class _BusError(Exception):
    """An access outside the memory."""


@dataclass
class Status:
    """What the registers say after a list.

    Attributes:
        error: ErrorBit mask, 0 when all went well; index: of the descriptor that failed.
        done: descriptors completed.
    """

    error: int = 0
    error_index: int = 0
    done: int = 0


@dataclass
class _Tile:
    """A descriptor's fields as Python ints."""

    fields: dict[str, int]

    def __getattr__(self, name: str) -> int:
        try:
            return self.fields[name]
        except KeyError as error:
            raise AttributeError(name) from error

    def on(self, bit: Flag) -> bool:
        return bool(self.fields["flags"] >> bit & 1)


@dataclass
class _Outcome:
    """A result block's numbers."""

    peak: int = 0
    saturated: int = 0
    decided: int = 0
    undecided: int = 0
    macs: int = 0
    macs_gated: int = 0
    macs_4x10: int = 0


@dataclass
class Functional:
    """The accelerator of `config` on `memory` (uint8, changed in place), whose first byte has address `base`.

    Attributes:
        counters: of products and elements by register name ("MACS_8X8", ...), and bytes per port; sums over lists.
        faults: (start, stop) of addresses that answer with a bus error, as a memory with a defect would.
    """

    config: ArrayConfig
    memory: NDArray[np.uint8]
    base: int = 0
    counters: dict[str, int] = field(default_factory=dict)
    faults: list[tuple[int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        names = ("MACS_8X8", "MACS_8X16", "MACS_4X10", "MACS_GATED", "DECIDED", "UNDECIDED")
        ports = ("PORT0_READ_BYTES", "PORT0_WRITE_BYTES", "PORT1_READ_BYTES", "PORT1_WRITE_BYTES")
        self.counters = dict.fromkeys((*names, *ports), 0) | self.counters
        self._sums: Int64Array | None = None
        self._dw: Int64Array | None = None
        self._predicted: Int64Array | None = None
        self._predicted_max = 0

    def run(self, address: int, count: int) -> Status:
        """Executes `count` descriptors from `address` on; stops at the first with an error."""
        status = Status()
        if count == 0:
            status.error = 1 << ErrorBit.DESC_COUNT
            return status
        for index in range(count):
            try:
                descriptor = self._block(address + spec.DESCRIPTOR_BYTES * index, DESCRIPTOR_DTYPE)
                self.counters["PORT1_READ_BYTES"] += spec.DESCRIPTOR_BYTES
            except _BusError:
                return Status(1 << ErrorBit.BUS_READ, index, index)
            tile = _Tile({name: int(descriptor[name]) for name in DESCRIPTOR_DTYPE.names or ()})
            wrong = errors(descriptor, self.config)
            outcome = _Outcome()
            if not wrong:
                try:
                    outcome = self._execute(tile)
                except _BusError as error:
                    wrong = 1 << int(str(error))
            trusted = not wrong & sum(1 << bit for bit in (ErrorBit.MAGIC, ErrorBit.VERSION, ErrorBit.CHECK))
            if trusted and tile.result_address % 8 == 0:
                try:
                    self._write_result(tile, wrong, outcome)
                except _BusError:
                    wrong |= 1 << ErrorBit.BUS_WRITE
            if wrong:
                return Status(wrong, index, index)
            status.done += 1
        return status

    # ---- memory

    def _span(self, address: int, size: int) -> slice:
        start = address - self.base
        broken = any(address < stop and begin < address + size for begin, stop in self.faults)
        if start < 0 or start + size > len(self.memory) or broken:
            raise _BusError(int(ErrorBit.BUS_READ))
        return slice(start, start + size)

    def _block(self, address: int, dtype: np.dtype[Any]) -> Any:
        return self.memory[self._span(address, dtype.itemsize)].copy().view(dtype)[0]

    def _view(self, address: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> NDArray[np.uint8]:
        """A strided view of bytes; no copy, so that writing through it writes memory."""
        reach = sum((length - 1) * stride for length, stride in zip(shape, strides))
        window = self.memory[self._span(address, reach + 1)]
        return np.lib.stride_tricks.as_strided(window, shape, strides)

    def _load(self, tile: _Tile, side: str) -> Int64Array:
        """x or dz of the tile: int64 [images, rows, columns, channels]."""
        fields = tile.fields
        images, rows, columns, words = (
            fields[name] for name in ("images", f"{side}_rows", f"{side}_columns", f"{side}_words")
        )
        pixel = fields[f"{side}_pixel_stride"] or 8 * words
        strides = (fields[f"{side}_image_stride"], fields[f"{side}_row_stride"], pixel, 1)
        data = self._view(fields[f"{side}_address"], (images, rows, columns, 8 * words), strides).copy()
        self.counters["PORT0_READ_BYTES" if side == "x" else "PORT1_READ_BYTES"] += data.size
        if side == "g":
            return data.view("<i2").astype(np.int64)
        return data.view(np.uint8 if tile.on(Flag.X_UNSIGNED) else np.int8).astype(np.int64)

    def _weights(self, tile: _Tile) -> tuple[Int64Array, Int64Array]:
        """(initial sums [blocks, lanes], weights [kernel_h, kernel_w, channels summed over, blocks, lanes])."""
        lanes = self.config.out_lanes
        kernel = (tile.kernel_h, tile.kernel_w)
        fours = tile.g_words if tile.operation == Operation.INPUT_GRADIENT else 2 * tile.x_words
        size = weight_bytes(tile.operation, kernel, tile.lane_mode, tile.x_words, tile.g_words, self.config)
        data = self.memory[self._span(tile.w_address, tile.w_bytes)].reshape(tile.out_blocks, size)
        self.counters["PORT1_READ_BYTES"] += tile.w_bytes
        initial = np.ascontiguousarray(data[:, : 8 * lanes]).view("<i8").astype(np.int64)
        groups = data[:, 8 * lanes :].view(np.int8).reshape(tile.out_blocks, -1, lanes, 4, 3)
        order = weight_order(tile.operation, kernel, tile.stride, tile.lane_mode, fours)
        w = np.zeros((*kernel, 4 * fours, tile.out_blocks, lanes), np.int64)
        values = groups.transpose(1, 3, 4, 0, 2)
        w[order.row[order.valid], order.column[order.valid], order.channel[order.valid]] = values[order.valid]
        return initial, w

    def _write_result(self, tile: _Tile, wrong: int, outcome: _Outcome) -> None:
        block = np.zeros(1, RESULT_DTYPE)
        block["status"] = 2 if wrong else 1
        block["error"] = wrong
        for name in ("peak", "saturated", "decided", "undecided", "macs", "macs_gated"):
            block[name] = getattr(outcome, name)
        self.memory[self._span(tile.result_address, spec.RESULT_BYTES)] = block.view(np.uint8)
        self.counters["PORT1_WRITE_BYTES"] += spec.RESULT_BYTES

    # ---- tiles

    def _execute(self, tile: _Tile) -> _Outcome:
        outcome = _Outcome()
        operation = tile.operation
        x = g = np.zeros((0, 0, 0, 0), np.int64)
        if operation != Operation.INPUT_GRADIENT or tile.on(Flag.PREDICT):
            x = self._load(tile, "x")
        if operation != Operation.FORWARD:
            g = self._load(tile, "g")
        if operation == Operation.PREDICT or tile.on(Flag.PREDICT):
            self._predict(tile, x, g)
            outcome.macs_4x10 = self._macs(tile, 32 * tile.x_words * tile.g_words)
        if operation in (Operation.FORWARD, Operation.INPUT_GRADIENT):
            self._convolve(tile, x, g, outcome)
        elif operation == Operation.WEIGHT_GRADIENT:
            self._weight_gradient(tile, x, g, outcome)
        self.counters["MACS_8X8" if operation == Operation.FORWARD else "MACS_8X16"] += outcome.macs
        for name in ("MACS_4X10", "MACS_GATED", "DECIDED", "UNDECIDED"):
            self.counters[name] += getattr(outcome, name.lower())
        return outcome

    @staticmethod
    def _macs(tile: _Tile, products: int) -> int:
        """products for each tap at each pixel of the output side."""
        return products * tile.images * tile.g_rows * tile.g_columns * tile.kernel_h * tile.kernel_w

    @staticmethod
    def _padded_x(tile: _Tile, x: Int64Array) -> Int64Array:
        """x with zeros around it: tap (kr, kc) of pixel (r, c) is at (r * stride + kr, c * stride + kc)."""
        rows = (tile.g_rows - 1) * tile.stride + tile.kernel_h
        columns = (tile.g_columns - 1) * tile.stride + tile.kernel_w
        padded = np.zeros((tile.images, rows, columns, x.shape[3]), np.int64)
        inside = x[:, : max(0, rows - tile.pad_top), : max(0, columns - tile.pad_left)]
        padded[
            :, tile.pad_top : tile.pad_top + inside.shape[1], tile.pad_left : tile.pad_left + inside.shape[2]
        ] = inside
        return padded

    @staticmethod
    def _tap(tile: _Tile, row: int, column: int) -> tuple[slice, slice, slice]:
        """Where tap (row, column) of all pixels lies in `_padded_x`."""
        return (
            slice(None),
            slice(row, row + (tile.g_rows - 1) * tile.stride + 1, tile.stride),
            slice(column, column + (tile.g_columns - 1) * tile.stride + 1, tile.stride),
        )

    def _channels(self, tile: _Tile) -> int:
        """Channels of the tile's blocks that exist."""
        whole = 8 * tile.x_words if tile.operation == Operation.INPUT_GRADIENT else 4 * tile.g_words
        lanes = self.config.out_lanes
        return min(whole, (tile.out_block + tile.out_blocks) * lanes) - tile.out_block * lanes

    def _convolve(self, tile: _Tile, x: Int64Array, g: Int64Array, outcome: _Outcome) -> None:
        initial, w = self._weights(tile)
        channels = self._channels(tile)
        if tile.operation == Operation.FORWARD:
            total = self._forward_sums(tile, x, w)
            outcome.macs = self._macs(tile, 8 * tile.x_words * channels)
        else:
            total = self._input_sums(tile, g, w)
            outcome.macs = self._reached(tile) * 4 * tile.g_words * channels
        if tile.operation == Operation.FORWARD and tile.on(Flag.X_UNSIGNED):
            # The array multiplies x - 128, padding included: a pad is -128. The initial sums of the FIRST tile
            # hold 128 * sum(w) for this tile's channels and for those to come.
            total = total - 128 * w.sum(axis=(0, 1, 2)).reshape(-1)
        if tile.on(Flag.FIRST):
            total = total + initial.reshape(-1)
        elif self._sums is None or self._sums.shape != total.shape:
            raise JoulebitError("a tile without FIRST must follow a tile of the same size without LAST")
        else:
            total = total + self._sums
        if tile.on(Flag.LAST):
            self._sums = None
            self._store(tile, total[..., :channels], outcome)
        else:
            self._sums = total

    def _forward_sums(self, tile: _Tile, x: Int64Array, w: Int64Array) -> Int64Array:
        padded = self._padded_x(tile, x)
        total = np.zeros((tile.images, tile.g_rows, tile.g_columns, w.shape[3] * w.shape[4]), np.int64)
        for row in range(tile.kernel_h):
            for column in range(tile.kernel_w):
                total += integer_matmul(
                    padded[self._tap(tile, row, column)], w[row, column].reshape(w.shape[2], -1)
                )
        return total

    def _input_sums(self, tile: _Tile, g: Int64Array, w: Int64Array) -> Int64Array:
        rows = max((tile.g_rows - 1) * tile.stride + tile.kernel_h, tile.pad_top + tile.x_rows)
        columns = max((tile.g_columns - 1) * tile.stride + tile.kernel_w, tile.pad_left + tile.x_columns)
        spread = np.zeros((tile.images, rows, columns, w.shape[3] * w.shape[4]), np.int64)
        for row in range(tile.kernel_h):
            for column in range(tile.kernel_w):
                spread[self._tap(tile, row, column)] += integer_matmul(g, w[row, column].reshape(w.shape[2], -1))
        return spread[:, tile.pad_top : tile.pad_top + tile.x_rows, tile.pad_left : tile.pad_left + tile.x_columns]

    @staticmethod
    def _reached(tile: _Tile) -> int:
        """Pairs of a pixel of x and a tap of its parity."""

        def along(size: int, kernel: int, pad: int) -> int:
            return sum(len(range((place + pad) % tile.stride, kernel, tile.stride)) for place in range(size))

        rows = along(tile.x_rows, tile.kernel_h, tile.pad_top)
        return tile.images * rows * along(tile.x_columns, tile.kernel_w, tile.pad_left)

    def _store(self, tile: _Tile, total: Int64Array, outcome: _Outcome) -> None:
        """The output path: mask, peak, shift, clamp, write."""
        raw, relu = tile.on(Flag.RAW), tile.on(Flag.RELU)
        dtype = np.dtype("<i8") if raw else np.dtype(np.uint8) if relu else np.dtype("<i2")
        first = tile.out_block * self.config.out_lanes
        if tile.on(Flag.MASK):
            strides = (tile.mask_image_stride, tile.mask_row_stride, tile.out_pixel_stride // dtype.itemsize, 1)
            mask = self._view(tile.mask_address + first, total.shape, strides)
            self.counters["PORT1_READ_BYTES"] += self._beat_bytes(total, 1)
            passes = (mask > 0) & ((tile.mask_below == 0) | (mask < tile.mask_below))
            total = np.where(passes, total, 0)
        outcome.peak = peak(total)
        value = total
        if not raw:
            value = shift_round(total, tile.shift, Rounding(tile.rounding))
            clamped = np.clip(value, 0, 255) if relu else saturate(value, 16)
            outcome.saturated = int(np.count_nonzero(value > 255 if relu else value != clamped))
            value = clamped
        data = np.ascontiguousarray(value.astype(dtype)).view(np.uint8)
        strides = (tile.out_image_stride, tile.out_row_stride, tile.out_pixel_stride, 1)
        try:
            target = self._view(tile.out_address + first * dtype.itemsize, data.shape, strides)
        except _BusError as error:
            raise _BusError(int(ErrorBit.BUS_WRITE)) from error
        target[...] = data
        self.counters["PORT0_WRITE_BYTES"] += self._beat_bytes(total, dtype.itemsize)

    def _beat_bytes(self, total: Int64Array, element: int) -> int:
        """Bytes of the beats that carry these elements: each pixel's part of a block has beats of its own."""
        lanes = self.config.out_lanes
        blocks = [min(lanes, total.shape[3] - first) for first in range(0, total.shape[3], lanes)]
        beats = sum(ceil_div(channels * element, spec.WORD_BYTES) for channels in blocks)
        return spec.WORD_BYTES * beats * int(total.size // total.shape[3])

    def _correlate(self, tile: _Tile, x: Int64Array, g: Int64Array, blocks: range) -> Int64Array:
        """sum x * dz as [block, word of x, kernel row, kernel column, 8, lane]."""
        lanes = self.config.out_lanes
        padded = self._padded_x(tile, x)
        wide = np.zeros((*g.shape[:3], blocks.stop * lanes), np.int64)
        wide[..., : min(g.shape[3], wide.shape[3])] = g[..., : wide.shape[3]]
        wide = wide[..., blocks.start * lanes :].reshape(-1, len(blocks) * lanes)
        total = np.zeros((len(blocks), tile.x_words, tile.kernel_h, tile.kernel_w, 8, lanes), np.int64)
        for row in range(tile.kernel_h):
            for column in range(tile.kernel_w):
                seen = padded[self._tap(tile, row, column)].reshape(-1, x.shape[3])
                part = integer_matmul(seen.T, wide).reshape(tile.x_words, 8, len(blocks), lanes)
                total[:, :, row, column] = part.transpose(2, 0, 1, 3)
        return total

    def _predict(self, tile: _Tile, x: Int64Array, g: Int64Array) -> None:
        limit = 2 ** (spec.GRADIENT_MSB_BITS - 1) - 1
        low, high = (0, 15) if tile.on(Flag.X_UNSIGNED) else (-7, 7)
        x_msb = np.clip(shift_round(x, spec.ACTIVATION_BITS - spec.ACTIVATION_MSB_BITS), low, high)
        g_msb = np.clip(shift_round(g, spec.GRADIENT_BITS - spec.GRADIENT_MSB_BITS), -limit, limit)
        blocks = range(ceil_div(4 * tile.g_words, self.config.out_lanes))
        total = self._correlate(tile, x_msb, g_msb, blocks)
        if not tile.on(Flag.PREDICT_FIRST):
            if self._predicted is None or self._predicted.shape != total.shape:
                raise JoulebitError(
                    "a tile without PREDICT_FIRST must follow one with the same kernel and channels"
                )
            total = total + self._predicted
        self._predicted = total
        if tile.on(Flag.PREDICT_LAST):
            self._predicted_max = peak(total)

    def _weight_gradient(self, tile: _Tile, x: Int64Array, g: Int64Array, outcome: _Outcome) -> None:
        blocks = range(tile.out_block, tile.out_block + tile.out_blocks)
        total = self._correlate(tile, x, g, blocks)
        if not tile.on(Flag.FIRST):
            if self._dw is None or self._dw.shape != total.shape:
                raise JoulebitError("a tile without FIRST must follow a tile of the same size without LAST")
            total = total + self._dw
        self._dw = total
        products = 8 * tile.x_words * self._channels(tile)
        outcome.macs = self._macs(tile, products)
        decided = np.zeros(total.shape, np.bool_)
        if tile.on(Flag.SELECTIVE):
            guess = self._selected(tile, blocks)
            tau = max(1, (tile.threshold_q12 * self._predicted_max) >> 12)
            decided = np.abs(guess) >= tau
            outcome.macs_gated = int(np.count_nonzero(decided)) * tile.images * tile.g_rows * tile.g_columns
            outcome.macs -= outcome.macs_gated
        if not tile.on(Flag.LAST):
            return
        self._dw = None
        if tile.on(Flag.SELECTIVE):
            outcome.peak = self._predicted_max
            outcome.decided = int(np.count_nonzero(decided))
            outcome.undecided = products * tile.kernel_h * tile.kernel_w - outcome.decided
            direction = np.where(decided, np.sign(guess), np.sign(total)) & 3
            data = (direction | np.where(decided, 128, 0)).astype(np.uint8).reshape(-1)
        else:
            outcome.peak = peak(total)
            data = np.ascontiguousarray(total.astype("<i8")).reshape(-1).view(np.uint8)
        try:
            self.memory[self._span(tile.out_address, data.size)] = data
        except _BusError as error:
            raise _BusError(int(ErrorBit.BUS_WRITE)) from error
        self.counters["PORT0_WRITE_BYTES"] += data.size

    def _selected(self, tile: _Tile, blocks: range) -> Int64Array:
        """The predicted sums of the tile's blocks."""
        block_count = total_blocks(Operation.PREDICT, 0, tile.g_words, self.config)
        shape = (block_count, tile.x_words, tile.kernel_h, tile.kernel_w, 8, self.config.out_lanes)
        if self._predicted is None or self._predicted.shape != shape:
            raise JoulebitError("a SELECTIVE tile needs predicted sums of the same kernel and channels")
        return self._predicted[blocks.start : blocks.stop]
