"""Convolutions for every width, rounding mode, stride and grouping: plain loops, 64-bit sums.

Arrays are contiguous NHWC; weights [kernel_h, kernel_w, c_in / groups, c_out]. A kernel works on the samples
first .. last - 1, so that threads can share a batch. Channels are the innermost loop, which the compiler
turns into vector instructions; depthwise convolutions (one channel in and out per group) have their own loop.
"""

from __future__ import annotations

import numpy as np

from joulebit.kernels.compile import inline, kernel
from joulebit.kernels.scalar import Int, clamp, half_up, shift_round


@inline
def _gather(x: Int, w: Int, acc: Int, n: Int, top: Int, left: Int, groups: Int) -> None:
    """acc[c_out] = the convolution at the window whose first row and column are top, left (spec, section 4)."""
    height, width = x.shape[1], x.shape[2]
    kernel_h, kernel_w, c_in, c_out = w.shape
    per_group = c_out // groups
    acc[:] = 0
    for row in range(kernel_h):
        i = top + row
        if i < 0 or i >= height:
            continue
        for column in range(kernel_w):
            j = left + column
            if j < 0 or j >= width:
                continue
            if c_in == 1 and per_group == 1:
                for c in range(c_out):
                    acc[c] += np.int64(x[n, i, j, c]) * np.int64(w[row, column, 0, c])
                continue
            for group in range(groups):
                first = group * per_group
                for c in range(c_in):
                    value = np.int64(x[n, i, j, group * c_in + c])
                    if value != 0:
                        for k in range(first, first + per_group):
                            acc[k] += value * np.int64(w[row, column, c, k])


@kernel
def forward(
    x: Int, w: Int, z: Int, total: Int, squares: Int, first: Int, last: Int, stride: Int, padding_h: Int,
    padding_w: Int, groups: Int, shift: Int, acc_limit: Int, mode: Int, key: Int,
) -> tuple[Int, Int]:  # fmt: skip
    """`Engine.conv_forward` on samples first .. last - 1: fills z, adds to total, squares; (peak, saturated)."""
    _, out_h, out_w, c_out = z.shape
    acc = np.empty(c_out, np.int64)
    peak = np.int64(0)
    saturated = np.int64(0)
    for n in range(first, last):
        for oh in range(out_h):
            for ow in range(out_w):
                _gather(x, w, acc, n, oh * stride - padding_h, ow * stride - padding_w, groups)
                place = ((n * out_h + oh) * out_w + ow) * c_out
                for c in range(c_out):
                    value = clamp(acc[c], -acc_limit, acc_limit)
                    saturated += np.int64(value != acc[c])
                    peak = max(peak, abs(value))
                    rounded = shift_round(value, shift, mode, key, place + c)
                    result = clamp(rounded, np.int64(-32767), np.int64(32767))
                    saturated += np.int64(result != rounded)
                    z[n, oh, ow, c] = result
                    total[c] += result
                    squares[c] += result * result
    return peak, saturated


@inline
def _gather_transposed(
    dz: Int, turned: Int, acc: Int, n: Int, i: Int, j: Int, stride: Int, padding_h: Int, padding_w: Int,
    groups: Int,
) -> None:  # fmt: skip
    """acc[c_in] = the transposed convolution at input row i, column j.

    turned: [kernel_h, kernel_w, c_out, c_in / groups], so that the innermost loop is contiguous.
    """
    out_h, out_w = dz.shape[1], dz.shape[2]
    kernel_h, kernel_w, c_out, c_in = turned.shape
    per_group = c_out // groups
    acc[:] = 0
    for row in range(kernel_h):
        up = i + padding_h - row
        if up < 0 or up % stride != 0 or up // stride >= out_h:
            continue
        for column in range(kernel_w):
            across = j + padding_w - column
            if across < 0 or across % stride != 0 or across // stride >= out_w:
                continue
            oh, ow = up // stride, across // stride
            if c_in == 1 and per_group == 1:
                for c in range(c_out):
                    acc[c] += np.int64(dz[n, oh, ow, c]) * np.int64(turned[row, column, c, 0])
                continue
            for k in range(c_out):
                value = np.int64(dz[n, oh, ow, k])
                if value != 0:
                    offset = k // per_group * c_in
                    for c in range(c_in):
                        acc[offset + c] += value * np.int64(turned[row, column, k, c])


@kernel
def input_gradient(
    dz: Int, turned: Int, add: Int, mask: Int, g: Int, first: Int, last: Int, stride: Int, padding_h: Int,
    padding_w: Int, groups: Int, acc_limit: Int, align: Int, add_stride: Int, add_align: Int, masked: Int,
    mask_below: Int, shift: Int, limit: Int, mode: Int, key: Int,
) -> tuple[Int, Int]:  # fmt: skip
    """`Engine.conv_input_gradient` on samples first .. last - 1: fills g; (peak, saturated).

    add has no samples when there is nothing to add; mask is any array of 4 dimensions when masked is 0.
    """
    _, height, width, c_in = g.shape
    acc = np.empty(c_in, np.int64)
    peak = np.int64(0)
    saturated = np.int64(0)
    shared = min(c_in, add.shape[3]) if add.shape[0] > 0 else 0
    for n in range(first, last):
        for i in range(height):
            for j in range(width):
                _gather_transposed(dz, turned, acc, n, i, j, stride, padding_h, padding_w, groups)
                for c in range(c_in):
                    value = clamp(acc[c], -acc_limit, acc_limit)
                    saturated += np.int64(value != acc[c])
                    acc[c] = half_up(value, -align)
                row, column = i // add_stride, j // add_stride
                on_grid = i % add_stride == 0 and j % add_stride == 0
                if shared > 0 and on_grid and row < add.shape[1] and column < add.shape[2]:
                    for c in range(shared):
                        acc[c] += half_up(np.int64(add[n, row, column, c]), -add_align)
                place = ((n * height + i) * width + j) * c_in
                for c in range(c_in):
                    value = acc[c]
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


@kernel
def weight_gradient(
    x: Int, dz: Int, dw: Int, first: Int, last: Int, stride: Int, padding_h: Int, padding_w: Int, groups: Int
) -> None:
    """dw[kernel_h, kernel_w, c_in / groups, c_out] += sum of x * dz over samples first .. last - 1."""
    height, width = x.shape[1], x.shape[2]
    _, out_h, out_w, c_out = dz.shape
    kernel_h, kernel_w, c_in, _ = dw.shape
    per_group = c_out // groups
    for n in range(first, last):
        for oh in range(out_h):
            for row in range(kernel_h):
                i = oh * stride - padding_h + row
                if i < 0 or i >= height:
                    continue
                for column in range(kernel_w):
                    for ow in range(out_w):
                        j = ow * stride - padding_w + column
                        if j < 0 or j >= width:
                            continue
                        if c_in == 1 and per_group == 1:
                            for c in range(c_out):
                                dw[row, column, 0, c] += np.int64(x[n, i, j, c]) * np.int64(dz[n, oh, ow, c])
                            continue
                        for group in range(groups):
                            start = group * per_group
                            for c in range(c_in):
                                value = np.int64(x[n, i, j, group * c_in + c])
                                if value != 0:
                                    for k in range(start, start + per_group):
                                        dw[row, column, c, k] += value * np.int64(dz[n, oh, ow, k])
