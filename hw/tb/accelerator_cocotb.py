"""The whole accelerator on cocotbext-axi: registers, one layer of each pass, with random pauses on all channels.

cocotbext-axi knows AXI4: bursts of at most 16 beats that stay within 4 KB look the same there, and what AXI3 adds
(write IDs beside the data, no interleaving) is asserted here. Run by tests/rtl/test_cocotb.py.
"""

from __future__ import annotations

import os
import random

import cocotb
import numpy as np
from accelerator_bench import compare_memory, prepared, random_data
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteMaster, AxiRam

from joulebit.accelerator.functional import Functional
from joulebit.accelerator.tiling import Layer
from joulebit.spec.accelerator import CONFIGS, ID_VALUE, Operation, Register, specification_hash

BASE, SIZE = 0, 1 << 16
LAYERS = (Layer(1, 5, 5, 8, 8, 3, 3, 1, 1, 1), Layer(2, 5, 4, 3, 8, 3, 3, 2, 1, 1), Layer(1, 3, 3, 9, 5, 1, 1))


def pauses(rng: random.Random, share: float):
    """Endless: whether a channel pauses in this cycle."""
    while True:
        yield rng.random() < share


class TB:
    def __init__(self, dut, seed: int = 1, share: float = 0.0):
        self.dut, rng = dut, random.Random(seed)
        cocotb.start_soon(Clock(dut.clk_i, 10, "ns").start())
        low = {"clock": dut.clk_i, "reset": dut.rst_ni, "reset_active_level": False}
        self.registers = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axi"), *low.values())
        first = AxiRam(AxiBus.from_prefix(dut, "m_axi_hp0"), *low.values(), size=SIZE)
        second = AxiRam(AxiBus.from_prefix(dut, "m_axi_hp1"), *low.values(), size=SIZE, mem=first.mem)
        self.ram = first
        for ram in (first, second):
            channels = (ram.read_if.ar_channel, ram.read_if.r_channel, ram.write_if.aw_channel)
            for channel in (*channels, ram.write_if.w_channel, ram.write_if.b_channel):
                if share:
                    channel.set_pause_generator(pauses(rng, share))
        for port in (0, 1):
            cocotb.start_soon(self.watch(port))

    async def watch(self, port: int):
        """AXI3: the data's ID is that of the oldest write whose data is not complete; bursts stay within 4 KB."""
        signal = lambda name: getattr(self.dut, f"m_axi_hp{port}_{name}").value  # noqa: E731
        while True:
            await RisingEdge(self.dut.clk_i)
            if not int(self.dut.rst_ni.value):
                continue
            for channel in ("ar", "aw"):
                if int(signal(f"{channel}valid")):
                    start = int(signal(f"{channel}addr"))
                    last = start + 8 * int(signal(f"{channel}len")) + 7
                    assert start % 8 == 0 and start >> 12 == last >> 12
            if int(signal("wvalid")):
                assert int(signal("wid")) == int(signal("awid"))

    async def reset(self):
        self.dut.rst_ni.value = 0
        await ClockCycles(self.dut.clk_i, 5)
        self.dut.rst_ni.value = 1
        await ClockCycles(self.dut.clk_i, 5)

    async def run(self, address: int, count: int) -> tuple[int, int]:
        """(ERROR, DESC_DONE) after a list."""
        for register, value in (
            (Register.STATUS, 6),
            (Register.DESC_ADDRESS, address),
            (Register.DESC_COUNT, count),
            (Register.CTRL, 1),
        ):
            await self.registers.write_dword(register, value)
        for _ in range(2000):
            await ClockCycles(self.dut.clk_i, 50)
            if await self.registers.read_dword(Register.STATUS) & 6:
                break
        else:
            raise AssertionError("the list did not end")
        done = await self.registers.read_dword(Register.DESC_DONE)
        return await self.registers.read_dword(Register.ERROR), done


@cocotb.test()
async def registers_say_what_was_built(dut):
    tb = TB(dut)
    await tb.reset()
    assert await tb.registers.read_dword(Register.ID) == ID_VALUE
    assert await tb.registers.read_dword(Register.SPEC_HASH) == int(specification_hash()[:8], 16)
    await tb.registers.write_dword(Register.SCRATCH, 0x12345678)
    assert await tb.registers.read_dword(Register.SCRATCH) == 0x12345678


async def one_layer(dut, share: float, seed: int, layer: Layer):
    """All passes of a layer; the whole memory and the counts against the functional model."""
    tb = TB(dut, seed, share)
    await tb.reset()
    config = CONFIGS[os.environ.get("JB_CONFIG", "tiny")]
    data = random_data(layer, np.random.default_rng(seed))
    model = Functional(config, np.zeros(SIZE, np.uint8), BASE)
    passes = (
        (Operation.FORWARD, False),
        (Operation.INPUT_GRADIENT, True),
        (Operation.WEIGHT_GRADIENT, True),
        (Operation.WEIGHT_GRADIENT, False),
    )
    for operation, selective in passes:
        _, plan, address, _, _ = prepared(model, data, operation, selective=selective)
        tb.ram.write(BASE, model.memory.tobytes())
        count = len(plan.descriptors)
        status = model.run(address, count)
        error, done = await tb.run(address, count)
        assert (error, done) == (status.error, status.done) == (0, count), operation.name
        got = np.frombuffer(tb.ram.read(BASE, SIZE), np.uint8)
        compare_memory(got, model.memory, BASE, address, count)


@cocotb.test()
@cocotb.parametrize(share=[0.0, 0.3, 0.7], number=[0, 1, 2])
async def every_pass_gives_the_models_bits(dut, share, number):
    await one_layer(dut, share, seed=number + int(10 * share), layer=LAYERS[number])
