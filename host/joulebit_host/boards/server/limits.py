"""What a client may use of a virtual board's server, and how a refusal is told."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20


@dataclass(frozen=True)
class Limits:
    """Sizes in bytes.

    Attributes:
        memory: all buffers together; buffers: their number.
        file: one file; files: their number; file_total: all of them together.
        message: one message of the protocol. pynq sends pieces of 2 MiB.
        calls: procedures under way at a time.
        idle_s: after so many seconds without a call the buffers of a client are freed.
    """

    memory: int = 128 * MIB
    buffers: int = 4096
    file: int = 16 * MIB
    files: int = 32
    file_total: int = 64 * MIB
    message: int = 4 * MIB
    calls: int = 32
    idle_s: float = 900.0


class Refused(Exception):
    """A request that is not granted.

    Attributes:
        code: name of the gRPC status code.
    """

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code
