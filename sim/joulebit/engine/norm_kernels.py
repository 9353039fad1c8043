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
from joulebit.fixed.arithmetic import PEAK_LIMIT
from joulebit.kernels import fast_norm, narrow_norm
from joulebit.kernels.scratch import address


class NormKernels(VectorKernels):
    """Fast versions of an engine's normalisations."""

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
        counter = np.zeros(1, np.int64)
        flip = 128 if shortcut is not None and shortcut.dtype == np.int8 else 0
        short = 0 if shortcut is None else address(shortcut)
        short_shape = (0, 0, 0, 0) if shortcut is None else shortcut.shape
        lines, pixels, grain = samples * height, z.size // channels, _grain(width * channels)
        repeated = channels
        if shortcut is None or (shortcut_stride == 1 and short_shape == z.shape):
            repeated = _repeated(z)  # no coordinates are needed: the whole tensor is one long row, cut anywhere
            width = _grain(repeated)
            pixels = z.size // repeated
            lines = height = -(-pixels // width)
            grain = 1
            short_shape = (1, height, width, repeated)
        if repeated % 16 == 0 and short_shape[3] % 16 == 0:
            table = np.empty((narrow_norm.FORWARD_ROWS, repeated), np.int32)
            if narrow_norm.tabulate_forward(*_arrays(norm), shift, table):
                places = [address(array) for array in (counter, z, table, a)]

                def work(thread: int) -> int:
                    return narrow_norm.norm_forward(  # type: ignore[no-any-return]
                        places[0], lines, grain, pixels, places[1], height, width, repeated, places[2], short,
                        short_shape[1], short_shape[2], short_shape[3], shortcut_stride, flip, shortcut_shift,
                        shift, bounds[0], bounds[1], places[3],
                    )  # fmt: skip

                return a, sum(self._workers.each(work, self._threads(-(-lines // grain))))
        return a, self._wide_forward(z, a, norm, shift, bounds, shortcut, shortcut_stride, flip, shortcut_shift)

    def _wide_forward(
        self, z: NDArray[Any], a: NDArray[Any], norm: NormConstants, shift: int, bounds: tuple[int, int],
        shortcut: NDArray[Any] | None, stride: int, flip: int, shortcut_shift: int,
    ) -> int:  # fmt: skip
        samples, height, width, channels = z.shape
        counter = np.zeros(1, np.int64)
        lines, grain = samples * height, _grain(width * channels)
        short = 0 if shortcut is None else address(shortcut)
        short_shape = (0, 0, 0, 0) if shortcut is None else shortcut.shape
        constants = _arrays(norm)
        places = [address(array) for array in (counter, z, *constants, a)]

        def work(thread: int) -> int:
            return fast_norm.norm_forward(  # type: ignore[no-any-return]
                places[0], lines, grain, places[1], height, width, channels, *places[2:7], short,
                short_shape[1], short_shape[2], short_shape[3], stride, flip, shortcut_shift, shift, *bounds,
                places[7],
            )  # fmt: skip

        return sum(self._workers.each(work, self._threads(-(-lines // grain))))

    def norm_sums(
        self, g: NDArray[Any], z: NDArray[Any], norm: NormConstants
    ) -> tuple[Int64Array, Int64Array] | None:
        """`Engine.norm_sums`, or None."""
        channels, repeated = z.shape[3], _repeated(z)
        constants = _arrays(norm)[:3]
        counter = np.zeros(1, np.int64)
        if repeated % 16 == 0:
            table = np.empty((5, repeated), np.int32)
            if narrow_norm.tabulate_sums(*constants, table):
                pixels, grain = z.size // repeated, _grain(repeated)
                threads = self._threads(-(-pixels // grain))
                sums = np.zeros((threads, 2, repeated), np.int64)
                places = [address(array) for array in (counter, g, z, table, sums)]

                def narrow(thread: int) -> None:
                    total = places[4] + thread * sums.strides[0]
                    narrow_norm.norm_sums(
                        places[0], pixels, grain, places[1], places[2], repeated, places[3], total,
                        total + sums.strides[1],
                    )  # fmt: skip

                self._workers.each(narrow, threads)
                total, products = sums.sum(0) if repeated == channels else _folded(sums, channels)
                return total, products
        pixels, grain = z.size // channels, _grain(channels)
        threads = self._threads(-(-pixels // grain))
        sums = np.zeros((threads, 2, channels), np.int64)
        places = [address(array) for array in (counter, g, z, *constants, sums)]

        def wide(thread: int) -> None:
            total = places[6] + thread * sums.strides[0]
            fast_norm.norm_sums(
                places[0], pixels, grain, places[1], places[2], channels, *places[3:6],
                total, total + sums.strides[1],
            )  # fmt: skip

        self._workers.each(wide, threads)
        total, products = sums.sum(0)
        return total, products

    def norm_backward(
        self, g: NDArray[Any], z: NDArray[Any], norm: NormConstants, gradient: NormGradientConstants
    ) -> Quantised | None:
        """`Engine.norm_backward`, or None."""
        if not self._half_up:
            return None
        channels, repeated = z.shape[3], _repeated(z)
        dz = self._pool.empty(z.shape, np.int16)
        counter = np.zeros(1, np.int64)
        factors = (gradient.mean_g, gradient.mean_gx, gradient.multiplier, gradient.shift)
        constants = (*_arrays(norm)[:3], *(np.ascontiguousarray(array) for array in factors))
        if repeated % 16 == 0:
            table = np.empty((narrow_norm.BACKWARD_ROWS, repeated), np.int32)
            if narrow_norm.tabulate_backward(*constants, table):
                pixels, grain = z.size // repeated, _grain(repeated)
                places = [address(array) for array in (counter, g, z, table, dz)]

                def narrow(thread: int) -> tuple[int, int]:
                    return narrow_norm.norm_backward(  # type: ignore[no-any-return]
                        places[0], pixels, grain, places[1], places[2], repeated, places[3], self._g_limit,
                        places[4],
                    )  # fmt: skip

                return self._quantised(dz, narrow, self._threads(-(-pixels // grain)))
        pixels, grain = z.size // channels, _grain(channels)
        places = [address(array) for array in (counter, g, z, *constants, dz)]

        def wide(thread: int) -> tuple[int, int]:
            return fast_norm.norm_backward(  # type: ignore[no-any-return]
                places[0], pixels, grain, places[1], places[2], channels, *places[3:10],
                self._g_limit, PEAK_LIMIT, places[10],
            )  # fmt: skip

        return self._quantised(dz, wide, self._threads(-(-pixels // grain)))


def _repeated(z: NDArray[Any]) -> int:
    """Channels when pixels are put side by side until they fill whole vectors; z's own if they never do."""
    channels = z.shape[3]
    whole = math.lcm(channels, 16)
    return whole if z.size % whole == 0 else channels


def _folded(sums: Int64Array, channels: int) -> Int64Array:
    """Sums [threads, 2, repeated channels] over the threads and over repetitions: [2, channels]."""
    return np.asarray(sums.reshape(-1, 2, sums.shape[2] // channels, channels).sum((0, 2)))


def _grain(elements: int) -> int:
    """How many portions of so many elements a thread takes at a time, so that they fit the first-level cache."""
    return max(1, 4096 // elements)


def _arrays(norm: NormConstants) -> tuple[Int64Array, ...]:
    arrays = (norm.mean, norm.rsqrt, norm.scale, norm.gamma, norm.beta)
    return tuple(np.ascontiguousarray(array) for array in arrays)
