"""Noise with autocorrelation, against series whose long-run variance is known."""

import numpy as np
import pytest

from joulebit_host.session.noise import noise_of
from joulebit_host.session.uncertainty import PROBABILITY, student_factor


def series(random: np.random.Generator, n: int, rho: float) -> np.ndarray:
    x = np.empty(n)
    x[0] = random.normal()
    drive = random.normal(size=n) * np.sqrt(1 - rho**2)
    for i in range(1, n):
        x[i] = rho * x[i - 1] + drive[i]
    return x


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.8])
def test_the_long_run_variance_is_that_of_the_process(rho: float) -> None:
    """AR(1) of variance 1: 2 tau = (1 + rho) / (1 - rho); the fast part by the squares of 1, -3, 3, -1."""
    random = np.random.default_rng(1)
    found = [noise_of([series(random, 400, rho) + 5]) for _ in range(300)]
    assert np.mean([n.long_run_w2 for n in found]) == pytest.approx((1 + rho) / (1 - rho), rel=0.06)
    assert np.mean([n.variance_w2 for n in found]) == pytest.approx(1, rel=0.06)
    fast = (20 - 30 * rho + 12 * rho**2 - 2 * rho**3) / 20
    assert np.mean([n.fast_w2 for n in found]) == pytest.approx(fast, rel=0.03)
    assert np.median([n.effective for n in found]) == pytest.approx(400 * (1 - rho) / (1 + rho), rel=0.15)


@pytest.mark.parametrize("rho", [0.0, 0.6])
def test_the_degrees_of_freedom_make_the_means_interval_hold(rho: float) -> None:
    random = np.random.default_rng(2)
    hits, n = 0, 1200
    for _ in range(n):
        x = series(random, 150, rho)
        noise = noise_of([x])
        hits += abs(x.mean()) <= student_factor(noise.dof) * np.sqrt(noise.long_run_w2 / len(x))
    assert hits / n == pytest.approx(PROBABILITY, abs=4 * np.sqrt(PROBABILITY * (1 - PROBABILITY) / n) + 0.01)


def test_blocks_have_means_of_their_own() -> None:
    random = np.random.default_rng(3)
    blocks = [random.normal(size=200), random.normal(size=300) + 1000]
    noise = noise_of(blocks)
    assert noise.variance_w2 == pytest.approx(1, rel=0.15)
    assert noise.count == 500


def test_alternating_readings_average_out() -> None:
    noise = noise_of([np.array([1.0, -1.0] * 100)])
    assert noise.long_run_w2 < 0.05
    assert noise.fast_w2 == pytest.approx(64 / 20)


def test_slow_changes_of_the_work_are_no_fast_noise() -> None:
    """A swing of 10 readings: its variance is 1/2, of which first differences would keep a fifth."""
    random = np.random.default_rng(4)
    swing = np.sin(2 * np.pi / 10 * np.arange(400))
    noise = noise_of([swing + random.normal(0, 0.3, 400)])
    assert noise.fast_w2 == pytest.approx(0.3**2, rel=0.2)


def test_constant_and_too_few_readings_have_no_noise() -> None:
    assert noise_of([np.full(50, 3.3)]).long_run_w2 == 0
    assert noise_of([np.array([1.0, 2.0])]).count == 0
    assert noise_of([]).long_run_w2 == 0
