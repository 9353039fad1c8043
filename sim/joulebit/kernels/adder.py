"""Adder layers: sums of absolute differences, and the gradient of their input.

Arrays are contiguous NHWC; weights [kernel_h, kernel_w, c_in, c_out]; one group. A kernel works on the samples
first .. last - 1, so that threads can share a batch. Sums are held in floating point, in an array `acc` whose type
the caller chooses so that every partial sum is exact: float32 below 2^24, float64 below 2^53. Machine integers of
32 bits would do as well, but the compiler widens them to 64.
"""

from __future__ import annotations

import numpy as np

from joulebit.kernels.compile import inline, kernel
from joulebit.kernels.plain_epilogue import finish_output
from joulebit.kernels.scalar import Int, clamp, half_up, shift_round


@inline
def _subtract_distances(acc: Int, values: Int, weights: Int) -> None:
    """acc -= sum |values - weights| over input channels [c_in]; weights [c_in, c_out].

    Four channels at a time, so that acc is read and written a quarter as often.
    """
    fours = values.size // 4 * 4
    for c in range(0, fours, 4):
        a, b, d, e = values[c], values[c + 1], values[c + 2], values[c + 3]
        w_a, w_b, w_d, w_e = weights[c], weights[c + 1], weights[c + 2], weights[c + 3]
        for k in range(acc.size):
            acc[k] -= (abs(a - w_a[k]) + abs(b - w_b[k])) + (abs(d - w_d[k]) + abs(e - w_e[k]))
    for c in range(fours, values.size):
        w_c = weights[c]
        for k in range(acc.size):
            acc[k] -= abs(values[c] - w_c[k])


@kernel
def forward(
    x: Int, w: Int, z: Int, acc: Int, total: Int, squares: Int, first: Int, last: Int, stride: Int,
    padding_h: Int, padding_w: Int, shift: Int, acc_limit: Int, mode: Int, key: Int,
) -> tuple[Int, Int]:  # fmt: skip
    """`Engine.adder_forward` on samples first .. last - 1: fills z, adds to total, squares; (peak, saturated).

    w: in the type of acc, which is [c_out]. Outside the image x is 0, and the distance to w counts.
    """
    out_h, out_w = z.shape[1], z.shape[2]
    height, width = x.shape[1], x.shape[2]
    kernel_h, kernel_w, c_in, _ = w.shape
    seen = np.empty(c_in, acc.dtype)
    peak = np.int64(0)
    saturated = np.int64(0)
    for n in range(first, last):
        for oh in range(out_h):
            for ow in range(out_w):
                acc[:] = 0
                for row in range(kernel_h):
                    i = oh * stride - padding_h + row
                    for column in range(kernel_w):
                        j = ow * stride - padding_w + column
                        inside = 0 <= i < height and 0 <= j < width
                        for c in range(c_in):
                            seen[c] = x[n, i, j, c] if inside else 0
                        _subtract_distances(acc, seen, w[row, column])
                peak, saturated = finish_output(
                    acc, z, total, squares, n, oh, ow, acc_limit, shift, mode, key, peak, saturated
                )
    return peak, saturated


@inline
def _add_clipped(acc: Int, values: Int, weights: Int, x: Int, clip: Int) -> None:
    """acc [c_in] += sum values [c_out] * clamp(weights [c_out, c_in] - x [c_in], +-clip) over output channels."""
    fours = values.size // 4 * 4
    for k in range(0, fours, 4):
        a, b, d, e = values[k], values[k + 1], values[k + 2], values[k + 3]
        w_a, w_b, w_d, w_e = weights[k], weights[k + 1], weights[k + 2], weights[k + 3]
        for c in range(acc.size):
            first = a * min(max(w_a[c] - x[c], -clip), clip) + b * min(max(w_b[c] - x[c], -clip), clip)
            second = d * min(max(w_d[c] - x[c], -clip), clip) + e * min(max(w_e[c] - x[c], -clip), clip)
            acc[c] += first + second
    for k in range(fours, values.size):
        w_k = weights[k]
        for c in range(acc.size):
            acc[c] += values[k] * min(max(w_k[c] - x[c], -clip), clip)


@kernel
def input_gradient(
    dz: Int, x: Int, turned: Int, add: Int, mask: Int, g: Int, acc: Int, near: Int, here: Int, block: Int,
    first: Int, last: Int, stride: Int, padding_h: Int, padding_w: Int, clip: Int, acc_limit: Int, align: Int,
    add_stride: Int, add_align: Int, masked: Int, mask_below: Int, shift: Int, limit: Int, mode: Int, key: Int,
) -> tuple[Int, Int]:  # fmt: skip
    """`Engine.adder_input_gradient` on samples first .. last - 1: fills g; (peak, saturated).

    turned [kernel_h, kernel_w, c_out, c_in] and the scratch `near` and `here` [c_in] have one type of floating
    point, in which sums of `block` products are exact; then they go to `acc` [c_in], float64. add has no samples
    when there is nothing to add; mask is any array of 4 dimensions when masked is 0.
    """
    _, height, width, c_in = g.shape
    out_h, out_w, c_out = dz.shape[1], dz.shape[2], dz.shape[3]
    kernel_h, kernel_w = turned.shape[0], turned.shape[1]
    bound = near.dtype.type(clip)
    peak = np.int64(0)
    saturated = np.int64(0)
    coming = np.empty(c_out, near.dtype)
    shared = min(c_in, add.shape[3]) if add.shape[0] > 0 else 0
    for n in range(first, last):
        for i in range(height):
            for j in range(width):
                for c in range(c_in):
                    here[c] = x[n, i, j, c]
                acc[:] = 0
                for row in range(kernel_h):
                    up = i + padding_h - row
                    if up < 0 or up % stride != 0 or up // stride >= out_h:
                        continue
                    for column in range(kernel_w):
                        left = j + padding_w - column
                        if left < 0 or left % stride != 0 or left // stride >= out_w:
                            continue
                        for k in range(c_out):
                            coming[k] = dz[n, up // stride, left // stride, k]
                        for k in range(0, c_out, block):
                            end = min(k + block, c_out)
                            near[:] = 0
                            _add_clipped(near, coming[k:end], turned[row, column, k:end], here, bound)
                            for c in range(c_in):
                                acc[c] += near[c]
                row, column = i // add_stride, j // add_stride
                on_grid = i % add_stride == 0 and j % add_stride == 0
                adds = shared > 0 and on_grid and row < add.shape[1] and column < add.shape[2]
                place = ((n * height + i) * width + j) * c_in
                for c in range(c_in):
                    exact = np.int64(acc[c])
                    value = clamp(exact, -acc_limit, acc_limit)
                    saturated += np.int64(value != exact)
                    value = half_up(value, -align)
                    if adds and c < shared:
                        value += half_up(np.int64(add[n, row, column, c]), -add_align)
                    if masked != 0:
                        a = np.int64(mask[n, i, j, c])
                        if a <= 0 or (mask_below > 0 and a >= mask_below):
                            value = np.int64(0)
                    peak = max(peak, abs(value))
                    rounded = shift_round(value, shift, mode, key, place + c)
                    result = clamp(rounded, -limit, limit)
                    saturated += np.int64(result != rounded)
                    g[n, i, j, c] = result
    return peak, saturated
