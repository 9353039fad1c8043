"""Errors that a user can act on: one line each, shown without a traceback by the command."""

from __future__ import annotations

import difflib
import signal
from collections.abc import Iterable


class JoulebitError(Exception):
    """What came, what was allowed, what to do: one line."""

    exit_code = 2  #: of the command: bad input


class Interrupted(JoulebitError):
    """A run stopped by a signal, after its state was saved.

    Attributes:
        signal_number: 2 (SIGINT) or 15 (SIGTERM), say; the command exits with 128 + this.
        step: steps done, all of them in the last checkpoint.
    """

    def __init__(self, signal_number: int, step: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signal_number).name} after step {step}, which is saved")
        self.signal_number = signal_number
        self.step = step
        self.exit_code = 128 + signal_number


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """` (did you mean NAME?)` for the nearest known name, or nothing."""
    near = difflib.get_close_matches(name, list(known), 1, 0.55)
    return f" (did you mean {near[0]}?)" if near else ""
