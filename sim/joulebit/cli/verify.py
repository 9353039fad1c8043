"""`joulebit verify`."""

from __future__ import annotations

import importlib.util

import click

from joulebit.cli.console import clean_stdout, emit_json, json_option, note, show
from joulebit.engine.factory import INTEGER_ENGINES


@click.command()
@click.option("--engines", metavar="A,B,..", help="Which ones; all that are installed by default.")
@json_option
@click.pass_context
def verify(context: click.Context, engines: str | None, as_json: bool) -> None:
    """Prove on this machine that the engines agree to the bit (exit code 1 if not)."""
    chosen = _parse(engines) if engines else [name for name in INTEGER_ENGINES if _installed(name)]
    from joulebit.experiments.verify import verify as run_verify

    with clean_stdout():
        result = run_verify(chosen, note)
    if as_json:
        emit_json(result)
    elif result["identical"]:
        show(f"identical: {', '.join(result['engines'])} agree to the bit in {result['cases']} cases")
    else:
        show(f"DIFFERENT: {result['first_difference']}")
    context.exit(0 if result["identical"] else 1)


def _parse(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in INTEGER_ENGINES:
            raise click.BadParameter(
                f"unknown engine {name!r}; known: {', '.join(INTEGER_ENGINES)}", param_hint="--engines"
            )
    if len(set(names)) < 2:
        raise click.BadParameter(
            f"at least two engines are needed to compare, got {text!r}", param_hint="--engines"
        )
    return list(dict.fromkeys(names))


def _installed(engine: str) -> bool:
    """Whether the package that an engine is named after can be imported."""
    return importlib.util.find_spec(engine) is not None
