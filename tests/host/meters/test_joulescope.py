"""The JS220 with a driver that is made up: statistics as pyjoulescope_driver publishes them."""

from __future__ import annotations

import json
import math
import threading
import time

import pytest

from joulebit.errors import JoulebitError
from joulebit_host.meters.base import Fault, Received
from joulebit_host.meters.kinds.joulescope import JoulescopeMeter, JoulescopeOptions
from joulebit_host.meters.registry import decoder_for

BLOCK = 100_000


def statistics(block, watts=3.0, energy_j=None, samples=BLOCK):
    """A value of `s/stats/value`, with the keys that the driver gives it."""
    first = block * BLOCK

    def signal(mean, unit):
        parts = {"avg": mean, "std": 0.01, "min": mean, "max": mean, "p2p": 0.0}
        return {name: {"value": value, "units": unit} for name, value in parts.items()}

    energy_j = (block + 1) * 0.1 * watts if energy_j is None else energy_j
    return {
        "time": {
            "samples": {"value": [first, first + samples], "units": "samples"},
            "sample_freq": {"value": 1_000_000, "units": "Hz"},
            "range": {"value": [first / 1e6, (first + samples) / 1e6], "units": "s"},
        },
        "signals": {
            "current": signal(watts / 12, "A"),
            "voltage": signal(12.0, "V"),
            "power": signal(watts, "W"),
        },
        "accumulators": {
            "charge": {"value": 0.0, "int_value": 0, "units": "C"},
            "energy": {"value": energy_j, "int_value": int(energy_j * 2**34), "units": "J"},
        },
    }


def feed(decoder, t_s, value):
    return decoder.feed(Received(t_s, t_s, json.dumps(value).encode() + b"\n"))


def test_energy_comes_from_the_accumulator():
    decoder = decoder_for("joulescope", {})
    samples = [s for i in range(5) for s in feed(decoder, 0.1 * i, statistics(i))]
    assert [s.energy_j for s in samples] == pytest.approx([0.0, 0.3, 0.6, 0.9, 1.2], abs=1e-12)
    assert [s.device_t_s for s in samples] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    assert {s.power_w for s in samples} == {3.0}
    assert not decoder.faults


def test_missing_blocks_are_counted_and_their_energy_is_not_lost():
    decoder = decoder_for("joulescope", {})
    feed(decoder, 0.0, statistics(0))
    (sample,) = feed(decoder, 0.5, statistics(5))
    assert (sample.dropped, sample.energy_j) == (4, pytest.approx(1.5))
    assert decoder.faults == {Fault.DROPPED: 4}


@pytest.mark.parametrize(
    ("value", "fault", "count"),
    [
        (statistics(1, energy_j=5.0), Fault.RANGE, 0),
        (statistics(1, samples=0), Fault.RANGE, 0),
        (statistics(1, watts=math.nan, energy_j=0.6), Fault.NOT_A_NUMBER, 1),
        (statistics(1) | {"signals": {}}, Fault.FRAMING, 0),
        ([], Fault.FRAMING, 0),
        (statistics(0, energy_j=0.01), Fault.RANGE, 0),
        (statistics(1, samples=BLOCK + 2000), Fault.RANGE, 0),
        (statistics(100_000), Fault.RANGE, 0),
    ],
)
def test_records_that_are_void_or_break_off(value, fault, count):
    decoder = decoder_for("joulescope", {})
    feed(decoder, 0.0, statistics(0))
    samples = feed(decoder, 0.1, value)
    assert len(samples) == count
    assert decoder.faults == {fault: 1}


def test_a_device_that_was_opened_again():
    decoder = decoder_for("joulescope", {})
    for i in range(10, 13):
        feed(decoder, 0.1 * i, statistics(i))
    assert feed(decoder, 4.0, statistics(0)) == []
    (sample,) = feed(decoder, 4.1, statistics(1))
    assert (sample.segment, sample.energy_j) == (1, 0.0)
    (sample,) = feed(decoder, 4.2, statistics(2))
    assert sample.energy_j == pytest.approx(0.3)
    assert decoder.faults == {Fault.RANGE: 1, Fault.WRAP_AMBIGUOUS: 1}


class FakeDriver:
    """As much of pyjoulescope_driver.Driver as is used."""

    def __init__(self):
        self.paths = ["u/js220/001234"]
        self.published = {}
        self.opened = 0
        self.finalized = False
        self._stop = threading.Event()
        self._block = 0

    def device_paths(self):
        return list(self.paths)

    def open(self, path):
        if path not in self.paths:
            raise RuntimeError("not found")
        self.opened += 1

    def close(self, path):
        self._stop.set()

    def publish(self, topic, value):
        self.published[topic] = value

    def subscribe(self, topic, flags, callback):
        self._stop = threading.Event()
        threading.Thread(target=self._run, args=(topic, callback, self._stop), daemon=True).start()

    def unsubscribe(self, topic, callback):
        self._stop.set()

    def finalize(self):
        self.finalized = True

    def _run(self, topic, callback, stop):
        while not stop.wait(0.02) and self.paths:
            callback(topic, statistics(self._block))
            self._block += 1


def test_live():
    driver = FakeDriver()
    meter = JoulescopeMeter("001234", JoulescopeOptions(interval_s=0.1), driver)
    meter.start()
    assert driver.published["u/js220/001234/s/stats/scnt"] == 100_000
    decoder = decoder_for("joulescope", meter.settings)
    samples = []
    while len(samples) < 5:
        samples += decoder.feed(meter.read(1.0))
    assert samples[4].energy_j == pytest.approx(1.2)
    meter.close()
    assert driver.finalized


def test_unplugged_and_back():
    driver = FakeDriver()
    meter = JoulescopeMeter("", JoulescopeOptions(interval_s=0.1), driver)
    meter.start()
    assert meter.read(1.0).data
    paths, driver.paths = driver.paths, []
    events, end_s = [], time.monotonic() + 4.0
    while time.monotonic() < end_s and "unplugged" not in events:
        events.append(meter.read(0.2).event)
    assert "unplugged" in events
    driver.paths = paths
    assert meter.read(1.0).event == "replugged"
    assert meter.read(1.0).data
    assert driver.opened == 2
    meter.close()


def test_no_device():
    driver = FakeDriver()
    with pytest.raises(JoulebitError, match="exactly one JS220"):
        JoulescopeMeter("999", JoulescopeOptions(), driver)
