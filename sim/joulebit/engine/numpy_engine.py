"""The reference engine: plain numpy, int64 everywhere, readable beside the specification. Runs on the board.

Convolutions are sums of shifted matrix products (one per kernel tap). The products are float64 matrix
multiplications where every partial sum provably stays below 2^53, hence exact, and int64 otherwise.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from joulebit.engine.base import (
    Array,
    ConvGeometry,
    ConvOutput,
    Int64Array,
    NormConstants,
    NormGradientConstants,
    Quantised,
)
from joulebit.engine.numpy_adder import clipped_gradient, distances
from joulebit.engine.numpy_arrays import NumpyArrays
from joulebit.fixed import weights
from joulebit.fixed.arithmetic import (
    CONV_OUTPUT_BITS,
    MASTER_FRACTION_BITS,
    PEAK_LIMIT,
    SUM_FRACTION_BITS,
    Arithmetic,
)
from joulebit.fixed.matmul import integer_matmul
from joulebit.fixed.rounding import bit_length, peak, saturate, shift_round, shift_round_each
from joulebit.fixed.update import UpdateRule, update_step


class NumpyEngine(NumpyArrays):
    """`Engine` in plain numpy (see `joulebit.engine.base.Engine` for the operations)."""

    name = "numpy"

    def __init__(self, arithmetic: Arithmetic | None = None) -> None:
        self.arithmetic = arithmetic or Arithmetic()
        self._mode = self.arithmetic.rounding_mode

    def with_arithmetic(self, arithmetic: Arithmetic) -> NumpyEngine:
        return NumpyEngine(arithmetic)

    # --- convolution ---------------------------------------------------------------------------------

    def conv_forward(self, x: Array, w: Array, geometry: ConvGeometry, shift: int, key: int = 0) -> ConvOutput:
        return self._output(_convolve(x, w, geometry), shift, key)

    def _output(self, exact: Int64Array, shift: int, key: int) -> ConvOutput:
        acc, clamped = self._accumulate(exact)
        rounded = shift_round(acc, shift, self._mode, key)
        z = saturate(rounded, CONV_OUTPUT_BITS)
        return ConvOutput(
            z.astype(np.int16),
            peak(acc),
            clamped + int(np.count_nonzero(z != rounded)),
            z.sum((0, 1, 2)),
            (z * z).sum((0, 1, 2)),
        )

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
        acc, clamped = self._accumulate(_convolve_transposed(dz, w, geometry, input_hw))
        value = shift_round(acc, -align)
        if add is not None:
            _add_strided(value, shift_round(add, -add_align), add_stride)
        result = self._gradient(value, shift, mask, mask_below, key)
        return result._replace(saturated=result.saturated + clamped)

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
        value = np.zeros((g.shape[0], *input_shape), np.int64)
        _add_strided(value, shift_round(g, -align), stride)
        return self._gradient(value, shift, mask, mask_below, key)

    def _gradient(self, value: Int64Array, shift: int, mask: Array | None, mask_below: int, key: int) -> Quantised:
        if mask is not None:
            value = np.where(_passes(mask, mask_below), value, 0)
        rounded = shift_round(value, shift, self._mode, key)
        g = saturate(rounded, self.arithmetic.g_bits)
        return Quantised(g.astype(np.int16), peak(value), int(np.count_nonzero(g != rounded)))

    def adder_forward(self, x: Array, w: Array, geometry: ConvGeometry, shift: int, key: int = 0) -> ConvOutput:
        return self._output(distances(x, w, geometry), shift, key)

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
        acc, clamped = self._accumulate(clipped_gradient(dz, x, w, geometry, clip))
        value = shift_round(acc, -align)
        if add is not None:
            _add_strided(value, shift_round(add, -add_align), add_stride)
        result = self._gradient(value, shift, mask, mask_below, key)
        return result._replace(saturated=result.saturated + clamped)

    def channel_sums(self, dz: Array, msb: bool = False) -> Int64Array:
        part = msb_gradient(dz, self.arithmetic) if msb else dz
        return np.asarray(part.sum((0, 1, 2), dtype=np.int64))

    def quantise_weights_at(self, master: Array, exponent: int) -> Array:
        bits = self.arithmetic.w_bits
        w = saturate(shift_round(master, exponent + MASTER_FRACTION_BITS), bits)
        return w.astype(np.int8 if bits <= 8 else np.int16)

    def conv_weight_gradient(self, x: Array, dz: Array, geometry: ConvGeometry) -> tuple[Array, int]:
        return self._accumulate(_correlate(x, dz, geometry))

    def conv_weight_gradient_msb(self, x: Array, dz: Array, geometry: ConvGeometry) -> Array:
        fmt = self.arithmetic
        return _correlate(msb_activation(x, fmt), msb_gradient(dz, fmt), geometry)

    def _accumulate(self, total: Int64Array) -> tuple[Int64Array, int]:
        clamped = saturate(total, self.arithmetic.accumulator_bits)
        return clamped, int(np.count_nonzero(clamped != total))

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
        y = norm.gamma * _normalised(z, norm) + (norm.beta << 11)
        if shortcut is not None:
            kept = shortcut[:, ::shortcut_stride, ::shortcut_stride][:, : y.shape[1], : y.shape[2]]
            y[..., : kept.shape[3]] += kept.astype(np.int64) << shortcut_shift
        return self._activate(y, shift, bounds, key)

    def shortcut_forward(
        self, x: Array, stride: int, channels: int, shift: int, bounds: tuple[int, int], key: int = 0
    ) -> tuple[Array, int]:
        kept = x[:, ::stride, ::stride]
        y = np.zeros((*kept.shape[:3], channels), np.int64)
        y[..., : kept.shape[3]] = kept.astype(np.int64) << SUM_FRACTION_BITS
        return self._activate(y, shift + SUM_FRACTION_BITS, bounds, key)

    def _activate(self, y: Int64Array, shift: int, bounds: tuple[int, int], key: int) -> tuple[Array, int]:
        low, high = bounds
        rounded = shift_round(y, shift, self._mode, key)
        outside = int(np.count_nonzero(rounded > high))
        if low < 0:
            outside += int(np.count_nonzero(rounded < low))
        narrow = self.arithmetic.x_bits <= 8
        dtype: Any = (np.uint8 if narrow else np.uint16) if low == 0 else (np.int8 if narrow else np.int16)
        return np.clip(rounded, low, high).astype(dtype), outside

    def norm_sums(self, g: Array, z: Array, norm: NormConstants) -> tuple[Int64Array, Int64Array]:
        wide = g.astype(np.int64)
        return wide.sum((0, 1, 2)), (wide * _normalised(z, norm)).sum((0, 1, 2))

    def norm_backward(
        self, g: Array, z: Array, norm: NormConstants, gradient: NormGradientConstants, key: int = 0
    ) -> Quantised:
        xhat = _normalised(z, norm)
        t = (g.astype(np.int64) << 8) - gradient.mean_g - shift_round(xhat * gradient.mean_gx, 19)
        u = shift_round_each(t * gradient.multiplier, gradient.shift, self._mode, key)
        dz = saturate(u, self.arithmetic.g_bits)
        return Quantised(dz.astype(np.int16), min(peak(u), PEAK_LIMIT), int(np.count_nonzero(dz != u)))

    # --- predictor -----------------------------------------------------------------------------------

    def predict_signs(self, exact: Array, predicted: Array, threshold_q12: int) -> tuple[Array, dict[str, int]]:
        threshold = max(1, (threshold_q12 * peak(predicted)) >> 12)
        decided = np.abs(predicted) >= threshold
        exact_sign = np.sign(exact)
        direction = np.where(decided, np.sign(predicted), exact_sign)
        return direction, {
            "total": int(exact.size),
            "decided": int(np.count_nonzero(decided)),
            "wrong": int(np.count_nonzero(decided & (direction != exact_sign))),
            "threshold": threshold,
        }

    def sign(self, exact: Array) -> Array:
        return np.sign(exact)

    # --- pooling and small tensors ---------------------------------------------------------------------

    def max_pool(self, x: Array, size: int) -> Array:
        return _windows(x, size).max(3)

    def max_pool_gradient(self, g: Array, x: Array, size: int) -> Array:
        windows = _windows(x, size)
        n, rows, columns, _, channels = windows.shape
        first = windows.argmax(3)
        routed = np.where(np.arange(size * size)[:, None] == first[:, :, :, None], g[:, :, :, None], 0)
        out = np.zeros(x.shape, np.int16)
        routed = routed.reshape(n, rows, columns, size, size, channels).transpose(0, 1, 3, 2, 4, 5)
        out[:, : rows * size, : columns * size] = routed.reshape(n, rows * size, columns * size, channels)
        return out

    def matmul(self, a: Int64Array, b: Int64Array) -> Int64Array:
        return integer_matmul(a, b)

    def spatial_sum(self, x: Array) -> Int64Array:
        return np.asarray(x.astype(np.int64).sum((1, 2)))

    def spread(
        self, value: Int64Array, like: Array, shift: int, masked: bool, mask_below: int = 0, key: int = 0
    ) -> Quantised:
        spatial = np.broadcast_to(value[:, None, None, :], like.shape)
        return self._gradient(spatial, shift, like if masked else None, mask_below, key)

    def mask_gradient(self, g: Array, a: Array, mask_below: int = 0) -> Array:
        return np.where(_passes(a, mask_below), g, np.int16(0))

    def narrow_gradient(self, dz: Array, shift: int, bits: int) -> Array:
        return saturate(shift_round(dz, shift), bits).astype(np.int16)

    def sample_dot(self, g: Array, a: Array, base: Array) -> Int64Array:
        product = g.astype(np.int64) * (a.astype(np.int64) - base.astype(np.int64))
        return np.asarray(product.sum((1, 2, 3)))

    def take(self, x: Array, index: Int64Array) -> Array:
        return np.ascontiguousarray(x[index])

    def take_channels(self, x: Array, index: Int64Array) -> Array:
        return np.ascontiguousarray(x[..., index])

    # --- parameters ------------------------------------------------------------------------------------

    def quantise_weights(self, master: Array, kind: str = "linear") -> tuple[Array, int]:
        if kind != "linear":
            return weights.quantise(master, kind, self.arithmetic.w_bits)
        bits = self.arithmetic.w_bits
        shift = max(0, bit_length(peak(master)) - (bits - 1))
        w = saturate(shift_round(master, shift), bits)
        return w.astype(np.int8 if bits <= 8 else np.int16), shift - 28

    def update(
        self,
        master: Array,
        momentum: Array,
        gradient: Array,
        exponent: int,
        samples: int,
        rule: UpdateRule,
    ) -> None:
        update_step(master, momentum, gradient, exponent, samples, rule)


def msb_activation(x: NDArray[Any], arithmetic: Arithmetic) -> Int64Array:
    """Most significant bits of an activation (spec, section 6); unsigned when x is of an unsigned dtype."""
    part = shift_round(x, arithmetic.x_bits - arithmetic.x_msb_bits, arithmetic.msb_rounding_mode)
    return np.asarray(np.clip(part, *arithmetic.msb_activation_range(signed=x.dtype.kind != "u")))


def msb_gradient(dz: NDArray[Any], arithmetic: Arithmetic) -> Int64Array:
    """Most significant bits of an output gradient (spec, section 6)."""
    part = shift_round(dz, arithmetic.g_bits - arithmetic.g_msb_bits, arithmetic.msb_rounding_mode)
    return np.asarray(np.clip(part, *arithmetic.msb_gradient_range()))


def _add_strided(value: Int64Array, addend: Int64Array, stride: int) -> None:
    """value[:, ::stride, ::stride, :C] += addend, over the rows, columns and channels that both have."""
    target = value[:, ::stride, ::stride, : addend.shape[3]]
    target += addend[:, : target.shape[1], : target.shape[2], : target.shape[3]]


def _passes(activation: NDArray[Any], below: int) -> NDArray[np.bool_]:
    on = activation > 0
    return np.asarray(on & (activation < below) if below > 0 else on)


def _normalised(z: NDArray[Any], norm: NormConstants) -> Int64Array:
    """x-hat (spec, section 4), Q.11 in 16 bits."""
    shift = 35 - norm.scale
    centred = ((z.astype(np.int64) << 8) - norm.mean) * norm.rsqrt
    return saturate(shift_round_each(centred, shift), 16)


def _windows(x: NDArray[Any], size: int) -> NDArray[Any]:
    """[N, H // size, W // size, size * size, C]: the elements of each pooling window, row-major."""
    n, height, width, channels = x.shape
    rows, columns = height // size, width // size
    cut = x[:, : rows * size, : columns * size].reshape(n, rows, size, columns, size, channels)
    return cut.transpose(0, 1, 3, 2, 4, 5).reshape(n, rows, columns, size * size, channels)


def _padded(x: NDArray[Any], geometry: ConvGeometry) -> NDArray[Any]:
    rows, columns = geometry.padding_h, geometry.padding_w
    return np.pad(x, ((0, 0), (rows, rows), (columns, columns), (0, 0)))


def _tap(geometry: ConvGeometry, row: int, column: int, out_h: int, out_w: int) -> tuple[slice, slice, slice]:
    """Index of the padded input's elements that kernel tap (row, column) meets."""
    stride = geometry.stride
    return (
        slice(None),
        slice(row, row + (out_h - 1) * stride + 1, stride),
        slice(column, column + (out_w - 1) * stride + 1, stride),
    )


def _split_groups(array: NDArray[Any], groups: int) -> NDArray[Any]:
    """[..., C] -> [groups, positions, C / groups]."""
    return array.reshape(-1, groups, array.shape[-1] // groups).transpose(1, 0, 2)


def _join_groups(array: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """The reverse of `_split_groups` into an array of the given shape."""
    return array.transpose(1, 0, 2).reshape(shape)


def _grouped_weights(w: NDArray[Any], groups: int, row: int, column: int) -> NDArray[Any]:
    """[groups, c_in / groups, c_out / groups] of one kernel tap."""
    tap = w[row, column]
    return np.asarray(tap.reshape(tap.shape[0], groups, -1).transpose(1, 0, 2))


def _convolve(x: NDArray[Any], w: NDArray[Any], geometry: ConvGeometry) -> Int64Array:
    out_h, out_w = geometry.output_size(x.shape[1], x.shape[2])
    padded = _padded(x, geometry)
    shape = (x.shape[0], out_h, out_w, w.shape[3])
    total = np.zeros(shape, np.int64)
    for row in range(geometry.kernel_h):
        for column in range(geometry.kernel_w):
            seen = _split_groups(padded[_tap(geometry, row, column, out_h, out_w)], geometry.groups)
            part = integer_matmul(seen, _grouped_weights(w, geometry.groups, row, column))
            total += _join_groups(part, shape)
    return total


def _convolve_transposed(
    dz: NDArray[Any], w: NDArray[Any], geometry: ConvGeometry, input_hw: tuple[int, int]
) -> Int64Array:
    n, out_h, out_w, _ = dz.shape
    height, width = input_hw
    channels = w.shape[2] * geometry.groups
    total = np.zeros((n, height + 2 * geometry.padding_h, width + 2 * geometry.padding_w, channels), np.int64)
    split = _split_groups(dz, geometry.groups)
    for row in range(geometry.kernel_h):
        for column in range(geometry.kernel_w):
            taps = _grouped_weights(w, geometry.groups, row, column).transpose(0, 2, 1)
            part = integer_matmul(split, taps)
            total[_tap(geometry, row, column, out_h, out_w)] += _join_groups(part, (n, out_h, out_w, channels))
    return np.ascontiguousarray(
        total[
            :,
            geometry.padding_h : geometry.padding_h + height,
            geometry.padding_w : geometry.padding_w + width,
        ]
    )


def _correlate(x: NDArray[Any], dz: NDArray[Any], geometry: ConvGeometry) -> Int64Array:
    _, out_h, out_w, c_out = dz.shape
    groups = geometry.groups
    c_in = x.shape[3] // groups
    padded = _padded(x, geometry)
    split = _split_groups(dz, groups)
    total = np.zeros((geometry.kernel_h, geometry.kernel_w, c_in, c_out), np.int64)
    for row in range(geometry.kernel_h):
        for column in range(geometry.kernel_w):
            seen = _split_groups(padded[_tap(geometry, row, column, out_h, out_w)], groups)
            part = integer_matmul(seen.transpose(0, 2, 1), split)
            total[row, column] = part.transpose(1, 0, 2).reshape(c_in, c_out)
    return total
