"""A program whose output is the meter: it is started again, with back-off, when it ends."""

from __future__ import annotations

import os
import select
import subprocess
import time
from collections.abc import Sequence

from joulebit.errors import JoulebitError
from joulebit_host.meters.transports.serial_port import PortGone


class ProcessPort:
    """The standard output of a program as a port; see `wire.Port`."""

    def __init__(self, command: Sequence[str]) -> None:
        """command: program and arguments."""
        self.address = command[0]
        self._command = list(command)
        self._process: subprocess.Popen[bytes] | None = None

    def open(self) -> None:
        """Starts the program; raises JoulebitError."""
        try:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
        except OSError as error:
            raise JoulebitError(f"cannot start {self._command[0]}: {error.strerror}") from None

    def read(self, timeout_s: float) -> bytes:
        """What it prints within this time."""
        process = self._process
        if process is None or process.stdout is None:
            raise PortGone("not running")
        file = process.stdout.fileno()
        end_s = time.monotonic() + timeout_s
        while not select.select([file], [], [], max(0.0, end_s - time.monotonic()))[0]:
            if time.monotonic() >= end_s:
                return b""
        data = os.read(file, 65536)
        if not data:
            raise PortGone(f"{self._command[0]} ended")
        return data

    def write(self, data: bytes) -> None:
        """A program of this kind takes no input."""

    def discard_input(self) -> None:
        """Nothing is buffered here."""

    def close(self) -> None:
        """Ends the program."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(2.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()
