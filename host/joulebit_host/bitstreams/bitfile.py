"""The container of a Xilinx bitstream (.bit), and what a virtual bitstream carries in it.

A .bit file is a list of fields: a length and a magic, the number 1, then fields with a letter: a design's name,
b part, c date, d time, each a 16-bit length and text ending in a zero; e, a 32-bit length and the configuration
data up to the end of the file. Numbers are big-endian. On the way to the FPGA manager pynq swaps the bytes of each
32-bit word of the data (.bin).

A *virtual* bitstream's data is no configuration of a device but a signed note for the virtual board: MAGIC, 32-bit
length, JSON, zeros up to a multiple of 4 bytes, and the SHA-256 of all that.
"""

from __future__ import annotations

import hashlib
import json
import struct
from typing import Any

from joulebit.errors import JoulebitError

__all__ = ["MAGIC", "bit_to_bin", "pack_bit", "pack_note", "unpack_bit", "unpack_note"]

MAGIC = b"JOULEBIT virtual"
_HEAD = bytes.fromhex("0ff00ff00ff00ff000")
_SYNC_WORD = bytes.fromhex("aa995566")  #: starts the configuration data of a 7-series device (UG470, table 5-19)
_DIGEST = hashlib.sha256().digest_size


def pack_bit(data: bytes, name: str, part: str) -> bytes:
    """A .bit file around configuration data (a multiple of 4 bytes), without date so that it is reproducible."""
    if len(data) % 4:
        raise ValueError(f"configuration data must be a multiple of 4 bytes, got {len(data)}")
    out = struct.pack(">H", len(_HEAD)) + _HEAD + struct.pack(">H", 1)
    for letter, text in (("a", name), ("b", part), ("c", "1980/01/01"), ("d", "00:00:00")):
        field = text.encode() + b"\0"
        out += letter.encode() + struct.pack(">H", len(field)) + field
    return out + b"e" + struct.pack(">I", len(data)) + data


def unpack_bit(content: bytes) -> tuple[str, str, bytes]:
    """(name, part, configuration data) of a .bit file; JoulebitError where it is none."""
    try:
        (size,) = struct.unpack_from(">H", content)
        at = 2 + size
        (one,) = struct.unpack_from(">H", content, at)
        at += 2
        fields: dict[str, bytes] = {}
        while one == 1 and at < len(content):
            letter = chr(content[at])
            wide = letter == "e"
            (size,) = struct.unpack_from(">I" if wide else ">H", content, at + 1)
            at += 5 if wide else 3
            fields[letter] = content[at : at + size]
            if len(fields[letter]) != size:
                break
            at += size
        data = fields["e"]
    except (struct.error, KeyError) as error:
        raise JoulebitError("this is no .bit file: its fields cannot be read") from error
    if at != len(content):
        raise JoulebitError(
            f"the .bit file is cut off or has more behind its data: read {at} of {len(content)} bytes"
        )
    texts = (fields.get(letter, b"").rstrip(b"\0").decode(errors="replace") for letter in "ab")
    return (*texts, data)  # type: ignore[return-value]


def bit_to_bin(data: bytes) -> bytes:
    """Configuration data of a .bit as the FPGA manager takes it, or back: each 32-bit word's bytes reversed."""
    if len(data) % 4:
        raise JoulebitError(f"configuration data must be a multiple of 4 bytes, got {len(data)}")
    out = bytearray(len(data))
    for byte in range(4):
        out[byte::4] = data[3 - byte :: 4]
    return bytes(out)


def pack_note(note: dict[str, Any]) -> bytes:
    """The configuration data of a virtual bitstream."""
    text = json.dumps(note, sort_keys=True).encode()
    body = MAGIC + struct.pack(">I", len(text)) + text
    body += bytes(-len(body) % 4)
    return body + hashlib.sha256(body).digest()


def unpack_note(data: bytes) -> dict[str, Any]:
    """What a virtual bitstream says; JoulebitError where it is none or its hash does not fit its content."""
    if not data.startswith(MAGIC):
        real = " (it holds a configuration of a real device)" if _SYNC_WORD in data[:4096] else ""
        raise JoulebitError(f"this is no virtual bitstream{real}: load joulebit_..._virtual_....bit here")
    body, digest = data[:-_DIGEST], data[-_DIGEST:]
    if hashlib.sha256(body).digest() != digest:
        raise JoulebitError("the bitstream is damaged: its SHA-256 does not fit its content")
    (size,) = struct.unpack_from(">I", body, len(MAGIC))
    start = len(MAGIC) + 4
    note: dict[str, Any] = json.loads(body[start : start + size])
    return note
