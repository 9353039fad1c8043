"""Weights in the order of the tiles of an input gradient: each where its layout says, zeros beside them."""

from __future__ import annotations

import numpy as np
import pytest

from joulebit.kernels import fast_input
from joulebit.kernels.cpu import CpuLevel, cpu_level
from joulebit.kernels.scratch import address

pytestmark = pytest.mark.skipif(cpu_level() < CpuLevel.AVX2, reason="needs a processor with vectors")
GUARD = 7777


def packed_weights(w: np.ndarray, stride: int) -> tuple[np.ndarray, int]:
    size = fast_input.packed_size(*w.shape)
    packed = np.full(size + 64, GUARD, np.int16)
    largest = fast_input.pack(w, packed[:size], stride)
    assert (packed[size:] == GUARD).all()
    return packed, largest


@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (2, 3), (5, 1)], ids=str)
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("channels", [(1, 1), (16, 32), (17, 33), (15, 2), (40, 31), (3, 70)], ids=str)
def test_phases(channels: tuple[int, int], stride: int, kernel: tuple[int, int]) -> None:
    """Phase by phase, blocks of 16 input channels, rows and columns from the last on, pairs of output channels."""
    c_in, c_out = channels
    w = np.random.default_rng(c_in).integers(-127, 128, (*kernel, c_in, c_out)).astype(np.int8)
    packed, largest = packed_weights(w, stride)
    expected = []
    for phase in np.ndindex(stride, stride):
        for block in range(0, c_in, 16):
            for row in reversed(range(phase[0], kernel[0], stride)):
                for column in reversed(range(phase[1], kernel[1], stride)):
                    for k in range(0, c_out, 2):
                        for c in range(block, block + 16):
                            places = [(c, k), (c, k + 1)]
                            expected += [
                                int(w[row, column, c, k]) if c < c_in and k < c_out else 0 for c, k in places
                            ]
    assert packed[: len(expected)].tolist() == expected
    assert largest == int(np.abs(w.astype(int)).sum((0, 1, 3)).max())


@pytest.mark.parametrize("kernel_h", [1, 3])
@pytest.mark.parametrize("channels", [(16, 4), (33, 20)], ids=str)
def test_coupled(channels: tuple[int, int], kernel_h: int) -> None:
    """Sums and differences of the three columns, and twice the outer ones."""
    c_in, c_out = channels
    w = np.random.default_rng(1).integers(-127, 128, (kernel_h, 3, c_in, c_out)).astype(np.int8)
    packed, _ = packed_weights(w, 1)
    blocks, pairs = -(-c_in // 16), c_out // 2
    coupled = np.full((blocks, 2, kernel_h, pairs, 2, 16, 2), GUARD, np.int16)
    fast_input.pack_coupled(address(packed), kernel_h, blocks, pairs, address(coupled))
    padded = np.zeros((kernel_h, 3, blocks * 16, c_out), int)
    padded[:, :, :c_in] = w[::-1]
    last, middle, first = (padded[:, column] for column in range(3))
    parts = np.stack([first + middle + last, first - middle + last, 2 * first, -2 * last])
    shaped = parts.reshape(2, 2, kernel_h, blocks, 16, pairs, 2)
    assert np.array_equal(coupled, shaped.transpose(3, 0, 2, 5, 1, 4, 6))
