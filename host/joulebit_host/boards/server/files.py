"""The few files that pynq's client looks for on a board, in memory: nothing of this machine's disk is ever served.

| path | client | |
|---|---|---|
| `/proc/version`, `/proc/device-tree/chosen/pynq_board` | reads | what board this is |
| `/sys/class/fpga_manager/fpga0/state` | reads | `unknown`, `operating` or `write error` |
| `/sys/class/fpga_manager/fpga0/flags` | reads, writes | `0`: a full bitstream |
| `/sys/class/fpga_manager/fpga0/firmware` | writes | name of a file in /lib/firmware: loads it |
| `/lib/firmware/NAME` | reads, writes | bitstreams |
| `/tmp/NAME` | reads, writes | anything small (the client's self-test) |
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Iterator

from joulebit_host.boards.server.limits import MIB, Limits, Refused

__all__ = ["BOARD_NAME", "Files"]

BOARD_NAME = "Virtual ZedBoard"
_MANAGER = "/sys/class/fpga_manager/fpga0/"
_FIRMWARE = "/lib/firmware/"
_WRITABLE = re.compile(r"(/lib/firmware|/tmp)/[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_CHUNK = 2 * MIB


class Files:
    """The virtual file system.

    Args:
        limits: sizes and numbers of files.
        program: called with the content of a bitstream that is to be loaded; raises Refused where it cannot be.
    """

    def __init__(self, limits: Limits, program: Callable[[str, bytes], None]) -> None:
        self._limits = limits
        self._program = program
        self._lock = threading.Lock()
        self._kept: dict[str, bytes] = {}
        self._fixed = {
            "/proc/version": b"Linux version 5.15.0-joulebit-virtual (armv7l) #1 SMP PREEMPT\n",
            "/proc/device-tree/chosen/pynq_board": BOARD_NAME.encode() + b"\0",
        }
        self._manager = {_MANAGER + "state": b"unknown\n", _MANAGER + "flags": b"0\n"}

    def exists(self, path: str) -> bool:
        """Whether there is such a file."""
        with self._lock:
            return path in self._all()

    def _all(self) -> dict[str, bytes]:
        return {_MANAGER + "firmware": b"", **self._fixed, **self._manager, **self._kept}

    def read(self, path: str) -> Iterator[bytes]:
        """The content in pieces; at least one."""
        with self._lock:
            content = self._all().get(path)
        if content is None:
            raise Refused("NOT_FOUND", f"no file {path!r} on the virtual board")
        for start in range(0, max(1, len(content)), _CHUNK):
            yield content[start : start + _CHUNK]

    def write(self, pieces: Iterable[tuple[str, bytes]]) -> None:
        """Writes one file that comes in pieces (path, data); it is there when the last has come, or not at all."""
        path, parts, size = None, [], 0
        for name, data in pieces:
            path = name if path is None else path
            if name != path:
                raise Refused("INVALID_ARGUMENT", f"a stream is one file: got {name!r} after {path!r}")
            size += len(data)
            self._allowed(path, size)
            parts.append(data)
        if path is None:
            raise Refused("INVALID_ARGUMENT", "a stream without a file")
        self._store(path, b"".join(parts))

    def _allowed(self, path: str, size: int) -> None:
        if path in (_MANAGER + "flags", _MANAGER + "firmware"):
            if size > 256:
                raise Refused("RESOURCE_EXHAUSTED", f"{path}: at most 256 bytes, got {size}")
        elif not _WRITABLE.fullmatch(path):
            raise Refused(
                "PERMISSION_DENIED", f"{path!r} cannot be written on the virtual board: see /lib/firmware"
            )
        elif size > self._limits.file:
            raise Refused(
                "RESOURCE_EXHAUSTED", f"{path}: at most {self._limits.file:,} bytes, got {size:,} or more"
            )

    def _store(self, path: str, content: bytes) -> None:
        if path == _MANAGER + "flags":
            if content.strip() not in (b"0", b"0x0"):
                raise Refused("INVALID_ARGUMENT", "flags: only 0 (a full bitstream); there are no partial ones")
            return
        if path == _MANAGER + "firmware":
            self._load(content.decode(errors="replace").strip())
            return
        with self._lock:
            others = [data for name, data in self._kept.items() if name != path]
            if len(others) >= self._limits.files or sum(map(len, others)) + len(content) > self._limits.file_total:
                raise Refused(
                    "RESOURCE_EXHAUSTED",
                    f"{path}: at most {self._limits.files} files of {self._limits.file_total:,} bytes together; "
                    "start the server again to remove them",
                )
            self._kept[path] = content

    def _load(self, name: str) -> None:
        with self._lock:
            content = self._kept.get(_FIRMWARE + name)
        try:
            if content is None:
                raise Refused("NOT_FOUND", f"no file {_FIRMWARE + name!r} on the virtual board")
            self._program(name, content)
        except Refused:
            # pynq does not upload a file again whose name is there: a bad one must not stay.
            with self._lock:
                self._kept.pop(_FIRMWARE + name, None)
                self._manager[_MANAGER + "state"] = b"write error\n"
            raise
        with self._lock:
            self._manager[_MANAGER + "state"] = b"operating\n"
