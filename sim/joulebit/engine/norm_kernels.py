"""Which vector kernel normalises: in 32-bit lanes where all values fit, else in 64-bit ones.

They cover rounding half up. `None` means that a call is not covered; the plain kernels take it then.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from joulebit.engine.base import Int64Array, NormConstants, NormGradientConstants, Quantised
from joulebit.engine.vector_kernels import VectorKernels
from joulebit.fixed.arithmetic import PEAK_LIMIT, Arithmetic
from joulebit.kernels import fast_norm, narrow_norm
from joulebit.kernels.memory import Pool
from joulebit.kernels.portions import PORTION, portions
from joulebit.kernels.scratch import address
from joulebit.kernels.workers import Workers


class NormKernels(VectorKernels):
    """Fast versions of an engine's normalisations.

    Args:
        arithmetic, workers, pool: see `VectorKernels`.
    """

    def __init__(self, arithmetic: Arithmetic, workers: Workers, pool: Pool) -> None:
        super().__init__(arithmetic, workers, pool)
        self._last: tuple[NormConstants, NDArray[np.int32]] | None = None  # `_table` of the last constants

    def norm_forward(
        self,
        z: NDArray[Any],
        norm: NormConstants,
        shift: int,
        bounds: tuple[int, int],
        shortcut: NDArray[Any] | None,
        shortcut_stride: int,
        shortcut_shift: int,
    ) -> tuple[NDArray[Any], int] | None:
        """`Engine.norm_forward`, or None."""
        samples, height, width, channels = z.shape
        largest = (32768 * 32767) + (32768 << 11) + (1 << shift >> 1)  # |gamma|, |beta|, |x-hat| have 16 bits
        if shortcut is not None:
            largest += 255 << shortcut_shift
        if (
            not self._half_up
            or not self._bytes
            or not 0 <= shift <= 31
            or largest >= 1 << 31
            or (shortcut is not None and shortcut.itemsize != 1)
        ):
            return None
        a = self._pool.empty(z.shape, np.uint8 if bounds[0] == 0 else np.int8)
        flip = 128 if shortcut is not None and shortcut.dtype == np.int8 else 0
        short = 0 if shortcut is None else address(shortcut)
        short_shape = (0, 0, 0, 0) if shortcut is None else shortcut.shape
        lines, pixels, repeated = samples * height, z.size // channels, channels
        if shortcut is None or (shortcut_stride == 1 and short_shape == z.shape):
            repeated = _repeated(z)  # no coordinates are needed: the whole tensor is one long row, cut anywhere
            width = max(1, PORTION // repeated)
            pixels = z.size // repeated
            lines = height = -(-pixels // width)
            short_shape = (1, height, width, repeated)
        if repeated % 16 == 0 and short_shape[3] % 16 == 0:
            table = np.empty((narrow_norm.FORWARD_ROWS, repeated), np.int32)
            if narrow_norm.tabulate_forward(*_arrays(norm), shift, table):
                grain, run, threads = portions(lines, width * repeated, self._workers.count)
                shared = (
                    self._workers.counter, lines, grain, run, pixels, address(z), height, width, repeated,
                    address(table), short, *short_shape[1:], shortcut_stride, flip, shortcut_shift, shift, *bounds,
                    address(a),
                )  # fmt: skip
                return a, self._count(narrow_norm.norm_forward, [shared] * threads)
        return a, self._wide_forward(z, a, norm, shift, bounds, shortcut, shortcut_stride, flip, shortcut_shift)

    def _wide_forward(
        self, z: NDArray[Any], a: NDArray[Any], norm: NormConstants, shift: int, bounds: tuple[int, int],
        shortcut: NDArray[Any] | None, stride: int, flip: int, shortcut_shift: int,
    ) -> int:  # fmt: skip
        samples, height, width, channels = z.shape
        lines = samples * height
        short = 0 if shortcut is None else address(shortcut)
        short_shape = (0, 0, 0, 0) if shortcut is None else shortcut.shape
        constants = _arrays(norm)
        grain, run, threads = portions(lines, width * channels, self._workers.count)
        shared = (
            self._workers.counter, lines, grain, run, address(z), height, width, channels,
            *map(address, constants), short, *short_shape[1:], stride, flip, shortcut_shift, shift, *bounds,
            address(a),
        )  # fmt: skip
        return self._count(fast_norm.norm_forward, [shared] * threads)

    def norm_sums(
        self, g: NDArray[Any], z: NDArray[Any], norm: NormConstants
    ) -> tuple[Int64Array, Int64Array] | None:
        """`Engine.norm_sums`, or None."""
        channels, repeated = z.shape[3], _repeated(z)
        table = self._table(norm, repeated)
        if table is not None:
            sums = self._summed(narrow_norm.norm_sums, g, z, repeated, (address(table),))
            if repeated > channels:
                sums = sums.reshape(2, repeated // channels, channels).sum(1)
            return sums[0], sums[1]
        constants = _of_xhat(norm)
        sums = self._summed(fast_norm.norm_sums, g, z, channels, tuple(map(address, constants)))
        return sums[0], sums[1]

    def _table(self, norm: NormConstants, repeated: int) -> NDArray[np.int32] | None:
        """What `narrow_norm` knows of x-hat, with room for the backward pass, which follows its sums; or None."""
        last = self._last
        if last is not None and last[0] is norm and last[1].shape[1] == repeated:
            return last[1]
        table = np.empty((narrow_norm.BACKWARD_ROWS, repeated), np.int32)
        if repeated % 16 or not narrow_norm.tabulate_sums(*_of_xhat(norm), table):
            return None
        self._last = norm, table
        return table

    def _summed(
        self, kernel: Any, g: NDArray[Any], z: NDArray[Any], channels: int, constants: tuple[int, ...]
    ) -> Int64Array:
        """[2, channels]: the sums of g and of g * x-hat over all threads; constants: addresses."""
        pixels = z.size // channels
        grain, run, threads = portions(pixels, channels, self._workers.count)
        sums = np.zeros((threads, 2, channels), np.int64)
        start, size = address(sums), channels * 8
        shared = (self._workers.counter, pixels, grain, run, address(g), address(z), channels, *constants)
        places = [(start + 2 * size * thread, start + (2 * thread + 1) * size) for thread in range(threads)]
        self._workers.run(kernel, [(*shared, *place) for place in places])
        return np.asarray(sums.sum(0))

    def norm_backward(
        self, g: NDArray[Any], z: NDArray[Any], norm: NormConstants, gradient: NormGradientConstants
    ) -> Quantised | None:
        """`Engine.norm_backward`, or None."""
        if not self._half_up:
            return None
        channels, repeated = z.shape[3], _repeated(z)
        dz = self._pool.empty(z.shape, np.int16)
        rows = (gradient.mean_g, gradient.mean_gx, gradient.multiplier, gradient.shift)
        factors = tuple(np.ascontiguousarray(row) for row in rows)
        table = self._table(norm, repeated)
        if table is not None and narrow_norm.tabulate_backward(*factors, table):
            places = (address(table), self._g_limit, address(dz))
            return self._backward(narrow_norm.norm_backward, dz, g, z, repeated, places)
        constants = (*_of_xhat(norm), *factors)
        end = (*map(address, constants), self._g_limit, PEAK_LIMIT, address(dz))
        return self._backward(fast_norm.norm_backward, dz, g, z, channels, end)

    def _backward(
        self, kernel: Any, dz: NDArray[Any], g: NDArray[Any], z: NDArray[Any], channels: int, end: tuple[int, ...]
    ) -> Quantised:
        pixels = z.size // channels
        grain, run, threads = portions(pixels, channels, self._workers.count)
        shared = (self._workers.counter, pixels, grain, run, address(g), address(z), channels, *end)
        return self._quantised(dz, kernel, [shared] * threads)


def _repeated(z: NDArray[Any]) -> int:
    """Channels when pixels are put side by side until they fill whole vectors; z's own if they never do."""
    channels = z.shape[3]
    whole = math.lcm(channels, 16)
    return whole if z.size % whole == 0 else channels


def _of_xhat(norm: NormConstants) -> tuple[Int64Array, ...]:
    """Mean, rsqrt and scale."""
    return np.ascontiguousarray(norm.mean), np.ascontiguousarray(norm.rsqrt), np.ascontiguousarray(norm.scale)


def _arrays(norm: NormConstants) -> tuple[Int64Array, ...]:
    """Mean, rsqrt, scale, gamma and beta."""
    return *_of_xhat(norm), np.ascontiguousarray(norm.gamma), np.ascontiguousarray(norm.beta)
