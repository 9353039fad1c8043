"""The smaller operations on whole tensors: masks, requantisation, narrowing, pooling, dot products."""

from __future__ import annotations

import numpy as np

from joulebit.kernels.compile import inline, kernel
from joulebit.kernels.scalar import Int, clamp, half_up, shift_round


@inline
def _passes(a: Int, below: Int) -> Int:
    """Whether a gradient passes an activation a (spec, section 5)."""
    return a > 0 and (below <= 0 or a < below)


@kernel
def shortcut_gradient(
    add: Int, mask: Int, g: Int, first: Int, last: Int, stride: Int, align: Int, masked: Int, mask_below: Int,
    shift: Int, limit: Int, mode: Int, key: Int,
) -> tuple[Int, Int]:  # fmt: skip
    """`Engine.shortcut_gradient` on samples first .. last - 1: fills g; (peak, saturated)."""
    _, height, width, channels = g.shape
    shared = min(channels, add.shape[3])
    peak = np.int64(0)
    saturated = np.int64(0)
    for n in range(first, last):
        for i in range(height):
            for j in range(width):
                row, column = i // stride, j // stride
                on = i % stride == 0 and j % stride == 0 and row < add.shape[1] and column < add.shape[2]
                place = ((n * height + i) * width + j) * channels
                for c in range(channels):
                    value = np.int64(0)
                    if on and c < shared:
                        value = half_up(np.int64(add[n, row, column, c]), -align)
                    if masked != 0 and not _passes(np.int64(mask[n, i, j, c]), mask_below):
                        value = np.int64(0)
                    peak = max(peak, abs(value))
                    rounded = shift_round(value, shift, mode, key, place + c)
                    result = clamp(rounded, -limit, limit)
                    saturated += np.int64(result != rounded)
                    g[n, i, j, c] = result
    return peak, saturated


@kernel
def spread(
    value: Int, like: Int, g: Int, first: Int, last: Int, masked: Int, mask_below: Int, shift: Int, limit: Int,
    mode: Int, key: Int,
) -> tuple[Int, Int]:  # fmt: skip
    """`Engine.spread` on samples first .. last - 1: fills g; (peak, saturated)."""
    _, height, width, channels = g.shape
    peak = np.int64(0)
    saturated = np.int64(0)
    for n in range(first, last):
        for i in range(height):
            for j in range(width):
                place = ((n * height + i) * width + j) * channels
                for c in range(channels):
                    kept = value[n, c]
                    if masked != 0 and not _passes(np.int64(like[n, i, j, c]), mask_below):
                        kept = np.int64(0)
                    peak = max(peak, abs(kept))
                    rounded = shift_round(kept, shift, mode, key, place + c)
                    result = clamp(rounded, -limit, limit)
                    saturated += np.int64(result != rounded)
                    g[n, i, j, c] = result
    return peak, saturated


@kernel
def mask_gradient(g: Int, a: Int, out: Int, first: Int, last: Int, mask_below: Int) -> None:
    """out = g where the activation a lets it pass, else 0, on flat arrays from first to last - 1."""
    for i in range(first, last):
        out[i] = g[i] if _passes(np.int64(a[i]), mask_below) else np.int16(0)


@kernel
def narrow(value: Int, out: Int, first: Int, last: Int, shift: Int, low: Int, high: Int, mode: Int) -> None:
    """out = clamp(RND(value, shift), low, high) on flat arrays; mode is any but stochastic."""
    for i in range(first, last):
        rounded = shift_round(np.int64(value[i]), shift, mode, np.uint64(0), 0)
        out[i] = clamp(rounded, low, high)


@kernel
def max_pool(x: Int, out: Int, first: Int, last: Int, size: Int) -> None:
    """Maximum over size x size windows of samples first .. last - 1."""
    _, rows, columns, channels = out.shape
    for n in range(first, last):
        for i in range(rows):
            for j in range(columns):
                for c in range(channels):
                    out[n, i, j, c] = x[n, i * size, j * size, c]
                for place in range(1, size * size):
                    row, column = i * size + place // size, j * size + place % size
                    for c in range(channels):
                        out[n, i, j, c] = max(out[n, i, j, c], x[n, row, column, c])


@kernel
def max_pool_gradient(g: Int, x: Int, out: Int, first: Int, last: Int, size: Int) -> None:
    """g routed to the first largest element of each window of samples first .. last - 1; the rest is 0."""
    _, rows, columns, channels = g.shape
    best = np.empty(channels, np.int64)
    where = np.empty(channels, np.int64)
    for n in range(first, last):
        out[n] = 0
        for i in range(rows):
            for j in range(columns):
                for c in range(channels):
                    best[c] = x[n, i * size, j * size, c]
                    where[c] = 0
                for place in range(1, size * size):
                    row, column = i * size + place // size, j * size + place % size
                    for c in range(channels):
                        value = np.int64(x[n, row, column, c])
                        if value > best[c]:
                            best[c] = value
                            where[c] = place
                for c in range(channels):
                    out[n, i * size + where[c] // size, j * size + where[c] % size, c] = g[n, i, j, c]


@kernel
def spatial_sum(x: Int, out: Int, first: Int, last: Int) -> None:
    """out[n, c] = sum over positions of x, for samples first .. last - 1."""
    _, height, width, channels = x.shape
    for n in range(first, last):
        for i in range(height):
            for j in range(width):
                for c in range(channels):
                    out[n, c] += np.int64(x[n, i, j, c])


@kernel
def sample_dot(g: Int, a: Int, base: Int, out: Int, first: Int, last: Int) -> None:
    """out[n] = sum of g * (a - base) over sample n; the arrays are [N, elements]."""
    for n in range(first, last):
        total = np.int64(0)
        for i in range(g.shape[1]):
            total += np.int64(g[n, i]) * (np.int64(a[n, i]) - np.int64(base[n, i]))
        out[n] = total
