"""Weights of few values: signs, signs and 0, or powers of two (spec, section 14).

Each is formed from the masters of a whole layer, has one exponent for the layer, and is used where w stands:

* binary: the sign of m (0 counts as positive), at the power of two nearest to the mean magnitude.
  Source: Courbariaux et al., "BinaryConnect", NeurIPS 2015, equation (1); the scale per layer as in Rastegari et
  al., "XNOR-Net", ECCV 2016, equation (6), here a power of two.
* ternary: the sign of m where its magnitude exceeds 0.7 of the mean magnitude, else 0, at the power of two nearest
  to the mean magnitude of those. Source: Li et al., "Ternary weight networks", arXiv:1605.04711, section 2.
* shift: the sign of m times the power of two nearest to its magnitude on a logarithmic scale; what is too small
  for the w_bits - 1 powers is 0. Source: Elhoushi et al., "DeepShift", CVPR workshops 2021 (DeepShift-Q).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from joulebit.fixed.arithmetic import MASTER_FRACTION_BITS
from joulebit.fixed.rounding import bit_length, peak

CLIP = (
    1 << MASTER_FRACTION_BITS
)  #: masters of binary and ternary weights stay within +-1 (BinaryConnect, section 2.4)
CLIPPED = ("binary", "ternary")


def nearest_power(total: int, count: int) -> int:
    """The k >= 0 for which 2^k is nearest to total / count; 0 where count is 0."""
    return max(0, bit_length(4 * total // (3 * count)) - 1) if count else 0


def ternary_threshold(total: int, count: int) -> int:
    """The largest magnitude that becomes 0: floor(0.7 total / count), total the sum of the magnitudes."""
    return 7 * total // (10 * count)


def nearest_log2(value: int) -> int:
    """log2 of value >= 1, rounded to the nearest integer."""
    k = bit_length(value) - 1
    return k + int(value * value >= 1 << (2 * k + 1))


def quantise(master: NDArray[Any], kind: str, bits: int) -> tuple[NDArray[Any], int]:
    """(w, e_w) of int32 masters: int8 for binary and ternary weights, else int8 up to 8 bits and int16 above."""
    magnitude = np.abs(master.astype(np.int64))
    sign = np.sign(master)
    if kind == "binary":
        exponent = nearest_power(int(magnitude.sum()), master.size)
        return np.where(master < 0, -1, 1).astype(np.int8), exponent - MASTER_FRACTION_BITS
    if kind == "ternary":
        large = magnitude > ternary_threshold(int(magnitude.sum()), master.size)
        exponent = nearest_power(int(magnitude[large].sum()), int(np.count_nonzero(large)))
        return (sign * large).astype(np.int8), exponent - MASTER_FRACTION_BITS
    if kind != "shift":
        raise ValueError(f"kind must be binary, ternary or shift, got {kind!r}")
    largest = peak(master)
    lowest = max(0, nearest_log2(largest) - (bits - 2)) if largest else 0
    power = _nearest_log2_each(magnitude)
    w = np.where((magnitude > 0) & (power >= lowest), sign << np.maximum(0, power - lowest), 0)
    return w.astype(np.int8 if bits <= 8 else np.int16), lowest - MASTER_FRACTION_BITS


def _nearest_log2_each(magnitude: NDArray[np.int64]) -> NDArray[np.int64]:
    """`nearest_log2` of every element below 2^31; -1 or 0 for 0."""
    k = np.frexp(magnitude.astype(np.float64))[1].astype(np.int64) - 1
    return np.asarray(k + (magnitude * magnitude >= np.int64(2) << np.maximum(0, 2 * k)))
