"""Minimal filtering: fewer products for weight gradients of kernels 3 wide at stride 1, exactly.

Winograd's F(3, 2) (Lavin and Gray, CVPR 2016) takes four products instead of six for two positions side by side.
With x0 .. x3 the inputs and g0, g1 the gradients:

    m0 = (x0 - x2) g0    m1 = (x1 + x2)(g0 + g1)    m2 = (x2 - x1)(g0 - g1)    m3 = (x3 - x1) g1
    dw0 = x0 g0 + x1 g1 = m0 + (m1 + m2) / 2
    dw1 = x1 g0 + x2 g1 = (m1 - m2) / 2
    dw2 = x2 g0 + x3 g1 = (m1 + m2) / 2 + m3

The four products are summed over all positions and images; dw is formed once from the sums. The halves are
integers because dw is. g0 + g1 and g0 - g1 fit 16 bits where |dz| <= 16383; larger gradients are taken in parts
of at most that, which is exact because dw is linear in dz.

F(3, 4) takes six products instead of twelve for four positions (points 0, 1, -1, 2, -2 and infinity); combinations
of its sums are divided by 24, without a remainder. Its operands grow by factors of up to 10 (x) and 15 (dz), which
the predictor's short ones can bear.
"""

from __future__ import annotations

from joulebit.kernels.compile import inline
from joulebit.kernels.pairs import narrowed, pairs_of_x
from joulebit.kernels.scalar import Int
from joulebit.kernels.vector import (
    add_halves,
    lanes,
    larger_halves,
    mul_halves,
    pairs_i16,
    smaller_halves,
    splat_halves,
    store_all,
    sub_halves,
    zeros,
)

PART = 16_383  #: the largest |dz| whose sums of two fit 16 bits


@inline
def _x_at(
    j: Int, first: Int, second: Int, on: Int, other: Int, width: Int, channels: Int, flip: Int, shift: Int,
    low: Int, high: Int,
) -> Int:  # fmt: skip
    """The pair of 16 inputs at column j of a row, narrowed if shift >= 0; 0 beside the image."""
    value = zeros()
    if 0 <= j < width:
        place = j * channels
        value = narrowed(pairs_of_x(first + place, second + place, on, other, flip), shift, low, high)
    return value


@inline
def _g_at(
    j: Int, first: Int, second: Int, on: Int, other: Int, width: Int, channels: Int, shift: Int, limit: Int
) -> Int:
    """The pair of 16 gradients at column j of a row, narrowed; 0 behind the last."""
    value = zeros()
    if j < width:
        place = 2 * j * channels
        value = narrowed(pairs_i16(first + place, second + place, on, other), shift, -limit, limit)
    return value


@inline
def transform_x(
    first: Int, second: Int, both: Int, width: Int, channels: Int, flip: Int, shift: Int, low: Int, high: Int,
    padding: Int, couples: Int, target: Int, part: Int,
) -> None:  # fmt: skip
    """Of four inputs side by side from every second on: x0 - x2, x1 + x2, x2 - x1, x3 - x1, in pairs of images.

    Of 16 channels of a row of bytes at `first` and `second` (both: 0 if there is no second), with `padding` zeros
    beside it. The sums of a couple of positions go to target + 64 * couple, `part` bytes apart.
    """
    on, other = lanes(16), lanes(16 * both)
    x0 = _x_at(-padding, first, second, on, other, width, channels, flip, shift, low, high)
    x1 = _x_at(1 - padding, first, second, on, other, width, channels, flip, shift, low, high)
    for couple in range(couples):
        j = 2 * couple + 2 - padding
        x2 = _x_at(j, first, second, on, other, width, channels, flip, shift, low, high)
        x3 = _x_at(j + 1, first, second, on, other, width, channels, flip, shift, low, high)
        place = target + 64 * couple
        store_all(place, sub_halves(x0, x2))
        store_all(place + part, add_halves(x1, x2))
        store_all(place + 2 * part, sub_halves(x2, x1))
        store_all(place + 3 * part, sub_halves(x3, x1))
        x0, x1 = x2, x3


@inline
def transform_g(
    first: Int, second: Int, both: Int, width: Int, channels: Int, shift: Int, limit: Int, couples: Int, turn: Int,
    clamped: Int, target: Int, step: Int, part: Int,
) -> None:  # fmt: skip
    """Of two gradients side by side: g0, g0 + g1, g0 - g1, g1, in pairs of images; a last single one meets 0.

    Of 16 channels of a row of int16; a couple's sums go to target + step * couple. clamped: whether the gradients
    are taken in parts, since sums of two must fit 16 bits. turn: in which, 0 for the first PART of each, 1 for the
    next, ...
    """
    on, other = lanes(16), lanes(16 * both)
    low, high = splat_halves(-PART), splat_halves(PART)
    before_low, before_high = splat_halves(-PART * turn), splat_halves(PART * turn)
    for couple in range(couples):
        g0 = _g_at(2 * couple, first, second, on, other, width, channels, shift, limit)
        g1 = _g_at(2 * couple + 1, first, second, on, other, width, channels, shift, limit)
        if turn > 0:
            g0 = sub_halves(g0, smaller_halves(larger_halves(g0, before_low), before_high))
            g1 = sub_halves(g1, smaller_halves(larger_halves(g1, before_low), before_high))
        if clamped:
            g0 = smaller_halves(larger_halves(g0, low), high)
            g1 = smaller_halves(larger_halves(g1, low), high)
        place = target + step * couple
        store_all(place, g0)
        store_all(place + part, add_halves(g0, g1))
        store_all(place + 2 * part, sub_halves(g0, g1))
        store_all(place + 3 * part, g1)


@inline
def transform_x_6(
    first: Int, second: Int, both: Int, width: Int, channels: Int, flip: Int, shift: Int, low: Int, high: Int,
    padding: Int, quads: Int, target: Int, part: Int,
) -> None:  # fmt: skip
    """`transform_x` of six inputs side by side from every fourth on, narrowed: their six sums of F(3, 4)."""
    on, other = lanes(16), lanes(16 * both)
    two, four, five = splat_halves(2), splat_halves(4), splat_halves(5)
    x0 = _x_at(-padding, first, second, on, other, width, channels, flip, shift, low, high)
    x1 = _x_at(1 - padding, first, second, on, other, width, channels, flip, shift, low, high)
    for quad in range(quads):
        j = 4 * quad + 2 - padding
        x2 = _x_at(j, first, second, on, other, width, channels, flip, shift, low, high)
        x3 = _x_at(j + 1, first, second, on, other, width, channels, flip, shift, low, high)
        x4 = _x_at(j + 2, first, second, on, other, width, channels, flip, shift, low, high)
        x5 = _x_at(j + 3, first, second, on, other, width, channels, flip, shift, low, high)
        place = target + 64 * quad
        store_all(place, add_halves(sub_halves(mul_halves(x0, four), mul_halves(x2, five)), x4))
        near, far = mul_halves(add_halves(x1, x2), four), add_halves(x3, x4)
        store_all(place + part, sub_halves(far, near))
        near, far = mul_halves(sub_halves(x1, x2), four), sub_halves(x4, x3)
        store_all(place + 2 * part, add_halves(far, near))
        even, odd = sub_halves(x4, x2), mul_halves(sub_halves(x3, x1), two)
        store_all(place + 3 * part, add_halves(even, odd))
        store_all(place + 4 * part, sub_halves(even, odd))
        store_all(place + 5 * part, add_halves(sub_halves(mul_halves(x1, four), mul_halves(x3, five)), x5))
        x0, x1 = x4, x5


@inline
def transform_g_6(
    first: Int, second: Int, both: Int, width: Int, channels: Int, shift: Int, limit: Int, quads: Int, target: Int,
    step: Int, part: Int,
) -> None:  # fmt: skip
    """`transform_g` of four gradients side by side, narrowed: their six sums of F(3, 4); missing ones are 0."""
    on, other = lanes(16), lanes(16 * both)
    two, four, eight = splat_halves(2), splat_halves(4), splat_halves(8)
    for quad in range(quads):
        g0 = _g_at(4 * quad, first, second, on, other, width, channels, shift, limit)
        g1 = _g_at(4 * quad + 1, first, second, on, other, width, channels, shift, limit)
        g2 = _g_at(4 * quad + 2, first, second, on, other, width, channels, shift, limit)
        g3 = _g_at(4 * quad + 3, first, second, on, other, width, channels, shift, limit)
        place = target + step * quad
        even, odd = add_halves(g0, g2), add_halves(g1, g3)
        store_all(place, g0)
        store_all(place + part, add_halves(even, odd))
        store_all(place + 2 * part, sub_halves(even, odd))
        even = add_halves(g0, mul_halves(g2, four))
        odd = add_halves(mul_halves(g1, two), mul_halves(g3, eight))
        store_all(place + 3 * part, add_halves(even, odd))
        store_all(place + 4 * part, sub_halves(even, odd))
        store_all(place + 5 * part, g3)
