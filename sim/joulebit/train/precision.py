"""Cyclic precision in the training loop: before each step the network takes the step's widths."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from joulebit.fixed.arithmetic import Arithmetic
from joulebit.techniques.cyclic_precision import CyclicPrecision
from joulebit.train.hooks import Hook, Run
from joulebit.train.integer import IntegerNetwork
from joulebit.train.network import Batch

_KEYS = ("x_bits", "w_bits", "g_bits", "x_msb_bits", "g_msb_bits", "input_gradient_bits")


class CyclicPrecisionHook(Hook):
    """`CyclicPrecision` (`joulebit.techniques.cyclic_precision`) on an integer network.

    Its state is the widths of the last step that was computed: what a step costs depends on whether they change.
    """

    name = "cyclic_precision"

    def __init__(self, policy: CyclicPrecision, base: Arithmetic) -> None:
        self._policy = policy
        self._base = base
        self._current = base

    def before_step(self, run: Run, batch: Batch) -> Batch:
        arithmetic = self._policy.arithmetic(self._base, run.step, run.total_steps)
        self._use(run, arithmetic, requantised=arithmetic.w_bits != self._current.w_bits)
        return batch

    def _use(self, run: Run, arithmetic: Arithmetic, requantised: bool) -> None:
        assert isinstance(run.network, IntegerNetwork), "the configuration allows integer engines alone"
        self._current = arithmetic
        run.network.use_arithmetic(arithmetic, requantised)

    def state(self) -> dict[str, NDArray[Any]]:
        return {"widths": np.array([getattr(self._current, key) for key in _KEYS], np.int64)}

    def load_state(self, run: Run, state: Mapping[str, NDArray[Any]]) -> None:
        if "widths" in state:
            values: dict[str, Any] = {key: int(value) for key, value in zip(_KEYS, state["widths"])}
            self._use(run, replace(self._base, **values), requantised=False)

    def metrics(self) -> Mapping[str, Any]:
        return {key: getattr(self._current, key) for key in _KEYS[:3]}
