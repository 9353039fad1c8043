"""The emulators: known joules, in virtual time, apart from the decoders."""

from __future__ import annotations

import ast
import itertools
import math
from pathlib import Path

import pytest

from joulebit.errors import JoulebitError
from joulebit_host.meters import emulators
from joulebit_host.meters.base import Fault, Reading
from joulebit_host.meters.emulators.catalogue import EMULATORS
from joulebit_host.meters.emulators.curve import Constant, Function
from joulebit_host.meters.emulators.emulator import Imperfections, Supply
from joulebit_host.meters.emulators.faults import FaultPlan
from joulebit_host.meters.registry import describe
from joulebit_host.meters.summary import Summariser

ALLOWED = ("joulebit.errors", "joulebit_host.meters.base", "joulebit_host.meters.emulators")


def imports_of(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            yield node.module


def test_emulators_share_no_code_with_the_decoders():
    """Of the product they know the error class, `base` (what a record is) and each other; nor do they
    use a protocol library.
    """
    files = sorted(Path(emulators.__path__[0]).glob("*.py"))
    assert len(files) > 8
    for path in files:
        for name in imports_of(path):
            if name.split(".")[0] in ("joulebit", "joulebit_host"):
                assert name.startswith(ALLOWED), f"{path.name} imports {name}"
            assert name.split(".")[0] not in ("pymodbus", "binascii", "serial"), f"{path.name} imports {name}"


def test_decoders_share_no_code_with_the_emulators():
    root = Path(emulators.__path__[0]).parent
    for path in [*root.glob("*.py"), *root.glob("kinds/*.py"), *root.glob("transports/*.py")]:
        assert not any("emulators" in name for name in imports_of(path)), path.name


def measured(pair, curve, duration_s, **more):
    kind, make_decoder, make_emulator = pair
    emulator, decoder = make_emulator(curve, **more), make_decoder()
    reading, _, interval_s = describe(kind, {})
    if kind == "wt300":
        assert reading is Reading.ENERGY
    summary = Summariser(reading, interval_s)
    samples = [s for received in emulator.play(duration_s) for s in decoder.feed(received)]
    summary.add(samples)
    return summary.result(decoder.faults), samples


def test_a_perfect_meter_reads_the_known_energy(pair):
    """A slow sine, so that neither steps nor sampling hide an error of time or scale."""
    mains = pair[2](Constant(1.0)).supply.voltage_v > 100
    scale = 20.0 if mains else 1.0
    curve = Function(lambda t: scale * (3 + math.sin(t / 10)), lambda t: scale * (3 * t - 10 * math.cos(t / 10)))
    result, samples = measured(pair, curve, 120.0)
    start_s, end_s = samples[0].t_s, samples[-1].t_s
    expected = curve.energy_j(start_s, end_s)
    resolution = {"pzem": 0.01, "wattsup": 0.005, "ruideng": 0.002}.get(pair[0], 0.001)
    assert result.energy_j == pytest.approx(expected, rel=resolution)
    assert result.gap_s == 0
    assert not set(result.faults) - {Fault.WRAPPED}


@pytest.mark.parametrize("error", ["gain", "offset", "clock"])
def test_errors_are_those_that_were_asked_for(pair, error):
    """Two runs with the same noise-free curve differ by the error alone."""
    mains = pair[2](Constant(1.0)).supply.voltage_v > 100
    scale = 300.0 if mains else 60.0 if pair[0] == "pzem" else 3.0  # a PZEM has steps of 0.1 W
    flaws = {
        "gain": Imperfections(gain=0.05),
        "offset": Imperfections(offset_a=0.02),
        "clock": Imperfections(clock_error=0.01),
    }
    plain, _ = measured(pair, Constant(scale), 60.0)
    flawed, samples = measured(pair, Constant(scale), 60.0, imperfections=flaws[error])
    assert plain.mean_w == pytest.approx(scale, rel=0.002)
    volts = samples[-1].voltage_v
    expected = {
        "gain": scale * 1.05,
        "offset": scale + 0.02 * volts,
        "clock": scale * (1.01 if pair[0] == "wt300" else 1.0),  # only an integrator multiplies by its own clock
    }[error]
    assert flawed.mean_w == pytest.approx(expected, rel=0.004)


def test_the_same_seed_plays_the_same(pair):
    _, _, make = pair
    plan = FaultPlan({"corrupt": 0.1, "garble": 0.1})
    flaws = Imperfections(noise_w=0.1, noise_correlation_s=0.3, latency_jitter_s=0.01)
    runs = [list(make(Constant(30.0), seed=s, faults=plan, imperfections=flaws).play(20)) for s in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]


def test_noise_has_the_correlation_asked_for():
    emulator = EMULATORS["ina226"](
        Constant(3.0), imperfections=Imperfections(noise_w=0.1, noise_correlation_s=0.05)
    )
    list(emulator.play(400.0))
    values = [truth.power_w - 3.0 for truth in emulator.truths]
    variance = sum(v * v for v in values) / len(values)
    covariance = sum(a * b for a, b in itertools.pairwise(values)) / len(values)
    assert math.sqrt(variance) == pytest.approx(0.1, rel=0.05)
    assert covariance / variance == pytest.approx(math.exp(-0.02 / 0.05), abs=0.04)


def test_hours_take_seconds():
    """In virtual time; the coverage studies need thousands of sessions."""
    records = sum(1 for _ in EMULATORS["wt300"](Constant(3.0), keep_truths=False).play(3600.0))
    assert records == pytest.approx(36_000, rel=0.01)


def test_a_supply_with_resistance():
    volts, amperes = Supply(12.0, 0.5).at(20.0)
    assert volts * amperes == pytest.approx(20.0)
    assert volts == pytest.approx(12.0 - 0.5 * amperes)


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["corupt=0.1"], "did you mean corrupt"),
        (["corrupt"], "NAME=RATE"),
        (["corrupt=2"], r"in \[0, 1\]"),
        (["unplug=0.1"], "need a time"),
        (["drop@x"], "NAME=RATE or"),
    ],
)
def test_bad_faults_are_one_line(texts, said):
    with pytest.raises(JoulebitError, match=said):
        FaultPlan.parse(texts)


def test_a_fault_that_a_meter_cannot_have():
    with pytest.raises(JoulebitError, match="cannot have the fault 'nan'"):
        EMULATORS["ina226"](Constant(3.0), faults=FaultPlan.parse(["nan=0.1"]))


@pytest.mark.parametrize(
    ("kind", "fault", "expected"),
    [
        ("ina226", "overrange", Fault.OVERRANGE),
        ("wt300", "overrange", Fault.OVERRANGE),
        ("scpi", "overrange", Fault.OVERRANGE),
        ("wt300", "nan", Fault.NOT_A_NUMBER),
        ("scpi", "nan", Fault.NOT_A_NUMBER),
        ("pzem", "nan", Fault.NOT_A_NUMBER),
        ("wattsup", "nan", Fault.NOT_A_NUMBER),
    ],
)
def test_values_that_are_none_are_counted_and_never_summed(kind, fault, expected):
    from joulebit_host.meters.registry import decoder_for

    settings = {"power": "MEAS:POW?"} if kind == "scpi" else {}
    watts = 60.0 if kind == "wattsup" else 3.0
    emulator = EMULATORS[kind](Constant(watts), faults=FaultPlan({fault: 0.2}))
    decoder = decoder_for(kind, settings)
    samples = [s for received in emulator.play(100.0) for s in decoder.feed(received)]
    assert decoder.faults[expected] > 5
    assert set(decoder.faults) == {expected}
    good = [s.power_w for s in samples if s.valid]
    assert max(good) - min(good) < 0.2
    if kind != "pzem":
        assert sum(not s.valid for s in samples) == decoder.faults[expected]
