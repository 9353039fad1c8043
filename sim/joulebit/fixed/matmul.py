"""Exact matrix products of integers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from joulebit.fixed.rounding import peak

_EXACT_FLOAT64 = 1 << 53


def integer_matmul(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.int64]:
    """a @ b as int64, for integer arrays [..., M, K] and [..., K, L] whose sums fit 63 bits.

    Where every partial sum provably stays below 2^53 the product runs in float64, hence exact and much faster.
    """
    if peak(a) * peak(b) * a.shape[-1] < _EXACT_FLOAT64:
        return np.asarray(np.matmul(a.astype(np.float64), b.astype(np.float64))).astype(np.int64)
    return np.asarray(np.matmul(a.astype(np.int64), b.astype(np.int64)), np.int64)
