"""The board `zed` on the released pynq package, with a device underneath that is a virtual board.

    python zed_client.py WHAT - JSON

pynq's own `Overlay`, `MMIO`, `allocate` and `PynqBuffer` run here as on a board. The device below them has
separate copies of a buffer for processor and accelerator, as a cache would make them, and moves exactly the bytes
that are flushed or invalidated.
"""

import json
import sys
import types
import warnings
from pathlib import Path

import numpy as np

warnings.simplefilter("ignore")


class Bo:
    """A buffer object as pyxrt's in pynq 3.1: sync(direction, bytes, offset)."""

    def __init__(self, device, offset, array):
        self.device, self.offset, self.array = device, offset, array

    def sync(self, direction, size, start):
        own, memory = self.array[start : start + size], self.device.fabric.memory
        there = memory[self.offset + start : self.offset + start + size]
        if direction == "to":
            there[:] = own
        else:
            own[:] = there
        self.device.moved += size


def make_device(config, generation, memory_bytes=40 << 20):
    """Makes the virtual board pynq's active device."""
    from pynq.buffer import PynqBuffer
    from pynq.pl_server.device import Device
    from pynq.pl_server.remote_device import RemoteBitfileHandler

    from joulebit_host.boards.fabric import BASE, make_fabric
    from joulebit_host.boards.heap import Heap
    from joulebit_host.boards.server.slcr import BASE as SLCR
    from joulebit_host.boards.server.slcr import Slcr

    class Board(Device):
        def __init__(self):
            super().__init__("virtual")
            self.capabilities = {"REGISTER_RW": True}
            self.name, self.arch = "Virtual", "armv7l"
            self.fabric = make_fabric("functional", config, memory_bytes)
            self.heap, self.slcr = Heap(memory_bytes, 4096), Slcr()
            self.moved, self.loaded = 0, []

        def read_registers(self, address, length):
            value = self.slcr.read(address - SLCR) if address >= SLCR else self.fabric.read(address - 0x43C00000)
            return value.to_bytes(length, "little")

        def write_registers(self, address, data):
            value = int.from_bytes(bytes(data), "little")
            if address >= SLCR:
                self.slcr.write(address - SLCR, value)
            else:
                self.fabric.write(address - 0x43C00000, value)

        def get_bitfile_metadata(self, name, partial=False):
            return RemoteBitfileHandler(name).get_parser(partial=partial)

        def gen_cache(self, bitstream, parser=None):
            pass

        def download(self, bitstream, parser=None):
            self.loaded.append((Path(bitstream.bitfile_name).name, self.slcr.fclk_hz(0)))
            self.fabric.reset()
            super().post_download(bitstream, parser, self.name)

        def allocate(self, shape, dtype, cacheable=0, **_):
            assert cacheable == 1
            size = int(np.prod(shape)) * np.dtype(dtype).itemsize
            offset = self.heap.allocate(size)
            if offset is None:
                raise RuntimeError("BO allocation failed: Cannot allocate memory")
            array = np.zeros(size, np.uint8)
            bo = Bo(self, offset, array) if generation == "3.1" else (offset, array)
            return PynqBuffer(shape, dtype, buffer=array, device=self, device_address=BASE + offset, bo=bo)

        # pynq 3.0: bo is a handle, and the slice says where it lies
        def flush(self, bo, offset, pointer, size):
            Bo(self, *bo).sync("to", size, offset)

        def invalidate(self, bo, offset, pointer, size):
            Bo(self, *bo).sync("from", size, offset)

    directions = types.SimpleNamespace(XCL_BO_SYNC_BO_TO_DEVICE="to", XCL_BO_SYNC_BO_FROM_DEVICE="from")
    sys.modules["pyxrt"] = types.SimpleNamespace(xclBOSyncDirection=directions)
    Device.active_device = board = Board()
    return board


def error_of(function):
    try:
        function()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "no error"


def driver(config, generation):
    """Each pass by the driver, twice; what was loaded and moved."""
    from pynq_client import passes

    from joulebit.spec.accelerator import specification_hash
    from joulebit_host.boards import open_board
    from joulebit_host.boards.base import Bitstream
    from joulebit_host.driver import Accelerator

    device = make_device(config, generation)
    board = open_board("zed", config)
    unloaded = error_of(lambda: board.read(0))
    with Accelerator(board, Bitstream("any", config, specification_hash())) as accelerator:
        results = [passes(accelerator, seed) for seed in range(2)]
    too_much = error_of(lambda: board.allocate(1 << 30))
    temperature = board.temperature_c()
    board.close()
    return {
        "results": results,
        "unloaded": unloaded,
        "too_much": too_much,
        "loaded": device.loaded,
        "moved": device.moved,
        "temperature": temperature,
    }


def nothing(config):
    """A machine that is no board; a board without a fitting bitstream."""
    from joulebit_host.boards import open_board
    from joulebit_host.boards.base import Bitstream

    answer = {"no board": error_of(lambda: open_board("zed", config))}
    make_device(config, "3.1")
    board = open_board("zed", config)
    from joulebit.spec.accelerator import specification_hash

    answer["no bitstream"] = error_of(lambda: board.load(Bitstream("any", "open", specification_hash())))
    answer["other"] = error_of(
        lambda: board.load(Bitstream("old", config, "0" * 64, Path("x.bit"), Path("x.hwh")))
    )
    return answer


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](**json.loads(sys.argv[3]))))
