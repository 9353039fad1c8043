"""Learning-rate schedules: pure functions of the iteration and the total number of iterations.

Every rate is an integer in units of 2^-20 (specification, section 7), computed from rational numbers: floats of a
configuration count as the decimals they are written as, and the cosine is a Taylor series in integers, because the
last bit of `math.cos` differs between maths libraries. Every platform therefore trains with the same rates, the
float32 baseline included.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import floor

KINDS = ("step", "cosine", "linear", "constant")
RATE_FRACTION_BITS = 20
_COSINE_BITS = 62
_PI = 0x3243F6A8885A308D3  # floor(pi * 2^64): the first digits of pi in base 16


@dataclass(frozen=True)
class Schedule:
    """The shape of a schedule; the same shape serves the learning rate and the step of a sign update.

    With u = iteration / total, the rate is the base rate times

        step      drop_factor ^ (number of drops <= u)
        cosine    final + (1 - final) (1 + cos(pi u)) / 2
        linear    1 - (1 - final) u
        constant  1

    and, in the first `warmup` iterations, times (iteration + 1) / warmup. Drops are shares of the run, so they
    move with its length: E2-Train's drops at 32,000 and 48,000 of 64,000 iterations are 1/2 and 3/4.
    """

    kind: str = "step"
    drops: tuple[float, ...] = (0.5, 0.75)  #: for step: shares of the run, ascending
    drop_factor: float = 0.1  #: for step
    final: float = 0.0  #: for cosine and linear: the last rate / the base rate
    warmup: int = 0  #: iterations

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {self.kind!r}")
        if not all(0 < drop < 1 for drop in self.drops) or list(self.drops) != sorted(self.drops):
            raise ValueError(f"drops must be ascending shares of the run in (0, 1), got {self.drops}")
        if not 0 < self.drop_factor <= 1:
            raise ValueError(f"drop_factor must be in (0, 1], got {self.drop_factor}")
        if not 0 <= self.final <= 1:
            raise ValueError(f"final must be in [0, 1], got {self.final}")
        if self.warmup < 0:
            raise ValueError(f"warmup must be at least 0 iterations, got {self.warmup}")

    def share(self, iteration: int, total: int) -> Fraction:
        """Rate / base rate of an iteration in 0..total - 1."""
        if not 0 <= iteration < total:
            raise ValueError(f"iteration must be in [0, {total - 1}], got {iteration}")
        if self.kind == "step":
            passed = sum(iteration >= Fraction(str(drop)) * total for drop in self.drops)
            share = Fraction(str(self.drop_factor)) ** passed
        elif self.kind == "cosine":
            cosine = Fraction(cos_pi_q62(iteration, total), 1 << _COSINE_BITS)
            final = Fraction(str(self.final))
            share = final + (1 - final) * (1 + cosine) / 2
        elif self.kind == "linear":
            share = 1 - (1 - Fraction(str(self.final))) * Fraction(iteration, total)
        else:
            share = Fraction(1)
        if iteration < self.warmup:
            share *= Fraction(iteration + 1, self.warmup)
        return share

    def rate_q20(self, base_rate: float, iteration: int, total: int) -> int:
        """The rate of an iteration in units of 2^-20, ties up."""
        exact = Fraction(str(base_rate)) * self.share(iteration, total)
        return floor(exact * (1 << RATE_FRACTION_BITS) + Fraction(1, 2))

    def rate(self, base_rate: float, iteration: int, total: int) -> float:
        """`rate_q20` as a number: a multiple of 2^-20, which a float holds exactly."""
        return self.rate_q20(base_rate, iteration, total) / (1 << RATE_FRACTION_BITS)


def cos_pi_q62(numerator: int, denominator: int) -> int:
    """cos(pi * numerator / denominator) in units of 2^-62, for 0 <= numerator <= denominator, by integers alone.

    The Taylor series of the cosine, or of the sine of the complement, on [0, pi/4], in units of 2^-80; its error
    is far below 2^-62.
    """
    if not 0 <= numerator <= denominator or not denominator:
        raise ValueError(f"numerator must be in [0, {denominator}], got {numerator}")
    if 2 * numerator > denominator:
        return -cos_pi_q62(denominator - numerator, denominator)
    sine = 4 * numerator > denominator  # cos x = sin(pi/2 - x)
    bits = 80
    # The angle in [0, pi/4], first exactly as a share of pi.
    share = (denominator - 2 * numerator, 2 * denominator) if sine else (numerator, denominator)
    x = (_PI * share[0] << (bits - 64)) // share[1]
    square = x * x >> bits
    term = x if sine else 1 << bits
    total, k = 0, 1 if sine else 0
    while term:
        total += term
        # Truncation toward zero, so that the terms end at 0 whatever their sign.
        magnitude = (abs(term) * square >> bits) // ((k + 1) * (k + 2))
        term = -magnitude if term > 0 else magnitude
        k += 2
    return (total + (1 << (bits - _COSINE_BITS - 1))) >> (bits - _COSINE_BITS)
