"""The accelerator as the rest of the package sees it: load, check, run lists of passes, read results and counters.

    with Accelerator(open_board("virtual")) as accelerator:
        job = accelerator.job()
        z = job.forward(accelerator.upload(x), w, layer, shift=9)
        g = job.input_gradient(accelerator.upload(dz), w, layer, shift=12, x_unsigned=True)
        job.run()                        # one list, one start, a constant number of register accesses
        z.tensor(), z.peak, z.saturated, g.tensor()

Everything that differs between boards is in `Board` (`joulebit_host.boards.base`). numpy is all that is needed.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from joulebit.accelerator.packing import unpack_gradient, unpack_signs
from joulebit.accelerator.tiling import Addresses, Layer
from joulebit.spec import accelerator as spec
from joulebit.spec.accelerator import CONFIGS, ArrayConfig, Operation, Register, specification_hash
from joulebit.spec.descriptor import RESULT_DTYPE
from joulebit_host.boards.base import Bitstream, Board, BoardError, BoardMemoryError
from joulebit_host.driver.faults import IncompatibleError, ResultError, explain
from joulebit_host.driver.memory import Memory, Region
from joulebit_host.driver.packing import WeightPacker, tensor_bytes, tensor_view, weight_packer, write_tensor
from joulebit_host.driver.plans import PassKey, Template, template_of

__all__ = ["Accelerator", "DeviceTensor", "Job", "PassResult"]

_DONE, _ERROR = 2, 4
_MOST = 0xFFFF  #: descriptors in a list
_COUNTERS = tuple(register for register in Register if register >= Register.CYCLES_TOTAL)
_GAP_BYTES = spec.RESULT_BYTES  #: between the result blocks of two passes: shows where one ends


def patience_s(board: Board) -> float:
    """How long a list may take: a board computes 100,000 times as fast as its simulated gates."""
    return 3600.0 if "rtl" in board.name or board.name.startswith("remote") else 60.0


class DeviceTensor:
    """An NHWC tensor in board memory, channels padded with zeros to a multiple of 8.

    Attributes:
        shape: without the padding.
        dtype: uint8, int8 or int16.
    """

    def __init__(self, region: Region, shape: tuple[int, ...], dtype: Any, offset: int = 0) -> None:
        self.region = region
        self._offset = offset
        self.shape = shape
        self.dtype = np.dtype(dtype)

    @property
    def address(self) -> int:
        return self.region.address + self._offset

    def part(self, first: int, last: int) -> DeviceTensor:
        """Samples first..last-1: the same memory."""
        sample = tensor_bytes((1, *self.shape[1:]), self.dtype)
        return DeviceTensor(
            self.region, (last - first, *self.shape[1:]), self.dtype, self._offset + first * sample
        )

    @property
    def unsigned(self) -> bool:
        return bool(self.dtype.kind == "u")


class PassResult:
    """What one pass of a job gives, once the job has run.

    Attributes:
        blocks: its result blocks (RESULT_DTYPE), one per tile.
    """

    def __init__(
        self, template: Template, config: ArrayConfig, out: Region | None, shape: tuple[int, ...]
    ) -> None:
        self.template = template
        self.blocks = np.zeros(0, RESULT_DTYPE)
        self._config = config
        self._out = out
        self._shape = shape

    @property
    def peak(self) -> int:
        """max |sum| before the shift; of a selective weight gradient max |predicted sum|."""
        return int(self.blocks["peak"].max())

    @property
    def saturated(self) -> int:
        """Elements that were clamped."""
        return self.total("saturated")

    def total(self, name: str) -> int:
        """The sum of a field over all tiles."""
        return int(self.blocks[name].sum(dtype=np.uint64))

    @property
    def _data(self) -> NDArray[np.uint8]:
        if self._out is None:
            raise ValueError("a prediction stays on the chip: there is no tensor to read")
        return self._out.array

    def tensor(self) -> NDArray[Any]:
        """z or the gradient of x: int16 (raw: int64; relu: uint8) [N, H, W, C], a view of board memory.

        Copy it to let the memory go.
        """
        key = self.template.key
        dtype = np.int64 if key.raw else np.uint8 if key.relu else np.int16
        return tensor_view(self._data, self._shape, dtype)

    def gradient(self) -> NDArray[np.int64]:
        """The weight gradient, int64 [kernel_h, kernel_w, c_in, c_out]."""
        return unpack_gradient(self._data, self.template.plan.pieces, self._kernel_shape(), self._config)

    def signs(self) -> tuple[NDArray[np.int8], NDArray[np.bool_]]:
        """Of a selective weight gradient: directions -1, 0, 1, and which were predicted."""
        return unpack_signs(self._data, self.template.plan.pieces, self._kernel_shape(), self._config)

    def _kernel_shape(self) -> tuple[int, int, int, int]:
        a, b, c, d = self._shape
        return a, b, c, d


class Job:
    """Passes that run as one list. They must not read what others of the same job write.

    Operands may be shared: upload them once. A job runs once.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        self._entries: list[tuple[PassResult, Callable[[int], NDArray[Any]]]] = []
        self._keep: list[Any] = []  # operands, until the list has run

    def forward(
        self, x: DeviceTensor, w: NDArray[np.int8], layer: Layer, shift: int = 0, rounding: int = 0,
        raw: bool = False, relu: bool = False,
    ) -> PassResult:  # fmt: skip
        """z = SAT16(RND*(conv(x, w), shift)), or the raw sums. w: int8 [kernel_h, kernel_w, c_in, c_out]."""
        key = PassKey(layer, Operation.FORWARD, x.unsigned, rounding, raw=raw, relu=relu)
        shape = (layer.images, layer.out_h, layer.out_w, layer.c_out)
        return self._add(key, shape, x=x, w=w, shift=shift)

    def input_gradient(
        self, dz: DeviceTensor, w: NDArray[np.int8], layer: Layer, shift: int = 0, rounding: int = 0,
        raw: bool = False, mask: DeviceTensor | None = None, mask_below: int = 0,
        predict: DeviceTensor | None = None,
    ) -> PassResult:  # fmt: skip
        """The gradient of x: 16 bits, or raw sums. mask: x (uint8). predict: x, for the predictor beside it."""
        key = PassKey(
            layer, Operation.INPUT_GRADIENT, predict is not None and predict.unsigned, rounding, raw=raw,
            masked=mask is not None, mask_below=mask_below, predict=predict is not None,
        )  # fmt: skip
        shape = (layer.images, layer.height, layer.width, layer.c_in)
        return self._add(key, shape, x=predict, g=dz, w=w, mask=mask, shift=shift)

    def predict(self, x: DeviceTensor, dz: DeviceTensor, layer: Layer) -> PassResult:
        """The predictor alone; its sums stay on the chip for the next `weight_signs` of the same layer."""
        return self._add(PassKey(layer, Operation.PREDICT, x.unsigned), (), x=x, g=dz)

    def weight_gradient(self, x: DeviceTensor, dz: DeviceTensor, layer: Layer) -> PassResult:
        """Sum of x * dz: `PassResult.gradient`."""
        key = PassKey(layer, Operation.WEIGHT_GRADIENT, x.unsigned)
        return self._add(key, _kernel(layer), x=x, g=dz)

    def weight_signs(self, x: DeviceTensor, dz: DeviceTensor, layer: Layer, threshold_q12: int) -> PassResult:
        """Signs of the weight gradient, predicted where decided: `PassResult.signs`. Must follow a prediction."""
        key = PassKey(layer, Operation.WEIGHT_GRADIENT, x.unsigned, selective=True)
        return self._add(key, _kernel(layer), x=x, g=dz, threshold_q12=threshold_q12)

    def _add(
        self, key: PassKey, shape: tuple[int, ...], x: DeviceTensor | None = None, g: DeviceTensor | None = None,
        w: NDArray[np.int8] | None = None, mask: DeviceTensor | None = None, shift: int = 0,
        threshold_q12: int = 0,
    ) -> PassResult:  # fmt: skip
        accelerator = self._accelerator
        template = template_of(key, accelerator.config)
        packed = None if w is None else accelerator.packed_weights(w, template, x is not None and x.unsigned)
        out = accelerator.memory.allocate(template.plan.out_bytes) if template.plan.out_bytes else None
        result = PassResult(template, accelerator.config, out, shape)
        self._keep.append((x, g, mask, packed, out))

        def place(results: int) -> NDArray[Any]:
            addresses = Addresses(
                results, *(0 if part is None else part.address for part in (x, g, packed, mask, out))
            )
            return template.at(addresses, shift, threshold_q12)

        self._entries.append((result, place))
        return result

    def __len__(self) -> int:
        """Descriptors so far."""
        return sum(len(result.template) for result, _ in self._entries)

    def run(self) -> None:
        """Runs all passes; BoardError when something fails, then no result is valid."""
        entries, self._entries = self._entries, []
        if not entries:
            return
        accelerator = self._accelerator
        lists: list[list[tuple[PassResult, Callable[[int], NDArray[Any]]]]] = [[]]
        for entry in entries:
            if sum(len(result.template) for result, _ in (*lists[-1], entry)) > _MOST:
                lists.append([])
            lists[-1].append(entry)
        for part in lists:
            accelerator.submit(part)
        self._keep = []


def _kernel(layer: Layer) -> tuple[int, int, int, int]:
    return layer.kernel_h, layer.kernel_w, layer.c_in, layer.c_out


class Accelerator:
    """The accelerator on a board.

    Args:
        board: which.
        bitstream: what to load; by default the one of the board's configuration.
        timeout_s: how long a list may take.
        load: False: something is loaded already (it is checked all the same).
        memory_limit: bytes of board memory to use at most.

    Attributes:
        config: of what is loaded.
        clock_hz: of the fabric, as built.
        submissions: lists run.
    """

    def __init__(
        self,
        board: Board,
        bitstream: Bitstream | None = None,
        timeout_s: float | None = None,
        load: bool = True,
        memory_limit: int | None = None,
    ) -> None:
        self.board = board
        self.timeout_s = patience_s(board) if timeout_s is None else timeout_s
        self.submissions = 0
        self.memory = Memory(board, memory_limit)
        self._scratch: dict[str, Region] = {}
        self._packed: tuple[weakref.ref[Any], WeightPacker, bool, Region] | None = None  #: the last weights
        self._broken: str | None = None
        if load:
            wanted = bitstream or default_bitstream()
            if wanted.specification_hash != specification_hash():
                raise IncompatibleError(
                    f"bitstream {wanted.name} was built from specification {wanted.specification_hash[:8]}, this "
                    f"version of joulebit needs {specification_hash()[:8]}: {_BUILD}"
                )
            board.load(wanted)
        self.config, self.clock_hz = self._checked()
        if load and bitstream is not None and self.config.name != bitstream.config:
            raise IncompatibleError(
                f"bitstream {bitstream.name} should hold configuration {bitstream.config!r}, the fabric says "
                f"{self.config.name!r}: its manifest is wrong, or it was not loaded"
            )

    def __enter__(self) -> Accelerator:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Gives the board's memory back; the board itself stays open."""
        self._scratch = {}
        self._packed = None
        self.memory.close()

    def _checked(self) -> tuple[ArrayConfig, int]:
        """Whether what is loaded is ours; (configuration, clock)."""
        board = self.board
        found = board.read(Register.ID)
        if found != spec.ID_VALUE:
            raise IncompatibleError(
                f"board {board.name} answers 0x{found:08X} where the accelerator says "
                f"0x{spec.ID_VALUE:08X}: another bitstream is loaded; {_BUILD}"
            )
        version = board.read(Register.VERSION)
        if version >> 16 != spec.VERSION:
            raise IncompatibleError(
                f"the accelerator on board {board.name} has registers of version {version >> 16}, this driver "
                f"speaks version {spec.VERSION}: {_BUILD}"
            )
        loaded, wanted = board.read(Register.SPEC_HASH), int(specification_hash()[:8], 16)
        if loaded != wanted:
            raise IncompatibleError(
                f"the accelerator on board {board.name} was built from specification {loaded:08x}, this version "
                f"of joulebit needs {wanted:08x}: {_BUILD}"
            )
        names = list(CONFIGS)
        if version & 0xFFFF >= len(names):
            raise IncompatibleError(f"the accelerator has configuration number {version & 0xFFFF}: unknown here")
        config = CONFIGS[names[version & 0xFFFF]]
        caps = board.read(Register.CAPS)
        expected = config.out_lanes << 16 | config.in_lanes << 8 | config.columns
        if caps != expected:
            raise IncompatibleError(
                f"configuration {config.name!r} should have capabilities 0x{expected:X}, the accelerator says "
                f"0x{caps:X}: {_BUILD}"
            )
        return config, board.read(Register.CLOCK_HZ)

    # --- operands

    def upload(self, tensor: NDArray[Any]) -> DeviceTensor:
        """A tensor (uint8, int8 or int16, NHWC) in board memory."""
        region = self.memory.allocate(tensor_bytes(tensor.shape, tensor.dtype))
        write_tensor(region.array, tensor)
        region.flush()
        return DeviceTensor(region, tensor.shape, tensor.dtype)

    def packed_weights(self, w: NDArray[np.int8], template: Template, x_unsigned: bool) -> Region:
        """w, int8 [kernel_h, kernel_w, c_in, c_out], packed for a planned pass; w must not change afterwards."""
        packer = self._packer(w, template)
        known = self._packed
        if known is not None and known[0]() is w and known[1] is packer and known[2] == x_unsigned:
            return known[3]
        region = self.memory.allocate(packer.size)
        packer.pack(w, region.array, x_unsigned)
        region.flush()
        self._packed = (weakref.ref(w), packer, x_unsigned, region)
        return region

    def _packer(self, w: NDArray[np.int8], template: Template) -> WeightPacker:
        key, plan = template.key, template.plan
        a, b, c, d = w.shape
        return weight_packer(
            (a, b, c, d), self.config, key.operation, key.layer.stride, plan.lane_mode, plan.ranges
        )

    # --- lists

    def job(self) -> Job:
        """An empty list of passes."""
        return Job(self)

    def submit(self, entries: list[tuple[PassResult, Callable[[int], NDArray[Any]]]]) -> None:
        """Runs passes (made by a `Job`) as one list of at most 65535 descriptors; checks their result blocks."""
        if self._broken:
            raise BoardError(f"the accelerator was given up after an error ({self._broken}): open the board again")
        count = sum(len(result.template) for result, _ in entries)
        spans, size = [], 0
        for result, _ in entries:
            spans.append(slice(size, size + spec.RESULT_BYTES * len(result.template)))
            size = spans[-1].stop + _GAP_BYTES
        results = self._region("results", size)
        results.array[:size] = 0xFF
        parts = [place(results.address + span.start) for (_, place), span in zip(entries, spans)]
        listed = self._region("descriptors", spec.DESCRIPTOR_BYTES * count)
        place_at, target = 0, listed.array
        for part in parts:
            target[place_at : place_at + part.nbytes] = part.view(np.uint8)
            place_at += part.nbytes
        results.flush()
        listed.flush()
        try:
            self._run(listed.address, count, parts)
            results.invalidate()
            for (result, _), span in zip(entries, spans):
                result.blocks = results.array[span].copy().view(RESULT_DTYPE)
                _check_blocks(result)
                if result._out is not None:
                    result._out.invalidate()
        except BoardError as error:
            self._broken = str(error)
            raise
        self.submissions += 1

    def _run(self, address: int, count: int, parts: list[NDArray[Any]]) -> None:
        board = self.board
        board.write(Register.DESC_ADDRESS, address)
        board.write(Register.DESC_COUNT, count)
        board.write(Register.CTRL, 1)
        status = board.wait(_DONE | _ERROR, self.timeout_s)
        if status & _ERROR:
            bits, index = board.read(Register.ERROR), board.read(Register.ERROR_INDEX)
            descriptors = [descriptor for part in parts for descriptor in part]
            raise explain(bits, index, count, descriptors[index] if index < count else None)
        done = board.read(Register.DESC_DONE)
        if done != count:
            raise ResultError(
                f"the accelerator says that it is done after {done} of {count} descriptors: "
                "load the bitstream again"
            )

    def _region(self, name: str, size: int) -> Region:
        """A region that is kept from list to list."""
        region = self._scratch.get(name)
        if region is None or len(region) < size:
            self._scratch.pop(name, None)
            region = self._scratch[name] = self.memory.allocate(max(size, 4096))
        return region

    def info(self) -> dict[str, Any]:
        """What the accelerator says of itself, for people and JSON."""
        return {
            "board": self.board.name,
            "array_config": self.config.name,
            "out_lanes": self.config.out_lanes,
            "in_lanes": self.config.in_lanes,
            "columns": self.config.columns,
            "multipliers": self.config.multipliers,
            "clock_hz": self.clock_hz,
            "version": spec.VERSION,
            "specification_hash": specification_hash(),
            "memory_free_bytes": self._largest_buffer(),
            "temperature_c": self.board.temperature_c(),
            "counters": self.counters(),
        }

    def _largest_buffer(self) -> int:
        """Bytes (a power of two up to 512 MiB) that the board can give in one piece just now."""
        size = 1 << 29
        while size >= 1 << 12:
            try:
                self.board.allocate(size).free()
            except BoardMemoryError:
                size >>= 1
            else:
                return size
        return 0

    # --- counters

    def counters(self, clear: bool = False) -> dict[str, int]:
        """All counters since the bitstream was loaded (or the last clear), by register name, as of one moment."""
        self.board.write(Register.SNAPSHOT, int(clear))
        return {r.name: self.board.read(r) | self.board.read(r + 4) << 32 for r in _COUNTERS}


_BUILD = "load a bitstream of this version, or build one with `make -C hw vivado`"


def default_bitstream(config: str = "default") -> Bitstream:
    """The bitstream of a configuration, as this version needs it."""
    return Bitstream(f"joulebit-{config}", config, specification_hash())


def _check_blocks(result: PassResult) -> None:
    """ResultError where result blocks contradict one another or the plan."""
    blocks, template = result.blocks, result.template
    wrong = (
        (blocks["status"] != 1) | (blocks["error"] != 0) | (blocks["reserved0"] != 0) | (blocks["reserved1"] != 0)
    )
    wrong |= blocks["macs"] + blocks["macs_gated"] != template.macs
    wrong |= blocks["compute_cycles"] > blocks["cycles"]
    if wrong.any():
        index = int(np.flatnonzero(wrong)[0])
        block = blocks[index]
        fields = ", ".join(f"{name} {int(block[name])}" for name in ("status", "error", "macs", "macs_gated"))
        raise ResultError(
            f"result block {index} of a {template.key.operation.name.lower()} of {template.key.layer} is not what "
            f"its descriptor asks for ({fields}; {int(template.macs[index])} products expected): the board's "
            "memory was overwritten, or its caches were not invalidated"
        )
