"""The optimiser's step of all layers in one launch (`joulebit.kernels.optimiser`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from joulebit.engine.vector_kernels import VectorKernels
from joulebit.fixed.arithmetic import MASTER_FRACTION_BITS, Arithmetic
from joulebit.fixed.update import LayerUpdate, reciprocal
from joulebit.kernels import optimiser
from joulebit.kernels.memory import Pool
from joulebit.kernels.scratch import address
from joulebit.kernels.workers import Workers


class UpdateKernels(VectorKernels):
    """`NumbaEngine.update_layers` with vectors.

    Args:
        arithmetic, workers, pool: see `VectorKernels`.
    """

    def __init__(self, arithmetic: Arithmetic, workers: Workers, pool: Pool) -> None:
        super().__init__(arithmetic, workers, pool)
        self._bits = arithmetic.w_bits

    def update_layers(self, layers: Sequence[LayerUpdate]) -> list[tuple[NDArray[Any], int]]:
        """`NumbaEngine.update_layers`."""
        kind = np.int8 if self._bits <= 8 else np.int16
        weights = [np.empty(layer.master.shape, kind) for layer in layers]
        gradients = [np.ascontiguousarray(layer.gradient) for layer in layers]
        rows = []
        for layer, gradient, w in zip(layers, gradients, weights):
            inverse, k = reciprocal(layer.samples)
            rule = layer.rule
            rows.append(
                (
                    address(layer.master), address(layer.momentum), address(gradient), address(w), w.size,
                    layer.exponent - k + MASTER_FRACTION_BITS, inverse, rule.learning_rate_q20, rule.momentum_q15,
                    rule.decay_q24, self._bits, 0,
                )
            )  # fmt: skip
        table = np.array(rows, np.int64)
        row = (self._workers.counter, len(rows), address(table))
        self._workers.run(optimiser.update, [row] * self._threads(len(rows)))
        shifts = table[:, -1].tolist()
        return [(w, shift - MASTER_FRACTION_BITS) for w, shift in zip(weights, shifts)]
