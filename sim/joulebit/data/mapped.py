"""Arrays that stay in their file: members of an .npz archive that are not compressed, mapped into memory.

A data set of any size then takes as much memory as the batches in hand; the operating system keeps of the file
what there is room for.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

_LOCAL_HEADER = struct.Struct("<4s5H3I2H")  # APPNOTE.TXT 6.3.3, section 4.3.7
_CHUNK = 1 << 22


def map_member(path: Path, name: str) -> npt.NDArray[Any] | None:
    """The array `name` of an .npz file as a read-only map; None when it is compressed or not in C order.

    The member is read through once, piece by piece, to compare its CRC-32 as unpacking would.

    Raises:
        KeyError: there is no such array. ValueError: its header is damaged or holds objects.
        zipfile.BadZipFile: the archive is damaged.
    """
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo(f"{name}.npy")
    if info.compress_type != zipfile.ZIP_STORED:
        return None
    with open(path, "rb") as file:
        file.seek(info.header_offset)
        header = file.read(_LOCAL_HEADER.size)
        if len(header) < _LOCAL_HEADER.size or header[:4] != b"PK\x03\x04":
            raise zipfile.BadZipFile(f"{name}.npy has no local header")
        fields = _LOCAL_HEADER.unpack(header)
        start = file.seek(fields[-2] + fields[-1], 1)
        version = np.lib.format.read_magic(file)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in read:
            return None
        shape, fortran, dtype = read[version](file)
        offset = file.tell()
        if dtype.hasobject:
            raise ValueError(f"{name} holds Python objects")
        if fortran and len(shape) > 1:
            return None
        if offset + dtype.itemsize * int(np.prod(shape, dtype=object)) > start + info.file_size:
            raise zipfile.BadZipFile(f"{name}.npy is shorter than its header says")
        file.seek(start)
        left, check = info.file_size, 0
        while left:
            piece = file.read(min(_CHUNK, left))
            if not piece:
                raise zipfile.BadZipFile(f"{name}.npy is cut short")
            check = zlib.crc32(piece, check)
            left -= len(piece)
        if check != info.CRC:
            raise zipfile.BadZipFile(f"bad CRC-32 of {name}.npy")
    if 0 in shape:
        return np.zeros(shape, dtype)
    return np.memmap(path, dtype, "r", offset, shape)
