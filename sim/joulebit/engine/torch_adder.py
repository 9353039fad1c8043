"""Adder layers on tensors: sums of `Engine.adder_forward` and `Engine.adder_input_gradient` in exact float64."""

from __future__ import annotations

import torch

from joulebit.engine.base import ConvGeometry
from joulebit.engine.torch_conv import patch_chunks
from joulebit.engine.torch_products import largest_sum


def largest_distance(terms: int, x: torch.dtype, w: torch.dtype) -> int:
    """Bound of the sum of so many |x - w|."""
    return largest_sum(terms, x) + largest_sum(terms, w)


def distances(x: torch.Tensor, w: torch.Tensor, geometry: ConvGeometry) -> torch.Tensor:
    """-sum of |x - w| over the window of every output, int64; x [N, H, W, C] is already padded."""
    stride, c_out = geometry.stride, w.shape[3]
    out_h = (x.shape[1] - geometry.kernel_h) // stride + 1
    out_w = (x.shape[2] - geometry.kernel_w) // stride + 1
    windows = x.to(torch.float64).unfold(1, geometry.kernel_h, stride).unfold(2, geometry.kernel_w, stride)
    patches = windows.permute(0, 1, 2, 4, 5, 3).reshape(-1, w[..., 0].numel())
    kernels = w.reshape(-1, c_out).t().to(torch.float64).contiguous()
    total = torch.cdist(patches, kernels, p=1.0)  # sums of integers below 2^53 are exact in any order
    return -total.to(torch.int64).reshape(x.shape[0], out_h, out_w, c_out)


def clipped_gradient(
    dz: torch.Tensor, x: torch.Tensor, w: torch.Tensor, geometry: ConvGeometry, clip: int
) -> torch.Tensor:
    """Sum over outputs of dz * clamp(w - x, +-clip), int64 in the shape of x, which is already padded."""
    out_h, out_w = dz.shape[1:3]
    step, c_in = geometry.stride, x.shape[3]
    total = torch.zeros(x.shape, dtype=torch.int64, device=x.device)
    wide, kernel, gradient = x.to(torch.float64), w.to(torch.float64), dz.to(torch.float64)
    for part in patch_chunks(x.shape[0], out_h * out_w * c_in * w.shape[3], 0, x.device):
        for row in range(geometry.kernel_h):
            for column in range(geometry.kernel_w):
                rows = slice(row, row + (out_h - 1) * step + 1, step)
                columns = slice(column, column + (out_w - 1) * step + 1, step)
                difference = (kernel[row, column] - wide[part, rows, columns].unsqueeze(-1)).clamp_(-clip, clip)
                total[part, rows, columns] += torch.matmul(difference, gradient[part].unsqueeze(-1))[..., 0].to(
                    torch.int64
                )
    return total
