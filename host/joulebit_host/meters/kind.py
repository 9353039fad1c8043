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
class Range:
    """An option that sets a fixed measuring range on the meter.

    Attributes:
        option: its name.
        quantity: the reading that it bounds, voltage_v or current_a, in the option's unit.
        values: allowed values of the meter with this identity, in any order; of the family where the identity ("",
            say, before it is opened) tells no model. The largest of the family must be one that all models have.
        source: data sheet.
    """

    option: str
    quantity: str
    values: Callable[[str], tuple[float, ...]]
    source: str


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
        ranges: options that set fixed ranges; none where a meter ranges by itself, or cannot be told.
    """

    name: str
    title: str
    address: str
    options: type
    decoder: Callable[[Any], Decoder]
    open: Callable[[str, Any], Meter]
    ranges: tuple[Range, ...] = ()
