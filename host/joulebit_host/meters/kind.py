"""What the registry knows about each meter, and what a meter's options tell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from joulebit_host.meters.base import Accuracy, Decoder, Meter, Reading


class Options(Protocol):
    """What every options class (a frozen dataclass, see `options`) can say about its meter."""

    def reading(self) -> Reading:
        """What its power values stand for."""
        ...

    def accuracy(self) -> Accuracy:
        """Its error limits with these options."""
        ...

    def interval(self) -> float:
        """Nominal seconds between samples."""
        ...


@dataclass(frozen=True)
class Kind:
    """One kind of meter.

    Attributes:
        name: in specifications and recordings.
        title: for people.
        address: what stands after the colon, for people; "" if nothing may.
        options: its options class.
        decoder: makes a decoder from options.
        open: opens the meter at an address with options.
    """

    name: str
    title: str
    address: str
    options: type
    decoder: Callable[[Any], Decoder]
    open: Callable[[str, Any], Meter]
