"""Error limits: what a data sheet says, what is assumed, and what the user gives instead."""

import dataclasses

import pytest

from joulebit.errors import JoulebitError
from joulebit_host.meters.base import Reading, Sample
from joulebit_host.meters.emulators.curve import Steps
from joulebit_host.meters.emulators.pty import PtyServer
from joulebit_host.meters.emulators.wt300 import WtEmulator
from joulebit_host.meters.limits import limits_text
from joulebit_host.meters.registry import describe, kind_names, open_meter, parse_spec
from joulebit_host.session.budget import MeterFacts, measure_window
from joulebit_host.session.window import Window, build

KINDS = [name for name in kind_names() if name != "replay"]


def accuracy_of(spec: str):
    return parse_spec(spec)[2].accuracy()


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_takes_limits_of_the_user(name: str) -> None:
    given = accuracy_of(f"{name}?gain_error=0.0125&offset_w=0.75&time_error_s=0.5")
    assert (given.gain, given.offset_w, given.time_s) == (0.0125, 0.75, 0.5)
    assert given.assumed == ()
    assert "given: gain 0.0125, offset_w 0.75, time_s 0.5" in given.source
    known = accuracy_of(name)
    assert dataclasses.replace(given, gain=known.gain, offset_w=known.offset_w, time_s=known.time_s) == (
        dataclasses.replace(known, assumed=(), source=given.source)
    )


@pytest.mark.parametrize("name", KINDS)
def test_what_is_assumed_is_said(name: str) -> None:
    known = describe(name, {})[1]
    assert known.assumed, "no kind knows all of its limits from a data sheet"
    assert set(known.assumed) <= {field.name for field in dataclasses.fields(known)}
    assert "assumed" in known.source
    assert limits_text(known).count("(assumed)") == len(known.assumed)


def test_one_given_limit_leaves_the_others_assumed() -> None:
    assert accuracy_of("ruideng?gain_error=0.001").assumed == ("offset_w", "time_s")


def test_the_budget_names_assumed_terms() -> None:
    samples = [Sample(0.5 * i, power_w=3.0 + (i > 60)) for i in range(200)]
    pieces = build(samples, Reading.POINT, 0.5)
    window = Window(30.2, 80.0)
    for spec, names in (
        ("ruideng", {"gain (assumed)", "offset (assumed)", "edges: time of the samples (assumed)"}),
        ("ruideng?gain_error=0.001", {"gain", "offset (assumed)"}),
        ("pzem", {"gain", "offset (assumed)"}),
    ):
        facts = MeterFacts(Reading.POINT, 0.5, accuracy_of(spec), "m")
        terms = {term.name for term in measure_window(pieces, window, facts, None, "w", "s").gross.terms}
        assert names <= terms, spec


@pytest.mark.parametrize(
    ("spec", "gain", "offset_w"),
    [
        # 15 V x 0.5 A: 0.2 % of 7.5 W; per kelvin 15 V * 0.5 mA + 0.02 % of 7.5 W.
        ("wt300?zero_change_c=0", 0.001, 0.015),
        ("wt300", 0.001, 0.015 + 0.0075 + 0.0015),
        ("wt300?zero_change_c=3", 0.001, 0.015 + 3 * 0.009),
        # 15 V x 0.2 A: 5 uA per kelvin.
        ("wt300?current_range_a=0.2", 0.001, 0.006 + 75e-6 + 0.0006),
        # WT310EH, 15 V x 1 A: 0.3 % of reading, 1 mA per kelvin.
        ("wt300?current_range_a=1&high_current=true", 0.003, 0.03 + 0.015 + 0.003),
    ],
)
def test_limits_of_the_wt300_by_its_manual(spec: str, gain: float, offset_w: float) -> None:
    """IM WT310E-02EN, 7.3.2, by hand."""
    limits = accuracy_of(spec)
    assert limits.gain == gain
    assert limits.offset_w == pytest.approx(offset_w)


@pytest.mark.parametrize(
    ("model", "options", "said"),
    [("WT310EH", "", "high_current=true"), ("WT310", "?high_current=true", "high_current=false")],
)
def test_a_wt300_with_other_limits_than_the_options_say_is_refused(model: str, options: str, said: str) -> None:
    emulator = WtEmulator(Steps([(0.0, 3.0)]), model=model)
    with PtyServer(emulator) as server, pytest.raises(JoulebitError, match=said):
        open_meter(f"wt300:{server.path}{options}")


def test_old_recordings_say_nothing_of_assumptions() -> None:
    header = {
        "kind": "ruideng",
        "identity": "UM25C",
        "settings": {},
        "reading": "point",
        "interval_s": 0.5,
        "accuracy": {"gain": 0.01, "offset_w": 0.002, "source": "a manual"},
    }
    assert MeterFacts.of(header).accuracy.assumed == ()
    header["accuracy"] = {"gain": 0.01, "offset_w": 0.002, "assumed": ["gain"]}
    assert MeterFacts.of(header).accuracy.assumed == ("gain",)
