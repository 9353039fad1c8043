"""What of a sweep is finished: a file of lines, written by one process, read again after whatever ended that.

The run directories hold the truth; the journal saves looking into each of them. A line that is lost costs a look
into its run's directory, where the result lies.
"""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any

from joulebit.errors import JoulebitError
from joulebit.experiments.rundir import jsonable

__all__ = ["Journal"]


class Journal:
    """results.jsonl of a sweep's folder: a row for each run that ended, the last one of a run counts.

    A row has at least key (of the run) and status ("done" or "failed").
    """

    def __init__(self, folder: Path) -> None:
        """Opens or makes the journal; JoulebitError when another process has it or it cannot be written."""
        self.path = folder / "results.jsonl"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = open(self.path, "a+b")  # noqa: SIM115  (open as long as the sweep goes on)
        except OSError as error:
            raise JoulebitError(f"cannot write {self.path}: {error.strerror or error}") from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise JoulebitError(f"{folder} is being written by another sweep: wait, or stop that one") from None
        self.rows = self._read()

    def _read(self) -> dict[str, dict[str, Any]]:
        """The rows by key. A torn last line is cut off, so that the next one begins a line."""
        self._file.seek(0)
        rows: dict[str, dict[str, Any]] = {}
        position = 0
        for number, line in enumerate(self._file, 1):
            if not line.endswith(b"\n"):
                self._file.truncate(position)
                break
            position += len(line)
            try:
                row = json.loads(line)
                rows[str(row["key"])] = row
            except (ValueError, KeyError, TypeError):
                raise JoulebitError(
                    f"{self.path}: line {number} is damaged: remove that line; its run's directory has the result"
                ) from None
        return rows

    def add(self, row: dict[str, Any]) -> None:
        """Keeps the row of a run that ended, on the disk when this returns."""
        plain = jsonable(row)
        self.rows[row["key"]] = plain
        try:
            self._file.write(json.dumps(plain, allow_nan=False).encode() + b"\n")
            self._file.flush()
            os.fdatasync(self._file.fileno())
        except OSError as error:
            raise JoulebitError(
                f"cannot write {self.path}: {error.strerror or error}; no result is lost: make room and run again"
            ) from None

    def done(self, key: str) -> bool:
        """Whether a run has its result."""
        return self.rows.get(key, {}).get("status") == "done"

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
