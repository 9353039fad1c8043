"""What the flows to a bitstream write about it, out of reports in the layout of their tools."""

import json
import sys
from pathlib import Path

import pytest

from joulebit_host.bitstreams import find, read_manifest
from joulebit_host.bitstreams.handoff import handoff
from joulebit_host.bitstreams.store import VARIABLE

SYNTH = Path(__file__).resolve().parents[3] / "hw" / "synth"

TIMING = """
------------------------------------------------------------------------------------------------
| Design Timing Summary
| ---------------------
------------------------------------------------------------------------------------------------

    WNS(ns)      TNS(ns)  TNS Failing Endpoints  TNS Total Endpoints      WHS(ns)      THS(ns)
    -------      -------  ---------------------  -------------------      -------      -------
      0.213        0.000                      0                96541        0.012        0.000
"""
UTILISATION = """
+--------------------+------------+------------+---------+------+-------+--------+--------+------------+
|      Instance      |   Module   | Total LUTs | LUTRAMs | SRLs |  FFs  | RAMB36 | RAMB18 | DSP Blocks |
+--------------------+------------+------------+---------+------+-------+--------+--------+------------+
| joulebit_wrapper   |      (top) |      41234 |    2000 |  234 | 52345 |    106 |      3 |        192 |
|   accelerator      |     jb_top |      40000 |    1900 |  100 | 50000 |    100 |      0 |        192 |
"""
NEXTPNR = """
Info: Max frequency for clock 'clk': 40.00 MHz (FAIL at 100.00 MHz)
Info: Device utilisation:
Info:           SLICE_LUTX: 31234/106400    29%
Info:            SLICE_FFX: 20000/106400    18%
Info:      DSP48E1_DSP48E1:    96/   220    43%
Info:    RAMB36E1_RAMB36E1:    52/   140    37%
Info: Max frequency for clock 'clk': 80.00 MHz (FAIL at 100.00 MHz)
"""


@pytest.fixture
def build(monkeypatch):
    monkeypatch.syspath_prepend(str(SYNTH))
    for name in ("manifest", "board"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import manifest

    yield manifest
    for name in ("manifest", "board"):
        sys.modules.pop(name, None)


def test_vivados_reports_are_read(build):
    assert build.vivado_timing(TIMING) == {"worst_slack_ns": 0.213, "met": True, "signed_off": True}
    assert build.vivado_timing(TIMING.replace(" 0.213", "-1.500"))["met"] is False
    assert build.vivado_utilisation(UTILISATION) == {
        "lut": 41234,
        "lutram": 2000,
        "ff": 52345,
        "bram36": 106,
        "bram18": 3,
        "dsp": 192,
    }
    with pytest.raises(SystemExit, match="no WNS"):
        build.vivado_timing("")


def test_nextpnrs_log_is_read_and_signs_nothing_off(build):
    assert build.nextpnr_timing(NEXTPNR, 100_000_000) == {
        "worst_slack_ns": -2.5,
        "met": False,
        "signed_off": False,
    }
    assert build.nextpnr_timing("", 100_000_000) is None
    assert build.nextpnr_utilisation(NEXTPNR) == {"lut": 31234, "ff": 20000, "dsp": 96, "bram36": 52}


def test_what_a_flow_leaves_is_found_and_replaced_by_the_next_build(build, tmp_path, monkeypatch):
    tool = {"name": "Vivado", "version": "Vivado v2024.1"}
    arguments = ("vivado", "joulebit_zedboard", "tiny")
    first = build.finish(*arguments, b"bits", handoff("tiny"), tool, None, {"dsp": 48}, tmp_path)
    again = build.finish(*arguments, b"more", handoff("tiny"), tool, None, {"dsp": 48}, tmp_path)
    assert first.name != again.name
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".bit", ".hwh", ".json"]
    manifest = read_manifest(again)
    assert (manifest.kind, manifest.utilisation) == ("vivado", {"dsp": 48})
    if (SYNTH.parents[1] / ".git").exists():
        assert len(manifest.rtl_commit.rstrip("+")) == 40
    else:
        assert manifest.rtl_commit is None
    assert json.loads(again.read_text())["tool"] == tool
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    assert find("tiny", virtual=False).bit == again.with_suffix(".bit")
