"""What the random cases of `test_200_random_shapes` reach: pass x kernel x stride x tile edge x stall.

The bins are taken from the descriptors and from the memory's settings, so that this needs no simulation: a case
that runs there is a case that is counted here.
"""

from collections import Counter

import numpy as np
import pytest
from accelerator_bench import prepared
from test_convolutions import STALLS, random_case

from joulebit.accelerator.functional import Functional
from joulebit.errors import JoulebitError
from joulebit.spec.accelerator import CONFIGS, Flag, Operation


def kernel_class(d):
    size = max(d["kernel_h"], d["kernel_w"])
    return "1x1" if size == 1 else "up to 3" if size <= 3 else "up to 6" if size <= 6 else "7"


def edges(d, config):
    """Which borders of a tile are special."""
    if d["pad_top"] or d["pad_left"]:
        yield "padded above or left"
    last_row = (int(d["g_rows"]) - 1) * int(d["stride"]) + int(d["kernel_h"]) - int(d["pad_top"])
    last_column = (int(d["g_columns"]) - 1) * int(d["stride"]) + int(d["kernel_w"]) - int(d["pad_left"])
    if last_row > d["x_rows"] or last_column > d["x_columns"]:
        yield "padded below or right"
    if d["g_rows"] % 2:
        yield "odd rows"
    if d["g_rows"] == 1 or d["g_columns"] == 1:
        yield "one row or column"
    if 4 * int(d["g_words"]) % config.out_lanes:
        yield "block with lanes to spare"
    if d["x_words"] % 3:
        yield "words no multiple of three"


def bins(config_name):
    """Counter of (pass, what, value)."""
    found = Counter()
    device = Functional(CONFIGS[config_name], np.zeros(1 << 20, np.uint8), 0x100000)
    for seed in range(200):
        data = random_case(config_name, seed)
        stall = seed % len(STALLS)
        for operation in (*Operation, "signs"):
            selective = operation in ("signs", Operation.INPUT_GRADIENT) and data.predict_beside
            kind = Operation.WEIGHT_GRADIENT if operation == "signs" else operation
            try:
                _, plan, *_ = prepared(device, data, kind, selective=selective or operation == "signs")
            except JoulebitError:
                continue
            name = operation if operation == "signs" else operation.name
            for d in plan.descriptors:
                shape = (kernel_class(d), f"stride {d['stride']}")
                found[(name, *shape)] += 1
                found[(name, f"stall {stall}", f"stride {d['stride']}")] += 1
                found[(name, f"lane mode {d['lane_mode']}")] += 1
                for edge in edges(d, device.config):
                    found[(name, edge, f"stall {stall}")] += 1
                for bit in Flag:
                    found[(name, bit.name, bool(d["flags"] >> bit & 1))] += 1
            found[(name, "more tiles than one", len(plan.descriptors) > 1)] += 1
    return found


@pytest.mark.rtl
def test_every_bin_is_reached_in_tiny():
    found = bins("tiny")
    wanted = []
    for name in ("FORWARD", "INPUT_GRADIENT", "WEIGHT_GRADIENT"):
        wanted += [(name, size, f"stride {s}") for size in ("1x1", "up to 3", "up to 6", "7") for s in (1, 2)
                   if (name, size) != ("WEIGHT_GRADIENT", "7")]  # fmt: skip
        wanted += [(name, f"stall {n}", f"stride {s}") for n in range(len(STALLS)) for s in (1, 2)]
        wanted += [
            (name, edge, f"stall {n}")
            for edge in ("padded above or left", "padded below or right", "odd rows", "one row or column",
                         "words no multiple of three")
            for n in range(len(STALLS))
        ]  # fmt: skip
        wanted += [(name, "more tiles than one", flag) for flag in (False, True)]
        wanted += [(name, "X_UNSIGNED", flag) for flag in (False, True)]
    for name in ("FORWARD", "INPUT_GRADIENT"):
        wanted += [(name, f"lane mode {mode}") for mode in (0, 1)]
        wanted += [(name, "RAW", flag) for flag in (False, True)]
    wanted += [("FORWARD", "RELU", flag) for flag in (False, True)]
    wanted += [("INPUT_GRADIENT", bit, flag) for bit in ("MASK", "PREDICT") for flag in (False, True)]
    wanted += [
        (name, size, f"stride {s}") for name in ("PREDICT", "signs") for size in ("1x1", "up to 3") for s in (1, 2)
    ]
    wanted += [("WEIGHT_GRADIENT", "FIRST", False), ("WEIGHT_GRADIENT", "LAST", False)]
    missing = [key for key in wanted if not found[key]]
    assert not missing
