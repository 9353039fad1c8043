"""Weights of few values and adder layers in plain Python integers (sections 14 and 15 of the specification)."""

from __future__ import annotations

from math import isqrt

from oracle import clamp, round_shift, saturate

ETA = (2**28 + 2) // 5


def near(total, count):
    return max(0, (4 * total // (3 * count)).bit_length() - 1) if count else 0


def rounded_log2(value):
    low = value.bit_length() - 1
    return low + (value**2 >= 2 ** (2 * low + 1))


def few_values(masters, kind, width):
    """(w, exponent) of binary, ternary and shift weights."""
    sizes, n = [abs(m) for m in masters], len(masters)
    if kind == "binary":
        return [-1 if m < 0 else 1 for m in masters], near(sum(sizes), n) - 28
    if kind == "ternary":
        threshold = 7 * sum(sizes) // (10 * n)
        large = [size for size in sizes if size > threshold]
        w = [((m > 0) - (m < 0)) * (abs(m) > threshold) for m in masters]
        return w, near(sum(large), len(large)) - 28
    s = max(0, rounded_log2(max(sizes)) - (width - 2)) if max(sizes) else 0
    powers = [rounded_log2(size) - s if size else -1 for size in sizes]
    return [(-1 if m < 0 else 1) * 2**p if p >= 0 else 0 for m, p in zip(masters, powers)], s - 28


def at_exponent(masters, width, exponent):
    """An adder layer's weights."""
    return [saturate(round_shift(m, exponent + 28), width) for m in masters]


def clipped(masters):
    """Masters of binary and ternary weights after an update."""
    return [clamp(m, -(2**28), 2**28) for m in masters]


def scaled(gradient):
    """An adder layer's gradient by the adaptive rate, Q.28."""
    s = max(0, max(abs(v) for v in gradient).bit_length() - 20)
    d = [round_shift(v, s) for v in gradient]
    root = isqrt((sum(v * v for v in d) << 16) // len(d))
    return [(2 * v * ETA * 256 + root) // (2 * root) if root else 0 for v in d]
