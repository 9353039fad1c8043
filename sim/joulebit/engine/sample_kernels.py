"""What gated residual blocks do with single samples, by vector kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from joulebit.engine.base import Int64Array, Quantised
from joulebit.engine.vector_kernels import VectorKernels
from joulebit.kernels import samples
from joulebit.kernels.scratch import address

_PASS = np.ones(16, np.uint8)
_MOST_BITS = 15  #: by which int16 may be shifted left, or right before anything else, in 32-bit lanes
_NOTHING_LEFT = 31  #: int16 shifted right by more is 0, too


class SampleKernels(VectorKernels):
    """Taking samples out and putting them back, shortcuts around closed blocks, inner products.

    Args:
        arithmetic, workers, pool: see `VectorKernels`.
    """

    def copy(self, x: NDArray[Any]) -> NDArray[Any] | None:
        """`Engine.copy`, or None."""
        out = self._pool.empty(x.shape, x.dtype)
        return out if self._copied(out, x, len(x), None, None) else None

    def take(self, x: NDArray[Any], index: Int64Array) -> NDArray[Any] | None:
        """`Engine.take`, or None."""
        if not _ascending(index, len(x)):
            return None
        out = self._pool.empty((len(index), *x.shape[1:]), x.dtype)
        return out if self._copied(out, x, len(index), None, index) else None

    def put(self, target: NDArray[Any], index: Int64Array, value: NDArray[Any]) -> bool:
        """`Engine.put` in place; False: it is not done."""
        same = value.shape == (len(index), *target.shape[1:]) and value.dtype == target.dtype
        return same and _ascending(index, len(target)) and self._copied(target, value, len(index), index, None)

    def _copied(
        self, target: NDArray[Any], source: NDArray[Any], count: int, targets: Int64Array | None,
        sources: Int64Array | None,
    ) -> bool:  # fmt: skip
        if not (target.flags.c_contiguous and source.flags.c_contiguous):
            return False
        size = source.nbytes // max(1, len(source))
        places = (0 if index is None else address(index) for index in (targets, sources))
        rows = self._sample_rows((address(target), address(source)), count, (size, *places))
        self._workers.run(samples.copy, rows)
        return True

    def shortcut_forward(
        self, x: NDArray[Any], stride: int, channels: int, shift: int, bounds: tuple[int, int]
    ) -> tuple[NDArray[Any], int] | None:
        """`Engine.shortcut_forward`, or None."""
        if not self._half_up or not self._bytes or x.itemsize != 1 or not -23 <= shift <= 23:
            return None
        count, *size = x.shape
        height, width = -(-size[0] // stride), -(-size[1] // stride)
        a = self._pool.empty((count, height, width, channels), np.uint8 if bounds[0] == 0 else np.int8)
        sizes = _in_one_row(a) if a.shape == x.shape else (height, width, channels, *size)
        flip = 128 if x.dtype == np.int8 else 0
        after = (*sizes, stride, flip, max(-shift, 0), max(shift, 0), *bounds)
        return a, self._count(samples.shortcut_forward, self._sample_rows((address(x), address(a)), count, after))

    def shortcut_gradient(
        self, g: NDArray[Any], input_shape: tuple[int, int, int], stride: int, shift: int, align: int,
        mask: NDArray[Any] | None, mask_below: int,
    ) -> Quantised | None:  # fmt: skip
        """`Engine.shortcut_gradient`, or None."""
        net = shift - max(align, 0)  # to the left and then to the right, exactly, as one shift
        covered = min(align, net) >= -_MOST_BITS
        if not self._half_up or not covered or (mask is not None and mask.dtype != np.uint8):
            return None
        out = self._pool.empty((len(g), *input_shape), np.int16)
        sizes = _in_one_row(g) if out.shape == g.shape else (*input_shape, *g.shape[1:])
        masking = (int(mask is not None), mask_below if mask_below > 0 else 256)
        shifts = (max(-align, 0), max(-net, 0), min(max(net, 0), _NOTHING_LEFT))
        rows = self._sample_rows(
            (address(g), address(_PASS if mask is None else mask), address(out)), len(g),
            (*sizes, stride, *masking, *shifts, self._g_limit),
        )  # fmt: skip
        peak, saturated = self._peak(samples.shortcut_gradient, rows)
        return Quantised(out, peak << max(align, 0), saturated)

    def sample_dot(self, g: NDArray[Any], a: NDArray[Any], base: NDArray[Any]) -> Int64Array | None:
        """`Engine.sample_dot`, or None."""
        if a.itemsize != 1 or base.dtype != a.dtype:
            return None
        out = np.empty(len(g), np.int64)
        before = (address(g), address(a), address(base), address(out))
        after = (g.size // max(1, len(g)), 128 if a.dtype == np.int8 else 0)
        self._workers.run(samples.dot, self._sample_rows(before, len(g), after))
        return out


def _in_one_row(x: NDArray[Any]) -> tuple[int, ...]:
    """Height, width and channels of both tensors of a shortcut that changes none: samples of one long pixel."""
    elements = x.size // max(1, len(x))
    return (1, 1, elements, 1, 1, elements)


def _ascending(index: Int64Array, count: int) -> bool:
    """Whether these are different samples of so many, in order."""
    return bool(
        index.dtype == np.int64
        and index.flags.c_contiguous
        and len(index) > 0
        and index[0] >= 0
        and index[-1] < count
        and (index[1:] > index[:-1]).all()
    )
