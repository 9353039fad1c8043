"""Products of small int64 matrices on the calling thread.

A library's threads that shared such a product would go on waiting for the next one, for tens of milliseconds, on
the processors that the kernels of the rest of the step need.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from joulebit.kernels.compile import kernel
from joulebit.kernels.scalar import Int


@kernel
def _rows_by_columns(a: Int, b: Int, out: Int) -> None:
    """out [M, L] = a [M, K] @ b^T, b [L, K]: inner products of rows."""
    for i in range(a.shape[0]):
        for j in range(b.shape[0]):
            total = np.int64(0)
            for k in range(a.shape[1]):
                total += a[i, k] * b[j, k]
            out[i, j] = total


@kernel
def _sums_of_rows(a: Int, b: Int, out: Int) -> None:
    """out [M, L] = a [M, K] @ b [K, L]: sums of b's rows."""
    out[:] = 0
    for i in range(a.shape[0]):
        for k in range(a.shape[1]):
            factor = a[i, k]
            for j in range(b.shape[1]):
                out[i, j] += factor * b[k, j]


def product(a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.int64]:
    """a @ b of [M, K] and [K, L]; b may be a transposed array."""
    out = np.empty((a.shape[0], b.shape[1]), np.int64)
    if b.T.flags.c_contiguous:
        _rows_by_columns(np.ascontiguousarray(a), b.T, out)
    else:
        _sums_of_rows(a, np.ascontiguousarray(b), out)
    return out
