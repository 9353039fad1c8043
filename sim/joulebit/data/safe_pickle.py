"""Pickles of byte arrays and plain values, read without running anything that they name.

A pickle may call any function. The CIFAR files need four names, and none of the real objects: small stand-ins take
their place here, so that even these run no code of numpy's on what the file says. Every other name is refused.
"""

from __future__ import annotations

import pickle
from typing import IO, TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt


class _Type:
    """Stands in for ``numpy.dtype``: only unsigned bytes."""

    def __init__(self, code: object = None, *_: object) -> None:
        if code not in ("u1", b"u1", "|u1", b"|u1", "uint8", b"uint8"):
            raise pickle.UnpicklingError(f"array type {code!r}, expected u1")

    def __setstate__(self, state: object) -> None:
        """Byte order and alignment: nothing to note for single bytes."""


class _Array:
    """Stands in for ``numpy.ndarray``; keeps shape and bytes, and is made an array afterwards."""

    def __init__(self, *_: object) -> None:
        self.array: npt.NDArray[np.uint8] | None = None

    def __setstate__(self, state: Any) -> None:
        try:
            _, shape, kind, fortran, raw = state
        except (TypeError, ValueError):
            raise pickle.UnpicklingError("an array's state is not (version, shape, type, order, bytes)") from None
        sizes_ok = (
            isinstance(shape, tuple) and len(shape) <= 4 and all(isinstance(n, int) and n >= 0 for n in shape)
        )
        if not (sizes_ok and isinstance(kind, _Type) and isinstance(raw, bytes)):
            raise pickle.UnpicklingError("an array's state does not hold a shape, a type and bytes")
        total = 1
        for size in shape:
            total *= size
        if total != len(raw):
            raise pickle.UnpicklingError(f"an array of shape {list(shape)} with {len(raw)} bytes")
        self.array = np.frombuffer(raw, np.uint8).reshape(shape, order="F" if fortran else "C")


def _reconstruct(*_: object) -> _Array:
    """Stands in for numpy's ``_reconstruct(ndarray, (0,), b"b")``."""
    return _Array()


def _encode(text: object, encoding: object = None) -> bytes:
    """Stands in for ``_codecs.encode``, by which protocol 2 writes bytes."""
    if not isinstance(text, str) or encoding not in ("latin1", b"latin1"):
        raise pickle.UnpicklingError(f"an encoding to {encoding!r}, expected latin1")
    return text.encode("latin1")


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Type,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("_codecs", "encode"): _encode,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which no data file needs") from None


def load_plain_pickle(stream: IO[bytes]) -> Any:
    """The pickled value: None, numbers, strings, lists, tuples, dicts, and uint8 arrays among a dict's values.

    Strings of Python 2 come as bytes.

    Raises:
        pickle.UnpicklingError: the pickle is damaged, or names anything but the parts of a byte array.
    """
    try:
        value = _Unpickler(stream, encoding="bytes").load()
    except pickle.UnpicklingError:
        raise
    except Exception as error:  # damaged opcodes surface as any of a dozen exceptions
        raise pickle.UnpicklingError(f"{type(error).__name__}: {error}") from None
    if isinstance(value, _Array):
        return value.array
    if isinstance(value, dict):
        return {key: item.array if isinstance(item, _Array) else item for key, item in value.items()}
    return value
