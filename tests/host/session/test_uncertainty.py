"""Budgets: coverage factors against Monte Carlo, correlation by shared sources, claims that are refused."""

import json
import math

import numpy as np
import pytest
from rich.console import Console
from scipy import stats

from joulebit.errors import JoulebitError
from joulebit_host.session.uncertainty import (
    NORMAL,
    PROBABILITY,
    RECTANGULAR,
    Quantity,
    Term,
    compare,
    coverage_factor,
    difference,
    limits,
    linear,
    ratio,
    repeats,
    student_factor,
)

INF = math.inf


@pytest.mark.parametrize("dof", [1, 2, 3.7, 9, 40, 1e4, 1e7])
def test_students_factor_is_that_of_scipy(dof: float) -> None:
    assert student_factor(dof) == pytest.approx(stats.t.ppf((1 + PROBABILITY) / 2, dof), rel=1e-6)


def test_a_normal_sum_has_the_factor_2_and_a_rectangle_its_share() -> None:
    assert coverage_factor(((1.0, NORMAL, INF, "a"), (0.3, NORMAL, INF, "b"))) == pytest.approx(2)
    assert coverage_factor(((0.7, RECTANGULAR, INF, "a"),)) == pytest.approx(math.sqrt(3) * PROBABILITY)
    assert coverage_factor(((1.0, NORMAL, 6, "a"),)) == pytest.approx(student_factor(6))


MIXTURES = [
    [(1.0, RECTANGULAR, INF), (1.0, RECTANGULAR, INF)],
    [(1.0, RECTANGULAR, INF), (0.2, NORMAL, INF)],
    [(1.0, RECTANGULAR, INF), (0.6, RECTANGULAR, INF), (0.5, NORMAL, 7)],
    [(1.0, NORMAL, 4), (0.4, RECTANGULAR, INF)],
    [(0.3, RECTANGULAR, INF)] * 5,
    [(1.0, NORMAL, 12), (0.03, RECTANGULAR, INF)],
]


@pytest.mark.parametrize("terms", MIXTURES)
def test_the_factor_holds_the_probability_in_random_draws(terms: list[tuple[float, str, float]]) -> None:
    random = np.random.default_rng(3)
    n = 400_000
    total = np.zeros(n)
    for u, shape, dof in terms:
        if shape == RECTANGULAR:
            total += u * math.sqrt(3) * random.uniform(-1, 1, n)
        else:
            total += u * (random.normal(size=n) if math.isinf(dof) else random.standard_t(dof, n))
    u = math.sqrt(sum(t[0] ** 2 for t in terms))
    k = coverage_factor(tuple((*term, str(i)) for i, term in enumerate(terms)))
    assert np.mean(np.abs(total) <= k * u) == pytest.approx(PROBABILITY, abs=0.0015)


def test_welch_satterthwaite_joins_normal_terms_and_pools() -> None:
    """GUM G.4.1; terms of one pool rest on one estimate and gain no degrees of freedom."""
    apart = coverage_factor(((1.0, NORMAL, 5, "a"), (1.0, NORMAL, 5, "b")))
    together = coverage_factor(((1.0, NORMAL, 5, "a"), (1.0, NORMAL, 5, "a")))
    assert apart == pytest.approx(student_factor(10))
    assert together == pytest.approx(student_factor(5))


def test_a_budget_is_the_sum_of_squares() -> None:
    q = Quantity(10.0, "J", (Term("a", "a", 0.3), Term("b", "b", -0.4)))
    assert q.u == pytest.approx(0.5)
    assert q.expanded == pytest.approx(1.0)
    assert q.interval == pytest.approx((9.0, 11.0))


def test_linear_combinations_match_random_draws_of_the_sources() -> None:
    random = np.random.default_rng(5)
    draws = {name: random.normal(size=300_000) for name in "abcd"}
    x = Quantity(5.0, "J", (Term("a", "a", 0.2), Term("b", "b", -0.5), Term("c", "c", 0.1)))
    y = Quantity(3.0, "J", (Term("a", "a", 0.3), Term("b", "b", 0.4), Term("d", "d", 0.2)))
    sampled = [q.value + sum(t.u * draws[t.source] for t in q.terms) for q in (x, y)]
    for factors in ((1.0, -1.0), (2.0, 3.0), (1.0, -0.7)):
        combined = linear(zip(factors, (x, y), strict=True), "J")
        assert combined.u == pytest.approx(np.std(factors[0] * sampled[0] + factors[1] * sampled[1]), rel=0.01)
    quotient = ratio(x, Quantity(30.0, "J", y.terms))
    assert quotient.u == pytest.approx(np.std(sampled[0] / (sampled[1] + 27)), rel=0.01)


def test_gain_cancels_in_a_ratio_and_shrinks_in_a_difference() -> None:
    a = Quantity(100.0, "J", (limits("gain of m", "gain", 1.0), Term("noise a", "noise", 0.01)))
    b = Quantity(90.0, "J", (limits("gain of m", "gain", 0.9), Term("noise b", "noise", 0.01)))
    assert ratio(a, b).expanded < 0.0005
    assert difference(a, b).u == pytest.approx(math.hypot(0.1 / math.sqrt(3), 0.01 * math.sqrt(2)))
    other = Quantity(90.0, "J", (limits("gain of another", "gain", 0.9),))
    assert difference(a, other).u > 0.7


def test_less_is_refused_below_what_can_be_resolved() -> None:
    a = Quantity(10.0, "J", (Term("a", "noise", 0.3),))
    b = Quantity(10.5, "J", (Term("b", "noise", 0.3),))
    found = compare(a, b, "PSG", "SGD")
    assert found.verdict == "not resolved"
    assert found.sentence.startswith("refused: PSG and SGD differ by 0.5 J")
    clear = compare(a, Quantity(12.0, "J", b.terms), "PSG", "SGD")
    assert clear.verdict == "less"
    assert "less than SGD" in clear.sentence
    assert compare(Quantity(12.0, "J", b.terms), a).verdict == "more"
    same = compare(a, a)
    assert same.verdict == "not resolved"


def test_a_ratio_to_nothing_is_refused() -> None:
    with pytest.raises(JoulebitError, match="not resolved from 0"):
        ratio(Quantity(1.0, "J"), Quantity(0.1, "J", (Term("n", "noise", 0.2),)))
    assert compare(Quantity(1.0, "J"), Quantity(0.1, "J", (Term("n", "noise", 0.2),))).ratio is None
    with pytest.raises(ValueError, match="units"):
        difference(Quantity(1.0, "J"), Quantity(1.0, "W"))


def test_a_budget_survives_json_and_can_be_read() -> None:
    q = Quantity(10.0, "J", (limits("g", "gain", 0.3), Term("n", "noise", -0.4, dof=7.0, pool="p")))
    assert Quantity.from_json(json.loads(json.dumps(q.as_json()))) == q
    assert q.as_json()["u_k2"] == q.expanded
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(q.table("window 0"))
    text = console.export_text()
    assert "gain" in text
    assert "noise" in text
    assert "expanded (k = 2.3" in text or "expanded (k = 2.2" in text


def test_repeats_have_students_interval_and_declared_exclusions() -> None:
    x = [10.0, 10.2, 9.9, 10.1, 10.05]
    found = repeats(x)
    expected = stats.t.interval(PROBABILITY, 4, loc=np.mean(x), scale=stats.sem(x))
    assert (found.mean - found.half_width, found.mean + found.half_width) == pytest.approx(expected)
    assert found.median == 10.05
    assert found.excluded == ()
    olympic = repeats([*x, 50.0], "olympic")
    assert olympic.excluded == (2, 5)
    mad = repeats([*x, 50.0], "mad")
    assert mad.excluded == (5,)
    assert repeats([1.0, 1.0, 1.0, 9.0], "mad").excluded == ()  # MAD 0 tells nothing
    with pytest.raises(JoulebitError, match="at least 2"):
        repeats([1.0, 2.0, 3.0], "olympic")
    with pytest.raises(JoulebitError, match="rule for outliers"):
        repeats(x, "whatever fits")
