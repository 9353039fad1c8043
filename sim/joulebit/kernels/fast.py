"""The fast kernels behind a plain interface: which calls they take, their buffers and threads.

They cover the default formats: activations and weights of up to 8 bits, gradients of up to 16, rounding half up,
one group; any kernel, stride, padding and number of channels. `None` means that a call is not covered, or that
its sums might not fit; the plain kernels take it then.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from joulebit.engine.base import ConvGeometry, ConvOutput
from joulebit.fixed.arithmetic import Arithmetic
from joulebit.fixed.rounding import Rounding
from joulebit.kernels import fast_forward
from joulebit.kernels.memory import Pool
from joulebit.kernels.scratch import Scratch, address
from joulebit.kernels.workers import Workers


class FastKernels:
    """Fast versions of the operations of an engine.

    Args:
        arithmetic: widths and rounding modes of the run.
        workers: the engine's threads.
        pool: where results come from.
    """

    def __init__(self, arithmetic: Arithmetic, workers: Workers, pool: Pool) -> None:
        self._workers = workers
        self._pool = pool
        self._half_up = arithmetic.rounding_mode is Rounding.HALF_UP
        self._wide_accumulator = arithmetic.accumulator_bits >= 32
        self._scratch = Scratch(workers.count)

    def conv_forward(
        self, x: NDArray[Any], w: NDArray[Any], geometry: ConvGeometry, shift: int
    ) -> ConvOutput | None:
        """`Engine.conv_forward`, or None."""
        samples, height, width, c_in = x.shape
        kernel_h, kernel_w, _, c_out = w.shape
        if (
            not self._takes(x, w, geometry)
            or not 0 <= shift <= 31
            or kernel_h * kernel_w * c_in > fast_forward.MAX_REDUCTION
        ):
            return None
        out_h, out_w = geometry.output_size(height, width)
        z = self._pool.empty((samples, out_h, out_w, c_out), np.int16)
        blocks = -(-c_out // 16)
        packed = np.zeros((blocks, kernel_h, kernel_w, -(-c_in // 4), 16, 4), np.int8)
        excess = np.zeros(blocks * 16, np.int32)
        flip = 128 if x.dtype == np.int8 else 0
        fast_forward.pack(w, packed, excess)
        if flip == 0:
            excess[:] = 0
        threads = self._threads(samples)
        statistics = np.zeros((threads, 2, blocks * 16), np.int64)
        counter = np.zeros(1, np.int64)
        shape = (height, width, c_in, kernel_h, geometry.stride, geometry.padding_h, geometry.padding_w)
        scratch = self._scratch.addresses(fast_forward.scratch_size(*shape, out_w, c_out))
        addresses = [address(array) for array in (counter, x, packed, excess, z, statistics)]

        def work(thread: int) -> tuple[int, int]:
            return fast_forward.forward(  # type: ignore[no-any-return]
                addresses[0], samples, addresses[1], height, width, c_in, flip, addresses[2], addresses[3],
                kernel_h, kernel_w, geometry.stride, geometry.padding_h, geometry.padding_w, addresses[4],
                out_h, out_w, c_out, shift, scratch[thread], addresses[5] + thread * statistics.strides[0],
            )  # fmt: skip

        parts = self._workers.each(work, threads)
        total, squares = statistics.sum(0)[:, :c_out]
        return ConvOutput(z, max(part[0] for part in parts), sum(part[1] for part in parts), total, squares)

    def _takes(self, x: NDArray[Any], w: NDArray[Any], geometry: ConvGeometry) -> bool:
        return (
            self._half_up
            and self._wide_accumulator
            and geometry.groups == 1
            and x.itemsize == 1
            and w.itemsize == 1
            and x.flags.c_contiguous
        )

    def _threads(self, tasks: int) -> int:
        return max(1, min(self._workers.count, tasks))
