"""Noise that an accumulator shows beside its rounding, and noise that it hides."""

import numpy as np
import pytest
from scipy.signal import lfilter

from joulebit_host.meters.base import Reading, Sample
from joulebit_host.session.accumulator import accumulator_noise, edge_rounding_j
from joulebit_host.session.energy import Edge
from joulebit_host.session.noise import Noise
from joulebit_host.session.window import Window, build

H = 0.1
WINDOWS = [Window(1.0, 14.0), Window(30.0, 43.0)]


def noise_of_accumulator(random: np.random.Generator, step_j: float, sigma_w: float, rho: float = 0.0) -> Noise:
    """Constant 2.5 W with (autoregressive) noise, counted in steps."""
    n = 450
    drive = random.normal(0, sigma_w * np.sqrt(1 - rho**2), n)
    drive[0] /= np.sqrt(1 - rho**2)
    power = random.uniform(2.4, 2.8) + lfilter([1.0], [1.0, -rho], drive)
    total = np.cumsum(power * H) + random.uniform(0, 5)
    total = np.floor(total / step_j) * step_j if step_j else total
    samples = [Sample(i * H, energy_j=float(value)) for i, value in enumerate(total)]
    return accumulator_noise(build(samples, Reading.ENERGY, H), WINDOWS, step_j)


def drawn(count: int, *arguments: float) -> tuple[float, float]:
    """(mean of the posterior means of V, median degrees of freedom) of many accumulators."""
    random = np.random.default_rng(3)
    found = [noise_of_accumulator(random, *arguments) for _ in range(count)]
    means = [noise.long_run_w2 * noise.dof / (noise.dof - 2) for noise in found]
    return float(np.mean(means)), float(np.median([noise.dof for noise in found]))


def test_without_steps_it_is_students_t_of_two_windows_of_ten_modes() -> None:
    mean, dof = drawn(300, 0.0, 0.05)
    assert dof == pytest.approx(18, abs=0.5)
    # The mean of a scaled inverse chi-square distribution with 18 degrees of freedom is 18 / 16 of its scale.
    assert mean == pytest.approx(0.05**2 * H * 18 / 16, rel=0.08)


def test_noise_whose_readings_resemble_each_other_counts_as_much_as_it_adds() -> None:
    white, _ = drawn(200, 0.0, 0.05)
    mean, _ = drawn(200, 0.0, 0.05, 0.6)
    assert mean / white == pytest.approx((1 + 0.6) / (1 - 0.6), rel=0.2)


@pytest.mark.parametrize("step_j", [0.05, 0.36])
def test_noise_is_seen_below_the_steps(step_j: float) -> None:
    """What the noise adds in 13 s is a sixth of a step of 0.36 J."""
    mean, _ = drawn(200, step_j, 0.05)
    assert 0.9 * 0.05**2 * H < mean < 2 * 0.05**2 * H


def test_what_steps_may_hide_is_counted() -> None:
    mean, dof = drawn(100, 1.0, 1e-4)
    assert mean > 10 * 1e-8 * H
    assert mean * 13 < 1.0**2 / 12, "but less than one rounding over an idle window"
    assert dof < 10, "and it is known badly"


def test_a_perfect_accumulator_has_no_noise() -> None:
    samples = [Sample(i * H, energy_j=0.25 * i) for i in range(450)]
    found = accumulator_noise(build(samples, Reading.ENERGY, H), WINDOWS, 0.0)
    assert found.long_run_w2 == 0.0


def test_too_few_counts_tell_nothing() -> None:
    samples = [Sample(float(i), energy_j=2.0 * i + (i % 3) * 0.1) for i in range(12)]
    assert accumulator_noise(build(samples, Reading.ENERGY, 1.0), [Window(0.0, 9.0)], 0.0).count == 0


@pytest.mark.parametrize(("outside", "power_w"), [(0.0, 3.0), (0.4, 3.0), (0.5, 0.2), (0.3, 40.0)])
def test_rounding_at_an_edge_is_the_spread_of_interpolated_counts(outside: float, power_w: float) -> None:
    step_j, interval_s = 0.36, 0.1
    first = np.random.default_rng(1).uniform(0, 10, 200_000)
    second = first + power_w * interval_s
    counts = [np.floor(a / step_j) * step_j - a for a in (first, second)]
    error = (1 - outside) * counts[0] + outside * counts[1]
    edge = Edge(0.0, 0.0, 0.0, 0.0, outside, interval_s)
    if power_w * interval_s < step_j or outside == 0.0:
        assert edge_rounding_j(step_j, edge, power_w) == pytest.approx(error.std(), rel=0.02)
    else:
        # Several steps apart they are taken as independent; the true covariance depends on the place in a step.
        assert edge_rounding_j(step_j, edge, power_w) == pytest.approx(error.std(), rel=0.35)
