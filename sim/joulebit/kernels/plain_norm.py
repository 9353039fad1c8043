"""Normalisation, activation and their backward pass for every width and rounding mode: plain loops."""

from __future__ import annotations

import numpy as np

from joulebit.kernels.compile import inline, kernel
from joulebit.kernels.scalar import Int, clamp, half_up, shift_round


@inline
def _normalised(z: Int, mean: Int, rsqrt: Int, scale: Int) -> Int:
    """x-hat = SAT16(RND(((z << 8) - mean) * rsqrt, 35 - scale)) (spec, section 4)."""
    return clamp(half_up(((z << 8) - mean) * rsqrt, 35 - scale), np.int64(-32767), np.int64(32767))


@kernel
def norm_forward(
    z: Int, mean: Int, rsqrt: Int, scale: Int, gamma: Int, beta: Int, shortcut: Int, a: Int, first: Int, last: Int,
    shortcut_stride: Int, shortcut_shift: Int, shift: Int, low: Int, high: Int, mode: Int, key: Int,
) -> Int:  # fmt: skip
    """`Engine.norm_forward` on samples first .. last - 1: fills a; elements outside the bounds.

    shortcut has no samples when there is none.
    """
    _, height, width, channels = z.shape
    shared = shortcut.shape[3] if shortcut.shape[0] > 0 else 0
    outside = np.int64(0)
    for n in range(first, last):
        for i in range(height):
            for j in range(width):
                place = ((n * height + i) * width + j) * channels
                for c in range(channels):
                    y = gamma[c] * _normalised(np.int64(z[n, i, j, c]), mean[c], rsqrt[c], scale[c])
                    y += beta[c] << 11
                    if c < shared:
                        y += np.int64(shortcut[n, i * shortcut_stride, j * shortcut_stride, c]) << shortcut_shift
                    rounded = shift_round(y, shift, mode, key, place + c)
                    outside += np.int64(rounded > high or (low < 0 and rounded < low))
                    a[n, i, j, c] = clamp(rounded, low, high)
    return outside


@kernel
def shortcut_forward(
    x: Int, a: Int, first: Int, last: Int, stride: Int, shift: Int, low: Int, high: Int, mode: Int, key: Int
) -> Int:
    """`Engine.shortcut_forward` on samples first .. last - 1: fills a; elements outside the bounds."""
    _, height, width, channels = a.shape
    shared = x.shape[3]
    outside = np.int64(0)
    for n in range(first, last):
        for i in range(height):
            for j in range(width):
                place = ((n * height + i) * width + j) * channels
                for c in range(channels):
                    y = np.int64(0)
                    if c < shared:
                        y = np.int64(x[n, i * stride, j * stride, c]) << 23
                    rounded = shift_round(y, shift + 23, mode, key, place + c)
                    outside += np.int64(rounded > high or (low < 0 and rounded < low))
                    a[n, i, j, c] = clamp(rounded, low, high)
    return outside


@kernel
def norm_sums(
    g: Int, z: Int, mean: Int, rsqrt: Int, scale: Int, total: Int, products: Int, first: Int, last: Int
) -> None:
    """total[c] += sum of g, products[c] += sum of g * x-hat over samples first .. last - 1."""
    _, height, width, channels = z.shape
    for n in range(first, last):
        for i in range(height):
            for j in range(width):
                for c in range(channels):
                    value = np.int64(g[n, i, j, c])
                    total[c] += value
                    products[c] += value * _normalised(np.int64(z[n, i, j, c]), mean[c], rsqrt[c], scale[c])


@kernel
def norm_backward(
    g: Int, z: Int, mean: Int, rsqrt: Int, scale: Int, mean_g: Int, mean_gx: Int, multiplier: Int, shift: Int,
    dz: Int, first: Int, last: Int, limit: Int, peak_limit: Int, mode: Int, key: Int,
) -> tuple[Int, Int]:  # fmt: skip
    """`Engine.norm_backward` on samples first .. last - 1: fills dz; (peak, saturated)."""
    _, height, width, channels = z.shape
    peak = np.int64(0)
    saturated = np.int64(0)
    for n in range(first, last):
        for i in range(height):
            for j in range(width):
                place = ((n * height + i) * width + j) * channels
                for c in range(channels):
                    xhat = _normalised(np.int64(z[n, i, j, c]), mean[c], rsqrt[c], scale[c])
                    t = (np.int64(g[n, i, j, c]) << 8) - mean_g[c] - half_up(xhat * mean_gx[c], np.int64(19))
                    u = shift_round(t * multiplier[c], shift[c], mode, key, place + c)
                    peak = max(peak, min(abs(u), peak_limit))
                    result = clamp(u, -limit, limit)
                    saturated += np.int64(result != u)
                    dz[n, i, j, c] = result
    return peak, saturated
