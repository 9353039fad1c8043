"""Counters that start again: unwrapped where that is sure, a new segment where it is not."""

from __future__ import annotations

import itertools

import pytest

from joulebit_host.meters.base import Fault, Received
from joulebit_host.meters.counters import Accumulator, ModularCounter, Step
from joulebit_host.meters.emulators.catalogue import EMULATORS
from joulebit_host.meters.emulators.curve import Constant
from joulebit_host.meters.emulators.emulator import Imperfections
from joulebit_host.meters.emulators.faults import FaultPlan
from joulebit_host.meters.emulators.ina226 import InaEmulator, crc16
from joulebit_host.meters.emulators.ruideng import RuidengEmulator
from joulebit_host.meters.registry import decoder_for


@pytest.mark.parametrize("modulus", [7, 16])
def test_a_counter_is_unwrapped_whenever_the_estimate_is_near_enough(modulus):
    for start in range(modulus):
        for steps in range(4 * modulus):
            for error in (-2, 0, 2):
                counter = ModularCounter(modulus)
                counter.start(start)
                assert counter.advance((start + steps) % modulus, steps + error, 2.5) == steps
                assert counter.total == start + steps
                assert counter.wraps == (start + steps) // modulus


def test_a_counter_that_was_reset_is_not_believed():
    counter = ModularCounter(1000)
    counter.start(600)
    assert counter.advance(0, 10, 20) is None
    assert counter.advance(300, 10, 20) is None
    assert counter.advance(610, 10, 600) is None, "an estimate worse than half a turn decides nothing"
    assert (counter.raw, counter.total) == (600, 600)
    assert counter.advance(611, 10, 20) == 11


def play(duration_s=30.0, bits=16, faults=(), **settings):
    emulator = InaEmulator(Constant(3.0), sequence_bits=bits, faults=FaultPlan.parse(faults), **settings)
    decoder = decoder_for("ina226", {"sequence_bits": bits, "interval_s": emulator.interval_s})
    samples = [s for received in emulator.play(duration_s) for s in decoder.feed(received)]
    return samples, decoder.faults


@pytest.mark.parametrize(
    ("bits", "sequence", "clock_us"),
    [
        (16, 65_000, 0),
        (32, (1 << 32) - 500, 0),
        (16, 0, (1 << 32) - 9_000_000),
        (16, 65_000, (1 << 32) - 10_400_000),
    ],
)
def test_wraps_are_corrected(bits, sequence, clock_us):
    samples, faults = play(bits=bits, sequence_start=sequence, clock_start_us=clock_us)
    numbers = [s.sequence for s in samples]
    assert numbers == list(range(numbers[0], numbers[0] + 1500))
    times = [s.device_t_s for s in samples]
    assert all(abs(b - a - 0.02) < 1.1e-6 for a, b in itertools.pairwise(times))
    assert faults == {Fault.WRAPPED: (sequence > 0) + (clock_us > 0)}
    assert {s.segment for s in samples} == {0}


def test_drops_are_counted_over_a_wrap():
    samples, faults = play(faults=["drop=0.1"], sequence_start=65_000)
    assert 1480 < samples[-1].sequence - samples[0].sequence < 1500
    assert len(samples) + faults[Fault.DROPPED] == samples[-1].sequence - samples[0].sequence + 1
    assert faults[Fault.DROPPED] == sum(s.dropped for s in samples) > 100


@pytest.mark.parametrize("stall_s", [20.0, 400.0, 1500.0])
def test_a_long_silence_of_a_16_bit_counter_is_counted_right(stall_s):
    """1500 s at 50 Hz are 75,000 samples: more than one turn, told by the board's clock."""
    samples, faults = play(duration_s=stall_s + 20, faults=[f"stall@10+{stall_s}"], sequence_start=60_000)
    missing = round(stall_s / 0.02)
    assert abs(faults[Fault.DROPPED] - missing) <= 1
    assert len(samples) + faults[Fault.DROPPED] == samples[-1].sequence - samples[0].sequence + 1
    assert faults[Fault.WRAP_AMBIGUOUS] == 0


def test_a_silence_longer_than_a_turn_of_the_boards_clock():
    samples, faults = play(duration_s=5020, bits=32, faults=["stall@10+5000"], interval_s=0.2)
    assert faults[Fault.WRAPPED] == 1
    assert samples[-1].device_t_s == pytest.approx(5020, abs=0.21)
    assert abs(faults[Fault.DROPPED] - 25_000) <= 1


def test_a_board_that_restarts_opens_a_segment():
    samples, faults = play(faults=["unplug@10+3"])
    assert faults == {Fault.UNPLUGGED: 1, Fault.WRAP_AMBIGUOUS: 1}
    assert sorted({s.segment for s in samples}) == [0, 1]
    second = [s for s in samples if s.segment == 1]
    assert [s.sequence for s in second] == list(range(len(second)))
    assert all(b.t_s > a.t_s for a, b in itertools.pairwise(samples))


@pytest.mark.parametrize("interval_s", [0.001, 0.0171, 0.2])
def test_the_spacing_is_learned_when_the_option_is_wrong(interval_s):
    emulator = InaEmulator(Constant(3.0), interval_s=interval_s, sequence_bits=16)
    decoder = decoder_for("ina226", {"sequence_bits": 16})
    samples = [s for received in emulator.play(200 * interval_s) for s in decoder.feed(received)]
    assert len(samples) in (199, 200)
    assert not decoder.faults


def test_sample_times_follow_the_boards_spacing_not_the_delays():
    flaws = Imperfections(latency_s=0.002, latency_jitter_s=0.004, clock_error=5e-5)
    emulator = InaEmulator(Constant(3.0), imperfections=flaws, seed=3)
    decoder = decoder_for("ina226", {})
    records = list(emulator.play(60.0))
    samples = [s for received in records for s in decoder.feed(received)]
    errors = [s.t_s - truth.t_s for s, truth in zip(samples, emulator.truths)][100:]
    arrivals = [r.t_s - truth.t_s for r, truth in zip(records, emulator.truths)][100:]
    assert max(errors) - min(errors) < 0.0015
    assert max(arrivals) - min(arrivals) > 0.01


def line(sequence, board_us, shunt=500, bus=9600):
    text = f"E1,{sequence},{board_us},{shunt},{bus},0".encode()
    return text + b",%04X\n" % crc16(text)


def test_a_repeated_line_is_not_a_second_sample():
    decoder = decoder_for("ina226", {})
    assert len(decoder.feed(Received(0, 0.1, line(0, 0) * 3))) == 1
    assert decoder.faults == {Fault.FRAMING: 2}


@pytest.mark.parametrize("values", [(0, 1 << 32), (1 << 16, 0), (0, 0, 40_000), (0, 0, 1, 1 << 15)])
def test_values_that_no_register_holds(values):
    decoder = decoder_for("ina226", {"sequence_bits": 16})
    assert decoder.feed(Received(0, 0.1, line(*values))) == []
    assert decoder.faults == {Fault.RANGE: 1}


@pytest.mark.parametrize(
    ("kind", "shunt", "bus"),
    [("ina226", 32767, 9600), ("ina226", -32768, 9600), ("ina219", 32000, 24002), ("ina219", 5, 24003)],
)
def test_full_scale_is_overrange(kind, shunt, bus):
    decoder = decoder_for(kind, {})
    (sample,) = decoder.feed(Received(0, 0.1, line(0, 0, shunt, bus)))
    assert not sample.valid
    assert decoder.faults == {Fault.OVERRANGE: 1}


def test_a_board_with_the_other_chip_is_not_believed():
    decoder = decoder_for("ina226", {})
    other, right = b"C1,INA219,399F", b"C1,INA226,4527"
    decoder.feed(Received(0, 0.1, other + b",%04X\n" % crc16(other)))
    assert decoder.feed(Received(0, 0.2, line(0, 0))) == []
    decoder.feed(Received(0, 0.3, right + b",%04X\n" % crc16(right)))
    assert len(decoder.feed(Received(0, 0.4, line(1, 20_000)))) == 1
    assert decoder.faults == {Fault.RANGE: 2}


def test_an_accumulator_believes_a_break_when_it_is_confirmed():
    counter = Accumulator(most_per_s=10.0, slack=2.0)
    assert counter.take(100, 0.0) is Step.FOLLOWS
    assert counter.take(112, 1.0) is Step.FOLLOWS
    assert counter.take(1000, 2.0) is Step.DOUBTFUL
    assert counter.take(120, 3.0) is Step.FOLLOWS, "one damaged value changes nothing"
    assert counter.total == 20
    assert counter.take(5, 4.0) is Step.DOUBTFUL
    assert counter.take(6, 5.0) is Step.BROKEN
    assert counter.take(8, 6.0) is Step.FOLLOWS
    assert counter.total == 2


def test_a_ruideng_group_that_is_changed_opens_a_segment():
    emulator = RuidengEmulator(Constant(20.0), counter_start_mwh=5000)
    decoder = decoder_for("ruideng", {})
    samples = []
    for i, received in enumerate(emulator.play(60.0)):
        if i == 40:
            emulator.group, emulator.counter_start_mwh = 3, 0
        samples += decoder.feed(received)
    assert decoder.faults == {Fault.RANGE: 1, Fault.WRAP_AMBIGUOUS: 1}
    assert [s.segment for s in samples] == sorted(s.segment for s in samples)
    assert {s.segment for s in samples} == {0, 1}
    for segment in (0, 1):
        energies = [s.energy_j for s in samples if s.segment == segment]
        assert energies[0] == 0.0
        assert energies == sorted(energies)


@pytest.mark.parametrize("kind", ["pzem", "wattsup"])
def test_an_energy_that_was_cleared_opens_a_segment(kind):
    make = EMULATORS[kind]
    before, after = (make(Constant(300.0), counter_start_wh=start) for start in (500, 0))
    decoder = decoder_for(kind, {})
    samples = [s for received in before.play(30.0) for s in decoder.feed(received)]
    shifted = (Received(r.t_sent_s + 31, r.t_s + 31, r.data) for r in after.play(30.0))
    samples += [s for received in shifted for s in decoder.feed(received)]
    assert decoder.faults[Fault.WRAP_AMBIGUOUS] == 1
    assert {s.segment for s in samples} == {0, 1}
    assert min(s.energy_j for s in samples) == 0.0
