"""Budgets of whole windows, recomputed by drawing the meter's errors many times."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.signal import lfilter

from joulebit_host.meters.base import Accuracy, Reading, Sample
from joulebit_host.session.budget import MeterFacts, WindowEnergy, measure_idle, measure_window
from joulebit_host.session.uncertainty import difference, ratio
from joulebit_host.session.window import Window, build

H = 0.1
IDLE = [Window(1.0, 13.0), Window(38.0, 50.0)]
WORK = Window(15.03, 36.04)
ACCURACY = Accuracy(gain=2e-3, offset_w=4e-3)


def measured(
    random: np.random.Generator,
    reading: Reading,
    accuracy: Accuracy = ACCURACY,
    sigma_w: float = 0.02,
    rho: float = 0.0,
    busy_w: float = 1.5,
    idle_w: float = 2.5,
) -> WindowEnergy:
    """Idle power and work from 14 s to 37 s, through a meter whose errors are drawn."""
    n = int(52 / H)
    t = np.arange(n) * H
    drive = random.normal(0, sigma_w * math.sqrt(1 - rho**2), n)
    drive[0] /= math.sqrt(1 - rho**2)
    noise = lfilter([1.0], [1.0, -rho], drive)
    true = idle_w + np.where((t > 14) & (t <= 37), busy_w, 0.0)
    power = true * (1 + random.uniform(-1, 1) * accuracy.gain) + random.uniform(-1, 1) * accuracy.offset_w + noise
    if accuracy.power_resolution_w:
        power = np.round(power / accuracy.power_resolution_w) * accuracy.power_resolution_w
    if reading is Reading.ENERGY:
        total = np.cumsum(power * H) + random.uniform(0, 5)
        step = accuracy.energy_resolution_j
        total = np.floor(total / step) * step if step else total
        samples = [Sample(float(a), energy_j=float(b)) for a, b in zip(t, total, strict=True)]
    else:
        samples = [Sample(float(a), power_w=float(b)) for a, b in zip(t, power, strict=True)]
    facts = MeterFacts(reading, H, accuracy, "m")
    pieces = build(samples, reading, H)
    idle = measure_idle(pieces, IDLE, facts, "s")
    return measure_window(pieces, WORK, facts, idle, "w", "s")


def spread(what: str, draws: int = 250, **options: object) -> tuple[float, float]:
    """(rms error of the results, rms of their standard uncertainties), over errors and powers drawn anew."""
    random = np.random.default_rng(11)
    errors, u2 = [], []
    for _ in range(draws):
        busy_w, idle_w = random.uniform(1.0, 1.4), random.uniform(2.4, 2.8)
        found = getattr(measured(random, busy_w=busy_w, idle_w=idle_w, **options), what)  # type: ignore[arg-type]
        truth = (busy_w + (idle_w if what == "gross" else 0.0)) * WORK.seconds
        errors.append(found.value - truth)
        u2.append(found.u**2)
    return math.sqrt(np.mean(np.square(errors))), math.sqrt(np.mean(u2))


@pytest.mark.parametrize("what", ["gross", "net"])
@pytest.mark.parametrize(
    ("reading", "options"),
    [
        (Reading.AVERAGE, {}),
        (Reading.POINT, {"rho": 0.7, "accuracy": Accuracy(2e-4, 1e-3)}),
        (Reading.AVERAGE, {"rho": 0.7, "sigma_w": 0.1}),
        (Reading.ENERGY, {"accuracy": Accuracy(1e-4, 1e-4, energy_resolution_j=1.0), "sigma_w": 0.001}),
        (Reading.ENERGY, {"accuracy": Accuracy(1e-4, 1e-4), "sigma_w": 0.3}),
    ],
)
def test_the_standard_uncertainty_is_the_spread_of_results(
    reading: Reading, options: dict[str, object], what: str
) -> None:
    deviation, u = spread(what, reading=reading, **options)
    # Of 250 draws, a standard deviation is known to 4.5 %. Steps of 1 J may hide noise, which is counted.
    hidden = 1.25 if options.get("sigma_w") == 0.001 else 1.15
    assert 0.85 * deviation <= u <= hidden * deviation


@pytest.mark.parametrize(
    ("sigma_w", "at_most"), [(0.0, 1.15), (0.01, 1.3), (0.025, 3.0), (0.05, 1.6), (0.2, 1.15)]
)
def test_rounding_is_not_underestimated_with_any_dithering(sigma_w: float, at_most: float) -> None:
    """Steps of 0.1 W. Where noise is a quarter of a step it seldom shows, and the budget is on the safe side."""
    accuracy = Accuracy(1e-4, 1e-4, power_resolution_w=0.1)
    deviation, u = spread("gross", reading=Reading.AVERAGE, accuracy=accuracy, sigma_w=sigma_w)
    assert 0.85 * deviation < u < at_most * deviation


def term(found: WindowEnergy, name: str, what: str = "gross") -> float:
    return math.sqrt(sum(t.u**2 for t in getattr(found, what).terms if t.name == name))


def test_each_term_has_its_documented_size() -> None:
    random = np.random.default_rng(1)
    accuracy = Accuracy(gain=2e-3, offset_w=4e-3, time_s=2e-3)
    found = measured(random, Reading.AVERAGE, accuracy)
    seconds, joules = found.window.seconds, found.gross.value
    assert term(found, "gain") == pytest.approx(2e-3 * joules / 3**0.5)
    assert term(found, "offset") == pytest.approx(4e-3 * seconds / 3**0.5)
    # White noise of 20 mW on 21 s of 0.1 s readings, estimated from idle.
    assert term(found, "noise") == pytest.approx(0.02 * math.sqrt(H * seconds), rel=0.3)
    assert found.net is not None
    assert term(found, "offset", "net") == pytest.approx(0, abs=1e-12)
    assert term(found, "gain", "net") == pytest.approx(2e-3 * abs(found.net.value) / 3**0.5)


def test_undithered_rounding_is_a_constant_error_and_dithered_rounding_averages_out() -> None:
    random = np.random.default_rng(2)
    coarse = Accuracy(0.0, 0.0, power_resolution_w=0.1)
    still = measured(random, Reading.AVERAGE, coarse, sigma_w=0.0)
    assert term(still, "quantisation") == pytest.approx(0.1 / 12**0.5 * WORK.seconds, rel=0.01)
    noisy = measured(random, Reading.AVERAGE, coarse, sigma_w=0.1)
    assert term(noisy, "quantisation") < 1e-3 * term(still, "quantisation")


def test_marks_of_another_clock_count_at_both_edges() -> None:
    samples = [Sample(i * H, power_w=4.0 if 14 < i * H <= 37 else 2.5) for i in range(520)]
    pieces = build(samples, Reading.AVERAGE, H)
    facts = MeterFacts(Reading.AVERAGE, H, Accuracy(0, 0), "m")
    idle = measure_idle(pieces, IDLE, facts, "s")
    found = measure_window(pieces, replace(WORK, edge_error_s=0.01), facts, idle, "w", "s")
    # In steady work a late edge costs the power there; net, the power above idle.
    assert found.gross.u == pytest.approx(4.0 * 0.01 / 3**0.5 * 2**0.5, rel=1e-6)
    assert found.net is not None
    assert found.net.u == pytest.approx(1.5 * 0.01 / 3**0.5 * 2**0.5, rel=1e-6)


def test_two_methods_on_one_meter_are_compared_without_its_gain() -> None:
    random = np.random.default_rng(4)
    gain = Accuracy(gain=0.02, offset_w=0.0)
    state = random.bit_generator.state
    a = measured(random, Reading.AVERAGE, gain, sigma_w=0.001)
    random.bit_generator.state = state  # the same meter: the same gain error
    b = measured(random, Reading.AVERAGE, gain, sigma_w=0.001, busy_w=1.4)
    assert a.net is not None
    assert b.net is not None
    quotient = ratio(
        b.net,
        replace(
            a.net,
            terms=tuple(replace(t, source=t.source + "a") if t.shape == "normal" else t for t in a.net.terms),
        ),
    )
    assert quotient.value == pytest.approx(1.4 / 1.5, abs=quotient.expanded)
    assert quotient.expanded < 0.002
    assert difference(a.net, b.net).u < 0.2 * a.net.u
