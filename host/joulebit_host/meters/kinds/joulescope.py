"""Joulescope JS220 through its library, pyjoulescope_driver: the statistics that the instrument computes itself.

Address: the serial number or a part of the device's path; the only one by default. Published on opening: current
range `auto`, samples per statistics block (`/s/stats/scnt`, 1 MHz times the interval), `/s/stats/ctrl` 1;
subscribed: `/s/stats/value`.

A record is the statistics value as JSON, a line each, as the library gives it (keys sorted). Read from it:

    time.samples.value [first, last]     the block's samples, which count on without a gap from block to block
    time.sample_freq.value               their frequency: the instrument's clock
    signals.{current,voltage,power}.avg.value
    accumulators.energy.value            joules since the device was opened: no sample is ever missing from it

FRAMING: a record without these numbers. NOT_A_NUMBER: NaN or infinity among them (the sample is not valid). RANGE:
a block that ends before it begins, |W| over 15 V * 10 A, or mean power times the block's time that contradicts the
accumulator by more than 1 % plus 1 mJ, when no block is missing. DROPPED: blocks missing by sample number. Sample
numbers going backwards, or an accumulator that steps back by more than the block can give back: the device was
opened again, WRAP_AMBIGUOUS, new segment.

Error limits are options: take them from the instrument's certificate.
"""

from __future__ import annotations

import json
import math
import queue
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from joulebit.errors import JoulebitError
from joulebit_host.meters.base import Accuracy, Fault, Meter, Reading, Received, Sample
from joulebit_host.meters.clock import ClockAlignment
from joulebit_host.meters.decoding import FrameDecoder, Lines
from joulebit_host.meters.kind import Kind
from joulebit_host.meters.limits import ErrorLimits
from joulebit_host.meters.options import option

_SAMPLE_HZ = 1_000_000
_MAX_W = 150.0
_SLACK_S = 2.0  #: the longest delay that is taken for a delay


@dataclass(frozen=True)
class JoulescopeOptions(ErrorLimits):
    """Options of the JS220."""

    interval_s: float = option(0.1, "time of a statistics block", unit="s", low=0.0005, high=10)
    offset_a: float = option(25e-6, "offset of the current in the range used", unit="A", low=0)
    nominal_v: float = option(12.0, "supply voltage, for the error limits", unit="V", low=0, high=15)

    def reading(self) -> Reading:
        """The accumulator."""
        return Reading.ENERGY

    def accuracy(self) -> Accuracy:
        """As given in the options."""
        known = Accuracy(
            gain=0.0025,
            offset_w=self.nominal_v * self.offset_a,
            power_resolution_w=0.0,
            energy_resolution_j=1e-9,
            time_s=0.002,
            source="gain 0.25 %, offset of the current 25 uA (offset_a) and arrival over USB within 2 ms assumed: "
            "give the certificate's",
            assumed=("gain", "offset_w", "time_s"),
        )
        return self.limited(known)

    def interval(self) -> float:
        """Time of a block."""
        return self.interval_s


class JoulescopeDecoder(FrameDecoder):
    """See the module."""

    def __init__(self, options: JoulescopeOptions) -> None:
        super().__init__()
        self._options = options
        self._lines = Lines(longest=65536)
        self._alignment = ClockAlignment()
        self._last: tuple[int, float] | None = None  # (last sample, joules)
        self._heard_s = 0.0
        self._doubtful: int | None = None  # last sample of a record that did not follow
        self._base_j = 0.0
        self._first = 0
        self._segment = 0

    def interrupted(self, received: Received) -> None:
        """Half a record is void."""
        if received.event != "timeout" and self._lines.reset():
            self.count(Fault.FRAMING)

    def decode(self, received: Received) -> list[Sample]:
        """See `FrameDecoder`."""
        return [
            s for line in self._lines.cut(received.data) if (s := self._record(line, received.t_s)) is not None
        ]

    def _record(self, line: bytes, arrived_s: float) -> Sample | None:
        try:
            value = json.loads(line)
            first, last = value["time"]["samples"]["value"]
            frequency = float(value["time"]["sample_freq"]["value"])
            means = [float(value["signals"][name]["avg"]["value"]) for name in ("voltage", "current", "power")]
            energy_j = float(value["accumulators"]["energy"]["value"])
        except (ValueError, KeyError, TypeError, IndexError, OverflowError, RecursionError):
            self.count(Fault.FRAMING)
            return None
        if not (_is_count(first) and _is_count(last) and 0 < frequency < math.inf):
            self.count(Fault.FRAMING)
            return None
        numbers = (*means, energy_j)
        if not all(map(math.isfinite, numbers)):
            self.count(Fault.NOT_A_NUMBER)
            return Sample(t_s=arrived_s, valid=False, segment=self._segment)
        block_s = (last - first) / frequency
        wrong_block = abs(block_s / self._options.interval_s - 1) > 0.01
        if wrong_block or abs(means[2]) > _MAX_W:
            self.count(Fault.RANGE)
            return None
        dropped = self._follow(first, last, energy_j, means[2] * block_s, arrived_s)
        if dropped is None:
            self._doubtful = last
            self.count(Fault.RANGE)
            return None
        self._last, self._heard_s, self._doubtful = (last, energy_j), arrived_s, None
        device_t_s = last / frequency
        return Sample(
            t_s=self._alignment.host_time(device_t_s, arrived_s),
            power_w=means[2],
            voltage_v=means[0],
            current_a=means[1],
            energy_j=energy_j - self._base_j,
            device_t_s=device_t_s,
            sequence=round((last - self._first) / max(1, last - first)),
            dropped=dropped,
            segment=self._segment,
        )

    def _follow(self, first: int, last: int, energy_j: float, block_j: float, arrived_s: float) -> int | None:
        """Blocks missing before this one; None for a record that cannot follow, unless a second one
        confirms it.
        """
        if self._last is None:
            self._begin(first, energy_j)
            return 0
        gap, step_j = first - self._last[0], energy_j - self._last[1]
        late_s = (gap + last - first) / _SAMPLE_HZ - (arrived_s - self._heard_s)
        most_j = _MAX_W * (gap + last - first) / _SAMPLE_HZ
        whole = gap > 0 or abs(step_j - block_j) <= 0.01 * abs(block_j) + 1e-3
        if gap >= 0 and abs(late_s) <= _SLACK_S and abs(step_j) <= most_j and whole:
            dropped = math.ceil(gap / (last - first))
            self.count(Fault.DROPPED, dropped)
            return dropped
        if first != self._doubtful:
            return None
        self.count(Fault.WRAP_AMBIGUOUS)
        self._segment += 1
        self._begin(first, energy_j)
        return 0

    def _begin(self, first: int, energy_j: float) -> None:
        self._first, self._base_j = first, energy_j
        self._alignment.reset()


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 1 << 63


class JoulescopeMeter:
    """See the module and `base.Meter`. `driver` is a `pyjoulescope_driver.Driver`."""

    kind = "joulescope"

    def __init__(self, address: str, options: JoulescopeOptions, driver: Any) -> None:
        """Opens the device; raises JoulebitError."""
        self.settings: Mapping[str, Any] = asdict(options)
        self.reading = options.reading()
        self.accuracy = options.accuracy()
        self.interval_s = options.interval()
        self._driver = driver
        self._values: queue.Queue[tuple[float, bytes]] = queue.Queue()
        self._running = False
        self._gone = False
        self._retry_at_s = 0.0
        self._heard_s = 0.0
        devices = [path for path in driver.device_paths() if "js220" in path.lower() and address in path]
        if len(devices) != 1:
            there = ", ".join(driver.device_paths()) or "no Joulescope"
            raise JoulebitError(f"joulescope: exactly one JS220 must fit {address!r}; there is {there}")
        self._path = devices[0]
        self.identity = self._path
        self._open()

    def _open(self) -> None:
        try:
            self._driver.open(self._path)
        except Exception as error:
            raise JoulebitError(f"joulescope: {self._path} cannot be opened: {error}") from None

    def start(self) -> None:
        """Begins the statistics; see `base.Meter`."""
        driver, path = self._driver, self._path
        driver.publish(path + "/s/i/range/mode", "auto")
        driver.publish(path + "/s/stats/scnt", round(_SAMPLE_HZ * self.interval_s))
        driver.publish(path + "/s/stats/ctrl", 1)
        driver.subscribe(path + "/s/stats/value", "pub", self._on_value)
        self._running = True
        self._heard_s = time.monotonic()

    def _on_value(self, topic: str, value: Any) -> None:
        """Called by the driver's thread."""
        line = json.dumps(value, sort_keys=True, separators=(",", ":"), default=float).encode() + b"\n"
        self._values.put((time.monotonic(), line))

    def read(self, timeout_s: float) -> Received:
        """See `base.Meter`. After two silent seconds the driver is asked whether the device is still there."""
        began_s = time.monotonic()
        if self._gone:
            return self._wait_for_return(began_s, timeout_s)
        try:
            arrived_s, line = self._values.get(timeout=timeout_s)
        except queue.Empty:
            now_s = time.monotonic()
            if now_s - self._heard_s < max(2.0, 3 * self.interval_s):
                return Received(began_s, now_s, b"")
            self._heard_s = now_s
            if self._path in self._driver.device_paths():
                return Received(began_s, now_s, b"", "timeout")
            self._gone = True
            self._close_device()
            return Received(began_s, now_s, b"", "unplugged")
        self._heard_s = arrived_s
        return Received(min(began_s, arrived_s), arrived_s, line)

    def _wait_for_return(self, began_s: float, timeout_s: float) -> Received:
        end_s = began_s + timeout_s
        while time.monotonic() < end_s:
            if self._path in self._driver.device_paths():
                try:
                    self._open()
                    if self._running:
                        self.start()
                    self._gone = False
                    return Received(began_s, time.monotonic(), b"", "replugged")
                except Exception:
                    self._close_device()
            time.sleep(min(0.2, max(0.0, end_s - time.monotonic())))
        return Received(began_s, time.monotonic(), b"")

    def stop(self) -> None:
        """Ends the statistics."""
        if self._running and not self._gone:
            try:
                self._driver.unsubscribe(self._path + "/s/stats/value", self._on_value)
                self._driver.publish(self._path + "/s/stats/ctrl", 0)
            except Exception:
                self._gone = True
        self._running = False

    def _close_device(self) -> None:
        try:
            self._driver.close(self._path)
        except Exception:
            return  # it is not there any more

    def close(self) -> None:
        """Closes device and driver."""
        self.stop()
        self._close_device()
        self._driver.finalize()


def _driver() -> Any:
    try:
        import pyjoulescope_driver
    except ModuleNotFoundError:
        raise JoulebitError("Joulescopes need pyjoulescope_driver: pip install 'joulebit[joulescope]'") from None
    return pyjoulescope_driver.Driver()


def _open(address: str, options: JoulescopeOptions) -> Meter:
    driver = _driver()
    try:
        return JoulescopeMeter(address, options, driver)
    except BaseException:
        driver.finalize()
        raise


def find() -> list[tuple[str, str, bool, str]]:
    """(spec, title, usable, hint) of every JS220."""
    try:
        driver = _driver()
    except JoulebitError:
        return []
    try:
        return [
            (f"joulescope:{path}", f"Joulescope {path}", True, "")
            for path in driver.device_paths()
            if "js220" in path
        ]
    finally:
        driver.finalize()


KIND = Kind(
    "joulescope", "Joulescope JS220", "serial number, or none", JoulescopeOptions, JoulescopeDecoder, _open
)
