"""Options of `joulebit train` for engines that other packages add, and what those leave in the run's folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import click

from joulebit.cli.console import note
from joulebit.engine.sessions import EngineSession, added_engines, engine_session
from joulebit.errors import JoulebitError
from joulebit.experiments.config import RunConfig
from joulebit.experiments.rundir import jsonable

__all__ = ["REPORT", "BoardOptions", "board_options", "session_of"]

REPORT = "accelerator.json"  #: in a run's folder: one entry per start on an added engine

_Function = TypeVar("_Function", bound=Callable[..., Any])


class BoardOptions(NamedTuple):
    """What was said on the command line; None: nothing."""

    board: str | None = None
    array_config: str | None = None
    verify_every: int | None = None
    count_wrong: bool | None = None

    def words(self) -> dict[str, Any]:
        """For `command_line`."""
        return {name: value for name, value in self._asdict().items() if value is not None}


def board_options(function: _Function) -> _Function:
    """The options --board, --array-config, --verify-every and --count-wrong."""
    for option in (
        click.option(
            "--count-wrong", is_flag=True, default=None,
            help="With --engine overlay: form the exact gradients of predicted signs, too, and count wrong signs.",
        ),
        click.option(
            "--verify-every", type=click.IntRange(min=0), metavar="N",
            help="With --engine overlay: compute every N-th pass on the processor, too, and compare.",
        ),
        click.option(
            "--array-config", metavar="NAME",
            help="With --engine overlay: the accelerator's configuration, default, open or tiny.",
        ),
        click.option(
            "--board", metavar="NAME",
            help="With --engine overlay: virtual (the default), virtual-rtl, remote:HOST[:PORT] or zed.",
        ),
    ):  # fmt: skip
        function = option(function)
    return function


@contextmanager
def session_of(config: RunConfig, options: BoardOptions, folder: Path | None) -> Iterator[None]:
    """What the run's engine computes on, while it runs; its report goes into `folder` (None: nowhere)."""
    if config.engine not in added_engines():
        if options.words():
            given = ", ".join(f"--{name.replace('_', '-')}" for name in options.words())
            raise click.UsageError(
                f"{given} is for engines on a board, engine {config.engine!r} has none: add --engine overlay"
            )
        yield
        return
    with engine_session(config.engine, **options.words(), selective=config.method.update == "psg") as session:
        try:
            yield
        finally:
            if folder is not None and folder.is_dir():
                _record(session, folder / REPORT)


def _record(session: EngineSession, path: Path) -> None:
    """Adds the session's report to the run's folder; a broken board must not hide what broke it."""
    try:
        report = session.report()
        entries = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
        path.write_text(json.dumps([*entries, jsonable(report)], indent=1) + "\n", encoding="utf-8")
    except (JoulebitError, OSError, ValueError) as error:
        note(f"joulebit: warning: no report of the accelerator: {error}")
