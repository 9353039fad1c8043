"""What the virtual board's server grants and refuses, spoken to by the bare protocol (no pynq)."""

import contextlib
import json
import signal
import socket
import threading
import time
from pathlib import Path

import grpc
import pytest

from joulebit.errors import JoulebitError
from joulebit.spec.accelerator import Register
from joulebit_host.bitstreams import bitfile, zedboard
from joulebit_host.boards.server import Server, is_loopback
from joulebit_host.boards.server.messages import SERVICES, message

MANAGER = "/sys/class/fpga_manager/fpga0/"


class Wire:
    """Calls by name: wire("mmio.read", mmio_id=..., ...); streams are lists of dictionaries or answers."""

    def __init__(self, address):
        self.channel = grpc.insecure_channel(address)
        self.services = {service.package: service for service in SERVICES}

    def __call__(self, name, requests=None, **fields):
        package, _, method = name.partition(".")
        service = self.services[package]
        kind = service.methods[method]
        request = message(package, kind.request)
        maker = {
            (0, 0): self.channel.unary_unary,
            (0, 1): self.channel.unary_stream,
            (1, 0): self.channel.stream_unary,
        }
        call = maker[kind.stream_in, kind.stream_out](
            f"/{package}.{service.name}/{method}",
            request_serializer=request.SerializeToString,
            response_deserializer=message(package, kind.response).FromString,
        )
        sent = request(**fields) if requests is None else (request(**one) for one in requests)
        answer = call(sent, timeout=20)
        return list(answer) if kind.stream_out else answer

    def refused(self, name, requests=None, **fields):
        """The code of the status that must come."""
        with pytest.raises(grpc.RpcError) as error:
            self(name, requests, **fields)
        return error.value.code().name

    def load(self, bit, name="design.bin"):
        content = bitfile.bit_to_bin(bitfile.unpack_bit(bit.read_bytes())[2])
        self("remote_device.writefile", [{"file_path": f"/lib/firmware/{name}", "data": content}])
        self("remote_device.writefile", [{"file_path": MANAGER + "firmware", "data": name.encode()}])

    def registers(self):
        return self("mmio.get_mmio", base_addr=zedboard.REGISTER_BASE, length=zedboard.REGISTER_BYTES).mmio_id

    def read(self, name, offset, length=4):
        return self("mmio.read", mmio_id=name, offset=offset, length=length)


@pytest.fixture
def wire(server):
    """Of a board with small limits."""
    board = server(buffers=3, file=4096, files=3, file_total=6000)
    connection = Wire(board.address)
    connection.board = board.board
    yield connection
    connection.channel.close()


# ---- files


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "/proc/self/environ", "/lib/firmware/../../etc/passwd", "", "/", "/proc/version/", "/tmp"],
)
def test_nothing_of_this_machine_is_served(wire, path):
    assert not wire("remote_device.existsfile", file_path=path).exists
    assert wire.refused("remote_device.readfile", file_path=path) == "NOT_FOUND"


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "/tmp/../etc/x", "/tmp/a/b", "/lib/firmware/", "/lib/firmware/.hidden", "/proc/version", "x",
     "/tmp/" + "n" * 200, "/tmp/line\nbreak", MANAGER + "state"],
)  # fmt: skip
def test_only_firmware_and_scratch_files_can_be_written(wire, path):
    assert wire.refused("remote_device.writefile", [{"file_path": path, "data": b"x"}]) == "PERMISSION_DENIED"


def test_files_stay_in_memory(wire):
    name = "/tmp/joulebit_never_on_disk"
    wire("remote_device.writefile", [{"file_path": name, "data": b"ab"}, {"file_path": name, "data": b"cd"}])
    assert b"".join(one.data for one in wire("remote_device.readfile", file_path=name)) == b"abcd"
    assert not Path(name).exists()


def test_files_have_limits(wire):
    def write(name, size):
        return [{"file_path": f"/tmp/{name}", "data": bytes(size)}]

    assert wire.refused("remote_device.writefile", write("a", 4097)) == "RESOURCE_EXHAUSTED"
    assert wire.refused("remote_device.writefile", write("a", 2000) * 3) == "RESOURCE_EXHAUSTED"
    assert not wire("remote_device.existsfile", file_path="/tmp/a").exists
    wire("remote_device.writefile", write("a", 4000))
    assert wire.refused("remote_device.writefile", write("b", 2001)) == "RESOURCE_EXHAUSTED"
    wire("remote_device.writefile", write("b", 2000))
    wire("remote_device.writefile", write("b", 0))
    wire("remote_device.writefile", write("c", 1))
    assert wire.refused("remote_device.writefile", write("d", 1)) == "RESOURCE_EXHAUSTED"
    long = [{"file_path": MANAGER + "firmware", "data": b"n" * 300}]
    assert wire.refused("remote_device.writefile", long) == "RESOURCE_EXHAUSTED"


def test_a_message_has_a_limit(wire):
    name = wire("buffer.allocate", size=6 << 20).buffer_id
    big = [{"buffer_id": name, "data": bytes(5 << 20)}]
    assert wire.refused("buffer.write", big) == "RESOURCE_EXHAUSTED"
    assert wire("buffer.write", [{"buffer_id": name, "data": bytes(2 << 20)}] * 3).msg == ""


def test_a_stream_is_one_file(wire):
    two = [{"file_path": "/tmp/a", "data": b"1"}, {"file_path": "/tmp/b", "data": b"2"}]
    assert wire.refused("remote_device.writefile", two) == "INVALID_ARGUMENT"
    assert wire.refused("remote_device.writefile", []) == "INVALID_ARGUMENT"


# ---- the fabric


def test_before_a_bitstream_there_is_nothing_to_read(wire):
    assert "nothing is programmed" in wire.read(wire.registers(), 0).msg
    answer = wire("mmio.write", mmio_id=wire.registers(), offset=0x34, data=bytes(4))
    assert "nothing is programmed" in answer.msg


def test_the_state_file_follows_what_happens(wire, bit_of):
    def state():
        return wire("remote_device.readfile", file_path=MANAGER + "state")[0].data.strip()

    assert state() == b"unknown"
    wire.load(bit_of("tiny"))
    assert state() == b"operating"
    missing = [{"file_path": MANAGER + "firmware", "data": b"no.bin"}]
    assert wire.refused("remote_device.writefile", missing) == "NOT_FOUND"
    assert state() == b"write error"
    # The old design stays in the fabric: what was not there did not reach it.
    assert wire.read(wire.registers(), 0).data == 0x4A4F554C


def test_partial_bitstreams_are_refused(wire):
    flags = [{"file_path": MANAGER + "flags", "data": b"1"}]
    assert wire.refused("remote_device.writefile", flags) == "INVALID_ARGUMENT"
    assert wire.refused("remote_device.set_bitstream_attrs", binfile_name="x", partial=True) == "UNIMPLEMENTED"
    assert wire("remote_device.set_bitstream_attrs", binfile_name="x", partial=False).status


def test_loading_another_configuration_keeps_buffers(wire, bit_of):
    name = wire("buffer.allocate", size=5000).buffer_id
    wire("buffer.write", [{"buffer_id": name, "data": bytes(range(250)) * 20}])
    for config, lanes in (("tiny", 4), ("open", 8), ("tiny", 4)):
        wire.load(bit_of(config), f"{config}.bin")
        assert wire.read(wire.registers(), Register.CAPS).data >> 16 == lanes
        assert b"".join(one.data for one in wire("buffer.read", buffer_id=name)) == bytes(range(250)) * 20


@pytest.mark.parametrize(
    ("base", "length"),
    [(0, 4), (zedboard.REGISTER_BASE - 4, 8), (zedboard.REGISTER_BASE, 4100), (0xF8000000, 0x204),
     (0x10000000, 64), (zedboard.REGISTER_BASE, 0), (1 << 40, 4)],
)  # fmt: skip
def test_other_addresses_cannot_be_mapped(wire, base, length):
    answer = wire("mmio.get_mmio", base_addr=base, length=length)
    assert (answer.status, answer.mmio_id) == (False, "")
    assert "nothing can be mapped" in answer.msg


@pytest.mark.parametrize("name", ["", "x", "00000000+1000", "43c00000+100000", "-1+4", "43c00000"])
def test_names_of_windows_cannot_be_made_up(wire, bit_of, name):
    wire.load(bit_of("tiny"))
    assert wire.read(name, 0).msg


def test_registers_are_read_and_written_by_words(wire, bit_of):
    wire.load(bit_of("tiny"))
    name = wire.registers()
    data = (0x1234).to_bytes(4, "little") + (7).to_bytes(4, "little")
    assert wire("mmio.write", mmio_id=name, offset=int(Register.DESC_ADDRESS), data=data).msg == ""
    assert [wire.read(name, register).data for register in (0x20, 0x24)] == [0x1234, 7]
    assert [wire.read(name, 0x20, length).data for length in (1, 2, 4)] == [0x34, 0x1234, 0x1234]
    assert "read 4 bytes" in wire.read(name, 0x20, 8).msg
    for offset, size in ((0x21, 4), (0x20, 3), (4096, 4), (4092, 8)):
        assert "whole words" in wire("mmio.write", mmio_id=name, offset=offset, data=bytes(size)).msg
    assert "bus error" in wire.read(name, 0x100).msg


def test_a_list_that_cannot_run_is_told_and_not_waited_for(wire, bit_of):
    wire.load(bit_of("tiny"))
    name = wire.registers()
    for register, value in ((Register.DESC_ADDRESS, 0x10000000), (Register.DESC_COUNT, 1), (Register.CTRL, 1)):
        wire("mmio.write", mmio_id=name, offset=int(register), data=value.to_bytes(4, "little"))
    deadline = time.monotonic() + 5
    while not (status := wire.read(name, Register.STATUS)).data & 6 and time.monotonic() < deadline:
        assert not status.msg
    assert status.data & 4  # memory of zeros is no descriptor
    assert wire.read(name, Register.ERROR).data & 1


def test_clocks_are_the_zedboards_and_others_are_locked(wire):
    name = wire("mmio.get_mmio", base_addr=0xF8000000, length=0x200).mmio_id
    assert wire.read(name, 0x108).data >> 12 & 0x7F == 30  # UG585: IO_PLL_CTRL.PLL_FDIV
    assert wire.board.slcr.fclk_hz(0) == pytest.approx(100e6, rel=1e-6)
    half = (10 << 20 | 2 << 8).to_bytes(4, "little")
    assert wire("mmio.write", mmio_id=name, offset=0x170, data=half).msg == ""
    assert wire.board.slcr.fclk_hz(0) == pytest.approx(50e6, rel=1e-6)
    for offset in (0x000, 0x100, 0x108, 0x120, 0x1FC):
        assert "locked" in wire("mmio.write", mmio_id=name, offset=offset, data=bytes(4)).msg


def test_a_clock_that_is_too_fast_is_told(server, bit_of):
    board = server()
    wire = Wire(board.address)
    name = wire("mmio.get_mmio", base_addr=0xF8000000, length=0x200).mmio_id
    wire("mmio.write", mmio_id=name, offset=0x170, data=(1 << 20 | 5 << 8).to_bytes(4, "little"))
    wire.load(bit_of("tiny"))
    assert any("FCLK0 is faster" in line for line in board.lines)


# ---- buffers


def test_buffers_have_limits(wire):
    for size in (0, -1, -(1 << 31)):
        assert wire.refused("buffer.allocate", size=size) == "INVALID_ARGUMENT"
    assert wire.refused("buffer.allocate", size=(8 << 20) + 1) == "RESOURCE_EXHAUSTED"
    names = [wire("buffer.allocate", size=1).buffer_id for _ in range(3)]
    assert wire.refused("buffer.allocate", size=1) == "RESOURCE_EXHAUSTED"
    wire("buffer.freebuffer", buffer_id=names[1])
    assert wire("buffer.allocate", size=1).buffer_id not in names


def test_ranges_of_buffers(wire):
    name = wire("buffer.allocate", size=100).buffer_id
    write = [{"buffer_id": name, "data": b"abcd", "start": 10, "end": 14}, {"buffer_id": name, "data": b"ef"}]
    assert wire("buffer.write", write).msg == ""
    assert wire("buffer.read", buffer_id=name, start=9, end=17)[0].data == b"\0abcdef\0"
    assert wire.board.memory.entries[name].size == 100
    for start, end, size in ((97, 101, 4), (-4, 0, 200), (5, 8, 4), (-1, 3, 4), (1 << 30, (1 << 30) + 4, 4)):
        assert wire("buffer.write", [{"buffer_id": name, "data": bytes(size), "start": start, "end": end}]).msg
    for start, end in ((0, 101), (60, 50), (-1, 4), (101, 0)):
        assert wire.refused("buffer.read", buffer_id=name, start=start, end=end) == "OUT_OF_RANGE"


def test_a_write_that_overflows_leaves_its_neighbour_alone(wire):
    first, second = (wire("buffer.allocate", size=4096).buffer_id for _ in range(2))
    wire("buffer.write", [{"buffer_id": second, "data": b"\x5a" * 4096}])
    assert "lie outside" in wire("buffer.write", [{"buffer_id": first, "data": b"\xff" * 4097}]).msg
    assert wire("buffer.read", buffer_id=second)[0].data == b"\x5a" * 4096


def test_a_freed_buffer_is_gone_and_its_memory_comes_back_empty(wire):
    name = wire("buffer.allocate", size=4096).buffer_id
    wire("buffer.write", [{"buffer_id": name, "data": b"secret" * 600}])
    wire("buffer.freebuffer", buffer_id=name)
    assert wire("buffer.freebuffer", buffer_id=name).msg
    assert wire.refused("buffer.read", buffer_id=name) == "NOT_FOUND"
    assert wire("buffer.physical_address", buffer_id=name).msg
    again = wire("buffer.allocate", size=4096).buffer_id
    assert not any(wire("buffer.read", buffer_id=again)[0].data)


def test_buffers_of_a_silent_client_are_freed_and_of_a_busy_one_kept(server):
    board = server(idle_s=1.0)
    busy, silent = Wire(board.address), Wire(board.address)
    silent.channel = grpc.insecure_channel(board.address, options=[("grpc.use_local_subchannel_pool", 1)])
    kept = busy("buffer.allocate", size=100).buffer_id
    lost = silent("buffer.allocate", size=100).buffer_id
    silent.channel.close()
    deadline = time.monotonic() + 10
    while lost in board.board.memory.entries and time.monotonic() < deadline:
        busy("buffer.flush", buffer_id=kept)
        time.sleep(0.05)
    assert set(board.board.memory.entries) == {kept}


def test_a_client_in_a_long_call_is_not_silent(server):
    board = server(idle_s=0.5)
    wire = Wire(board.address)
    name = wire("buffer.allocate", size=100).buffer_id

    def slowly():
        for _ in range(4):
            yield {"buffer_id": name, "data": b"x"}
            time.sleep(0.4)

    assert wire("buffer.write", slowly()).msg == ""
    assert wire("buffer.read", buffer_id=name)[0].data[:5] == b"xxxx\0"
    deadline = time.monotonic() + 10
    while board.board.memory.entries and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not board.board.memory.entries


def test_a_call_that_its_client_gives_up_does_no_harm(wire):
    name = wire("buffer.allocate", size=6 << 20).buffer_id
    begun = threading.Event()

    def slowly():
        yield {"buffer_id": name, "data": b"\1" * 1000}
        begun.set()
        time.sleep(30)

    service = wire.services["buffer"]
    request = message("buffer", service.methods["write"].request)
    call = wire.channel.stream_unary(
        "/buffer.RemoteBuffer/write",
        request_serializer=request.SerializeToString,
        response_deserializer=message("buffer", service.methods["write"].response).FromString,
    ).future(request(**one) for one in slowly())
    assert begun.wait(10)
    call.cancel()
    assert wire("buffer.flush", buffer_id=name).msg == ""
    assert sum(len(one.data) for one in wire("buffer.read", buffer_id=name)) == 6 << 20


# ---- pins


def test_pins_keep_what_is_written(wire):
    assert wire("gpio.get_gpio_npins").npins == 118
    assert wire("gpio.get_gpio_base_path").base_path.endswith("gpiochip906")
    name = wire("gpio.get_gpio", index=960, direction="out").gpio_id
    wire("gpio.write", gpio_id=name, value=1)
    assert wire("gpio.read", gpio_id=name).value == 1
    assert wire("gpio.is_exported", gpio_id=name).is_exported
    wire("gpio.unexport", gpio_id=name)
    assert not wire("gpio.is_exported", gpio_id=name).is_exported
    assert wire.refused("gpio.get_gpio", index=5, direction="in") == "OUT_OF_RANGE"
    assert wire.refused("gpio.read", gpio_id="gpio5") == "NOT_FOUND"


# ---- the server itself


def test_it_listens_on_loopback_unless_told_otherwise(server):
    assert server().address.startswith("127.0.0.1:")
    assert is_loopback("127.0.0.1") and is_loopback("::1") and is_loopback("localhost")
    assert not any(is_loopback(host) for host in ("0.0.0.0", "::", "192.168.2.1", "example.org"))


def test_a_port_in_use_is_one_line():
    with contextlib.closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(JoulebitError, match=f"cannot listen on 127.0.0.1:{port}: the port is in use"):
            Server(port=port)


def test_the_command_serves_until_it_is_told_to_stop(serve_process):
    process, address = serve_process("--array-config", "tiny")
    assert Wire(address)("remote_device.existsfile", file_path="/proc/version").exists
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 0
    assert out == ""
    assert "client ipv4:127.0.0.1" in err


def test_the_command_warns_where_others_can_reach_it(serve_process):
    process, address = serve_process("--host", "0.0.0.0", "--seconds", "0.2")
    _, err = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "no passwords and no encryption" in err
    assert json.dumps(address)
