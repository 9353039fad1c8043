"""Power curves: the integral is that of the power."""

from __future__ import annotations

import math

import pytest

from joulebit.errors import JoulebitError
from joulebit_host.meters.emulators.curve import (
    Constant,
    Function,
    Lines,
    Restless,
    Steps,
    curve_from_table,
    parse_curve,
)

CURVES = {
    "constant": Constant(3.0),
    "steps": Steps([(0.0, 2.5), (1.0, 4.0), (1.5, 0.0)]),
    "steps-periodic": Steps([(0.0, 2.5), (1.0, 4.0)], 1.75),
    "lines": Lines([(0.0, 0.0), (2.0, 4.0), (3.0, 1.0)]),
    "lines-periodic": Lines([(0.0, 1.0), (0.5, 4.0)], 0.9),
    "function": Function(lambda t: 3 + math.sin(t), lambda t: 3 * t - math.cos(t)),
    "restless": Restless(Steps([(0.0, 2.5), (1.0, 4.0)], 1.75), 0.3, 0.05, seed=1),
}


@pytest.mark.parametrize("curve", CURVES.values(), ids=CURVES)
def test_energy_is_the_integral_of_the_power(curve):
    """Against a midpoint sum fine enough for every step to fall between two points."""
    step_s = 1e-3
    for start_s, end_s in ((0.0, 0.35), (0.2, 4.0), (1.25, 9.5)):
        count = round((end_s - start_s) / step_s)
        expected = sum(curve.power_w(start_s + (i + 0.5) * step_s) for i in range(count)) * step_s
        assert curve.energy_j(start_s, end_s) == pytest.approx(expected, abs=2e-3)
        assert curve.energy_j(start_s, end_s) == pytest.approx(
            curve.energy_j(start_s, 0.3) + curve.energy_j(0.3, end_s), abs=1e-9
        )


def test_known_integrals():
    assert Steps([(0.0, 2.5), (10.0, 4.1)], 20.0).energy_j(0.0, 100.0) == pytest.approx(330.0, abs=1e-9)
    assert Lines([(0.0, 0.0), (2.0, 4.0)]).energy_j(0.0, 3.0) == pytest.approx(8.0, abs=1e-12)


def test_what_can_be_written_on_a_command_line(tmp_path):
    assert parse_curve("5").power_w(3.0) == 5.0
    assert parse_curve("steps:0=2.5,10=4.1,period=20").power_w(35.0) == 4.1
    assert parse_curve("lines:0=0,2=4").power_w(1.0) == 2.0
    assert parse_curve("5~0.1").power_w(1.0) != 5.0
    csv = tmp_path / "curve.csv"
    csv.write_text("t_s,watts\n0,1\n2,3\n")
    assert parse_curve(str(csv)).energy_j(0.0, 2.0) == 4.0
    toml = tmp_path / "curve.toml"
    toml.write_text('kind = "steps"\npoints = [[0, 1.0], [1, 2.0]]\nperiod_s = 2\n')
    assert parse_curve(str(toml)).energy_j(0.0, 4.0) == 6.0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "a number is needed"),
        ("stpes:0=1", "did you mean steps?"),
        ("steps:1=2", "must begin at 0"),
        ("steps:0=1,0=2", "increase"),
        ("steps:0=1,5=2,period=3", "period must be longer"),
        ("5~x", "a number is needed"),
    ],
)
def test_bad_curves_are_one_line(text, said):
    with pytest.raises(JoulebitError, match=said.replace("?", r"\?")):
        parse_curve(text)


def test_unknown_keys_of_a_table():
    with pytest.raises(JoulebitError, match="did you mean points"):
        curve_from_table({"kind": "steps", "point": []})
