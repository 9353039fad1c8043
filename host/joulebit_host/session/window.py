"""Readings as arrays, and what is known between them: pieces of power, and gaps.

A meter's readings become `Pieces`: back-to-back stretches of time, each either covered by readings (power linear
from its left to its right end) or a gap. What covers a stretch depends on what a reading stands for:

    POINT     |----/----/--        between neighbouring readings: linear (the trapezoid)
    AVERAGE   |____|--|____        from the previous reading to this one: constant
    ENERGY    |____|--|____        between neighbouring accumulator values: their difference over the time

A stretch is a gap where samples are known to be missing (the decoder's count or a jump of the sequence number),
where a reading was not valid, where readings are further apart than GAP_INTERVALS nominal intervals, or, for an
accumulator, where it started again. A gap is never bridged: its energy is bounded elsewhere. An AVERAGE reading
after a gap covers its own nominal interval only. An accumulator needs no sample in between: it counts on."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from joulebit_host.meters.base import Reading, Sample

#: Nominal intervals between neighbours that are no longer neighbours. Polling varies by a quarter.
GAP_INTERVALS = 1.75
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Window:
    """A stretch of the host's monotonic clock whose energy is wanted.

    Attributes:
        start_s, end_s: edges.
        edge_error_s: half-width of what is not known about each edge by itself.
        shift_error_s: half-width of what is not known about both together (the two move alike).
        name: for people.
    """

    start_s: float
    end_s: float
    edge_error_s: float = 0.0
    shift_error_s: float = 0.0
    name: str = ""

    def __post_init__(self) -> None:
        if not self.end_s > self.start_s:
            raise ValueError(f"a window must end after it starts, got [{self.start_s}, {self.end_s}]")

    @property
    def seconds(self) -> float:
        return self.end_s - self.start_s


@dataclass(frozen=True, eq=False)
class Pieces:
    """Back-to-back stretches of time.

    Attributes:
        reading: what the readings stand for.
        edge_s: (n + 1,) ends of the stretches, never decreasing.
        left_w, right_w: (n,) power at the ends of each; 0 in gaps.
        gap: (n,) nothing is known about the stretch.
        time_error_s: (n,) half-width: how far off the edges may be, beyond what the meter's data sheet says.
        end_j: (n + 1,) the accumulator's values at `edge_s` (ENERGY), else empty.
        end_w: (n + 1,) the power readings beside them, NaN where there is none (ENERGY), else empty.
        dropped, invalid: samples known to be missing; readings that were not valid.
        sample_s: (m,) times of the valid samples.
        invalid_s: (k,) times of those that were not valid.
    """

    reading: Reading
    edge_s: Floats
    left_w: Floats
    right_w: Floats
    gap: Bools
    time_error_s: Floats
    end_j: Floats
    end_w: Floats
    dropped: int
    invalid: int
    sample_s: Floats
    invalid_s: Floats


class PiecesBuilder:
    """Makes pieces of samples as they come; about 30 bytes a sample."""

    def __init__(self, reading: Reading, interval_s: float) -> None:
        """reading, interval_s: of the meter."""
        if not interval_s > 0:
            raise ValueError(f"interval_s must be positive, got {interval_s}")
        self.reading = reading
        self.interval_s = interval_s
        self.dropped = self.invalid = 0
        self._t = array("d")
        self._value = array("d")
        self._error = array("d")
        self._power = array("d")  # beside an accumulator
        self._invalid = array("d")
        self._broken = array("b")  # the stretch before this sample is not known
        self._missing = False
        self._sequence: int | None = None
        self._segment: int | None = None

    def add(self, sample: Sample) -> None:
        """The next sample, in the order of time."""
        same_segment = sample.segment == self._segment
        dropped = sample.dropped
        if sample.sequence is not None and self._sequence is not None and same_segment:
            dropped = max(dropped, sample.sequence - self._sequence - 1)
        self.dropped += dropped
        self._sequence = sample.sequence
        broken = self._missing or dropped > 0
        accumulator = self.reading is Reading.ENERGY
        value = sample.energy_j if accumulator else sample.power_w
        if not sample.valid or value is None:
            self.invalid += 1
            self._invalid.append(sample.t_s)
            self._missing = True
            self._segment = sample.segment if same_segment or not accumulator else self._segment
            return
        if accumulator:
            # It counts on while nobody looks; only a reset, or a value that went down, breaks it.
            broken = not same_segment or (len(self._value) > 0 and value < self._value[-1])
        self._segment = sample.segment
        self._missing = False
        last_s = self._t[-1] if self._t else sample.t_s
        self._t.append(max(sample.t_s, last_s))
        self._value.append(value)
        if accumulator:
            self._power.append(float("nan") if sample.power_w is None else sample.power_w)
        self._error.append(sample.time_error_s)
        self._broken.append(broken)

    def pieces(self) -> Pieces:
        """All that is known so far. Fewer than two valid samples make no piece."""
        t = np.array(self._t, dtype=np.float64)
        value = np.array(self._value, dtype=np.float64)
        error = np.array(self._error, dtype=np.float64)
        gap = np.array(self._broken, dtype=np.bool_)[1:]
        invalid = np.array(self._invalid, dtype=np.float64)
        if len(t) < 2:
            nothing = np.zeros(0)
            return Pieces(
                reading=self.reading,
                edge_s=t[:1],
                left_w=nothing,
                right_w=nothing,
                gap=gap,
                time_error_s=nothing,
                end_j=nothing,
                end_w=nothing,
                dropped=self.dropped,
                invalid=self.invalid,
                sample_s=t,
                invalid_s=invalid,
            )
        step = np.diff(t)
        error = np.maximum(error[1:], error[:-1])
        end_j = end_w = np.zeros(0)
        if self.reading is Reading.ENERGY:
            power = np.divide(np.diff(value), step, out=np.zeros(len(step)), where=step > 0)
            left, right, end_j, edge = power, power, value, t
            end_w = np.array(self._power, dtype=np.float64)
            # Without time between them, what was counted between two values cannot be spread.
            gap = gap | ((step <= 0) & (np.diff(value) != 0))
        else:
            gap = gap | (step > GAP_INTERVALS * self.interval_s)
            edge, left, right = t, value[:-1], value[1:]
            if self.reading is Reading.AVERAGE:
                left = right = value[1:]
                edge, left, gap, error = _after_gaps(t, value, gap, error, self.interval_s)
                right = left
        zero = np.zeros(len(gap))
        return Pieces(
            reading=self.reading,
            edge_s=edge,
            left_w=np.where(gap, zero, left),
            right_w=np.where(gap, zero, right),
            gap=gap,
            time_error_s=error,
            end_j=end_j,
            end_w=end_w,
            dropped=self.dropped,
            invalid=self.invalid,
            sample_s=t,
            invalid_s=invalid,
        )


def _after_gaps(
    t: Floats, value: Floats, gap: Bools, error: Floats, interval_s: float
) -> tuple[Floats, Floats, Bools, Floats]:
    """Splits each broken stretch into a gap and the last interval, which the reading at its end covers."""
    at = np.flatnonzero(gap)
    begin = np.maximum(t[at], t[at + 1] - interval_s)
    edge = np.insert(t, at + 1, begin)
    power = np.insert(value[1:], at, 0.0)
    is_gap = np.insert(np.zeros(len(gap), dtype=np.bool_), at, True)
    return edge, power, is_gap, np.insert(error, at, error[at])


def build(samples: Any, reading: Reading, interval_s: float) -> Pieces:
    """Pieces of an iterable of samples."""
    builder = PiecesBuilder(reading, interval_s)
    for sample in samples:
        builder.add(sample)
    return builder.pieces()
