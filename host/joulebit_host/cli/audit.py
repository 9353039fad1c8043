"""`joulebit audit`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from joulebit.cli.console import clean_stdout, emit_json, json_option, note, show


@click.command()
@click.argument("path", type=click.Path(path_type=Path), metavar="DIR|FILE")
@click.option("--head", metavar="HASH", help="The log's last hash, as kept elsewhere; for one FILE.")
@json_option
def audit(path: Path, head: str | None, as_json: bool) -> int:
    """Check evidence logs byte by byte, and derive every joule again from what the meter sent.

    Exit code 1 if anything was altered, is missing, or does not follow.
    """
    from joulebit_host.campaign.audit import audit_folder
    from joulebit_host.evidence.audit import audit_log

    if head is not None and not path.is_file():
        raise click.UsageError("--head belongs to one FILE")
    with clean_stdout():
        if head is not None:
            entry = audit_log(path, head=head)
            bad = None if entry["ok"] else {key: entry[key] for key in ("file", "record", "reason")}
            result: dict[str, Any] = {"ok": entry["ok"], "first_bad": bad, "results": [entry]}
        else:
            result = audit_folder(path)
    if as_json:
        emit_json(result)
    else:
        show(_table(result["results"]))
        _phases_again(result["results"])
        for entry in result["results"]:
            if not entry["ok"]:
                note(f"not ok: {entry['reason']}")
    return 0 if result["ok"] else 1


def _phases_again(results: list[dict[str, Any]]) -> None:
    """The energies by phase, as they were derived again."""
    from joulebit_host.campaign.phases import phase_tables
    from joulebit_host.cli.measure import show_phases

    for entry in results:
        for found in phase_tables(entry.get("phases", ())):
            show_phases(found)


def _table(results: list[dict[str, Any]]) -> Any:
    from rich.table import Table

    table = Table(title="evidence", title_justify="left")
    for heading in ("log", "records", "verdict", "window"):
        table.add_column(heading, justify="right" if heading == "records" else "left")
    for heading in ("gross J", "net J"):
        table.add_column(heading, justify="right")
    for entry in results:
        verdict = "ok" if entry["ok"] else "NOT OK"
        if entry["ok"] and not entry["closed"]:
            verdict = "ok, cut off"
        derived = entry["derived"]
        if isinstance(derived, dict):
            derived = [{"name": "whole recording", "gross_j": derived["gross_j"], "net_j": None, "valid": True}]
        lines = derived or [{"name": "", "gross_j": None, "net_j": None, "valid": True}]
        for number, line in enumerate(lines):
            name = line["name"] if line["valid"] else f"{line['name']} (invalid)"
            first = [entry["file"], str(entry["records"] or ""), verdict] if number == 0 else ["", "", ""]
            table.add_row(*first, name, _joules(line["gross_j"]), _joules(line["net_j"]))
    return table


def _joules(value: float | None) -> str:
    return "" if value is None else f"{value:.5g}"
