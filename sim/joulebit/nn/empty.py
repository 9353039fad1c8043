"""An engine that may be given no samples: what a worker computes for a layer that none of its samples enter."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from joulebit.engine.base import (
    Array,
    ConvGeometry,
    ConvOutput,
    Engine,
    Int64Array,
    NormConstants,
    NormGradientConstants,
    Quantised,
)
from joulebit.fixed.arithmetic import Arithmetic


def accepting_no_samples(engine: Engine) -> Engine:
    """The engine, whose operations on tensors of no samples give tensors of none, sums of 0 and peaks of 0.

    Engines themselves need at least one sample. Every operation on samples stands here; all else is the engine's.
    """
    return cast(Engine, _Empty(engine))


class _Empty:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def with_arithmetic(self, arithmetic: Arithmetic) -> Engine:
        return accepting_no_samples(self._engine.with_arithmetic(arithmetic))

    def _none(self, *shape: int, dtype: Any = np.int16) -> Array:
        return self._engine.from_numpy(np.zeros((0, *shape), dtype))

    def _activation(self, bounds: tuple[int, int], *shape: int) -> Array:
        bits = 8 if self._engine.arithmetic.x_bits <= 8 else 16
        return self._none(*shape, dtype=f"{'u' if bounds[0] == 0 else ''}int{bits}")

    # --- convolution and normalisation ---------------------------------------------------------------

    def conv_forward(self, x: Array, w: Array, geometry: ConvGeometry, *rest: Any) -> ConvOutput:
        if x.shape[0]:
            return self._engine.conv_forward(x, w, geometry, *rest)
        zeros = np.zeros(w.shape[3], np.int64)
        z = self._none(*geometry.output_size(x.shape[1], x.shape[2]), w.shape[3])
        return ConvOutput(z, 0, 0, zeros, zeros)

    def norm_forward(
        self, z: Array, norm: NormConstants, shift: int, bounds: tuple[int, int], *rest: Any
    ) -> tuple[Array, int]:
        if z.shape[0]:
            return self._engine.norm_forward(z, norm, shift, bounds, *rest)
        return self._activation(bounds, *z.shape[1:]), 0

    def norm_sums(self, g: Array, z: Array, norm: NormConstants) -> tuple[Int64Array, Int64Array]:
        if z.shape[0]:
            return self._engine.norm_sums(g, z, norm)
        return np.zeros(z.shape[3], np.int64), np.zeros(z.shape[3], np.int64)

    def norm_backward(
        self, g: Array, z: Array, norm: NormConstants, gradient: NormGradientConstants, *rest: Any
    ) -> Quantised:
        if z.shape[0]:
            return self._engine.norm_backward(g, z, norm, gradient, *rest)
        return Quantised(self._none(*z.shape[1:]), 0, 0)

    def conv_input_gradient(
        self, dz: Array, w: Array, geometry: ConvGeometry, input_hw: tuple[int, int], *rest: Any
    ) -> Quantised:
        if dz.shape[0]:
            return self._engine.conv_input_gradient(dz, w, geometry, input_hw, *rest)
        return Quantised(self._none(*input_hw, w.shape[2] * geometry.groups), 0, 0)

    def adder_forward(self, x: Array, w: Array, geometry: ConvGeometry, *rest: Any) -> ConvOutput:
        if x.shape[0]:
            return self._engine.adder_forward(x, w, geometry, *rest)
        zeros = np.zeros(w.shape[3], np.int64)
        return ConvOutput(
            self._none(*geometry.output_size(x.shape[1], x.shape[2]), w.shape[3]), 0, 0, zeros, zeros
        )

    def adder_input_gradient(self, dz: Array, x: Array, *rest: Any) -> Quantised:
        if dz.shape[0]:
            return self._engine.adder_input_gradient(dz, x, *rest)
        return Quantised(self._none(*x.shape[1:]), 0, 0)

    def channel_sums(self, dz: Array, msb: bool = False) -> Int64Array:
        return self._engine.channel_sums(dz, msb) if dz.shape[0] else np.zeros(dz.shape[3], np.int64)

    def conv_weight_gradient(self, x: Array, dz: Array, geometry: ConvGeometry) -> tuple[Array, int]:
        if x.shape[0]:
            return self._engine.conv_weight_gradient(x, dz, geometry)
        return self._no_weight_gradient(x, dz, geometry), 0

    def conv_weight_gradient_msb(self, x: Array, dz: Array, geometry: ConvGeometry) -> Array:
        if x.shape[0]:
            return self._engine.conv_weight_gradient_msb(x, dz, geometry)
        return self._no_weight_gradient(x, dz, geometry)

    def _no_weight_gradient(self, x: Array, dz: Array, geometry: ConvGeometry) -> Array:
        shape = (geometry.kernel_h, geometry.kernel_w, x.shape[3] // geometry.groups, dz.shape[3])
        return self._engine.from_numpy(np.zeros(shape, np.int64))

    # --- blocks, pooling and small tensors -----------------------------------------------------------

    def shortcut_forward(
        self, x: Array, stride: int, channels: int, shift: int, bounds: tuple[int, int], *rest: Any
    ) -> tuple[Array, int]:
        if x.shape[0]:
            return self._engine.shortcut_forward(x, stride, channels, shift, bounds, *rest)
        return self._activation(bounds, -(-x.shape[1] // stride), -(-x.shape[2] // stride), channels), 0

    def shortcut_gradient(self, g: Array, input_shape: tuple[int, int, int], *rest: Any) -> Quantised:
        if g.shape[0]:
            return self._engine.shortcut_gradient(g, input_shape, *rest)
        return Quantised(self._none(*input_shape), 0, 0)

    def max_pool(self, x: Array, size: int) -> Array:
        if x.shape[0]:
            return self._engine.max_pool(x, size)
        return self._engine.copy(x[:, : x.shape[1] // size, : x.shape[2] // size])

    def max_pool_gradient(self, g: Array, x: Array, size: int) -> Array:
        return self._engine.max_pool_gradient(g, x, size) if x.shape[0] else self._none(*x.shape[1:])

    def spatial_sum(self, x: Array) -> Int64Array:
        return self._engine.spatial_sum(x) if x.shape[0] else np.zeros((0, x.shape[3]), np.int64)

    def spread(self, value: Int64Array, like: Array, *rest: Any) -> Quantised:
        if like.shape[0]:
            return self._engine.spread(value, like, *rest)
        return Quantised(self._none(*like.shape[1:]), 0, 0)

    def mask_gradient(self, g: Array, *rest: Any) -> Array:
        return self._engine.mask_gradient(g, *rest) if g.shape[0] else g

    def narrow_gradient(self, dz: Array, shift: int, bits: int) -> Array:
        return self._engine.narrow_gradient(dz, shift, bits) if dz.shape[0] else dz

    def sample_dot(self, g: Array, a: Array, base: Array) -> Int64Array:
        return self._engine.sample_dot(g, a, base) if g.shape[0] else np.zeros(0, np.int64)

    def take(self, x: Array, index: Int64Array) -> Array:
        return self._engine.take(x, index) if len(index) else self._engine.copy(x[:0])

    def put(self, target: Array, index: Int64Array, value: Array) -> Array:
        return self._engine.put(target, index, value) if len(index) else target
