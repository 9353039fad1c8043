"""The bound on the sign predictor's failures (E2-Train, equation (3))."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from joulebit.engine.base import ConvGeometry
from joulebit.fixed.arithmetic import Arithmetic


def square_sums(value: NDArray[Any]) -> NDArray[np.int64]:
    """int64 [C]: the sum of the squares of each channel of integers [N, H, W, C]."""
    return np.asarray((value.astype(np.float64) ** 2).sum((0, 1, 2))).astype(np.int64)


def failure_bound(
    squares_x: NDArray[np.int64],
    squares_g: NDArray[np.int64],
    exact: NDArray[np.int64],
    predicted: NDArray[np.int64],
    threshold: int,
    geometry: ConvGeometry,
    arithmetic: Arithmetic,
) -> float:
    """Upper bound on the number of decided elements with a wrong sign: the sum of P(H) over them.

    With Delta_x and Delta_g the steps of the predictor's operands and rounding errors that are independent, of
    zero mean and uniform (variance Delta^2 / 12), the predicted gradient differs from the exact one by a variance
    of sum(Delta_x^2 g^2 + Delta_g^2 x^2) / 12. A wrong sign that is decided needs an error of at least
    |g_w| + tau in one direction, so by Chebyshev's inequality (one of two symmetric sides)

        P(H) <= Delta_x^2 E1 + Delta_g^2 E2
        E1 = sum g^2 / (24 (|g_w| + tau)^2),  E2 = sum x^2 / (24 (|g_w| + tau)^2)

    The sums run over the positions that meet one weight; at the image's border they are taken as complete, which
    can only raise the bound. The paper's appendix with its own E1 and E2 is not part of its text; this is the
    derivation of PredictiveNet (Lin et al., ISCAS 2017) with the threshold added.

    Args:
        squares_x, squares_g: sums of the operands' squares per channel (`square_sums`).
        exact, predicted: the operands' products [kernel_h, kernel_w, c_in, c_out].
        threshold: tau, in units of `predicted`.
    """
    x_step = 1 << (arithmetic.x_bits - arithmetic.x_msb_bits)
    g_step = 1 << (arithmetic.g_bits - arithmetic.g_msb_bits)
    c_in, c_out = exact.shape[2:]
    group_of_output = np.arange(c_out) * geometry.groups // c_out
    per_input = squares_x.reshape(geometry.groups, c_in)[group_of_output].T
    variance = (x_step**2 * squares_g[None, :] + g_step**2 * per_input) / 12.0
    margin = np.abs(exact) + float(threshold) * x_step * g_step
    bound = np.minimum(1.0, variance / (2.0 * margin * margin))
    return float(np.broadcast_to(bound, exact.shape)[np.abs(predicted) >= threshold].sum())
