"""The k = 2 interval holds the true energy about as often as it says."""

import itertools
import math

import numpy as np
import pytest

from joulebit_host.meters.base import Reading
from joulebit_host.session.coverage import CASES, HEADINGS, Tally, markdown, rows, study, study_frames
from joulebit_host.session.frames import KINDS, DeviceCurve
from joulebit_host.session.simulated import draw_plan
from joulebit_host.session.uncertainty import PROBABILITY, Quantity, Term


def deviations(hits: int, n: int) -> float:
    """How many standard deviations of a binomial count the hits are from what they should be."""
    return (hits - n * PROBABILITY) / math.sqrt(n * PROBABILITY * (1 - PROBABILITY))


def test_a_small_study_holds() -> None:
    tallies = study(30, seed=20)
    assert len(tallies) == len(Reading) * len(CASES) * 2
    for reading in Reading:
        for what in ("gross", "net"):
            total = Tally()
            for case in CASES:
                total = total.plus(tallies[reading.value, case, what])
            assert total.sessions == 30 * len(CASES)
            assert abs(deviations(total.hits, total.sessions)) < 4
            assert 0.8 < math.sqrt(total.error_u / total.sessions) < 1.25


def test_sessions_through_real_frames_hold() -> None:
    tallies = study_frames(12, seed=22)
    assert {kind for kind, _, _ in tallies} == set(KINDS)
    for what in ("gross", "net"):
        total = Tally()
        for kind in KINDS:
            assert tallies[kind, "frames", what].hits >= 9, (kind, what)
            total = total.plus(tallies[kind, "frames", what])
        assert abs(deviations(total.hits, total.sessions)) < 4


@pytest.mark.slow
def test_each_kind_of_meter_holds_93_to_97_percent() -> None:
    tallies = study(700, seed=21)
    for reading in Reading:
        for what in ("gross", "net"):
            total = Tally()
            for case in CASES:
                total = total.plus(tallies[reading.value, case, what])
            assert 0.93 <= total.share <= 0.97, (reading, what, total.share)


def test_what_an_emulator_measures_is_the_device_of_the_truth() -> None:
    """The curve, asked one time after the other, against the device's vectors."""
    random = np.random.default_rng(6)
    for scale in (1.0, 8.0):
        plan = draw_plan(random, 0.3, jumps=False, scale=scale)
        curve, t = DeviceCurve(plan.device), np.sort(random.uniform(0, plan.end_s, 3000))
        power, energy = plan.device.power_w(t), plan.device.energy_j(t)
        assert [curve.power_w(x) for x in t] == pytest.approx(power, rel=1e-12)
        assert [curve.energy_j(0.0, x) for x in t] == pytest.approx(energy - plan.device.energy_j(np.zeros(1)))
        steps = [curve.energy_j(a, b) for a, b in itertools.pairwise(t)]
        assert steps == pytest.approx(np.diff(energy), abs=1e-9)


def test_a_wrong_budget_would_be_noticed() -> None:
    """Half of the true uncertainty holds two thirds; twice as much holds nearly always."""
    tally = Tally()
    for i in range(-30, 30):
        tally.add(Quantity(100 + (i + 0.5) / 10, "J", (Term("n", "noise", 0.75),)), 100.0)
    assert tally.hits == 30
    assert deviations(tally.hits, tally.sessions) < -10


def test_the_table_has_each_kind_each_case_and_all() -> None:
    table = rows(study(2))
    assert len(table) == 18 + 8
    text = markdown(table).splitlines()
    assert len(text) == 2 + len(table)
    assert all(line.count("|") == len(HEADINGS) + 1 for line in text)
