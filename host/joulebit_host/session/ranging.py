"""The ranging run: the work is done once with wide or automatic ranges, then the ranges are fixed above its peak.

A meter that changes its range while it measures loses readings (Yokogawa) or jumps by its offset; SPEC's
PTDaemon and MLPerf Power therefore run twice, and so does this.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from joulebit.errors import JoulebitError
from joulebit_host.meters.base import Decoder, Meter
from joulebit_host.session.session import Marks, Work
from joulebit_host.session.timing import Clock, HostClock

_CALL_S = 0.1  #: shorter calls of the work are joined


@dataclass(frozen=True)
class Peak:
    """The largest magnitudes that were read; None for what the meter does not give.

    Attributes:
        power_w, voltage_v, current_a: peaks.
        samples: how many readings.
        overrange: readings that were not valid.
    """

    power_w: float | None
    voltage_v: float | None
    current_a: float | None
    samples: int
    overrange: int

    def fits(self, full_scale: float, value: float | None, margin: float = 1.25) -> bool:
        """Whether a range with this full scale holds a peak value with a margin."""
        return value is None or margin * value <= full_scale

    def smallest_range(self, ranges: list[float], value: float | None, margin: float = 1.25) -> float:
        """The smallest range that holds a peak value with a margin; raises JoulebitError if none does."""
        for full_scale in sorted(ranges):
            if self.fits(full_scale, value, margin):
                return full_scale
        raise JoulebitError(
            f"a peak of {value:.4g} with a margin of {margin:g} exceeds the largest range {max(ranges):g}"
        )


def ranged_meter(
    open_meter: Callable[[Peak | None], Meter],
    decoder_for: Callable[[Any], Decoder],
    work: Work,
    seconds: float = 3.0,
    clock: Clock | None = None,
) -> tuple[Meter, Peak]:
    """Runs the work for some seconds with the meter as `open_meter(None)` gives it, and opens it again for the
    peak.

    Args:
        open_meter: with None, ranges wide or automatic; with the peak, fixed ranges above it.
        decoder_for: makes a decoder from {"kind", "settings"}.
        work: repeatable work.
        seconds: how long to look; at least 10 readings are awaited.
        clock: the host's by default.

    Raises JoulebitError if the meter gave no valid reading.
    """
    peak = find_peak(open_meter(None), decoder_for, work, seconds, clock)
    return open_meter(peak), peak


def find_peak(
    meter: Meter,
    decoder_for: Callable[[Any], Decoder],
    work: Work,
    seconds: float = 3.0,
    clock: Clock | None = None,
) -> Peak:
    """The peak of some seconds of work with an open meter, which is then closed; arguments: `ranged_meter`."""
    clock = clock or HostClock()
    try:
        decoder = decoder_for({"kind": meter.kind, "settings": dict(meter.settings)})
        samples = []
        failure: list[BaseException] = []
        end_s = clock.now() + max(seconds, 10 * meter.interval_s)

        def run() -> None:
            repeats = 1
            try:
                while (begun_s := clock.now()) < end_s:
                    work(repeats, Marks(clock))
                    if clock.now() - begun_s < _CALL_S:
                        repeats *= 2
            except BaseException as error:
                failure.append(error)

        meter.start()
        ended = clock.spawn(run)
        while not ended() or clock.now() < end_s:
            samples += decoder.feed(meter.read(0.25))
        meter.stop()
    finally:
        meter.close()
    if failure:
        raise failure[0]
    good = [sample for sample in samples if sample.valid]
    if not good:
        raise JoulebitError(f"the ranging run got no valid reading of {len(samples)} from meter {meter.identity}")

    def largest(values: list[float | None]) -> float | None:
        known = [abs(value) for value in values if value is not None and math.isfinite(value)]
        return max(known, default=None)

    return Peak(
        largest([s.power_w for s in good]),
        largest([s.voltage_v for s in good]),
        largest([s.current_a for s in good]),
        len(good),
        len(samples) - len(good),
    )
