"""Adder layers by plain kernels in floating point: types, buffers and threads."""

from __future__ import annotations

import numpy as np

from joulebit.engine.base import Array, ConvGeometry, ConvOutput, Int64Array, Quantised
from joulebit.engine.parts import NO_MASK, NOTHING_TO_ADD, joined, joined_output, unsigned
from joulebit.fixed.arithmetic import Arithmetic
from joulebit.kernels import adder
from joulebit.kernels.memory import Pool
from joulebit.kernels.workers import Workers

_EXACT_FLOAT32 = 1 << 24


class AdderKernels:
    """Both passes of `NumbaEngine`'s adder layers.

    Args:
        arithmetic: widths and rounding modes of the run.
        workers: the engine's threads.
        pool: where results come from.
    """

    def __init__(self, arithmetic: Arithmetic, workers: Workers, pool: Pool) -> None:
        self._arithmetic, self._workers, self._pool = arithmetic, workers, pool
        self._mode = int(arithmetic.rounding_mode)
        self._acc_limit = (1 << (arithmetic.accumulator_bits - 1)) - 1
        self._g_limit = (1 << (arithmetic.g_bits - 1)) - 1

    def forward(self, x: Array, w: Array, geometry: ConvGeometry, shift: int, key: int) -> ConvOutput:
        """`Engine.adder_forward`."""
        samples, c_out = x.shape[0], w.shape[3]
        z = self._pool.empty((samples, *geometry.output_size(x.shape[1], x.shape[2]), c_out), np.int16)
        fmt = self._arithmetic
        largest = w[..., 0].size << (max(fmt.x_bits, fmt.w_bits) + 1)
        kind = np.float32 if largest < _EXACT_FLOAT32 else np.float64
        wide = w.astype(kind)

        def work(first: int, last: int) -> tuple[int, int, Int64Array, Int64Array]:
            total, squares = np.zeros(c_out, np.int64), np.zeros(c_out, np.int64)
            peak, saturated = adder.forward(
                x, wide, z, np.empty(c_out, kind), total, squares, first, last, geometry.stride,
                geometry.padding_h, geometry.padding_w, shift, self._acc_limit, self._mode, unsigned(key),
            )  # fmt: skip
            return peak, saturated, total, squares

        return joined_output(z, self._workers.over_samples(samples, work))

    def input_gradient(
        self,
        dz: Array,
        x: Array,
        w: Array,
        geometry: ConvGeometry,
        clip: int,
        shift: int,
        align: int,
        add: Array | None,
        add_stride: int,
        add_align: int,
        mask: Array | None,
        mask_below: int,
        key: int,
    ) -> Quantised:
        """`Engine.adder_input_gradient`."""
        g = self._pool.empty(x.shape, np.int16)
        c_in, largest = x.shape[3], clip << (self._arithmetic.g_bits - 1)  # of one product
        kind = np.float32 if largest <= _EXACT_FLOAT32 else np.float64
        block = max(1, _EXACT_FLOAT32 // largest)
        turned = np.ascontiguousarray(w.transpose(0, 1, 3, 2)).astype(kind)

        def work(first: int, last: int) -> tuple[int, int]:
            return adder.input_gradient(  # type: ignore[no-any-return]
                dz, x, turned, NOTHING_TO_ADD if add is None else add, NO_MASK if mask is None else mask, g,
                np.empty(c_in, np.float64), np.empty(c_in, kind), np.empty(c_in, kind), block, first, last,
                geometry.stride, geometry.padding_h, geometry.padding_w, clip, self._acc_limit, align, add_stride,
                add_align, int(mask is not None), mask_below, shift, self._g_limit, self._mode, unsigned(key),
            )  # fmt: skip

        return joined(g, self._workers.over_samples(x.shape[0], work))
