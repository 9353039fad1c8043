"""Tiles for the tests of the shell: random descriptors, and what the stand-in core (jb_core.sv) makes of them."""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass

from joulebit.spec.accelerator import (
    CONFIGS,
    DESCRIPTOR,
    DESCRIPTOR_BYTES,
    MAGIC,
    RESULT,
    VERSION,
    ArrayConfig,
    Flag,
    Operation,
)

MASK64 = (1 << 64) - 1


def ceil(a: int, b: int) -> int:
    return -(-a // b)


def pack(fields: dict[str, int], keep_check: bool = False) -> bytes:
    """The descriptor in memory; `check` is computed unless it is to be kept."""
    value = 0
    for entry in DESCRIPTOR:
        value |= (fields.get(entry.name, 0) & ((1 << entry.bits) - 1)) << entry.offset
    raw = bytearray(value.to_bytes(DESCRIPTOR_BYTES, "little"))
    if not keep_check:
        total = sum(struct.unpack("<31I", raw[:124]))
        raw[124:] = struct.pack("<I", ~total & 0xFFFFFFFF)
    return bytes(raw)


def unpack_result(raw: bytes) -> dict[str, int]:
    value = int.from_bytes(raw, "little")
    return {entry.name: value >> entry.offset & ((1 << entry.bits) - 1) for entry in RESULT}


def flags_of(*flags: Flag) -> int:
    return sum(1 << flag for flag in flags)


class Space:
    """Hands out addresses, each object with a gap around it."""

    def __init__(self, base: int, size: int, rng: random.Random):
        self.next, self.end, self.rng = base, base + size, rng

    def take(self, size: int) -> int:
        address = self.next + 8 * self.rng.randint(1, 40)
        self.next = address + ceil(size, 8) * 8
        assert self.next < self.end, "the test's memory is too small"
        return address


@dataclass
class Tensor:
    """Where pixels of a tensor lie: the address of the tile's first, and strides in bytes."""

    address: int
    image_stride: int
    row_stride: int
    pixel_stride: int


def place(space: Space, images: int, rows: int, columns: int, pixel: int) -> Tensor:
    """Room for a tensor of which the tile is a part: pixels, rows and images may lie apart."""
    rng = space.rng
    pixel_stride = 8 * (ceil(pixel, 8) + rng.choice((0, 0, 1, 3)))
    row_stride = columns * pixel_stride + 8 * rng.choice((0, 0, 1, 5))
    image_stride = rows * row_stride + 8 * rng.choice((0, 2))
    return Tensor(space.take(images * image_stride + 64), image_stride, row_stride, pixel_stride)


def expected_weight_bytes(config: ArrayConfig, d: dict[str, int]) -> int:
    forward = d["operation"] == Operation.FORWARD
    if d["operation"] not in (Operation.FORWARD, Operation.INPUT_GRADIENT):
        return 0
    summed = 8 * d["x_words"] if forward else 4 * d["g_words"]
    if d["lane_mode"]:
        groups = ceil(summed, 12) * d["kernel_h"] * d["kernel_w"]
    else:
        groups = ceil(summed, 4) * d["kernel_h"] * ceil(d["kernel_w"], 3)
    group = ceil(config.out_lanes * config.in_lanes * config.columns, 8) * 8
    return d["out_blocks"] * (8 * config.out_lanes + groups * group)


def fits(config: ArrayConfig, d: dict[str, int]) -> bool:
    """Whether a tile fits the configuration's memories."""
    operation = d["operation"]
    predicts = operation == Operation.PREDICT or bool(d["flags"] >> Flag.PREDICT & 1)
    x_words = d["images"] * ceil(d["x_rows"], 4) * ceil(d["x_columns"], 4) * d["x_words"]
    g_words = d["images"] * ceil(d["g_rows"], 4) * ceil(d["g_columns"], 4) * d["g_words"]
    if (operation != Operation.INPUT_GRADIENT or predicts) and x_words > config.bank_depth // 2:
        return False
    if operation != Operation.FORWARD and g_words > config.bank_depth // 2:
        return False
    elements = d["x_words"] * 8 * d["kernel_h"] * d["kernel_w"]
    if (
        operation == Operation.FORWARD
        and d["images"] * ceil(d["g_rows"], 2) * d["g_columns"] > config.psum_depth // 2
    ):
        return False
    if (
        operation == Operation.INPUT_GRADIENT
        and d["images"] * d["x_rows"] * d["x_columns"] > config.psum_depth // 2
    ):
        return False
    if operation == Operation.WEIGHT_GRADIENT and d["out_blocks"] * elements > config.psum_depth:
        return False
    needs = predicts or d["flags"] >> Flag.SELECTIVE & 1
    return not (needs and elements * ceil(4 * d["g_words"], config.out_lanes) > config.predictor_depth)


def random_tile(config: ArrayConfig, space: Space, operation: Operation | None = None) -> dict[str, int]:
    """A legal descriptor at random."""
    rng = space.rng
    while True:
        op = Operation(rng.randrange(4)) if operation is None else operation
        d: dict[str, int] = {"magic": MAGIC, "version": VERSION, "operation": op}
        d["rounding"], d["shift"], d["images"] = rng.randrange(5), rng.randrange(48), rng.choice((1, 1, 2, 3))
        for side in "xg":
            d[f"{side}_rows"], d[f"{side}_columns"] = rng.randint(1, 9), rng.randint(1, 9)
        d["x_words"], d["g_words"] = rng.randint(1, 4), rng.randint(1, 5)
        d["kernel_h"], d["kernel_w"] = rng.choice((1, 1, 2, 3, 5)), rng.choice((1, 1, 2, 3, 5, 7))
        d["stride"], d["pad_top"], d["pad_left"] = rng.randint(1, 2), rng.randrange(4), rng.randrange(4)
        d["lane_mode"] = 1 if op == Operation.INPUT_GRADIENT and d["stride"] == 2 else rng.randrange(2)
        d["mask_below"], d["threshold_q12"] = rng.randrange(256), rng.randrange(4097)
        flags = {Flag.X_UNSIGNED: rng.randrange(2), Flag.FIRST: rng.randrange(2), Flag.LAST: rng.random() < 0.8}
        if op == Operation.FORWARD:
            flags[rng.choice((Flag.RAW, Flag.RELU, Flag.FIRST))] = 1
        elif op == Operation.INPUT_GRADIENT:
            flags |= {
                Flag.RAW: rng.random() < 0.3,
                Flag.MASK: rng.random() < 0.6,
                Flag.PREDICT: rng.random() < 0.4,
            }
            if flags[Flag.PREDICT]:
                flags[Flag.PREDICT_FIRST] = rng.randrange(2)
        elif op == Operation.WEIGHT_GRADIENT:
            flags[rng.choice((Flag.RAW, Flag.SELECTIVE))] = 1
        else:
            flags[Flag.PREDICT_LAST] = rng.randrange(2)
        d["flags"] = flags_of(*(flag for flag, on in flags.items() if on))
        channels = 8 * d["x_words"] if op == Operation.INPUT_GRADIENT else 4 * d["g_words"]
        blocks = ceil(channels, config.out_lanes)
        d["out_block"] = rng.randrange(blocks)
        partial = op <= Operation.INPUT_GRADIENT and not (flags[Flag.FIRST] and flags[Flag.LAST])
        d["out_blocks"] = 1 if partial else rng.randint(1, blocks - d["out_block"])
        if fits(config, d):
            break
    place_tile(config, space, d)
    return d


def place_tile(config: ArrayConfig, space: Space, d: dict[str, int]) -> None:
    """Gives every tensor of a tile its own place."""
    op = d["operation"]
    for side, bytes_ in (("x", 8), ("g", 8)):
        t = place(space, d["images"], d[f"{side}_rows"], d[f"{side}_columns"], bytes_ * d[f"{side}_words"])
        whole = t.pixel_stride == bytes_ * d[f"{side}_words"] and space.rng.randrange(2)
        d[f"{side}_address"], d[f"{side}_row_stride"] = t.address, t.row_stride
        d[f"{side}_image_stride"], d[f"{side}_pixel_stride"] = t.image_stride, 0 if whole else t.pixel_stride
    d["w_bytes"] = expected_weight_bytes(config, d)
    d["w_address"] = space.take(d["w_bytes"] or 8)
    size = element_bytes(d)
    if op == Operation.WEIGHT_GRADIENT:
        out = Tensor(space.take(size * len_of_weight_gradient(config, d)), 0, 0, 0)
        mask = Tensor(space.take(8), 0, 0, 0)
    else:
        side = "x" if op == Operation.INPUT_GRADIENT else "g"
        channels = 8 * d["x_words"] if op == Operation.INPUT_GRADIENT else 4 * d["g_words"]
        rows, columns = d[f"{side}_rows"], d[f"{side}_columns"]
        out = place(space, d["images"], rows, columns, size * channels)
        if d["flags"] >> Flag.MASK & 1:  # whole beats of masks
            out.pixel_stride = ceil(out.pixel_stride, 8 * size) * 8 * size
            out.row_stride, out.image_stride = columns * out.pixel_stride, rows * columns * out.pixel_stride
            space.next += d["images"] * out.image_stride
        mask_pixel = out.pixel_stride // size
        mask = Tensor(0, rows * columns * mask_pixel + 16, columns * mask_pixel + 8, 0)
        mask.row_stride, mask.image_stride = ceil(mask.row_stride, 8) * 8, ceil(rows * mask.row_stride, 8) * 8 * 2
        mask.address = space.take(d["images"] * mask.image_stride)
    d |= {"out_address": out.address, "out_row_stride": out.row_stride, "out_image_stride": out.image_stride}
    d |= {"out_pixel_stride": out.pixel_stride, "mask_address": mask.address, "mask_row_stride": mask.row_stride}
    d |= {"mask_image_stride": mask.image_stride, "result_address": space.take(64)}


def element_bytes(d: dict[str, int]) -> int:
    if d["operation"] == Operation.WEIGHT_GRADIENT:
        return 1 if d["flags"] >> Flag.SELECTIVE & 1 else 8
    return 8 if d["flags"] >> Flag.RAW & 1 else 1 if d["flags"] >> Flag.RELU & 1 else 2


def len_of_weight_gradient(config: ArrayConfig, d: dict[str, int]) -> int:
    return d["out_blocks"] * d["x_words"] * d["kernel_h"] * d["kernel_w"] * 8 * config.out_lanes


def words_of(memory, d: dict[str, int], side: str) -> list[int]:
    """The tile's words of x or dz in the order image, row, column, word."""
    pixel = d[f"{side}_pixel_stride"] or 8 * d[f"{side}_words"]
    words = []
    for image in range(d["images"]):
        for row in range(d[f"{side}_rows"]):
            for column in range(d[f"{side}_columns"]):
                for word in range(d[f"{side}_words"]):
                    address = (
                        d[f"{side}_address"] + image * d[f"{side}_image_stride"] + row * d[f"{side}_row_stride"]
                    )
                    words.append(int.from_bytes(memory.read(address + column * pixel + 8 * word, 8), "little"))
    return words


def expect(config: ArrayConfig, memory, d: dict[str, int]) -> tuple[list[tuple[int, bytes]], dict[str, int]]:
    """What the tile writes with the stand-in core, as (address, bytes), and its result block without cycles."""
    op, flags = d["operation"], d["flags"]
    last = bool(flags >> Flag.LAST & 1)
    loads_x = op != Operation.INPUT_GRADIENT or flags >> Flag.PREDICT & 1
    x = words_of(memory, d, "x") if loads_x else []
    g = words_of(memory, d, "g") if op != Operation.FORWARD else []
    weights = 0
    for word in struct.unpack(f"<{d['w_bytes'] // 8}Q", memory.read(d["w_address"], d["w_bytes"])):
        weights = ((weights << 1 | weights >> 63) & MASK64) ^ word
    state = {"k": 0}

    def beat(mask: int = 0) -> int:
        k = state["k"]
        state["k"] += 1
        return (x[k % len(x)] if x else 0) ^ (g[k % len(g)] if g else 0) ^ mask ^ weights ^ k

    writes: list[tuple[int, bytes]] = []
    size = element_bytes(d)
    if last and op == Operation.WEIGHT_GRADIENT:
        beats = len_of_weight_gradient(config, d) * size // 8
        writes.append((d["out_address"], b"".join(beat().to_bytes(8, "little") for _ in range(beats))))
    elif last and op != Operation.PREDICT:
        side = "x" if op == Operation.INPUT_GRADIENT else "g"
        channels = 8 * d["x_words"] if op == Operation.INPUT_GRADIENT else 4 * d["g_words"]
        masked = flags >> Flag.MASK & 1
        for block in range(d["out_block"], d["out_block"] + d["out_blocks"]):
            first = block * config.out_lanes
            count = min(config.out_lanes, channels - first)
            for image in range(d["images"]):
                for row in range(d[f"{side}_rows"]):
                    for column in range(d[f"{side}_columns"]):
                        address = d["out_address"] + image * d["out_image_stride"] + row * d["out_row_stride"]
                        address += column * d["out_pixel_stride"] + first * size
                        mask_address = (
                            d["mask_address"] + image * d["mask_image_stride"] + row * d["mask_row_stride"]
                        )
                        mask_address += column * (d["out_pixel_stride"] // size) + first
                        payload, mask = b"", 0
                        for k in range(ceil(count * size, 8)):
                            if masked and k % size == 0:
                                part = min(8, count - k // size * 8)
                                mask = int.from_bytes(memory.read(mask_address + k // size * 8, part), "little")
                            payload += beat(mask).to_bytes(8, "little")
                        writes.append((address, payload[: count * size]))
    k = state["k"]
    result = {
        "status": 1,
        "error": 0,
        "peak": weights,
        "saturated": len(x),
        "decided": len(g),
        "undecided": d["w_bytes"] // 8,
    }
    result |= {"compute_cycles": k, "stall_cycles": 7, "macs": (1 << 32) + k, "macs_gated": (2 << 32) + k}
    return writes, result


CONFIG_NUMBERS = dict(enumerate(CONFIGS.values()))
