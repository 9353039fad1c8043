"""The learning rate of an adder layer, which adapts to the size of its gradient (spec, section 15).

Source: Chen et al., "AdderNet: Do we really need multiplications in deep learning?", CVPR 2020, equations (12) and
(13): the gradient of a layer's k weights is scaled by eta sqrt(k) / ||gradient||, so that its elements have a root
mean square of eta. eta = 1/5 is that of the released code.
"""

from __future__ import annotations

from math import isqrt

import numpy as np
from numpy.typing import NDArray

from joulebit.fixed.rounding import bit_length, peak, shift_round

ETA_Q28 = ((1 << 28) + 2) // 5  #: eta = 1/5
EXPONENT = -28  #: of the scaled gradient
_KEPT_BITS = 20
_ROOT_BITS = 8  # of the fraction of the root mean square


def scaled_gradient(gradient: NDArray[np.int64]) -> NDArray[np.int64]:
    """gradient * eta * sqrt(k) / ||gradient|| in Q.28, for the int64 gradient of k weights; 0 where all are 0."""
    shift = max(0, bit_length(peak(gradient)) - _KEPT_BITS)
    kept = shift_round(gradient, shift)
    squares = int((kept * kept).sum())  # at most 2^40 each: exact for up to 2^22 weights
    root = isqrt((squares << (2 * _ROOT_BITS)) // max(1, gradient.size))
    if not root:
        return np.zeros(gradient.shape, np.int64)
    product = kept * (ETA_Q28 << _ROOT_BITS)
    return np.asarray((2 * product + root) // (2 * root), np.int64)
