"""Per-channel integers of batch norm and of a bias, forward and backward (spec, sections 4 and 5)."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from joulebit.engine.base import Engine, Int64Array, NormConstants, NormGradientConstants
from joulebit.fixed.rounding import saturate, shift_round, shift_round_each
from joulebit.fixed.update import UpdateRule, update_step


def bit_length_each(value: Int64Array) -> Int64Array:
    """Bit length of every element of a non-negative int64 array."""
    # float64 may round up to the next power of two: then the bit below is not there
    length = np.frexp(value.astype(np.float64))[1].astype(np.int64)
    return np.asarray(length - (value >> np.maximum(length - 1, 0) == 0) * (length > 0))


def isqrt_each(value: Int64Array) -> Int64Array:
    """floor(sqrt(v)) for 0 <= v < 2^62: the correctly rounded float64 root, corrected by at most one."""
    root = np.sqrt(value.astype(np.float64)).astype(np.int64)
    root -= (root * root > value).astype(np.int64)
    root += ((root + 1) * (root + 1) <= value).astype(np.int64)
    return root


def batch_norm_constants(
    total: Int64Array,
    squares: Int64Array,
    count: int,
    z_exponent: int,
    gamma: Int64Array,
    beta: Int64Array,
) -> NormConstants:
    """Constants from the sums of z and z^2 per channel over `count` elements."""
    mean = ((total << 9) + count) // (2 * count)
    mean_square = ((squares // count) << 16) + ((squares % count) << 16) // count
    epsilon = np.int64(1) << np.int64(min(60, max(0, -2 * z_exponent)))
    variance = np.maximum(0, mean_square - mean * mean) + epsilon
    scale = (62 - bit_length_each(variance)) >> 1
    root = isqrt_each(variance << (2 * scale))
    rsqrt = ((np.int64(1) << np.int64(46)) + root // 2) // root
    return NormConstants(mean, rsqrt, scale, gamma, beta)


def bias_constants(z_exponent: int, beta: Int64Array) -> NormConstants:
    """Constants of a layer without batch norm: x-hat is z itself in Q.11."""
    shape = beta.shape
    return NormConstants(
        np.zeros(shape, np.int64),
        np.full(shape, 1 << 15, np.int64),
        np.full(shape, min(30, max(-27, 23 + z_exponent)), np.int64),
        np.full(shape, 4096, np.int64),
        beta,
    )


def gradient_constants(
    norm: NormConstants,
    sum_g: Int64Array,
    sum_gx: Int64Array,
    count: int,
    g_exponent: int,
    z_exponent: int,
    batch_norm: bool,
) -> tuple[NormGradientConstants, NDArray[np.int64]]:
    """The backward constants without their shift (zeros), and eu: the exponent of T * multiplier per channel."""
    if batch_norm:
        limit = (1 << 31) - 1
        mean_g = ((sum_g << 9) + count) // (2 * count)
        mean_gx = np.minimum(np.maximum(((sum_gx << 6) + count) // (2 * count), -limit), limit)
    else:
        mean_g = mean_gx = np.zeros(norm.mean.shape, np.int64)
    slope = norm.gamma * norm.rsqrt
    narrowed = np.maximum(0, bit_length_each(np.abs(slope)) - 15)
    multiplier = shift_round_each(slope, narrowed)
    exponents = g_exponent + narrowed + norm.scale - z_exponent - 58
    zero = np.zeros(norm.mean.shape, np.int64)
    return NormGradientConstants(mean_g, mean_gx, multiplier, zero), exponents


class ChannelConstants(Protocol):
    """Who computes these integers. All come to the same; a network asks for them twice per layer and step."""

    def narrowed(self, master: NDArray[np.int32]) -> Int64Array:
        """gamma or beta [channels] in Q3.12 from its master."""
        ...

    def batch_norm(
        self,
        total: Int64Array,
        squares: Int64Array,
        count: int,
        z_exponent: int,
        gamma: Int64Array,
        beta: Int64Array,
    ) -> NormConstants:
        """`batch_norm_constants`."""
        ...

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
        """`gradient_constants`."""
        ...

    def update(
        self,
        master: NDArray[np.int32],
        momentum: Int64Array,
        gradient: Int64Array,
        exponent: Int64Array,
        samples: int,
        rule: UpdateRule,
    ) -> None:
        """`joulebit.fixed.update.update_step` on flat arrays."""
        ...


class _NumpyConstants:
    batch_norm = staticmethod(batch_norm_constants)
    gradient = staticmethod(gradient_constants)
    update = staticmethod(update_step)

    def narrowed(self, master: NDArray[np.int32]) -> Int64Array:
        return saturate(shift_round(master, 16), 16)


_NUMPY = _NumpyConstants()


def constants_of(engine: Engine) -> ChannelConstants:
    """numpy's, unless the engine has faster ones: its `channel_constants`."""
    found: ChannelConstants = getattr(engine, "channel_constants", _NUMPY)
    return found
