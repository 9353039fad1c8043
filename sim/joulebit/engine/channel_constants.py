"""Per-channel integers by compiled kernels: a `joulebit.nn.normalisation.ChannelConstants`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from joulebit.engine.base import Int64Array, NormConstants, NormGradientConstants
from joulebit.fixed.arithmetic import MASTER_FRACTION_BITS
from joulebit.fixed.update import UpdateRule, reciprocal
from joulebit.kernels import channel_constants, parameters


class CompiledConstants:
    """`ChannelConstants` in one call of a kernel each."""

    def narrowed(self, master: NDArray[np.int32]) -> Int64Array:
        out = np.empty(master.size, np.int64)
        channel_constants.narrow(master, out)
        return out

    def batch_norm(
        self,
        total: Int64Array,
        squares: Int64Array,
        count: int,
        z_exponent: int,
        gamma: Int64Array,
        beta: Int64Array,
    ) -> NormConstants:
        out = np.empty((3, total.size), np.int64)
        channel_constants.batch_norm(total, squares, count, z_exponent, out)
        return NormConstants(out[0], out[1], out[2], gamma, beta)

    def gradient(
        self,
        norm: NormConstants,
        sum_g: Int64Array,
        sum_gx: Int64Array,
        count: int,
        g_exponent: int,
        z_exponent: int,
        batch_norm: bool,
    ) -> tuple[NormGradientConstants, Int64Array]:
        out = np.empty((4, norm.gamma.size), np.int64)
        channel_constants.gradient(
            norm.rsqrt, norm.scale, norm.gamma, sum_g, sum_gx, count, g_exponent, z_exponent, batch_norm, out
        )
        return NormGradientConstants(out[0], out[1], out[2], np.zeros(norm.gamma.size, np.int64)), out[3]

    def update(
        self,
        master: NDArray[np.int32],
        momentum: Int64Array,
        gradient: Int64Array,
        exponent: Int64Array,
        samples: int,
        rule: UpdateRule,
    ) -> None:
        inverse, k = reciprocal(samples)
        parameters.update_each(
            master, momentum, gradient, exponent, MASTER_FRACTION_BITS - k, inverse, rule.learning_rate_q20,
            rule.momentum_q15, rule.decay_q24,
        )  # fmt: skip
