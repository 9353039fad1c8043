"""Errors that a user can act on: one line each, shown without a traceback by the command."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class JoulebitError(Exception):
    """What came, what was allowed, what to do: one line."""

    exit_code = 2  #: of the command: bad input


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """` (did you mean NAME?)` for the nearest known name, or nothing."""
    near = difflib.get_close_matches(name, list(known), 1, 0.55)
    return f" (did you mean {near[0]}?)" if near else ""
