"""A simulated device and simulated meters whose true energy is known, drawn at random for the coverage study.

Nothing here uses the code that is tested with it: the true energy is the closed-form integral of the power, and a
meter's errors are drawn from the distributions that its `Accuracy` states. What a session's nature draws:

    device    idle power that drifts on some path from one level to another; work of fast rectangular phases and a
              slow swing
    meter     gain, offset and time error within their limits (rectangular); noise, white or first-order
              autoregressive; rounding to steps; lost samples
    clocks    a board clock with offset and drift, read over a link with random delays; the window's edges are
    known
              by that clock only
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from joulebit_host.meters.base import Accuracy, Reading, Sample
from joulebit_host.session.clock import Exchange
from joulebit_host.session.window import Floats


@dataclass(frozen=True)
class Device:
    """Power over time in closed form; seconds and watts.

    Attributes:
        idle_w, drift_w: idle power before; how much it has changed after the work.
        path: the drift goes as s^path, s in [0, 1] being the share of the time from drift_start_s to drift_end_s.
        drift_start_s, drift_end_s: see above.
        start_s, end_s: of the work.
        busy_w: mean power of the work above idle.
        swing_w, swing_s: amplitude and period of a slow sine.
        phases_w, step_s: power of equally long phases of one step, of mean 0, and the step's length.
    """

    idle_w: float
    drift_w: float
    path: float
    drift_start_s: float
    drift_end_s: float
    start_s: float
    end_s: float
    busy_w: float
    swing_w: float
    swing_s: float
    phases_w: tuple[float, ...]
    step_s: float

    def power_w(self, t_s: Floats) -> Floats:
        """Power at each time."""
        s = np.clip((t_s - self.drift_start_s) / (self.drift_end_s - self.drift_start_s), 0, 1)
        idle = self.idle_w + self.drift_w * s**self.path
        since = t_s - self.start_s
        count = len(self.phases_w)
        phase = np.floor(np.mod(since / self.step_s, 1.0) * count).astype(int) % count
        work = (
            self.busy_w + self.swing_w * np.sin(2 * np.pi * since / self.swing_s) + np.take(self.phases_w, phase)
        )
        return np.asarray(idle + np.where((since >= 0) & (t_s < self.end_s), work, 0.0))

    def idle_energy_j(self, t_s: Floats) -> Floats:
        """Integral of the idle power up to each time, from an arbitrary origin."""
        length = self.drift_end_s - self.drift_start_s
        s = (t_s - self.drift_start_s) / length
        rising = np.clip(s, 0, 1) ** (self.path + 1) / (self.path + 1) + np.clip(s - 1, 0, None)
        return np.asarray(self.idle_w * t_s + self.drift_w * length * rising)

    def energy_j(self, t_s: Floats) -> Floats:
        """Integral of the power up to each time, from the same origin."""
        since = np.clip(t_s, self.start_s, self.end_s) - self.start_s
        swing = self.swing_w * self.swing_s / (2 * np.pi) * (1 - np.cos(2 * np.pi * since / self.swing_s))
        count = len(self.phases_w)
        part = np.mod(since / self.step_s, 1.0) * count
        whole = np.floor(part).astype(int) % count
        before = np.concatenate(([0.0], np.cumsum(self.phases_w)))
        fast = (before[whole] + (part - np.floor(part)) * np.take(self.phases_w, whole)) * self.step_s / count
        return np.asarray(self.idle_energy_j(t_s) + self.busy_w * since + swing + fast)


@dataclass(frozen=True, eq=False)
class SimulatedSession:
    """One session: what happened, and what was seen of it.

    Attributes:
        device: what happened.
        window_s: true begin and end of the window.
        idle_s: begin and end of the two idle windows.
        gross_j, net_j: the true energies of the window.
        reading, interval_s, accuracy: of the meter.
        samples: what the meter's decoder would give.
        exchanges: with the board's clock.
        board_s: the window's edges on the board's clock.
    """

    device: Device
    window_s: tuple[float, float]
    idle_s: tuple[tuple[float, float], tuple[float, float]]
    gross_j: float
    net_j: float
    reading: Reading
    interval_s: float
    accuracy: Accuracy
    samples: list[Sample]
    exchanges: list[Exchange]
    board_s: tuple[float, float]


def draw_session(
    random: np.random.Generator, reading: Reading, correlated: bool, jumps: bool = False
) -> SimulatedSession:
    """A session with everything drawn at random.

    Args:
        random: where from.
        reading: of the meter.
        correlated: first-order autoregressive noise, else white.
        jumps: the window is the whole work, from the jump of power at its begin to that at its end; otherwise its
            edges lie in steady work.
    """
    interval_s = float(np.exp(random.uniform(math.log(0.02), math.log(0.3))))
    accuracy = Accuracy(
        gain=float(random.choice([2e-4, 1e-3, 5e-3])),
        offset_w=float(random.choice([1e-3, 5e-3, 2e-2])),
        power_resolution_w=0.0 if reading is Reading.ENERGY else float(random.choice([0.0, 1e-3, 2e-2])),
        energy_resolution_j=float(random.choice([1e-6, 1e-2, 0.36])) if reading is Reading.ENERGY else 0.0,
        time_s=float(random.choice([1e-4, 2e-3])),
    )
    plan = draw_plan(random, interval_s, jumps)
    samples = list(_samples(random, plan.device, reading, interval_s, accuracy, plan.end_s, correlated))
    return simulated_session(random, plan, reading, interval_s, accuracy, samples)


@dataclass(frozen=True)
class Plan:
    """What happens in a session: the device, the true window, the idle windows, and when all is over; seconds."""

    device: Device
    window_s: tuple[float, float]
    idle_s: tuple[tuple[float, float], tuple[float, float]]
    end_s: float


def draw_plan(random: np.random.Generator, interval_s: float, jumps: bool, scale: float = 1.0) -> Plan:
    """A plan for a meter with this interval; all powers are multiplied by `scale`."""
    rest_s = max(2.0, 4 * interval_s)
    idle_s = max(random.uniform(10, 20), 60 * interval_s)
    window_s = max(random.uniform(12, 40), 80 * interval_s)
    before = (rest_s, rest_s + idle_s)
    lead_s = 0.0 if jumps else rest_s + random.uniform(2, 3)
    work_at_s = before[1] + rest_s + random.uniform(0, 1)
    work = (work_at_s, work_at_s + window_s + (0.0 if jumps else lead_s + rest_s + 1.0))
    window = (work[0] + lead_s, work[0] + lead_s + window_s)
    after = (work[1] + rest_s, work[1] + rest_s + idle_s)
    phases = random.uniform(-0.3, 0.3, 4) * scale
    idle_w = random.uniform(2.4, 3.2) * scale
    # Over the window the drift's mean share is uniform in (0, 1): any path between the two levels.
    share = random.uniform(0.002, 0.998)
    device = Device(
        idle_w=idle_w,
        drift_w=random.uniform(-0.01, 0.01) * idle_w,
        path=1 / share - 1,
        drift_start_s=window[0],
        drift_end_s=window[1],
        start_s=work[0],
        end_s=work[1],
        busy_w=random.uniform(0.2, 2.0) * scale,
        swing_w=random.uniform(0, 0.05) * scale,
        swing_s=random.uniform(4, 15),
        phases_w=tuple((phases - phases.mean()).tolist()),
        step_s=random.uniform(0.001, 0.004),
    )
    return Plan(device, window, (before, after), after[1] + rest_s)


def simulated_session(
    random: np.random.Generator,
    plan: Plan,
    reading: Reading,
    interval_s: float,
    accuracy: Accuracy,
    samples: list[Sample],
) -> SimulatedSession:
    """A session of this plan, of which these samples were seen; the board's clock is drawn."""
    edges = np.array(plan.window_s)
    truth = plan.device.energy_j(edges)
    idle = plan.device.idle_energy_j(edges)
    exchanges, board = _clock(random, plan.window_s, plan.end_s)
    return SimulatedSession(
        device=plan.device,
        window_s=plan.window_s,
        idle_s=plan.idle_s,
        gross_j=float(truth[1] - truth[0]),
        net_j=float(truth[1] - truth[0] - idle[1] + idle[0]),
        reading=reading,
        interval_s=interval_s,
        accuracy=accuracy,
        samples=samples,
        exchanges=exchanges,
        board_s=board,
    )


def _samples(
    random: np.random.Generator,
    device: Device,
    reading: Reading,
    interval_s: float,
    accuracy: Accuracy,
    end_s: float,
    correlated: bool,
) -> Iterator[Sample]:
    count = int(end_s / interval_s)
    t = np.arange(1, count + 1, dtype=np.float64) * interval_s
    if reading is Reading.POINT:
        t = t + random.uniform(-0.2, 0.2, count) * interval_s
    gain = 1 + random.uniform(-accuracy.gain, accuracy.gain)
    offset = random.uniform(-accuracy.offset_w, accuracy.offset_w)
    sigma = float(np.exp(random.uniform(math.log(1e-3), math.log(0.1))))
    rho = random.uniform(0.2, 0.8) if correlated else 0.0
    noise = np.empty(count)
    noise[0] = random.normal(0, sigma)
    drive = random.normal(0, sigma * math.sqrt(1 - rho**2), count)
    for i in range(1, count):
        noise[i] = rho * noise[i - 1] + drive[i]
    # The host believes each sample to lie this much later than it does.
    seen = t + random.uniform(-accuracy.time_s, accuracy.time_s)
    lost = random.random(count) < 2e-4
    dropped = 0
    if reading is Reading.POINT:
        power = device.power_w(t)
    else:
        energy = device.energy_j(np.concatenate(([t[0] - interval_s], t)))
        power = np.diff(energy) / interval_s
    power = gain * power + offset + noise
    if reading is Reading.ENERGY:
        value = np.cumsum(power * interval_s) + random.uniform(0, 10)
        value = np.floor(value / accuracy.energy_resolution_j) * accuracy.energy_resolution_j
    else:
        step = accuracy.power_resolution_w
        value = np.round(power / step) * step if step else power
    for i in range(count):
        if lost[i]:
            dropped += 1
            continue
        if reading is Reading.ENERGY:
            yield Sample(float(seen[i]), energy_j=float(value[i]), sequence=i, dropped=dropped)
        else:
            yield Sample(float(seen[i]), power_w=float(value[i]), sequence=i, dropped=dropped)
        dropped = 0


def _clock(
    random: np.random.Generator, window: tuple[float, float], end_s: float
) -> tuple[list[Exchange], tuple[float, float]]:
    """Exchanges at both ends of the session, and the window's edges on the board's clock."""
    drift, offset = random.uniform(-5e-5, 5e-5), random.uniform(-1e4, 1e4)
    there, back = random.uniform(1e-4, 1e-3, 2)

    def board(host_s: float) -> float:
        return offset + (1 + drift) * host_s

    exchanges = []
    for begin in (0.0, end_s - 1.0):
        for i in range(16):
            sent = begin + 0.06 * i
            read = sent + there + random.exponential(5e-4)
            exchanges.append(Exchange(sent, board(read), read + back + random.exponential(5e-4)))
    return exchanges, (board(window[0]), board(window[1]))
