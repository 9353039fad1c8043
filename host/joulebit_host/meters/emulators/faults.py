"""Faults on demand: how often, or when and how long."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field

from joulebit.errors import JoulebitError, did_you_mean

FAULTS = {
    "corrupt": "one bit of a frame is flipped",
    "garble": "several bytes of a frame are replaced, lost or inserted",
    "drop": "a frame is not sent",
    "cut": "only the beginning of a frame is sent",
    "overrange": "the input exceeds the meter's range",
    "nan": "the meter has no value",
    "stall": "the meter is silent",
    "unplug": "the port vanishes and comes back",
}


@dataclass(frozen=True)
class Span:
    """A fault from start_s (seconds since the emulator's start) for length_s."""

    name: str
    start_s: float
    length_s: float


@dataclass(frozen=True)
class FaultPlan:
    """Which faults happen.

    Attributes:
        rates: fault -> share of the frames that suffer it, at random.
        spans: faults at set times.
    """

    rates: dict[str, float] = field(default_factory=dict)
    spans: tuple[Span, ...] = ()

    def __post_init__(self) -> None:
        for name in (*self.rates, *(span.name for span in self.spans)):
            if name not in FAULTS:
                raise JoulebitError(
                    f"unknown fault {name!r}{did_you_mean(name, FAULTS)}; known: {', '.join(FAULTS)}"
                )
        if "unplug" in self.rates or "stall" in self.rates:
            raise JoulebitError("unplug and stall need a time: unplug@30+5 (after 30 s, for 5 s)")
        for name, rate in self.rates.items():
            if not 0 <= rate <= 1:
                raise JoulebitError(f"the rate of {name} must be in [0, 1], got {rate:g}")

    @classmethod
    def parse(cls, texts: Iterable[str]) -> FaultPlan:
        """From `corrupt=0.01` (rate) and `unplug@30+5` (start and length in seconds); the length is 1 s if not
        given.
        """
        rates, spans = {}, []
        for text in texts:
            try:
                if "@" in text:
                    name, _, when = text.partition("@")
                    start, _, length = when.partition("+")
                    spans.append(Span(name, float(start), float(length or 1.0)))
                else:
                    name, _, rate = text.partition("=")
                    rates[name] = float(rate)
            except ValueError:
                raise JoulebitError(
                    f"a fault is NAME=RATE or NAME@START+SECONDS, got {text!r}; names: {', '.join(FAULTS)}"
                ) from None
        return cls(rates, tuple(spans))

    def during(self, name: str, t_s: float) -> Span | None:
        """The span of this fault that covers this time."""
        return next((s for s in self.spans if s.name == name and s.start_s <= t_s < s.start_s + s.length_s), None)

    def strikes(self, name: str, t_s: float, chance: random.Random) -> bool:
        """Whether this frame suffers this fault."""
        rate = self.rates.get(name, 0.0)
        return bool(rate and chance.random() < rate) or self.during(name, t_s) is not None


def flip_bit(frame: bytes, chance: random.Random) -> bytes:
    """The frame with one bit changed."""
    damaged = bytearray(frame)
    damaged[chance.randrange(len(frame))] ^= 1 << chance.randrange(8)
    return bytes(damaged)


def garble(frame: bytes, chance: random.Random) -> bytes:
    """The frame with one to eight bytes replaced, lost, inserted or repeated."""
    damaged = bytearray(frame)
    for _ in range(chance.randint(1, 8)):
        at = chance.randrange(len(damaged) + 1)
        what = chance.randrange(4)
        if what == 0:
            damaged[at : at + 1] = bytes([chance.randrange(256)])
        elif what == 1:
            del damaged[at : at + 1]
        elif what == 2:
            damaged[at:at] = bytes([chance.randrange(256)])
        else:
            damaged[at:at] = damaged[max(0, at - 4) : at]
    return bytes(damaged)
