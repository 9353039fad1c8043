"""The fast engine for processors: kernels compiled by numba, threads over samples.

Every operation has a plain kernel that covers all widths, rounding modes and shapes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from joulebit.engine.adder_kernels import AdderKernels
from joulebit.engine.base import (
    Array,
    ConvGeometry,
    ConvOutput,
    Int64Array,
    NormConstants,
    NormGradientConstants,
    Quantised,
)
from joulebit.engine.channel_constants import CompiledConstants
from joulebit.engine.numpy_arrays import NumpyArrays
from joulebit.engine.parts import NO_MASK, NOTHING_TO_ADD, joined, joined_output, unsigned
from joulebit.engine.update_kernels import UpdateKernels
from joulebit.engine.vector_kernels import Later, LaterAll, Wanted
from joulebit.fixed import weights
from joulebit.fixed.arithmetic import MASTER_FRACTION_BITS, PEAK_LIMIT, Arithmetic
from joulebit.fixed.rounding import Rounding, bit_length
from joulebit.fixed.update import LayerUpdate, UpdateRule, reciprocal
from joulebit.kernels import elementwise, parameters, plain_conv, plain_norm
from joulebit.kernels.cpu import CpuLevel, cpu_level
from joulebit.kernels.matmul import product
from joulebit.kernels.memory import Pool
from joulebit.kernels.workers import Workers

if TYPE_CHECKING:
    from joulebit.engine.fast_kernels import FastKernels
    from joulebit.engine.norm_kernels import NormKernels
    from joulebit.engine.pooling_kernels import PoolingKernels
    from joulebit.engine.sample_kernels import SampleKernels

_NO_SHORTCUT = np.zeros((0, 1, 1, 1), np.uint8)
_UNLIMITED = (1 << 63) - 1


class NumbaEngine(NumpyArrays):
    """`Engine` by compiled kernels (see `joulebit.engine.base.Engine` for the operations).

    Args:
        arithmetic: widths and rounding modes.
        threads: how many to use; all available processors by default. Results do not depend on it.
        sharing: an engine whose threads and memory this one uses too.
        workers, pool: the threads, and where results come from, in place of an engine's own.
    """

    name = "numba"

    def __init__(
        self,
        arithmetic: Arithmetic | None = None,
        threads: int | None = None,
        sharing: NumbaEngine | None = None,
        workers: Workers | None = None,
        pool: Pool | None = None,
    ) -> None:
        self.arithmetic = arithmetic or Arithmetic()
        self._workers: Workers = sharing._workers if sharing else workers or Workers(threads)
        self._pool: Pool = sharing._pool if sharing else pool or Pool()
        self.channel_constants = CompiledConstants()
        self._mode = int(self.arithmetic.rounding_mode)
        self._fast: FastKernels | None = None
        self._norms: NormKernels | None = None
        self._pooling: PoolingKernels | None = None
        self._samples: SampleKernels | None = None
        self._adder = AdderKernels(self.arithmetic, self._workers, self._pool)
        self._updates = UpdateKernels(self.arithmetic, self._workers, self._pool)
        if cpu_level() > CpuLevel.GENERIC:
            from joulebit.engine.fast_kernels import FastKernels
            from joulebit.engine.norm_kernels import NormKernels
            from joulebit.engine.pooling_kernels import PoolingKernels
            from joulebit.engine.sample_kernels import SampleKernels

            self._fast = FastKernels(self.arithmetic, self._workers, self._pool)
            self._norms = NormKernels(self.arithmetic, self._workers, self._pool)
            self._pooling = PoolingKernels(self.arithmetic, self._workers, self._pool)
            self._samples = SampleKernels(self.arithmetic, self._workers, self._pool)
        self._acc_limit = (1 << (self.arithmetic.accumulator_bits - 1)) - 1
        self._g_limit = (1 << (self.arithmetic.g_bits - 1)) - 1

    def with_arithmetic(self, arithmetic: Arithmetic) -> NumbaEngine:
        return NumbaEngine(arithmetic, sharing=self)

    @property
    def fast(self) -> FastKernels | None:
        """The kernels for the default formats; None where the processor has no vectors for them."""
        return self._fast

    @property
    def threads(self) -> int:
        """Number of threads, the calling one included."""
        return self._workers.count

    # --- convolution ---------------------------------------------------------------------------------

    def conv_forward(self, x: Array, w: Array, geometry: ConvGeometry, shift: int, key: int = 0) -> ConvOutput:
        fast = self._fast and self._fast.conv_forward(x, w, geometry, shift)
        if fast:
            return fast
        samples, c_out = x.shape[0], w.shape[3]
        z = self._pool.empty((samples, *geometry.output_size(x.shape[1], x.shape[2]), c_out), np.int16)

        def work(first: int, last: int) -> tuple[int, int, Int64Array, Int64Array]:
            total, squares = np.zeros(c_out, np.int64), np.zeros(c_out, np.int64)
            peak, saturated = plain_conv.forward(
                x, w, z, total, squares, first, last, geometry.stride, geometry.padding_h, geometry.padding_w,
                geometry.groups, shift, self._acc_limit, self._mode, unsigned(key),
            )  # fmt: skip
            return peak, saturated, total, squares

        return joined_output(z, self._workers.over_samples(samples, work))

    def conv_input_gradient(
        self,
        dz: Array,
        w: Array,
        geometry: ConvGeometry,
        input_hw: tuple[int, int],
        shift: int,
        align: int = 0,
        add: Array | None = None,
        add_stride: int = 1,
        add_align: int = 0,
        mask: Array | None = None,
        mask_below: int = 0,
        key: int = 0,
    ) -> Quantised:
        fast = self._fast and self._fast.conv_input_gradient(
            dz, w, geometry, input_hw, shift, align, add, add_stride, add_align, mask, mask_below
        )
        if fast:
            return fast
        samples = dz.shape[0]
        g = self._pool.empty((samples, *input_hw, w.shape[2] * geometry.groups), np.int16)
        turned = np.ascontiguousarray(w.transpose(0, 1, 3, 2))

        def work(first: int, last: int) -> tuple[int, int]:
            return plain_conv.input_gradient(  # type: ignore[no-any-return]
                dz, turned, NOTHING_TO_ADD if add is None else add, NO_MASK if mask is None else mask, g,
                first, last, geometry.stride, geometry.padding_h, geometry.padding_w, geometry.groups,
                self._acc_limit, align, add_stride, add_align, int(mask is not None), mask_below, shift,
                self._g_limit, self._mode, unsigned(key),
            )  # fmt: skip

        return joined(g, self._workers.over_samples(samples, work))

    def shortcut_gradient(
        self,
        g: Array,
        input_shape: tuple[int, int, int],
        stride: int,
        shift: int,
        align: int = 0,
        mask: Array | None = None,
        mask_below: int = 0,
        key: int = 0,
    ) -> Quantised:
        fast = self._samples and self._samples.shortcut_gradient(
            g, input_shape, stride, shift, align, mask, mask_below
        )
        if fast:
            return fast
        out = self._pool.empty((g.shape[0], *input_shape), np.int16)

        def work(first: int, last: int) -> tuple[int, int]:
            return elementwise.shortcut_gradient(  # type: ignore[no-any-return]
                g, NO_MASK if mask is None else mask, out, first, last, stride, align, int(mask is not None),
                mask_below, shift, self._g_limit, self._mode, unsigned(key),
            )  # fmt: skip

        return joined(out, self._workers.over_samples(g.shape[0], work))

    def adder_forward(self, x: Array, w: Array, geometry: ConvGeometry, shift: int, key: int = 0) -> ConvOutput:
        return self._adder.forward(x, w, geometry, shift, key)

    def adder_input_gradient(
        self,
        dz: Array,
        x: Array,
        w: Array,
        geometry: ConvGeometry,
        clip: int,
        shift: int,
        align: int = 0,
        add: Array | None = None,
        add_stride: int = 1,
        add_align: int = 0,
        mask: Array | None = None,
        mask_below: int = 0,
        key: int = 0,
    ) -> Quantised:
        return self._adder.input_gradient(
            dz, x, w, geometry, clip, shift, align, add, add_stride, add_align, mask, mask_below, key
        )

    def channel_sums(self, dz: Array, msb: bool = False) -> Int64Array:
        fmt = self.arithmetic
        if msb:
            dz = self._narrow(dz, fmt.g_bits - fmt.g_msb_bits, *fmt.msb_gradient_range(), fmt.msb_rounding_mode)
        return np.asarray(dz.sum((0, 1, 2), dtype=np.int64))

    def quantise_weights_at(self, master: Array, exponent: int) -> Array:
        bits = self.arithmetic.w_bits
        w = np.empty(master.shape, np.int8 if bits <= 8 else np.int16)
        shift = exponent + MASTER_FRACTION_BITS
        parameters.quantise(master.reshape(-1), w.reshape(-1), shift, (1 << (bits - 1)) - 1)
        return w

    def conv_weight_gradient(self, x: Array, dz: Array, geometry: ConvGeometry) -> tuple[Array, int]:
        return self.begin_weight_gradient(x, dz, geometry)()

    def conv_weight_gradient_msb(self, x: Array, dz: Array, geometry: ConvGeometry) -> Array:
        return self.begin_weight_gradient(x, dz, geometry, msb=True)()[0]

    def begin_weight_gradient(self, x: Array, dz: Array, geometry: ConvGeometry, msb: bool = False) -> Later:
        """conv_weight_gradient, or with `msb` conv_weight_gradient_msb, on which helpers work at once.

        A call of what is returned gives the gradient and how often it was clamped (0 with `msb`).
        """
        begun = self._begin_weight_gradients(x, dz, geometry, not msb, msb)
        return lambda: begun()[0]

    def begin_weight_gradients(self, x: Array, dz: Array, geometry: ConvGeometry) -> LaterAll:
        """`begin_weight_gradient` without and with `msb`, where possible from one pass over x and dz."""
        return self._begin_weight_gradients(x, dz, geometry, True, True)

    def _begin_weight_gradients(
        self, x: Array, dz: Array, geometry: ConvGeometry, exact: bool, msb: bool
    ) -> LaterAll:
        fmt, mode = self.arithmetic, self.arithmetic.msb_rounding_mode
        (x_low, x_high), (g_low, g_high) = fmt.msb_activation_range(x.dtype.kind != "u"), fmt.msb_gradient_range()
        x_shift, g_shift = fmt.x_bits - fmt.x_msb_bits, fmt.g_bits - fmt.g_msb_bits
        if not msb or mode is Rounding.HALF_UP:
            narrowing = (x_shift, x_low, x_high, g_shift, g_high) if msb else None
            wanted = Wanted(self._acc_limit if exact else None, narrowing)
            fast = self._fast and self._fast.begin_weight_gradients(x, dz, geometry, wanted)
            if fast:
                return fast
        begun = [self._begin_sums(x, dz, geometry, self._acc_limit)] if exact else []
        if msb:
            x, dz = self._narrow(x, x_shift, x_low, x_high, mode), self._narrow(dz, g_shift, g_low, g_high, mode)
            begun.append(self._begin_sums(x, dz, geometry, _UNLIMITED))
        return lambda: [later() for later in begun]

    def _begin_sums(self, x: Array, dz: Array, geometry: ConvGeometry, limit: int) -> Later:
        """The weight gradient within +-limit, and how many of its sums were not."""
        fast = self._fast and self._fast.begin_weight_gradients(x, dz, geometry, Wanted(limit, None))
        if fast:
            return lambda: fast()[0]
        shape = (geometry.kernel_h, geometry.kernel_w, x.shape[3] // geometry.groups, dz.shape[3])

        def work(first: int, last: int) -> Int64Array:
            dw = np.zeros(shape, np.int64)
            plain_conv.weight_gradient(
                x, dz, dw, first, last, geometry.stride, geometry.padding_h, geometry.padding_w, geometry.groups
            )
            return dw

        total = np.asarray(sum(self._workers.over_samples(x.shape[0], work)))
        clamped = np.clip(total, -limit, limit)
        return lambda: (clamped, int(np.count_nonzero(clamped != total)))

    def _narrow(self, value: Array, shift: int, low: int, high: int, mode: Rounding) -> Array:
        out = self._pool.empty(value.shape, value.dtype)
        flat, flat_out = value.reshape(-1), out.reshape(-1)
        self._workers.over_samples(
            flat.size,
            lambda first, last: elementwise.narrow(flat, flat_out, first, last, shift, low, high, int(mode)),
        )
        return out

    # --- normalisation -------------------------------------------------------------------------------

    def norm_forward(
        self,
        z: Array,
        norm: NormConstants,
        shift: int,
        bounds: tuple[int, int],
        shortcut: Array | None = None,
        shortcut_stride: int = 1,
        shortcut_shift: int = 0,
        key: int = 0,
    ) -> tuple[Array, int]:
        fast = self._norms and self._norms.norm_forward(
            z, norm, shift, bounds, shortcut, shortcut_stride, shortcut_shift
        )
        if fast:
            return fast
        a = self._pool.empty(z.shape, self._activation_type(bounds))

        def work(first: int, last: int) -> int:
            return plain_norm.norm_forward(  # type: ignore[no-any-return]
                z, norm.mean, norm.rsqrt, norm.scale, norm.gamma, norm.beta,
                _NO_SHORTCUT if shortcut is None else shortcut, a, first, last, shortcut_stride, shortcut_shift,
                shift, bounds[0], bounds[1], self._mode, unsigned(key),
            )  # fmt: skip

        return a, sum(self._workers.over_samples(z.shape[0], work))

    def shortcut_forward(
        self, x: Array, stride: int, channels: int, shift: int, bounds: tuple[int, int], key: int = 0
    ) -> tuple[Array, int]:
        fast = self._samples and self._samples.shortcut_forward(x, stride, channels, shift, bounds)
        if fast:
            return fast
        height, width = -(-x.shape[1] // stride), -(-x.shape[2] // stride)
        a = self._pool.empty((x.shape[0], height, width, channels), self._activation_type(bounds))

        def work(first: int, last: int) -> int:
            return plain_norm.shortcut_forward(  # type: ignore[no-any-return]
                x, a, first, last, stride, shift, bounds[0], bounds[1], self._mode, unsigned(key)
            )

        return a, sum(self._workers.over_samples(x.shape[0], work))

    def _activation_type(self, bounds: tuple[int, int]) -> Any:
        if self.arithmetic.x_bits <= 8:
            return np.uint8 if bounds[0] == 0 else np.int8
        return np.uint16 if bounds[0] == 0 else np.int16

    def norm_sums(self, g: Array, z: Array, norm: NormConstants) -> tuple[Int64Array, Int64Array]:
        fast = self._norms and self._norms.norm_sums(g, z, norm)
        if fast:
            return fast

        def work(first: int, last: int) -> tuple[Int64Array, Int64Array]:
            total, products = np.zeros(z.shape[3], np.int64), np.zeros(z.shape[3], np.int64)
            plain_norm.norm_sums(g, z, norm.mean, norm.rsqrt, norm.scale, total, products, first, last)
            return total, products

        parts = self._workers.over_samples(z.shape[0], work)
        return np.asarray(sum(part[0] for part in parts)), np.asarray(sum(part[1] for part in parts))

    def norm_backward(
        self, g: Array, z: Array, norm: NormConstants, gradient: NormGradientConstants, key: int = 0
    ) -> Quantised:
        fast = self._norms and self._norms.norm_backward(g, z, norm, gradient)
        if fast:
            return fast
        dz = self._pool.empty(z.shape, np.int16)

        def work(first: int, last: int) -> tuple[int, int]:
            return plain_norm.norm_backward(  # type: ignore[no-any-return]
                g, z, norm.mean, norm.rsqrt, norm.scale, gradient.mean_g, gradient.mean_gx, gradient.multiplier,
                gradient.shift, dz, first, last, self._g_limit, PEAK_LIMIT, self._mode, unsigned(key),
            )  # fmt: skip

        return joined(dz, self._workers.over_samples(z.shape[0], work))

    # --- predictor -----------------------------------------------------------------------------------

    def predict_signs(self, exact: Array, predicted: Array, threshold_q12: int) -> tuple[Array, dict[str, int]]:
        flat = predicted.reshape(-1)
        threshold = max(1, (threshold_q12 * parameters.peak_of(flat)) >> 12)
        out = self._pool.empty(exact.shape, np.int64)
        decided, wrong = parameters.choose_signs(exact.reshape(-1), flat, out.reshape(-1), threshold)
        return out, {"total": exact.size, "decided": decided, "wrong": wrong, "threshold": threshold}

    def sign(self, exact: Array) -> Array:
        out = self._pool.empty(exact.shape, np.int64)
        parameters.signs(exact.reshape(-1), out.reshape(-1))
        return out

    # --- pooling and small tensors ---------------------------------------------------------------------

    def max_pool(self, x: Array, size: int) -> Array:
        fast = self._pooling and self._pooling.max_pool(x, size)
        if fast is not None:
            return fast
        samples, height, width, channels = x.shape
        out = self._pool.empty((samples, height // size, width // size, channels), x.dtype)
        self._workers.over_samples(samples, lambda first, last: elementwise.max_pool(x, out, first, last, size))
        return out

    def max_pool_gradient(self, g: Array, x: Array, size: int) -> Array:
        fast = self._pooling and self._pooling.max_pool_gradient(g, x, size)
        if fast is not None:
            return fast
        out = self._pool.empty(x.shape, np.int16)
        self._workers.over_samples(
            x.shape[0], lambda first, last: elementwise.max_pool_gradient(g, x, out, first, last, size)
        )
        return out

    def spatial_sum(self, x: Array) -> Int64Array:
        fast = self._pooling.spatial_sum(x) if self._pooling else None
        if fast is not None:
            return fast
        out = np.zeros((x.shape[0], x.shape[3]), np.int64)
        self._workers.over_samples(x.shape[0], lambda first, last: elementwise.spatial_sum(x, out, first, last))
        return out

    def matmul(self, a: Int64Array, b: Int64Array) -> Int64Array:
        return product(a, b)

    def spread(
        self, value: Int64Array, like: Array, shift: int, masked: bool, mask_below: int = 0, key: int = 0
    ) -> Quantised:
        fast = self._pooling and self._pooling.spread(value, like, shift, masked, mask_below)
        if fast:
            return fast
        g = self._pool.empty(like.shape, np.int16)

        def work(first: int, last: int) -> tuple[int, int]:
            return elementwise.spread(  # type: ignore[no-any-return]
                value, like, g, first, last, int(masked), mask_below, shift, self._g_limit, self._mode,
                unsigned(key),
            )  # fmt: skip

        return joined(g, self._workers.over_samples(like.shape[0], work))

    def mask_gradient(self, g: Array, a: Array, mask_below: int = 0) -> Array:
        out = self._pool.empty(g.shape, np.int16)
        flat = (g.reshape(-1), a.reshape(-1), out.reshape(-1))
        self._workers.over_samples(
            g.size, lambda first, last: elementwise.mask_gradient(*flat, first, last, mask_below)
        )
        return out

    def narrow_gradient(self, dz: Array, shift: int, bits: int) -> Array:
        limit = (1 << (bits - 1)) - 1
        return self._narrow(dz, shift, -limit, limit, Rounding.HALF_UP)

    def sample_dot(self, g: Array, a: Array, base: Array) -> Int64Array:
        fast = self._samples.sample_dot(g, a, base) if self._samples else None
        if fast is not None:
            return fast
        samples = g.shape[0]
        out = np.empty(samples, np.int64)
        flat = (g.reshape(samples, -1), a.reshape(samples, -1), base.reshape(samples, -1), out)
        self._workers.over_samples(samples, lambda first, last: elementwise.sample_dot(*flat, first, last))
        return out

    def take(self, x: Array, index: Int64Array) -> Array:
        fast = self._samples.take(x, index) if self._samples else None
        if fast is not None:
            return fast
        out = self._pool.empty((len(index), *x.shape[1:]), x.dtype)
        return np.take(x, index, axis=0, out=out)

    def put(self, target: Array, index: Int64Array, value: Array) -> Array:
        done = self._samples and self._samples.put(target, index, value)
        return target if done else super().put(target, index, value)

    def copy(self, x: Array) -> Array:
        fast = self._samples.copy(x) if self._samples else None
        return super().copy(x) if fast is None else fast

    def zeros_like_gradient(self, x: Array) -> Array:
        out = self._pool.empty(x.shape, np.int16)
        out[:] = 0
        return out

    def take_channels(self, x: Array, index: Int64Array) -> Array:
        out = self._pool.empty((*x.shape[:-1], len(index)), x.dtype)
        return np.take(x, index, axis=-1, out=out)

    # --- parameters ------------------------------------------------------------------------------------

    def quantise_weights(self, master: Array, kind: str = "linear") -> tuple[Array, int]:
        if kind != "linear":
            return weights.quantise(master, kind, self.arithmetic.w_bits)
        bits = self.arithmetic.w_bits
        flat = master.reshape(-1)
        shift = max(0, bit_length(parameters.peak_of(flat)) - (bits - 1))
        w = np.empty(master.shape, np.int8 if bits <= 8 else np.int16)
        parameters.quantise(flat, w.reshape(-1), shift, (1 << (bits - 1)) - 1)
        return w, shift - 28

    def update(
        self,
        master: Array,
        momentum: Array,
        gradient: Array,
        exponent: int,
        samples: int,
        rule: UpdateRule,
    ) -> None:
        inverse, k = reciprocal(samples)
        parameters.update(
            master.reshape(-1), momentum.reshape(-1), gradient.reshape(-1), exponent - k + 28, inverse,
            rule.learning_rate_q20, rule.momentum_q15, rule.decay_q24,
        )  # fmt: skip

    def update_layers(self, layers: Sequence[LayerUpdate]) -> list[tuple[Array, int]]:
        """`update` and then `quantise_weights` of many layers; masters are dense int32, momenta int64."""
        return self._updates.update_layers(layers)
