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
from joulebit.kernels.scalar import Int
from joulebit.kernels.vector import (
    add_halves,
    larger_halves,
    load_all,
    mul_halves,
    smaller_halves,
    splat_halves,
    store_all,
    sub_halves,
    zeros,
)

PART = 16_383  #: the largest |dz| whose sums of two fit 16 bits


@inline
def transform_x(image: Int, pitch: Int, rows: Int, couples: Int, size: Int, target: Int) -> None:
    """Of four inputs side by side from every second on: x0 - x2, x1 + x2, x2 - x1, x3 - x1, in pairs of images.

    Pixels have `size` bytes, a multiple of 64.
    """
    plane = couples * size
    for i in range(rows):
        for c in range(0, size, 64):
            source, place = image + i * pitch + c, target + i * 4 * plane + c
            x0, x1 = load_all(source), load_all(source + size)
            for _ in range(couples):
                source += 2 * size
                x2, x3 = load_all(source), load_all(source + size)
                store_all(place, sub_halves(x0, x2))
                store_all(place + plane, add_halves(x1, x2))
                store_all(place + 2 * plane, sub_halves(x2, x1))
                store_all(place + 3 * plane, sub_halves(x3, x1))
                x0, x1 = x2, x3
                place += size


@inline
def transform_g(
    image: Int, rows: Int, columns: Int, couples: Int, size: Int, turn: Int, clamped: Int, target: Int
) -> None:
    """Of two gradients side by side: g0, g0 + g1, g0 - g1, g1, in pairs of images; a last single one meets 0.

    clamped: whether the gradients are taken in parts, since sums of two must fit 16 bits. turn: in which, 0 for
    the first PART of each, 1 for the next, ...
    """
    low, high = splat_halves(-PART), splat_halves(PART)
    before_low, before_high = splat_halves(-PART * turn), splat_halves(PART * turn)
    plane = couples * size
    for i in range(rows):
        for c in range(0, size, 64):
            source, place = image + i * columns * size + c, target + i * 4 * plane + c
            for couple in range(couples):
                g0 = load_all(source)
                g1 = zeros()
                if 2 * couple + 1 < columns:
                    g1 = load_all(source + size)
                if turn > 0:
                    g0 = sub_halves(g0, smaller_halves(larger_halves(g0, before_low), before_high))
                    g1 = sub_halves(g1, smaller_halves(larger_halves(g1, before_low), before_high))
                if clamped:
                    g0 = smaller_halves(larger_halves(g0, low), high)
                    g1 = smaller_halves(larger_halves(g1, low), high)
                store_all(place, g0)
                store_all(place + plane, add_halves(g0, g1))
                store_all(place + 2 * plane, sub_halves(g0, g1))
                store_all(place + 3 * plane, g1)
                source += 2 * size
                place += size


@inline
def transform_x_6(image: Int, pitch: Int, rows: Int, quads: Int, size: Int, target: Int) -> None:
    """Of six inputs side by side from every fourth on: their six sums of the minimal filtering F(3, 4)."""
    plane = quads * size
    two, four, five = splat_halves(2), splat_halves(4), splat_halves(5)
    for i in range(rows):
        for c in range(0, size, 64):
            source, place = image + i * pitch + c, target + i * 6 * plane + c
            x0, x1 = load_all(source), load_all(source + size)
            for _ in range(quads):
                x2, x3 = load_all(source + 2 * size), load_all(source + 3 * size)
                source += 4 * size
                x4, x5 = load_all(source), load_all(source + size)
                store_all(place, add_halves(sub_halves(mul_halves(x0, four), mul_halves(x2, five)), x4))
                near, far = mul_halves(add_halves(x1, x2), four), add_halves(x3, x4)
                store_all(place + plane, sub_halves(far, near))
                near, far = mul_halves(sub_halves(x1, x2), four), sub_halves(x4, x3)
                store_all(place + 2 * plane, add_halves(far, near))
                even, odd = sub_halves(x4, x2), mul_halves(sub_halves(x3, x1), two)
                store_all(place + 3 * plane, add_halves(even, odd))
                store_all(place + 4 * plane, sub_halves(even, odd))
                store_all(
                    place + 5 * plane, add_halves(sub_halves(mul_halves(x1, four), mul_halves(x3, five)), x5)
                )
                x0, x1 = x4, x5
                place += size


@inline
def transform_g_6(image: Int, rows: Int, columns: Int, quads: Int, size: Int, target: Int) -> None:
    """Of four gradients side by side: their six sums of the minimal filtering F(3, 4); missing ones are 0."""
    plane = quads * size
    two, four, eight = splat_halves(2), splat_halves(4), splat_halves(8)
    for i in range(rows):
        for c in range(0, size, 64):
            source, place = image + i * columns * size + c, target + i * 6 * plane + c
            for quad in range(quads):
                g0 = load_all(source)
                g1, g2, g3 = zeros(), zeros(), zeros()
                if 4 * quad + 1 < columns:
                    g1 = load_all(source + size)
                if 4 * quad + 2 < columns:
                    g2 = load_all(source + 2 * size)
                if 4 * quad + 3 < columns:
                    g3 = load_all(source + 3 * size)
                even, odd = add_halves(g0, g2), add_halves(g1, g3)
                store_all(place, g0)
                store_all(place + plane, add_halves(even, odd))
                store_all(place + 2 * plane, sub_halves(even, odd))
                even = add_halves(g0, mul_halves(g2, four))
                odd = add_halves(mul_halves(g1, two), mul_halves(g3, eight))
                store_all(place + 3 * plane, add_halves(even, odd))
                store_all(place + 4 * plane, sub_halves(even, odd))
                store_all(place + 5 * plane, g3)
                source += 4 * size
                place += size
