"""What a meter is: a source of bytes, and a decoder that makes samples of them.

The two are apart so that every joule can be derived again: a log keeps what was received (`Received`), and
`Decoder.feed` is a pure state machine from those records to samples. Live display, recording and audit all run
the same decoder over the same records.

    Meter.read() -> Received(bytes as they came, two host clock readings) -> log
                         `-> Decoder.feed() -> Sample...                  -> session (windows, joules)
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


class Fault(str, enum.Enum):
    """What can be wrong with what a meter sent. Every fault is counted; none is repaired silently."""

    CHECKSUM = "checksum"  #: a frame whose CRC or checksum is wrong
    FRAMING = "framing"  #: bytes that are no frame (also a frame cut short)
    RANGE = "range"  #: a well-formed frame with a value that the meter cannot have measured
    OVERRANGE = "overrange"  #: the meter says that its input exceeded the range
    NOT_A_NUMBER = "not_a_number"  #: the meter has no value (NAN, INF, `_`)
    DROPPED = "dropped"  #: samples missing, by sequence number or device clock
    WRAPPED = "wrapped"  #: a counter passed its end, and the samples show how often: corrected
    WRAP_AMBIGUOUS = "wrap_ambiguous"  #: a counter passed its end an unknown number of times, or was reset
    TIMEOUT = "timeout"  #: no answer
    UNPLUGGED = "unplugged"  #: the device vanished and came back


@dataclass(frozen=True)
class Received:
    """One piece of what a meter sent, as it came.

    Attributes:
        t_sent_s: host's monotonic clock before the request (or before waiting, for a meter that streams).
        t_s: host's monotonic clock when the last byte was there.
        data: the bytes; empty when nothing came in time. With "unplugged": what had come of a broken frame.
        event: "" for data (or for nothing yet: empty data, no fault); "timeout" when an answer is overdue;
            "unplugged", "replugged".
    """

    t_sent_s: float
    t_s: float
    data: bytes
    event: str = ""


@dataclass(frozen=True)
class Sample:
    """One reading. What a meter does not give is None; nothing is ever filled in.

    Attributes:
        t_s: host's monotonic clock at the end of what the reading covers (the best estimate from the two
            readings of `Received` and, for meters that stream, the device's own spacing).
        power_w, voltage_v, current_a: as read; power is voltage * current where the meter has no power of its own.
        energy_j: the meter's own energy accumulator since its start, unwrapped.
        device_t_s: the meter's own clock.
        sequence: the meter's own sample number, unwrapped.
        marker: the digital input or marker field, for edges set by the device under test.
        dropped: samples known to be missing just before this one.
        valid: False when the reading must not enter a sum (overrange, NaN); the fault is counted.
        segment: goes up by one whenever `energy_j`, `device_t_s` or `sequence` broke off (a reset, or a wrap that
            cannot be corrected). Differences of these three mean something only inside one segment.
        time_error_s: how far t_s of this very sample may be off; where voltage and current were asked one after
            the other, half of the time between the first question and the last answer.
    """

    t_s: float
    power_w: float | None = None
    voltage_v: float | None = None
    current_a: float | None = None
    energy_j: float | None = None
    device_t_s: float | None = None
    sequence: int | None = None
    marker: int | None = None
    dropped: int = 0
    valid: bool = True
    segment: int = 0
    time_error_s: float = 0.0


class Reading(str, enum.Enum):
    """What a power value stands for: how it may be summed to an energy."""

    POINT = "point"  #: an instant: trapezoid
    AVERAGE = "average"  #: the mean since the previous sample: sum of power * interval
    ENERGY = "energy"  #: the meter's own accumulator is the better source: differences of energy_j


@dataclass(frozen=True)
class Accuracy:
    """A meter's error limits from its data sheet, as the half-widths of rectangular distributions.

    Attributes:
        gain: relative to the reading.
        offset_w: absolute, at the configured range (V * I offset for meters of current).
        power_resolution_w: one step of the power value (or of V * one step of I); 0 if negligible.
        energy_resolution_j: one step of the energy accumulator; 0 without one.
        time_s: how far t_s of a sample may be off.
        source: data sheet and section.
        assumed: fields that rest on no data sheet; the budget's terms say so.
    """

    gain: float
    offset_w: float
    power_resolution_w: float = 0.0
    energy_resolution_j: float = 0.0
    time_s: float = 0.0
    source: str = ""
    assumed: tuple[str, ...] = ()


class Decoder(Protocol):
    """From received bytes to samples; deterministic, no clock and no device of its own."""

    faults: Counter[Fault]

    def feed(self, received: Received) -> list[Sample]:
        """The samples that are complete now. Never raises on bad data: it counts a fault and goes on."""
        ...


class Meter(Protocol):
    """A meter that is open. `settings` holds all that `decoder_for` needs to decode its bytes again."""

    kind: str  #: name in the registry: "wt300", "ina226", ...
    identity: str  #: what the device says that it is
    settings: Mapping[str, Any]  #: plain JSON values: range, rate, fields, shunt, ...
    reading: Reading
    accuracy: Accuracy
    interval_s: float  #: nominal time between samples

    def start(self) -> None:
        """Begins sampling."""
        ...

    def read(self, timeout_s: float) -> Received:
        """The next piece of data, waiting at most this long; a vanished device is an event, not an exception."""
        ...

    def stop(self) -> None:
        """Ends sampling and leaves the device as it was found."""
        ...

    def close(self) -> None: ...


@dataclass
class Summary:
    """What a recording held, for people and for `--json`.

    Attributes:
        samples: readings decoded, with those that are not valid.
        seconds: time that `energy_j` covers: gaps are not in it.
        mean_w: energy_j / seconds.
        energy_j: by the rule of the meter's `Reading`; None when nothing could be summed.
        dropped: samples known to be missing.
        faults: by kind.
        invalid: readings that must not enter a sum.
        gap_s: time between the first and the last sample that no reading covers; never bridged.
    """

    samples: int = 0
    seconds: float = 0.0
    mean_w: float | None = None
    energy_j: float | None = None
    dropped: int = 0
    faults: Counter[Fault] = field(default_factory=Counter)
    invalid: int = 0
    gap_s: float = 0.0
