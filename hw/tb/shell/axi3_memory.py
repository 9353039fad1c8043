"""An AXI3 memory for cocotb: random latencies and back-pressure, IDs answered in any order, errors on request.

The rules that the master must keep are asserted beside the design (`hw/formal/jb_axi_rules.sv`); here, that it
stays inside the memory. cocotbext-axi models AXI4 only, where write data and lengths differ.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field

import cocotb
from cocotb.triggers import RisingEdge

BEAT = 8
OKAY, SLVERR = 0, 2


@dataclass
class Pace:
    """Probabilities of a cycle in which a channel does nothing, and the largest delay of an answer in cycles.

    data_first: an address of a write is taken only when data are offered or here, as AXI allows.
    """

    ar: float = 0.0
    r: float = 0.0
    aw: float = 0.0
    w: float = 0.0
    b: float = 0.0
    latency: int = 1
    data_first: bool = False


@dataclass
class Memory:
    """Bytes from `base` on, shared by both ports.

    read_errors, write_errors: ranges of addresses that answer SLVERR (a write there is lost).
    """

    base: int
    size: int
    data: bytearray = field(init=False)
    read_errors: list[range] = field(default_factory=list)
    write_errors: list[range] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.data = bytearray(self.size)

    def offset(self, address: int) -> int:
        offset = address - self.base
        assert 0 <= offset <= self.size - BEAT, f"access at {address:#x}, outside the memory"
        return offset

    def write(self, address: int, payload: bytes) -> None:
        start = address - self.base
        assert start >= 0 and start + len(payload) <= self.size
        self.data[start : start + len(payload)] = payload

    def read(self, address: int, count: int) -> bytes:
        start = address - self.base
        assert start >= 0 and start + count <= self.size
        return bytes(self.data[start : start + count])


class Axi3Port:
    """The slave side of one port of the design."""

    def __init__(self, dut, prefix: str, memory: Memory, seed: int):
        self.dut = dut
        self.memory = memory
        self.pace = Pace()
        self.random = random.Random(seed)
        self.read_bytes = self.written_bytes = 0
        self.most_reads = 0  # read bursts under way at once
        self.reads: deque = deque()  # [ready at, id, address, beats left]
        self.active = None
        self.writes: deque = deque()  # [address, beats left], in order
        self.beats: deque = deque()  # (data, strobe, last) that have no address yet
        self.answers: deque = deque()  # [ready at, response]
        self.bad = False
        self.time = 0
        names = [
            "arvalid",
            "arready",
            "araddr",
            "arlen",
            "arid",
            "rvalid",
            "rready",
            "rdata",
            "rresp",
            "rlast",
            "rid",
            "awvalid",
            "awready",
            "awaddr",
            "awlen",
            "wvalid",
            "wready",
            "wdata",
            "wstrb",
            "wlast",
            "bvalid",
            "bready",
            "bresp",
            "bid",
        ]
        for name in names:
            setattr(self, name, getattr(dut, f"{prefix}_{name}"))
        for name in (
            "arready",
            "rvalid",
            "rdata",
            "rresp",
            "rlast",
            "rid",
            "awready",
            "wready",
            "bvalid",
            "bresp",
            "bid",
        ):
            getattr(self, name).value = 0
        self.driven = {"arready": 0, "rvalid": 0, "awready": 0, "wready": 0, "bvalid": 0}
        self.task = cocotb.start_soon(self.run())

    @property
    def quiet(self) -> bool:
        return not (
            self.reads
            or self.active
            or self.writes
            or self.beats
            or self.answers
            or self.driven["rvalid"]
            or self.driven["bvalid"]
        )

    def drive(self, name: str, value: int) -> None:
        if self.driven[name] != value:
            self.driven[name] = value
            getattr(self, name).value = value

    def idle(self, probability: float) -> bool:
        return probability > 0 and self.random.random() < probability

    async def run(self) -> None:
        edge = RisingEdge(self.dut.clk_i)
        while True:
            await edge
            self.time += 1
            self.step_reads()
            self.step_writes()

    def step_reads(self) -> None:
        if self.driven["arready"] and self.arvalid.value == 1:
            delay = self.random.randint(1, self.pace.latency)
            self.reads.append(
                [self.time + delay, int(self.arid.value), int(self.araddr.value), int(self.arlen.value) + 1]
            )
            self.most_reads = max(self.most_reads, len(self.reads) + (self.active is not None))
        self.drive("arready", int(not self.idle(self.pace.ar)))
        if self.driven["rvalid"]:
            assert self.rready.value == 1, "the design asks only for what it can take"
            self.read_bytes += BEAT
            self.drive("rvalid", 0)
        if self.active is None and self.reads:
            # The oldest of each ID may answer; any of them.
            oldest: dict[int, list] = {}
            for burst in self.reads:
                oldest.setdefault(burst[1], burst)
            ready = [burst for burst in oldest.values() if burst[0] <= self.time]
            if ready:
                self.active = self.random.choice(ready)
                self.reads.remove(self.active)
        if self.active is not None and not self.idle(self.pace.r):
            burst = self.active
            offset = self.memory.offset(burst[2])
            self.rdata.value = int.from_bytes(self.memory.data[offset : offset + BEAT], "little")
            self.rid.value = burst[1]
            self.rlast.value = int(burst[3] == 1)
            self.rresp.value = SLVERR if any(burst[2] in bad for bad in self.memory.read_errors) else OKAY
            self.drive("rvalid", 1)
            burst[2] += BEAT
            burst[3] -= 1
            if burst[3] == 0:
                self.active = None

    def step_writes(self) -> None:
        if self.driven["awready"] and self.awvalid.value == 1:
            self.writes.append([int(self.awaddr.value), int(self.awlen.value) + 1])
        if self.driven["wready"] and self.wvalid.value == 1:
            self.beats.append((int(self.wdata.value), int(self.wstrb.value), int(self.wlast.value)))
        while self.writes and self.beats:
            self.store(self.writes[0], *self.beats.popleft())
        offered = not self.pace.data_first or self.wvalid.value == 1 or self.beats
        self.drive("awready", int(bool(offered) and not self.idle(self.pace.aw)))
        self.drive("wready", int(not self.idle(self.pace.w)))
        if self.driven["bvalid"]:
            assert self.bready.value == 1
            self.drive("bvalid", 0)
        if self.answers and self.answers[0][0] <= self.time and not self.idle(self.pace.b):
            self.bresp.value = self.answers.popleft()[1]
            self.drive("bvalid", 1)

    def store(self, burst: list[int], data: int, strobe: int, last: int) -> None:
        """One beat of the oldest burst; its answer is due when it is the last."""
        offset = self.memory.offset(burst[0])
        payload = data.to_bytes(BEAT, "little")
        if any(burst[0] in bad for bad in self.memory.write_errors):
            self.bad = True
        else:
            for byte in range(BEAT):
                if strobe >> byte & 1:
                    self.memory.data[offset + byte] = payload[byte]
        self.written_bytes += BEAT
        burst[0] += BEAT
        burst[1] -= 1
        assert last == (burst[1] == 0)
        if burst[1] == 0:
            self.writes.popleft()
            delay = self.random.randint(1, self.pace.latency)
            self.answers.append([self.time + delay, SLVERR if self.bad else OKAY])
            self.bad = False


class Lite:
    """The master side of the registers; address and data of a write come in any order."""

    def __init__(self, dut, seed: int):
        self.dut = dut
        self.random = random.Random(seed)
        for name in ("awvalid", "awaddr", "wvalid", "wdata", "wstrb", "bready", "arvalid", "araddr", "rready"):
            getattr(dut, f"s_axi_{name}").value = 0

    async def _send(self, channel: str, **payload: int) -> None:
        for _ in range(self.random.randint(0, 2)):
            await RisingEdge(self.dut.clk_i)
        for name, value in payload.items():
            getattr(self.dut, f"s_axi_{name}").value = value
        getattr(self.dut, f"s_axi_{channel}valid").value = 1
        while True:
            await RisingEdge(self.dut.clk_i)
            if getattr(self.dut, f"s_axi_{channel}ready").value == 1:
                break
        getattr(self.dut, f"s_axi_{channel}valid").value = 0

    async def _answer(self, channel: str, *names: str) -> list[int]:
        for _ in range(self.random.randint(0, 2)):
            await RisingEdge(self.dut.clk_i)
        getattr(self.dut, f"s_axi_{channel}ready").value = 1
        while True:
            await RisingEdge(self.dut.clk_i)
            if getattr(self.dut, f"s_axi_{channel}valid").value == 1:
                break
        getattr(self.dut, f"s_axi_{channel}ready").value = 0
        return [int(getattr(self.dut, f"s_axi_{name}").value) for name in names]

    async def write(self, address: int, value: int, strobe: int = 15) -> int:
        """Writes; the response."""
        tasks = [
            cocotb.start_soon(self._send("aw", awaddr=address)),
            cocotb.start_soon(self._send("w", wdata=value, wstrb=strobe)),
        ]
        for task in tasks:
            await task
        return (await self._answer("b", "bresp"))[0]

    async def read_response(self, address: int) -> tuple[int, int]:
        """Value and response."""
        await self._send("ar", araddr=address)
        value, response = await self._answer("r", "rdata", "rresp")
        return value, response

    async def read(self, address: int) -> int:
        value, response = await self.read_response(address)
        assert response == OKAY, f"register {address:#x} answers {response}"
        return value
