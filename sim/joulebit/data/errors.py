"""The one error that reading data raises."""

from __future__ import annotations

from pathlib import Path


class DataError(ValueError):
    """A data set is missing, damaged or unknown. One line: which file, what came, what was expected."""


def damaged(path: Path | str, came: str, expected: str, source: str = "") -> DataError:
    """The error for one file: what was found in it, what belongs there, and where a good copy comes from."""
    advice = f"; get it from {source}" if source else ""
    return DataError(f"{path}: {came}, expected {expected}{advice}")
