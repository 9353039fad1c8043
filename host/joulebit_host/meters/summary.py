"""The energy of a recording, by what its meter's readings stand for.

ENERGY: differences of the meter's own accumulator between valid samples of one segment; samples lost in between
are in the accumulator, so nothing is missing. AVERAGE: power times the time since the sample before, which the
reading covers. POINT: trapezoid. For the latter two, an interval that holds a drop, an invalid reading or more
than `longest` nominal intervals is a gap: it is counted in `gap_s`, and no energy is made up for it.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable

from joulebit_host.meters.base import Fault, Reading, Sample, Summary


class Summariser:
    """Adds samples up as they come."""

    def __init__(self, reading: Reading, interval_s: float, longest: float = 2.5) -> None:
        """reading, interval_s: of the meter; longest: in nominal intervals, the longest time that is no gap."""
        self.reading = reading
        self.longest_s = interval_s * longest
        self.summary = Summary()
        self._last: Sample | None = None
        self._edge_s: float | None = None

    def add(self, samples: Iterable[Sample]) -> None:
        """Takes the samples into the sums; they must come in the order of time."""
        for sample in samples:
            self._add(sample)

    def result(self, faults: Counter[Fault] | None = None) -> Summary:
        """The sums so far, with the decoder's faults."""
        seconds = self.summary.seconds
        energy = self.summary.energy_j if seconds > 0 else None
        mean = None if energy is None else energy / seconds
        return dataclasses.replace(self.summary, mean_w=mean, energy_j=energy, faults=Counter(faults or {}))

    def _add(self, sample: Sample) -> None:
        total = self.summary
        total.samples += 1
        total.dropped += sample.dropped
        value = sample.energy_j if self.reading is Reading.ENERGY else sample.power_w
        if not sample.valid or value is None:
            total.invalid += 1
            if self.reading is not Reading.ENERGY:
                self._gap_to(sample.t_s)
                self._last = None
            return
        last, self._last = self._last, sample
        energy = None if last is None else self._between(last, sample)
        if energy is None or self._edge_s is None:
            self._gap_to(sample.t_s)
            return
        total.energy_j = (total.energy_j or 0.0) + energy
        total.seconds += sample.t_s - self._edge_s
        self._edge_s = sample.t_s

    def _gap_to(self, t_s: float) -> None:
        """Nothing covers the time since the last reading."""
        if self._edge_s is not None:
            self.summary.gap_s += t_s - self._edge_s
        self._edge_s = t_s

    def _between(self, last: Sample, sample: Sample) -> float | None:
        """Joules between two valid samples; None when nobody knows."""
        if self.reading is Reading.ENERGY:
            assert last.energy_j is not None and sample.energy_j is not None
            return sample.energy_j - last.energy_j if last.segment == sample.segment else None
        span_s = sample.t_s - last.t_s
        if sample.dropped or sample.segment != last.segment or span_s > self.longest_s:
            return None
        assert last.power_w is not None and sample.power_w is not None
        if self.reading is Reading.AVERAGE:
            return sample.power_w * span_s
        return (last.power_w + sample.power_w) / 2 * span_s
