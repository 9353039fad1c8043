"""From the records of a session to its result: the only way by which a result comes about.

`derive` reads nothing but records: the header (meter, accuracy), the configuration, what the meter sent, and
marks. A session calls it at its end, `joulebit audit` calls it again years later; both get the same joules from
the same bytes. Marks that it knows (`t_s` on the host's monotonic clock; `remote_s`, where a mark carries it,
is the board's clock and is converted by the fit over all exchanges):

    idle_start, idle_end                an idle window
    window_start, window_end            index, window (its name), repeats, error_s (half-width of t_s); of windows
                                        with the same index the last one counts
    step                                the work begins another step
    phase                               name: the work enters this phase ("" leaves it)
    exchange                            sent_s, remote_s, received_s
    temperature                         celsius
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from joulebit_host.evidence.log import HEADER, MARK, RECEIVED, EvidenceError, Record, as_received
from joulebit_host.meters.base import Decoder, Fault, Reading
from joulebit_host.session.budget import Idle, MeterFacts, WindowEnergy, measure_idle, measure_window
from joulebit_host.session.clock import ClockFit, Exchange, fit_exchanges, fit_stream
from joulebit_host.session.phases import PhaseMarks, phases_by_markers
from joulebit_host.session.settings import Limits, SessionSettings
from joulebit_host.session.window import Floats, Pieces, PiecesBuilder, Window

RESULT_FORMAT = "joulebit-session-1"
CONFIGURATION, RESULT = "configuration", "result"
DecoderFor = Callable[[Mapping[str, Any]], Decoder]
_STREAM_POINTS = 20_000


def registered_decoder(meter: Mapping[str, Any]) -> Decoder:
    """The decoder for a meter of the registry, from the field `meter` of a log's header."""
    from joulebit_host.meters.registry import decoder_for

    return decoder_for(meter["kind"], meter["settings"])


class Derivation:
    """Takes records one by one; `result` at the end."""

    def __init__(self, decoder_for: DecoderFor) -> None:
        """decoder_for: makes a decoder from the header's field `meter`."""
        self._decoder_for = decoder_for
        self._decoder: Decoder | None = None
        self._meter: MeterFacts | None = None
        self._builder: PiecesBuilder | None = None
        self._settings = SessionSettings()
        self._session = ""
        self._marks: list[Mapping[str, Any]] = []
        self._exchanges: list[Exchange] = []
        self._temperatures: list[tuple[float, float]] = []
        self._device_s, self._arrived_s = array("d"), array("d")
        self._segment = 0

    def feed(self, record: Record) -> None:
        """The next record of the log."""
        if record.type == HEADER:
            header = record.fields["meter"]
            self._meter = MeterFacts.of(header)
            self._decoder = self._decoder_for(header)
            self._builder = PiecesBuilder(self._meter.reading, self._meter.interval_s)
        elif record.type == RECEIVED:
            self._received(record)
        elif record.type == CONFIGURATION:
            self._settings = SessionSettings.from_json(record.fields["settings"])
            self._session = record.fields["session"]
        elif record.type == MARK:
            self._mark(record.fields)

    def _received(self, record: Record) -> None:
        if self._decoder is None or self._builder is None:
            raise EvidenceError("received data came before the header that says which meter sent them")
        for sample in self._decoder.feed(as_received(record)):
            self._builder.add(sample)
            if sample.device_t_s is not None:
                if sample.segment != self._segment:
                    self._segment = sample.segment
                    del self._device_s[:], self._arrived_s[:]
                self._device_s.append(sample.device_t_s)
                self._arrived_s.append(float(record.fields["t_s"]))

    def _mark(self, fields: Mapping[str, Any]) -> None:
        name = fields["name"]
        if name == "exchange":
            self._exchanges.append(Exchange(fields["sent_s"], fields["remote_s"], fields["received_s"]))
        elif name == "temperature":
            self._temperatures.append((fields["t_s"], fields["celsius"]))
        else:
            self._marks.append(fields)

    def result(self) -> dict[str, Any]:
        """The session's result as plain JSON values; see `derive`."""
        if self._builder is None or self._meter is None or self._decoder is None:
            raise EvidenceError("there is no header, so no meter is known")
        meter, limits = self._meter, self._settings.limits
        pieces = self._builder.pieces()
        board = fit_exchanges(self._exchanges) if len(self._exchanges) >= 2 else None
        idle_windows = [w for w, _ in _pair(self._marks, "idle_start", "idle_end", board)]
        work = _pair(self._marks, "window_start", "window_end", board)
        work = list({fields["index"]: (window, fields) for window, fields in work}.values())
        steps = np.array([_time(m, board) for m in self._marks if m["name"] == "step"], dtype=np.float64)
        phases = [(_time(m, board), str(m["phase"])) for m in self._marks if m["name"] == "phase"]
        idle = measure_idle(pieces, idle_windows, meter, self._session) if idle_windows else None
        common = _session_reasons(idle, idle_windows, limits)
        windows = []
        for window, fields in work:
            name = f"window {fields['index']} of {self._session}"
            energy = measure_window(pieces, window, meter, idle, name, self._session)
            reasons = [*common, *_window_reasons(pieces, energy, meter, limits, steps, self._temperatures)]
            shown = _window_json(energy, fields, reasons)
            inside = PhaseMarks.inside(phases, window)
            if inside is not None:
                shown["phases"] = phases_by_markers(pieces, energy, inside, meter, name).as_json()
            windows.append(shown)
        return {
            "format": RESULT_FORMAT,
            "session": self._session,
            "meter": meter.name,
            "windows": windows,
            "idle": None if idle is None else _idle_json(idle),
            "clocks": {"board": board.as_json() if board else None, "meter": self._meter_clock()},
            "temperature": _temperature_json(self._temperatures),
            "faults": {Fault(f).value: n for f, n in sorted(self._decoder.faults.items()) if n},
            "samples": len(pieces.sample_s),
            "dropped": pieces.dropped,
            "invalid": pieces.invalid,
            "valid": bool(windows) and all(window["valid"] for window in windows),
        }

    def _meter_clock(self) -> dict[str, Any] | None:
        device = np.array(self._device_s, dtype=np.float64)
        arrived = np.array(self._arrived_s, dtype=np.float64)
        stride = max(1, len(device) // _STREAM_POINTS)
        fit = fit_stream(device[::stride], arrived[::stride])
        return None if fit is None else fit.as_json()


def derive(records: Iterable[Record], decoder_for: DecoderFor) -> dict[str, Any]:
    """The result of a session: for each window gross, idle and net energy with budgets, verdict and reasons."""
    derivation = Derivation(decoder_for)
    for record in records:
        derivation.feed(record)
    return derivation.result()


def _time(mark: Mapping[str, Any], board: ClockFit | None) -> float:
    if "remote_s" in mark and board is not None:
        return board.host_s(mark["remote_s"])
    return float(mark["t_s"])


def _pair(
    marks: list[Mapping[str, Any]], start: str, end: str, board: ClockFit | None
) -> list[tuple[Window, Mapping[str, Any]]]:
    """Windows between neighbouring start and end marks; a start without an end makes none."""
    found, opened = [], None
    for mark in marks:
        if mark["name"] == start:
            opened = mark
        elif mark["name"] == end and opened is not None:
            remote = board is not None and "remote_s" in opened and "remote_s" in mark
            clock = board if remote else None
            begin, finish = _time(opened, clock), _time(mark, clock)
            edge = shift = 0.0
            if clock is not None:
                # The line's scatter counts for each edge; where in a round trip the clock was read, for both.
                edge = math.sqrt(3.0) * max(clock.line_u_s(opened["remote_s"]), clock.line_u_s(mark["remote_s"]))
                shift = clock.shift_error_s
            edge += max(float(opened.get("error_s", 0.0)), float(mark.get("error_s", 0.0)))
            if finish > begin:
                found.append((Window(begin, finish, edge, shift, str(opened.get("window", ""))), opened))
            opened = None
    return found


def _reason(rule: str, text: str) -> dict[str, str]:
    return {"rule": rule, "text": text}


def _session_reasons(idle: Idle | None, windows: list[Window], limits: Limits) -> list[dict[str, str]]:
    """Rules on idle, which all windows of a session share."""
    if idle is None or len(windows) < 2:
        return [_reason("idle_missing", f"{len(windows)} idle windows; one before and one after are needed")]
    reasons = []
    for number, (window, integral) in enumerate(zip(windows, idle.windows, strict=True)):
        if window.seconds < limits.shortest_idle_s or integral.samples < limits.fewest_idle_samples:
            reasons.append(
                _reason(
                    "idle_too_short",
                    f"idle {number}: {window.seconds:.3g} s with {integral.samples} samples; at least "
                    f"{limits.shortest_idle_s:g} s and {limits.fewest_idle_samples} are needed",
                )
            )
        if integral.gap_s > limits.largest_gap_share * integral.seconds:
            reasons.append(_reason("idle_gaps", f"idle {number}: {_gap_text(integral.gap_s, integral.seconds)}"))
    assert idle.drift is not None
    level = float(np.mean([quantity.value for _, quantity in idle.levels]))
    change = abs(idle.drift.value)
    if change - idle.drift.expanded > limits.largest_idle_drift * abs(level):
        reasons.append(
            _reason(
                "idle_drift",
                f"idle power changed by {idle.drift.value:+.4g} W between before and after, of {level:.4g} W; "
                f"at most {100 * limits.largest_idle_drift:g} % is allowed",
            )
        )
    return reasons


def _window_reasons(
    pieces: Pieces,
    energy: WindowEnergy,
    meter: MeterFacts,
    limits: Limits,
    steps: Floats,
    temperatures: list[tuple[float, float]],
) -> list[dict[str, str]]:
    window, integral = energy.window, energy.integral
    reasons = []
    if window.seconds < limits.shortest_window_s:
        text = f"{window.seconds:.4g} s; at least {limits.shortest_window_s:g} s are needed"
        reasons.append(_reason("window_too_short", text))
    if integral.samples < limits.fewest_samples:
        text = f"{integral.samples} samples; at least {limits.fewest_samples} are needed"
        reasons.append(_reason("too_few_samples", text))
    if not integral.complete:
        reasons.append(_reason("outside_record", "the record does not cover the window to its ends"))
    if integral.gap_s > limits.largest_gap_share * integral.seconds:
        reasons.append(_reason("gaps", _gap_text(integral.gap_s, integral.seconds)))
    bad = np.count_nonzero((pieces.invalid_s >= window.start_s) & (pieces.invalid_s <= window.end_s))
    if bad and (meter.reading is Reading.ENERGY or bad > limits.largest_gap_share * integral.samples):
        text = f"{bad} readings were not valid (overrange, or no number)"
        reasons.append(_reason("invalid_readings", text))
    gross = energy.gross
    if gross.expanded > limits.largest_relative_u * abs(gross.value):
        text = f"gross energy {gross.value:.4g} J +- {gross.expanded:.2g} J, mostly by "
        text += f"{max(gross.terms, key=lambda term: abs(term.u)).name}; at most "
        text += f"{100 * limits.largest_relative_u:g} % is allowed"
        reasons.append(_reason("too_uncertain", text))
    inside = [c for t, c in temperatures if window.start_s <= t <= window.end_s]
    if inside and max(inside) - min(inside) > limits.largest_temperature_change_c:
        text = f"the temperature moved from {min(inside):.1f} to {max(inside):.1f} deg C; at most "
        text += f"{limits.largest_temperature_change_c:g} deg C is allowed"
        reasons.append(_reason("temperature", text))
    if meter.reading is Reading.POINT:
        reasons += _aliasing(pieces, window, steps, limits)
    return reasons


def _aliasing(pieces: Pieces, window: Window, steps: Floats, limits: Limits) -> list[dict[str, str]]:
    """Whether the samples see some part of the work's steps more often than others."""
    inside = steps[(steps >= window.start_s) & (steps <= window.end_s)]
    t = pieces.sample_s[(pieces.sample_s >= window.start_s) & (pieces.sample_s <= window.end_s)]
    if len(inside) < 4 or len(t) < 10:
        return []
    t = t[(t >= inside[0]) & (t <= inside[-1])]
    if not len(t):
        return []
    phase = np.interp(t, inside, np.arange(len(inside), dtype=np.float64))
    allowed = limits.largest_aliasing + 2.5 / math.sqrt(len(t))
    for harmonic in (1, 2, 3):
        resultant = abs(complex(np.mean(np.exp(2j * np.pi * harmonic * phase))))
        if resultant > allowed:
            text = (
                f"the samples keep step with the work (resultant {resultant:.2f} at harmonic {harmonic}; at most "
            )
            return [_reason("aliasing", f"{text}{allowed:.2f} is allowed): jitter the polling or change its rate")]
    return []


def _gap_text(gap_s: float, seconds: float) -> str:
    return f"{gap_s:.4g} s of {seconds:.4g} s ({100 * gap_s / seconds:.3g} %) have no reading"


def _window_json(energy: WindowEnergy, fields: Mapping[str, Any], reasons: list[dict[str, str]]) -> dict[str, Any]:
    window, integral = energy.window, energy.integral
    repeats = int(fields.get("repeats", 1))
    return {
        "index": fields["index"],
        "name": window.name,
        "start_s": window.start_s,
        "end_s": window.end_s,
        "seconds": window.seconds,
        "repeats": repeats,
        "samples": integral.samples,
        "gap_s": integral.gap_s,
        "mean_w": integral.mean_w,
        "min_w": integral.min_w,
        "max_w": integral.max_w,
        "gross": energy.gross.as_json(),
        "idle": energy.idle.as_json() if energy.idle else None,
        "net": energy.net.as_json() if energy.net else None,
        "gross_per_repeat_j": energy.gross.value / repeats,
        "net_per_repeat_j": energy.net.value / repeats if energy.net else None,
        "valid": not reasons,
        "reasons": reasons,
    }


def _idle_json(idle: Idle) -> dict[str, Any]:
    return {
        "levels": [{"t_s": t_s, **level.as_json()} for t_s, level in idle.levels],
        "drift": idle.drift.as_json() if idle.drift else None,
        "noise": {
            "stdev_w": math.sqrt(idle.noise.variance_w2),
            "tau_samples": idle.noise.tau,
            "count": idle.noise.count,
        },
    }


def _temperature_json(temperatures: list[tuple[float, float]]) -> dict[str, Any] | None:
    if not temperatures:
        return None
    values = [c for _, c in temperatures]
    return {"first_c": values[0], "last_c": values[-1], "min_c": min(values), "max_c": max(values)}
