"""Manifests, the hardware handoff, virtual bitstreams, and the choice among bitstreams."""

import json
import re
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from joulebit.errors import JoulebitError
from joulebit.spec.accelerator import CONFIGS, Register, specification_hash
from joulebit_host.bitstreams import bitfile, find, manifests, read_manifest, write_manifest, zedboard
from joulebit_host.bitstreams.handoff import add_remote_clocks, handoff
from joulebit_host.bitstreams.manifest import File, Manifest
from joulebit_host.bitstreams.store import VARIABLE, repository
from joulebit_host.bitstreams.virtual import virtual_files

ROOT = Path(__file__).resolve().parents[3]
DESCRIPTION = json.loads((ROOT / "hw/synth/zedboard/zedboard.json").read_text())


def test_the_committed_files_are_those_that_the_specification_gives():
    done = subprocess.run(
        [sys.executable, "-m", "joulebit_host.bitstreams", "--check"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, f"run `python -m joulebit_host.bitstreams`\n{done.stdout}{done.stderr}"


def test_check_names_what_is_missing_changed_or_stale(tmp_path):
    def run(*options):
        command = [sys.executable, "-m", "joulebit_host.bitstreams", "-o", str(tmp_path), *options]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)

    assert run("--check").returncode == 1
    assert run().returncode == 0
    assert run("--check").returncode == 0
    (tmp_path / "joulebit_tiny_virtual_00000000.bit").write_bytes(b"old")
    next(tmp_path.glob("joulebit_open_*.hwh")).write_bytes(b"changed")
    done = run("--check")
    assert done.returncode == 1
    assert re.findall(r"^(\w+)[^:]*: .*/(joulebit_\w+?)_virtual", done.stdout, re.M) == [
        ("missing", "joulebit_open"),
        ("stale", "joulebit_tiny"),
    ]
    assert run().returncode == 0
    assert {path.name for path in tmp_path.iterdir()} == set(virtual_files())


def test_addresses_and_clocks_are_those_of_both_flows():
    assert int(DESCRIPTION["register_base"], 16) == zedboard.REGISTER_BASE
    assert DESCRIPTION["register_bytes"] == zedboard.REGISTER_BYTES
    assert DESCRIPTION["clock_hz"] == zedboard.CLOCK_HZ
    assert DESCRIPTION["ps_crystal_hz"] == zedboard.PS_CRYSTAL_HZ
    assert (DESCRIPTION["name"], DESCRIPTION["part"]) == (zedboard.DESIGN, zedboard.PART)
    script = (ROOT / "hw/synth/zedboard/build.tcl").read_text()
    assert f"create_bd_cell -type module -reference jb_accelerator {zedboard.CORE}" in script
    first, second = zedboard.fclk0_divisors()
    assert 33_333_333 * 30 / first / second == pytest.approx(100e6, rel=1e-6)
    # pynq computes 50 MHz * 30 / dividers: 1.5 times what the ZedBoard's crystal gives.
    assert zedboard.pynq_clock_mhz() == 150.0


def test_the_package_holds_the_bitstreams_of_the_checkout():
    link = ROOT / "host/joulebit_host/bitstreams/files"
    assert link.is_symlink()
    assert link.resolve() == repository() == ROOT / "bitstreams"


# ---- .bit


def test_a_bit_file_is_laid_out_as_xilinx_tools_do():
    data = bytes(range(8))
    content = bitfile.pack_bit(data, "d", "xc7z020clg484-1")
    head = b"\x00\x09\x0f\xf0\x0f\xf0\x0f\xf0\x0f\xf0\x00\x00\x01"
    assert content.startswith(head + b"a\x00\x02d\x00b\x00\x10xc7z020clg484-1\x00c")
    assert content.endswith(b"e\x00\x00\x00\x08" + data)
    assert bitfile.unpack_bit(content) == ("d", "xc7z020clg484-1", data)


def test_the_fpga_manager_gets_words_with_reversed_bytes():
    assert bitfile.bit_to_bin(bytes([1, 2, 3, 4, 5, 6, 7, 8])) == bytes([4, 3, 2, 1, 8, 7, 6, 5])
    with pytest.raises(JoulebitError, match="multiple of 4"):
        bitfile.bit_to_bin(bytes(5))


@pytest.mark.parametrize("content", [b"", b"\0", bytes(100), b"\0\1x", b"no bitstream at all"])
def test_what_is_no_bit_file_is_told(content):
    with pytest.raises(JoulebitError, match=r"\.bit file"):
        bitfile.unpack_bit(content)


@pytest.mark.parametrize("cut", [1, 5, 40, -4])
def test_a_cut_or_longer_bit_file_is_told(cut):
    content = bitfile.pack_bit(bytes(64), "d", "p")
    with pytest.raises(JoulebitError, match=r"\.bit file"):
        bitfile.unpack_bit(content[:-cut] if cut > 0 else content + bytes(-cut))


def test_every_changed_byte_of_a_virtual_bitstream_is_noticed():
    data = bitfile.pack_note({"kind": "virtual", "configuration": "tiny"})
    assert len(data) % 4 == 0
    assert bitfile.unpack_note(data)["configuration"] == "tiny"
    for at in range(len(data)):
        with pytest.raises(JoulebitError):
            bitfile.unpack_note(data[:at] + bytes([data[at] ^ 0x40]) + data[at + 1 :])


def test_names_change_with_the_content():
    for config in CONFIGS:
        note = bitfile.unpack_note(bitfile.unpack_bit(only(config, "bit"))[2])
        assert note["specification_hash"] == specification_hash()
        assert note["configuration"] == config
    assert len({name.rpartition(".")[0] for name in virtual_files()}) == len(CONFIGS)


def only(config, suffix):
    (data,) = (d for n, d in virtual_files().items() if n.startswith(f"joulebit_{config}_") and n.endswith(suffix))
    return data


# ---- .hwh


def test_the_handoff_lists_every_register():
    root = ElementTree.fromstring(handoff("tiny"))
    found = {}
    for register in root.iter("REGISTER"):
        properties = {p.get("NAME"): p.get("VALUE") for p in register.findall("PROPERTY")}
        found[register.get("NAME")] = int(properties["ADDRESS_OFFSET"])
    for register in Register:
        if register < Register.CYCLES_TOTAL:
            assert found.pop(register.name) == register
        else:
            assert found.pop(f"{register.name}_LO") == register
            assert found.pop(f"{register.name}_HI") == register + 4
    assert not found
    for field in root.iter("FIELD"):
        (offset,) = (p.get("VALUE") for p in field.findall("PROPERTY") if p.get("NAME") == "BIT_OFFSET")
        assert offset.isdecimal()  # pynq cannot read 0x...


def test_vivados_handoff_gets_what_pynqs_remote_client_needs():
    parameter = '        <PARAMETER NAME="PSU__CRL_APB__PL0_REF_CTRL__ACT_FREQMHZ" VALUE="150.0"/>\n'
    complete = handoff("tiny")
    assert parameter in complete
    vivados = complete.replace(parameter, "")
    assert vivados.count("PSU__") == 0
    added = add_remote_clocks(vivados)
    assert ElementTree.fromstring(added).find(".//MODULE[@INSTANCE='ps7']/PARAMETERS")[0].get("VALUE") == "150.0"
    assert add_remote_clocks(added) == added
    with pytest.raises(JoulebitError, match="processing_system7"):
        add_remote_clocks("<EDKSYSTEM/>")


# ---- manifests and the choice among them


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder that is looked into first, and the package's own left out."""
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    monkeypatch.setattr("joulebit_host.bitstreams.store.repository", lambda: None)
    monkeypatch.setattr("joulebit_host.bitstreams.store._PACKAGED", tmp_path / "none")
    return tmp_path


def put(folder, name, kind, config="tiny", **changes):
    for suffix in ("bit", "hwh"):
        (folder / f"{name}.{suffix}").write_bytes(f"{name} {suffix}".encode())
    files = {suffix: File.of(folder / f"{name}.{suffix}") for suffix in ("bit", "hwh")}
    manifest = replace(Manifest(name, kind, config, files, {"name": "test", "version": "1"}), **changes)
    return write_manifest(folder, manifest)


def test_a_real_bitstream_is_preferred_to_a_virtual_one(folder):
    for name, kind in (("a", "virtual"), ("b", "openxc7"), ("c", "vivado"), ("d", "openxc7")):
        put(folder, name, kind)
    put(folder, "e", "vivado", "open")
    assert find("tiny").name == "c"
    assert find("tiny", virtual=True).name == "a"
    found = find("tiny", virtual=False)
    assert (found.name, found.config, found.core, found.bit) == ("c", "tiny", "accelerator", folder / "c.bit")
    assert len(manifests()) == 5


def test_one_of_another_specification_is_refused_and_says_what_to_build(folder):
    put(folder, "old", "vivado", specification_hash="12345678" + "0" * 56)
    text = rf"no real bitstream of configuration tiny and specification {specification_hash()[:8]} in .*" \
           r"\(old has specification 12345678, .*make -C hw vivado ARGS='--config tiny'"  # fmt: skip
    with pytest.raises(JoulebitError, match=text):
        find("tiny", virtual=False)
    put(folder, "new", "virtual")
    assert find("tiny").name == "new"
    with pytest.raises(JoulebitError, match=r"python -m joulebit_host\.bitstreams"):
        find("open", virtual=True)


def test_changed_and_missing_files_are_refused(folder):
    put(folder, "a", "vivado")
    (folder / "a.bit").write_bytes(b"other")
    with pytest.raises(JoulebitError, match=r"a\.bit is not the file that was built: 5 bytes"):
        find("tiny")
    (folder / "a.bit").unlink()
    with pytest.raises(JoulebitError, match=r"a\.bit is missing"):
        find("tiny")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": 2}, "format 2"),
        ({"more": 1}, "unknown keys more"),
        ({"kind": "gold"}, "kind is one of"),
        ({"files": {"bit": {"name": "../x.bit", "bytes": 1, "sha256": ""}, "hwh": None}}, "files must be"),
        ({"files": {f: {"name": f"../x.{f}", "bytes": 1, "sha256": ""} for f in ("bit", "hwh")}}, "beside"),
    ],
)
def test_a_wrong_manifest_is_told(folder, change, words):
    path = put(folder, "a", "vivado")
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(JoulebitError, match=words):
        read_manifest(path)
    path.write_text("{")
    with pytest.raises(JoulebitError, match="is no manifest"):
        find("tiny")


def test_wrong_names_are_told(folder, monkeypatch):
    with pytest.raises(JoulebitError, match=r"no configuration 'defualt' \(did you mean default\?\)"):
        find("defualt")
    monkeypatch.setenv(VARIABLE, "/nowhere/at/all")
    with pytest.raises(JoulebitError, match="JOULEBIT_BITSTREAMS names /nowhere/at/all"):
        find("tiny")


def test_the_length_of_a_note_is_big_endian():
    data = bitfile.pack_note({})
    assert data[16:22] == struct.pack(">I", 2) + b"{}"
