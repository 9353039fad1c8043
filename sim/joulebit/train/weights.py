"""The identity of a trained network."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def weights_sha256(weights: Mapping[str, NDArray[Any]]) -> str:
    """SHA-256 (hex) over names, types, shapes and little-endian values, in order."""
    digest = hashlib.sha256()
    for name, value in weights.items():
        little = np.ascontiguousarray(value, value.dtype.newbyteorder("<"))
        digest.update(f"{name} {little.dtype.str} {little.shape}\n".encode())
        digest.update(little.tobytes())
    return digest.hexdigest()
