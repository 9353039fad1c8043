"""Engines that other installed packages add, and what they compute on while a run lasts.

An entry point of the group `joulebit.engines` is a function that opens a session from keyword options (a board's
name, say). A session makes engines, reports what it did, and is closed at the end of the run:

    with engine_session("overlay", board="virtual"):
        engine = make_engine("overlay", arithmetic)

`wrapped_engines` stands between a run and whichever engine it asks for.
"""

from __future__ import annotations

import atexit
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib.metadata import entry_points
from typing import Any, Protocol

from joulebit.engine.base import Engine
from joulebit.fixed.arithmetic import Arithmetic

__all__ = [
    "GROUP", "EngineSession", "added_engines", "current_session", "engine_session", "wrapped", "wrapped_engines",
]  # fmt: skip

GROUP = "joulebit.engines"


class EngineSession(Protocol):
    """What an added engine computes on."""

    def make(self, arithmetic: Arithmetic, threads: int | None = None) -> Engine:
        """An engine of these widths."""
        ...

    def report(self) -> dict[str, Any]:
        """What was done so far, for JSON."""
        ...

    def close(self) -> None:
        """Gives everything back. A second call does nothing."""
        ...


_current: ContextVar[tuple[str, EngineSession] | None] = ContextVar("_current", default=None)
_wrap: ContextVar[Callable[[Engine], Engine] | None] = ContextVar("_wrap", default=None)


@cache
def added_engines() -> tuple[str, ...]:
    """Names of the engines that installed packages add."""
    return tuple(sorted(point.name for point in entry_points(group=GROUP)))


@contextmanager
def engine_session(name: str, **options: Any) -> Iterator[EngineSession]:
    """Within it, `make_engine(name, ...)` makes engines of this one session."""
    session = _open(name, options)
    token = _current.set((name, session))
    try:
        yield session
    finally:
        _current.reset(token)
        session.close()


def current_session(name: str) -> EngineSession:
    """The session of this engine: of `engine_session`, else one with default options, until the process ends."""
    found = _current.get()
    if found is None or found[0] != name:
        session = _open(name, {})
        atexit.register(session.close)
        found = (name, session)
        _current.set(found)
    return found[1]


@contextmanager
def wrapped_engines(wrap: Callable[[Engine], Engine]) -> Iterator[None]:
    """Within it, what `make_engine` makes goes through `wrap`: to time its operations, or to do them again."""
    token = _wrap.set(wrap)
    try:
        yield
    finally:
        _wrap.reset(token)


def wrapped(engine: Engine) -> Engine:
    """The engine as `wrapped_engines` wants it."""
    wrap = _wrap.get()
    return wrap(engine) if wrap else engine


def _open(name: str, options: dict[str, Any]) -> EngineSession:
    point = next(iter(entry_points(group=GROUP, name=name)), None)
    if point is None:
        raise ValueError(f"no installed package adds an engine {name!r}: reinstall joulebit")
    session: EngineSession = point.load()(**options)
    return session
