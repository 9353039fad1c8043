"""Energy by phase in three ways, against devices whose phases are known."""

import math
import random

import numpy as np
import pytest
from rich.console import Console
from virtual_meter import VirtualDevice, VirtualMeter, decoder_for

from joulebit.errors import JoulebitError
from joulebit_host.meters.base import Accuracy, Reading
from joulebit_host.session.phases import (
    OTHER,
    PHASES,
    Mix,
    PhaseMarks,
    phases_by_regression,
    phases_by_replay,
    regress,
)
from joulebit_host.session.session import Marks, rehearse
from joulebit_host.session.settings import SessionSettings
from joulebit_host.session.timing import VirtualClock
from joulebit_host.session.uncertainty import Quantity, Term, limits
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
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(found.table())
    assert "weight_gradient" in console.export_text()


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


def mixes(seed: int, sigma_w: float = 0.002, gain: float = 0.0, n: int = 12) -> list[Mix]:
    r = random.Random(seed)
    found = []
    for i in range(n):
        raw = [r.uniform(0, 1) ** 2 for _ in range(5)]
        shares = {p: x / sum(raw) for p, x in zip(PHASES, raw)}
        power = 2.5 + sum(shares[p] * POWER[p] for p in PHASES)
        power = power * (1 + gain) + r.gauss(0, sigma_w)
        terms = (limits("gain of m", "gain", 0.01 * power), Term(f"noise {i}", "noise", sigma_w))
        found.append(Mix(Quantity(power, "W", terms), shares))
    return found


def test_the_regression_is_weighted_least_squares() -> None:
    """Against numpy's solution of the whitened system; noise of each window by itself."""
    given = mixes(1)
    given[3] = Mix(Quantity(given[3].power.value, "W", (Term("noise 3", "noise", 0.02),)), given[3].shares)
    fit = regress(given)
    design = np.array([[1.0, *[m.shares[p] for p in PHASES]] for m in given])
    weight = np.array([1 / next(t.u for t in m.power.terms if t.name == "noise") for m in given])
    expected, *_ = np.linalg.lstsq(design * weight[:, None], np.array([m.power.value for m in given]) * weight)
    assert [fit.base.value, *[fit.powers[p].value for p in PHASES]] == pytest.approx(expected.tolist(), rel=1e-9)
    assert fit.dof == 7
    covariance = np.linalg.inv((design * weight[:, None]).T @ (design * weight[:, None]))
    noise_u = math.sqrt(sum(t.u**2 for t in fit.powers["update"].terms if t.name == "noise"))
    assert noise_u == pytest.approx(math.sqrt(covariance[4, 4]), rel=1e-9)


def test_the_regressions_intervals_hold_the_true_powers() -> None:
    hits, n = 0, 0
    for seed in range(150):
        gain = random.Random(seed).uniform(-0.01, 0.01)
        fit = regress(mixes(100 + seed, gain=gain))
        for phase in PHASES:
            n += 1
            hits += abs(fit.powers[phase].value - POWER[phase]) <= fit.powers[phase].expanded
    assert 0.93 <= hits / n <= 0.995


def test_windows_that_do_not_fit_widen_the_interval() -> None:
    """The scatter is ten times what the windows' budgets say."""
    believed = [
        Mix(Quantity(m.power.value, "W", (Term(f"n{i}", "noise", 0.002),)), m.shares)
        for i, m in enumerate(mixes(5, sigma_w=0.02))
    ]
    fit = regress(believed)
    assert fit.chi2 / fit.dof > 20
    honest = regress(mixes(5, sigma_w=0.02))
    ratio = fit.powers["forward"].u / math.sqrt(
        sum(t.u**2 for t in honest.powers["forward"].terms if t.name == "noise")
    )
    assert 0.4 < ratio < 2.5


def test_mixes_that_say_nothing_are_refused() -> None:
    same = [
        Mix(Quantity(3.0, "W", (Term(f"{i}", "noise", 0.1),)), {"forward": 0.5, "update": 0.5}) for i in range(9)
    ]
    with pytest.raises(JoulebitError, match="do not tell idle, forward, update apart"):
        regress(same)
    with pytest.raises(JoulebitError, match="at most 1 together"):
        regress([Mix(Quantity(3.0, "W"), {"forward": 0.9, "update": 0.5})])


def test_regressed_phases_add_up_to_the_step() -> None:
    whole = Quantity(STEP_J, "J", (limits("gain of m", "gain", 0.01 * STEP_J), Term("w", "noise", 1e-4)))
    found = phases_by_regression(mixes(7), SECONDS, whole)
    assert found.additive
    for phase in PHASES:
        truth = POWER[phase] * SECONDS[phase]
        assert found.energies[phase].value == pytest.approx(truth, abs=2 * found.energies[phase].expanded)
    # The gain is common to phases and whole, and so nearly cancels in the difference.
    assert math.sqrt(sum(t.u**2 for t in found.difference.terms if t.name == "gain")) < 1e-4
    wrong = phases_by_regression(mixes(7), {**SECONDS, "forward": 0.06}, whole)
    assert not wrong.additive
    with pytest.raises(JoulebitError, match="no mix holds"):
        phases_by_regression(mixes(7), {"softmax": 1.0}, whole)
