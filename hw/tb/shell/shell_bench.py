"""The shell against random memories: random tiles, wrong descriptors, bus errors, resets (for test_shell.py).

The core is a stand-in (`jb_core.sv` here) whose results depend on every word it is given. The whole memory is
compared after each list, so that a byte written outside the results is seen.
"""

from __future__ import annotations

import os
import random

import cocotb
from axi3_memory import Axi3Port, Lite, Memory, Pace
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge
from tiles import CONFIG_NUMBERS, Space, expect, fits, pack, random_tile, unpack_result

from joulebit.spec.accelerator import (
    ID_VALUE,
    VERSION,
    ErrorBit,
    Flag,
    Operation,
    Register,
    specification_hash,
)

NUMBER = int(os.environ.get("JB_CONFIG", "2"))
CONFIG = CONFIG_NUMBERS[NUMBER]
BASE, SIZE = 0x1000_0000, 1 << 20
BUSY, DONE, ERROR, INTERRUPT = 1, 2, 4, 8
START, RESET, ENABLE = 1, 2, 4

PACES = {
    "fast": Pace(latency=1),
    "slow memory": Pace(latency=60),
    "idle": Pace(ar=0.3, r=0.4, aw=0.3, w=0.0, b=0.3, latency=12),
    "back-pressure": Pace(ar=0.7, r=0.1, aw=0.7, w=0.8, b=0.7, latency=5),
    "data first": Pace(aw=0.2, w=0.2, latency=5, data_first=True),
    "stormy": Pace(ar=0.5, r=0.5, aw=0.5, w=0.5, b=0.5, latency=40),
}


class TB:
    def __init__(self, dut, seed: int):
        self.dut = dut
        self.random = random.Random(seed)
        self.memory = Memory(BASE, SIZE)
        self.memory.data[:] = self.random.randbytes(SIZE)
        cocotb.start_soon(Clock(dut.clk_i, 10, "ns").start())
        self.ports = [Axi3Port(dut, f"m_axi_hp{port}", self.memory, seed + port) for port in range(2)]
        self.lite = Lite(dut, seed + 2)

    async def reset(self) -> None:
        self.dut.rst_ni.value = 0
        await ClockCycles(self.dut.clk_i, 5)
        self.dut.rst_ni.value = 1
        await ClockCycles(self.dut.clk_i, 5)

    def set_pace(self, pace: Pace) -> None:
        for port in self.ports:
            port.pace = pace

    def put_list(self, space: Space, descriptors: list[bytes]) -> int:
        address = space.take(128 * len(descriptors))
        for index, raw in enumerate(descriptors):
            self.memory.write(address + 128 * index, raw)
        return address

    async def start(self, address: int, count: int, control: int = START) -> None:
        await self.lite.write(Register.DESC_ADDRESS, address)
        await self.lite.write(Register.DESC_COUNT, count)
        await self.lite.write(Register.CTRL, control)

    async def wait(self, cycles: int = 200_000) -> int:
        """Waits until the list has ended; STATUS."""
        for _ in range(cycles // 50):
            await ClockCycles(self.dut.clk_i, 50)
            status = await self.lite.read(Register.STATUS)
            if not status & BUSY:
                return status
        raise AssertionError("the design hangs")

    async def counter(self, register: Register) -> int:
        low, high = await self.lite.read(register), await self.lite.read(register + 4)
        return high << 32 | low

    def check_memory(self, expected: bytearray, results: dict[int, dict[str, int]]) -> None:
        """Compares everything; result blocks field by field, since the model knows no cycles."""
        for address, fields in results.items():
            got = unpack_result(self.memory.read(address, 64))
            cycles = got.pop("cycles")
            assert {name: got[name] for name in fields} == fields, (hex(address), got, fields)
            assert cycles > 0 or fields["status"] != 1
            offset = address - BASE
            expected[offset : offset + 64] = self.memory.data[offset : offset + 64]
        if self.memory.data != expected:
            wrong = [i for i in range(SIZE) if self.memory.data[i] != expected[i]]
            raise AssertionError(f"{len(wrong)} bytes differ, the first at {BASE + wrong[0]:#x}")


def model(tb: TB, tiles: list[dict[str, int]]) -> tuple[bytearray, dict[int, dict[str, int]]]:
    """The memory after the tiles, and their result blocks."""
    expected, results = bytearray(tb.memory.data), {}
    for tile in tiles:
        writes, result = expect(CONFIG, tb.memory, tile)
        for address, payload in writes:
            expected[address - BASE : address - BASE + len(payload)] = payload
        results[tile["result_address"]] = result
    return expected, results


async def run_good(tb: TB, tiles: list[dict[str, int]], space: Space) -> None:
    address = tb.put_list(space, [pack(tile) for tile in tiles])
    expected, results = model(tb, tiles)
    await tb.start(address, len(tiles))
    assert await tb.wait() == DONE
    assert await tb.lite.read(Register.DESC_DONE) == len(tiles)
    assert await tb.lite.read(Register.ERROR) == 0
    tb.check_memory(expected, results)


@cocotb.test()
async def registers_are_as_specified(dut):
    tb = TB(dut, 1)
    await tb.reset()
    lite = tb.lite
    assert await lite.read(Register.ID) == ID_VALUE
    assert await lite.read(Register.VERSION) == VERSION << 16 | NUMBER
    assert await lite.read(Register.SPEC_HASH) == int(specification_hash()[:8], 16)
    assert await lite.read(Register.CAPS) == CONFIG.out_lanes << 16 | CONFIG.in_lanes << 8 | CONFIG.columns
    assert await lite.read(Register.CLOCK_HZ) == 100_000_000
    assert await lite.read(Register.STATUS) == 0
    value = 0
    for strobe in range(16):
        word = tb.random.getrandbits(32)
        assert await lite.write(Register.SCRATCH, word, strobe) == 0
        mask = sum(255 << 8 * byte for byte in range(4) if strobe >> byte & 1)
        value = value & ~mask | word & mask
        assert await lite.read(Register.SCRATCH) == value
    known = {int(r) for r in Register} | {int(r) + 4 for r in Register if r >= Register.CYCLES_TOTAL}
    for address in (*range(0, 0x120, 4), 0x200, 0x814, 0xFFC):
        _, response = await lite.read_response(address)
        assert response == (0 if address in known else 2), hex(address)
    for address in (0x38, 0x3C, 0xB0, 0x100, 0x114, 0xFFC):
        assert await lite.write(address, 3) == 2
    for read_only in (Register.ID, Register.CAPS, Register.ERROR, Register.CYCLES_TOTAL):
        before = await lite.read(read_only)
        assert await lite.write(read_only, 0xFFFFFFFF) == 0
        assert await lite.read(read_only) == before
    assert await lite.read(Register.STATUS) == 0


@cocotb.test()
@cocotb.parametrize(pace=list(PACES))
async def lists_of_random_tiles(dut, pace):
    tb = TB(dut, 10 + list(PACES).index(pace))
    await tb.reset()
    tb.set_pace(PACES[pace])
    for _ in range(2):  # back to back, without a reset
        space = Space(BASE, SIZE, tb.random)
        await run_good(
            tb, [random_tile(CONFIG, space) for _ in range(int(os.environ.get("JB_TILES", "10")))], space
        )
    for operation in Operation:
        space = Space(BASE, SIZE, tb.random)
        await run_good(tb, [random_tile(CONFIG, space, operation) for _ in range(3)], space)
    assert tb.ports[1].most_reads >= 4 or pace != "slow memory"


@cocotb.test()
async def counters_add_up_and_are_copied_together(dut):
    tb = TB(dut, 30)
    await tb.reset()
    space = Space(BASE, SIZE, tb.random)
    tiles = [random_tile(CONFIG, space, operation) for operation in (*Operation, *Operation)]
    _, results = model(tb, tiles)
    await run_good(tb, tiles, space)
    assert await tb.counter(Register.PORT0_READ_BYTES) == 0, "nothing is seen before a snapshot"
    await tb.lite.write(Register.SNAPSHOT, 0)
    total = dict.fromkeys(
        ("MACS_8X8", "MACS_8X16", "MACS_4X10", "MACS_GATED", "DECIDED", "UNDECIDED", "CYCLES_COMPUTE"), 0
    )
    for tile in tiles:
        result = results[tile["result_address"]]
        width = {Operation.FORWARD: "MACS_8X8", Operation.PREDICT: None}.get(tile["operation"], "MACS_8X16")
        if width:
            total[width] += result["macs"]
        if tile["operation"] == Operation.PREDICT or tile["flags"] >> Flag.PREDICT & 1:
            pixels = tile["images"] * tile["g_rows"] * tile["g_columns"]
            total["MACS_4X10"] += (
                pixels * tile["kernel_h"] * tile["kernel_w"] * 32 * tile["x_words"] * tile["g_words"]
            )
        total["MACS_GATED"] += result["macs_gated"]
        total["DECIDED"] += result["decided"]
        total["UNDECIDED"] += result["undecided"]
        total["CYCLES_COMPUTE"] += result["compute_cycles"]
    for name, value in total.items():
        assert await tb.counter(Register[name]) == value, name
    for number, port in enumerate(tb.ports):
        assert await tb.counter(Register[f"PORT{number}_READ_BYTES"]) == port.read_bytes
        assert await tb.counter(Register[f"PORT{number}_WRITE_BYTES"]) == port.written_bytes
    cycles = await tb.counter(Register.CYCLES_TOTAL)
    assert cycles > 100
    await tb.lite.write(Register.SNAPSHOT, 1)
    assert await tb.counter(Register.CYCLES_TOTAL) == cycles, "idle cycles do not count"
    await tb.lite.write(Register.SNAPSHOT, 0)
    assert await tb.counter(Register.CYCLES_TOTAL) == 0


def spoil(tb: TB, tile: dict[str, int], bit: ErrorBit) -> list[dict[str, int]]:
    """Copies of a tile that are wrong in the way of `bit`."""
    op = tile["operation"]

    def other(**fields: int) -> dict[str, int]:
        return {**tile, **fields}

    flags = tile["flags"]
    ways = {
        ErrorBit.MAGIC: [other(magic=tile["magic"] ^ 1 << k) for k in (0, 15)],
        ErrorBit.VERSION: [other(version=0), other(version=2)],
        ErrorBit.OPERATION: [other(operation=4), other(operation=255)],
        ErrorBit.FLAGS: [other(flags=flags | 1 << k) for k in (11, 15)]
        + [
            other(flags=flags | 1 << Flag.SELECTIVE | 1 << Flag.RAW),
            other(flags=flags | 1 << Flag.RELU | 1 << Flag.MASK),
        ],
        ErrorBit.ROUNDING: [other(rounding=5), other(rounding=128)],
        ErrorBit.SHIFT: [other(shift=48), other(shift=255)],
        ErrorBit.IMAGES: [other(images=0)],
        ErrorBit.X_SIZE: [other(x_rows=0), other(x_columns=0), other(x_words=0)]
        + (
            [other(x_rows=999), other(x_columns=65535), other(x_words=65535)]
            if op != Operation.INPUT_GRADIENT
            else []
        ),
        ErrorBit.G_SIZE: [other(g_rows=0), other(g_columns=0), other(g_words=0)]
        + ([other(g_rows=999), other(g_columns=65535), other(g_words=65535)] if op != Operation.FORWARD else []),
        ErrorBit.KERNEL: [other(kernel_h=0), other(kernel_h=8), other(kernel_w=0), other(kernel_w=255)],
        ErrorBit.STRIDE: [other(stride=0), other(stride=3)],
        ErrorBit.PADDING: [other(pad_top=8), other(pad_left=255)],
        ErrorBit.LANE_MODE: [other(lane_mode=2)]
        + ([other(stride=2, lane_mode=0)] if op == Operation.INPUT_GRADIENT else []),
        ErrorBit.BLOCKS: [other(out_blocks=0), other(out_block=9999), other(out_blocks=65535)],
        ErrorBit.ALIGNMENT: [
            other(**{f"{name}_address": tile[f"{name}_address"] + 1 + k})
            for k, name in enumerate(("x", "g", "w", "mask", "out", "result"))
        ],
        ErrorBit.STRIDES: [
            other(**{f"{name}_stride": tile[f"{name}_stride"] + 4})
            for name in [
                "x_row",
                "x_image",
                "x_pixel",
                "g_row",
                "g_image",
                "g_pixel",
                "mask_row",
                "mask_image",
                "out_row",
                "out_image",
                "out_pixel",
            ]
        ],
        ErrorBit.PSUM_SIZE: {
            Operation.FORWARD: [other(g_rows=300, g_columns=300), other(images=65535)],
            Operation.INPUT_GRADIENT: [other(x_rows=65535, x_columns=65535), other(images=65535)],
            Operation.WEIGHT_GRADIENT: [other(kernel_h=7, kernel_w=7, x_words=60)],
        }.get(op, []),
        ErrorBit.PREDICTOR_SIZE: [other(kernel_h=7, kernel_w=7, x_words=9, g_words=65535)]
        if op == Operation.PREDICT
        else [],
        ErrorBit.WEIGHT_BYTES: [other(w_bytes=tile["w_bytes"] + 8), other(w_bytes=1 << 31)]
        + ([other(w_bytes=0)] if op <= Operation.INPUT_GRADIENT else []),
        ErrorBit.THRESHOLD: [other(threshold_q12=4097), other(threshold_q12=65535)],
        ErrorBit.RESERVED: [other(**{f"reserved{k}": 1 << 8 * k}) for k in range(4)],
    }
    return ways.get(bit, [])


async def run_wrong(
    tb: TB, space: Space, good: dict[str, int], raw: bytes, wrong: dict[str, int], bit: ErrorBit
) -> None:
    """A good tile, the wrong one, a good one that must not run."""
    never = random_tile(CONFIG, space)
    address = tb.put_list(space, [pack(good), raw, pack(never)])
    expected, results = model(tb, [good])
    await tb.start(address, 3)
    assert await tb.wait() == ERROR
    error = await tb.lite.read(Register.ERROR)
    assert error >> bit & 1, (bit.name, hex(error), wrong)
    assert await tb.lite.read(Register.ERROR_INDEX) == 1
    assert await tb.lite.read(Register.DESC_DONE) == 1
    trusted = bit not in (ErrorBit.MAGIC, ErrorBit.VERSION, ErrorBit.CHECK) and wrong["result_address"] % 8 == 0
    if trusted:
        blank = dict.fromkeys(
            ["peak", "saturated", "decided", "undecided", "compute_cycles", "stall_cycles", "macs", "macs_gated"],
            0,
        )
        results[wrong["result_address"]] = {"status": 2, "error": error, **blank}
    tb.check_memory(expected, results)
    assert all(port.quiet for port in tb.ports)


@cocotb.test()
@cocotb.parametrize(operation=[int(o) for o in Operation])
async def each_wrong_field_is_named_and_nothing_is_touched(dut, operation):
    tb = TB(dut, 40 + operation)
    await tb.reset()
    tb.set_pace(PACES["idle"])
    seen = set()
    for bit in list(ErrorBit)[: ErrorBit.RESERVED + 1]:
        space = Space(BASE, SIZE, tb.random)
        good = random_tile(CONFIG, space, Operation.FORWARD)
        tile = random_tile(CONFIG, space, Operation(operation))
        for wrong in spoil(tb, tile, bit):
            space.next = BASE + SIZE // 2
            await run_wrong(tb, space, {**good}, pack(wrong), wrong, bit)
            seen.add(bit)
    space = Space(BASE, SIZE, tb.random)
    good, tile = (random_tile(CONFIG, space, Operation(operation)) for _ in range(2))
    for position in (0, 500, 991, 1023):  # bits that flip on the way
        raw = bytearray(pack(tile))
        raw[position // 8] ^= 1 << position % 8
        await run_wrong(tb, space, good, bytes(raw), tile, ErrorBit.CHECK)
    await run_good(tb, [random_tile(CONFIG, space) for _ in range(3)], Space(BASE + SIZE - 4096, 4096, tb.random))
    missing = set(list(ErrorBit)[: ErrorBit.RESERVED + 1]) - seen - {ErrorBit.CHECK}
    assert missing <= {ErrorBit.PSUM_SIZE, ErrorBit.PREDICTOR_SIZE}, missing


@cocotb.test()
async def the_largest_tiles_pass_and_one_more_does_not(dut):
    tb = TB(dut, 50)
    await tb.reset()
    for operation in Operation:
        for _ in range(30):
            space = Space(BASE, SIZE, tb.random)
            tile = random_tile(CONFIG, space, operation)
            name = tb.random.choice(
                ("images", "x_rows", "x_columns", "x_words", "g_rows", "g_columns", "g_words", "kernel_h")
            )
            tile["kernel_w"], tile["out_block"], tile["out_blocks"] = 3, 0, 1
            bound = tile[name]
            while bound < 7 or (name != "kernel_h" and bound < 64):
                if not fits(CONFIG, {**tile, name: bound + 1}):
                    break
                bound += 1
            legal = {**tile, name: bound}
            if not fits(CONFIG, legal) or bound >= (7 if name == "kernel_h" else 64):
                continue
            from tiles import place_tile

            space = Space(BASE, SIZE, tb.random)
            place_tile(CONFIG, space, legal)
            await run_good(tb, [legal], space)
            more = {**tile, name: bound + 1}
            space = Space(BASE, SIZE, tb.random)
            place_tile(CONFIG, space, more)
            address = tb.put_list(space, [pack(more)])
            await tb.start(address, 1)
            assert await tb.wait() == ERROR
            error = await tb.lite.read(Register.ERROR)
            sizes = (ErrorBit.X_SIZE, ErrorBit.G_SIZE, ErrorBit.PSUM_SIZE, ErrorBit.PREDICTOR_SIZE)
            assert error & ~sum(1 << bit for bit in sizes) == 0 and error, (hex(error), more)


@cocotb.test()
async def a_list_of_none_or_at_an_odd_address_is_refused(dut):
    tb = TB(dut, 60)
    await tb.reset()
    before = bytes(tb.memory.data)
    for address, count, error in (
        (BASE, 0, 1 << ErrorBit.DESC_COUNT),
        (BASE, 65536, 1 << ErrorBit.DESC_COUNT),
        (BASE + 4, 1, 1 << ErrorBit.ALIGNMENT),
    ):
        await tb.start(address, count)
        assert await tb.wait() == ERROR
        assert await tb.lite.read(Register.ERROR) == error
        await tb.lite.write(Register.STATUS, ERROR)
        assert await tb.lite.read(Register.STATUS) == 0
    assert bytes(tb.memory.data) == before


@cocotb.test()
@cocotb.parametrize(where=["x", "g", "w", "mask", "descriptor", "out", "result"])
async def bus_errors_stop_the_list(dut, where):
    tb = TB(dut, 70)
    await tb.reset()
    tb.set_pace(PACES["idle"])
    for _ in range(4):
        space = Space(BASE, SIZE, tb.random)
        while True:
            tile = random_tile(CONFIG, space, Operation.INPUT_GRADIENT if where != "x" else Operation.FORWARD)
            if tile["flags"] >> Flag.LAST & 1 and (where != "mask" or tile["flags"] >> Flag.MASK & 1):
                break
        others = [random_tile(CONFIG, space) for _ in range(3)]
        tiles = [others[0], tile, *others[1:]]
        address = tb.put_list(space, [pack(each) for each in tiles])
        offset = tile["out_block"] * CONFIG.out_lanes
        size = 8 if tile["flags"] >> Flag.RAW & 1 else 1 if tile["flags"] >> Flag.RELU & 1 else 2
        offset = {"mask": offset, "out": offset * size}.get(where, 0)
        start = (address + 128 if where == "descriptor" else tile[f"{where}_address"] + offset) & ~7
        bad = range(start, start + 8)
        (tb.memory.write_errors if where in ("out", "result") else tb.memory.read_errors).append(bad)
        await tb.start(address, 4)
        assert await tb.wait() == ERROR
        bit = ErrorBit.BUS_WRITE if where in ("out", "result") else ErrorBit.BUS_READ
        assert await tb.lite.read(Register.ERROR) == 1 << bit
        index = await tb.lite.read(Register.ERROR_INDEX)
        assert index == 1 or (where in ("w", "mask") and index == 0), "they are read ahead"
        assert await tb.lite.read(Register.DESC_DONE) == index
        if where not in ("result", "descriptor"):
            got = unpack_result(tb.memory.read(tiles[index]["result_address"], 64))
            assert (got["status"], got["error"]) == (2, 1 << bit)
        assert all(port.quiet for port in tb.ports)
        tb.memory.read_errors.clear()
        tb.memory.write_errors.clear()
        await run_good(tb, [random_tile(CONFIG, space) for _ in range(2)], space)


@cocotb.test()
async def a_soft_reset_waits_for_the_bus_and_the_next_list_is_right(dut):
    tb = TB(dut, 80)
    await tb.reset()
    for round_ in range(12):
        tb.set_pace(PACES["stormy"] if round_ % 2 else PACES["slow memory"])
        space = Space(BASE, SIZE, tb.random)
        tiles = [random_tile(CONFIG, space) for _ in range(4)]
        address = tb.put_list(space, [pack(tile) for tile in tiles])
        await tb.start(address, 4)
        await ClockCycles(dut.clk_i, tb.random.randint(1, 2500))
        await tb.lite.write(Register.CTRL, RESET)
        status = await tb.wait()
        assert status & BUSY == 0
        assert all(port.quiet for port in tb.ports), "no burst is cut off"
        await tb.lite.write(Register.STATUS, DONE | ERROR)
        tb.set_pace(PACES["fast"])
        space = Space(BASE, SIZE, tb.random)
        await run_good(tb, [random_tile(CONFIG, space) for _ in range(2)], space)


@cocotb.test()
async def interrupts_come_when_enabled_and_asked_for(dut):
    tb = TB(dut, 90)
    await tb.reset()
    space = Space(BASE, SIZE, tb.random)
    quiet, loud = random_tile(CONFIG, space), random_tile(CONFIG, space)
    loud["flags"] |= 1 << Flag.IRQ
    address = tb.put_list(space, [pack(quiet)])
    await tb.start(address, 1, START | ENABLE)
    assert await tb.wait() == DONE
    assert dut.irq_o.value == 0
    address = tb.put_list(space, [pack(quiet), pack(loud), pack(quiet)])
    await tb.start(address, 3, START)
    assert await tb.wait() == DONE | INTERRUPT
    assert dut.irq_o.value == 0
    await tb.lite.write(Register.CTRL, ENABLE)
    await RisingEdge(dut.clk_i)
    assert dut.irq_o.value == 1
    await tb.lite.write(Register.STATUS, INTERRUPT)
    await RisingEdge(dut.clk_i)
    assert dut.irq_o.value == 0
    assert await tb.lite.read(Register.STATUS) == DONE
    await tb.start(address, 0, START | ENABLE)
    assert await tb.wait() == ERROR
    assert dut.irq_o.value == 1
