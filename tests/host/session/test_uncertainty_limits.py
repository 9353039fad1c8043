"""Coverage factors against closed forms, and what statistics over repeats leave out."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from joulebit_host.session.uncertainty import NORMAL, PROBABILITY, RECTANGULAR, coverage_factor, repeats

SQRT3 = math.sqrt(3)


def normal(t: float) -> float:
    return 0.5 + 0.5 * math.erf(t / math.sqrt(2))


def student(dof: float) -> Callable[[float], float]:
    """The distribution function for 2 or 4 degrees of freedom, or the normal one."""
    if dof == 2:
        return lambda t: 0.5 + t / (2 * math.sqrt(2 + t * t))
    if dof == 4:
        return lambda t: 0.5 + 0.375 * t / math.sqrt(1 + t * t / 4) * (1 - t * t / (12 + 3 * t * t))
    return normal


def held(half_width: float, share: float, dof: float) -> float:
    """Probability of +-half_width for a rectangular term of this share of u^2 = 1 and one of `dof` degrees.

    The mean over the rectangle of what the other distribution holds: by Gauss-Legendre quadrature.
    """
    nodes, weights = np.polynomial.legendre.leggauss(400)
    a, u, cumulative = SQRT3 * math.sqrt(share), math.sqrt(1 - share), student(dof)
    inside = [cumulative((half_width - a * x) / u) - cumulative((-half_width - a * x) / u) for x in nodes]
    return float(np.dot(weights, inside)) / 2


@pytest.mark.parametrize("dof", [2, 4, math.inf])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.991])
def test_a_rectangular_and_another_term_hold_what_is_promised(share: float, dof: float) -> None:
    terms = ((math.sqrt(share), RECTANGULAR, math.inf, "a"), (math.sqrt(1 - share), NORMAL, dof, "b"))
    assert held(coverage_factor(terms), share, dof) == pytest.approx(PROBABILITY, abs=6e-4)


def test_an_outlier_is_what_lies_beyond_three_and_a_half_modified_deviations() -> None:
    inner = [10.0, 9.0, 11.0, 9.0, 11.0]  # median 10, median distance 1: 3.5 / 0.6745 = 5.19 is the limit
    assert repeats([*inner, 10.0, 15.1], "mad").excluded == ()
    assert repeats([*inner, 10.0, 15.2], "mad").excluded == (6,)
    assert repeats([*inner, 10.0, 4.8], "mad").excluded == (6,)


def test_the_interval_is_that_of_the_repeats_that_were_kept() -> None:
    kept = [1.0, 2.0, 4.0]
    outer = repeats([0.0, *kept, 9.0], "olympic")
    alone = repeats(kept)
    assert outer.excluded == (0, 4)
    assert (outer.mean, outer.stdev, outer.half_width) == (alone.mean, alone.stdev, alone.half_width)
    # t for 2 degrees of freedom and 95.45 % (GUM table G.2): 4.53; s = 1.5275
    assert alone.half_width == pytest.approx(4.53 * 1.5275 / math.sqrt(3), rel=1e-3)
