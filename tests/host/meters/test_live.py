"""Meters behind real pseudo-terminals: identification, unplugging, silence, wrong devices."""

from __future__ import annotations

import itertools
import threading
import time

import pytest

from joulebit.errors import JoulebitError
from joulebit_host.meters import wire
from joulebit_host.meters.base import Fault, Reading
from joulebit_host.meters.collect import collect
from joulebit_host.meters.emulators.catalogue import EMULATORS
from joulebit_host.meters.emulators.curve import Constant
from joulebit_host.meters.emulators.faults import FaultPlan
from joulebit_host.meters.emulators.ina226 import crc16
from joulebit_host.meters.emulators.pty import PtyServer
from joulebit_host.meters.kinds.ina226 import InaOptions, _Dialogue
from joulebit_host.meters.kinds.scpi import ScpiOptions
from joulebit_host.meters.kinds.scpi import _Dialogue as ScpiDialogue
from joulebit_host.meters.registry import decoder_for, open_meter
from joulebit_host.meters.transports.serial_port import PortGone
from joulebit_host.meters.wire import StreamMeter


def numbered(rows):
    """Names of parametrised cases: kind and position."""
    return [f"{row[0]}-{i}" for i, row in enumerate(rows)]


LIVE = [
    ("ina226", "interval_s=0.01", {"interval_s": 0.01}, "INA226 config 4527"),
    ("ina219", "interval_s=0.01", {"interval_s": 0.01}, "INA219 config 399F"),
    ("wt300", "rate_s=0.1&current_range_a=1", {}, "YOKOGAWA,WT310,91K123456,F1.02"),
    ("scpi", "power=MEAS:POW?&interval_s=0.1", {}, "JOULEBIT,EMULATED SUPPLY,0,1.0"),
    ("scpi", "power=MEAS:POWE?&interval_s=0.1&trigger=INIT", {}, "JOULEBIT,EMULATED SUPPLY,0,1.0"),
    ("ruideng", "interval_s=0.1", {}, "UM25C"),
    ("pzem", "interval_s=0.1", {"update_s": 0.05}, "PZEM-017 address 1"),
    ("wattsup", "", {"interval_s": 0.1}, "Watts Up? #v,-,8,0,0,0,0,0,3,9,1"),
]


@pytest.mark.parametrize(("kind", "query", "settings", "identity"), LIVE, ids=numbered(LIVE))
def test_unplugging_and_plugging_in_again(kind, query, settings, identity, tmp_path):
    watts = 60.0 if kind == "wattsup" else 3.0
    emulator = EMULATORS[kind](Constant(watts), faults=FaultPlan.parse(["unplug@1.2+0.4"]), **settings)
    events = []
    decoder_for(kind, {})  # loads its library before the clock runs
    with PtyServer(emulator, tmp_path / "tty") as server:
        meter = open_meter(f"{kind}:{server.path}?{query}")
        assert meter.identity == identity
        decoder = decoder_for(kind, meter.settings)
        meter.start()
        samples, end_s = [], time.monotonic() + 2.6
        while time.monotonic() < end_s:
            received = meter.read(0.1)
            events += [received.event] if received.event else []
            samples += decoder.feed(received)
        meter.close()
    assert [event for event in events if event != "timeout"] == ["unplugged", "replugged"]
    assert decoder.faults[Fault.UNPLUGGED] == 1
    assert len(samples) > 8
    assert all(s.valid and s.power_w == pytest.approx(watts, rel=0.02) for s in samples)
    times = [s.t_s for s in samples]
    assert times == sorted(times)
    assert max(b - a for a, b in itertools.pairwise(times)) > 0.35, "the gap is seen as one"


def test_the_integrator_of_a_wt300_goes_on_while_the_cable_is_out(tmp_path):
    emulator = EMULATORS["wt300"](Constant(3.0), faults=FaultPlan.parse(["unplug@0.8+0.4"]))
    with PtyServer(emulator, tmp_path / "tty") as server:
        meter = open_meter(f"wt300:{server.path}")
        assert meter.reading is Reading.ENERGY
        summary = collect(meter, seconds=2.0)
        meter.close()
    assert summary.gap_s == 0.0
    assert summary.mean_w == pytest.approx(3.0, rel=0.1)
    assert summary.seconds > 1.5


def test_a_read_never_waits_much_longer_than_asked(tmp_path):
    emulator = EMULATORS["ina226"](Constant(3.0), interval_s=0.01, faults=FaultPlan.parse(["unplug@0.3+0.5"]))
    with PtyServer(emulator, tmp_path / "tty") as server:
        meter = open_meter(f"ina226:{server.path}?interval_s=0.01")
        meter.start()
        end_s = time.monotonic() + 1.0
        while (now_s := time.monotonic()) < end_s:
            meter.read(0.05)
            assert time.monotonic() - now_s < 0.6
        meter.close()


@pytest.mark.parametrize(("kind", "query"), [("scpi", "answer_s=0.2&interval_s=0.1"), ("pzem", "interval_s=0.1")])
def test_silence_is_a_timeout(kind, query, tmp_path):
    emulator = EMULATORS[kind](Constant(3.0), faults=FaultPlan.parse(["stall@0.3+100"]))
    with PtyServer(emulator, tmp_path / "tty") as server:
        meter = open_meter(f"{kind}:{server.path}?{query}")
        summary = collect(meter, seconds=1.8)
        meter.close()
    assert summary.faults[Fault.TIMEOUT] >= 1
    assert summary.samples >= 1


def test_a_device_that_calls_itself_something_else_is_not_taken(tmp_path):
    link = tmp_path / "tty"
    first = PtyServer(EMULATORS["wt300"](Constant(3.0)), link).start()
    meter = open_meter(f"wt300:{link}")
    meter.start()
    first.stop()
    events = [meter.read(0.05).event for _ in range(3)]
    with PtyServer(EMULATORS["wt300"](Constant(3.0), model="WT333"), link):
        events += [meter.read(0.1).event for _ in range(8)]
    assert "unplugged" in events
    assert "replugged" not in events
    meter.close()


WRONG = [
    ("ina226", "", "ina219", {}, "the board has an INA219"),
    ("ruideng", "model=UM25C", "ruideng", {"model": "UM34C"}, "the meter is a UM34C"),
    ("pzem", "slave=7", "pzem", {}, "no sound answer"),
    ("wt300", "", "scpi", {}, "no answer of a WT300"),
    ("scpi", "", "ruideng", {}, r"no answer to \*IDN"),
]


@pytest.mark.parametrize(("kind", "query", "emulated", "settings", "said"), WRONG, ids=numbered(WRONG))
def test_the_wrong_device_is_named(kind, query, emulated, settings, said, tmp_path):
    server = PtyServer(EMULATORS[emulated](Constant(3.0), **settings), tmp_path / "tty")
    with server, pytest.raises(JoulebitError, match=said):
        open_meter(f"{kind}:{server.path}?{query}")


def test_a_wt300_that_refuses_its_setup(tmp_path):
    """Its integrator belongs to somebody else's range: error 813 must not be overlooked."""
    emulator = EMULATORS["wt300"](Constant(3.0))
    execute = emulator._execute

    def stubborn(command, t_s):
        if command in (":INTEG:STOP", ":INTEG:RES"):
            return None
        return execute(command, t_s)

    emulator.begin_play(0.0)
    emulator._execute = stubborn
    with PtyServer(emulator, tmp_path / "tty") as server, pytest.raises(JoulebitError, match="813"):
        open_meter(f"wt300:{server.path}")


def test_a_port_belongs_to_one_meter(tmp_path):
    with PtyServer(EMULATORS["ina226"](Constant(3.0), interval_s=0.01), tmp_path / "tty") as server:
        meter = open_meter(f"ina226:{server.path}")
        with pytest.raises(JoulebitError, match="cannot open"):
            open_meter(f"ina226:{server.path}")
        meter.close()
        open_meter(f"ina226:{server.path}").close()


def test_a_usb_device_is_found_again_under_another_name(tmp_path, monkeypatch):
    """The device's serial number leads to its port, whatever it is called now."""
    from types import SimpleNamespace

    from serial.tools import list_ports

    link = {"device": ""}
    usb = {"vid": 0x2341, "pid": 0x43, "serial_number": "A7", "description": "x"}
    monkeypatch.setattr(list_ports, "comports", lambda: [SimpleNamespace(device=link["device"], **usb)])
    emulator = EMULATORS["ina226"](Constant(3.0), interval_s=0.01)
    first = PtyServer(emulator, tmp_path / "ttyUSB0").start()
    link["device"] = first.path
    meter = open_meter(f"ina226:{first.path}?interval_s=0.01")
    by_usb = link["device"]
    meter.start()
    assert any(meter.read(0.5).data for _ in range(5))
    first.stop()
    with PtyServer(EMULATORS["ina226"](Constant(3.0), interval_s=0.01), tmp_path / "ttyUSB1") as second:
        link["device"] = second.path
        assert by_usb != second.path
        events = [meter.read(0.2).event for _ in range(10)]
    assert [e for e in events if e][:2] == ["unplugged", "replugged"]
    meter.close()


def test_a_supply_on_the_network():
    """The same meter through a TCP socket, as many supplies offer it."""
    import socket

    emulator = EMULATORS["scpi"](Constant(3.0), answer_s=0.0)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        connection, _ = listener.accept()
        with connection:
            while data := connection.recv(1000):
                for emission in emulator.receive(data, 1.0):
                    connection.sendall(emission.data)

    threading.Thread(target=serve, daemon=True).start()
    meter = open_meter(f"scpi:socket://127.0.0.1:{listener.getsockname()[1]}?power=MEAS:POW?&interval_s=0.05")
    summary = collect(meter, samples=5, seconds=5)
    meter.close()
    listener.close()
    assert (summary.samples, summary.mean_w) == (5, pytest.approx(3.0, rel=1e-3))


class ScriptedPort:
    """A port that gives these pieces, one per read, and then vanishes."""

    address = "scripted"

    def __init__(self, *pieces):
        self.pieces = list(pieces)

    def open(self):
        pass

    def read(self, timeout_s):
        if not self.pieces:
            raise PortGone("end of script")
        return self.pieces.pop(0)

    def write(self, data):
        pass

    def discard_input(self):
        pass

    def close(self):
        pass


def ina_lines(*numbers):
    lines = (f"E1,{number},{number * 20_000},500,9600,0".encode() for number in numbers)
    return b"".join(line + b",%04X\n" % crc16(line) for line in lines)


def test_half_a_line_at_the_start_is_no_damage():
    """What came before the first whole line was never meant to be read; half a line at the end is lost
    with the port.
    """
    hello = b"C1,INA226,4527"
    port = ScriptedPort(
        hello + b",%04X\n" % crc16(hello), b"00,9600", b",0,12AB\n" + ina_lines(1), ina_lines(2, 3) + b"E1,4"
    )
    options = InaOptions()
    meter = StreamMeter("ina226", port, options, _Dialogue(options), sync=b"\n")
    meter.start()
    decoder = decoder_for("ina226", meter.settings)
    records = [meter.read(0.01) for _ in range(4)]
    samples = [s for received in records for s in decoder.feed(received)]
    assert [s.sequence for s in samples] == [1, 2, 3]
    assert [r.event for r in records] == ["", "", "", "unplugged"]
    assert decoder.faults == {Fault.FRAMING: 1, Fault.UNPLUGGED: 1}


class VirtualTime:
    """Stands in for the module `time`: sleeping takes no time."""

    def __init__(self):
        self.now_s = 100.0

    def monotonic(self):
        return self.now_s

    def sleep(self, seconds):
        self.now_s += seconds


class EchoPort(ScriptedPort):
    """Answers every question at once and notes when it was asked."""

    def __init__(self, clock):
        super().__init__()
        self.clock = clock
        self.asked_s = []

    def write(self, data):
        self.asked_s.append(self.clock.now_s)

    def read(self, timeout_s):
        return b"12.0\n"


def poll_gaps(monkeypatch, **settings):
    clock = VirtualTime()
    monkeypatch.setattr(wire, "time", clock)
    port = EchoPort(clock)
    options = ScpiOptions(current="", interval_s=0.1)
    step = wire.Step(b"MEAS:VOLT?\n", wire.lines_complete(1))
    meter = wire.PolledMeter("scpi", port, options, ScpiDialogue(options), (step,), **settings)
    port.asked_s.clear()
    meter.start()
    for _ in range(500):
        assert meter.read(10.0).data == b"12.0\n"
    return [b - a for a, b in itertools.pairwise(port.asked_s)]


def test_polls_are_jittered_around_the_interval(monkeypatch):
    gaps = poll_gaps(monkeypatch)
    assert sum(gaps) / len(gaps) == pytest.approx(0.1, rel=0.02)
    assert 0.075 <= min(gaps) < 0.08
    assert 0.12 < max(gaps) <= 0.125 + 1e-9


def test_polls_are_never_closer_than_the_meter_allows(monkeypatch):
    gaps = poll_gaps(monkeypatch, least_s=0.1)
    assert min(gaps) >= 0.1 - 1e-9
