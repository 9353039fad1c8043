"""The board `zed`: pynq's own Overlay, MMIO and buffers in a process of their own, over a virtual device."""

import re
from dataclasses import replace

import pytest
from passes_oracle import expected_passes

from joulebit_host.bitstreams import read_manifest, write_manifest
from joulebit_host.boards.loading import xadc_temperature_c


@pytest.fixture
def built(bitstream_folder, bit_of):
    """The virtual bitstream of `tiny`, said to be built by Vivado while the test lasts."""
    manifest = read_manifest(bit_of("tiny").with_suffix(".json"))
    path = write_manifest(bitstream_folder, replace(manifest, name="built", kind="vivado"))
    yield path
    path.unlink()


@pytest.mark.pynq
@pytest.mark.parametrize("generation", ["3.0", "3.1"])
def test_the_driver_is_bit_exact_with_pynqs_own_objects(client, built, bit_of, generation):
    got = client("driver", "-", script="zed_client.py", config="tiny", generation=generation)
    assert got["results"] == [expected_passes(0), expected_passes(1)]
    (loaded,) = got["loaded"]
    assert loaded == [bit_of("tiny").name, pytest.approx(100e6, rel=1e-6)]
    assert got["moved"] < 2 << 20  # ranges, not the buffers of 16 MiB that they lie in
    assert "no bitstream is loaded" in got["unloaded"]
    assert re.match(
        r"BoardMemoryError: board zed has no 1,073,741,824 contiguous bytes \(BO alloc", got["too_much"]
    )
    assert got["temperature"] is None


@pytest.mark.pynq
def test_what_is_missing_is_told(client, built):
    got = client("nothing", "-", script="zed_client.py", config="tiny")
    assert got["no board"].startswith("JoulebitError: pynq finds no board here (No Devices Found)")
    assert "no real bitstream of configuration open" in got["no bitstream"]
    assert "make -C hw vivado" in got["no bitstream"]
    assert "built from specification 00000000" in got["other"]


def test_the_temperature_is_that_of_the_zynqs_converter():
    files = {"raw": "2536\n", "offset": "-2219\n", "scale": "123.040771484\n"}
    # UG480: T = code * 503.975 / 4096 - 273.15
    found = xadc_temperature_c(lambda path: files[path.rpartition("_")[2]])
    assert found == pytest.approx(2536 * 503.975 / 4096 - 273.15, abs=0.2)
    assert xadc_temperature_c(lambda path: None) is None
