"""The identity of a trained network, and its weights as integers."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from joulebit.fixed.arithmetic import MASTER_FRACTION_BITS


def weights_sha256(weights: Mapping[str, NDArray[Any]]) -> str:
    """SHA-256 (hex) over names, types, shapes and little-endian values, in order."""
    digest = hashlib.sha256()
    for name, value in weights.items():
        little = np.ascontiguousarray(value, value.dtype.newbyteorder("<"))
        digest.update(f"{name} {little.dtype.str} {little.shape}\n".encode())
        digest.update(little.tobytes())
    return digest.hexdigest()


def check_same(own: Mapping[str, NDArray[Any]], other: Mapping[str, NDArray[Any]]) -> None:
    """Raises ValueError unless `other`, weights or a state, has an array of the same shape for each of `own`."""
    for name, value in own.items():
        if name not in other:
            raise ValueError(f"{name!r} is missing: this belongs to another model or method")
        if other[name].shape != value.shape:
            raise ValueError(
                f"{name!r} has shape {other[name].shape}, this network needs {value.shape}: "
                "it belongs to another model or data set"
            )


def masters_of(weights: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.int32]]:
    """Weights as int32 masters (Q3.28): integers as they are, floating-point numbers rounded and clamped."""
    return {name: value if value.dtype.kind == "i" else _masters(value) for name, value in weights.items()}


def _masters(value: NDArray[Any]) -> NDArray[np.int32]:
    limit = (1 << 31) - 1
    scaled = np.rint(np.ldexp(value.astype(np.float64), MASTER_FRACTION_BITS))
    return np.clip(scaled, -limit, limit).astype(np.int32)
