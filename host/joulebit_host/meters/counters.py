"""Counters of a meter that start again at zero: how many steps passed, or that nobody can know."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class ModularCounter:
    """A counter that runs modulo `modulus`, made monotone with the help of an independent estimate.

    The number of turns is chosen so that the steps since the last value come nearest to the steps expected (from
    another clock). They are accepted only if they are not negative and within `slack` of what was expected, and if
    `slack` is less than half a turn; otherwise the counter was reset, or turned an unknown number of times.

    Attributes:
        modulus: steps of one turn.
        raw: the last value as the meter gave it; None before the first.
        total: steps since the first value, turns included.
        wraps: turns in the last accepted advance.
    """

    modulus: int
    raw: int | None = None
    total: int = 0
    wraps: int = 0

    def start(self, raw: int) -> None:
        """Begins again at this value, which becomes the total."""
        self.raw, self.total, self.wraps = raw, raw, 0

    def advance(self, raw: int, expected: float, slack: float) -> int | None:
        """The steps since the last value, or None where they cannot be known; the state then stays as it was."""
        assert self.raw is not None, "start first"
        if slack >= self.modulus / 2:
            return None
        delta = (raw - self.raw) % self.modulus
        steps = delta + self.modulus * round((expected - delta) / self.modulus)
        if steps < 0 or abs(steps - expected) > slack:
            return None
        self.wraps = (self.raw + steps) // self.modulus
        self.raw, self.total = raw, self.total + steps
        return steps
