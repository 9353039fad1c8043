"""The command `joulebit`: its sub-commands, and how errors become one line and an exit code.

Exit codes: 0 done; 1 the check failed; 2 bad input; 70 an error in Joulebit itself; 130 and 143 stopped by SIGINT
and SIGTERM.
"""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from importlib.metadata import entry_points

import click

import joulebit
from joulebit.cli.bench import bench
from joulebit.cli.compare import compare
from joulebit.cli.console import note
from joulebit.cli.efficiency import efficiency
from joulebit.cli.paper import paper
from joulebit.cli.presets import presets
from joulebit.cli.report import report
from joulebit.cli.sweep import sweep
from joulebit.cli.train import train
from joulebit.cli.verify import verify
from joulebit.errors import JoulebitError

DONE, CHECK_FAILED, BAD_INPUT, INTERNAL_ERROR = 0, 1, 2, 70
SIMULATOR_PACKAGES = ("numba", "scipy", "torch", "sklearn", "matplotlib", "jinja2")


COMMANDS = "joulebit.commands"  #: the entry points by which other packages add sub-commands


class _Group(click.Group):
    """The sub-commands of this package and those that installed packages add (board, meters), loaded when used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *(point.name for point in entry_points(group=COMMANDS))})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        added = next(iter(entry_points(group=COMMANDS, name=cmd_name)), None)
        return None if added is None else added.load()


@click.group(cls=_Group, no_args_is_help=False, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(joulebit.__version__, prog_name="joulebit")
@click.option("--debug", is_flag=True, envvar="JOULEBIT_DEBUG", help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """Train neural networks in bit-exact fixed point, and count the joules."""


for _command in (train, presets, compare, report, verify, paper, bench, sweep, efficiency):
    cli.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point: runs the command and exits."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Runs the command; its exit code. Every error is one line on stderr."""
    debug = "--debug" in arguments[:1] or os.environ.get("JOULEBIT_DEBUG", "").lower() in (
        "1",
        "true",
        "yes",
        "on",
    )
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            result = cli.main(args=list(arguments), prog_name="joulebit", standalone_mode=False)
        except BaseException as error:
            if debug and not isinstance(error, click.exceptions.Exit | click.UsageError | SystemExit):
                traceback.print_exception(error)
            return _explain(error)
    return result if isinstance(result, int) else DONE


def _explain(error: BaseException) -> int:
    """One line for an error, and its exit code."""
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else INTERNAL_ERROR
    if isinstance(error, click.UsageError):
        where = error.ctx.command_path if error.ctx else "joulebit"
        return _fail(f"{error.format_message()} (`{where} --help` tells more)", BAD_INPUT)
    if isinstance(error, click.ClickException):
        return _fail(error.format_message(), BAD_INPUT)
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return _fail("stopped", 130)
    if isinstance(error, BrokenPipeError):
        # The reader of stdout has gone; without this, Python complains once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + 13
    if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] in SIMULATOR_PACKAGES:
        return _fail(f"this needs the package {error.name}: pip install 'joulebit[simulator]'", BAD_INPUT)
    if isinstance(error, JoulebitError):
        return _fail(str(error), error.exit_code)
    if isinstance(error, ValueError):
        return _fail(str(error), BAD_INPUT)
    if isinstance(error, OSError) and error.filename is not None:
        return _fail(f"{error.filename}: {error.strerror or error}", BAD_INPUT)
    kind = type(error).__name__
    if isinstance(error, MemoryError) or kind == "OutOfMemoryError":  # torch's, of a CUDA device
        told = str(error).partition("\n")[0].rstrip(".") or "no more memory"
        return _fail(f"out of memory: {told}: take a smaller batch (training.batch_size) or network", BAD_INPUT)
    return _fail(f"internal error: {kind}: {error} (`joulebit --debug ...` shows where)", INTERNAL_ERROR)


def _fail(message: str, code: int) -> int:
    note(f"joulebit: {' '.join(message.split())}")
    return code


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: object = None,
    line: object = None,
) -> None:
    note(f"joulebit: warning: {' '.join(str(message).split())}")


if __name__ == "__main__":
    main()
