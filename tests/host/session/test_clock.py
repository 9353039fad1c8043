"""Clock fits against clocks whose offset and drift are known."""

import random

import numpy as np
import pytest
from scipy.optimize import linprog

from joulebit.errors import JoulebitError
from joulebit_host.session.clock import Exchange, fit_exchanges, fit_stream


def exchanges(
    seed: int, there_s: float = 2e-4, back_s: float = 2e-4, slow_s: float = 2e-3, n: int = 60
) -> list[Exchange]:
    """A clock that is 500 s ahead and slow by 80 ppm, over a link with exponential queues."""
    r = random.Random(seed)
    found = []
    for i in range(n):
        sent = 100 + 2.0 * i
        read = sent + there_s + r.expovariate(1 / slow_s)
        found.append(Exchange(sent, 500 + read * (1 - 80e-6), read + back_s + r.expovariate(1 / slow_s)))
    return found


def true_host(remote_s: float) -> float:
    return (remote_s - 500) / (1 - 80e-6)


def test_offset_and_drift_are_found() -> None:
    fit = fit_exchanges(exchanges(1))
    assert fit.drift == pytest.approx(80e-6, abs=4e-6)
    assert fit.host_s(600.0) == pytest.approx(true_host(600.0), abs=4e-4)
    assert fit.kept < fit.total == 60
    assert fit.offset_s == pytest.approx(true_host(fit.remote_0_s) - fit.remote_0_s, abs=4e-4)


def test_the_true_time_lies_within_the_stated_error() -> None:
    """A lopsided link: the shift takes it; the scatter takes the rest."""
    hits, n = 0, 200
    for seed in range(n):
        r = random.Random(1000 + seed)
        fit = fit_exchanges(exchanges(seed, r.uniform(0, 5e-4), r.uniform(0, 5e-4)))
        remote = 500 + r.uniform(100, 220) * (1 - 80e-6)
        error = abs(fit.host_s(remote) - true_host(remote))
        hits += error <= fit.shift_error_s + 2 * fit.line_u_s(remote)
    assert hits >= 0.97 * n


def test_quick_exchanges_decide() -> None:
    """Slow ones that are 50 ms late on one way do not move the line."""
    good = exchanges(3, slow_s=1e-5)
    late = [Exchange(e.sent_s, e.remote_s, e.received_s + 0.05) for e in exchanges(4, n=40)]
    assert fit_exchanges(good + late).host_s(600.0) == pytest.approx(fit_exchanges(good).host_s(600.0), abs=2e-5)


def test_two_exchanges_are_enough_and_one_is_not() -> None:
    fit = fit_exchanges([Exchange(0.0, 10.0, 0.002), Exchange(100.0, 110.0, 100.002)])
    assert fit.host_s(60.0) == pytest.approx(50.001)
    assert fit.shift_error_s == pytest.approx(0.001)
    with pytest.raises(JoulebitError, match="at least 2"):
        fit_exchanges([Exchange(0.0, 10.0, 0.002)])
    with pytest.raises(JoulebitError, match="before it was asked"):
        fit_exchanges([Exchange(1.0, 10.0, 0.9), Exchange(2.0, 11.0, 2.1)])


def test_a_streams_line_is_the_optimum_of_the_linear_program() -> None:
    """Moon, Skelly, Towsley: minimise the sum of delays, subject to none being negative."""
    r = np.random.default_rng(6)
    device = np.sort(r.uniform(0, 100, 120))
    host = 7 + (1 + 3e-4) * device + r.exponential(0.005, 120)
    fit = fit_stream(device, host)
    assert fit is not None
    y = host - device
    found = linprog(
        [-len(device), -device.sum()],
        A_ub=np.column_stack([np.ones(len(device)), device]),
        b_ub=y,
        bounds=[(None, None)] * 2,
    )
    assert fit.offset_s == pytest.approx(found.x[0], abs=1e-6)
    assert fit.drift == pytest.approx(found.x[1], abs=1e-7)
    assert fit.drift == pytest.approx(3e-4, abs=1e-5)
    assert np.all(y >= fit.offset_s + fit.drift * device - 1e-9)


def test_a_stream_without_two_times_has_no_fit() -> None:
    assert fit_stream(np.array([1.0]), np.array([2.0])) is None
    assert fit_stream(np.array([1.0, 1.0]), np.array([2.0, 2.1])) is None
    line = fit_stream(np.array([1.0, 2.0, 3.0]), np.array([2.0, 3.5, 4.0]))
    assert line is not None
    assert (line.offset_s, line.drift) == pytest.approx((1.0, 0.0))
    assert line.largest_delay_s == pytest.approx(0.5)
