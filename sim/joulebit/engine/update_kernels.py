"""The optimiser's step of all layers in one launch (`joulebit.kernels.optimiser`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from joulebit.fixed.arithmetic import MASTER_FRACTION_BITS, Arithmetic
from joulebit.fixed.update import LayerUpdate, reciprocal
from joulebit.kernels import optimiser
from joulebit.kernels.memory import Pool
from joulebit.kernels.scratch import address
from joulebit.kernels.workers import Workers


class UpdateKernels:
    """`NumbaEngine.update_layers`.

    Args:
        arithmetic: the widths of the run.
        workers: the engine's threads.
        pool: where results come from.
    """

    def __init__(self, arithmetic: Arithmetic, workers: Workers, pool: Pool) -> None:
        self._workers, self._pool, self._bits = workers, pool, arithmetic.w_bits

    def update_layers(self, layers: Sequence[LayerUpdate]) -> list[tuple[NDArray[Any], int]]:
        """`NumbaEngine.update_layers`."""
        kind = np.int8 if self._bits <= 8 else np.int16
        weights = [self._pool.empty(layer.master.shape, kind) for layer in layers]
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
        self._workers.run(optimiser.update, [row] * min(self._workers.count, len(rows)))
        shifts = table[:, -1].tolist()
        return [(w, shift - MASTER_FRACTION_BITS) for w, shift in zip(weights, shifts)]
