"""What the processor does with the accelerator's sums, exactly as the engines define it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from joulebit.engine.base import Quantised
from joulebit.engine.input_gradient_epilogue import InputGradientEpilogue
from joulebit.fixed.arithmetic import Arithmetic
from joulebit.fixed.rounding import Rounding, saturate, shift_round
from joulebit.kernels.scratch import address
from joulebit_host.boards.threads import shared_workers

if TYPE_CHECKING:
    from joulebit.kernels.memory import Pool
    from joulebit.kernels.workers import Workers

__all__ = ["Addend", "Finisher"]

Int64Array = NDArray[np.int64]


class Addend(NamedTuple):
    """A shortcut's gradient and how it is added (`Engine.conv_input_gradient`)."""

    value: NDArray[np.int16] | None
    stride: int
    align: int


class Finisher:
    """Copies, sums of channels, requantisation: by compiled kernels where there are any, else by numpy.

    Args:
        arithmetic: of the run.
        threads: of the compiled kernels.
        compiled: False to do without numba even where it is installed.
    """

    def __init__(self, arithmetic: Arithmetic, threads: int | None = None, compiled: bool = True) -> None:
        self.arithmetic = arithmetic
        self._workers: Workers | None = None
        self._pool: Pool | None = None
        if compiled:
            try:
                from joulebit.kernels import exact_sums
            except ModuleNotFoundError:
                return
            from joulebit.kernels.memory import Pool

            self._kernels = exact_sums
            self._workers, self._pool = shared_workers(threads), Pool()

    def channel_sums(self, z: NDArray[np.int16]) -> tuple[Int64Array, Int64Array]:
        """(sums of each channel of z [N, H, W, C], sums of the squares)."""
        samples, height, width, channels = z.shape
        pixels = height * width
        if self._workers is None or pixels > 1 << 16 or not samples or not z.flags.c_contiguous:
            wide = z.astype(np.int64)
            return wide.sum((0, 1, 2)), (wide * wide).sum((0, 1, 2))
        threads = min(self._workers.count, samples)
        statistics = np.zeros((threads, 2, -(-channels // 16) * 16), np.int64)
        shared = (self._workers.counter, samples, pixels, channels, address(z))
        start, size = address(statistics), statistics.strides[0]
        self._workers.run(self._kernels.channel_sums, [(*shared, start + n * size) for n in range(threads)])
        total, squares = statistics.sum(0)[:, :channels]
        return total, squares

    def forward(self, sums: Int64Array, shift: int, key: int) -> tuple[NDArray[np.int16], int, int]:
        """(z, peak, saturated) of exact sums."""
        exact, clamped = self._accumulated(sums)
        value = shift_round(exact, shift, self.arithmetic.rounding_mode, key)
        z = saturate(value, 16)
        return z.astype(np.int16), _peak(exact), clamped + int(np.count_nonzero(z != value))

    def input_gradient(
        self, sums: Int64Array, peak: int, shift: int, align: int, add: Addend, mask: NDArray[Any] | None,
        mask_below: int, key: int, out: NDArray[np.int16] | None = None,
    ) -> Quantised:  # fmt: skip
        """`Engine.conv_input_gradient` from the convolution's exact sums, whose largest magnitude is `peak`.

        out: where the gradient goes.
        """
        if self._workers is not None and self._takes(sums, peak, shift, align, add, mask):
            epilogue = InputGradientEpilogue(shift, align, *add, mask, mask_below)
            return self._fast_input_gradient(self._workers, sums, peak, epilogue, out)
        exact, clamped = self._accumulated(sums)
        value = shift_round(exact, -align)
        if add.value is not None:
            channels = value.shape[3]
            rows, columns = value[:, :: add.stride, :: add.stride].shape[1:3]
            part = add.value[:, :rows, :columns, :channels]
            where = value[
                :, : part.shape[1] * add.stride : add.stride, : part.shape[2] * add.stride : add.stride,
                : part.shape[3],
            ]  # fmt: skip
            where += shift_round(part, -add.align)
        if mask is not None:
            value = np.where((mask > 0) & ((mask_below == 0) | (mask < mask_below)), value, 0)
        rounded = shift_round(value, shift, self.arithmetic.rounding_mode, key)
        g = saturate(rounded, self.arithmetic.g_bits)
        if out is None:
            out = np.empty(g.shape, np.int16)
        out[...] = g
        return Quantised(out, _peak(value), clamped + int(np.count_nonzero(g != rounded)))

    def empty(self, shape: tuple[int, ...]) -> NDArray[np.int16]:
        """An int16 array of arbitrary content."""
        return np.empty(shape, np.int16) if self._pool is None else self._pool.empty(shape, np.int16)

    def _accumulated(self, sums: Int64Array) -> tuple[Int64Array, int]:
        """The sums as the accumulator holds them, and how many it clamped."""
        exact = saturate(sums, self.arithmetic.accumulator_bits)
        return exact, int(np.count_nonzero(exact != sums))

    def _takes(
        self, sums: Int64Array, peak: int, shift: int, align: int, add: Addend, mask: NDArray[Any] | None
    ) -> bool:
        """Whether the compiled kernel covers this."""
        largest = peak << max(align, 0)
        if add.value is not None:
            largest += 1 << 15 << max(add.align, 0)
        return (
            self.arithmetic.rounding_mode is Rounding.HALF_UP
            and peak < 1 << (self.arithmetic.accumulator_bits - 1)
            and largest < 1 << 61
            and 0 <= shift <= 61
            and min(align, add.align) >= -61
            and (mask is None or (mask.dtype == np.uint8 and mask.flags.c_contiguous))
            and (add.value is None or add.value.flags.c_contiguous)
            and sums.strides[:2] == (sums.shape[1] * sums.strides[1], sums.shape[2] * sums.strides[2])
        )

    def _fast_input_gradient(
        self, workers: Workers, sums: Int64Array, peak: int, epilogue: InputGradientEpilogue,
        out: NDArray[np.int16] | None,
    ) -> Quantised:  # fmt: skip
        samples, height, width, channels = sums.shape
        shift, align, add_align = epilogue.shift, epilogue.align, epilogue.add_align
        largest = (peak << max(align, 0)) + (1 << 15 << max(add_align, 0))
        narrow = largest < 1 << 31 and min(align, add_align) >= 0 and shift <= 31
        finish = self._kernels.finish_narrow_gradient if narrow else self._kernels.finish_gradient
        g = self.empty(sums.shape) if out is None else out
        limit = (1 << (self.arithmetic.g_bits - 1)) - 1
        row = (
            workers.counter, samples, address(sums), height, width, channels, sums.strides[2],
            *epilogue.arguments(limit), address(g),
        )  # fmt: skip
        parts = workers.run(finish, [row] * min(workers.count, samples))
        return Quantised(g, max(part[0] for part in parts), sum(part[1] for part in parts))


def _peak(value: Int64Array) -> int:
    return int(np.abs(value).max()) if value.size else 0
