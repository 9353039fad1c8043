"""The torch engine: integer tensors on a CPU or a CUDA device, with the bits of the reference engine.

Convolutions are exact products of integer matrices (`torch_conv` over `torch_products`); the rest is int64
arithmetic (`torch_rounding`).

Work is cut into chunks of samples, which bounds the memory for patches and keeps a CPU's caches warm. What an
operation has to say besides its tensor is read once, since every read waits for a CUDA device.

CUDA: checked on an emulated device (tests/emulated_cuda.py), not yet run on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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
from joulebit.engine.torch_adder import clipped_gradient, distances, largest_distance
from joulebit.engine.torch_conv import chunks, convolve, correlate, dilated, padded, patch_chunks, turned
from joulebit.engine.torch_device import named_device
from joulebit.engine.torch_pooling import max_pool, max_pool_gradient
from joulebit.engine.torch_products import int8_products_are_exact, largest_sum
from joulebit.engine.torch_rounding import differing, peak_of, saturate, shift_round, to_int64
from joulebit.engine.torch_tally import Tally, read_integers
from joulebit.engine.torch_uint16 import calculable, is_unsigned, movable
from joulebit.engine.torch_update import update
from joulebit.engine.torch_weights import few_valued
from joulebit.fixed.arithmetic import (
    CONV_OUTPUT_BITS,
    MASTER_FRACTION_BITS,
    PEAK_LIMIT,
    SUM_FRACTION_BITS,
    Arithmetic,
)
from joulebit.fixed.matmul import integer_matmul
from joulebit.fixed.rounding import bit_length
from joulebit.fixed.update import LayerUpdate

# Of one chunk of samples. Up to 106 bytes of a CUDA device's memory are in use for each: 0.9 GB.
_VALUE_ELEMENTS = {"cpu": 1 << 18, "cuda": 1 << 23}


class TorchEngine:
    """`Engine` on torch tensors (see `joulebit.engine.base.Engine` for the operations).

    Args:
        arithmetic: widths and rounding modes.
        device: see `named_device`; CUDA_VISIBLE_DEVICES chooses what "auto" and "cuda" mean.
    """

    name = "torch"

    def __init__(self, arithmetic: Arithmetic | None = None, device: str = "cpu") -> None:
        self.device = named_device(device)
        self.arithmetic = arithmetic or Arithmetic()
        self._mode = self.arithmetic.rounding_mode
        self._int8 = int8_products_are_exact(str(self.device))

    def with_arithmetic(self, arithmetic: Arithmetic) -> TorchEngine:
        return TorchEngine(arithmetic, str(self.device))

    def from_numpy(self, array: NDArray[Any]) -> Array:
        contiguous = np.ascontiguousarray(array)
        if not contiguous.flags.writeable:
            contiguous = contiguous.copy()
        return torch.from_numpy(contiguous).to(self.device)

    def to_numpy(self, array: Array) -> NDArray[Any]:
        return np.asarray(array.cpu().numpy())

    # --- convolution ---------------------------------------------------------------------------------

    def conv_forward(self, x: Array, w: Array, geometry: ConvGeometry, shift: int, key: int = 0) -> ConvOutput:
        return self._forward(
            x, w, geometry, shift, key, largest_sum(w[..., 0].numel(), x.dtype, w.dtype),
            lambda part: convolve(padded(x[part], geometry), w, geometry, self._int8),
        )  # fmt: skip

    def _forward(
        self,
        x: Array,
        w: Array,
        geometry: ConvGeometry,
        shift: int,
        key: int,
        largest: int,
        sums: Callable[[slice], Array],
    ) -> ConvOutput:
        """z of the exact sums of some samples, at most `largest` in magnitude, in chunks."""
        out_h, out_w = geometry.output_size(x.shape[1], x.shape[2])
        shape = (x.shape[0], out_h, out_w, w.shape[3])
        z = torch.empty(shape, dtype=torch.int16, device=self.device)
        tally = Tally()
        for part in patch_chunks(shape[0], out_h * out_w * w[..., 0].numel(), z[:1].numel(), self.device):
            acc, clamped = self._accumulate(sums(part), largest)
            rounded = shift_round(acc, shift, self._mode, key, part.start * z[0].numel())
            kept = saturate(rounded, CONV_OUTPUT_BITS)
            z[part] = kept
            wide = to_int64(kept)
            tally.add(acc, clamped, differing(kept, rounded))
            tally.sum(_by_channel(wide), _by_channel(wide * wide))
        peak, saturated, (total, squares) = tally.read(2, shape[3])
        return ConvOutput(z, peak, saturated, total, squares)

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
        height, width = input_hw
        kernel, steps = turned(w, geometry)
        data = torch.empty((dz.shape[0], height, width, kernel.shape[3]), dtype=torch.int16, device=self.device)
        largest = largest_sum(kernel[..., 0].numel(), dz.dtype, w.dtype)
        tally = Tally()
        patches = height * width * kernel[..., 0].numel()
        for part in patch_chunks(dz.shape[0], patches, data[:1].numel(), self.device):
            spaced = dilated(dz[part], geometry, input_hw)
            acc, clamped = self._accumulate(convolve(spaced, kernel, steps, self._int8), largest)
            value = shift_round(acc, -align)
            if add is not None:
                value = to_int64(value)
                _add_strided(value, add[part], add_align, add_stride)
            masked = None if mask is None else mask[part]
            tally.add(*self._gradient(data, part, value, shift, masked, mask_below, key, clamped))
        return tally.quantised(data)

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
        tally = Tally()
        for part in self._value_chunks(data):
            value = torch.zeros(data[part].shape, dtype=torch.int64, device=self.device)
            _add_strided(value, g[part], align, stride)
            masked = None if mask is None else mask[part]
            tally.add(*self._gradient(data, part, value, shift, masked, mask_below, key))
        return tally.quantised(data)

    def _gradient(
        self,
        data: Array,
        part: slice,
        value: Array,
        shift: int,
        mask: Array | None,
        mask_below: int,
        key: int,
        clamped: Array | None = None,
    ) -> tuple[Array, Array | None, Array]:
        """data[part] = SAT_g(RND*(value, shift)) where the mask (of this part) lets it pass.

        clamped: how many of its elements were before. Returns what `Tally.add` takes, of the unrounded values.
        """
        if mask is not None:
            value = value * _passes(mask, mask_below)
        rounded = shift_round(value, shift, self._mode, key, part.start * data[0].numel())
        kept = saturate(rounded, self.arithmetic.g_bits)
        data[part] = kept
        return value, clamped, differing(kept, rounded)

    def adder_forward(self, x: Array, w: Array, geometry: ConvGeometry, shift: int, key: int = 0) -> ConvOutput:
        return self._forward(
            x, w, geometry, shift, key, largest_distance(w[..., 0].numel(), x.dtype, w.dtype),
            lambda part: distances(padded(x[part], geometry), w, geometry),
        )  # fmt: skip

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
        rows, columns = geometry.padding_h, geometry.padding_w
        height, width = x.shape[1:3]
        framed = clipped_gradient(dz, padded(x, geometry), w, geometry, clip)
        inside = framed[:, rows : rows + height, columns : columns + width].contiguous()
        acc, clamped = self._accumulate(inside, clip * largest_sum(w[..., 0, :].numel(), dz.dtype))
        value = to_int64(shift_round(acc, -align))
        if add is not None:
            _add_strided(value, add, add_align, add_stride)
        data = torch.empty(x.shape, dtype=torch.int16, device=self.device)
        tally = Tally()
        tally.add(*self._gradient(data, slice(0, x.shape[0]), value, shift, mask, mask_below, key, clamped))
        return tally.quantised(data)

    def channel_sums(self, dz: Array, msb: bool = False) -> Int64Array:
        part = self._msb_gradient(dz) if msb else dz
        return _host(part.sum((0, 1, 2), dtype=torch.int64))

    def quantise_weights_at(self, master: Array, exponent: int) -> Array:
        bits = self.arithmetic.w_bits
        w = saturate(shift_round(to_int64(master), exponent + MASTER_FRACTION_BITS), bits)
        return w.to(torch.int8 if bits <= 8 else torch.int16)

    def conv_weight_gradient(self, x: Array, dz: Array, geometry: ConvGeometry) -> tuple[Array, int]:
        terms = dz.numel() // dz.shape[3]
        total, clamped = self._accumulate(
            correlate(x, dz, geometry, self._int8), largest_sum(terms, x.dtype, dz.dtype)
        )
        return total, 0 if clamped is None else int(clamped)

    def conv_weight_gradient_msb(self, x: Array, dz: Array, geometry: ConvGeometry) -> Array:
        return correlate(x, dz, geometry, self._int8, self._msb_operands)

    def _msb_operands(self, x: Array, dz: Array) -> tuple[Array, Array]:
        fmt, mode = self.arithmetic, self.arithmetic.msb_rounding_mode
        part = shift_round(x.to(torch.int32), fmt.x_bits - fmt.x_msb_bits, mode)
        return part.clamp(*fmt.msb_activation_range(not is_unsigned(x))).to(x.dtype), self._msb_gradient(dz)

    def _msb_gradient(self, dz: Array) -> Array:
        fmt = self.arithmetic
        part = shift_round(dz.to(torch.int32), fmt.g_bits - fmt.g_msb_bits, fmt.msb_rounding_mode)
        return part.clamp(*fmt.msb_gradient_range()).to(torch.int8 if fmt.g_msb_bits <= 8 else torch.int16)

    def _accumulate(self, total: Array, largest: int) -> tuple[Array, Array | None]:
        """SAT_acc of sums that cannot exceed `largest` in magnitude; how many elements it clamped, None: none."""
        bits = self.arithmetic.accumulator_bits
        if largest < 1 << (bits - 1):
            return total, None
        clamped = saturate(total, bits)
        return clamped, differing(clamped, total)

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
        outside = []
        for part in self._value_chunks(z):
            y = _normalised(z[part], constants).mul_(constants["gamma"]).add_(constants["beta_q23"])
            if shortcut is not None:
                kept = shortcut[part, ::shortcut_stride, ::shortcut_stride][:, : y.shape[1], : y.shape[2]]
                y[..., : kept.shape[3]] += to_int64(kept) << shortcut_shift
            outside.append(self._activate(a, part, y, shift, bounds, key))
        return a, sum(read_integers(*outside))

    def shortcut_forward(
        self, x: Array, stride: int, channels: int, shift: int, bounds: tuple[int, int], key: int = 0
    ) -> tuple[Array, int]:
        kept = x[:, ::stride, ::stride]
        shape = (*kept.shape[:3], channels)
        a = torch.empty(shape, dtype=self._activation_dtype(bounds), device=self.device)
        outside = []
        for part in self._value_chunks(a):
            y = torch.zeros(a[part].shape, dtype=torch.int64, device=self.device)
            y[..., : kept.shape[3]] = to_int64(kept[part]) << SUM_FRACTION_BITS
            outside.append(self._activate(a, part, y, shift + SUM_FRACTION_BITS, bounds, key))
        return a, sum(read_integers(*outside))

    def _activation_dtype(self, bounds: tuple[int, int]) -> torch.dtype:
        if self.arithmetic.x_bits <= 8:
            return torch.uint8 if bounds[0] == 0 else torch.int8
        return torch.uint16 if bounds[0] == 0 else torch.int16

    def _activate(self, a: Array, part: slice, y: Array, shift: int, bounds: tuple[int, int], key: int) -> Array:
        """a[part] = clamp(RND*(y, shift), lo, hi); the number of elements above hi (or below a negative lo)."""
        low, high = bounds
        rounded = shift_round(y, shift, self._mode, key, part.start * a[0].numel())
        outside = torch.count_nonzero(rounded > high)
        if low < 0:
            outside = outside + torch.count_nonzero(rounded < low)
        a[part] = rounded.clamp(low, high).to(a.dtype)
        return outside

    def norm_sums(self, g: Array, z: Array, norm: NormConstants) -> tuple[Int64Array, Int64Array]:
        constants = self._constants(norm)
        tally = Tally()
        for part in self._value_chunks(z):
            wide = to_int64(g[part])
            tally.sum(_by_channel(wide), _by_channel(wide * _normalised(z[part], constants)))
        _, _, (total, products) = tally.read(2, z.shape[3])
        return total, products

    def norm_backward(
        self, g: Array, z: Array, norm: NormConstants, gradient: NormGradientConstants, key: int = 0
    ) -> Quantised:
        constants = self._constants(norm, gradient)
        data = torch.empty(z.shape, dtype=torch.int16, device=self.device)
        tally = Tally()
        for part in self._value_chunks(z):
            along = shift_round(_normalised(z[part], constants).mul_(constants["mean_gx"]), 19)
            t = (to_int64(g[part]) << 8).sub_(constants["mean_g"]).sub_(along).mul_(constants["multiplier"])
            u = shift_round(t, constants["shift"], self._mode, key, part.start * data[0].numel())
            kept = saturate(u, self.arithmetic.g_bits)
            data[part] = kept
            tally.add(u, differing(kept, u))
        found = tally.quantised(data)
        return found._replace(peak=min(found.peak, PEAK_LIMIT))

    def _constants(self, norm: NormConstants, gradient: NormGradientConstants | None = None) -> dict[str, Array]:
        """Per-channel arrays of these records, and what follows from them, as int64 tensors on the device."""
        arrays = {**vars(norm), **(vars(gradient) if gradient else {})}
        arrays["norm_shift"] = 35 - norm.scale
        arrays["norm_half"] = (1 << arrays["norm_shift"]) >> 1
        arrays["beta_q23"] = norm.beta << 11
        together = torch.as_tensor(np.array(list(arrays.values()), np.int64), device=self.device)
        return dict(zip(arrays, together.unbind()))

    def _value_chunks(self, like: Array) -> Iterator[slice]:
        return chunks(like.shape[0], like[:1].numel(), _VALUE_ELEMENTS[self.device.type])

    # --- predictor -----------------------------------------------------------------------------------

    def predict_signs(self, exact: Array, predicted: Array, threshold_q12: int) -> tuple[Array, dict[str, int]]:
        peak = peak_of(predicted)  # in two parts, so that no product leaves 64 bits
        threshold = (threshold_q12 * (peak >> 12) + ((threshold_q12 * (peak & 4095)) >> 12)).clamp_(min=1)
        decided = predicted.abs() >= threshold
        exact_sign = exact.sign()
        direction = torch.where(decided, predicted.sign(), exact_sign)
        wrong = decided & (direction != exact_sign)
        counts = read_integers(torch.count_nonzero(decided), torch.count_nonzero(wrong), threshold)
        return direction, {"total": exact.numel(), **dict(zip(("decided", "wrong", "threshold"), counts))}

    def sign(self, exact: Array) -> Array:
        return exact.sign()

    # --- pooling and small tensors ---------------------------------------------------------------------

    def max_pool(self, x: Array, size: int) -> Array:
        return max_pool(x, size)

    def max_pool_gradient(self, g: Array, x: Array, size: int) -> Array:
        return max_pool_gradient(g, x, size)

    def spatial_sum(self, x: Array) -> Int64Array:
        return _host(calculable(x).sum((1, 2), dtype=torch.int64))

    def matmul(self, a: Int64Array, b: Int64Array) -> Int64Array:
        return integer_matmul(a, b)

    def spread(
        self, value: Int64Array, like: Array, shift: int, masked: bool, mask_below: int = 0, key: int = 0
    ) -> Quantised:
        data = torch.empty(like.shape, dtype=torch.int16, device=self.device)
        source = torch.as_tensor(np.array(value, np.int64), device=self.device)[:, None, None, :]
        tally = Tally()
        for part in self._value_chunks(like):
            spatial = source[part].expand(data[part].shape)
            mask = like[part] if masked else None
            tally.add(*self._gradient(data, part, spatial, shift, mask, mask_below, key))
        return tally.quantised(data)

    def mask_gradient(self, g: Array, a: Array, mask_below: int = 0) -> Array:
        return g * _passes(a, mask_below)

    def narrow_gradient(self, dz: Array, shift: int, bits: int) -> Array:
        return saturate(shift_round(to_int64(dz), shift), bits).to(torch.int16)

    def sample_dot(self, g: Array, a: Array, base: Array) -> Int64Array:
        total = torch.zeros(g.shape[0], dtype=torch.int64, device=self.device)
        for part in self._value_chunks(g):
            total[part] = to_int64(a[part]).sub_(to_int64(base[part])).mul_(g[part]).sum((1, 2, 3))
        return _host(total)

    def take(self, x: Array, index: Int64Array) -> Array:
        chosen = movable(x)[self._index(index)]
        return chosen.view(x.dtype)

    def put(self, target: Array, index: Int64Array, value: Array) -> Array:
        movable(target)[self._index(index)] = movable(value)
        return target

    def take_channels(self, x: Array, index: Int64Array) -> Array:
        chosen = movable(x).index_select(-1, self._index(index))
        return chosen.contiguous().view(x.dtype)

    def put_channels(self, target: Array, index: Int64Array, value: Array) -> Array:
        movable(target)[..., self._index(index)] = movable(value)
        return target

    def copy(self, x: Array) -> Array:
        return x.clone()

    def zeros_like_gradient(self, x: Array) -> Array:
        return torch.zeros(x.shape, dtype=torch.int16, device=self.device)

    def _index(self, index: Int64Array) -> Array:
        return torch.as_tensor(np.array(index, np.int64), device=self.device)

    # --- parameters ------------------------------------------------------------------------------------

    def limit_masters(self, master: Array, limit: int) -> None:
        master.clamp_(-limit, limit)

    def quantise_weights(self, master: Array, kind: str = "linear") -> tuple[Array, int]:
        if kind != "linear":
            return few_valued(master, kind, self.arithmetic.w_bits)
        return self._quantised(master, int(peak_of(master)))

    def _quantised(self, master: Array, peak: int) -> tuple[Array, int]:
        bits = self.arithmetic.w_bits
        shift = max(0, bit_length(peak) - (bits - 1))
        w = saturate(shift_round(to_int64(master), shift), bits)
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
        update(master, momentum, gradient, exponent, samples, rule)

    def update_layers(self, layers: Sequence[LayerUpdate]) -> list[tuple[Array, int]]:
        """`update` of each, then its linear weights as by `quantise_weights`; all peaks are read at once."""
        for layer in layers:
            self.update(*layer)
        peaks = read_integers(*(peak_of(layer.master) for layer in layers))
        return [self._quantised(layer.master, peak) for layer, peak in zip(layers, peaks)]

    def zeros_like_momentum(self, master: Array) -> Array:
        return torch.zeros(master.shape, dtype=torch.int64, device=self.device)


def _host(x: torch.Tensor) -> Int64Array:
    return np.asarray(x.cpu().numpy(), np.int64)


def _by_channel(x: torch.Tensor) -> torch.Tensor:
    return x.sum((0, 1, 2))


def _add_strided(value: torch.Tensor, addend: torch.Tensor, align: int, stride: int) -> None:
    """value[:, ::stride, ::stride, :C] += ALIGN(addend), over the rows, columns and channels that both have."""
    target = value[:, ::stride, ::stride, : addend.shape[3]]
    kept = addend[:, : target.shape[1], : target.shape[2], : target.shape[3]]
    target += shift_round(to_int64(kept), -align)


def _passes(activation: torch.Tensor, below: int) -> torch.Tensor:
    values = calculable(activation)
    on = values > 0
    if 0 < below <= torch.iinfo(values.dtype).max:  # torch would wrap a larger bound to the tensor's dtype
        on &= values < below
    return on


def _normalised(z: torch.Tensor, constants: dict[str, torch.Tensor]) -> torch.Tensor:
    """x-hat (spec, section 4), Q.11 in 16 bits, as int64."""
    value = (to_int64(z) << 8).sub_(constants["mean"]).mul_(constants["rsqrt"])
    return (value.add_(constants["norm_half"]) >> constants["norm_shift"]).clamp_(-32767, 32767)
