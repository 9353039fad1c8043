"""Reads a meter for a while: the loop behind `joulebit meter read` and `record`."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from joulebit_host.evidence.log import EvidenceLog
from joulebit_host.meters.base import Meter, Sample, Summary
from joulebit_host.meters.registry import decoder_for
from joulebit_host.meters.summary import Summariser

_SLICE_S = 0.25  #: so often at least is looked whether to stop


@dataclass(frozen=True)
class Progress:
    """What there is so far.

    Attributes:
        summary: of all that came.
        last: the last sample, None before the first.
        new: samples since the last call.
        connected: False while the meter is unplugged.
    """

    summary: Summary
    last: Sample | None
    new: list[Sample]
    connected: bool


def collect(
    meter: Meter,
    *,
    seconds: float | None = None,
    samples: int | None = None,
    log: EvidenceLog | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Summary:
    """Starts the meter, reads until enough or `stop`, and stops it.

    Args:
        meter: open; stays open.
        seconds: how long; for ever if None.
        samples: how many; no limit if None.
        log: takes everything that comes, before it is decoded.
        on_progress: called after every record that is not empty.
        stop: asked at least four times per second.
    """
    decoder = decoder_for(meter.kind, meter.settings)
    total = Summariser(meter.reading, meter.interval_s)
    last: Sample | None = None
    connected = True
    end_s = time.monotonic() + seconds if seconds is not None else float("inf")
    meter.start()
    try:
        while not stop() and (left_s := end_s - time.monotonic()) > 0:
            received = meter.read(min(left_s, _SLICE_S))
            if not received.data and not received.event:
                if getattr(meter, "exhausted", False):
                    break
                continue
            if log is not None:
                log.received(received)
            connected = {"unplugged": False, "replugged": True}.get(received.event, connected)
            new = decoder.feed(received)
            if samples is not None:
                new = new[: samples - total.summary.samples]
            total.add(new)
            last = new[-1] if new else last
            if on_progress is not None:
                on_progress(Progress(total.result(decoder.faults), last, new, connected))
            if samples is not None and total.summary.samples >= samples:
                break
    finally:
        meter.stop()
    return total.result(decoder.faults)
