"""Records of counters and libraries, changed at random: nothing crashes, and what is accepted obeys the rules."""

from __future__ import annotations

import json
import math
import random

import pytest
from test_joulescope import statistics

from joulebit_host.meters.base import Received
from joulebit_host.meters.emulators.faults import flip_bit, garble
from joulebit_host.meters.registry import decoder_for

TEGRA = "RAM 2448/30536MB VDD_IN {0}mW/4960mW VDD_CPU {0}mW/0mW\n"
CASES = {
    "rapl": ({"domains": ["a"], "ranges_uj": [10**12]}, lambda i: f"a {i * 300_000}\n"),
    "hwmon": ({"files": ["h/power1_input"]}, lambda i: f"h/power1_input {3_000_000 + i}\n"),
    "hwmon-energy": ({"files": ["h/energy1_input"]}, lambda i: f"h/energy1_input {i * 300_000}\n"),
    "jetson": ({"rails": ["A:mV", "A:mA", "B:mW"]}, lambda i: f"A:mV 19000\nA:mA {i % 500}\nB:mW 100\n"),
    "tegrastats": ({}, lambda i: TEGRA.format(4000 + i % 1000)),
    "nvml": ({}, lambda i: f'{{"energy_mj":{i * 10_000},"power_mw":100000}}'),
    "joulescope": ({}, lambda i: json.dumps(statistics(i)) + "\n"),
}


@pytest.mark.parametrize("name", CASES)
def test_nothing_crashes(name):
    settings, record = CASES[name]
    decoder = decoder_for(name.partition("-")[0], settings)
    chance = random.Random(11)
    accepted, last_s, last_j = 0, 0.0, 0.0
    for i in range(10_000):
        data = record(i).encode()
        data = chance.choice((bytes, lambda d: flip_bit(d, chance), lambda d: garble(d, chance)))(data)
        t_s = 0.1 * i
        for sample in decoder.feed(Received(t_s, t_s, data)):
            accepted += 1
            assert sample.t_s == pytest.approx(t_s, abs=5.0)
            if sample.power_w is not None and sample.valid:
                assert math.isfinite(sample.power_w)
                assert -1.0 <= sample.power_w <= 2000.0
            if sample.energy_j is not None and sample.valid:
                assert math.isfinite(sample.energy_j)
                last_s, last_j = t_s, sample.energy_j
    assert accepted > 3000
    assert sum(decoder.faults.values()) > 1000
    assert last_s > 900 or name in ("hwmon", "jetson", "tegrastats"), "the others have an accumulator"
    assert last_j < 2000.0 * 1000


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(
    "text",
    [
        "[" * 20_000,
        '{"energy_mj":' + "9" * 400 + ',"power_mw":' + "9" * 400 + "}",
        "a " + "9" * 5000 + "\n",
        '{"time":{"samples":{"value":[0,' + "9" * 400 + ']},"sample_freq":{"value":1}}}\n',
        "\x00" * 1000 + "\n",
        "ä²³\n",
    ],
    ids=["nested", "huge", "long", "huge samples", "zeros", "unicode"],
)
def test_hostile_records(name, text):
    decoder = decoder_for(name.partition("-")[0], CASES[name][0])
    assert decoder.feed(Received(0.0, 0.0, text.encode())) == []
    decoder.feed(Received(0.0, 0.0, b"\n"))
    assert sum(decoder.faults.values()) >= 1
