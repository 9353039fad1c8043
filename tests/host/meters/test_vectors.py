"""Frames known from outside, byte for byte, against the decoders (and the emulators' own checksums)."""

from __future__ import annotations

import pytest

from joulebit_host.meters.base import Fault, Received
from joulebit_host.meters.emulators.ina226 import crc16
from joulebit_host.meters.emulators.pzem import crc_bytes
from joulebit_host.meters.kinds import pzem
from joulebit_host.meters.options import parse_options
from joulebit_host.meters.registry import decoder_for

PZEM_004T = "F8 04 14 08 FD 01 31 00 00 01 AB 00 00 04 D2 00 00 01 F4 00 3D 00 00 E2 3A"
PZEM_017 = "01 04 10 04 B5 00 2A 00 32 00 00 00 57 00 00 00 00 00 00 97 8F"


def feed(decoder, data: bytes, t_s: float = 1.0):
    return decoder.feed(Received(t_s - 0.2, t_s, data))


def test_crc_check_values_of_the_catalogue():
    assert crc16(b"123456789") == 0x29B1  # CRC-16/IBM-3740
    assert crc_bytes(b"123456789") == bytes.fromhex("37 4B")  # CRC-16/MODBUS 4B37, low byte first


@pytest.mark.parametrize(
    ("model", "slave", "question"),
    [("004T", 0xF8, "F8 04 00 00 00 0A 64 64"), ("017", 1, "01 04 00 00 00 08 F1 CC")],
)
def test_pzem_question(model, slave, question):
    options = parse_options(pzem.PzemOptions, {"model": model, "slave": slave}, "pzem")
    assert pzem.request(options) == bytes.fromhex(question)


def test_pzem_004t():
    decoder = decoder_for("pzem", {"model": "004T", "slave": 0xF8})
    (sample,) = feed(decoder, bytes.fromhex(PZEM_004T))
    assert (sample.power_w, sample.current_a) == (42.7, 0.305)
    assert sample.voltage_v == pytest.approx(230.1, abs=1e-9)
    assert (sample.t_s, sample.time_error_s) == (pytest.approx(0.9), pytest.approx(0.1))
    assert not decoder.faults


def test_pzem_017():
    decoder = decoder_for("pzem", {"model": "017"})
    (sample,) = feed(decoder, bytes.fromhex(PZEM_017))
    assert (sample.voltage_v, sample.current_a, sample.power_w) == (12.05, 0.42, 5.0)


def test_pzem_exception_is_no_value():
    decoder = decoder_for("pzem", {"model": "004T", "slave": 0xF8})
    assert feed(decoder, bytes.fromhex("F8 84 02 12 F0")) == []
    assert decoder.faults == {Fault.NOT_A_NUMBER: 1}


def test_ruideng_um25c():
    record = bytes.fromhex("09 c9 2f 02 08 57 00 00 0a 09 00 1c") + bytes(116) + bytes.fromhex("ff f1")
    decoder = decoder_for("ruideng", {"model": "UM25C"})
    (sample,) = feed(decoder, record)
    assert sample.power_w == 2.569
    assert sample.voltage_v == pytest.approx(12.034, abs=1e-9)
    assert sample.current_a == pytest.approx(0.2135, abs=1e-9)
    assert feed(decoder_for("ruideng", {"model": "UM24C"}), record) == []


def test_watts_up_real_line():
    decoder = decoder_for("wattsup", {})
    (sample,) = feed(decoder, b"#d,-,18,0,1203,0,79,0,34,2,0,1203,0,0,1200,0,100,0,0,600,0;")
    assert (sample.power_w, sample.voltage_v, sample.current_a) == (0.0, 120.3, 0.0)
    assert not decoder.faults


def test_watts_up_missing_fields():
    decoder = decoder_for("wattsup", {})
    (sample,) = feed(decoder, b"#d,-,18,_,1203,0,79,0,34,2,0,1203,0,0,1200,0,100,0,0,600,0;")
    assert sample.power_w is None
    assert not sample.valid
    assert decoder.faults == {Fault.NOT_A_NUMBER: 1}


def test_ina226_line_written_by_hand():
    text = b"E1,7,1000000,534,9627,3"
    decoder = decoder_for("ina226", {"shunt_ohm": 0.01})
    (sample,) = feed(decoder, text + b",%04X\r\n" % crc16(text))
    assert sample.current_a == pytest.approx(0.1335, abs=1e-12)  # 534 * 2.5 uV / 10 mOhm
    assert sample.voltage_v == pytest.approx(12.03375, abs=1e-12)  # 9627 * 1.25 mV
    assert (sample.sequence, sample.device_t_s, sample.marker) == (7, 1.0, 3)


def test_ina219_registers():
    text = b"E1,0,0,-25,24066,0"  # 24066 = 3008 << 3 | 2: 12.032 V, conversion ready
    (sample,) = feed(decoder_for("ina219", {"shunt_ohm": 0.1}), text + b",%04X\n" % crc16(text))
    assert sample.current_a == pytest.approx(-0.0025, abs=1e-12)
    assert sample.voltage_v == pytest.approx(12.032, abs=1e-12)


WT_VALUES = b"12.034E+00,213.50E-03,2.5693E+00,1.2345E-03,1.8000E+00\n"


def test_wt300_poll():
    decoder = decoder_for("wt300", {})
    (sample,) = feed(decoder, WT_VALUES * 2 + b"1\n0\n")
    assert (sample.voltage_v, sample.current_a, sample.power_w) == (12.034, 0.2135, 2.5693)
    (later,) = feed(decoder, WT_VALUES.replace(b"1.2345E-03", b"2.2345E-03") * 2 + b"1\n0\n", 1.1)
    assert later.energy_j - sample.energy_j == pytest.approx(3.6, abs=1e-9)


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (WT_VALUES * 2 + b"65\n64\n", Fault.OVERRANGE),
        (WT_VALUES.replace(b"213.50E-03", b"INF") * 2 + b"1\n0\n", Fault.OVERRANGE),
        (WT_VALUES.replace(b"2.5693E+00", b"NAN") * 2 + b"1\n0\n", Fault.NOT_A_NUMBER),
    ],
)
def test_wt300_values_that_are_none(data, fault):
    decoder = decoder_for("wt300", {})
    (sample,) = feed(decoder, data)
    assert not sample.valid
    assert decoder.faults == {fault: 1}


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (WT_VALUES + WT_VALUES.replace(b"12.034", b"12.035") + b"1\n0\n", Fault.CHECKSUM),
        (WT_VALUES.replace(b"2.5693", b"4.5693") * 2 + b"1\n0\n", Fault.RANGE),
        (WT_VALUES * 2 + b"0\n0\n", Fault.RANGE),
        (WT_VALUES * 2 + b"1\n", Fault.FRAMING),
        (WT_VALUES.replace(b",1.8000E+00", b"") * 2 + b"1\n0\n", Fault.FRAMING),
        (WT_VALUES.replace(b"12.034E+00", b"12.034E+0O") * 2 + b"1\n0\n", Fault.FRAMING),
    ],
)
def test_wt300_polls_that_are_void(data, fault):
    decoder = decoder_for("wt300", {})
    assert feed(decoder, data) == []
    assert decoder.faults == {fault: 1}


def test_scpi_power_of_two_questions_says_how_far_apart_they_may_be():
    decoder = decoder_for("scpi", {})
    (sample,) = decoder.feed(Received(10.0, 10.08, b"12.034\n0.2135\n"))
    assert sample.power_w == pytest.approx(12.034 * 0.2135)
    assert (sample.t_s, sample.time_error_s) == (pytest.approx(10.04), pytest.approx(0.04))


@pytest.mark.parametrize(
    ("data", "fault", "count"),
    [
        (b"12.0\n9.9E37\n2.4\n", Fault.OVERRANGE, 1),
        (b"12.0\n9.91E37\n2.4\n", Fault.NOT_A_NUMBER, 1),
        (b"12.0\nNAN\n2.4\n", Fault.NOT_A_NUMBER, 1),
        (b"12.0\n0.2\n", Fault.FRAMING, 0),
        (b"12.0\n0.2A\n2.4V\n", Fault.FRAMING, 0),
        (b"12.0\n0.2\n3.4\n", Fault.RANGE, 0),
        (b"120.0\n0.2\n24.0\n", Fault.RANGE, 0),
    ],
)
def test_scpi_answers_that_are_none_or_void(data, fault, count):
    decoder = decoder_for("scpi", {"power": "MEAS:POW?"})
    samples = feed(decoder, data)
    assert [sample.valid for sample in samples] == [False] * count
    assert decoder.faults == {fault: 1}
