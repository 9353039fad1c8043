"""What follows the sums of one pixel of z in the plain kernels of linear and adder layers (spec, section 4)."""

from __future__ import annotations

import numpy as np

from joulebit.kernels.compile import inline
from joulebit.kernels.scalar import Int, clamp, shift_round


@inline
def finish_output(
    sums: Int, z: Int, total: Int, squares: Int, n: Int, i: Int, j: Int, acc_limit: Int, shift: Int, mode: Int,
    key: Int, peak: Int, saturated: Int,
) -> tuple[Int, Int]:  # fmt: skip
    """z[n, i, j] from sums [c_out], its statistics, and (peak, saturated) with those of this pixel."""
    _, height, width, channels = z.shape
    place = ((n * height + i) * width + j) * channels
    for c in range(channels):
        exact = np.int64(sums[c])
        value = clamp(exact, -acc_limit, acc_limit)
        saturated += np.int64(value != exact)
        peak = max(peak, abs(value))
        rounded = shift_round(value, shift, mode, key, place + c)
        result = clamp(rounded, np.int64(-32767), np.int64(32767))
        saturated += np.int64(result != rounded)
        z[n, i, j, c] = result
        total[c] += result
        squares[c] += result * result
    return peak, saturated
