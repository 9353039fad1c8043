"""The weight gradients of dense convolutions: which kernel forms them, one or both at once.

A product of matrices where every input meets one position (1 x 1 kernels, and those as large as the image),
minimal filtering for kernels 3 wide, and one kernel for all other shapes. Depthwise layers have their own
(`depthwise_kernels`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from joulebit.engine.arrangement import gradients_together, narrowed
from joulebit.engine.base import ConvGeometry
from joulebit.engine.vector_kernels import LaterAll, VectorKernels, Wanted
from joulebit.fixed.arithmetic import Arithmetic
from joulebit.kernels import fast_weight, filtered_weight, pointwise_weight
from joulebit.kernels.memory import Pool
from joulebit.kernels.scratch import Scratch, address
from joulebit.kernels.workers import Begun, Workers

_UNLIMITED = (1 << 63) - 1
_MOST_TOGETHER = 1 << 16  #: weights, of whose two gradients the sums fit the second-level cache together
_remembered = lru_cache(1 << 12)  #: sizes follow from a layer's shape: every step asks for the same ones
_direct_scratch, _filtered_scratch = (
    _remembered(module.scratch_size) for module in (fast_weight, filtered_weight)
)
_products_of, _sums_count = _remembered(fast_weight.products_of), _remembered(fast_weight.sums_count)


class WeightGradientKernels(VectorKernels):
    """The exact and the predictor's weight gradient of a convolution with one group.

    Args:
        arithmetic, workers, pool: see `VectorKernels`.
        scratch: for the kernels in each of `Workers.begin`'s places.
    """

    def __init__(self, arithmetic: Arithmetic, workers: Workers, pool: Pool, scratch: list[Scratch]) -> None:
        super().__init__(arithmetic, workers, pool)
        self._begun_scratch = scratch

    def begin_weight_gradients(
        self, x: NDArray[Any], dz: NDArray[Any], geometry: ConvGeometry, wanted: Wanted
    ) -> LaterAll | None:
        """The weight gradients that are wanted, begun (`Workers.begin`); or None."""
        if x.itemsize != 1 or dz.dtype != np.int16:
            return None
        if _is_product(geometry, x.shape[1], x.shape[2]):
            weights = geometry.kernel_h * geometry.kernel_w * x.shape[3] * dz.shape[3]
            if wanted.both and weights > _MOST_TOGETHER:
                return self._begin_apart(x, dz, geometry, wanted)
            return self._begin_product(x, dz, geometry, wanted)
        products = self._products(x, dz, geometry, wanted)
        if products == 1:
            return self._begin_direct(x, dz, geometry, wanted)
        if wanted.both:
            return self._begin_apart(x, dz, geometry, wanted)
        return self._begin_filtered(x, dz, geometry, wanted, products)

    def _begin_apart(self, x: NDArray[Any], dz: NDArray[Any], geometry: ConvGeometry, wanted: Wanted) -> LaterAll:
        """Both weight gradients from a pass for each."""
        forms = (wanted._replace(narrow=None), wanted._replace(limit=None))
        both = [self.begin_weight_gradients(x, dz, geometry, form) for form in forms]
        return lambda: [later()[0] for later in both if later]

    @staticmethod
    def _products(x: NDArray[Any], dz: NDArray[Any], geometry: ConvGeometry, wanted: Wanted) -> int:
        """`fast_weight.products_of` the layer."""
        low, high = (-128, 127) if x.dtype == np.int8 else (0, 255)
        _, low, high, _, g_high = wanted.narrow or (-1, low, high, -1, 32768)
        sizes = (geometry.kernel_w, geometry.stride, x.shape[3], dz.shape[3], dz.shape[2])
        return _products_of(*sizes, max(high, -low), g_high)

    def _begin_product(
        self, x: NDArray[Any], dz: NDArray[Any], geometry: ConvGeometry, wanted: Wanted
    ) -> LaterAll:
        """`begin_weight_gradients` where every input meets one position of dz: a product of matrices."""
        c_out = dz.shape[3]
        positions = dz.size // c_out
        c_in = x.size // positions
        x_shift, low, high, g_shift, g_high = wanted.narrowing
        threads = self._threads((positions + 1) // 2)
        held = pointwise_weight.pairs_held(positions, c_in, threads)
        count = _sums_count(1, 1, c_in, c_out, 1)
        size = pointwise_weight.scratch_size(c_in, c_out, held, count, len(wanted.limits))
        flip, x_limit = (128, 128) if x.dtype == np.int8 else (0, 255)
        shared = (
            positions, held, address(x), c_in, flip, x_limit, int(wanted.exact), x_shift, low, high, address(dz),
            c_out, g_shift, g_high,
        )  # fmt: skip
        totals = self._pool.empty((len(wanted.limits), threads, count), np.int64)
        sums = self._begin_sums(pointwise_weight.weight_gradient, shared, size, totals, x, dz)
        shape = (geometry.kernel_h, geometry.kernel_w, x.shape[3], c_out)

        def collected() -> list[tuple[NDArray[np.int64], int]]:
            found = [
                self._collected(own, (1, 1, c_in, c_out), 1, bound)
                for own, bound in zip(sums(), wanted.limits, strict=True)
            ]
            return [(dw.reshape(shape), clamped) for dw, clamped in found]

        return collected

    def _begin_direct(self, x: NDArray[Any], dz: NDArray[Any], geometry: ConvGeometry, wanted: Wanted) -> LaterAll:
        """`begin_weight_gradients` by the kernel that takes any shape."""
        samples, height, width, c_in = x.shape
        _, out_h, out_w, c_out = dz.shape
        kernel_h, kernel_w, stride, whole = geometry.kernel_h, geometry.kernel_w, geometry.stride, c_out
        x_shift, low, high, g_shift, g_high = wanted.narrowing
        together = gradients_together(out_w, kernel_w, stride, c_in, c_out)
        out_w, c_out, kernel_w = out_w // together, c_out * together, kernel_w + (together - 1) * stride
        threads, count = self._threads((samples + 1) // 2), _sums_count(kernel_h, kernel_w, c_in, c_out, 1)
        padding = (geometry.padding_h, geometry.padding_w)
        flip, x_limit = (128, 128) if x.dtype == np.int8 else (0, 255)
        shared = (
            samples, address(x), height, width, c_in, flip, x_limit, int(wanted.exact), x_shift, low, high,
            address(dz), out_h, out_w, c_out, g_shift, g_high, kernel_h, kernel_w, stride, stride * together,
            *padding,
        )  # fmt: skip
        size = _direct_scratch(height, width, c_in, out_h, out_w, c_out, *padding, count, len(wanted.limits))
        totals = self._pool.empty((len(wanted.limits), threads, count), np.int64)
        sums = self._begin_sums(fast_weight.weight_gradient, shared, size, totals, x, dz)
        shape = (kernel_h, kernel_w, c_in, c_out)

        def collected() -> list[tuple[NDArray[np.int64], int]]:
            found = []
            for own, bound in zip(sums(), wanted.limits, strict=True):
                dw, clamped = self._collected(own, shape, 1, bound if together == 1 else _UNLIMITED)
                if together > 1:
                    unlimited = narrowed(dw, whole, stride)
                    dw = np.clip(unlimited, -bound, bound)
                    clamped = int(np.count_nonzero(dw != unlimited))
                found.append((dw, clamped))
            return found

        return collected

    def _begin_filtered(
        self, x: NDArray[Any], dz: NDArray[Any], geometry: ConvGeometry, wanted: Wanted, products: int
    ) -> LaterAll:
        """One of `begin_weight_gradients` by minimal filtering."""
        samples, height, width, c_in = x.shape
        _, out_h, out_w, c_out = dz.shape
        kernel_h, padding_h = geometry.kernel_h, geometry.padding_h
        flip, low, high = (128, -128, 127) if x.dtype == np.int8 else (0, 0, 255)
        x_shift, low, high, g_shift, g_high = wanted.narrow or (-1, low, high, -1, 32768)
        threads, count = self._threads((samples + 1) // 2), _sums_count(kernel_h, 3, c_in, c_out, products)
        pairs = filtered_weight.pairs_at_once(samples, threads, out_h, out_w, products)
        shared = (
            samples, pairs, address(x), height, width, c_in, flip, x_shift, low, high, address(dz), out_h, out_w,
            c_out, g_shift, g_high, kernel_h, padding_h, geometry.padding_w, products,
        )  # fmt: skip
        size = _filtered_scratch(height, c_in, out_h, out_w, c_out, padding_h, count, products, pairs)
        totals = self._pool.empty((1, threads, count), np.int64)
        sums = self._begin_sums(filtered_weight.weight_gradient, shared, size, totals, x, dz)
        (bound,) = wanted.limits
        return lambda: [self._collected(own, (kernel_h, 3, c_in, c_out), products, bound) for own in sums()]

    def _begin_sums(
        self, kernel: Any, shared: tuple[int, ...], size: int, totals: NDArray[np.int64], *operands: NDArray[Any]
    ) -> Callable[[], NDArray[np.int64]]:
        """Begin a kernel that sets totals [products, threads, sums]; a call gives those of threads that drew any.

        size: bytes of scratch memory per thread. Its arguments are (counter, *shared, scratch, totals of the first
        product, sums, bytes from a product's totals to the next, box, state).
        """
        _, threads, count = totals.shape
        states = np.zeros((threads, 3), np.int64)
        first, apart, state = address(totals), totals.strides[0], address(states)

        def rows(begun: Begun) -> list[tuple[int, ...]]:
            scratch, boxes = self._begun_scratch[begun.number].addresses(size), begun.boxes
            return [
                (begun.counter, *shared, scratch[i], first + i * count * 8, count, apart, boxes[i], state + i * 24)
                for i in range(threads)
            ]

        begun = self._workers.begin(kernel, rows, (*operands, totals, states))

        def sums() -> NDArray[np.int64]:
            drew = [thread for thread, own in enumerate(self._workers.finish(begun)) if own[0]]
            return totals if len(drew) == threads else totals.take(drew, 1)

        return sums

    def _collected(
        self, totals: NDArray[np.int64], shape: tuple[int, ...], products: int, limit: int
    ) -> tuple[NDArray[np.int64], int]:
        """dw of `shape` within +-limit, and how often it was not, of totals [threads, sums]."""
        dw = self._pool.empty(shape, np.int64)
        row = (self._workers.counter, address(totals), *totals.shape, address(dw), *shape, products, limit)
        tasks = shape[0] * -(-shape[3] // 16)
        return dw, self._count(fast_weight.collect, [row] * self._threads(tasks))


def _is_product(geometry: ConvGeometry, height: int, width: int) -> bool:
    """Whether every input of an image meets one position of its gradient, side by side in memory."""
    if geometry.padding_h or geometry.padding_w:
        return False
    kernel = (geometry.kernel_h, geometry.kernel_w)
    return kernel == (height, width) or (kernel == (1, 1) and geometry.stride == 1)
