"""Values with an uncertainty budget (JCGM 100:2008, the GUM).

A `Quantity` is a value and a list of terms: how much one standard uncertainty of an independent source
changes it, with its sign. Correlation needs no further treatment (GUM F.1.2.4): quantities that share a
source (the gain of one meter, the idle power of one session) name the same source, and `linear` adds the
signed terms of a source before anything is squared. So a meter's offset cancels in net = gross - idle *
seconds, and its gain in a ratio.

    u^2 = sum over sources of (sum of the signed terms of that source)^2        GUM 5.1.2, and 5.2.2 with r = 1

**Expanded uncertainty.** Users expect k = 2, which stands for 95.45 % if the sum is normal. That is not so when
one limit from a data sheet, half-width a, is most of it: u = a / sqrt(3) (GUM 4.3.7), and 2 u = 1.15 a would
always hold, which is more than is meant. GUM G.1.3 and G.6.4 want the level of confidence; JCGM 101:2008 gets it
from the distributions themselves. So here: `expanded` is the half-width that holds 95.45 % of the convolution of
the terms' distributions, and `coverage_factor` is expanded / u: 2 for a normal sum, 1.65 for one rectangular
term, more than 2 where a variance was estimated from few readings. Normal terms make one Student-t term whose
degrees of freedom come from the Welch-Satterthwaite formula (GUM G.4.1). Wherever "k = 2" is written, this
half-width is meant, and the factor stands beside it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from joulebit.errors import JoulebitError
from joulebit_host.session.window import Floats

if TYPE_CHECKING:
    from rich.table import Table

PROBABILITY = math.erf(math.sqrt(2))  #: 0.9545: of k = 2 for a normal distribution
NORMAL, RECTANGULAR = "normal", "rectangular"
_SQRT3 = math.sqrt(3.0)


@dataclass(frozen=True)
class Term:
    """What one independent source adds.

    Attributes:
        source: which; equal names are the same source, fully correlated.
        name: for people.
        u: change of the value by one standard uncertainty of the source, signed, in the value's unit.
        shape: "normal" or "rectangular".
        dof: degrees of freedom of a normal term whose variance was estimated; infinity if it is known.
        pool: terms of one pool take their variance from the same estimate; "" is a pool of its own.
    """

    source: str
    name: str
    u: float
    shape: str = NORMAL
    dof: float = math.inf
    pool: str = ""


def limits(source: str, name: str, half_width: float) -> Term:
    """A term that lies within +-half_width, all values being as likely (GUM 4.3.7); the sign counts."""
    return Term(source, name, half_width / _SQRT3, RECTANGULAR)


@dataclass(frozen=True)
class Quantity:
    """A value with its budget.

    Attributes:
        value: in `unit`.
        unit: "J", "W", "s" or "" (ratios).
        terms: one per source.
    """

    value: float
    unit: str
    terms: tuple[Term, ...] = ()

    @property
    def u(self) -> float:
        """Combined standard uncertainty."""
        return math.sqrt(sum(term.u**2 for term in self.terms))

    @property
    def coverage_factor(self) -> float:
        """expanded / u."""
        return coverage_factor(tuple((abs(t.u), t.shape, t.dof, t.pool or t.source) for t in self.terms))

    @property
    def expanded(self) -> float:
        """Half-width of the interval that holds the true value with 95.45 % (see the module)."""
        return self.coverage_factor * self.u

    @property
    def interval(self) -> tuple[float, float]:
        """value -+ expanded."""
        half = self.expanded
        return self.value - half, self.value + half

    def scaled(self, factor: float, unit: str) -> Quantity:
        """factor * this, in another unit."""
        return linear([(factor, self)], unit)

    def table(self, title: str = "") -> Table:
        """The budget as a person reads it, largest term first."""
        from rich.table import Table

        table = Table(title=title or None, title_justify="left")
        for heading, justify in (("source", "left"), ("distribution", "left"), ("dof", "right")):
            table.add_column(heading, justify="left" if justify == "left" else "right")
        table.add_column(f"u ({self.unit or '1'})", justify="right")
        table.add_column("share of u^2", justify="right")
        total = self.u
        for term in sorted(self.terms, key=lambda term: -abs(term.u)):
            share = (term.u / total) ** 2 if total else 0.0
            dof = "" if math.isinf(term.dof) else f"{term.dof:.0f}"
            table.add_row(term.name, term.shape, dof, f"{abs(term.u):.3g}", f"{100 * share:.1f} %")
        table.add_section()
        table.add_row("combined", "", "", f"{total:.3g}", "")
        table.add_row(f"expanded (k = {self.coverage_factor:.2f})", "", "", f"{self.expanded:.3g}", "")
        return table

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values; `from_json` gives the same quantity back."""
        return {
            "value": self.value,
            "unit": self.unit,
            "u": self.u,
            "k": self.coverage_factor,
            "u_k2": self.expanded,
            "budget": [
                {
                    "source": term.source,
                    "name": term.name,
                    "u": term.u,
                    "shape": term.shape,
                    "dof": None if math.isinf(term.dof) else term.dof,
                    "pool": term.pool,
                }
                for term in self.terms
            ],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Quantity:
        """What `as_json` wrote."""
        terms = tuple(
            Term(
                t["source"],
                t["name"],
                t["u"],
                t["shape"],
                math.inf if t["dof"] is None else t["dof"],
                t["pool"],
            )
            for t in data["budget"]
        )
        return cls(data["value"], data["unit"], terms)


def linear(parts: Iterable[tuple[float, Quantity]], unit: str) -> Quantity:
    """Sum of factor * quantity; terms of one source add with their signs (GUM F.1.2.4)."""
    value = 0.0
    merged: dict[str, Term] = {}
    for factor, quantity in parts:
        value += factor * quantity.value
        for term in quantity.terms:
            before = merged.get(term.source)
            u = factor * term.u + (before.u if before else 0.0)
            merged[term.source] = replace(term, u=u)
    return Quantity(value, unit, tuple(merged.values()))


def difference(a: Quantity, b: Quantity) -> Quantity:
    """a - b."""
    _same_unit(a, b)
    return linear([(1.0, a), (-1.0, b)], a.unit)


def ratio(a: Quantity, b: Quantity) -> Quantity:
    """a / b, to first order (GUM 5.1.6); refused where b's interval holds 0."""
    _same_unit(a, b)
    if abs(b.value) <= b.expanded:
        raise JoulebitError(
            f"no ratio can be formed: the denominator {b.value:.4g} {b.unit} is not resolved from 0 "
            f"(its k = 2 uncertainty is {b.expanded:.4g} {b.unit})"
        )
    quotient = a.value / b.value
    slope = linear([(1 / b.value, a), (-quotient / b.value, b)], "")
    return Quantity(quotient, "", slope.terms)


@dataclass(frozen=True)
class Comparison:
    """Whether one result is less than another.

    Attributes:
        verdict: "less", "more", or "not resolved".
        difference: a - b.
        ratio: a / b; None where b is not resolved from 0.
        sentence: for people.
    """

    verdict: str
    difference: Quantity
    ratio: Quantity | None
    sentence: str

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "verdict": self.verdict,
            "difference": self.difference.as_json(),
            "ratio": None if self.ratio is None else self.ratio.as_json(),
            "sentence": self.sentence,
        }


def compare(a: Quantity, b: Quantity, a_name: str = "A", b_name: str = "B") -> Comparison:
    """Compares; the claim that one is less is refused where 0 lies in the difference's k = 2 interval."""
    gap = difference(a, b)
    resolvable = gap.expanded
    quotient = ratio(a, b) if abs(b.value) > b.expanded else None
    size = f"{abs(gap.value):.4g} {gap.unit}"
    if abs(gap.value) <= resolvable:
        sentence = (
            f"refused: {a_name} and {b_name} differ by {size}, less than the {resolvable:.4g} {gap.unit} "
            "that can be resolved (k = 2)"
        )
        return Comparison("not resolved", gap, quotient, sentence)
    verdict = "less" if gap.value < 0 else "more"
    share = "" if quotient is None else f"; ratio {quotient.value:.4f} +- {quotient.expanded:.4f}"
    sentence = f"{a_name} uses {size} {verdict} than {b_name}, +- {resolvable:.2g} {gap.unit} (k = 2){share}"
    return Comparison(verdict, gap, quotient, sentence)


def _same_unit(a: Quantity, b: Quantity) -> None:
    if a.unit != b.unit:
        raise ValueError(f"quantities of different units cannot be compared: {a.unit!r} and {b.unit!r}")


@lru_cache(maxsize=1024)
def student_factor(dof: float, probability: float = PROBABILITY) -> float:
    """t with P(|T| <= t) = probability, for Student's distribution (GUM table G.2).

    With t = sqrt(dof) tan(a): P = c * integral of cos(x)^(dof - 1) from 0 to a, by Gauss-Legendre quadrature.
    """
    if not dof > 0:
        raise ValueError(f"degrees of freedom must be positive, got {dof}")
    if dof > 1e5:
        return _normal_factor(probability)
    nodes, weights = _quadrature()
    constant = 2 / math.sqrt(math.pi) * math.exp(math.lgamma((dof + 1) / 2) - math.lgamma(dof / 2))
    low, high = 0.0, math.pi / 2

    for _ in range(80):
        middle = (low + high) / 2
        x = middle * (nodes + 1) / 2
        if constant * middle / 2 * float(np.sum(weights * np.cos(x) ** (dof - 1))) < probability:
            low = middle
        else:
            high = middle
    return math.sqrt(dof) * math.tan(low)


@lru_cache(maxsize=1)
def _quadrature() -> tuple[Floats, Floats]:
    nodes, weights = np.polynomial.legendre.leggauss(200)
    return np.asarray(nodes), np.asarray(weights)


@lru_cache(maxsize=16)
def _normal_factor(probability: float) -> float:
    low, high = 0.0, 40.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if math.erf(middle / math.sqrt(2)) < probability else (low, middle)
    return low


_SMALL = 0.04  #: rectangular terms below this share of u count as normal


@lru_cache(maxsize=4096)
def coverage_factor(terms: tuple[tuple[float, str, float, str], ...], probability: float = PROBABILITY) -> float:
    """Half-width of the symmetric interval with this probability, in combined standard uncertainties.

    Args:
        terms: (u, shape, dof, pool) of independent terms, none negative.
        probability: to be held.

    The densities are convolved on a grid (JCGM 101:2008, 5.4.4, with a convolution in the place of random draws).
    """
    total = math.sqrt(sum(u * u for u, *_ in terms))
    if total == 0:
        return _normal_factor(probability)
    pools: dict[tuple[str, float], float] = {}
    rectangles: list[float] = []
    for u, shape, dof, pool in terms:
        if shape == RECTANGULAR and u > _SMALL * total:
            rectangles.append(u / total)
        else:
            key = (pool, dof if shape == NORMAL else math.inf)
            pools[key] = pools.get(key, 0.0) + (u / total) ** 2
    variance = sum(pools.values())
    doubt = sum(v * v / dof for (_, dof), v in pools.items())
    dof = variance**2 / doubt if doubt > 0 else math.inf
    if not rectangles:
        return student_factor(dof, probability)
    if len(rectangles) == 1 and variance < 1e-6:
        return _SQRT3 * probability
    # Few degrees of freedom have long tails; otherwise the grid can be fine.
    step, span = (0.02, 16.0) if dof > 6 else (0.04, 60.0)
    count = round(span / step)
    x = np.arange(-count, count + 1, dtype=np.float64) * step
    densities = [_rectangle(x, step, u) for u in rectangles]
    if variance > 0:
        densities.append(_student(x, math.sqrt(variance), dof))
    size = 1 << (2 * count * len(densities)).bit_length()
    spectrum = np.fft.rfft(densities[0], size)
    for density in densities[1:]:
        spectrum = spectrum * np.fft.rfft(density, size)
    mass = np.fft.irfft(spectrum, size)
    centre = len(densities) * count
    # Mass within +-q: the middle bin, then pairs of bins.
    pairs = mass[centre + 1 : centre + count] + mass[centre - 1 : centre - count : -1]
    within = mass[centre] + np.concatenate(([0.0], np.cumsum(pairs)))
    return float(np.interp(probability, within, (np.arange(len(within)) + 0.5) * step))


def _rectangle(x: Floats, step: float, u: float) -> Floats:
    """Probabilities of the grid's bins for a rectangular term, (n,); together 1."""
    a = _SQRT3 * u
    return np.asarray(np.clip(x + step / 2, -a, a) - np.clip(x - step / 2, -a, a)) / (2 * a)


def _student(x: Floats, u: float, dof: float) -> Floats:
    """Probabilities of the grid's bins for u times Student's variable, (n,); together 1."""
    z2 = (x / u) ** 2
    mass = np.exp(-z2 / 2) if dof > 1e5 else (1 + z2 / dof) ** (-(dof + 1) / 2)
    return np.asarray(mass / mass.sum())


@dataclass(frozen=True)
class Repeats:
    """Statistics over repeats of one measurement.

    Attributes:
        mean, median: of the repeats that were kept.
        half_width: of Student's interval for the mean, 95.45 %.
        stdev: of one repeat.
        kept, excluded: indices.
        rule: the rule for outliers that was declared before.
    """

    mean: float
    median: float
    half_width: float
    stdev: float
    kept: tuple[int, ...]
    excluded: tuple[int, ...]
    rule: str

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "mean": self.mean,
            "median": self.median,
            "u_k2": self.half_width,
            "stdev": self.stdev,
            "kept": list(self.kept),
            "excluded": list(self.excluded),
            "rule": self.rule,
        }


OUTLIER_RULES = ("none", "olympic", "mad")


def repeats(values: Sequence[float], rule: str = "none") -> Repeats:
    """Mean with Student's interval and median; GUM 4.2.2, 4.2.3, G.3.2.

    Args:
        values: at least 2 after exclusion.
        rule: declared before the measurement. "none"; "olympic": the smallest and the largest are left out (MLPerf
            Training); "mad": those whose modified z-score 0.6745 |x - median| / MAD exceeds 3.5 (B. Iglewicz and
            D. Hoaglin, How to Detect and Handle Outliers, 1993).
    """
    if rule not in OUTLIER_RULES:
        raise JoulebitError(f"the rule for outliers must be one of {', '.join(OUTLIER_RULES)}, got {rule!r}")
    x = np.asarray(values, dtype=np.float64)
    keep = np.ones(len(x), dtype=np.bool_)
    if rule == "olympic" and len(x):
        order = np.argsort(x, kind="stable")
        keep[order[0]] = keep[order[-1]] = False
    elif rule == "mad" and len(x):
        distance = np.abs(x - np.median(x))
        scale = float(np.median(distance))
        if scale > 0:
            keep = 0.6745 * distance / scale <= 3.5
    kept = x[keep]
    if len(kept) < 2:
        raise JoulebitError(f"statistics need at least 2 repeats, {len(kept)} are left of {len(x)} (rule {rule})")
    stdev = float(kept.std(ddof=1))
    half_width = student_factor(len(kept) - 1) * stdev / math.sqrt(len(kept))
    return Repeats(
        float(kept.mean()),
        float(np.median(kept)),
        half_width,
        stdev,
        tuple(map(int, np.flatnonzero(keep))),
        tuple(map(int, np.flatnonzero(~keep))),
        rule,
    )
