"""How many cycles a list of tiles takes, derived from the structure of the RTL; nothing is simulated.

`compute_cycles` is exact: the cycles in which the array takes operands. `estimate` adds what lies between them, by
the rules of `jb_sequencer` (when a step may start), `jb_array_weights` (when a group is there), `jb_output` (how
long a block takes to leave) and `jb_tile_queue` (one tile is loaded while the one before is computed). Its
constants stand for the lengths of those modules' pipelines; they were set with the Verilated counters of
the layers of ResNet-20 in view, not each traced in the RTL. The memory's latency is what a caller may choose.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from joulebit.accelerator.slots import plain_passes
from joulebit.spec.accelerator import BURST_BEATS, ArrayConfig, Flag, Operation
from joulebit.spec.candidates import CLASS_MULTIPLIERS
from joulebit.spec.descriptor import ceil_div

__all__ = ["Estimate", "TileCycles", "compute_cycles", "estimate", "list_cycles"]

SETUP = 22  #: jb_sequencer: from taking a tile to its first step
STEP_SPACE = 9  #: shortest distance of two steps of a convolution: sums must be back
WEIGHTS_TAKEN = 13  #: from a step's start until the next group of weights may come
BLOCK_WEIGHTS_TAKEN = 20  #: likewise after a block's last group, when initial sums follow
BLOCK_END = 30  #: from a block's last operands to the next block's first step, or to the next tile
PASS_GAP = 6  #: weight gradient: from a pass's last operands to the next pass
PASS_END = 12  #: beside a cycle per multiplier of a class: from its operands until all is added
FIRST_PASS = 30  #: jb_scheduler, beside the window's reads and a pass's steps: until a tile's first pass is there
PREDICT_LATENCY = 22  #: jb_predictor: from a tile's start to the first product, and the last drain
SEGMENT = 32  #: cycles, two pixels of dz each, after which jb_predictor_sequencer drains the sums
SEGMENT_SPACE = 14  #: shortest distance of the ends of two segments
SEGMENT_DRAIN = 18  #: cycles of a drain: as long as that takes each of several that are shorter
OUTPUT_END = 18  #: jb_output: from a block's last result to the next block
TILE_END = 27  #: jb_output: from a tile's last result until it is reported, beside the memory's latency
FINISH = 60  #: from the last result to the result block in memory, beside the memory's latency
FETCH = 120  #: descriptor fetch and check of a list's first tile, beside the memory's latency
WEIGHTS_AHEAD = 512  #: beats of weights that jb_dma_stream asks for ahead, on the port of dz
OUTSTANDING = 8  #: bursts that jb_axi_read_port and jb_axi_write_port have under way
ROUND_TRIP = 4  #: cycles of a burst that is read, beside the memory's latency
WRITE_ROUND_TRIP = 6  #: and of one that is written
LOAD = 8  #: jb_tile_queue and jb_loader: around a load, beside the memory's latency


@dataclass(frozen=True)
class TileCycles:
    """Cycles of one tile.

    Attributes:
        compute: in which the array takes operands.
        busy: from taking the tile to taking the next, if nothing has to be waited for; 0 for a weight gradient,
            which depends on the tile before.
        load: until its features are in the buffers.
        output: of the output path, after `busy` (a block is written while the next is computed).
        first: of a convolution, from taking the tile until its first block is complete.
    """

    compute: int
    busy: int
    load: int
    output: int
    first: int = 0


@dataclass(frozen=True)
class Estimate:
    """Cycles of a list: `total` as the counter CYCLES_TOTAL, `compute` as CYCLES_COMPUTE, and each tile's."""

    total: int
    compute: int
    tiles: tuple[TileCycles, ...]

    @property
    def utilisation(self) -> float:
        """Share of the cycles in which the array takes operands."""
        return self.compute / self.total


def _fields(descriptor: Any) -> dict[str, int]:
    return {name: int(descriptor[name]) for name in descriptor.dtype.names}


def _on(d: dict[str, int], bit: Flag) -> bool:
    return bool(d["flags"] >> bit & 1)


def _steps(d: dict[str, int]) -> list[int]:
    """Operands (cycles) of each step of one output block: a group of weights over all pixels that it reaches."""
    fours = d["g_words"] if d["operation"] == Operation.INPUT_GRADIENT else 2 * d["x_words"]
    height, width = d["kernel_h"], d["kernel_w"]
    if d["operation"] == Operation.FORWARD:
        pixels = d["images"] * ceil_div(d["g_rows"], 2) * d["g_columns"]
    else:
        pixels = d["images"] * d["x_rows"] * d["x_columns"]
    if d["lane_mode"] == 0:
        return [pixels] * (fours * height * ceil_div(width, 3))
    groups = ceil_div(fours, 3)
    if d["operation"] == Operation.FORWARD or d["stride"] == 1:
        return [pixels] * (groups * height * width)
    steps = []
    for a in (0, 1):
        for b in (0, 1):
            rows = len(range((a + d["pad_top"]) % 2, d["x_rows"], 2))
            columns = len(range((b + d["pad_left"]) % 2, d["x_columns"], 2))
            taps = len(range(a, height, 2)) * len(range(b, width, 2))
            # A parity without taps is one step of zeros.
            steps += [d["images"] * rows * columns] * (groups * taps if taps else 1)
    return steps


def _passes(d: dict[str, int], config: ArrayConfig, passes: NDArray[np.int64] | None) -> list[int]:
    """Passes of each window, in order."""
    blocks = slice(d["out_block"], d["out_block"] + d["out_blocks"])
    if passes is None:
        passes = _plain_passes(d["kernel_h"], d["kernel_w"], d["x_words"], 4 * d["g_words"], config.out_lanes)
    return [int(count) for count in passes[blocks].reshape(-1)]


_plain_passes = lru_cache(maxsize=256)(plain_passes)


def compute_cycles(descriptor: Any, config: ArrayConfig, passes: NDArray[np.int64] | None = None) -> int:
    """Cycles in which the array takes operands for this tile: exactly the result block's `compute_cycles`.

    passes: for a SELECTIVE tile, those of `joulebit.accelerator.slots.layer_passes` for the whole layer.
    """
    d = _fields(descriptor)
    if d["operation"] in (Operation.FORWARD, Operation.INPUT_GRADIENT):
        return d["out_blocks"] * sum(_steps(d))
    if d["operation"] == Operation.WEIGHT_GRADIENT:
        return sum(_passes(d, config, passes)) * d["images"] * d["g_rows"] * d["g_columns"]
    return 0


def _results(d: dict[str, int], config: ArrayConfig, latency: int) -> list[int]:
    """Cycles in which each block of the tile leaves: 4 results a cycle, or one of 64 bits; slower where its bursts
    are too short to hide the memory's latency.
    """
    if not _on(d, Flag.LAST):
        return []
    lanes = config.out_lanes
    raw = _on(d, Flag.RAW)
    if d["operation"] == Operation.WEIGHT_GRADIENT:
        block = d["x_words"] * d["kernel_h"] * d["kernel_w"] * 8 * lanes
        return [block if raw else block // 4] * d["out_blocks"]
    forward = d["operation"] == Operation.FORWARD
    channels = 4 * d["g_words"] if forward else 8 * d["x_words"]
    rows, columns = (d["g_rows"], d["g_columns"]) if forward else (d["x_rows"], d["x_columns"])
    pixels = d["images"] * rows * columns
    here = [min(lanes, channels - lanes * (d["out_block"] + block)) for block in range(d["out_blocks"])]
    element = 8 if raw else 1 if _on(d, Flag.RELU) else 2
    cycles = []
    for count in here:
        beats = ceil_div(count * element, 8)
        whole = count == channels and count * element == d["out_pixel_stride"] and count * element % 8 == 0
        bursts = pixels // columns * ceil_div(columns * beats, BURST_BEATS) if whole else pixels
        emitted = pixels * (count if raw else count // 4)
        cycles.append(max(emitted, bursts * (latency + WRITE_ROUND_TRIP) // OUTSTANDING))
    return cycles


def _convolution(d: dict[str, int], config: ArrayConfig, latency: int, path: int = 0) -> tuple[int, int, int]:
    """(cycles until the next tile may come, of output after that, until the first block is complete).

    path: cycles until the output path has reported the tile before, whose last block lies in the other half.
    """
    lanes = config.out_lanes
    beats = ceil_div(config.multipliers, 8)
    steps, results = _steps(d), _results(d, config, latency)
    start = max(SETUP, 2 + lanes + beats)
    path_free = path  # when the output path takes a job
    half_free = [0, path - TILE_END - latency]  # when the sums of a half may be overwritten
    first = 0
    for block in range(d["out_blocks"]):
        start = max(start, half_free[block % 2])
        for index, pixels in enumerate(steps):
            last = index == len(steps) - 1
            taken = BLOCK_WEIGHTS_TAKEN + lanes if last else WEIGHTS_TAKEN
            staged = start + taken + beats
            end = start + pixels
            start = max(end, start + STEP_SPACE, staged) if not last else max(end + BLOCK_END, staged)
        end += BLOCK_END - 2
        first = first or end
        if results:
            job = max(end, path_free)
            start = max(start, job + 2)
            path_free = job + results[block] + OUTPUT_END
            half_free[block % 2] = path_free
            end = job
    # A tile ends by a job in any case.
    end = max(end, path)
    return end + 2, max(0, path_free - end - 2), first


@dataclass(frozen=True)
class _Leaving:
    """A weight gradient in both halves of the sums, on its way out: the next may overwrite what has left."""

    start: int  #: when the first result left
    cycles: int  #: for a tap: 8 x out_lanes results
    end: int
    descriptor: dict[str, int]

    def past(self, taps: int) -> int:
        """When this many taps have left; a tile that has more of them than this one waits for no others."""
        return min(self.start + taps * self.cycles, self.end)

    def admits(self, d: dict[str, int]) -> bool:
        """Whether a tile may begin before all has left (jb_sequencer, after_weights_q)."""
        old = self.descriptor
        if d["operation"] != Operation.WEIGHT_GRADIENT or not _on(d, Flag.FIRST):
            return False
        same = all(d[name] == old[name] for name in ("x_words", "kernel_h", "kernel_w"))
        return not _on(old, Flag.SELECTIVE) or (same and d["out_block"] == old["out_block"] + old["out_blocks"])


class _Gradients:
    """Weight gradients one after another: where their sums lie, and what is on its way out."""

    def __init__(self, config: ArrayConfig) -> None:
        self.config = config
        self.leaving: _Leaving | None = None
        self._half = 0
        self._free = [0, 0]  # when the sums of a half may be overwritten

    def run(self, d: dict[str, int], passes: NDArray[np.int64] | None, taken: int, path: int) -> tuple[int, int]:
        """(when the next tile may come, when the tile's last result has left or 0) of a tile taken at `taken`.

        path: when the output path is free.
        """
        pixels = d["images"] * d["g_rows"] * d["g_columns"]
        lanes = self.config.out_lanes
        taps = d["kernel_h"] * d["kernel_w"]
        both = d["out_blocks"] > 1 or _on(d, Flag.SELECTIVE) or 16 * d["x_words"] * taps > self.config.psum_depth
        windows = ceil_div(d["kernel_h"], 3) * ceil_div(d["kernel_w"], 3)
        reads = 8 * min(3, d["kernel_h"]) * min(3, d["kernel_w"])
        drain = CLASS_MULTIPLIERS + PASS_END
        interval = max(pixels + PASS_GAP, drain + 1)
        time = taken + SETUP + FIRST_PASS + reads + CLASS_MULTIPLIERS
        if not both:
            time = max(time, self._free[self._half])
        elif not self.leaving:
            time = max(time, *self._free)
        for index, count in enumerate(_passes(d, self.config, passes)):
            if both and self.leaving and count:
                time = max(time, self.leaving.past((index // windows + 1) * taps))
            time += max(count * interval, reads + 4)  # the next window is read while this one is worked on
        time += max(0, drain + 6 - PASS_GAP)
        self.leaving = None
        if not _on(d, Flag.LAST):
            return time, 0
        start = max(time, path)
        end = start + sum(_results(d, self.config, 0)) + OUTPUT_END
        if both:
            self._free = [end, end]
            self.leaving = _Leaving(start, 8 * lanes // (1 if _on(d, Flag.RAW) else 4), end, d)
        else:
            self._free[self._half] = end
            self._half ^= 1
        return start + 1, end


def _predictor(d: dict[str, int], config: ArrayConfig) -> int:
    """Cycles of the predictor: two rows of dz, three taps, 4 channels of dz and out_lanes / 2 of x per cycle."""
    parts = 16 // config.out_lanes
    passes = d["g_words"] * d["x_words"] * d["kernel_h"] * ceil_div(d["kernel_w"], 3) * parts
    whole, rest = divmod(d["images"] * ceil_div(d["g_rows"], 2) * d["g_columns"], SEGMENT)
    shortest = SEGMENT_SPACE if whole else SEGMENT_DRAIN
    return SETUP + PREDICT_LATENCY + passes * (whole * SEGMENT + (max(rest, shortest) if rest else 0))


def _load(d: dict[str, int], side: str, latency: int) -> int:
    """Cycles in which the beats of x or dz arrive: one a cycle, if bursts are long enough to hide the latency."""
    words = d[f"{side}_words"]
    chunks = d["images"] * d[f"{side}_rows"]
    beats = d[f"{side}_columns"] * words
    if d[f"{side}_pixel_stride"]:
        chunks, beats = chunks * d[f"{side}_columns"], words
    bursts = chunks * ceil_div(beats, BURST_BEATS)
    return max(chunks * beats, bursts * (latency + ROUND_TRIP) // OUTSTANDING)


def _tile(d: dict[str, int], config: ArrayConfig, passes: NDArray[np.int64] | None, latency: int) -> TileCycles:
    operation = d["operation"]
    predicts = operation == Operation.PREDICT or _on(d, Flag.PREDICT)
    x, g = _load(d, "x", latency), _load(d, "g", latency)
    if operation == Operation.INPUT_GRADIENT and not predicts:
        x = 0
    if operation == Operation.FORWARD:
        g = 0
    elif operation == Operation.INPUT_GRADIENT:
        g += min(d["w_bytes"] // 8, WEIGHTS_AHEAD)
    output, compute, busy, first = 0, 0, SETUP, 0
    if operation in (Operation.FORWARD, Operation.INPUT_GRADIENT):
        busy, output, first = _convolution(d, config, latency)
        compute = d["out_blocks"] * sum(_steps(d))
    elif operation == Operation.WEIGHT_GRADIENT:
        busy = 0
        compute = sum(_passes(d, config, passes)) * d["images"] * d["g_rows"] * d["g_columns"]
    if predicts:
        busy = max(busy, _predictor(d, config))
    return TileCycles(compute, busy, max(x, g) + LOAD + latency, output, first)


def estimate(
    descriptors: NDArray[Any],
    config: ArrayConfig,
    passes: Sequence[NDArray[np.int64] | None] | None = None,
    latency: int = 20,
) -> Estimate:
    """Cycles of a list from its start to its last result block.

    Args:
        descriptors: of DESCRIPTOR_DTYPE.
        config: the accelerator's.
        passes: per descriptor, for SELECTIVE tiles (see `compute_cycles`).
        latency: of the memory, in cycles.
    """
    known: dict[tuple[int, ...], dict[str, int]] = {}
    fields = []
    for descriptor in descriptors:
        d = _fields(descriptor)
        key = tuple(value for name, value in d.items() if "address" not in name and name != "check")
        fields.append(known.setdefault(key, d))
    return list_cycles(fields, config, passes, latency)


def list_cycles(
    fields: Sequence[dict[str, int]],
    config: ArrayConfig,
    passes: Sequence[NDArray[np.int64] | None] | None = None,
    latency: int = 20,
) -> Estimate:
    """`estimate` of descriptors as dictionaries of their fields; one dictionary may stand for equal tiles."""
    known: dict[tuple[int, bytes], TileCycles] = {}
    tiles = []
    for index, d in enumerate(fields):
        given = passes[index] if passes is not None else None
        key = (id(d), b"" if given is None else given.tobytes())
        if key not in known:
            known[key] = _tile(d, config, given, latency)
        tiles.append(known[key])
    loaded = FETCH + latency + tiles[0].load
    taken = free = path = 0
    released = [0, 0]
    gradients = _Gradients(config)
    for index, (d, tile) in enumerate(zip(fields, tiles)):
        if index:
            loaded = max(taken + LOAD, released[index % 2]) + tile.load
        if gradients.leaving and not gradients.leaving.admits(d):
            free, gradients.leaving = max(free, gradients.leaving.end), None
        taken = max(loaded, free)
        if d["operation"] == Operation.WEIGHT_GRADIENT:
            given = passes[index] if passes is not None else None
            free, end = gradients.run(d, given, taken, path)
            path = end + TILE_END + latency if end else path
        else:
            busy, output = tile.busy, tile.output
            if tile.first and path - taken > tile.first:  # a tile that is faster than the one before is written
                busy, output, _ = _convolution(d, config, latency, path - taken)
            free = max(taken + max(busy, tile.busy), path)
            path = free + output + TILE_END + latency
        released[index % 2] = free
    total = max(free, path) + FINISH - TILE_END
    return Estimate(total, sum(tile.compute for tile in tiles), tuple(tiles))
