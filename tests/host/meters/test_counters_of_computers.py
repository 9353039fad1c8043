"""RAPL, hwmon, Jetson, tegrastats and NVML on made-up trees, programs and libraries."""

from __future__ import annotations

import json
import stat
from types import SimpleNamespace

import pytest

from joulebit.errors import JoulebitError
from joulebit_host.meters.base import Fault, Reading, Received
from joulebit_host.meters.collect import collect
from joulebit_host.meters.kinds import hwmon, jetson, nvml, rapl
from joulebit_host.meters.registry import decoder_for, open_meter

# RAPL

RANGE_UJ = 262_143_328_850


@pytest.fixture
def powercap(tmp_path):
    """A machine with two packages; the first has a core domain."""
    for name, label, value in (
        ("intel-rapl:0", "package-0", 1_000_000),
        ("intel-rapl:0:0", "core", 500_000),
        ("intel-rapl:1", "package-1", 2_000_000),
    ):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "name").write_text(label + "\n")
        (folder / "energy_uj").write_text(f"{value}\n")
        (folder / "max_energy_range_uj").write_text(f"{RANGE_UJ}\n")
    (tmp_path / "intel-rapl").mkdir()
    return tmp_path


def read_some(meter, count=1):
    records = []
    meter.start()
    while len(records) < count:
        received = meter.read(1.0)
        if received.data or received.event:
            records.append(received)
    return records


def test_rapl_adds_all_packages(powercap):
    meter = open_meter({"kind": "rapl", "root": str(powercap), "interval_s": 0.01})
    assert meter.identity == "RAPL package-0+package-1"
    assert meter.settings["ranges_uj"] == [RANGE_UJ, RANGE_UJ]
    (first,) = read_some(meter)
    assert first.data == b"intel-rapl:0 1000000\nintel-rapl:1 2000000\n"
    (powercap / "intel-rapl:0" / "energy_uj").write_text("1500000\n")
    (powercap / "intel-rapl:1" / "energy_uj").write_text("2250000\n")
    decoder = decoder_for("rapl", json.loads(json.dumps(meter.settings)))
    samples = [s for r in (first, *read_some(meter)) for s in decoder.feed(r)]
    assert [s.energy_j for s in samples] == [0.0, 0.75]


def test_rapl_domains_by_name(powercap):
    meter = open_meter({"kind": "rapl", "address": "core+package-1", "root": str(powercap)})
    assert meter.settings["domains"] == ["intel-rapl:0:0", "intel-rapl:1"]
    with pytest.raises(JoulebitError, match=r"did you mean package-1|did you mean package-0"):
        open_meter({"kind": "rapl", "address": "package-3", "root": str(powercap)})


def test_a_machine_without_rapl_says_so(tmp_path):
    with pytest.raises(JoulebitError, match="no RAPL counters"):
        open_meter({"kind": "rapl", "root": str(tmp_path)})
    with pytest.raises(JoulebitError, match="no RAPL counters"):
        open_meter({"kind": "rapl", "root": str(tmp_path / "missing")})
    assert rapl.find(tmp_path) == []


def test_rapl_that_must_not_be_read(powercap, monkeypatch):
    real = rapl.read_number
    monkeypatch.setattr(rapl, "read_number", lambda path: None if path.name == "energy_uj" else real(path))
    with pytest.raises(JoulebitError, match="only root may"):
        open_meter({"kind": "rapl", "root": str(powercap)})
    assert [usable for _, _, usable, _ in rapl.find(powercap)] == [False] * 3


def rapl_decoder(**more):
    return decoder_for("rapl", {"domains": ["a"], "ranges_uj": [RANGE_UJ], "max_power_w": 200, **more})


def feed(decoder, t_s, text):
    return decoder.feed(Received(t_s, t_s, text.encode()))


def test_rapl_wraps_once():
    decoder = rapl_decoder()
    feed(decoder, 0.0, f"a {RANGE_UJ - 400_000}\n")
    (sample,) = feed(decoder, 1.0, "a 600000\n")
    assert sample.energy_j == pytest.approx(1.0, abs=2e-6)
    assert decoder.faults == {Fault.WRAPPED: 1}


@pytest.mark.parametrize(("t_s", "value"), [(1311.0, 5_000_000), (1311.0, 90_000_000_000), (1.0, 10)])
def test_rapl_turns_that_nobody_can_count(t_s, value):
    """262 kJ at up to 200 W take 1311 s: after that, or when the counter was reset, the energy is unknown."""
    decoder = rapl_decoder()
    feed(decoder, 0.0, "a 80000000000\n")
    (sample,) = feed(decoder, t_s, f"a {value}\n")
    assert (sample.segment, sample.energy_j) == (1, 0.0)
    assert decoder.faults == {Fault.WRAP_AMBIGUOUS: 1}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a 5", Fault.FRAMING),
        ("b 5\n", Fault.FRAMING),
        ("a -5\n", Fault.FRAMING),
        ("a !EIO\n", Fault.FRAMING),
        ("a 5\na 5\n", Fault.FRAMING),
        (f"a {RANGE_UJ + 1}\n", Fault.RANGE),
    ],
)
def test_rapl_records_that_are_void(text, fault):
    decoder = rapl_decoder()
    assert feed(decoder, 0.0, text) == []
    assert decoder.faults == {fault: 1}


def test_files_that_vanish_and_come_back(powercap):
    meter = open_meter({"kind": "rapl", "address": "package-0", "root": str(powercap), "interval_s": 0.01})
    file = powercap / "intel-rapl:0" / "energy_uj"
    file.rename(file.with_name("away"))
    assert read_some(meter)[0].event == "unplugged"
    still = meter.read(0.05)
    assert (still.data, still.event) == (b"", ""), "said once"
    file.with_name("away").rename(file)
    assert [r.event for r in read_some(meter, 2)] == ["replugged", ""]


# hwmon


@pytest.fixture
def hwmon_tree(tmp_path):
    files = {
        "hwmon0": {
            "name": "irps5401",
            "power1_input": 2_500_000,
            "power1_label": "VCCINT",
            "power2_input": 750_000,
        },
        "hwmon1": {"name": "ina3221", "in1_input": 12_034, "curr1_input": 213, "in1_label": "VIN", "in2_input": 5},
        "hwmon2": {"name": "amd_energy", "energy1_input": 10_000_000, "energy2_input": 5_000_000},
        "hwmon3": {"name": "acpi", "power1_average": 90_000_000, "temp1_input": 40_000},
    }
    for folder, contents in files.items():
        (tmp_path / folder).mkdir()
        for name, value in contents.items():
            (tmp_path / folder / name).write_text(f"{value}\n")
    return tmp_path


@pytest.mark.parametrize(
    ("address", "watts"),
    [
        ("irps5401/power1", 2.5),
        ("irps5401/VCCINT", 2.5),
        ("hwmon0/power1+irps5401/power2", 3.25),
        ("ina3221/in1*curr1", 12.034 * 0.213),
        ("acpi/power1", 90.0),
    ],
)
def test_hwmon_power(hwmon_tree, address, watts):
    meter = open_meter({"kind": "hwmon", "address": address, "root": str(hwmon_tree), "interval_s": 0.01})
    decoder = decoder_for("hwmon", meter.settings)
    (sample,) = decoder.feed(read_some(meter)[0])
    assert sample.power_w == pytest.approx(watts, rel=1e-12)
    assert meter.reading is Reading.POINT


def test_hwmon_energy(hwmon_tree):
    meter = open_meter(
        {
            "kind": "hwmon",
            "address": "amd_energy/energy1+amd_energy/energy2",
            "root": str(hwmon_tree),
            "interval_s": 0.01,
        }
    )
    assert meter.reading is Reading.ENERGY
    decoder = decoder_for("hwmon", meter.settings)
    decoder.feed(read_some(meter)[0])
    (hwmon_tree / "hwmon2" / "energy1_input").write_text("11500000")
    (sample,) = decoder.feed(read_some(meter)[0])
    assert sample.energy_j == pytest.approx(1.5, abs=1e-12)
    (hwmon_tree / "hwmon2" / "energy1_input").write_text("10")
    assert decoder.feed(read_some(meter)[0]) == [], "the first value after a reset may be damage"
    (sample,) = decoder.feed(read_some(meter)[0])
    assert (sample.segment, decoder.faults) == (1, {Fault.RANGE: 1, Fault.WRAP_AMBIGUOUS: 1})


def test_hwmon_sensors_are_listed(hwmon_tree):
    specs = [spec for spec, *_ in hwmon.find(hwmon_tree)]
    assert "hwmon:hwmon1/in1*curr1" in specs
    assert "hwmon:hwmon3/power1" in specs
    assert not any("in2" in spec or "temp" in spec for spec in specs)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("irps5401/power9", r"no sensor 'irps5401/power9' \(did you mean irps5401/power"),
        ("irps5401", "no sensor"),
        ("irps5401/power1+amd_energy/energy1", "cannot be added"),
    ],
)
def test_hwmon_mistakes(hwmon_tree, address, said):
    with pytest.raises(JoulebitError, match=said):
        open_meter({"kind": "hwmon", "address": address, "root": str(hwmon_tree)})


def test_one_of_two_hwmon_files_fails(hwmon_tree):
    meter = open_meter(
        {
            "kind": "hwmon",
            "address": "irps5401/power1+irps5401/power2",
            "root": str(hwmon_tree),
            "interval_s": 0.01,
        }
    )
    (hwmon_tree / "hwmon0" / "power2_input").unlink()
    decoder = decoder_for("hwmon", meter.settings)
    (record,) = read_some(meter)
    assert record.data == b"hwmon0/power1_input 2500000\nhwmon0/power2_input !ENOENT\n"
    (sample,) = decoder.feed(record)
    assert (sample.valid, sample.power_w) == (False, None)
    assert decoder.faults == {Fault.NOT_A_NUMBER: 1}


# Jetson


def test_jetson_of_the_older_kernel(tmp_path):
    device = tmp_path / "ina3221x" / "6-0040" / "iio:device0"
    device.mkdir(parents=True)
    for i, (name, milliwatts) in enumerate([("POM_5V_IN", 2230), ("POM_5V_GPU", 80)]):
        (device / f"rail_name_{i}").write_text(name)
        (device / f"in_power{i}_input").write_text(str(milliwatts))
    meter = open_meter({"kind": "jetson", "root": str(tmp_path), "interval_s": 0.01})
    assert meter.identity == "INA3221 POM_5V_IN"
    (sample,) = decoder_for("jetson", meter.settings).feed(read_some(meter)[0])
    assert sample.power_w == 2.23
    assert len(jetson.find(tmp_path)) == 2


def test_jetson_of_the_newer_kernel(tmp_path):
    device = tmp_path / "ina3221" / "1-0040" / "hwmon" / "hwmon3"
    device.mkdir(parents=True)
    for i, (name, mv, ma) in enumerate([("VDD_IN", 19_000, 400), ("VDD_CPU_GPU_CV", 19_000, 100)], 1):
        (device / f"in{i}_label").write_text(name)
        (device / f"in{i}_input").write_text(str(mv))
        (device / f"curr{i}_input").write_text(str(ma))
    meter = open_meter(
        {"kind": "jetson", "address": "VDD_IN+VDD_CPU_GPU_CV", "root": str(tmp_path), "interval_s": 0.01}
    )
    (sample,) = decoder_for("jetson", meter.settings).feed(read_some(meter)[0])
    assert sample.power_w == pytest.approx(9.5, rel=1e-12)
    with pytest.raises(JoulebitError, match="did you mean VDD_IN"):
        open_meter({"kind": "jetson", "address": "VDDIN", "root": str(tmp_path)})


def test_no_jetson(tmp_path):
    with pytest.raises(JoulebitError, match="no Jetson"):
        open_meter({"kind": "jetson", "root": str(tmp_path)})


NEW = "07-24-2023 10:00:00 RAM 2448/30536MB VDD_GPU_SOC 2000mW/1990mW VDD_IN 4950mW/4960mW NC 0mW/0mW\n"
OLD = "RAM 1903/3964MB (lfb 1x1MB) CPU [1%@102,off] POM_5V_IN 2230/2215 POM_5V_GPU 80/80 POM_5V_CPU 160/160\n"


@pytest.mark.parametrize(
    ("line", "rails", "watts"), [(NEW, [], 4.95), (OLD, [], 2.23), (OLD, ["POM_5V_GPU", "POM_5V_CPU"], 0.24)]
)
def test_tegrastats_lines(line, rails, watts):
    decoder = decoder_for("tegrastats", {"rails": rails})
    (sample,) = decoder.feed(Received(0.0, 0.1, line.encode()))
    assert sample.power_w == watts


@pytest.mark.parametrize(
    "line", ["\n", "VDD_IN\n", NEW.replace("4950mW", "4x50mW"), NEW.replace("\n", " VDD_IN 1mW/1mW\n")]
)
def test_tegrastats_lines_that_are_void(line):
    decoder = decoder_for("tegrastats", {})
    assert decoder.feed(Received(0.0, 0.1, line.encode())) == []
    assert decoder.faults == {Fault.FRAMING: 1}


def test_tegrastats_that_ends_is_started_again(tmp_path):
    program = tmp_path / "tegrastats"
    program.write_text(f'#!/bin/sh\nfor i in 1 2 3 4 5; do printf "%s\\n" "{NEW.strip()}"; sleep 0.05; done\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    meter = open_meter({"kind": "tegrastats", "command": str(program), "interval_s": 0.05})
    summary = collect(meter, seconds=1.2)
    meter.close()
    assert summary.faults[Fault.UNPLUGGED] >= 1
    assert summary.samples > 6
    assert summary.mean_w == pytest.approx(4.95)
    with pytest.raises(JoulebitError, match="cannot start"):
        open_meter({"kind": "tegrastats", "command": str(tmp_path / "none")})


# NVML


class FakeNvml:
    """As much of NVML as is used, with a GPU that takes 100 W."""

    class NVMLError(Exception):
        pass

    class NVMLError_NotSupported(NVMLError):
        pass

    def __init__(self, counter=True):
        self.counter = counter
        self.energy_mj = 5_000_000
        self.broken = False

    def nvmlDeviceGetHandleByIndex(self, index):
        if index:
            raise self.NVMLError("Invalid Argument")
        return SimpleNamespace(index=index)

    def nvmlDeviceGetName(self, gpu):
        return b"Fake GPU"

    def nvmlDeviceGetUUID(self, gpu):
        return "GPU-123"

    def nvmlDeviceGetTotalEnergyConsumption(self, gpu):
        if self.broken:
            raise self.NVMLError("GPU is lost")
        if not self.counter:
            raise self.NVMLError_NotSupported("Not Supported")
        self.energy_mj += 1000
        return self.energy_mj

    def nvmlDeviceGetPowerUsage(self, gpu):
        if self.broken:
            raise self.NVMLError("GPU is lost")
        return 100_000


def test_nvml_counter():
    meter = nvml.NvmlMeter("0", nvml.NvmlOptions(interval_s=0.005), FakeNvml())
    assert (meter.identity, meter.reading) == ("Fake GPU GPU-123", Reading.ENERGY)
    decoder = decoder_for("nvml", meter.settings)
    samples = [s for r in read_some(meter, 3) for s in decoder.feed(r)]
    assert [s.energy_j for s in samples] == [0.0, 1.0, 2.0]
    assert {s.power_w for s in samples} == {100.0}


def test_nvml_without_a_counter_falls_back_to_power():
    meter = nvml.NvmlMeter("", nvml.NvmlOptions(interval_s=0.005), FakeNvml(counter=False))
    assert (meter.reading, meter.settings["counter"]) == (Reading.POINT, False)
    decoder = decoder_for("nvml", meter.settings)
    (record,) = read_some(meter)
    assert record.data == b'{"energy_mj":null,"power_mw":100000}'
    assert [s.energy_j for s in decoder.feed(record)] == [None]


def test_nvml_gpu_that_is_lost_and_found():
    library = FakeNvml()
    meter = nvml.NvmlMeter("0", nvml.NvmlOptions(interval_s=0.005), library)
    library.broken = True
    assert read_some(meter)[0].event == "unplugged"
    library.broken = False
    assert [r.event for r in read_some(meter, 2)] == ["replugged", ""]


@pytest.mark.parametrize("address", ["1", "x"])
def test_nvml_gpu_that_is_not_there(address):
    with pytest.raises(JoulebitError, match="nvml"):
        nvml.NvmlMeter(address, nvml.NvmlOptions(), FakeNvml())


@pytest.mark.parametrize(
    ("second", "fault", "samples"),
    [
        ('{"energy_mj":400,"power_mw":1}', Fault.RANGE, 0),
        ('{"energy_mj":99999999,"power_mw":1}', Fault.RANGE, 0),
        ('{"energy_mj":1000,"power_mw":9999999}', Fault.RANGE, 0),
        ('{"energy_mj":"Unknown Error","power_mw":1}', Fault.NOT_A_NUMBER, 1),
        ('{"energy_mj":1000.5,"power_mw":1}', Fault.FRAMING, 0),
        ('{"energy_mj":1000}', Fault.FRAMING, 0),
        ("[]", Fault.FRAMING, 0),
        ("{", Fault.FRAMING, 0),
    ],
)
def test_nvml_records(second, fault, samples):
    decoder = decoder_for("nvml", {})
    feed(decoder, 0.0, '{"energy_mj":1000,"power_mw":1}')
    assert len(feed(decoder, 0.1, second)) == samples
    assert decoder.faults == {fault: 1}


def test_nvml_driver_that_was_loaded_again():
    decoder = decoder_for("nvml", {})
    feed(decoder, 0.0, '{"energy_mj":900000,"power_mw":1}')
    assert feed(decoder, 0.1, '{"energy_mj":400,"power_mw":1}') == []
    (sample,) = feed(decoder, 0.2, '{"energy_mj":500,"power_mw":1}')
    assert (sample.segment, sample.energy_j) == (1, 0.0)
    assert decoder.faults == {Fault.RANGE: 1, Fault.WRAP_AMBIGUOUS: 1}
