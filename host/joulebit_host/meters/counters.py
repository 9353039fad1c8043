"""Counters of a meter: how many steps passed, or that nobody can know."""

from __future__ import annotations

import enum
from collections.abc import Hashable
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


class Step(enum.Enum):
    """What a new value of an `Accumulator` is to the last one."""

    FOLLOWS = "follows"  #: it may come after the last one
    DOUBTFUL = "doubtful"  #: it may not: damage, or a break that the next value will confirm
    BROKEN = "broken"  #: it confirms a break: counting begins again here


class Accumulator:
    """A counter that only rises, and not faster than the meter's largest input makes it.

    A single value that does not follow is not believed: it may be damaged. A second one that follows from the
    first doubtful one is: the counter was reset, or another one was chosen.
    """

    def __init__(self, most_per_s: float, slack: float) -> None:
        """most_per_s: fastest rise; slack: what it may rise beyond that (steps, delays)."""
        self.most_per_s = most_per_s
        self.slack = slack
        self.total = 0  #: counted since the first value, or since the last break
        self._base = 0
        self._last: tuple[int, float, Hashable] | None = None
        self._doubtful: tuple[int, float, Hashable] | None = None

    def take(self, value: int, t_s: float, which: Hashable = None) -> Step:
        """Takes the value read at this time; `which` tells apart the counters of one meter."""
        new = (value, t_s, which)
        if self._last is None:
            self._base = value
            step = Step.FOLLOWS
        elif self._may_follow(self._last, new):
            step = Step.FOLLOWS
        elif self._doubtful is not None and self._may_follow(self._doubtful, new):
            self._base = value
            step = Step.BROKEN
        else:
            self._doubtful = new
            return Step.DOUBTFUL
        self._last, self._doubtful = new, None
        self.total = value - self._base
        return step

    def _may_follow(self, before: tuple[int, float, Hashable], new: tuple[int, float, Hashable]) -> bool:
        rise = new[0] - before[0]
        return before[2] == new[2] and 0 <= rise <= self.slack + self.most_per_s * max(0.0, new[1] - before[1])
