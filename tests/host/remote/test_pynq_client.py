"""The unmodified client of pynq 4.0, in another process, against the virtual board's server."""

import itertools
import json
import re
import time

import accelerator_bench
import pytest
from passes_oracle import expected_passes
from processes import first_line

from joulebit.spec.accelerator import specification_hash
from joulebit_host.bitstreams import bitfile

pytestmark = pytest.mark.pynq


def test_the_messages_are_those_inside_pynqs_package(client):
    from google.protobuf.descriptor import FieldDescriptor

    from joulebit_host.boards.server.messages import SERVICES, message

    theirs = client("descriptors", "")
    for service in SERVICES:
        own = {
            name: sorted(
                [f.name, f.number, f.type, f.has_presence]
                for f in message(service.package, name).DESCRIPTOR.fields
            )
            for name in service.messages
        }
        assert own == theirs[service.package]["messages"]
        methods = {f"{service.name}.{k}": [m.request, m.response] for k, m in service.methods.items()}
        assert methods == theirs[service.package]["methods"]
    assert FieldDescriptor.TYPE_BYTES == 12


def test_both_parsers_of_pynq_read_the_handoff(client, bit_of):
    from joulebit.spec.accelerator import Register

    for config in ("default", "tiny"):
        for address, size, registers, spec, clock in client("parsers", "", hwh=bit_of(config).with_suffix(".hwh")):
            assert (address, size, spec) == (0x43C00000, 4096, specification_hash())
            for register in Register:
                name = register.name if register < Register.CYCLES_TOTAL else f"{register.name}_LO"
                assert registers[name] == [register.value, 32]
            assert (clock["enable"], clock["divisor0"] * clock["divisor1"]) == (1, 10)


def test_pynqs_selftest_passes_but_for_the_gpio_that_the_design_lacks(server, run_selftest, bit_of):
    lines = run_selftest(server().address, bit_of("tiny"))
    failed = [line.strip() for line in lines if "[FAIL]" in line]
    assert failed == ["[FAIL] no AXI GPIO in the overlay to MMIO-test"]
    assert sum("[PASS]" in line for line in lines) == 10


def test_an_overlay_loads_and_its_registers_answer(server, client, bit_of):
    got = client("overlay", server(config="tiny").address, bit=bit_of("tiny"))
    assert (got["arch"], got["board"]) == ("armv7l", "Virtual ZedBoard")
    assert (got["address"], got["bytes"]) == (0x43C00000, 4096)
    assert got["id"] == 0x4A4F554C
    assert got["half"] == 0x554C
    assert got["spec_hash"] == int(specification_hash()[:8], 16)
    assert (got["out_lanes"], got["done"]) == (4, 0)
    assert got["fclk0_pynq_mhz"] == 150.0  # pynq takes the crystal for 50 MHz: 100 MHz on the board
    assert (got["scratch"], got["scratch_after"]) == (0xDEADBEEF, 0)
    assert got["state"] == "operating\n"


def test_buffers_keep_what_was_sent_and_do_not_overlap(server, client):
    got = client("buffers", server().address)
    assert got["same"] == [True] * 5
    spans = sorted((start, start + size) for start, size in got["addresses"])
    assert all(first[1] <= second[0] for first, second in itertools.pairwise(spans))
    assert all(start % 64 == 0 for start, _ in spans)
    assert got["large"]


def test_every_pass_of_the_golden_layers_is_bit_exact(server, client, bit_of):
    layers = accelerator_bench.golden_names()
    got = client("golden", server().address, bit=bit_of("default"), config="default", layers=layers)
    assert got["layers"] == layers


@pytest.mark.rtl
def test_every_pass_of_a_golden_layer_is_bit_exact_on_the_rtl(rtl, server, client, bit_of, run_selftest):
    board = server("rtl")
    assert sum("[PASS]" in line for line in run_selftest(board.address, bit_of("tiny"))) == 10
    layers = ["3x3", "3x3 stride 2"]
    client("golden", board.address, bit=bit_of("tiny"), config="tiny", layers=layers, timeout_s=400)


# ---- the driver over pynq's client


@pytest.mark.parametrize("ranges", [True, False], ids=["ranges", "from the first byte"])
def test_the_driver_is_bit_exact_over_the_remote_client(server, client, ranges):
    got = client("driver", server(memory=40 << 20).address, config="tiny", ranges=ranges)
    assert got["results"] == [expected_passes(0), expected_passes(1)]
    assert got["ranges"]
    assert got["macs"] == 3 * 2 * 8 * 8 * 9 * 8 * 8
    # Two lists: 3 writes and DESC_DONE each, and one or a few looks at STATUS; 29 for the counters.
    assert got["accesses"] < 60


@pytest.mark.parametrize("ranges", [True, False], ids=["ranges", "from the first byte"])
def test_a_range_moves_without_touching_what_lies_beside_it(server, client, ranges):
    got = client("parts", server().address, ranges=ranges)
    there = [7] * 10 + [1] * 40 + [9] * 10 + [1] * 40
    assert got["there"] == there
    assert got["here"] == [1] * 20 + [3] * 10 + [1] * 20 + [9] * 10 + [1] * 40
    assert all(error.startswith("ValueError: bytes") for error in got["outside"])


@pytest.mark.rtl
def test_the_driver_is_bit_exact_over_the_remote_client_on_the_rtl(rtl, server, client):
    got = client("driver", server("rtl", memory=40 << 20).address, config="tiny", rounds=1, timeout_s=400)
    assert got["results"] == [expected_passes(0)]


def test_the_drivers_errors_say_what_failed(server, client):
    got = client("faults", server().address, config="tiny")
    assert "no bitstream is loaded" in got["unloaded"]
    assert got["memory"].startswith("BoardMemoryError: remote:127.0.0.1:")
    assert "1,073,741,824" in got["memory"]
    assert got["negative"].startswith("BoardMemoryError")
    assert "specification 00000000" in got["hash"]
    assert got["nobody"].startswith("BoardGoneError: no board answers at remote:127.0.0.1:1")
    assert got["temperature"] is None
    assert got["register"].startswith("BusAccessError")


@pytest.mark.parametrize("tier", ["functional", pytest.param("rtl", marks=pytest.mark.rtl)])
def test_a_board_that_goes_in_the_middle_of_a_layer_is_told(serve_process, start_client, client, tier, request):
    if tier == "rtl":
        request.getfixturevalue("rtl")
    process, address = serve_process("--tier", tier)
    running = start_client("gone", address, config="tiny")
    assert json.loads(first_line(running)) == {"ready": True}
    time.sleep(0.5)
    process.kill()
    out, err = running.communicate(timeout=60)
    assert running.returncode == 0, err[-2000:]
    got = json.loads(out.splitlines()[-1])
    assert re.match(r"BoardGoneError: remote:127\.0\.0\.1:\d+ does not answer \(", got["error"]), got["error"]
    assert got["after"].startswith("BoardGoneError")
    assert got["seconds"] < 45
    again = client("driver", serve_process()[1], config="tiny", rounds=1)
    assert again["results"] == [got["results"]] == [expected_passes(0)]


# ---- clients that misbehave


def test_a_client_killed_in_the_middle_of_a_transfer_leaves_its_memory_to_others(server, start_client, client):
    board = server(idle_s=1.0)
    running = start_client("transfer", board.address)
    assert json.loads(first_line(running))["address"]
    time.sleep(0.2)
    assert "no 6,291,456 contiguous bytes" in client("descend", board.address, bytes_wanted=6 << 20)["error"]
    running.kill()
    running.wait(20)
    deadline = time.monotonic() + 20
    while board.board.memory.entries and time.monotonic() < deadline:
        time.sleep(0.1)
    assert client("descend", board.address, bytes_wanted=6 << 20)["error"] == "no error"


def test_loading_an_overlay_frees_the_buffers_of_other_clients(server, start_client, client, bit_of):
    board = server()
    running = start_client("transfer", board.address)
    first_line(running)
    running.kill()
    running.wait(20)
    assert len(board.board.memory.entries) == 1
    client("overlay", board.address, bit=bit_of("tiny"))
    assert not board.board.memory.entries


# ---- bitstreams that are not for this board


def changed(tmp_path, bit, change):
    """A copy of a bitstream whose data went through `change`."""
    name, part, data = bitfile.unpack_bit(bit.read_bytes())
    path = tmp_path / "joulebit_changed.bit"
    path.write_bytes(bitfile.pack_bit(change(data), name, part))
    path.with_suffix(".hwh").write_bytes(bit.with_suffix(".hwh").read_bytes())
    return path


def other_specification(data):
    return bitfile.pack_note(bitfile.unpack_note(data) | {"specification_hash": "0" * 64})


WRONG = {
    "damaged": (lambda data: data[:40] + bytes([data[40] ^ 1]) + data[41:], "is damaged"),
    "specification": (other_specification, "built from specification 00000000"),
    "real": (lambda data: bytes(8) + b"\xaa\x99\x55\x66" + bytes(64), "no virtual bitstream \\(it holds a config"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_bitstream_is_refused_and_a_right_one_works_after_it(server, client, bit_of, tmp_path, kind):
    change, words = WRONG[kind]
    board = server()
    if kind == "damaged":  # once, in place of a design that runs
        client("overlay", board.address, bit=bit_of("tiny"))
    got = client("refused", board.address, bit=changed(tmp_path, bit_of("tiny"), change))
    assert re.search(words, got["error"]), got["error"]
    assert got["state"] == "write error"
    assert "nothing is programmed" in got["register"]
    assert client("overlay", board.address, bit=bit_of("tiny"))["id"] == 0x4A4F554C


def test_a_bitstream_of_another_configuration_is_refused_where_one_is_prescribed(server, client, bit_of):
    got = client("refused", server(config="open").address, bit=bit_of("tiny"))
    assert "configuration tiny, this virtual board takes open" in got["error"]
