"""The fast kernels behind a plain interface: which calls they take, their buffers and threads.

They cover the default formats: activations and weights of up to 8 bits, gradients of up to 16, rounding half up,
one group or one channel per group; any kernel, stride, padding and number of channels. `None` means that a call
is not covered, or that its sums might not fit; the plain kernels take it then.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from joulebit.engine.arrangement import as_larger_images, pixels_together, widened
from joulebit.engine.base import ConvGeometry, ConvOutput, Quantised
from joulebit.engine.depthwise_kernels import DepthwiseKernels
from joulebit.engine.input_gradient_epilogue import InputGradientEpilogue
from joulebit.engine.vector_kernels import LaterAll, VectorKernels, Wanted
from joulebit.engine.weight_gradient_kernels import WeightGradientKernels
from joulebit.fixed.arithmetic import Arithmetic
from joulebit.kernels import fast_forward, fast_input, few_channels, packing
from joulebit.kernels.memory import Pool
from joulebit.kernels.scratch import Scratch, address
from joulebit.kernels.workers import PLACES, Workers

_POINTWISE = ConvGeometry(1, 1)
_TILED = 32  #: pixels of the images that single ones form, for rows of tiles
_remembered = lru_cache(1 << 12)  #: sizes follow from a layer's shape: every step asks for the same ones
_forward_scratch, _input_scratch = (_remembered(module.scratch_size) for module in (fast_forward, fast_input))
_TYPES = (np.dtype(np.uint8), np.dtype(np.int8), np.dtype(np.int16))


class FastKernels(VectorKernels):
    """The three passes of a convolution.

    Args:
        arithmetic, workers, pool: see `VectorKernels`.
    """

    def __init__(self, arithmetic: Arithmetic, workers: Workers, pool: Pool) -> None:
        super().__init__(arithmetic, workers, pool)
        self._scratch = Scratch(workers.count)
        begun_scratch = [Scratch(workers.count) for _ in range(PLACES)]
        self._weight_gradients = WeightGradientKernels(arithmetic, workers, pool, begun_scratch)
        self._depthwise = DepthwiseKernels(arithmetic, workers, pool, self._scratch, begun_scratch)

    def conv_forward(
        self,
        x: NDArray[Any],
        w: NDArray[Any],
        geometry: ConvGeometry,
        shift: int,
        out: NDArray[np.int16] | None = None,
        records: NDArray[np.int64] | None = None,
        part: int = 0,
    ) -> ConvOutput | None:
        """`Engine.conv_forward`, or None.

        out: where z goes. records: [samples, H_out, parts, 2], gets the
        peak and the saturated elements of parts of `part` columns of every row of z (0: of whole rows).
        """
        if geometry.groups > 1 and out is None and records is None:
            return self._depthwise.conv_forward(x, w, geometry, shift)
        samples, height, width, c_in = x.shape
        kernel_h, kernel_w, _, c_out = w.shape
        out_h, out_w = geometry.output_size(height, width)
        if (
            not self._takes(x, w, geometry)
            or x.itemsize != 1
            or not 0 <= shift <= 31
            or out_w > fast_forward.MAX_ROW
            or kernel_h * kernel_w * c_in > fast_forward.MAX_REDUCTION
        ):
            return None
        plain = out is None and records is None
        if plain and (larger := as_larger_images(x.shape, geometry, _TILED)):
            dense = w.reshape(1, 1, -1, c_out)
            result = self.conv_forward(x.reshape(larger), dense, _POINTWISE, shift)
            return result and result._replace(z=result.z.reshape(samples, out_h, out_w, c_out))
        z = self._pool.empty((samples, out_h, out_w, c_out), np.int16) if out is None else out
        stride = geometry.stride
        together = pixels_together(out_w, kernel_w, stride, c_in, c_out, kernel_h) if plain else 1
        if together > 1:
            w = widened(w, together, stride)
            out_w, kernel_w, c_out = out_w // together, w.shape[1], w.shape[3]
        blocks = -(-c_out // 16)
        packed = np.empty((blocks, kernel_h, -(-kernel_w * c_in // 4), 16, 4), np.int8)
        excess = np.empty(blocks * 16, np.int32)
        flip = 128 if x.dtype == np.int8 else 0
        w = np.ascontiguousarray(w)
        packing.pack_quads(address(w), kernel_h, kernel_w * c_in, c_out, address(packed), address(excess))
        if flip == 0:
            excess[:] = 0
        threads = self._threads(samples)
        statistics = np.zeros((threads, 2, blocks * 16), np.int64)
        sizes = (kernel_h, kernel_w, stride, stride * together, geometry.padding_h, geometry.padding_w)
        scratch = self._scratch.addresses(_forward_scratch(height, width, c_in, *sizes, out_w, c_out))
        sums, size = address(statistics), statistics.strides[0]
        shared = (
            self._workers.counter, samples, address(x), height, width, c_in, flip, address(packed),
            address(excess), *sizes, address(z), out_h, out_w, c_out, shift,
        )  # fmt: skip
        end = (0 if records is None else address(records), part or out_w)
        rows = [(*shared, scratch[thread], sums + thread * size, *end) for thread in range(threads)]
        peak, saturated = self._peak(fast_forward.forward, rows)
        total, squares = statistics[:, :, :c_out].reshape(threads, 2, together, -1).sum((0, 2))
        return ConvOutput(z, peak, saturated, total, squares)

    def conv_input_gradient(
        self,
        dz: NDArray[Any],
        w: NDArray[Any],
        geometry: ConvGeometry,
        input_hw: tuple[int, int],
        shift: int,
        align: int,
        add: NDArray[Any] | None,
        add_stride: int,
        add_align: int,
        mask: NDArray[Any] | None,
        mask_below: int,
        out: NDArray[Any] | None = None,
        records: NDArray[np.int64] | None = None,
        part: int = 0,
    ) -> Quantised | None:
        """`Engine.conv_input_gradient`, or None.

        out: where the gradient goes; int64 for the masked sums themselves (align and add are not used then).
        records: [samples, H, parts, 2], gets the peak and the saturated elements of parts of `part` columns of
        every row (0: of whole rows), without add.
        """
        epilogue = InputGradientEpilogue(shift, align, add, add_stride, add_align, mask, mask_below)
        if geometry.groups > 1 and out is None and records is None:
            return self._depthwise.conv_input_gradient(dz, w, geometry, input_hw, epilogue)
        samples, out_h, out_w, c_out = dz.shape
        kernel_h, kernel_w, c_in, _ = w.shape
        height, width = input_hw
        if not self._takes(dz, w, geometry) or not epilogue.covered(width):
            return None
        shape = (samples, height, width, c_in)
        plain = out is None and records is None
        larger = (
            as_larger_images(shape, geometry, _TILED) if plain and (add is None or add.shape == shape) else None
        )
        if larger:
            gradient = self.conv_input_gradient(
                dz.reshape(*larger[:3], c_out), w.reshape(1, 1, -1, c_out), _POINTWISE, larger[1:3], shift, align,
                None if add is None else add.reshape(larger), 1, add_align,
                None if mask is None else mask.reshape(larger), mask_below,
            )  # fmt: skip
            return gradient and gradient._replace(data=gradient.data.reshape(shape))
        if plain and few_channels.suits(kernel_w, geometry.stride, c_in) and (add is None or add.shape == shape):
            return self._few_channels_gradient(dz, w, geometry, input_hw, epilogue)
        stride = geometry.stride
        blocks, pairs = -(-c_in // 16), -(-c_out // 2)
        packed = np.empty(fast_input.packed_size(*w.shape), np.int16)
        largest = fast_input.pack(np.ascontiguousarray(w), packed, stride)
        coupled = None
        if stride == 1 and kernel_w == 3 and width >= 4 and blocks > 1 and c_out % 4 == 0:
            coupled = np.empty((blocks, 2, kernel_h, pairs, 2, 16, 2), np.int16)
            fast_input.pack_coupled(address(packed), kernel_h, blocks, pairs, address(coupled))
        if largest > fast_input.MAX_WEIGHT_SUM:
            return None
        g = self._pool.empty((samples, height, width, c_in), np.int16) if out is None else out
        wide = 2 if g.dtype == np.int64 else int(epilogue.is_wide(largest))
        sizes = (kernel_h, kernel_w, stride, geometry.padding_h, geometry.padding_w)
        scratch = self._scratch.addresses(_input_scratch(out_h, out_w, c_out, *sizes, height, width, c_in))
        shared = (
            self._workers.counter, samples, address(dz), out_h, out_w, c_out, address(packed),
            0 if coupled is None else address(coupled), *sizes, address(g), height, width, c_in, wide,
            *epilogue.arguments(self._g_limit),
        )  # fmt: skip
        end = (0 if records is None else address(records), part or width)
        rows = [(*shared, scratch[thread], *end) for thread in range(self._threads(samples))]
        return self._quantised(g, fast_input.input_gradient, rows)

    def _few_channels_gradient(
        self,
        dz: NDArray[Any],
        w: NDArray[Any],
        geometry: ConvGeometry,
        input_hw: tuple[int, int],
        epilogue: InputGradientEpilogue,
    ) -> Quantised | None:
        """`conv_input_gradient` by the kernel for few input channels."""
        samples, out_h, out_w, c_out = dz.shape
        kernel_h, kernel_w, c_in, _ = w.shape
        largest = int(np.abs(w.astype(np.int64)).sum((0, 1, 3)).max())
        if largest > fast_input.MAX_WEIGHT_SUM:
            return None
        columns = w.reshape(kernel_h, 1, kernel_w * c_in, c_out)
        packed = np.empty(fast_input.packed_size(*columns.shape), np.int16)
        fast_input.pack(np.ascontiguousarray(columns), packed, 1)
        g = self._pool.empty((samples, *input_hw, c_in), np.int16)
        kernel = (kernel_h, kernel_w, geometry.padding_h, geometry.padding_w)
        scratch = self._scratch.addresses(few_channels.scratch_size(out_h, out_w, c_out, *kernel, *input_hw, c_in))
        row = (
            self._workers.counter, samples, address(dz), out_h, out_w, c_out, address(packed), *kernel, address(g),
            *input_hw, c_in, int(epilogue.is_wide(largest)), *epilogue.arguments(self._g_limit),
        )  # fmt: skip
        rows = [(*row, scratch[thread]) for thread in range(self._threads(samples))]
        return self._quantised(g, few_channels.input_gradient, rows)

    def begin_weight_gradients(
        self, x: NDArray[Any], dz: NDArray[Any], geometry: ConvGeometry, wanted: Wanted
    ) -> LaterAll | None:
        """`WeightGradientKernels.begin_weight_gradients`, of depthwise convolutions too."""
        kernels = self._depthwise if geometry.groups > 1 else self._weight_gradients
        return kernels.begin_weight_gradients(x, dz, geometry, wanted)

    def _takes(self, values: NDArray[Any], w: NDArray[Any], geometry: ConvGeometry) -> bool:
        return (
            self._half_up
            and self._wide_accumulator
            and geometry.groups == 1
            and values.dtype in _TYPES
            and w.dtype == np.int8
        )
