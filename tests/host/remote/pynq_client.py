"""What the tests let the unmodified pynq 4 client do, in its own environment.

    python pynq_client.py WHAT HOST:PORT JSON

Prints one JSON object. Nothing here changes pynq; `driver`, `gone`, `faults` use Joulebit's driver on top of it.
"""

import json
import sys
import time
import warnings

import numpy as np

warnings.simplefilter("ignore")


def connect(address):
    from pynq import Device
    from pynq.pl_server.remote_device import RemoteDevice

    host, _, port = address.rpartition(":")
    device = RemoteDevice(0, host, int(port))
    Device.active_device = device
    return device


class PynqDevice:
    """What `accelerator_bench` runs layers on, by pynq's objects alone: one buffer, whole synchronisations."""

    def __init__(self, address, bit, config, size=1 << 20):
        from pynq import MMIO, Overlay, allocate

        from joulebit.spec.accelerator import CONFIGS

        self.config = CONFIGS[config]
        self.remote = connect(address)
        self.overlay = Overlay(bit, device=self.remote)
        core = self.overlay.ip_dict["accelerator"]
        self.mmio = MMIO(core["phys_addr"], core["addr_range"], device=self.remote)
        self.buffer = allocate((size,), "u1", target=self.remote)
        self.memory = np.asarray(self.buffer)
        self.base = self.buffer.device_address

    def run(self, address, count):
        from joulebit.accelerator.functional import Status
        from joulebit.spec.accelerator import Register

        self.buffer.sync_to_device()
        self.mmio.write(int(Register.STATUS), 6)
        self.mmio.write(int(Register.DESC_ADDRESS), int(address))
        self.mmio.write(int(Register.DESC_COUNT), int(count))
        self.mmio.write(int(Register.CTRL), 1)
        deadline = time.monotonic() + 300
        while not self.mmio.read(int(Register.STATUS)) & 6:
            assert time.monotonic() < deadline, "the accelerator does not end"
            time.sleep(0.002)
        self.buffer.sync_from_device()
        read = self.mmio.read
        error = read(int(Register.ERROR))
        return Status(error, read(int(Register.ERROR_INDEX)) if error else 0, read(int(Register.DESC_DONE)))


def overlay(address, bit):
    """Loads, reads registers by MMIO and by name, the clock; loads again, which resets."""
    from pynq import MMIO, Overlay
    from pynq.ps import Clocks

    device = connect(address)
    loaded = Overlay(bit, device=device)
    core = loaded.ip_dict["accelerator"]
    mmio = MMIO(core["phys_addr"], core["addr_range"], device=device)
    mmio.write(0x34, 0xDEADBEEF)
    kept = mmio.read(0x34)
    names = loaded.accelerator.register_map
    answer = {
        "arch": device.arch,
        "board": device.name,
        "address": core["phys_addr"],
        "bytes": core["addr_range"],
        "id": mmio.read(0),
        "spec_hash": mmio.read(8),
        "half": mmio.read(0, 2),
        "out_lanes": int(names.CAPS.OUT_LANES),
        "done": int(names.STATUS.DONE),
        "fclk0_pynq_mhz": Clocks.fclk0_mhz,
        "scratch": kept,
        "state": device.read_file("/sys/class/fpga_manager/fpga0/state").decode(),
    }
    Overlay(bit, device=device)
    return answer | {"scratch_after": mmio.read(0x34)}


def buffers(address):
    """Buffers of several types and sizes, all alive at once; then their memory once more."""
    from pynq import allocate

    device = connect(address)
    kept = []
    for shape, dtype in (((1,), "u1"), ((3, 5), "i2"), ((1000,), "u4"), ((2 << 20,), "u1"), ((300_001,), "u8")):
        buffer = allocate(shape, dtype, target=device)
        values = np.random.default_rng(len(kept)).integers(0, 100, shape).astype(dtype)
        buffer[:] = values
        buffer.sync_to_device()
        kept.append((buffer, values))
    same = []
    for buffer, values in kept:
        buffer[:] = 0
        buffer.sync_from_device()
        same.append(bool((np.asarray(buffer) == values).all()))
    addresses = [(int(buffer.device_address), buffer.nbytes) for buffer, _ in kept]
    for buffer, _ in kept:
        buffer.freebuffer()
    large = [allocate((7 << 20,), "u1", target=device) for _ in range(1)]
    return {"same": same, "addresses": addresses, "large": int(large[0].device_address)}


def golden(address, bit, config, layers):
    """All passes of golden layers, compared inside with the results of plain Python integers."""
    import accelerator_bench

    device = PynqDevice(address, bit, config)
    for layer in layers:
        accelerator_bench.check_golden(device, layer)
    return {"layers": layers}


def descriptor(content):
    """Raised errors as text."""
    try:
        content()
    except Exception as error:
        details = getattr(error, "details", None)
        return f"{type(error).__name__}: {details() if callable(details) else error}"
    return "no error"


def refused(address, bit):
    """Loads a bitstream that is not accepted; then what the board says."""
    from pynq import MMIO, Overlay

    device = connect(address)
    error = descriptor(lambda: Overlay(bit, device=device))
    mmio = MMIO(0x43C00000, 4096, device=device)
    return {
        "error": error,
        "state": device.read_file("/sys/class/fpga_manager/fpga0/state").decode().strip(),
        "register": descriptor(lambda: mmio.read(0)),
    }


def transfer(address):
    """Says that it has begun, then moves a buffer to the board until it is killed."""
    from pynq import allocate

    buffer = allocate((6 << 20,), "u1", target=connect(address))
    print(json.dumps({"address": int(buffer.device_address)}), flush=True)
    while True:
        buffer.sync_to_device()


def descend(address, bytes_wanted):
    """Address of a buffer of so many bytes, or the error."""
    from pynq import allocate

    device = connect(address)
    return {"error": descriptor(lambda: allocate((bytes_wanted,), "u1", target=device))}


def _accelerator(address, config):
    from joulebit_host.bitstreams import find
    from joulebit_host.boards import open_board
    from joulebit_host.driver import Accelerator

    board = open_board(f"remote:{address}", config)
    return board, Accelerator(board, find(config, virtual=True))


def _digest(*arrays):
    import hashlib

    return hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()


def passes(accelerator, seed=0):
    """One layer, each pass, through the driver: digests of the results, independent of the board."""
    from joulebit.accelerator.tiling import Layer

    rng = np.random.default_rng(seed)
    layer = Layer(2, 8, 8, 8, 8, 3, 3, 1, 1, 1)
    x = rng.integers(0, 256, (2, 8, 8, 8)).astype(np.uint8)
    w = rng.integers(-127, 128, (3, 3, 8, 8)).astype(np.int8)
    dz = rng.integers(-3000, 3000, (2, 8, 8, 8)).astype(np.int16)
    on_board, gradient = accelerator.upload(x), accelerator.upload(dz)
    job = accelerator.job()
    z = job.forward(on_board, w, layer, shift=7)
    g = job.input_gradient(gradient, w, layer, shift=9, predict=on_board)
    dw = job.weight_gradient(on_board, gradient, layer)
    job.run()
    second = accelerator.job()
    signs = second.weight_signs(on_board, gradient, layer, 200)
    second.run()
    return [_digest(z.tensor()), _digest(g.tensor()), _digest(dw.gradient()), _digest(*signs.signs())]


def driver(address, config, ranges=True, rounds=2):
    """Each pass by the driver, again and again without a reset; how many remote calls a list costs."""
    board, accelerator = _accelerator(address, config)
    found = board.moves_ranges
    board.moves_ranges = found and ranges
    results = [passes(accelerator, seed) for seed in range(rounds)]
    calls = []
    original = board.read, board.write
    board.read = lambda register: calls.append(register) or original[0](register)
    board.write = lambda register, value: calls.append(register) or original[1](register, value)
    passes(accelerator)
    counters = accelerator.counters() if rounds else {}
    accelerator.close()
    board.close()
    return {"results": results, "ranges": found, "accesses": len(calls), "macs": counters["MACS_8X8"]}


def parts(address, ranges):
    """Ranges of a buffer move without touching what lies beside them, here or there."""
    from joulebit_host.boards import open_board

    board = open_board(f"remote:{address}")
    board.moves_ranges = ranges
    part, messages = board.allocate(100), board.buffer_messages
    part.array[:] = 1
    part.flush()
    # The accelerator writes bytes 0..9; nobody has fetched them yet.
    name = part._buffer.buffer_id
    part._buffer.stub.write(iter([messages.BufferWriteRequest(buffer_id=name, data=b"\7" * 10, start=0, end=10)]))
    part.array[50:60] = 9
    part.flush(50, 60)
    part.array[20:30] = 3  # not flushed
    part.invalidate(40, 70)
    here = part.array.tolist()
    part.invalidate()
    there = part.array.tolist()
    outside = [descriptor(lambda: part.flush(90, 101)), descriptor(lambda: part.invalidate(-1, 5))]
    part.free()
    part.free()
    board.close()
    return {"here": here, "there": there, "outside": outside}


def gone(address, config):
    """Prints a line, then runs passes until the board is gone: the error."""
    from joulebit.spec.accelerator import Register

    board, accelerator = _accelerator(address, config)
    before = passes(accelerator)
    print(json.dumps({"ready": True}), flush=True)
    started = time.monotonic()
    try:
        while time.monotonic() < started + 60:
            assert passes(accelerator) == before
        error = "no error"
    except Exception as caught:
        error = f"{type(caught).__name__}: {caught}"
    after = descriptor(lambda: board.read(Register.ID))
    accelerator_close = descriptor(accelerator.close)
    board.close()
    return {
        "error": error,
        "after": after,
        "seconds": time.monotonic() - started,
        "results": before,
        "close": accelerator_close,
    }


def faults(address, config):
    """What the driver makes of refusals."""
    from joulebit_host.boards import open_board
    from joulebit_host.boards.base import Bitstream

    board = open_board(f"remote:{address}", config)
    answer = {
        "unloaded": descriptor(lambda: board.read(0)),
        "memory": descriptor(lambda: board.allocate(1 << 30)),
        "negative": descriptor(lambda: board.allocate(0)),
        "hash": descriptor(lambda: board.load(Bitstream("old", config, "0" * 64, "x.bit", "x.hwh"))),
        "nobody": descriptor(lambda: open_board("remote:127.0.0.1:1", config)),
        "temperature": board.temperature_c(),
    }
    board.load(
        Bitstream(config, config, __import__("joulebit.spec.accelerator").spec.accelerator.specification_hash())
    )
    answer["register"] = descriptor(lambda: board.read(0x200))
    board.close()
    board.close()
    return answer


def parsers(hwh):
    """What pynq's two parsers of .hwh make of a file: (addresses, fields, clocks)."""
    import importlib

    import pynq.pl_server.hwh_parser
    import pynq.ps
    from pynqmetadata.frontends import Metadata
    from pynqmetadata.views.runtime import RuntimeMetadataParser

    # The parser for partial bitstreams is chosen by the processor that it runs on: as on the board.
    pynq.ps.CPU_ARCH, pynq.ps.CPU_ARCH_IS_SUPPORTED = "armv7l", True
    hwh_parser = importlib.reload(pynq.pl_server.hwh_parser)
    with open(hwh) as stream:
        text = stream.read()
    answer = []
    for parser in (RuntimeMetadataParser(Metadata(input=hwh)), hwh_parser.HWH(hwh_data=text)):
        core = parser.ip_dict["accelerator"]
        registers = {name: [entry["address_offset"], entry["size"]] for name, entry in core["registers"].items()}
        clock = dict(parser.clock_dict.items())[0]
        answer.append(
            [core["phys_addr"], core["addr_range"], registers, core["parameters"]["SpecificationHash"], clock]
        )
    return answer


def descriptors():
    """The messages inside pynq's package: {package: {message: [[field, number, type, presence counts]]}}."""
    from pynq.remote import buffer_pb2, gpio_pb2, mmio_pb2, remote_device_pb2

    answer = {}
    for module in (remote_device_pb2, mmio_pb2, buffer_pb2, gpio_pb2):
        file = module.DESCRIPTOR
        answer[file.package] = {
            "messages": {
                name: sorted([f.name, f.number, f.type, f.has_presence] for f in message.fields)
                for name, message in file.message_types_by_name.items()
            },
            "methods": {
                f"{service.name}.{method.name}": [method.input_type.name, method.output_type.name]
                for service in file.services_by_name.values()
                for method in service.methods
            },
        }
    return answer


if __name__ == "__main__":
    what, where, arguments = sys.argv[1:]
    given = json.loads(arguments)
    without_board = what in ("parsers", "descriptors")
    print(json.dumps(globals()[what](**given) if without_board else globals()[what](where, **given)))
