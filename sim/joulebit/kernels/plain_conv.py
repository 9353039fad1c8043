"""Convolutions for every width, rounding mode, stride and grouping: plain loops, 64-bit sums.

Arrays are contiguous NHWC; weights [kernel_h, kernel_w, c_in / groups, c_out]. A kernel works on the samples
first .. last - 1, so that threads can share a batch. The sums of one row of pixels are kept in an array
[pixels, channels]; channels are the innermost loop and pixels the next, so that one row of weights serves all
pixels and the compiler can use vector instructions. Depthwise convolutions (one channel in and out per group)
have their own loop.
"""

from __future__ import annotations

import numpy as np

from joulebit.kernels.compile import inline, kernel
from joulebit.kernels.plain_epilogue import finish_output
from joulebit.kernels.scalar import Int, clamp, half_up, shift_round


@inline
def _span(column: Int, stride: Int, padding: Int, width: Int, out_w: Int) -> Int:
    """(first, last + 1) of the output columns whose input under kernel column `column` is inside the image."""
    first = max(0, (padding - column + stride - 1) // stride)
    return first, min(out_w, (width - 1 + padding - column) // stride + 1)


@inline
def _gather_row(x: Int, w: Int, acc: Int, n: Int, top: Int, stride: Int, padding: Int, groups: Int) -> None:
    """acc[out_w, c_out] = the convolution for the windows whose first row is `top` (spec, section 4)."""
    height, width = x.shape[1], x.shape[2]
    kernel_h, kernel_w, c_in, c_out = w.shape
    per_group = c_out // groups
    acc[:, :] = 0
    for row in range(max(0, -top), min(kernel_h, height - top)):
        i = top + row
        for column in range(kernel_w):
            first, last = _span(column, stride, padding, width, acc.shape[0])
            shift = column - padding
            if c_in == 1 and per_group == 1:
                for ow in range(first, last):
                    for c in range(c_out):
                        acc[ow, c] += np.int64(x[n, i, ow * stride + shift, c]) * np.int64(w[row, column, 0, c])
                continue
            for group in range(groups):
                start = group * per_group
                for c in range(c_in):
                    weights = w[row, column, c, start : start + per_group]
                    for ow in range(first, last):
                        value = np.int64(x[n, i, ow * stride + shift, group * c_in + c])
                        sums = acc[ow, start : start + per_group]
                        for k in range(sums.size):
                            sums[k] += value * np.int64(weights[k])


@kernel
def forward(
    x: Int, w: Int, z: Int, total: Int, squares: Int, first: Int, last: Int, stride: Int, padding_h: Int,
    padding_w: Int, groups: Int, shift: Int, acc_limit: Int, mode: Int, key: Int,
) -> tuple[Int, Int]:  # fmt: skip
    """`Engine.conv_forward` on samples first .. last - 1: fills z, adds to total, squares; (peak, saturated)."""
    _, out_h, out_w, c_out = z.shape
    acc = np.empty((out_w, c_out), np.int64)
    peak = np.int64(0)
    saturated = np.int64(0)
    for n in range(first, last):
        for oh in range(out_h):
            _gather_row(x, w, acc, n, oh * stride - padding_h, stride, padding_w, groups)
            for ow in range(out_w):
                peak, saturated = finish_output(
                    acc[ow], z, total, squares, n, oh, ow, acc_limit, shift, mode, key, peak, saturated
                )
    return peak, saturated


@inline
def _gather_row_transposed(
    dz: Int, turned: Int, acc: Int, n: Int, i: Int, stride: Int, padding_h: Int, padding_w: Int, groups: Int
) -> None:
    """acc[width, c_in] = the transposed convolution at input row i.

    turned: [kernel_h, kernel_w, c_out, c_in / groups], so that the innermost loop is contiguous.
    """
    out_h, out_w = dz.shape[1], dz.shape[2]
    kernel_h, kernel_w, c_out, c_in = turned.shape
    per_group = c_out // groups
    acc[:, :] = 0
    for row in range(kernel_h):
        up = i + padding_h - row
        if up < 0 or up % stride != 0 or up // stride >= out_h:
            continue
        oh = up // stride
        for column in range(kernel_w):
            first, last = _span(column, stride, padding_w, acc.shape[0], out_w)
            shift = column - padding_w
            if c_in == 1 and per_group == 1:
                for ow in range(first, last):
                    for c in range(c_out):
                        acc[ow * stride + shift, c] += np.int64(dz[n, oh, ow, c]) * np.int64(
                            turned[row, column, c, 0]
                        )
                continue
            for k in range(c_out):
                start = k // per_group * c_in
                weights = turned[row, column, k]
                for ow in range(first, last):
                    value = np.int64(dz[n, oh, ow, k])
                    sums = acc[ow * stride + shift, start : start + c_in]
                    for c in range(sums.size):
                        sums[c] += value * np.int64(weights[c])


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
    sums = np.empty((width, c_in), np.int64)
    peak = np.int64(0)
    saturated = np.int64(0)
    shared = min(c_in, add.shape[3]) if add.shape[0] > 0 else 0
    for n in range(first, last):
        for i in range(height):
            _gather_row_transposed(dz, turned, sums, n, i, stride, padding_h, padding_w, groups)
            for j in range(width):
                acc = sums[j]
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
            top = oh * stride - padding_h
            for row in range(max(0, -top), min(kernel_h, height - top)):
                i = top + row
                for column in range(kernel_w):
                    begin, end = _span(column, stride, padding_w, width, out_w)
                    shift = column - padding_w
                    if c_in == 1 and per_group == 1:
                        for ow in range(begin, end):
                            j = ow * stride + shift
                            for c in range(c_out):
                                dw[row, column, 0, c] += np.int64(x[n, i, j, c]) * np.int64(dz[n, oh, ow, c])
                        continue
                    for group in range(groups):
                        start = group * per_group
                        for c in range(c_in):
                            sums = dw[row, column, c, start : start + per_group]
                            for ow in range(begin, end):
                                value = np.int64(x[n, i, ow * stride + shift, group * c_in + c])
                                gradients = dz[n, oh, ow, start : start + per_group]
                                for k in range(sums.size):
                                    sums[k] += value * np.int64(gradients[k])
