"""Joules of windows against plain-Python oracles, at every alignment, with gaps bounded and never bridged."""

import random
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

from joulebit_host.meters.base import Reading, Sample
from joulebit_host.session.energy import change_beyond_noise, energies, integrate, seconds_in_gaps
from joulebit_host.session.window import Pieces, Window, build

H = 0.125  # interval in s; exact in binary
READINGS = list(Reading)


def samples_of(reading: Reading, t: list[float], value: list[float]) -> list[Sample]:
    if reading is Reading.ENERGY:
        return [Sample(a, energy_j=b) for a, b in zip(t, value, strict=True)]
    return [Sample(a, power_w=b) for a, b in zip(t, value, strict=True)]


def oracle(reading: Reading, t: list[float], value: list[float], start: float, end: float) -> Fraction:
    """Exact rational arithmetic, piece by piece as the module's picture shows it."""
    total = Fraction(0)
    a, b = Fraction(start), Fraction(end)
    for i in range(1, len(t)):
        x0, x1 = Fraction(t[i - 1]), Fraction(t[i])
        lo, hi = max(a, x0), min(b, x1)
        if hi <= lo:
            continue
        v0, v1 = Fraction(value[i - 1]), Fraction(value[i])
        if reading is Reading.POINT:
            at_lo = v0 + (v1 - v0) * (lo - x0) / (x1 - x0)
            at_hi = v0 + (v1 - v0) * (hi - x0) / (x1 - x0)
            total += (hi - lo) * (at_lo + at_hi) / 2
        elif reading is Reading.AVERAGE:
            total += (hi - lo) * v1
        else:
            total += (v1 - v0) * (hi - lo) / (x1 - x0)
    return total


def random_record(reading: Reading, seed: int, n: int = 40) -> tuple[list[float], list[float]]:
    r = random.Random(seed)
    t, value, total = [1.0], [r.uniform(1, 5)], 0.0
    for _ in range(n):
        t.append(t[-1] + H * r.uniform(0.7, 1.3))
        total += r.uniform(0.1, 0.7)
        value.append(total if reading is Reading.ENERGY else r.uniform(1, 5))
    if reading is Reading.ENERGY:
        value[0] = 0.0
    return t, value


@pytest.mark.parametrize("reading", READINGS)
def test_the_integral_is_the_oracles_at_every_alignment(reading: Reading) -> None:
    for seed in range(4):
        t, value = random_record(reading, seed)
        pieces = build(samples_of(reading, t, value), reading, H)
        assert not pieces.gap.any()
        edges = sorted({*t[5:9], *(t[5] + k * H / 7 for k in range(20)), *t[-9:-5], t[0], t[-1]})
        for start in edges:
            for end in edges:
                if end <= start:
                    continue
                window = Window(start, end)
                found = integrate(pieces, window)
                exact = float(oracle(reading, t, value, start, end))
                correction = found.start.correction_j + found.end.correction_j
                assert found.energy_j - correction == pytest.approx(exact, rel=1e-12, abs=1e-12)
                assert found.gap_s == 0
                assert found.complete
                many = energies(pieces, np.array([start]), np.array([end]))
                assert many[0] == pytest.approx(exact, rel=1e-11, abs=1e-11)


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("start", [1.0, 1.01, 1.0625, 1.12, 1.125])
def test_constant_power_is_exact_at_any_edges(reading: Reading, start: float) -> None:
    t = [1.0 + H * i for i in range(50)]
    value = [3.25 * x if reading is Reading.ENERGY else 3.25 for x in t]
    for end in (start + 0.004, start + 0.5, start + 3.3):
        found = integrate(build(samples_of(reading, t, value), reading, H), Window(start, end))
        assert found.energy_j == pytest.approx(3.25 * (end - start), rel=1e-12)
        assert (found.start.filled_j, found.end.filled_j) == pytest.approx((0, 0), abs=1e-12)


def test_a_ramp_is_exact_for_instants() -> None:
    t = [0.3 + H * i * (1 + 0.2 * (i % 3)) for i in range(60)]
    t = sorted(t)
    pieces = build(samples_of(Reading.POINT, t, [2 + 0.5 * x for x in t]), Reading.POINT, 2 * H)
    for a, b in ((0.5, 3.1), (1.234, 1.235), (0.31, 6.0)):
        assert integrate(pieces, Window(a, b)).energy_j == pytest.approx(2 * (b - a) + 0.25 * (b * b - a * a))


@pytest.mark.parametrize("reading", READINGS)
def test_neighbouring_windows_add_up(reading: Reading) -> None:
    r = random.Random(8)
    t, value = random_record(reading, 8, 80)
    pieces = build(samples_of(reading, t, value), reading, H)
    for _ in range(200):
        a, b, c = sorted(r.uniform(t[0], t[-1]) for _ in range(3))
        parts = energies(pieces, np.array([a, b, a]), np.array([b, c, c]))
        assert parts[0] + parts[1] == pytest.approx(parts[2], abs=1e-12)


@pytest.mark.parametrize("reading", READINGS)
def test_the_weights_are_the_derivatives_by_the_readings(reading: Reading) -> None:
    """Each reading is moved a little; what the energy moves by is its weight."""
    t = [1.0 + H * i * 1.0 for i in range(30)]
    power = [3.0 + 0.01 * ((i * 7) % 5) for i in range(30)]
    window = Window(1.0 + 3.3 * H, 1.0 + 21.6 * H)

    def energy(p: list[float]) -> float:
        value = np.concatenate(([0.0], np.cumsum(p[1:]) * H)).tolist() if reading is Reading.ENERGY else p
        found = integrate(build(samples_of(reading, t, value), reading, H), window)
        return found.energy_j - found.start.correction_j - found.end.correction_j

    weights = []
    for i in range(30):
        moved = list(power)
        moved[i] += 0.5
        weights.append((energy(moved) - energy(power)) / 0.5)
    value = np.concatenate(([0.0], np.cumsum(power[1:]) * H)).tolist() if reading is Reading.ENERGY else power
    found = integrate(build(samples_of(reading, t, value), reading, H), window)
    assert sum(weights) == pytest.approx(window.seconds)
    assert found.sum_w2_s2 == pytest.approx(sum(w * w for w in weights), rel=1e-9)


def gapped(reading: Reading, **broken: object) -> Pieces:
    """20 readings of 3 W then 20 of 4 W; the one at index 10 has these attributes."""
    samples = []
    for i in range(41):
        t = H * i
        joules = 3 * min(t, 20 * H) + 4 * max(t - 20 * H, 0)
        watts = 3.0 if i <= 20 else 4.0
        fields = {"energy_j": joules} if reading is Reading.ENERGY else {"power_w": watts}
        samples.append(Sample(t, sequence=i, **{**fields, **(broken if i == 10 else {})}))  # type: ignore[arg-type]
    return build(samples, reading, H)


@pytest.mark.parametrize("reading", [Reading.POINT, Reading.AVERAGE])
def test_an_invalid_reading_leaves_a_gap_that_is_bounded(reading: Reading) -> None:
    found = integrate(gapped(reading, valid=False), Window(0, 40 * H))
    # AVERAGE: the reading after it covers its own interval; instants: both neighbouring intervals are unknown.
    assert found.gap_s == pytest.approx(H if reading is Reading.AVERAGE else 2 * H)
    truth = 3 * 20 * H + 4 * 20 * H
    assert abs(found.energy_j - truth) <= found.gap_j + (H / 2 if reading is Reading.POINT else 0) + 1e-9
    assert found.gap_j == pytest.approx(found.gap_s / 2)  # (4 - 3) / 2 watts


def test_an_accumulator_counts_over_lost_and_invalid_samples() -> None:
    for broken in ({"valid": False}, {"dropped": 3}):
        found = integrate(gapped(Reading.ENERGY, **broken), Window(0, 40 * H))
        assert found.gap_s == 0
        assert found.energy_j == pytest.approx(3 * 20 * H + 4 * 20 * H)


def test_an_accumulator_that_starts_again_leaves_a_gap() -> None:
    samples = [
        Sample(H * i, energy_j=0.375 * i if i < 20 else 0.375 * (i - 20), segment=i // 20) for i in range(40)
    ]
    found = integrate(build(samples, Reading.ENERGY, H), Window(0, 39 * H))
    assert found.gap_s == pytest.approx(H)
    assert found.energy_j == pytest.approx(3 * 39 * H)  # bounds are equal: the power is constant
    fallen = [Sample(s.t_s, energy_j=s.energy_j) for s in samples]
    assert integrate(build(fallen, Reading.ENERGY, H), Window(0, 39 * H)).gap_s == pytest.approx(H)


@pytest.mark.parametrize("reading", [Reading.POINT, Reading.AVERAGE])
@pytest.mark.parametrize("how", ["dropped", "sequence", "time"])
def test_lost_samples_are_found_by_count_by_sequence_and_by_time(reading: Reading, how: str) -> None:
    samples = []
    for i in range(41):
        if i in (10, 11):
            continue
        dropped = 2 if how == "dropped" and i == 12 else 0
        samples.append(Sample(H * i, power_w=3.0, sequence=i if how == "sequence" else None, dropped=dropped))
    pieces = build(samples, reading, H)
    assert pieces.dropped == (0 if how == "time" else 2)
    gap_s = 3 * H if reading is Reading.POINT else 2 * H
    assert integrate(pieces, Window(0, 40 * H)).gap_s == pytest.approx(gap_s)
    inside = seconds_in_gaps(pieces, np.array([0.0, 9.5 * H, 20 * H]), np.array([40 * H, 10 * H, 41 * H]))
    assert inside == pytest.approx([gap_s, H / 2, H])  # the last reaches over the end of the record
    assert integrate(pieces, Window(13 * H, 40 * H)).gap_s == 0


def test_a_window_beyond_the_record_is_not_complete() -> None:
    pieces = build(samples_of(Reading.AVERAGE, [0.0, H, 2 * H], [3.0, 3.0, 3.0]), Reading.AVERAGE, H)
    found = integrate(pieces, Window(H, 5 * H))
    assert not found.complete
    assert found.gap_s == pytest.approx(3 * H)
    empty = build([], Reading.AVERAGE, H)
    nothing = integrate(empty, Window(0, 1))
    assert (nothing.energy_j, nothing.gap_s, nothing.samples, nothing.complete) == (0, 1, 0, False)


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("share", [0.0, 0.1, 0.37, 0.5, 0.9])
def test_a_jump_at_the_edges_is_not_smeared(reading: Reading, share: float) -> None:
    """Work of 4 W on 2 W idle begins and ends inside of the meter's intervals."""
    start, end = (20 + share) * H, (60 + share / 2) * H

    def energy_to(t: float) -> float:
        return 2 * t + 2 * (min(max(t, start), end) - start)

    t = [H * i for i in range(81)]
    if reading is Reading.POINT:
        value = [4.0 if start <= x < end else 2.0 for x in t]
    elif reading is Reading.AVERAGE:
        value = [2.0] + [(energy_to(b) - energy_to(a)) / H for a, b in pairwise(t)]
    else:
        value = [energy_to(x) for x in t]
    found = integrate(build(samples_of(reading, t, value), reading, H), Window(start, end))
    assert found.energy_j == pytest.approx(4 * (end - start), rel=1e-9)
    assert found.start.jump_w == pytest.approx(2, abs=0.4)


def test_times_that_run_backwards_are_held() -> None:
    pieces = build(samples_of(Reading.AVERAGE, [0.0, 0.2, 0.15, 0.3], [3.0, 3.0, 3.0, 3.0]), Reading.AVERAGE, 0.1)
    assert np.all(np.diff(pieces.edge_s) >= 0)


def test_an_empty_window_is_refused() -> None:
    with pytest.raises(ValueError, match="must end after"):
        Window(2.0, 2.0)


def test_a_jump_seconds_beyond_an_edge_is_none_of_the_edges() -> None:
    """Readings once per second; the work ended 1.5 s before the window begins."""
    t = np.arange(0.0, 40.0)
    samples = [Sample(float(time_s), power_w=20.0 if time_s <= 11 else 5.0) for time_s in t]
    pieces = build(samples, Reading.AVERAGE, 1.0)
    window = Window(12.5, 30.0)
    assert integrate(pieces, window).start.jump_w == 0
    assert integrate(pieces, window, time_error_s=3.0).start.jump_w > 0, "so late a meter moves it into the window"
    assert integrate(pieces, Window(11.2, 30.0)).start.jump_w > 14


def test_a_change_of_one_step_that_lasts_is_a_change_of_power() -> None:
    """Less what two roundings may have done to it, q^2 / 6."""
    samples = [Sample(float(i), power_w=5.0 if i < 12 else 5.1) for i in range(40)]
    pieces = build(samples, Reading.AVERAGE, 1.0)
    assert integrate(pieces, Window(11.5, 27.5), 0.1).start.jump_w == pytest.approx(0.1 * np.sqrt(5 / 6))


def test_what_rounding_explains_is_no_change_of_power() -> None:
    """5.04 W read in steps of 0.1 W, now and then one step higher."""
    samples = [Sample(float(i), power_w=5.1 if i in (12, 27) else 5.0) for i in range(40)]
    pieces = build(samples, Reading.AVERAGE, 1.0)
    for start_s in (11.5, 12.5, 13.5):
        window = Window(start_s, 27.5)
        found, plain = integrate(pieces, window, 0.1), integrate(pieces, window)
        assert change_beyond_noise(found.start, found.end) == 0
        assert found.start.jump_w < 0.1 * np.sqrt(5 / 6) + 1e-9, "less the q^2 / 6 of two roundings"
        assert found.start.jump_w <= plain.start.jump_w
