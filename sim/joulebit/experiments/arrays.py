"""Named arrays in one NPZ file that is either whole and unchanged, or refused.

The file is an ordinary uncompressed NPZ (numpy.load reads it, without pickle) with one more entry, `header.json`:
what the writer wanted to add, and the SHA-256 of all of it. Equal contents give equal files.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

HEADER = "header.json"
_EPOCH = (1980, 1, 1, 0, 0, 0)

Arrays = dict[str, NDArray[Any]]


class DamagedFileError(ValueError):
    """A file of arrays is cut short or changed."""


def arrays_sha256(arrays: Mapping[str, NDArray[Any]]) -> str:
    """SHA-256 (hex) of names, types, shapes and values, in the order given; little-endian, C order."""
    digest = hashlib.sha256()
    for name, array in arrays.items():
        values = np.ascontiguousarray(array)
        values = values.astype(values.dtype.newbyteorder("<"), copy=False)
        digest.update(f"{name} {values.dtype.str} {list(array.shape)}\n".encode())
        digest.update(values.reshape(-1).view(np.uint8).data if values.size else b"")
    return digest.hexdigest()


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]], header: Mapping[str, Any]) -> None:
    """Writes a file that appears whole or not at all; OSError when the disk is full, say."""
    for name, array in arrays.items():
        if array.dtype.hasobject:
            raise ValueError(f"array {name!r} holds Python objects, which are never saved")
    head = json.dumps({**header, "sha256": _digest(arrays, header)}, sort_keys=True, allow_nan=False)

    def write(file: IO[bytes]) -> None:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
            archive.writestr(zipfile.ZipInfo(HEADER, _EPOCH), head)
            for name, array in arrays.items():
                with archive.open(zipfile.ZipInfo(f"{name}.npy", _EPOCH), "w", force_zip64=True) as entry:
                    np.lib.format.write_array(entry, np.asanyarray(array), allow_pickle=False)

    replace_file(path, write)


def read_arrays(path: Path) -> tuple[Arrays, dict[str, Any]]:
    """The arrays and the header of a file; DamagedFileError unless it is exactly what was written."""
    arrays: Arrays = {}
    try:
        with zipfile.ZipFile(path) as archive:
            header = json.loads(archive.read(HEADER))
            for name in archive.namelist():
                if name != HEADER:
                    with archive.open(name) as entry:
                        arrays[name.removesuffix(".npy")] = np.lib.format.read_array(entry, allow_pickle=False)
        claimed = header.pop("sha256")
    except FileNotFoundError:
        raise
    except Exception as error:  # whatever a damaged zip, header or array leads to
        raise DamagedFileError(f"{path}: damaged: {type(error).__name__}: {error}") from None
    if claimed != _digest(arrays, header):
        raise DamagedFileError(f"{path}: damaged: the contents do not have the SHA-256 that was written with them")
    return arrays, header


def replace_file(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Lets `write(binary file)` make a new file, then puts it in place of `path` in one step, durably."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with open(temporary, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _digest(arrays: Mapping[str, NDArray[Any]], header: Mapping[str, Any]) -> str:
    text = json.dumps(header, sort_keys=True, allow_nan=False)
    return hashlib.sha256((arrays_sha256(arrays) + text).encode()).hexdigest()
