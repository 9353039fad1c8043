"""Energy by phase in three ways, against devices whose phases are known."""

import math

import pytest
from virtual_meter import VirtualDevice, VirtualMeter, decoder_for

from joulebit.errors import JoulebitError
from joulebit_host.meters.base import Accuracy, Reading
from joulebit_host.session.phases import (
    OTHER,
    PHASES,
    PhaseMarks,
    phases_by_replay,
)
from joulebit_host.session.session import Marks, rehearse
from joulebit_host.session.settings import SessionSettings
from joulebit_host.session.timing import VirtualClock
from joulebit_host.session.uncertainty import Quantity, Term
from joulebit_host.session.window import Window

POWER = {"forward": 1.2, "input_gradient": 1.6, "weight_gradient": 1.9, "update": 0.4}
SECONDS = {"forward": 0.03, "input_gradient": 0.035, "weight_gradient": 0.04, "update": 0.01}
STEP_J = sum(POWER[p] * SECONDS[p] for p in PHASES)


def joules(value: float, u: float, source: str) -> Quantity:
    return Quantity(value, "J", (Term(source, "noise", u),))


def test_replayed_phases_add_up_to_the_step() -> None:
    replays = {p: (joules(POWER[p] * SECONDS[p] * 300 + 0.01, 0.02, p), 300) for p in PHASES}
    found = phases_by_replay(replays, (joules(STEP_J * 100 - 0.01, 0.02, "whole"), 100))
    assert found.additive
    assert found.as_json()["valid"]
    assert found.energies["update"].value == pytest.approx(0.004, rel=0.01)
    assert found.difference.u == pytest.approx(math.hypot(0.02 / 300 * 2, 0.02 / 100))


def test_phases_that_do_not_add_up_are_reported() -> None:
    """Alone, a phase finds its data in the cache: 10 % less."""
    replays = {p: (joules(0.9 * POWER[p] * SECONDS[p] * 300, 0.01, p), 300) for p in PHASES}
    found = phases_by_replay(replays, (joules(STEP_J * 100, 0.01, "whole"), 100))
    assert not found.additive
    assert found.as_json()["reasons"][0]["rule"] == "not_additive"
    with pytest.raises(JoulebitError, match="at least 1"):
        phases_by_replay({"forward": (joules(1, 1, "a"), 0)}, (joules(1, 1, "b"), 1))


def marked_session(interval_s: float, late_s: float = 0.0) -> dict:
    """Steps of four marked phases and 20 ms without, in virtual time."""
    clock = VirtualClock()
    device = VirtualDevice(clock)
    meter = VirtualMeter(device, Reading.AVERAGE, interval_s, Accuracy(1e-3, 1e-3, time_s=late_s))

    def work(repeats: int, marks: Marks) -> None:
        for _ in range(repeats):
            for phase in PHASES:
                marks.phase(phase)
                device.set_power(2.5 + POWER[phase])
                clock.sleep(10 * SECONDS[phase])
            marks.phase("")
            device.set_power(2.6)
            clock.sleep(0.2)
        device.set_power(2.5)

    result = rehearse("s", meter, work, SessionSettings(windows=1), decoder_for, clock=clock)
    return result["windows"][0]


def test_marked_phases_of_a_fast_meter_are_told_apart() -> None:
    window = marked_session(0.004)
    phases = window["phases"]
    assert phases["valid"], phases["reasons"]
    assert phases["additive"]
    for name in PHASES:
        truth = (2.5 + POWER[name]) * 10 * SECONDS[name] * window["repeats"]
        found = phases["energies"][name]
        assert abs(found["value"] - truth) < found["u_k2"]
        assert found["u_k2"] < 0.05 * truth
    assert phases["energies"][OTHER]["value"] == pytest.approx(2.6 * 0.2 * window["repeats"], rel=0.02)
    total = sum(phases["energies"][name]["value"] for name in (*PHASES, OTHER))
    assert total == pytest.approx(window["gross"]["value"], rel=1e-4)


def test_marks_are_refused_for_a_meter_that_is_too_slow() -> None:
    reasons = marked_session(0.15)["phases"]["reasons"]
    assert {r["rule"] for r in reasons} == {"phase_too_short"}
    assert any("phase update" in r["text"] for r in reasons)


def test_marks_before_the_window_say_which_phase_it_begins_in() -> None:
    marks = [(0.0, "forward"), (5.0, "update"), (7.0, ""), (20.0, "forward")]
    found = PhaseMarks.inside(marks, Window(2.0, 10.0))
    assert found is not None
    assert found.names == ("forward", "update", OTHER)
    assert found.start_s.tolist() == [2.0, 5.0, 7.0]
    assert found.end_s.tolist() == [5.0, 7.0, 10.0]
    assert PhaseMarks.inside(marks, Window(8.0, 10.0)) is None
