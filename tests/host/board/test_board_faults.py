"""Everything that can go wrong with a board is one clear error, at once, and a run goes on afterwards."""

import re
from dataclasses import replace

import accelerator_bench as bench
import numpy as np
import pytest
from faulty_board import FaultyBoard

from joulebit.accelerator.tiling import Layer
from joulebit.errors import JoulebitError
from joulebit.spec import accelerator as spec
from joulebit.spec.accelerator import ErrorBit, Register, specification_hash
from joulebit.spec.descriptor import DESCRIPTOR_DTYPE, RESULT_DTYPE
from joulebit_host.boards import open_board
from joulebit_host.boards.base import (
    Bitstream,
    BoardError,
    BoardGoneError,
    BoardMemoryError,
    BoardTimeoutError,
    BusAccessError,
)
from joulebit_host.driver import Accelerator, default_bitstream
from joulebit_host.driver.faults import (
    BusFaultError,
    DescriptorError,
    HardwareError,
    IncompatibleError,
    ResultError,
    explain,
)
from joulebit_host.engine.session import OverlaySession

LAYER = Layer(2, 8, 8, 8, 8, 3, 3, 1, 1, 1)


def run_forward(accelerator, seed=0, layer=LAYER):
    data = bench.random_data(layer, np.random.default_rng(seed), raw=False, relu=False)
    job = accelerator.job()
    result = job.forward(accelerator.upload(data.x), data.w, layer, 5)
    job.run()
    return result


def test_board_names():
    for name in ("nowhere", "virtual-", "remote:", ""):
        with pytest.raises(JoulebitError, match="choose one of virtual"):
            open_board(name)
    with pytest.raises(JoulebitError, match="did you mean tiny"):
        open_board("virtual", "tinny")


@pytest.mark.parametrize(
    ("register", "value", "words"),
    [
        (Register.ID, 0xDEADBEEF, "another bitstream is loaded"),
        (Register.VERSION, (spec.VERSION + 1) << 16, "registers of version 2"),
        (Register.VERSION, spec.VERSION << 16 | 9, "configuration number 9"),
        (Register.SPEC_HASH, 0x12345678, "built from specification 12345678"),
        (Register.CAPS, 0, "capabilities"),
    ],
)
def test_another_bitstream_is_refused(register, value, words):
    board = FaultyBoard()
    board.registers[register] = value
    with pytest.raises(IncompatibleError, match=words):
        Accelerator(board)


def test_a_bitstream_of_another_specification_is_not_even_loaded():
    board = FaultyBoard()
    with pytest.raises(IncompatibleError, match="built from specification 00000000"):
        Accelerator(board, Bitstream("old", "default", "0" * 64))
    with pytest.raises(BoardError, match="configuration 'tiny'"):
        Accelerator(board, default_bitstream("tiny"))
    with pytest.raises(BoardError, match="built from specification"):
        board.load(Bitstream("old", "default", "0" * 64))


@pytest.mark.parametrize("bit", list(ErrorBit))
def test_every_error_bit_has_its_words_and_class(bit):
    error = explain(1 << bit, 3, 7, np.zeros(1, DESCRIPTOR_DTYPE)[0])
    kinds = {
        ErrorBit.BUS_READ: BusFaultError,
        ErrorBit.BUS_WRITE: BusFaultError,
        ErrorBit.INTERNAL: HardwareError,
    }
    assert type(error) is kinds.get(bit, DescriptorError)
    assert error.bits == (bit,)
    assert "descriptor 3 of 7 (forward; x 0x0" in str(error)
    assert f"{bit.name}: " in str(error)
    assert "\n" not in str(error)


def test_unknown_error_bits_are_shown():
    assert isinstance(explain(1 << 31, 0, 1, None), HardwareError)
    assert "0x80000000" in str(explain(1 << 31, 0, 1, None))


@pytest.mark.parametrize("tier", ["functional", pytest.param("rtl", marks=pytest.mark.rtl)])
def test_a_dma_error_names_the_descriptor(tier):
    board = FaultyBoard("tiny", tier, 1 << 22)
    accelerator = Accelerator(board, default_bitstream("tiny"))
    run_forward(accelerator)
    data = bench.random_data(LAYER, np.random.default_rng(0), raw=False, relu=False)
    x = accelerator.upload(data.x)
    board.fabric.fault(x.address + 64, x.address + 72)
    job = accelerator.job()
    job.forward(x, data.w, LAYER, 5)
    with pytest.raises(BusFaultError, match="BUS_READ"):
        job.run()
    with pytest.raises(BoardError, match="open the board again"):
        run_forward(accelerator)
    board.fabric.fault(0, 0)
    accelerator.close()
    run_forward(Accelerator(board, default_bitstream("tiny")))
    board.close()


def test_overwritten_descriptors_are_refused_and_named():
    board = FaultyBoard("tiny", memory_bytes=1 << 22)
    accelerator = Accelerator(board, default_bitstream("tiny"))
    write = board.write

    def overwriting(register, value):
        if register == Register.CTRL:
            start = board.fabric.read(Register.DESC_ADDRESS) - board.fabric.base
            board.fabric.memory[start + 40] ^= 1
        write(register, value)

    board.write = overwriting
    with pytest.raises(DescriptorError, match=r"CHECK: .*not flushed, or overwritten"):
        run_forward(accelerator)


def test_a_list_that_never_ends_is_a_timeout():
    board = FaultyBoard()
    accelerator = Accelerator(board, timeout_s=0.01)
    board.hangs = True
    with pytest.raises(BoardTimeoutError, match=r"not done after 0\.01 s"):
        run_forward(accelerator)


@pytest.mark.rtl
def test_a_time_limit_that_is_too_short_for_the_rtl():
    board = FaultyBoard("tiny", "rtl", 1 << 22)
    accelerator = Accelerator(board, default_bitstream("tiny"), timeout_s=0.0)
    large = replace(LAYER, images=2, height=16, width=16)  # a good part of a second
    with pytest.raises(BoardTimeoutError, match="not done after 0 s"):
        run_forward(accelerator, layer=large)
    board.close()


def test_a_board_that_goes_away():
    board = FaultyBoard()
    accelerator = Accelerator(board)
    board.gone_after = 1
    run_forward(accelerator)
    with pytest.raises(BoardGoneError, match="does not answer"):
        run_forward(accelerator)


def result_blocks(memory):
    """Views of everything in memory that looks like a result block with products."""
    blocks = memory.view(RESULT_DTYPE)
    return blocks[(blocks["status"] == 1) & (blocks["error"] == 0) & (blocks["macs"] == 2 * 64 * 9 * 64)]


@pytest.mark.parametrize("field", ["status", "error", "macs", "reserved1"])
def test_a_corrupted_result_block_is_noticed(field):
    board = FaultyBoard()
    accelerator = Accelerator(board)

    def corrupt(memory):
        blocks = memory.view(RESULT_DTYPE)
        where = np.flatnonzero((blocks["status"] == 1) & (blocks["macs"] == right["macs"][0]))
        assert len(where) >= 1
        blocks[field][where] += 2

    right = run_forward(accelerator).blocks
    board.corrupts = corrupt
    with pytest.raises(ResultError, match="result block 0 of a forward"):
        run_forward(accelerator)


def test_registers_that_do_not_exist():
    board = open_board("virtual", "tiny")
    for offset in (2, 0x100, -4):
        with pytest.raises(BusAccessError, match="no register"):
            board.read(offset)


def test_memory_exhausted_names_the_sizes():
    board = FaultyBoard(memory_bytes=1 << 20)
    accelerator = Accelerator(board)
    with pytest.raises(BoardMemoryError) as caught:
        accelerator.upload(np.zeros((2, 256, 256, 8), np.int16))
    assert re.search(r"2,097,152 bytes .* 1,048,576 are free", str(caught.value))
    run_forward(accelerator)


def test_a_wrong_result_is_found_by_verification():
    board = FaultyBoard()
    session = OverlaySession(board, verify_every=1)
    from joulebit.fixed.arithmetic import Arithmetic

    engine = session.make(Arithmetic(), 1)
    data = bench.random_data(LAYER, np.random.default_rng(1), raw=False, relu=False)
    geometry = bench.geometry(LAYER)
    engine.conv_forward(data.x, data.w, geometry, 5)
    assert session.verified == 1

    def corrupt(memory):
        # z of the first pixel: the last tensor that was allocated lies behind the packed weights.
        right = bench.expected(bench.Data(LAYER, data.x, data.w, data.dz, 5), bench.Operation.FORWARD)[0]
        pattern = np.ascontiguousarray(right[0, 0, 0]).astype("<i2").tobytes()
        place = memory.tobytes().find(pattern)
        assert place >= 0
        memory[place] ^= 1

    board.corrupts = corrupt
    with pytest.raises(ResultError, match=r"forward, z\[0, 0, 0, 0\] is -?\d+, the processor computes"):
        engine.conv_forward(data.x, data.w, geometry, 5)


def test_specification_hash_of_the_default_bitstream():
    assert default_bitstream("open").specification_hash == specification_hash()
