"""Engines beside the oracle: one operation on both, compared with `==`."""

import numpy as np
from oracle import Oracle

from joulebit.engine.numpy_engine import NumpyEngine


def make_numpy(arithmetic):
    return NumpyEngine(arithmetic)


def make_numba(arithmetic):
    from joulebit.engine.numba_engine import NumbaEngine

    return NumbaEngine(arithmetic)


def make_torch(arithmetic):
    from joulebit.engine.torch_engine import TorchEngine

    return TorchEngine(arithmetic)


class Bench:
    """An engine beside the oracle: numpy arrays go to both, results come back as plain Python values."""

    def __init__(self, make, arithmetic):
        self.arithmetic = arithmetic
        self.oracle, self.engine = Oracle(arithmetic), make(arithmetic)

    def check(self, operation, *arguments, host=(), only_oracle=None, **named):
        """Run one operation on both; `host` names the arguments that an engine takes as numpy arrays.

        A record of constants goes to both as it is. Returns the oracle's result.
        """
        ref = getattr(self.oracle, operation)(
            *map(plain, arguments),
            **{name: plain(value) for name, value in named.items()},
            **(only_oracle or {}),
        )
        comp = getattr(self.engine, operation)(
            *(self._move(value, index in host) for index, value in enumerate(arguments)),
            **{name: self._move(value, name in host) for name, value in named.items()},
        )
        assert self._plain_result(comp) == plain(ref), operation
        return ref

    def _move(self, value, stays):
        return self.engine.from_numpy(value.copy()) if isinstance(value, np.ndarray) and not stays else value

    def _plain_result(self, result):
        if isinstance(result, tuple):
            return tuple(self._plain_result(part) for part in result)
        if isinstance(result, (int, dict)):
            return result
        return (result if isinstance(result, np.ndarray) else self.engine.to_numpy(result)).tolist()

    def dtype_of(self, operation, *arguments):
        """dtype of the first array that an operation returns."""
        result = getattr(self.engine, operation)(*(self._move(value, False) for value in arguments))
        first = result[0] if isinstance(result, tuple) else result
        return self.engine.to_numpy(first).dtype


def plain(value):
    """Nested lists instead of arrays, tuples of them instead of tuples of arrays."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    return tuple(map(plain, value)) if type(value) is tuple else value
