"""Energy by what a reading stands for; gaps are gaps."""

from __future__ import annotations

import pytest

from joulebit_host.meters.base import Reading, Sample
from joulebit_host.meters.summary import Summariser


def total(reading, samples, interval_s=1.0):
    summary = Summariser(reading, interval_s)
    summary.add(samples)
    return summary.result()


def watts(*pairs, **more):
    return [Sample(float(t), power_w=w, **more) for t, w in pairs]


def test_averages_cover_the_time_before_them():
    result = total(Reading.AVERAGE, watts((0, 9.0), (1, 2.0), (3, 4.0)))
    assert (result.energy_j, result.seconds, result.mean_w) == (10.0, 3.0, 10 / 3)


def test_points_are_joined_by_straight_lines():
    result = total(Reading.POINT, watts((0, 1.0), (1, 3.0), (2, 3.0)))
    assert (result.energy_j, result.seconds) == (5.0, 2.0)


def test_an_accumulator_is_differenced_and_loses_nothing_in_a_drop():
    samples = [Sample(0.0, energy_j=5.0), Sample(1.0, energy_j=7.0), Sample(9.0, energy_j=30.0, dropped=7)]
    result = total(Reading.ENERGY, samples)
    assert (result.energy_j, result.seconds, result.dropped, result.gap_s) == (25.0, 9.0, 7, 0.0)


def test_an_accumulator_is_never_differenced_over_a_break():
    samples = [Sample(0.0, energy_j=5.0), Sample(1.0, energy_j=7.0), Sample(2.0, energy_j=0.5, segment=1)]
    samples.append(Sample(3.0, energy_j=1.5, segment=1))
    result = total(Reading.ENERGY, samples)
    assert (result.energy_j, result.seconds, result.gap_s) == (3.0, 2.0, 1.0)


@pytest.mark.parametrize("reading", [Reading.AVERAGE, Reading.POINT])
@pytest.mark.parametrize(
    "middle",
    [
        Sample(2.0, power_w=50.0, valid=False),
        Sample(2.0, power_w=None),
    ],
)
def test_a_reading_that_is_none_is_a_gap(reading, middle):
    samples = [*watts((0, 2.0), (1, 2.0)), middle, *watts((3, 2.0), (4, 2.0))]
    result = total(reading, samples)
    assert (result.energy_j, result.seconds, result.gap_s, result.invalid) == (4.0, 2.0, 2.0, 1)


@pytest.mark.parametrize("reading", [Reading.AVERAGE, Reading.POINT])
@pytest.mark.parametrize("late", [Sample(6.0, power_w=2.0), Sample(2.0, power_w=2.0, dropped=1)])
def test_missing_time_is_never_bridged(reading, late):
    result = total(reading, [*watts((0, 2.0), (1, 2.0)), late])
    assert (result.energy_j, result.seconds, result.gap_s) == (2.0, 1.0, late.t_s - 1.0)


@pytest.mark.parametrize("reading", list(Reading))
def test_nothing_gives_nothing(reading):
    for samples in ([], [Sample(0.0, power_w=3.0, energy_j=1.0)], [Sample(0.0, valid=False)]):
        result = total(reading, samples)
        assert (result.energy_j, result.mean_w, result.seconds) == (None, None, 0.0)
