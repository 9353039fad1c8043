"""Whole sessions in virtual time: the procedure, known joules, and a verdict for each thing that goes wrong."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from virtual_meter import VirtualDevice, VirtualMeter, decoder_for

from joulebit.errors import JoulebitError
from joulebit_host.evidence.log import read_log, verify
from joulebit_host.meters.base import Accuracy, Reading
from joulebit_host.session.clock import Exchange
from joulebit_host.session.ranging import Peak, ranged_meter
from joulebit_host.session.session import Marks, measure, rehearse
from joulebit_host.session.settings import Limits, SessionSettings
from joulebit_host.session.timing import HostClock, VirtualClock

SETTINGS = SessionSettings(windows=2, window_s=12)
READINGS = list(Reading)


class Bench:
    """A device, its meter and a session in virtual time."""

    def __init__(self, reading: Reading = Reading.AVERAGE, power_w: float = 1.5, **meter: Any) -> None:
        self.clock = VirtualClock()
        self.device = VirtualDevice(self.clock)
        self.meter = VirtualMeter(self.device, reading, **meter)
        self.work: Callable[[int, Marks], None] = self.device.work(power_w, 0.05)

    def run(self, settings: SessionSettings = SETTINGS, **options: Any) -> dict[str, Any]:
        return rehearse("s", self.meter, self.work, settings, decoder_for, clock=self.clock, **options)


def rules(result: dict[str, Any]) -> set[str]:
    return {reason["rule"] for window in result["windows"] for reason in window["reasons"]}


@pytest.mark.parametrize("reading", READINGS)
def test_a_session_finds_the_devices_joules(reading: Reading) -> None:
    bench = Bench(reading, jitter=0.5)
    result = bench.run()
    assert result["valid"], rules(result)
    assert [w["index"] for w in result["windows"]] == [0, 1]
    for window in result["windows"]:
        truth = bench.device.energy_j(window["start_s"], window["end_s"])
        assert window["seconds"] >= 12
        assert window["samples"] >= 60
        assert window["gross"]["value"] == pytest.approx(truth, rel=1e-6)
        assert window["net"]["value"] == pytest.approx(1.5 * window["seconds"], rel=1e-6)
        assert window["net_per_repeat_j"] == pytest.approx(1.5 * 0.05, rel=1e-6)
        assert window["idle"]["value"] == pytest.approx(2.5 * window["seconds"], rel=1e-6)
    assert not bench.meter.running
    levels = result["idle"]["levels"]
    assert [level["value"] for level in levels] == pytest.approx([2.5, 2.5])
    assert levels[0]["t_s"] < result["windows"][0]["start_s"] < result["windows"][1]["end_s"] < levels[1]["t_s"]


@pytest.mark.parametrize("reading", READINGS)
def test_gain_and_offset_errors_stay_within_the_interval(reading: Reading) -> None:
    """At the very limits of the data sheet, where the plain sum of squares is tightest."""
    accuracy = Accuracy(gain=2e-3, offset_w=5e-3, time_s=1e-3)
    for gain, offset in ((1, 1), (1, -1), (-1, 1)):
        bench = Bench(reading, accuracy=accuracy, gain=1.5e-3 * gain, offset_w=4e-3 * offset, noise_w=0.005)
        for window in bench.run()["windows"]:
            truth = bench.device.energy_j(window["start_s"], window["end_s"])
            assert abs(window["gross"]["value"] - truth) < window["gross"]["u_k2"]
            assert abs(window["net"]["value"] - 1.5 * window["seconds"]) < window["net"]["u_k2"]


def test_net_is_never_clamped_at_zero() -> None:
    result = Bench(power_w=-0.25).run()
    assert result["windows"][0]["net"]["value"] == pytest.approx(-0.25 * result["windows"][0]["seconds"], rel=1e-6)


def test_a_slow_meter_gets_longer_windows() -> None:
    result = Bench(interval_s=1.0).run()
    assert result["valid"], rules(result)
    assert all(w["seconds"] >= 60 and w["samples"] >= 60 for w in result["windows"])


def test_a_window_that_came_out_too_short_is_done_again_longer() -> None:
    """The work is slow while it is warmed up, and four times as fast later."""
    bench = Bench()
    began = bench.clock.now()

    def speeding(repeats: int, marks: Marks) -> None:
        bench.device.set_power(4.0)
        for _ in range(repeats):
            bench.clock.sleep(0.2 if bench.clock.now() < began + 20 else 0.05)
        bench.device.set_power(2.5)

    bench.work = speeding
    result = bench.run()
    assert result["valid"], rules(result)
    assert len(result["windows"]) == 2
    assert all(12 / 1.1 <= w["seconds"] < 20 for w in result["windows"])


def test_what_cannot_be_lengthened_is_invalid_by_name() -> None:
    bench = Bench()
    result = bench.run(SessionSettings(lengthen=0), repeatable=False)
    assert not result["valid"]
    assert rules(result) == {"window_too_short", "too_few_samples"}
    assert result["windows"][0]["seconds"] == pytest.approx(0.05)


def test_a_whole_run_is_measured_from_its_begin_to_its_end() -> None:
    bench = Bench(interval_s=0.13)
    bench.work = bench.device.work(1.5, 20.0)
    result = bench.run(repeatable=False)
    assert result["valid"], rules(result)
    (window,) = result["windows"]
    assert window["seconds"] == pytest.approx(20)
    assert window["net"]["value"] == pytest.approx(30, rel=1e-6)


@pytest.mark.parametrize(
    ("reading", "trouble", "expected"),
    [
        (Reading.AVERAGE, {"lose": lambda n, t: n % 50 == 0}, {"gaps", "idle_gaps"}),
        (Reading.POINT, {"lose": lambda n, t: n == 250, "jitter": 0.5}, {"gaps"}),
        (Reading.ENERGY, {"lose": lambda n, t: n % 50 == 0}, set()),
        (Reading.AVERAGE, {"overrange": lambda t: 1035 < t < 1035.5}, {"gaps", "invalid_readings"}),
        (Reading.ENERGY, {"overrange": lambda t: 1035 < t < 1035.5}, {"invalid_readings"}),
        (Reading.AVERAGE, {"unplugged": (1034.0, 1036.0)}, {"gaps"}),
        (Reading.AVERAGE, {"noise_w": 80.0}, {"too_uncertain"}),
    ],
)
def test_each_fault_of_a_meter_has_its_verdict(
    reading: Reading, trouble: dict[str, Any], expected: set[str]
) -> None:
    result = Bench(reading, **trouble).run()
    assert rules(result) == expected
    assert result["valid"] == (not expected)
    if "unplugged" in trouble:
        assert result["faults"]["unplugged"] == 1
    if "overrange" in trouble:
        assert result["faults"]["overrange"] == result["invalid"] > 0


def test_a_gap_is_bounded_and_not_bridged() -> None:
    """Five seconds are lost; the power swings between 3 W and 5 W and nobody knows how it went in between."""
    bench = Bench(unplugged=(1020.0, 1025.0))

    def swinging(repeats: int, marks: Marks) -> None:
        for _ in range(repeats):
            for power_w in (3.0, 5.0):
                bench.device.set_power(power_w)
                bench.clock.sleep(2.7)
        bench.device.set_power(2.5)

    bench.work = swinging
    window = bench.run(SessionSettings(window_s=20))["windows"][0]
    assert window["gap_s"] == pytest.approx(5, abs=0.3)
    assert [reason["rule"] for reason in window["reasons"]] == ["gaps"]
    truth = bench.device.energy_j(window["start_s"], window["end_s"])
    (gap,) = [term for term in window["gross"]["budget"] if term["name"] == "gaps"]
    assert gap["u"] == pytest.approx(window["gap_s"] * (5 - 3) / 2 / 3**0.5, rel=0.02)
    assert abs(window["gross"]["value"] - truth) < gap["u"] * 3**0.5


def test_idle_that_drifts_is_refused() -> None:
    bench = Bench()
    steady = bench.work

    def warming(repeats: int, marks: Marks) -> None:
        bench.device.idle_w = 2.9
        steady(repeats, marks)
        bench.device.set_power(2.9)

    bench.work = warming
    assert rules(bench.run()) == {"idle_drift"}
    bench = Bench()
    steady = bench.device.work(1.5, 0.05)
    bench.work = warming
    result = bench.run(SessionSettings(limits=Limits(largest_idle_drift=0.5)))
    assert result["valid"]
    net = result["windows"][0]["net"]
    assert any(term["name"] == "idle drift" for term in net["budget"])
    assert abs(net["value"] - 1.5 * result["windows"][0]["seconds"]) < net["u_k2"]


def test_a_temperature_that_moves_is_refused_and_logged() -> None:
    bench = Bench()
    readings: list[float] = []

    def hot() -> float:
        readings.append(40 + (bench.clock.now() - 1000) * 1.0)
        return readings[-1]

    result = bench.run(SessionSettings(limits=Limits(largest_temperature_change_c=3)), temperature=hot)
    assert rules(result) == {"temperature"}
    assert result["temperature"] == {
        "first_c": readings[0],
        "last_c": readings[-1],
        "min_c": readings[0],
        "max_c": readings[-1],
    }


def test_instants_that_keep_step_with_the_work_are_refused() -> None:
    """Polling at 10 Hz sees steps of 0.1 s always at the same place; jittered polling sees all of them."""

    def two_levels(bench: Bench) -> None:
        def work(repeats: int, marks: Marks) -> None:
            for _ in range(repeats):
                marks.step()
                bench.device.set_power(5.0)
                bench.clock.sleep(0.05)
                bench.device.set_power(3.0)
                bench.clock.sleep(0.05)
            bench.device.set_power(2.5)

        bench.work = work

    locked = Bench(Reading.POINT)
    two_levels(locked)
    assert rules(locked.run()) == {"aliasing"}
    jittered = Bench(Reading.POINT, jitter=0.5)
    two_levels(jittered)
    result = jittered.run()
    assert result["valid"], rules(result)
    for window in result["windows"]:
        assert abs(window["gross"]["value"] - 4.0 * window["seconds"]) < window["gross"]["u_k2"]
    averaging = Bench(Reading.AVERAGE)
    two_levels(averaging)
    assert averaging.run()["valid"]


def test_the_boards_own_marks_are_converted_by_its_clock() -> None:
    """The work marks its window by the board's clock, which is off by an hour and fast by 100 ppm."""
    bench = Bench()

    def board_s() -> float:
        return 3600 + 1.0001 * bench.clock.now()

    def exchange() -> Exchange:
        sent = bench.clock.now()
        bench.clock.sleep(0.0005)
        remote = board_s()
        bench.clock.sleep(0.0005)
        return Exchange(sent, remote, bench.clock.now())

    edges: list[float] = []

    def work(repeats: int, marks: Marks) -> None:
        bench.clock.sleep(0.5)  # sending the settings
        bench.device.set_power(4.0)
        marks.window_start(board_s())
        edges.append(bench.clock.now())
        bench.clock.sleep(0.1 * repeats)
        edges.append(bench.clock.now())
        marks.window_end(board_s())
        bench.device.set_power(2.5)

    bench.work = work
    result = bench.run(SessionSettings(windows=1), exchange=exchange)
    assert result["valid"], rules(result)
    (window,) = result["windows"]
    assert [window["start_s"], window["end_s"]] == pytest.approx(edges[-4:-2], abs=1e-5)
    assert window["net"]["value"] == pytest.approx(1.5 * window["seconds"], rel=1e-4)
    board = result["clocks"]["board"]
    assert board["drift_ppm"] == pytest.approx(-99.99, abs=1)
    assert board["total"] == 32
    assert any("time of the mark" in term["name"] for term in window["gross"]["budget"])


def test_work_that_fails_stops_the_meter_and_says_so() -> None:
    bench = Bench()

    def failing(repeats: int, marks: Marks) -> None:
        raise JoulebitError("the board does not answer")

    bench.work = failing
    with pytest.raises(JoulebitError, match="does not answer"):
        bench.run()
    assert not bench.meter.running


def test_the_same_session_twice_gives_the_same_result() -> None:
    results = [Bench(Reading.POINT, noise_w=0.01, jitter=0.4).run() for _ in range(2)]
    assert results[0] == results[1]


def test_the_evidence_holds_the_whole_session(tmp_path: Path) -> None:
    bench = Bench()
    path = tmp_path / "s.evidence.jsonl"
    seen: list[Any] = []
    result = measure(
        path,
        "s",
        bench.meter,
        bench.work,
        SETTINGS,
        decoder_for,
        clock=bench.clock,
        on_received=seen.append,
        details={"config_hash": "abc"},
    )
    assert verify(path).ok
    records = list(read_log(path))
    assert [r.type for r in records[:2]] == ["header", "configuration"]
    assert [r.type for r in records[-2:]] == ["result", "end"]
    assert records[1].fields["config_hash"] == "abc"
    assert records[-2].fields["result"] == result
    assert len(seen) == sum(r.type == "received" for r in records)
    names = [r.fields["name"] for r in records if r.type == "mark" and r.fields["name"] != "step"]
    assert names == ["idle_start", "idle_end", *["window_start", "window_end"] * 2, "idle_start", "idle_end"]


def test_the_ranging_run_finds_the_peak_and_fixes_the_range() -> None:
    bench = Bench()
    asked: list[Peak | None] = []

    def open_meter(peak: Peak | None) -> VirtualMeter:
        asked.append(peak)
        return bench.meter

    def decoder(meter: dict[str, Any]) -> Any:
        return decoder_for({**meter, "kind": "virtual"})

    _, peak = ranged_meter(open_meter, decoder, bench.work, clock=bench.clock)
    assert asked == [None, peak]
    assert peak.power_w == pytest.approx(4.0)
    assert peak.samples >= 20
    assert peak.smallest_range([1, 2, 5, 10], peak.power_w) == 5
    assert peak.smallest_range([1, 2, 4.5, 10], peak.power_w) == 10
    with pytest.raises(JoulebitError, match="exceeds the largest range"):
        peak.smallest_range([1, 2], peak.power_w)
    blind = VirtualMeter(bench.device, Reading.AVERAGE, overrange=lambda t: True)
    with pytest.raises(JoulebitError, match="no valid reading"):
        ranged_meter(lambda peak: blind, decoder, bench.work, clock=bench.clock)


def test_settings_with_unknown_or_wrong_keys_stop() -> None:
    settings = SessionSettings(idle_s=7, limits=Limits(fewest_samples=99))
    assert SessionSettings.from_json(settings.as_json()) == settings
    with pytest.raises(JoulebitError, match="did you mean idle_s"):
        SessionSettings.from_json({"idel_s": 3})
    with pytest.raises(JoulebitError, match="limits: unknown key 'x'"):
        SessionSettings.from_json({"limits": {"x": 3}})
    for bad in (-1, "3", True, 1.5):
        with pytest.raises(JoulebitError, match="windows must be a whole number"):
            SessionSettings.from_json({"windows": bad})


def test_the_same_procedure_runs_on_the_hosts_clock() -> None:
    """Two seconds of real time: threads, queues, and a meter at 50 Hz."""
    clock = HostClock()
    device = VirtualDevice(clock)
    meter = VirtualMeter(device, Reading.AVERAGE, 0.02)
    limits = Limits(shortest_window_s=0.4, fewest_samples=10, shortest_idle_s=0.2, fewest_idle_samples=5)
    settings = SessionSettings(idle_s=0.3, settle_s=0.05, warmup_s=0.1, windows=2, window_s=0.4, limits=limits)
    result = rehearse("s", meter, device.work(1.5, 0.01), settings, decoder_for, clock=clock)
    assert len(result["windows"]) == 2
    for window in result["windows"]:
        assert window["seconds"] >= 0.4 / 1.1
        assert window["net"]["value"] / window["seconds"] == pytest.approx(1.5, rel=0.1)
