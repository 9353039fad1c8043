"""The procedure of a measurement: what is done, when, and what is written down.

    exchanges  settle idle        warm-up  window 0   window 1 ...      settle idle        exchanges  result
    |||        ......|----------|  >>>>>>|==========|==========|>>      ......|----------|  |||        R
                      idle_start/_end     window_start/_end                    idle_start/_end

The meter is read all the time, and all that it sends goes to the log. The work runs beside it in a task of its
own and never stops between warm-up, windows and a last repeat after them, so that the windows' edges lie in
steady work. Work that can be repeated is given as many repeats as fill the window's length; a window that came
out too short is done again, longer. The result is derived from the log's records (`derive`), never from
anything kept beside them.
"""

from __future__ import annotations

import math
import queue
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from joulebit_host.evidence.log import EvidenceLog, Record, meter_header, read_log
from joulebit_host.meters.base import Meter, Received
from joulebit_host.session.clock import Exchange
from joulebit_host.session.derive import CONFIGURATION, RESULT, DecoderFor, derive, registered_decoder
from joulebit_host.session.settings import SessionSettings
from joulebit_host.session.timing import Clock, HostClock

_LONGEST_READ_S = 0.25


class Sink(Protocol):
    """Where records go; see `EvidenceLog`."""

    def append(self, type: str, /, **fields: Any) -> str: ...
    def received(self, received: Received) -> None: ...
    def mark(self, name: str, t_s: float, **fields: Any) -> None: ...
    def sync(self) -> None: ...


class Work(Protocol):
    """What is measured."""

    def __call__(self, repeats: int, marks: Marks) -> None:
        """Does the work this many times and returns when it is done; `marks` takes what happens on the way."""
        ...


class Marks:
    """What the work tells about itself. May be called from the work's task."""

    def __init__(self, clock: Clock) -> None:
        """clock: of the session."""
        self._clock = clock
        self.queue: queue.SimpleQueue[tuple[str, float, dict[str, Any]]] = queue.SimpleQueue()
        self.measuring: dict[str, Any] | None = None  #: fields of the window that is being measured
        self.own_edges_s: list[float] = []  #: times of edges that the work marked itself, in this window

    def mark(self, name: str, remote_s: float | None = None, **fields: Any) -> None:
        """Any mark; remote_s is the board's clock, where it is known."""
        if remote_s is not None:
            fields["remote_s"] = remote_s
        self.queue.put((name, self._clock.now(), fields))

    def step(self, remote_s: float | None = None) -> None:
        """The work begins another step."""
        self.mark("step", remote_s)

    def phase(self, phase: str, remote_s: float | None = None) -> None:
        """The work enters this phase; "" leaves it."""
        self.mark("phase", remote_s, phase=phase)

    def window_start(self, remote_s: float | None = None, error_s: float = 0.0) -> None:
        """For work that knows better than its caller when the measured part begins; ignored in the warm-up."""
        self._edge("window_start", remote_s, error_s)

    def window_end(self, remote_s: float | None = None, error_s: float = 0.0) -> None:
        """The counterpart of `window_start`."""
        self._edge("window_end", remote_s, error_s)

    def _edge(self, name: str, remote_s: float | None, error_s: float) -> None:
        if self.measuring is not None:
            self.own_edges_s.append(self._clock.now() if remote_s is None else remote_s)
            self.mark(name, remote_s, **self.measuring, **({"error_s": error_s} if error_s else {}))


class MemoryLog:
    """Records kept in memory, for sessions that need no evidence, such as simulated ones."""

    def __init__(self, header: Mapping[str, Any]) -> None:
        """header: see `meter_header`."""
        self.records: list[Record] = []
        self.append("header", **header)

    def append(self, type: str, /, **fields: Any) -> str:
        """See `EvidenceLog`."""
        self.records.append(Record(len(self.records), type, fields, "", 0))
        return ""

    def received(self, received: Received) -> None:
        """See `EvidenceLog`."""
        EvidenceLog.received(self, received)  # type: ignore[arg-type]

    def mark(self, name: str, t_s: float, **fields: Any) -> None:
        """See `EvidenceLog`."""
        self.append("mark", name=name, t_s=t_s, **fields)

    def sync(self) -> None:
        """Nothing to do."""


class Session:
    """One measurement with one meter."""

    def __init__(
        self,
        name: str,
        meter: Meter,
        work: Work,
        settings: SessionSettings,
        sink: Sink,
        *,
        repeatable: bool = True,
        clock: Clock | None = None,
        temperature: Callable[[], float] | None = None,
        exchange: Callable[[], Exchange] | None = None,
        on_received: Callable[[Received], None] | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        """A session that `run` carries out.

        Args:
            name: unlike that of any other session whose results are compared with this one's.
            meter: open, its ranges fixed (see `ranging`).
            work: what is measured.
            settings: how.
            sink: where records go; its header is written.
            repeatable: whether the work can be done any number of times; otherwise it is done once, as a whole, in
                one window without warm-up.
            clock: the host's by default.
            temperature: degrees Celsius of the device, read every few seconds; it must be quick.
            exchange: one exchange with the board's clock.
            on_received: told of all that the meter sends, for a live view.
            details: JSON values that belong to this measurement, such as a configuration's hash.
        """
        self.name = name
        self.settings = settings
        self.marks = Marks(clock or HostClock())
        self._meter = meter
        self._work = work
        self._sink = sink
        self._repeatable = repeatable
        self._clock: Clock = clock or HostClock()
        self._temperature = temperature
        self._temperature_due_s = -math.inf
        self._exchange = exchange
        self._on_received = on_received
        self._details = dict(details or {})
        self._failure: BaseException | None = None

    def run(self) -> None:
        """Does everything but derive the result. Raises what the work raised, after the meter has been stopped."""
        settings, interval_s = self.settings, self._meter.interval_s
        self._sink.append(CONFIGURATION, session=self.name, settings=settings.as_json(), **self._details)
        self._meter.start()
        try:
            self._exchanges()
            self._idle(settings.idle_length_s(interval_s))
            ended = self._clock.spawn(self._do_work)
            while not ended():
                self._read(_LONGEST_READ_S)
            self._take_marks()
            if self._failure is not None:
                self._sink.mark("work_failed", self._clock.now(), error=repr(self._failure))
                raise self._failure
            self._idle(settings.idle_length_s(interval_s))
            self._exchanges()
        finally:
            self._meter.stop()
            self._take_marks()
            self._sink.sync()

    # --- the work's task -----------------------------------------------------------------------------------------

    def _do_work(self) -> None:
        try:
            if self._repeatable:
                self._do_repeats()
            else:
                self._measure(0, 1)
        except BaseException as error:
            self._failure = error

    def _do_repeats(self) -> None:
        settings = self.settings
        length_s = settings.window_length_s(self._meter.interval_s)
        begun_s = self._clock.now()
        repeats, done = 1, 0
        while True:
            self._work(repeats, self.marks)
            done += repeats
            spent_s = self._clock.now() - begun_s
            if spent_s >= settings.warmup_s:
                break
            # Few calls, each short against the warm-up.
            repeats = max(1, math.ceil(done / max(spent_s, 1e-6) * min(1.0, settings.warmup_s - spent_s)))
        each_s = max(spent_s / done, 1e-9)
        for index in range(settings.windows):
            repeats = math.ceil(length_s / each_s)
            for _ in range(settings.lengthen + 1):
                seconds = self._measure(index, repeats)
                if seconds >= length_s / 1.1:
                    break
                repeats = math.ceil(repeats * max(1.1, 1.1 * length_s / max(seconds, 1e-9)))
        self._work(1, self.marks)

    def _measure(self, index: int, repeats: int) -> float:
        """One window; its length. Of windows with the same index the last one counts."""
        marks = self.marks
        fields = {"index": index, "repeats": repeats}
        marks.measuring, marks.own_edges_s = fields, []
        start_s = self._clock.now()
        self._work(repeats, marks)
        end_s = self._clock.now()
        marks.measuring = None
        if marks.own_edges_s:
            return marks.own_edges_s[-1] - marks.own_edges_s[0]
        marks.queue.put(("window_start", start_s, fields))
        marks.queue.put(("window_end", end_s, {}))
        return end_s - start_s

    # --- the meter's task ----------------------------------------------------------------------------------------

    def _read(self, timeout_s: float) -> None:
        received = self._meter.read(timeout_s)
        if received.data or received.event:
            self._sink.received(received)
            if self._on_received is not None:
                self._on_received(received)
        self._take_marks()
        now_s = self._clock.now()
        if self._temperature is not None and now_s >= self._temperature_due_s:
            self._temperature_due_s = now_s + self.settings.temperature_s
            self._sink.mark("temperature", now_s, celsius=self._temperature())

    def _collect(self, seconds: float) -> None:
        end_s = self._clock.now() + seconds
        while (left_s := end_s - self._clock.now()) > 0:
            self._read(min(left_s, _LONGEST_READ_S))

    def _idle(self, seconds: float) -> None:
        """Waits for the device to settle, and for a reading on either side: the record must cover the edges."""
        self._collect(self.settings.settle_s + 2 * self._meter.interval_s)
        self._sink.mark("idle_start", self._clock.now())
        self._collect(seconds)
        self._sink.mark("idle_end", self._clock.now())
        self._collect(3 * self._meter.interval_s)

    def _exchanges(self) -> None:
        if self._exchange is None:
            return
        for _ in range(self.settings.exchanges):
            e = self._exchange()
            self._sink.mark(
                "exchange", e.received_s, sent_s=e.sent_s, remote_s=e.remote_s, received_s=e.received_s
            )
            self._read(0.02)

    def _take_marks(self) -> None:
        while True:
            try:
                name, t_s, fields = self.marks.queue.get_nowait()
            except queue.Empty:
                return
            self._sink.mark(name, t_s, **fields)


def measure(
    path: Path | str,
    name: str,
    meter: Meter,
    work: Work,
    settings: SessionSettings,
    decoder_for: DecoderFor = registered_decoder,
    **options: Any,
) -> dict[str, Any]:
    """A session with its evidence in a new log at `path`; the result, which is the log's last record but one.

    options: further arguments of `Session`. The result's `evidence` is the log's hash before the result.
    """
    with EvidenceLog.create(path, meter_header(meter)) as log:
        Session(name, meter, work, settings, log, **options).run()
        result = derive(read_log(path), decoder_for)
        log.append(RESULT, result=result)
    return result


def rehearse(
    name: str,
    meter: Meter,
    work: Work,
    settings: SessionSettings,
    decoder_for: DecoderFor = registered_decoder,
    **options: Any,
) -> dict[str, Any]:
    """A session whose records are kept in memory only; its result."""
    log = MemoryLog(meter_header(meter))
    Session(name, meter, work, settings, log, **options).run()
    return derive(log.records, decoder_for)
