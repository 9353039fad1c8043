"""Tensors with an exponent, and how exponents are chosen while a network trains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar

from joulebit.engine.base import Array
from joulebit.fixed.rounding import bit_length
from joulebit.nn.workers import Share, Totals

MAX_RANGE_LOG2 = 6
_UNSET = -(1 << 31)
_ALONE = Totals()


class Tensor(NamedTuple):
    """data * 2^exponent; for an activation also where its gradient passes (spec, section 5)."""

    data: Array
    exponent: int
    masked: bool = False  #: after a ReLU: the gradient passes where data > 0
    mask_below: int = 0  #: after a ReLU6: and where data < mask_below
    share: Share | None = None  #: of the samples in data; None: they are all there are

    @property
    def mask(self) -> Array | None:
        return self.data if self.masked else None

    @property
    def samples(self) -> int:
        """Samples of all workers."""
        return self.share.total if self.share else int(self.data.shape[0])

    @property
    def before(self) -> int:
        """Samples of workers of lower rank."""
        return self.share.before if self.share else 0


class _HasPeak(Protocol):
    @property
    def peak(self) -> int: ...


Result = TypeVar("Result", bound=_HasPeak)


@dataclass
class DelayedExponent:
    """The exponent of a requantised tensor follows the previous step's peak (spec, section 3)."""

    width: int  #: bits of the quantised tensor
    position: int | None = None  #: b of the specification; None before the first use

    def quantise(
        self, exponent: int, compute: Callable[[int], Result], totals: Totals = _ALONE
    ) -> tuple[Result, int]:
        """(compute(shift), its exponent). compute requantises values of the given exponent by a shift.

        The peak is that of all workers: needed at once at the first use, else for the next step alone.
        """
        if self.position is None:
            result = compute(0)
            peak = totals.largest(result.peak)
            if peak == 0:
                return result, exponent
            shift = self._shift(bit_length(peak) + exponent - 1, exponent)
            if shift:
                result = compute(shift)
            self._follow(peak, exponent, shift)
        else:
            shift = self._shift(self.position, exponent)
            result = compute(shift)
            totals.later_peak(result.peak, lambda peak: self._follow(peak, exponent, shift))
        return result, exponent + shift

    def _follow(self, peak: int, exponent: int, shift: int) -> None:
        rounded = (peak + ((1 << shift) >> 1)) >> shift
        if rounded > 0:
            self.position = bit_length(rounded) + exponent + shift

    def _shift(self, position: int, exponent: int) -> int:
        return max(0, position + 1 - (self.width - 1) - exponent)

    def to_int(self) -> int:
        """The state as one integer, for a checkpoint."""
        return _UNSET if self.position is None else self.position

    def from_int(self, value: int) -> None:
        self.position = None if value == _UNSET else int(value)


@dataclass
class ActivationRange:
    """R of the specification, section 2: values reach about 2^range_log2; grows when too many saturate."""

    range_log2: int
    fixed: bool = False  #: a ReLU6 never grows

    def observe(self, saturated: int, elements: int) -> None:
        """After a training step: more than one element in 1024 outside the range widens it by one bit."""
        if not self.fixed and saturated * 1024 > elements and self.range_log2 < MAX_RANGE_LOG2:
            self.range_log2 += 1
