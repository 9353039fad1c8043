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

    A row has at least key (of the run) and status ("done" or "failed"). Rows stay in the file; held in memory
    is where each run's row begins.
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
        self._places: dict[str, int] = {}  # where in the file a run's last row begins
        self._done: set[str] = set()
        self._read()

    def _read(self) -> None:
        """Finds the rows. A torn last line is cut off, so that the next one begins a line."""
        self._file.seek(0)
        position = 0
        for number, line in enumerate(self._file, 1):
            if not line.endswith(b"\n"):
                self._file.truncate(position)
                break
            try:
                self._note(json.loads(line), position)
            except (ValueError, KeyError, TypeError):
                raise JoulebitError(
                    f"{self.path}: line {number} is damaged: remove that line; its run's directory has the result"
                ) from None
            position += len(line)

    def _note(self, row: dict[str, Any], position: int) -> None:
        key = str(row["key"])
        self._places[key] = position
        (self._done.add if row["status"] == "done" else self._done.discard)(key)

    def add(self, row: dict[str, Any]) -> None:
        """Keeps the row of a run that ended, on the disk when this returns."""
        line = json.dumps(jsonable(row), allow_nan=False).encode() + b"\n"
        try:
            position = self._file.seek(0, os.SEEK_END)
            self._file.write(line)
            self._file.flush()
            os.fdatasync(self._file.fileno())
        except OSError as error:
            raise JoulebitError(
                f"cannot write {self.path}: {error.strerror or error}; no result is lost: make room and run again"
            ) from None
        self._note(row, position)

    def done(self, key: str) -> bool:
        """Whether a run has its result."""
        return key in self._done

    def row(self, key: str) -> dict[str, Any]:
        """The last row of a run, read from the file; KeyError when it has none."""
        self._file.seek(self._places[key])
        found: dict[str, Any] = json.loads(self._file.readline())
        return found

    def __len__(self) -> int:
        """How many runs have ended."""
        return len(self._places)

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
