"""Depthwise 3 x 3 convolutions whose rows are joined lane by lane: the integers of the reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from joulebit.engine.base import ConvGeometry
from joulebit.engine.numba_engine import NumbaEngine
from joulebit.engine.numpy_engine import NumpyEngine
from joulebit.fixed.arithmetic import Arithmetic

REFERENCE = NumpyEngine(Arithmetic())
SIZES = [(1, 1), (1, 4), (2, 2), (3, 1), (5, 7), (8, 8), (9, 6), (2, 33)]


def same(ours: Any, reference: Any) -> None:
    for left, right in zip(ours, reference, strict=True):
        assert np.array_equal(left, right)
        assert getattr(left, "dtype", None) == getattr(right, "dtype", None)


def check(shape: tuple[int, ...], stride: int, kind: str, threads: int) -> None:
    """Both passes with what may follow their sums; x signed, unsigned, or everything at its extremes."""
    rng = np.random.default_rng(shape[1] * 100 + shape[2])
    ours = NumbaEngine(Arithmetic(), threads)
    geometry = ConvGeometry(3, 3, stride, 1, 1, shape[3])
    low, high, dtype = (-128, 128, np.int8) if kind == "signed" else (0, 256, np.uint8)
    x = rng.integers(low, high, shape).astype(dtype)
    w = rng.integers(-127, 128, (3, 3, 1, shape[3])).astype(np.int8)
    dz = rng.integers(-32768, 32768, (shape[0], *geometry.output_size(*shape[1:3]), shape[3])).astype(np.int16)
    if kind == "extreme":
        x[:], w[:], dz[:] = 255, -127, 32767
    for shift in (0, 1, 7):
        same(ours.conv_forward(x, w, geometry, shift), REFERENCE.conv_forward(x, w, geometry, shift))
    mask = rng.integers(0, 256, shape).astype(np.uint8)
    add = rng.integers(-32767, 32768, shape).astype(np.int16)
    half = rng.integers(-9, 9, (shape[0], -(-shape[1] // 2), -(-shape[2] // 2), shape[3] + 2)).astype(np.int16)
    for options in (
        {"shift": 6},
        {"shift": 0, "mask": mask},
        {"shift": 9, "mask": mask, "mask_below": 200, "add": add, "align": 1, "add_align": 2},
        {"shift": 9, "mask": mask, "add": add, "align": -2},
        {"shift": 8, "add": half, "add_stride": 2},
    ):
        arguments = (dz, w, geometry, shape[1:3])
        same(ours.conv_input_gradient(*arguments, **options), REFERENCE.conv_input_gradient(*arguments, **options))


@pytest.mark.parametrize("kind", ["unsigned", "signed", "extreme"])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_images_of_all_sizes(size: tuple[int, int], stride: int, kind: str) -> None:
    check((5, *size, 20), stride, kind, 2)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("channels", [1, 15, 16, 32, 40])
def test_any_channels_and_threads(channels: int, stride: int) -> None:
    for threads in (1, 3):
        check((7, 6, 9, channels), stride, "unsigned", threads)
