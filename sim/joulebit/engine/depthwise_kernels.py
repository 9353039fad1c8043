"""Depthwise convolutions by vector kernels: which calls they take, their buffers and threads."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from joulebit.engine.base import ConvGeometry, ConvOutput, Quantised
from joulebit.engine.input_gradient_epilogue import InputGradientEpilogue
from joulebit.engine.vector_kernels import LaterAll, VectorKernels, Wanted
from joulebit.fixed.arithmetic import Arithmetic
from joulebit.kernels import depthwise, depthwise_3x3, depthwise_weight, fast_forward, fast_input
from joulebit.kernels.memory import Pool
from joulebit.kernels.scratch import Scratch, address
from joulebit.kernels.workers import Begun, Workers

_BYTES = (np.dtype(np.uint8), np.dtype(np.int8))


class DepthwiseKernels(VectorKernels):
    """The three passes of convolutions with one channel in and out per group.

    Args:
        arithmetic, workers, pool: see `VectorKernels`.
        scratch: memory of the threads.
        begun_scratch: the same for every place where kernels begin (`Workers.begin`).
    """

    def __init__(
        self, arithmetic: Arithmetic, workers: Workers, pool: Pool, scratch: Scratch, begun_scratch: list[Scratch]
    ) -> None:
        super().__init__(arithmetic, workers, pool)
        self._scratch = scratch
        self._begun_scratch = begun_scratch

    def conv_forward(
        self, x: NDArray[Any], w: NDArray[Any], geometry: ConvGeometry, shift: int
    ) -> ConvOutput | None:
        """`Engine.conv_forward`, or None."""
        samples, height, width, channels = x.shape
        kernel_h, kernel_w = w.shape[:2]
        taps = kernel_h * kernel_w
        out_h, out_w = geometry.output_size(height, width)
        fits = 0 <= shift <= 31 and taps <= fast_forward.MAX_REDUCTION and out_w <= fast_forward.MAX_ROW
        if not fits or x.dtype not in _BYTES or not self._takes(x, w, geometry):
            return None
        z = self._pool.empty((samples, out_h, out_w, channels), np.int16)
        blocks = -(-channels // 16)
        threads = self._threads(samples)
        statistics = np.zeros((threads, 2, blocks * 16), np.int64)
        sums, size = address(statistics), statistics.strides[0]
        flip = 128 if x.dtype == np.int8 else 0
        packed: NDArray[Any]
        own: tuple[int, ...]
        excess = np.zeros(blocks * 16, np.int32)
        if _joins_rows(geometry):
            kernel, packed = depthwise_3x3.forward, np.zeros((blocks, 2, 3, 16, 4), np.int8)
            depthwise_3x3.pack_forward(w, flip, packed, excess)
            scratch = self._scratch.addresses(depthwise_3x3.scratch_size(max(width, out_w), channels))
            own = (geometry.stride, address(z), out_h, out_w, shift)
        else:
            kernel, packed = depthwise.forward, np.zeros((blocks, kernel_h, kernel_w, 16), np.int32)
            depthwise.pack(w, packed, 0)
            scratch = self._addresses(height, width, channels, out_h, out_w, geometry)
            padding = (geometry.padding_h, geometry.padding_w)
            own = (kernel_h, kernel_w, geometry.stride, *padding, address(z), out_h, out_w, shift)
        shared = (
            self._workers.counter, samples, address(x), height, width, channels, flip, address(packed),
            address(excess), *own,
        )  # fmt: skip
        rows = [(*shared, scratch[thread], sums + thread * size) for thread in range(threads)]
        peak, saturated = self._peak(kernel, rows)
        total, squares = statistics.sum(0)[:, :channels]
        return ConvOutput(z, peak, saturated, total, squares)

    def conv_input_gradient(
        self,
        dz: NDArray[Any],
        w: NDArray[Any],
        geometry: ConvGeometry,
        input_hw: tuple[int, int],
        epilogue: InputGradientEpilogue,
    ) -> Quantised | None:
        """`Engine.conv_input_gradient`, or None."""
        samples, out_h, out_w, channels = dz.shape
        height, width = input_hw
        if not self._takes(dz, w, geometry) or not epilogue.covered(width):
            return None
        stride = geometry.stride
        blocks, joins = -(-channels // 16), _joins_rows(geometry)
        packed: NDArray[Any]
        own: tuple[int, ...]
        if joins:
            packed = np.zeros((blocks, depthwise_3x3.VECTORS, 16, 2), np.int16)
            largest = depthwise_3x3.pack_input(w, packed, stride)
        else:
            packed = np.zeros((blocks, *w.shape[:2], 16), np.int32)
            largest = depthwise.pack(w, packed, int(stride == 1))
        if largest > fast_input.MAX_WEIGHT_SUM:
            return None
        g = self._pool.empty((samples, height, width, channels), np.int16)
        if joins:
            kernel, own = depthwise_3x3.input_gradient, (stride, address(g))
            scratch = self._scratch.addresses(depthwise_3x3.scratch_size(max(width, out_w), channels))
        else:
            sizes = (geometry.kernel_h, geometry.kernel_w, stride, geometry.padding_h, geometry.padding_w)
            kernel, own = depthwise.input_gradient, (*sizes, address(g))
            scratch = self._addresses(height, width, channels, out_h, out_w, geometry)
        shared = (
            self._workers.counter, samples, address(dz), out_h, out_w, channels, address(packed), *own, height,
            width, int(epilogue.is_wide(largest)), *epilogue.arguments(self._g_limit),
        )  # fmt: skip
        rows = [(*shared, scratch[thread]) for thread in range(self._threads(samples))]
        return self._quantised(g, kernel, rows)

    def begin_weight_gradients(
        self, x: NDArray[Any], dz: NDArray[Any], geometry: ConvGeometry, wanted: Wanted
    ) -> LaterAll | None:
        """`WeightGradientKernels.begin_weight_gradients` where each channel is a group; or None."""
        samples, height, width, channels = x.shape
        _, out_h, out_w, c_out = dz.shape
        depth = geometry.groups == channels == c_out
        if not depth or x.dtype not in _BYTES or dz.dtype != np.int16:
            return None
        kernel_h, kernel_w, stride = geometry.kernel_h, geometry.kernel_w, geometry.stride
        x_shift, low, high, g_shift, g_high = wanted.narrowing
        threads = self._threads((samples + 1) // 2)
        count = len(wanted.limits)
        totals = np.zeros((threads, count, -(-channels // 16), kernel_h, kernel_w, 16), np.int64)
        shared = (
            samples, address(x), height, width, channels, 128 if x.dtype == np.int8 else 0, int(wanted.exact),
            x_shift, low, high, address(dz), out_h, out_w, g_shift, g_high, kernel_h, kernel_w, stride,
            geometry.padding_h, geometry.padding_w,
        )  # fmt: skip
        states = np.zeros(threads, np.int64)
        start, size, state = address(totals), totals.strides[0], address(states)

        def rows(begun: Begun) -> list[tuple[int, ...]]:
            needed = depthwise_weight.scratch_size(out_h, out_w, kernel_h, kernel_w, stride)
            scratch = self._begun_scratch[begun.number].addresses(needed)
            return [
                (begun.counter, *shared, scratch[i], start + i * size, begun.boxes[i], state + i * 8)
                for i in range(threads)
            ]

        begun = self._workers.begin(depthwise_weight.weight_gradient, rows, (x, dz, totals, states))

        def collected() -> list[tuple[NDArray[np.int64], int]]:
            self._workers.finish(begun)
            sums = totals.sum(0).transpose(0, 2, 3, 1, 4).reshape(count, kernel_h, kernel_w, 1, -1)[..., :channels]
            clipped = [np.clip(own, -limit, limit) for own, limit in zip(sums, wanted.limits, strict=True)]
            return [(dw, int(np.count_nonzero(dw != own))) for dw, own in zip(clipped, sums, strict=True)]

        return collected

    def _takes(self, values: NDArray[Any], w: NDArray[Any], geometry: ConvGeometry) -> bool:
        depth = w.shape[2] == 1 and geometry.groups == w.shape[3] == values.shape[3]
        return (
            depth
            and self._half_up
            and self._wide_accumulator
            and w.dtype == np.int8
            and values.dtype in (*_BYTES, np.dtype(np.int16))
        )

    def _addresses(
        self, height: int, width: int, channels: int, out_h: int, out_w: int, geometry: ConvGeometry
    ) -> list[int]:
        sizes = (geometry.kernel_h, geometry.kernel_w, geometry.padding_h, geometry.padding_w)
        size = depthwise.scratch_size(height, width, channels, out_h, out_w, *sizes)
        return self._scratch.addresses(size)


def _joins_rows(geometry: ConvGeometry) -> bool:
    """Whether `depthwise_3x3` takes it."""
    sizes = (geometry.kernel_h, geometry.kernel_w, geometry.padding_h, geometry.padding_w)
    return sizes == (3, 3, 1, 1) and geometry.stride <= 2
