"""Stochastic weight averaging: the mean of the weights of several moments of a run (Izmailov et al., UAI 2018).

Integer masters are summed in int64 and averaged by one division, so that the average does not depend on engine,
workers or resumption. The float32 baseline's weights are summed in float64 instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

_COUNT_LIMIT = (1 << 31) - 1  # |2 sum + n| < 2^63 while every |master| < 2^31
_COUNT = "count"
_SUM = "sum."


class StochasticWeightAveraging:
    """Sums of weights by name, and how many moments they hold."""

    def __init__(self) -> None:
        self.count = 0
        self._sums: dict[str, NDArray[Any]] = {}

    def add(self, weights: Mapping[str, NDArray[Any]]) -> None:
        """Take in one moment: int32 masters or float32 weights. ValueError when names, shapes or kinds change."""
        if self.count >= _COUNT_LIMIT:
            raise ValueError(f"at most {_COUNT_LIMIT} moments can be averaged")
        for name, value in weights.items():
            if value.dtype not in (np.int32, np.float32):
                raise ValueError(f"{name} must be int32 or float32, got {value.dtype}")
        if not self.count:
            self._sums = {name: np.zeros(value.shape, _wide(value)) for name, value in weights.items()}
        if weights.keys() != self._sums.keys():
            differing = sorted(set(weights) ^ set(self._sums))
            raise ValueError(f"the weights of all moments must have the same names; these differ: {differing}")
        for name, value in weights.items():
            total = self._sums[name]
            if value.shape != total.shape or _wide(value) != total.dtype:
                raise ValueError(
                    f"{name} was {total.shape} summed in {total.dtype}, got {value.shape} {value.dtype}"
                )
        for name, value in weights.items():
            self._sums[name] += value
        self.count += 1

    def average(self) -> dict[str, NDArray[Any]]:
        """The mean by name: (2 sum + n) // 2n as int32 (ties go up), or sum / n as float32."""
        if not self.count:
            raise ValueError("there is no average before the first moment was added")
        n = self.count
        return {
            name: (
                ((2 * total + n) // (2 * n)).astype(np.int32)
                if total.dtype == np.int64
                else (total / n).astype(np.float32)
            )
            for name, total in self._sums.items()
        }

    def state(self) -> dict[str, NDArray[Any]]:
        """Count and sums as arrays, copies."""
        state: dict[str, NDArray[Any]] = {_COUNT: np.array(self.count, np.int64)}
        return state | {_SUM + name: total.copy() for name, total in self._sums.items()}

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """The reverse of `state`; ValueError names what is missing or unknown."""
        unknown = [name for name in state if name != _COUNT and not name.startswith(_SUM)]
        if _COUNT not in state or unknown:
            raise ValueError(f"a state of weight averaging has {_COUNT!r} and {_SUM}<name>, got {sorted(state)}")
        for name, value in state.items():
            if name != _COUNT and value.dtype not in (np.int64, np.float64):
                raise ValueError(f"{name} must be int64 or float64, got {value.dtype}")
        self.count = int(state[_COUNT])
        self._sums = {name[len(_SUM) :]: value.copy() for name, value in state.items() if name != _COUNT}


def _wide(value: NDArray[Any]) -> np.dtype[Any]:
    return np.dtype(np.int64 if value.dtype == np.int32 else np.float64)
