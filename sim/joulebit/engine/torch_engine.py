"""The torch engine: integer tensors on a CPU or a CUDA device, with the bits of the reference engine.

Matrix products run on 8-bit **limbs**. An integer tensor is written as sum over k of 256^k * limb_k + offset
with int8 limbs, and the product of two such sums is put together from `torch._int_mm` products, which are
exact 32-bit integers (`_LONGEST_SUM` keeps them so). Convolutions are matrix products over patches that are
gathered in the integer domain; the gradient of an input is the convolution of the dilated output gradient
with the turned kernel. No convolution library is called, hence no Winograd, FFT or TF32.

Where 8-bit products are missing or inexact (old GPUs; CPUs whose 8-bit instructions saturate), the single
limb is the tensor in float64: every partial sum stays below 2^53, so that no order of summation matters.
Depthwise convolutions are sums of shifted integer products.

Work is cut into chunks of samples, which bounds the memory for patches and keeps a CPU's caches warm.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from joulebit.engine.base import (
    Array,
    ConvGeometry,
    ConvOutput,
    Int64Array,
    NormConstants,
    NormGradientConstants,
    Quantised,
    UpdateRule,
)
from joulebit.fixed.arithmetic import CONV_OUTPUT_BITS, PEAK_LIMIT, SUM_FRACTION_BITS, Arithmetic
from joulebit.fixed.rounding import Rounding, bit_length, ceil_log2

_LONGEST_SUM = 1 << 16  # terms of one product: 2^16 * 2^14 < 2^31 (int8), 2^16 * 2^32 < 2^53 (float64)
_PATCH_ELEMENTS = {"cpu": 1 << 22, "cuda": 1 << 28}  # of one chunk of samples
_VALUE_ELEMENTS = {"cpu": 1 << 18, "cuda": 1 << 25}
_INT32_SAFE = 1 << 30  # a sum below this can be rounded in 32 bits


class TorchEngine:
    """`Engine` on torch tensors (see `joulebit.engine.base.Engine` for the operations).

    Args:
        arithmetic: widths and rounding modes.
        device: "cpu", "cuda", "cuda:1", ..., or "auto" for a CUDA device when there is one.
    """

    name = "torch"

    def __init__(self, arithmetic: Arithmetic | None = None, device: str = "cpu") -> None:
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self.device = torch.device(device)
        if self.device.type not in _PATCH_ELEMENTS:
            raise ValueError(f"device must be cpu, cuda or auto, got {device!r}")
        if self.device.type == "cuda" and not torch.cuda.is_available():
            raise ValueError(f"device {device!r} was asked for, but torch finds no CUDA device: use cpu or auto")
        self.arithmetic = arithmetic or Arithmetic()
        self._mode = self.arithmetic.rounding_mode
        self._int8 = int8_products_are_exact(str(self.device))

    def from_numpy(self, array: NDArray[Any]) -> Array:
        contiguous = np.ascontiguousarray(array)
        if not contiguous.flags.writeable:
            contiguous = contiguous.copy()
        return torch.from_numpy(contiguous).to(self.device)

    def to_numpy(self, array: Array) -> NDArray[Any]:
        return np.asarray(array.cpu().numpy())

    # --- convolution ---------------------------------------------------------------------------------

    def conv_forward(self, x: Array, w: Array, geometry: ConvGeometry, shift: int, key: int = 0) -> ConvOutput:
        out_h, out_w = geometry.output_size(x.shape[1], x.shape[2])
        shape = (x.shape[0], out_h, out_w, w.shape[3])
        z = torch.empty(shape, dtype=torch.int16, device=self.device)
        total = torch.zeros(shape[3], dtype=torch.int64, device=self.device)
        squares = torch.zeros_like(total)
        peak = saturated = 0
        for part in self._chunks(shape[0], out_h * out_w * w[..., 0].numel(), _PATCH_ELEMENTS):
            acc, clamped = self._accumulate(self._convolve(_padded(x[part], geometry), w, geometry))
            rounded = _round(acc, shift, self._mode, key, part.start * z[0].numel())
            kept = _saturate(rounded, CONV_OUTPUT_BITS)
            z[part] = kept
            peak = max(peak, _peak(acc))
            saturated += clamped + _differing(kept, rounded)
            total += kept.sum((0, 1, 2))
            squares += kept.to(torch.int64).square_().sum((0, 1, 2))
        return ConvOutput(z, peak, saturated, _host(total), _host(squares))

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
        groups, (height, width) = geometry.groups, input_hw
        c_in = w.shape[2] * groups
        turned = w.flip(0, 1).reshape(*w.shape[:3], groups, -1).permute(0, 1, 4, 3, 2)
        turned = turned.reshape(*w.shape[:2], -1, c_in)
        dilated = ConvGeometry(geometry.kernel_h, geometry.kernel_w, groups=groups)
        data = torch.empty((dz.shape[0], height, width, c_in), dtype=torch.int16, device=self.device)
        peak = saturated = 0
        for part in self._chunks(dz.shape[0], height * width * turned[..., 0].numel(), _PATCH_ELEMENTS):
            spaced = _dilated(dz[part], geometry, input_hw)
            acc, clamped = self._accumulate(self._convolve(spaced, turned, dilated))
            value = _round(acc, -align)
            if add is not None:
                value = _wide(value)
                _add_strided(value, add[part], add_align, add_stride)
            masked = None if mask is None else mask[part]
            result = self._gradient(data, part, value, shift, masked, mask_below, key)
            peak, saturated = max(peak, result[0]), saturated + clamped + result[1]
        return Quantised(data, peak, saturated)

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
        data = torch.empty((g.shape[0], *input_shape), dtype=torch.int16, device=self.device)
        peak = saturated = 0
        for part in self._value_chunks(data):
            value = torch.zeros(data[part].shape, dtype=torch.int64, device=self.device)
            _add_strided(value, g[part], align, stride)
            masked = None if mask is None else mask[part]
            result = self._gradient(data, part, value, shift, masked, mask_below, key)
            peak, saturated = max(peak, result[0]), saturated + result[1]
        return Quantised(data, peak, saturated)

    def _gradient(
        self,
        data: Array,
        part: slice,
        value: Array,
        shift: int,
        mask: Array | None,
        mask_below: int,
        key: int,
    ) -> tuple[int, int]:
        """data[part] = SAT_g(RND*(value, shift)) where the mask (of this part) lets it pass; (peak, saturated)."""
        if mask is not None:
            value = value * _passes(mask, mask_below)
        rounded = _round(value, shift, self._mode, key, part.start * data[0].numel())
        kept = _saturate(rounded, self.arithmetic.g_bits)
        data[part] = kept
        return _peak(value), _differing(kept, rounded)

    def conv_weight_gradient(self, x: Array, dz: Array, geometry: ConvGeometry) -> tuple[Array, int]:
        return self._accumulate(self._correlate(x, dz, geometry))

    def conv_weight_gradient_msb(self, x: Array, dz: Array, geometry: ConvGeometry) -> Array:
        fmt = self.arithmetic
        limit = max(1, (1 << (fmt.x_msb_bits - 1)) - 1)
        high = (1 << fmt.x_msb_bits) - 1 if _is_unsigned(x) and not fmt.x_signed else limit
        part = _round(x.to(torch.int32), fmt.x_bits - fmt.x_msb_bits, fmt.msb_rounding_mode)
        x_msb = part.clamp(0 if _is_unsigned(x) else -high, high).to(x.dtype)
        limit = max(1, (1 << (fmt.g_msb_bits - 1)) - 1)
        part = _round(dz.to(torch.int32), fmt.g_bits - fmt.g_msb_bits, fmt.msb_rounding_mode)
        g_msb = part.clamp(-limit, limit).to(torch.int8 if fmt.g_msb_bits <= 8 else torch.int16)
        return self._correlate(x_msb, g_msb, geometry)

    def _accumulate(self, total: Array) -> tuple[Array, int]:
        bits = self.arithmetic.accumulator_bits
        if total.dtype == torch.int32 and bits >= 32:
            return total, 0
        clamped = _saturate(total, bits)
        return clamped, _differing(clamped, total)

    def _chunks(self, samples: int, elements: int, budget: dict[str, int]) -> Iterator[slice]:
        """Slices of samples whose work, `elements` per sample, stays near the budget of the device."""
        step = max(1, budget[self.device.type] // max(1, elements))
        for start in range(0, samples, step):
            yield slice(start, min(start + step, samples))

    def _convolve(self, x: Array, w: Array, geometry: ConvGeometry) -> Array:
        """Cross-correlation of x (already padded) and w: exact sums in int64, or int32 where they fit."""
        groups, (kernel_h, kernel_w, c_in, c_out) = geometry.groups, w.shape
        if groups > 1 and c_in == 1 and c_out == groups:
            dtype = _sum_dtype(kernel_h * kernel_w, x.dtype, w.dtype)
            wide, taps = x.to(dtype), w.to(dtype)
            total = torch.zeros((), dtype=dtype, device=x.device)
            for row in range(kernel_h):
                for column in range(kernel_w):
                    total = total + _tap(wide, geometry, row, column) * taps[row, column, 0]
            return total
        if groups > 1:
            single = ConvGeometry(kernel_h, kernel_w, geometry.stride)
            pairs = zip(x.split(c_in, 3), w.split(c_out // groups, 3))
            return torch.cat([self._convolve(part, kernel, single) for part, kernel in pairs], 3)
        patches = _limbs(x, self._int8).map(lambda limb: _patches(limb, geometry))
        product = multiply(patches, _limbs(w.reshape(-1, c_out), self._int8))
        return product.reshape(x.shape[0], *_padded_output_size(x, geometry), c_out)

    def _correlate(self, x: Array, dz: Array, geometry: ConvGeometry) -> Array:
        """Sums over samples and positions of x * dz, int64 [kernel_h, kernel_w, c_in / groups, c_out]."""
        _, out_h, out_w, c_out = dz.shape
        groups, c_in = geometry.groups, x.shape[3] // geometry.groups
        taps = geometry.kernel_h * geometry.kernel_w
        total = torch.zeros((taps, c_in, c_out), dtype=torch.int64, device=self.device)
        for part in self._chunks(x.shape[0], out_h * out_w * taps * x.shape[3], _PATCH_ELEMENTS):
            padded, gradient = _padded(x[part], geometry), dz[part]
            if groups > 1 and c_in == 1 and c_out == groups:
                dtype = _sum_dtype(1, x.dtype, dz.dtype)
                wide, factor = padded.to(dtype), gradient.to(dtype)
                for tap in range(taps):
                    seen = _tap(wide, geometry, *divmod(tap, geometry.kernel_w))
                    total[tap, 0] += (seen * factor).sum((0, 1, 2))
                continue
            fields = zip(padded.split(c_in, 3), gradient.split(c_out // groups, 3), total.chunk(groups, 2))
            for seen, factor, out in fields:
                patches = _limbs(seen, self._int8).map(lambda limb: _patches(limb, geometry).t())
                product = multiply(patches, _limbs(factor.reshape(-1, c_out // groups), self._int8))
                out += product.reshape(out.shape)
        return total.reshape(geometry.kernel_h, geometry.kernel_w, c_in, c_out)

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
        constants = self._constants(norm)
        a = torch.empty(z.shape, dtype=self._activation_dtype(bounds), device=self.device)
        outside = 0
        for part in self._value_chunks(z):
            y = _normalised(z[part], constants).mul_(constants["gamma"]).add_(constants["beta"] << 11)
            if shortcut is not None:
                kept = shortcut[part, ::shortcut_stride, ::shortcut_stride][:, : y.shape[1], : y.shape[2]]
                y[..., : kept.shape[3]] += _wide(kept) << shortcut_shift
            outside += self._activate(a, part, y, shift, bounds, key)
        return a, outside

    def shortcut_forward(
        self, x: Array, stride: int, channels: int, shift: int, bounds: tuple[int, int], key: int = 0
    ) -> tuple[Array, int]:
        kept = x[:, ::stride, ::stride]
        shape = (*kept.shape[:3], channels)
        a = torch.empty(shape, dtype=self._activation_dtype(bounds), device=self.device)
        outside = 0
        for part in self._value_chunks(a):
            y = torch.zeros(a[part].shape, dtype=torch.int64, device=self.device)
            y[..., : kept.shape[3]] = _wide(kept[part]) << SUM_FRACTION_BITS
            outside += self._activate(a, part, y, shift + SUM_FRACTION_BITS, bounds, key)
        return a, outside

    def _activation_dtype(self, bounds: tuple[int, int]) -> torch.dtype:
        if self.arithmetic.x_bits <= 8:
            return torch.uint8 if bounds[0] == 0 else torch.int8
        return torch.uint16 if bounds[0] == 0 else torch.int16

    def _activate(self, a: Array, part: slice, y: Array, shift: int, bounds: tuple[int, int], key: int) -> int:
        """a[part] = clamp(RND*(y, shift), lo, hi); the number of elements above hi (or below a negative lo)."""
        low, high = bounds
        rounded = _round(y, shift, self._mode, key, part.start * a[0].numel())
        outside = torch.count_nonzero(rounded > high)
        if low < 0:
            outside = outside + torch.count_nonzero(rounded < low)
        a[part] = rounded.clamp(low, high).to(a.dtype)
        return int(outside)

    def norm_sums(self, g: Array, z: Array, norm: NormConstants) -> tuple[Int64Array, Int64Array]:
        constants = self._constants(norm)
        total = torch.zeros(z.shape[3], dtype=torch.int64, device=self.device)
        products = torch.zeros_like(total)
        for part in self._value_chunks(z):
            wide = _wide(g[part])
            total += wide.sum((0, 1, 2))
            products += wide.mul_(_normalised(z[part], constants)).sum((0, 1, 2))
        return _host(total), _host(products)

    def norm_backward(
        self, g: Array, z: Array, norm: NormConstants, gradient: NormGradientConstants, key: int = 0
    ) -> Quantised:
        constants, factors = self._constants(norm), self._constants(gradient)
        data = torch.empty(z.shape, dtype=torch.int16, device=self.device)
        peak = saturated = 0
        for part in self._value_chunks(z):
            along = _round(_normalised(z[part], constants).mul_(factors["mean_gx"]), 19)
            t = (_wide(g[part]) << 8).sub_(factors["mean_g"]).sub_(along).mul_(factors["multiplier"])
            u = _round(t, factors["shift"], self._mode, key, part.start * data[0].numel())
            kept = _saturate(u, self.arithmetic.g_bits)
            data[part] = kept
            peak = max(peak, _peak(u))
            saturated += _differing(kept, u)
        return Quantised(data, min(peak, PEAK_LIMIT), saturated)

    def _constants(self, record: NormConstants | NormGradientConstants) -> dict[str, Array]:
        """The per-channel arrays of a record as int64 tensors on the device."""
        return {
            name: torch.as_tensor(np.array(value, np.int64), device=self.device)
            for name, value in vars(record).items()
        }

    def _value_chunks(self, like: Array) -> Iterator[slice]:
        return self._chunks(like.shape[0], like[:1].numel(), _VALUE_ELEMENTS)

    # --- predictor -----------------------------------------------------------------------------------

    def predict_signs(self, exact: Array, predicted: Array, threshold_q12: int) -> tuple[Array, dict[str, int]]:
        threshold = max(1, (threshold_q12 * _peak(predicted)) >> 12)
        decided = predicted.abs() >= threshold
        exact_sign = exact.sign()
        direction = torch.where(decided, predicted.sign(), exact_sign)
        return direction, {
            "total": exact.numel(),
            "decided": int(torch.count_nonzero(decided)),
            "wrong": int(torch.count_nonzero(decided & (direction != exact_sign))),
            "threshold": threshold,
        }

    def sign(self, exact: Array) -> Array:
        return exact.sign()

    # --- pooling and small tensors ---------------------------------------------------------------------

    def max_pool(self, x: Array, size: int) -> Array:
        return _first_maximum(x, size)[0].to(x.dtype)

    def max_pool_gradient(self, g: Array, x: Array, size: int) -> Array:
        _, first = _first_maximum(x, size)
        rows, columns = first.shape[1:3]
        out = torch.zeros(x.shape, dtype=torch.int16, device=self.device)
        for tap in range(size * size):
            window = _window_tap(out, size, tap)
            window.copy_(g[:, :rows, :columns] * (first == tap))
        return out

    def spatial_sum(self, x: Array) -> Int64Array:
        return _host(_calculable(x).sum((1, 2), dtype=torch.int64))

    def spread(
        self, value: Int64Array, like: Array, shift: int, masked: bool, mask_below: int = 0, key: int = 0
    ) -> Quantised:
        data = torch.empty(like.shape, dtype=torch.int16, device=self.device)
        source = torch.as_tensor(np.array(value, np.int64), device=self.device)[:, None, None, :]
        peak = saturated = 0
        for part in self._value_chunks(like):
            spatial = source[part].expand(data[part].shape)
            mask = like[part] if masked else None
            result = self._gradient(data, part, spatial, shift, mask, mask_below, key)
            peak, saturated = max(peak, result[0]), saturated + result[1]
        return Quantised(data, peak, saturated)

    def mask_gradient(self, g: Array, a: Array, mask_below: int = 0) -> Array:
        return g * _passes(a, mask_below)

    def narrow_gradient(self, dz: Array, shift: int, bits: int) -> Array:
        return _saturate(_round(_wide(dz), shift), bits).to(torch.int16)

    def sample_dot(self, g: Array, a: Array, base: Array) -> Int64Array:
        total = torch.zeros(g.shape[0], dtype=torch.int64, device=self.device)
        for part in self._value_chunks(g):
            total[part] = _wide(a[part]).sub_(_wide(base[part])).mul_(g[part]).sum((1, 2, 3))
        return _host(total)

    def take(self, x: Array, index: Int64Array) -> Array:
        chosen = _calculable(x, same_size=True)[self._index(index)]
        return chosen.view(x.dtype)

    def put(self, target: Array, index: Int64Array, value: Array) -> Array:
        _calculable(target, same_size=True)[self._index(index)] = _calculable(value, same_size=True)
        return target

    def copy(self, x: Array) -> Array:
        return x.clone()

    def zeros_like_gradient(self, x: Array) -> Array:
        return torch.zeros(x.shape, dtype=torch.int16, device=self.device)

    def _index(self, index: Int64Array) -> Array:
        return torch.as_tensor(np.array(index, np.int64), device=self.device)

    # --- parameters ------------------------------------------------------------------------------------

    def quantise_weights(self, master: Array) -> tuple[Array, int]:
        bits = self.arithmetic.w_bits
        shift = max(0, bit_length(_peak(master)) - (bits - 1))
        w = _saturate(_round(_wide(master), shift), bits)
        return w.to(torch.int8 if bits <= 8 else torch.int16), shift - 28

    def update(
        self,
        master: Array,
        momentum: Array,
        gradient: Array,
        exponent: int,
        samples: int,
        rule: UpdateRule,
    ) -> None:
        k = ceil_log2(samples)
        inverse = ((1 << (16 + k)) + samples // 2) // samples
        shift = exponent - k + 28
        if shift > 0:
            shift = min(shift, 40)
            limit = ((1 << 43) - 1) >> shift
            mean = gradient.clamp(-limit, limit) << shift
        else:
            mean = _saturate(_round(gradient, min(62, -shift)), 44)
        wide = _wide(master)
        step = _saturate(_round(mean * inverse, 16), 38) + _round(wide * rule.decay_q24, 24)
        momentum.copy_(_saturate(_round(momentum * rule.momentum_q15, 15) + step, 42))
        master.copy_(_saturate(wide - _round(momentum * rule.learning_rate_q20, 20), 32))

    def zeros_like_momentum(self, master: Array) -> Array:
        return torch.zeros(master.shape, dtype=torch.int64, device=self.device)


# --- exact matrix products -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Limbs:
    """An integer tensor as sum over k of 256^k * parts[k] + offset, the parts int8; or one float64 part."""

    parts: list[torch.Tensor]  #: least significant first
    offset: int
    magnitude: int  #: bound of the absolute value

    def map(self, function: Any) -> Limbs:
        """The same with `function`, which must keep or gather elements, applied to each part."""
        return Limbs([function(part) for part in self.parts], self.offset, self.magnitude)


def _limbs(tensor: torch.Tensor, int8: bool) -> Limbs:
    """The limbs of an int8, uint8, int16 or uint16 tensor."""
    magnitude = _magnitude(tensor.dtype)
    if not int8:
        return Limbs([tensor.to(torch.float64)], 0, magnitude)
    if tensor.dtype == torch.int8:
        return Limbs([tensor], 0, magnitude)
    if tensor.dtype == torch.uint8:
        return Limbs([(tensor ^ 0x80).view(torch.int8)], 128, magnitude)
    # bytes in native order: the low one minus 128, the high one as it is (int16) or minus 128 (uint16)
    # (flat first: a last dimension of size 1 counts as contiguous whatever its stride, which bytes do not allow)
    pair = tensor.contiguous().reshape(-1).view(torch.uint8).reshape(*tensor.shape, 2)
    low, high = (pair[..., 0], pair[..., 1]) if np.little_endian else (pair[..., 1], pair[..., 0])
    if tensor.dtype == torch.int16:
        return Limbs([(low ^ 0x80).view(torch.int8), high.contiguous().view(torch.int8)], 128, magnitude)
    return Limbs([(low ^ 0x80).view(torch.int8), (high ^ 0x80).view(torch.int8)], 128 + (128 << 8), magnitude)


def multiply(a: Limbs, b: Limbs) -> torch.Tensor:
    """a @ b exactly, for limbs of [M, K] and [K, N]: int64, or int32 where every sum is below 2^30."""
    length = a.parts[0].shape[1]
    dtype = torch.int32 if length * a.magnitude * b.magnitude < _INT32_SAFE else torch.int64
    total = torch.zeros((), dtype=dtype, device=a.parts[0].device)
    for start in range(0, length, _LONGEST_SUM):
        part = slice(start, start + _LONGEST_SUM)
        left = Limbs([limb[:, part] for limb in a.parts], a.offset, a.magnitude)
        right = Limbs([limb[part] for limb in b.parts], b.offset, b.magnitude)
        total = total + _multiply_part(left, right, dtype)
    return total


def _multiply_part(a: Limbs, b: Limbs, dtype: torch.dtype) -> torch.Tensor:
    """`multiply` for at most _LONGEST_SUM terms per sum. 32-bit arithmetic may wrap on the way, not at the end."""
    if a.parts[0].dtype == torch.float64:
        return torch.matmul(a.parts[0], b.parts[0]).to(dtype)
    length, columns = b.parts[0].shape
    sides = [*b.parts]
    if b.offset:  # one more column: the sums of a's rows
        sides.append(torch.ones((length, 1), dtype=torch.int8, device=b.parts[0].device))
    side = torch.cat(sides, 1) if len(sides) > 1 else sides[0]
    total = a.offset * _column_sums(b, length).to(dtype)
    for rank, limb in enumerate(a.parts):
        product = int8_matmul(limb, side)
        for other in range(len(b.parts)):
            field = product[:, other * columns : (other + 1) * columns].to(dtype)
            total = total + (field << (8 * (rank + other)))
        if b.offset:
            total = total + ((product[:, -1:].to(dtype) << (8 * rank)) * b.offset)
    return total


def _column_sums(b: Limbs, length: int) -> torch.Tensor:
    """Sum of the represented values of each column, int64 [N]."""
    sums = [part.sum(0, dtype=torch.int64) << (8 * rank) for rank, part in enumerate(b.parts)]
    return torch.stack(sums).sum(0) + length * b.offset


def int8_matmul(a: torch.Tensor, b: torch.Tensor, align: bool | None = None) -> torch.Tensor:
    """a @ b as int32, for int8 [M, K] and [K, N] with K <= 2^16.

    align (default: on CUDA) lays the operands out as cuBLAS wants them: more than 16 rows, K and N multiples
    of 8, a row-major and b column-major.
    """
    if align is None:
        align = a.is_cuda
    if not align:
        return torch._int_mm(_with_plain_strides(a), _with_plain_strides(b))
    (rows, length), columns = a.shape, b.shape[1]
    extra_rows, extra_length, extra_columns = max(0, 17 - rows), -length % 8, -columns % 8
    a = torch.nn.functional.pad(a, (0, extra_length, 0, extra_rows)).contiguous()
    b = torch.nn.functional.pad(b.t(), (0, extra_length, 0, extra_columns)).contiguous().t()
    return torch._int_mm(a, b)[:rows, :columns]


def _with_plain_strides(matrix: torch.Tensor) -> torch.Tensor:
    """The same matrix, copied unless it is row-major or column-major with disjoint lines of more than one element.

    On a CPU `torch._int_mm` of torch 2.13 believes the strides: for a single row that came out of a
    transposition, or for patches whose rows overlap in memory, it reads another matrix.
    """
    (rows, columns), (by_row, by_column) = matrix.shape, matrix.stride()
    plain = (by_column == 1 and by_row >= columns) or (by_row == 1 and by_column >= rows)
    if plain and min(rows, columns) > 1:
        return matrix
    return matrix.clone(memory_format=torch.contiguous_format)


@cache
def int8_products_are_exact(device: str) -> bool:
    """True when `int8_matmul` gives exact sums on a device, tried with operands that saturate 16-bit sums."""
    low, high = -128, 127
    for rows, length, columns in ((64, 256, 64), (33, 145, 17), (5, 27, 1)):
        for first, second in ((low, low), (low, high), (high, low), (high, high)):
            a = torch.full((rows, length), first, dtype=torch.int8, device=device)
            b = torch.full((length, columns), second, dtype=torch.int8, device=device)
            try:
                product = int8_matmul(a, b)
            except (RuntimeError, NotImplementedError):
                return False
            if not bool((product == first * second * length).all()):
                return False
    return True


# --- patches -----------------------------------------------------------------------------------------------


def _padded(x: torch.Tensor, geometry: ConvGeometry) -> torch.Tensor:
    rows, columns = geometry.padding_h, geometry.padding_w
    if rows == columns == 0:
        return x
    n, height, width, channels = x.shape
    out = torch.zeros((n, height + 2 * rows, width + 2 * columns, channels), dtype=x.dtype, device=x.device)
    out[:, rows : rows + height, columns : columns + width] = x
    return out


def _padded_output_size(x: torch.Tensor, geometry: ConvGeometry) -> tuple[int, int]:
    """(H_out, W_out) of a convolution of x that needs no further padding."""
    stride = geometry.stride
    return (x.shape[1] - geometry.kernel_h) // stride + 1, (x.shape[2] - geometry.kernel_w) // stride + 1


def _patches(x: torch.Tensor, geometry: ConvGeometry) -> torch.Tensor:
    """[samples * H_out * W_out, kernel_h * kernel_w * channels] of an x that is already padded."""
    x = x.contiguous()
    n, _, _, channels = x.shape
    by_sample, by_row, by_column, by_channel = x.stride()
    taps = (geometry.kernel_h, geometry.kernel_w, channels)
    step = geometry.stride
    shape = (n, *_padded_output_size(x, geometry), *taps)
    view = x.as_strided(shape, (by_sample, step * by_row, step * by_column, by_row, by_column, by_channel))
    return view.reshape(-1, taps[0] * taps[1] * taps[2])


def _tap(x: torch.Tensor, geometry: ConvGeometry, row: int, column: int) -> torch.Tensor:
    """The elements of the padded x that kernel tap (row, column) meets."""
    out_h, out_w = _padded_output_size(x, geometry)
    step = geometry.stride
    return x[:, row : row + (out_h - 1) * step + 1 : step, column : column + (out_w - 1) * step + 1 : step]


def _dilated(dz: torch.Tensor, geometry: ConvGeometry, input_hw: tuple[int, int]) -> torch.Tensor:
    """dz with stride - 1 zeros between its elements, framed so that a valid convolution has the input's size."""
    step = geometry.stride
    frame = [input_hw[0] + geometry.kernel_h - 1, input_hw[1] + geometry.kernel_w - 1]
    out = torch.zeros((dz.shape[0], *frame, dz.shape[3]), dtype=dz.dtype, device=dz.device)
    skip, first = [], []
    for border in (geometry.kernel_h - 1 - geometry.padding_h, geometry.kernel_w - 1 - geometry.padding_w):
        skip.append(-(border // step) if border < 0 else 0)  # outputs that saw nothing but padding
        first.append(border + skip[-1] * step)
    target = out[:, first[0] :: step, first[1] :: step]
    source = dz[:, skip[0] : skip[0] + target.shape[1], skip[1] : skip[1] + target.shape[2]]
    target[:, : source.shape[1], : source.shape[2]] = source
    return out


def _window_tap(x: torch.Tensor, size: int, tap: int) -> torch.Tensor:
    """Element `tap` (row-major) of every full pooling window of x, as a view."""
    rows, columns = x.shape[1] // size * size, x.shape[2] // size * size
    row, column = divmod(tap, size)
    return x[:, row:rows:size, column:columns:size]


def _first_maximum(x: torch.Tensor, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(maximum of each pooling window, row-major position of its first occurrence)."""
    x = _calculable(x)
    best = _window_tap(x, size, 0)
    first = torch.zeros(best.shape, dtype=torch.int32, device=x.device)
    for tap in range(1, size * size):
        candidate = _window_tap(x, size, tap)
        larger = candidate > best
        best = torch.where(larger, candidate, best)
        first = torch.where(larger, tap, first)
    return best.contiguous(), first


# --- fixed-point arithmetic on tensors -----------------------------------------------------------------------


def _magnitude(dtype: torch.dtype) -> int:
    limits = torch.iinfo(dtype)
    return max(int(limits.max), -int(limits.min))


def _sum_dtype(terms: int, a: torch.dtype, b: torch.dtype) -> torch.dtype:
    """int32 where the sum of so many products cannot reach 2^30, else int64."""
    return torch.int32 if terms * _magnitude(a) * _magnitude(b) < _INT32_SAFE else torch.int64


def _is_unsigned(x: torch.Tensor) -> bool:
    return x.dtype in (torch.uint8, torch.uint16)


def _wide(x: torch.Tensor) -> torch.Tensor:
    return x.to(torch.int64)


def _calculable(x: torch.Tensor, same_size: bool = False) -> torch.Tensor:
    """x in a dtype that all operations know: uint16 becomes int32, or its bits become int16 (same_size)."""
    if x.dtype != torch.uint16:
        return x
    return x.view(torch.int16) if same_size else x.to(torch.int32)


def _host(x: torch.Tensor) -> Int64Array:
    return np.asarray(x.cpu().numpy(), np.int64)


def _peak(value: torch.Tensor) -> int:
    """The largest magnitude; 0 for an empty tensor."""
    if value.numel() == 0:
        return 0
    low, high = torch.aminmax(value)
    return max(int(high), -int(low))


def _differing(a: torch.Tensor, b: torch.Tensor) -> int:
    return int(torch.count_nonzero(torch.ne(a, b)).item())


def _saturate(value: torch.Tensor, bits: int) -> torch.Tensor:
    limit = (1 << (bits - 1)) - 1
    return value.clamp(-limit, limit)


def _add_strided(value: torch.Tensor, addend: torch.Tensor, align: int, stride: int) -> None:
    """value[:, ::stride, ::stride, :C] += ALIGN(addend), over the rows, columns and channels that both have."""
    target = value[:, ::stride, ::stride, : addend.shape[3]]
    kept = addend[:, : target.shape[1], : target.shape[2], : target.shape[3]]
    target += _round(_wide(kept), -align)


def _passes(activation: torch.Tensor, below: int) -> torch.Tensor:
    values = _calculable(activation)
    on = values > 0
    if 0 < below <= torch.iinfo(values.dtype).max:  # torch would wrap a larger bound to the tensor's dtype
        on &= values < below
    return on


def _normalised(z: torch.Tensor, constants: dict[str, torch.Tensor]) -> torch.Tensor:
    """x-hat (spec, section 4), Q.11 in 16 bits, as int64."""
    shift = 35 - constants["scale"]
    value = (_wide(z) << 8).sub_(constants["mean"]).mul_(constants["rsqrt"])
    return (value.add_((1 << shift) >> 1) >> shift).clamp_(-32767, 32767)


def _signed(word: int) -> int:
    """The int64 with the bits of a 64-bit word."""
    word &= 0xFFFFFFFFFFFFFFFF
    return word - (1 << 64) if word >> 63 else word


def _mix64(key: int, index: torch.Tensor) -> torch.Tensor:
    """`joulebit.fixed.rounding.mix64` in wrapping int64 arithmetic; the masks make the shifts logical."""
    z = index * _signed(0x9E3779B97F4A7C15) + _signed(key)
    z = (z ^ ((z >> 30) & ((1 << 34) - 1))) * _signed(0xBF58476D1CE4E5B9)
    z = (z ^ ((z >> 27) & ((1 << 37) - 1))) * _signed(0x94D049BB133111EB)
    return z ^ ((z >> 31) & ((1 << 33) - 1))


def _round(
    value: torch.Tensor,
    shift: int | torch.Tensor,
    mode: Rounding = Rounding.HALF_UP,
    key: int = 0,
    first: int = 0,
) -> torch.Tensor:
    """`joulebit.fixed.rounding.shift_round` of int64 (or int32, below 2^30 in magnitude) tensors.

    Args:
        shift: -62..62, or one shift of 0..62 per channel (the last axis).
        first: position of value's first element in the whole tensor, for the random bits.
    """
    if isinstance(shift, int):
        if not -62 <= shift <= 62:
            raise ValueError(f"shift must be in [-62, 62], got {shift}")
        if shift == 0:
            return value
        if shift < 0:
            return _wide(value) << -shift
        if shift > 30 or mode == Rounding.STOCHASTIC:
            value = _wide(value)
    half: Any = (1 << shift) >> 1
    if mode == Rounding.HALF_UP:
        return (value + half) >> shift
    if mode == Rounding.FLOOR:
        return value >> shift
    if mode == Rounding.HALF_EVEN:
        odd = (value >> shift) & 1
        rounded = (value + (half - 1) + odd) >> shift
        return torch.where(shift > 0, rounded, value) if isinstance(shift, torch.Tensor) else rounded
    if mode == Rounding.HALF_AWAY:
        return value.sign() * ((value.abs() + half) >> shift)
    if mode == Rounding.TOWARD_ZERO:
        return value.sign() * (value.abs() >> shift)
    index = torch.arange(first, first + value.numel(), dtype=torch.int64, device=value.device)
    noise = _mix64(key, index.reshape(value.shape)) & ((1 << shift) - 1)
    return (value + noise) >> shift
