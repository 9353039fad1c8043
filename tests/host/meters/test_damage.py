"""Damaged and random input: nothing crashes, and no value is believed that was not sent.

Where a protocol has a checksum (or the meter is asked twice), every accepted sample must equal a reading that the
emulator really took at about that time. The three protocols without one are held to what their decoders'
docstrings promise: fields that contradict each other are found, so what gets through is off by no more than the
stated tolerance.
"""

from __future__ import annotations

import bisect
import random

import pytest
from conftest import PAIRS, name_of

from joulebit_host.meters.base import Fault, Received
from joulebit_host.meters.emulators.catalogue import EMULATORS
from joulebit_host.meters.emulators.curve import Restless, Steps
from joulebit_host.meters.emulators.emulator import Imperfections
from joulebit_host.meters.emulators.faults import FaultPlan
from joulebit_host.meters.registry import decoder_for

FRAMES = 10_000
CURVE = [(0.0, 2.5), (7.0, 4.1), (11.0, 1.2)]
AC_CURVE = [(0.0, 42.7), (7.0, 85.0), (11.0, 12.0)]

#: kind-model -> (relative to the true value, absolute) in W, V, A that undetectable damage may make.
TOLERANCES = {
    # The load changes between the three questions, which adds to the 10 % + 50 mW of the rule.
    "scpi": {"power_w": (0.25, 0.1), "voltage_v": (0.4, 0.3), "current_a": (0.4, 0.06)},
    "ruideng-UM24C": {"power_w": (0.0, 0.04), "voltage_v": (0.0, 0.4), "current_a": (0.0, 0.004)},
    "ruideng-UM25C": {"power_w": (0.0, 0.006), "voltage_v": (0.0, 0.05), "current_a": (0.0, 0.0005)},
    "ruideng-UM34C": {"current_a": (0.0, 0.004)},  # the low byte of A is not under the checksum, V and W are
    "wattsup": {"power_w": (0.06, 0.3), "voltage_v": (0.1, 0.2), "current_a": (0.1, 0.005)},
}


def curve_for(kind, settings, seed):
    mains = kind == "wattsup" or settings.get("model") == "004T"
    return Restless(Steps(AC_CURVE if mains else CURVE, 15.0), 0.3 if mains else 0.1, 0.05, seed=seed)


def really_sent(sample, truths, times, window_s, tolerance):
    """Whether one of the readings taken at about this time is this sample."""
    low = bisect.bisect_left(times, sample.t_s - window_s)
    high = bisect.bisect_right(times, sample.t_s + window_s)
    for truth in truths[low:high]:
        for name in ("power_w", "voltage_v", "current_a"):
            relative, absolute = (tolerance or {}).get(name, (0.0, 1e-9))
            got, sent = getattr(sample, name), getattr(truth, name)
            if got is not None and (sent is None or abs(got - sent) > relative * abs(sent) + absolute):
                break
        else:
            return True
    return False


@pytest.mark.parametrize("damage", ["corrupt", "garble"])
@pytest.mark.parametrize("pair", PAIRS, ids=name_of)
def test_no_wrong_value_is_accepted(pair, damage):
    kind, settings, emulated = pair
    plan = FaultPlan({damage: 0.3, "drop": 0.01, "cut": 0.02})
    flaws = Imperfections(noise_w=0.01, clock_error=3e-5, latency_s=0.001, latency_jitter_s=0.0005)
    emulator = EMULATORS[kind](curve_for(kind, settings, 3), faults=plan, imperfections=flaws, seed=7, **emulated)
    decoder = decoder_for(kind, settings)
    duration_s = 1.1 * emulator.interval_s * FRAMES / (2.5 if kind == "wt300" else 3 if kind == "scpi" else 1)
    samples = [sample for received in emulator.play(duration_s) for sample in decoder.feed(received)]
    truths, times = emulator.truths, [truth.t_s for truth in emulator.truths]
    frames = emulator.counts.sent + sum(emulator.counts.faults.values())
    assert frames >= FRAMES
    assert emulator.counts.faults[damage] > 0.2 * FRAMES
    assert len(samples) > 0.1 * duration_s / emulator.interval_s
    tolerance = TOLERANCES.get(name_of(pair))
    window_s = max(1.5 * emulator.interval_s, 0.1)
    wrong = [s for s in samples if s.valid and not really_sent(s, truths, times, window_s, tolerance)]
    assert wrong == []
    assert sum(decoder.faults[f] for f in (Fault.CHECKSUM, Fault.FRAMING, Fault.RANGE)) > 0.05 * FRAMES


@pytest.mark.parametrize("pair", PAIRS, ids=name_of)
def test_random_bytes_give_no_sample(pair):
    kind, settings, _ = pair
    chance = random.Random(5)
    decoder = decoder_for(kind, settings)
    alphabet = b"0123456789,.;#dE1+-_\n\rABF" + bytes(range(0, 256, 17))
    for i in range(FRAMES):
        pick = alphabet if i % 2 else bytes(range(256))
        data = bytes(chance.choices(pick, k=chance.choice((1, 5, 21, 25, 60, 130))))
        assert decoder.feed(Received(i * 0.1, i * 0.1 + 0.05, data)) == []
    assert sum(decoder.faults.values()) > 0


@pytest.mark.parametrize("pair", [p for p in PAIRS if p[0] in ("ina226", "ina219", "wattsup")], ids=name_of)
def test_pieces_of_a_stream_do_not_matter(pair):
    kind, settings, emulated = pair
    records = list(EMULATORS[kind](curve_for(kind, settings, 1), **emulated).play(60))
    whole = decoder_for(kind, settings)
    expected = [s for r in records for s in whole.feed(r)]
    split = decoder_for(kind, settings)
    chance, got = random.Random(2), []
    for record in records:
        at = chance.randrange(len(record.data) + 1)
        for part in (record.data[:at], record.data[at:]):
            got += split.feed(Received(record.t_sent_s, record.t_s, part))
    assert got == expected
    assert whole.faults == split.faults


def clean_frame(kind, settings, emulated):
    """A decoder's state with one frame taken, and the record after it, from an emulator without flaws."""
    records = list(EMULATORS[kind](Steps([(0.0, 3.0)]), **emulated).play(4.0))
    return records[1:4]


BITS = [
    ("ina226", {}, {}),
    ("ina219", {}, {}),
    ("pzem", {"model": "017"}, {"model": "017"}),
    ("pzem", {"model": "004T"}, {"model": "004T"}),
    ("wt300", {}, {}),
]


@pytest.mark.parametrize("pair", BITS, ids=name_of)
def test_every_single_bit_of_a_frame(pair):
    """Whatever bit is flipped, the frame is refused or says the same; and the frames after it are read again."""
    kind, settings, _ = pair
    before, struck, after = clean_frame(*pair)
    reference = decoder_for(kind, settings)
    good = [reference.feed(record) for record in (before, struck, after)]
    value = {(s.power_w, s.voltage_v, s.current_a) for samples in good for s in samples}
    for bit in range(8 * len(struck.data)):
        damaged = bytearray(struck.data)
        damaged[bit // 8] ^= 1 << bit % 8
        decoder = decoder_for(kind, settings)
        decoder.feed(before)
        got = decoder.feed(Received(struck.t_sent_s, struck.t_s, bytes(damaged)))
        assert all((s.power_w, s.voltage_v, s.current_a) in value for s in got if s.valid), bit
        assert got == [] or (kind == "wt300" and bit // 8 >= 2 * struck.data.index(b"\n")), bit
        # A damaged line end costs the next line of a stream too; the line after that is whole.
        later = [s for record in (after, after) for s in decoder.feed(record)]
        assert all((s.power_w, s.voltage_v, s.current_a) in value for s in later), bit


def test_every_bit_under_the_um34c_checksum():
    """The 32 bytes that the XOR covers, and byte 129 itself."""
    settings = {"model": "UM34C"}
    before, struck, _ = clean_frame("ruideng", settings, settings)
    covered = [1, 3, 7, 9, 15, 17, 19, 23, 31, 39, 41, 45, 49, 53, 55, 57, 59, 63, 67, 69, 73, 79, 83, 89, 97, 99]
    covered += [109, 111, 113, 119, 121, 127, 129]
    for byte in covered:
        for bit in range(8):
            damaged = bytearray(struck.data)
            damaged[byte] ^= 1 << bit
            decoder = decoder_for("ruideng", settings)
            decoder.feed(before)
            assert decoder.feed(Received(struck.t_sent_s, struck.t_s, bytes(damaged))) == [], (byte, bit)
