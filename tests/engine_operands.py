"""Operands for operations of an engine: of a run's widths, at random or at the ends of what they can hold."""

import numpy as np

from joulebit.engine.base import NormConstants, NormGradientConstants

ROUNDINGS = ["half_up", "half_even", "half_away", "toward_zero", "floor", "stochastic"]
KEY = 0xF123456789ABCDEF  #: of stochastic rounding


def fill(rng, shape, low, high, dtype, kind="random"):
    """Integers of low..high: random ones, or only the two ends and zero, or the upper end alone."""
    if kind == "random":
        return rng.integers(low, high, shape, endpoint=True).astype(dtype)
    if kind == "ends":
        return rng.choice([low, high, 0], shape).astype(dtype)
    return np.full(shape, high, dtype)


def activation_dtype(arithmetic, signed):
    if arithmetic.x_bits <= 8:
        return np.int8 if signed else np.uint8
    return np.int16 if signed else np.uint16


def weight_dtype(arithmetic):
    return np.int8 if arithmetic.w_bits <= 8 else np.int16


def activation(arithmetic, rng, shape, signed=False, kind="random"):
    low, high = arithmetic.activation_range(signed)
    return fill(rng, shape, low, high, activation_dtype(arithmetic, signed), kind)


def weights(arithmetic, rng, geometry, c_in, c_out, kind="random"):
    limit = 2 ** (arithmetic.w_bits - 1) - 1
    shape = (geometry.kernel_h, geometry.kernel_w, c_in // geometry.groups, c_out)
    return fill(rng, shape, -limit, limit, weight_dtype(arithmetic), kind)


def gradient(arithmetic, rng, shape, kind="random"):
    limit = 2 ** (arithmetic.g_bits - 1) - 1
    return fill(rng, shape, -limit, limit, np.int16, kind)


def norm_constants(rng, channels):
    return NormConstants(
        mean=rng.integers(-(2**23), 2**23, channels),
        rsqrt=rng.integers(2**15, 2**16, channels, endpoint=True),
        scale=rng.permutation(np.resize(np.array([-27, -3, 4, 9, 17, 30]), channels)),
        gamma=rng.integers(-32767, 32767, channels, endpoint=True),
        beta=rng.integers(-32767, 32767, channels, endpoint=True),
    )


def gradient_constants(rng, channels):
    return NormGradientConstants(
        mean_g=rng.integers(-(2**23), 2**23, channels, endpoint=True),
        mean_gx=rng.integers(-(2**31) + 1, 2**31 - 1, channels, endpoint=True),
        multiplier=rng.integers(-(2**15), 2**15, channels, endpoint=True),
        shift=np.resize(np.array([0, 1, 19, 26, 33, 62]), channels),
    )
