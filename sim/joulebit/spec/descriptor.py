"""Descriptors and result blocks as numpy arrays, and the checks that the hardware makes before it loads a tile."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from joulebit.spec import accelerator as spec
from joulebit.spec.accelerator import ArrayConfig, ErrorBit, Flag, Operation

__all__ = ["DESCRIPTOR_DTYPE", "RESULT_DTYPE", "blank", "ceil_div", "errors", "flag", "seal", "total_blocks"]


def _dtype(table: tuple[spec.Field, ...], size: int) -> np.dtype[Any]:
    return np.dtype(
        {
            "names": [field.name for field in table],
            "formats": [f"<u{field.bits // 8}" for field in table],
            "offsets": [field.offset // 8 for field in table],
            "itemsize": size,
        }
    )


DESCRIPTOR_DTYPE = _dtype(spec.DESCRIPTOR, spec.DESCRIPTOR_BYTES)  #: one element is one descriptor
RESULT_DTYPE = _dtype(spec.RESULT, spec.RESULT_BYTES)  #: one element is one result block


def ceil_div(a: int, b: int) -> int:
    return -(-a // b)


def flag(*flags: Flag) -> int:
    """The mask with these bits set."""
    return sum(1 << bit for bit in flags)


def blank(count: int) -> NDArray[Any]:
    """`count` descriptors with magic and version; everything else 0."""
    descriptors = np.zeros(count, DESCRIPTOR_DTYPE)
    descriptors["magic"] = spec.MAGIC
    descriptors["version"] = spec.VERSION
    return descriptors


def seal(descriptors: NDArray[Any]) -> NDArray[Any]:
    """The same array with every `check` set to what the other words ask for."""
    words = descriptors.view("<u4").reshape(-1, spec.DESCRIPTOR_BYTES // 4)
    words[:, -1] = ~words[:, :-1].sum(axis=1, dtype=np.uint32)
    return descriptors


def total_blocks(operation: int, x_words: int, g_words: int, config: ArrayConfig) -> int:
    """Output blocks of a tile: of x's channels for the input gradient, else of dz's or z's."""
    channels = 8 * x_words if operation == Operation.INPUT_GRADIENT else 4 * g_words
    return ceil_div(channels, config.out_lanes)


def weight_bytes(
    operation: int, kernel: tuple[int, int], lane_mode: int, x_words: int, g_words: int, config: ArrayConfig
) -> int:
    """Length of one output block's packed weights: initial sums and groups."""
    fours = g_words if operation == Operation.INPUT_GRADIENT else 2 * x_words
    if lane_mode == 1:
        groups = ceil_div(fours, 3) * kernel[0] * kernel[1]
    else:
        groups = fours * kernel[0] * min(max(ceil_div(kernel[1], 3), 1), 3)  # of kernels 1..7
    return 8 * config.out_lanes + groups * 8 * ceil_div(config.multipliers, 8)


def bank_words(images: int, rows: int, columns: int, words: int) -> int:
    """Words that a tile needs in each bank of a feature buffer."""
    return images * ceil_div(rows, spec.BANK_ROWS) * ceil_div(columns, spec.BANK_COLUMNS) * words


def errors(descriptor: Any, config: ArrayConfig) -> int:
    """ErrorBit mask of one descriptor (an element of an array of DESCRIPTOR_DTYPE); 0 when it can run."""
    d = {name: int(descriptor[name]) for name in DESCRIPTOR_DTYPE.names or ()}
    words = np.frombuffer(descriptor.tobytes(), "<u4")
    operation, flags = d["operation"], d["flags"]
    forward, backward = operation == Operation.FORWARD, operation == Operation.INPUT_GRADIENT
    weights, predict = operation == Operation.WEIGHT_GRADIENT, operation == Operation.PREDICT
    on = {bit: bool(flags >> bit & 1) for bit in Flag}
    predicts = predict or (backward and on[Flag.PREDICT])
    loads_x, loads_g = not backward or on[Flag.PREDICT], not forward
    taps = d["kernel_h"] * d["kernel_w"]
    blocks = total_blocks(operation, d["x_words"], d["g_words"], config)
    predicted = total_blocks(Operation.PREDICT, d["x_words"], d["g_words"], config)
    whole = on[Flag.FIRST] and on[Flag.LAST]
    element = 8 if on[Flag.RAW] else 1 if on[Flag.RELU] else 2
    channels = 8 * d["x_words"] if backward else 4 * d["g_words"]
    pixels = (d["x_rows"] * d["x_columns"] if backward else ceil_div(d["g_rows"], 2) * d["g_columns"]) * d[
        "images"
    ]
    kernel = (d["kernel_h"], d["kernel_w"])
    stream = weight_bytes(operation, kernel, d["lane_mode"] & 1, d["x_words"], d["g_words"], config)
    addresses = ("x_address", "g_address", "w_address", "mask_address", "out_address", "result_address")
    strides = [name for name in d if name.endswith("_stride")]
    wrong = {
        ErrorBit.MAGIC: d["magic"] != spec.MAGIC,
        ErrorBit.VERSION: d["version"] != spec.VERSION,
        ErrorBit.CHECK: (int(words[:-1].sum(dtype=np.uint32)) ^ 0xFFFFFFFF) != d["check"],
        ErrorBit.OPERATION: operation > max(Operation),
        ErrorBit.FLAGS: bool(flags >> (max(Flag) + 1))
        or (on[Flag.RELU] and (not forward or on[Flag.RAW]))
        or ((on[Flag.MASK] or on[Flag.PREDICT]) and not backward)
        or ((on[Flag.PREDICT_FIRST] or on[Flag.PREDICT_LAST]) and not predicts)
        or (on[Flag.SELECTIVE] and not weights)
        or (on[Flag.SELECTIVE] and on[Flag.RAW])
        or (weights and on[Flag.LAST] and on[Flag.RAW] == on[Flag.SELECTIVE]),
        ErrorBit.ROUNDING: d["rounding"] > 4,
        ErrorBit.SHIFT: d["shift"] > 47,
        ErrorBit.IMAGES: d["images"] == 0,
        ErrorBit.X_SIZE: 0 in (d["x_rows"], d["x_columns"], d["x_words"])
        or (
            loads_x and bank_words(d["images"], d["x_rows"], d["x_columns"], d["x_words"]) > config.bank_depth // 2
        ),
        ErrorBit.G_SIZE: 0 in (d["g_rows"], d["g_columns"], d["g_words"])
        or (
            loads_g and bank_words(d["images"], d["g_rows"], d["g_columns"], d["g_words"]) > config.bank_depth // 2
        ),
        ErrorBit.KERNEL: not (1 <= d["kernel_h"] <= 7 and 1 <= d["kernel_w"] <= 7),
        ErrorBit.STRIDE: d["stride"] not in (1, 2),
        ErrorBit.PADDING: d["pad_top"] > 7 or d["pad_left"] > 7,
        ErrorBit.LANE_MODE: d["lane_mode"] > 1 or (backward and d["stride"] == 2 and d["lane_mode"] == 0),
        ErrorBit.BLOCKS: d["out_blocks"] == 0
        or d["out_block"] + d["out_blocks"] > blocks
        or ((forward or backward) and not whole and d["out_blocks"] != 1),
        ErrorBit.ALIGNMENT: any(d[name] % 8 for name in addresses),
        ErrorBit.STRIDES: any(d[name] % 8 for name in strides)
        or (on[Flag.LAST] and (forward or backward) and d["out_pixel_stride"] < channels * element)
        or (on[Flag.MASK] and d["out_pixel_stride"] % (64 if on[Flag.RAW] else 16) != 0),
        ErrorBit.PSUM_SIZE: ((forward or backward) and pixels > config.psum_depth // 2)
        or (weights and taps * d["x_words"] * d["out_blocks"] > config.psum_depth // 8),
        ErrorBit.PREDICTOR_SIZE: (predicts or on[Flag.SELECTIVE])
        and taps * d["x_words"] * predicted > config.predictor_depth // 8,
        ErrorBit.WEIGHT_BYTES: d["w_bytes"] != (d["out_blocks"] * stream if forward or backward else 0),
        ErrorBit.THRESHOLD: d["threshold_q12"] > 4096,
        ErrorBit.RESERVED: any(d[name] for name in d if name.startswith("reserved")),
    }
    return sum(1 << bit for bit, found in wrong.items() if found)
