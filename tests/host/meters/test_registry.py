"""Specifications, options and settings."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from joulebit.errors import JoulebitError
from joulebit_host.meters import registry
from joulebit_host.meters.base import Accuracy, Reading
from joulebit_host.meters.options import as_settings, parse_options


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("ina22:/dev/ttyUSB0", r"unknown meter 'ina22' \(did you mean ina226\?\)"),
        ("", "unknown meter"),
        ("ina226:/dev/x?shunt=0.01", r"unknown option 'shunt' \(did you mean shunt_ohm\?\); known: gain_error"),
        ("ina226:/dev/x?shunt_ohm=abc", "shunt_ohm must be a number, got 'abc'"),
        ("ina226:/dev/x?shunt_ohm=nan", "must be a number"),
        ("ina226:/dev/x?shunt_ohm=-1", "at least|in "),
        ("ina226:/dev/x?sequence_bits=24", "must be one of 16, 32, got 24"),
        ("ina226:/dev/x?averaging=maybe", "must be true or false"),
        ("ina226:/dev/x?baudrate=9600.5", "must be a whole number"),
        ("ina226:/dev/x?chip=INA266", r"did you mean INA226\?"),
        ("ina226:/dev/x?chip", "options are written NAME=VALUE"),
        ("ina226", "needs its port"),
        ("ina226:usb:zz:1", "a USB address is"),
        ("ina226:usb:FFFF:FFFF:none", "no serial port belongs to"),
        ("ina226:/dev/no-such-port", "cannot open /dev/no-such-port"),
        ({"kind": "ina226", "adress": "/dev/x"}, "unknown option 'adress'"),
        ({"address": "/dev/x"}, "a meter needs a kind"),
        ("scpi:/dev/x?voltage=&current=", "at least one of"),
        ("hwmon", "needs its sensors"),
        ("replay", "needs a recording"),
        ("replay:/no/such/file", "no such recording"),
    ],
)
def test_mistakes_are_one_line(spec, said):
    with pytest.raises(JoulebitError, match=said) as caught:
        registry.open_meter(spec)
    assert "\n" not in str(caught.value)


def test_text_and_table_mean_the_same():
    text = registry.parse_spec("wt300:/dev/ttyUSB0?rate_s=0.25&integrate=no&current_range_a=1")
    table = registry.parse_spec(
        {"kind": "wt300", "address": "/dev/ttyUSB0", "rate_s": 0.25, "integrate": False, "current_range_a": 1}
    )
    assert text == table
    assert text[1] == "/dev/ttyUSB0"
    assert (text[2].rate_s, text[2].integrate, text[2].current_range_a) == (0.25, False, 1.0)


def test_questions_with_reserved_characters_survive():
    _, _, options = registry.parse_spec("scpi:/dev/x?setup=INST:NSEL 2;OUTP ON&power=MEAS:POW?")
    assert options.setup == "INST:NSEL 2;OUTP ON"
    assert options.questions() == ("MEAS:VOLT?", "MEAS:CURR?", "MEAS:POW?")


@pytest.mark.parametrize("name", registry.kind_names())
def test_settings_are_plain_json_and_make_the_same_options_again(name):
    options = parse_options(registry.kind(name).options, {}, name)
    settings = json.loads(json.dumps(as_settings(options)))
    assert parse_options(registry.kind(name).options, settings, name) == options


@pytest.mark.parametrize("name", [n for n in registry.kind_names() if n != "replay"])
def test_every_kind_tells_reading_accuracy_and_interval(name):
    reading, accuracy, interval_s = registry.describe(name, {})
    assert isinstance(reading, Reading)
    assert isinstance(accuracy, Accuracy)
    assert accuracy.source
    assert 0 <= accuracy.gain < 0.2
    assert interval_s > 0


def test_listing_never_raises(monkeypatch):
    from serial.tools import list_ports

    def broken():
        raise OSError("no")

    monkeypatch.setattr(list_ports, "comports", broken)
    assert isinstance(registry.list_meters(), list)


def test_decoding_needs_no_library_of_a_meter():
    """An audit works with numpy and pure-Python packages; only PZEM needs its Modbus library."""
    script = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        blocked = ("serial", "pymodbus", "pynvml", "pyjoulescope_driver", "numba", "torch", "scipy")
        if name.split(".")[0] in blocked:
            raise ModuleNotFoundError(name, name=name)

sys.meta_path.insert(0, Blocked())
from joulebit.errors import JoulebitError
from joulebit_host.meters.registry import decoder_for, kind_names, list_meters, open_meter
filled = {
    "rapl": {"domains": ["a"], "ranges_uj": [1000]}, "hwmon": {"files": ["a/power1_input"]},
    "jetson": {"rails": ["A:mW"]},
}
for name in kind_names():
    if name not in ("replay", "pzem"):
        decoder_for(name, filled.get(name, {}))
list_meters()
for spec in ("ina226:/dev/x", "pzem:/dev/x", "nvml", "joulescope"):
    try:
        open_meter(spec)
    except JoulebitError as error:
        assert "pip install" in str(error), error
    else:
        raise AssertionError(spec)
"""
    subprocess.run([sys.executable, "-c", script], check=True)
