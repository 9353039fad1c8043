"""The integers of `joulebit.nn.normalisation`, channel by channel in one call each instead of in dozens.

A layer has a few dozen channels: numpy spends its time on the calls, not on the numbers. Every function writes
rows of `out`, int64 [rows, channels].
"""

from __future__ import annotations

import numpy as np

from joulebit.kernels.compile import inline, kernel
from joulebit.kernels.scalar import Int, clamp, half_up

_LIMIT = (1 << 31) - 1


@inline
def _bit_length(value: Int) -> Int:
    length = np.int64(0)
    while value > 0:
        value >>= 1
        length += 1
    return length


@inline
def _isqrt(value: Int) -> Int:
    """floor(sqrt(value)) for 0 <= value < 2^62."""
    root = np.int64(np.sqrt(np.float64(value)))
    if root * root > value:
        root -= 1
    if (root + 1) * (root + 1) <= value:
        root += 1
    return root


@kernel
def narrow(master: Int, out: Int) -> None:
    """out [channels] = gamma or beta in Q3.12 from its master."""
    for c in range(master.size):
        out[c] = clamp(half_up(np.int64(master[c]), 16), -32767, 32767)


@kernel
def batch_norm(total: Int, squares: Int, count: Int, z_exponent: Int, out: Int) -> None:
    """`batch_norm_constants`: rows mean, rsqrt and scale."""
    epsilon = np.int64(1) << min(60, max(0, -2 * z_exponent))
    for c in range(total.size):
        mean = ((total[c] << 9) + count) // (2 * count)
        mean_square = ((squares[c] // count) << 16) + ((squares[c] % count) << 16) // count
        variance = max(0, mean_square - mean * mean) + epsilon
        scale = (62 - _bit_length(variance)) >> 1
        root = _isqrt(variance << (2 * scale))
        out[0, c] = mean
        out[1, c] = ((np.int64(1) << 46) + root // 2) // root
        out[2, c] = scale


@kernel
def gradient(
    rsqrt: Int, scale: Int, gamma: Int, sum_g: Int, sum_gx: Int, count: Int, g_exponent: Int, z_exponent: Int,
    batch_norm: Int, out: Int,
) -> None:  # fmt: skip
    """`gradient_constants`: rows mean_g, mean_gx, multiplier and the exponents."""
    for c in range(gamma.size):
        out[0, c], out[1, c] = 0, 0
        if batch_norm:
            out[0, c] = ((sum_g[c] << 9) + count) // (2 * count)
            out[1, c] = clamp(((sum_gx[c] << 6) + count) // (2 * count), -_LIMIT, _LIMIT)
        slope = gamma[c] * rsqrt[c]
        narrowed = max(0, _bit_length(abs(slope)) - 15)
        out[2, c] = half_up(slope, narrowed)
        out[3, c] = g_exponent + narrowed + scale[c] - z_exponent - 58
