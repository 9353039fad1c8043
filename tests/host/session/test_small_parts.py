"""Virtual time, temperature, the simulated devices."""

from pathlib import Path

import numpy as np
import pytest

from joulebit.errors import JoulebitError
from joulebit_host.meters.base import Reading
from joulebit_host.session.simulated import draw_session
from joulebit_host.session.temperature import XadcTemperature
from joulebit_host.session.timing import HostClock, VirtualClock


def test_virtual_time_passes_in_order_and_exactly() -> None:
    clock = VirtualClock(0.0)
    seen: list[tuple[str, float]] = []

    def ticking(name: str, seconds: float, times: int) -> None:
        for _ in range(times):
            clock.sleep(seconds)
            seen.append((name, clock.now()))

    ended = [clock.spawn(lambda: ticking("a", 2.0, 3)), clock.spawn(lambda: ticking("b", 3.0, 2))]
    assert not any(end() for end in ended)
    clock.sleep(1e6)
    assert seen == [("a", 2.0), ("b", 3.0), ("a", 4.0), ("b", 6.0), ("a", 6.0)]
    assert clock.now() == 1e6
    assert all(end() for end in ended)


def test_the_hosts_clock_runs_tasks() -> None:
    clock = HostClock()
    began = clock.now()
    done: list[int] = []
    ended = clock.spawn(lambda: done.append(1))
    clock.sleep(0.01)
    while not ended():
        clock.sleep(0.001)
    assert done == [1]
    assert clock.now() >= began + 0.01


def test_the_xadc_is_read_as_the_driver_says(tmp_path: Path) -> None:
    (tmp_path / "in_temp0_raw").write_text("2643\n")
    (tmp_path / "in_temp0_offset").write_text("-2219\n")
    (tmp_path / "in_temp0_scale").write_text("123.040771484\n")
    assert XadcTemperature(tmp_path)() == pytest.approx((2643 - 2219) * 123.040771484 / 1000)
    (tmp_path / "in_temp0_raw").write_text("busy")
    with pytest.raises(JoulebitError, match="cannot be read"):
        XadcTemperature(tmp_path)()
    with pytest.raises(JoulebitError, match="cannot be read"):
        XadcTemperature(tmp_path / "nothing")


@pytest.mark.parametrize("seed", range(6))
def test_a_simulated_devices_energy_is_the_integral_of_its_power(seed: int) -> None:
    device = draw_session(np.random.default_rng(seed), Reading.POINT, False, seed % 2 == 0).device
    edges = np.linspace(device.start_s - 5, device.end_s + 5, 9)
    exact = np.diff(device.energy_j(edges))
    for a, b, joules in zip(edges, edges[1:], exact):
        n = 200_000
        t = a + (b - a) * (np.arange(n) + 0.5) / n
        assert joules == pytest.approx(np.mean(device.power_w(t)) * (b - a), rel=2e-5)
    assert device.idle_energy_j(edges)[-1] < device.energy_j(edges)[-1]
