"""What all sub-commands share: where output goes, and how results become text or JSON.

Results go to stdout; progress, notes and errors to stderr, so that stdout can be piped.
"""

from __future__ import annotations

import contextlib
import json
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import click
from rich.console import Console

from joulebit.errors import JoulebitError
from joulebit.experiments.rundir import jsonable

_Function = TypeVar("_Function", bound=Callable[..., Any])


def json_option(function: _Function) -> _Function:
    """The option --json, as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print exactly one JSON object on stdout.")(
        function
    )


def notes() -> Console:
    """For everything that is no result."""
    return Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)


def note(text: str) -> None:
    """One line on stderr."""
    click.echo(text, err=True)


def emit_json(result: Mapping[str, Any]) -> None:
    """The one JSON object of a command; NaN and infinity become null."""
    click.echo(json.dumps(jsonable(result), allow_nan=False))


def show(renderable: Any) -> None:
    """A table, or text, on stdout; as wide as it needs to be when stdout is no terminal."""
    if isinstance(renderable, str):
        click.echo(renderable)
        return
    width = None if sys.stdout.isatty() else 240
    Console(highlight=False, markup=False, emoji=False, width=width).print(renderable)


@contextlib.contextmanager
def clean_stdout() -> Iterator[None]:
    """While work is done, whatever a library prints goes to stderr: stdout belongs to the result."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


def command_line(command: str, *arguments: str, **options: Any) -> str:
    """A command as it would be typed; options that are None, False or empty are left out, tuples repeat theirs."""
    words = ["joulebit", command, *arguments]
    for name, value in options.items():
        option = f"--{name.replace('_', '-')}"
        if value is True:
            words.append(option)
        elif isinstance(value, tuple):
            words += [word for item in value for word in (option, str(item))]
        elif value:
            words += [option, str(value)]
    return shlex.join(words)


def resumable(stop: JoulebitError, command: str) -> JoulebitError:
    """The interruption, with the command that goes on."""
    stop.args = (f"{stop}; go on with: {command}",)
    return stop


def si(value: float, unit: str) -> str:
    """value with an SI prefix and three digits, such as 1.23 kJ."""
    if value == 0:
        return f"0 {unit}"
    for factor, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n")):
        if abs(value) >= factor:
            return f"{value / factor:.3g} {prefix}{unit}"
    return f"{value:.3g} {unit}"
