"""Convolutions on tensors: the patches, kernels and shifts that make exact integer products of them.

Convolutions are matrix products over patches that are gathered in the integer domain; the gradient of an input
is the convolution of the dilated output gradient with the turned kernel. No convolution library is called,
hence no Winograd, FFT or TF32. Depthwise convolutions are sums of shifted integer products.

`int8` chooses 8-bit limbs or float64 (see `joulebit.engine.torch_products`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from joulebit.engine.base import ConvGeometry
from joulebit.engine.torch_products import limbs, multiply, sum_dtype

# Of one chunk of samples: patches that a CPU's caches like, patches and outputs that fit a CUDA device's memory
# (up to 48 bytes for each, with stochastic rounding: 3.2 GB).
_PATCH_ELEMENTS = {"cpu": 1 << 22, "cuda": 1 << 26}


def chunks(samples: int, elements: int, budget: int) -> Iterator[slice]:
    """Slices of samples whose work, `elements` per sample, stays near the budget."""
    step = max(1, budget // max(1, elements))
    for start in range(0, samples, step):
        yield slice(start, min(start + step, samples))


def patch_chunks(samples: int, patches: int, outputs: int, device: torch.device) -> Iterator[slice]:
    """`chunks` for convolutions whose patches and outputs have so many elements per sample."""
    elements = patches if device.type == "cpu" else patches + outputs
    return chunks(samples, elements, _PATCH_ELEMENTS[device.type])


def convolve(x: torch.Tensor, w: torch.Tensor, geometry: ConvGeometry, int8: bool) -> torch.Tensor:
    """Cross-correlation of x (already padded) and w: exact sums in int64, or int32 where they fit."""
    groups, (kernel_h, kernel_w, c_in, c_out) = geometry.groups, w.shape
    if groups > 1 and c_in == 1 and c_out == groups:
        dtype = sum_dtype(kernel_h * kernel_w, x.dtype, w.dtype)
        wide, taps = x.to(dtype), w.to(dtype)
        total = torch.zeros((), dtype=dtype, device=x.device)
        for row in range(kernel_h):
            for column in range(kernel_w):
                total = total + _tap(wide, geometry, row, column) * taps[row, column, 0]
        return total
    if groups > 1:
        single = ConvGeometry(kernel_h, kernel_w, geometry.stride)
        pairs = zip(x.split(c_in, 3), w.split(c_out // groups, 3))
        return torch.cat([convolve(part, kernel, single, int8) for part, kernel in pairs], 3)
    patches = limbs(x, int8).map(lambda limb: _patches(limb, geometry))
    product = multiply(patches, limbs(w.reshape(-1, c_out), int8))
    return product.reshape(x.shape[0], *_padded_output_size(x, geometry), c_out)


def correlate(
    x: torch.Tensor,
    dz: torch.Tensor,
    geometry: ConvGeometry,
    int8: bool,
    narrowed: Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]] | None = None,
) -> torch.Tensor:
    """Sums over samples and positions of x * dz, int64 [kernel_h, kernel_w, c_in / groups, c_out].

    narrowed: what x and dz of some samples become first.
    """
    _, out_h, out_w, c_out = dz.shape
    groups, c_in = geometry.groups, x.shape[3] // geometry.groups
    taps = geometry.kernel_h * geometry.kernel_w
    total = torch.zeros((taps, c_in, c_out), dtype=torch.int64, device=x.device)
    for part in patch_chunks(x.shape[0], out_h * out_w * taps * x.shape[3], dz[:1].numel(), x.device):
        activation, gradient = narrowed(x[part], dz[part]) if narrowed else (x[part], dz[part])
        framed = padded(activation, geometry)
        if groups > 1 and c_in == 1 and c_out == groups:
            dtype = sum_dtype(1, framed.dtype, gradient.dtype)
            wide, factor = framed.to(dtype), gradient.to(dtype)
            for tap in range(taps):
                seen = _tap(wide, geometry, *divmod(tap, geometry.kernel_w))
                total[tap, 0] += (seen * factor).sum((0, 1, 2))
            continue
        fields = zip(framed.split(c_in, 3), gradient.split(c_out // groups, 3), total.chunk(groups, 2))
        for seen, factor, out in fields:
            patches = limbs(seen, int8).map(lambda limb: _patches(limb, geometry).t())
            product = multiply(patches, limbs(factor.reshape(-1, c_out // groups), int8))
            out += product.reshape(out.shape)
    return total.reshape(geometry.kernel_h, geometry.kernel_w, c_in, c_out)


def padded(x: torch.Tensor, geometry: ConvGeometry) -> torch.Tensor:
    """x in its frame of zeros."""
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


def dilated(dz: torch.Tensor, geometry: ConvGeometry, input_hw: tuple[int, int]) -> torch.Tensor:
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


def turned(w: torch.Tensor, geometry: ConvGeometry) -> tuple[torch.Tensor, ConvGeometry]:
    """The kernel, and its geometry, that make the input's gradient out of `dilated` output gradients."""
    groups = geometry.groups
    kernel = w.flip(0, 1).reshape(*w.shape[:3], groups, -1).permute(0, 1, 4, 3, 2)
    kernel = kernel.reshape(*w.shape[:2], -1, w.shape[2] * groups)
    return kernel, ConvGeometry(geometry.kernel_h, geometry.kernel_w, groups=groups)
