"""Calls of the command in this process: what they print, and that it is one line or one JSON object."""

from __future__ import annotations

import json

from joulebit.cli.main import run


def one_line_error(capsys, *arguments: str, code: int = 2) -> str:
    assert run(list(arguments)) == code
    out, err = capsys.readouterr()
    assert out == ""
    lines = [line for line in err.splitlines() if line]  # click ends the line of a ^C
    assert len(lines) == 1, err
    assert lines[0].startswith("joulebit: ")
    return lines[0]


def one_json_object(capsys, *arguments: str, code: int = 0) -> dict:
    assert run([*arguments, "--json"]) == code
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    result = json.loads(out)
    assert isinstance(result, dict)
    return result
