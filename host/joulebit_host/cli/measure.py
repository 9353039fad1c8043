"""`joulebit measure`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from joulebit.cli.console import clean_stdout, command_line, emit_json, json_option, note, show

CAMPAIGNS = Path("campaigns")
TEMPLATES = ("rehearsal", "phases", "zedboard")  #: campaign files that come with the package
_TEMPLATES = Path(__file__).parent.parent / "campaign" / "templates"


@click.command()
@click.argument("plan", type=click.Path(path_type=Path), metavar="FILE.toml", required=False)
@click.option("--out", type=click.Path(path_type=Path), help="The campaign's folder; campaigns/NAME by default.")
@click.option("--resume", is_flag=True, help="Measure only what is missing or invalid in the folder.")
@click.option("--template", type=click.Choice(TEMPLATES), help="Print a campaign file to begin with, and stop.")
@json_option
def measure(plan: Path | None, out: Path | None, resume: bool, template: str | None, as_json: bool) -> int:
    """Carry out a campaign: methods x models x repeats x meters x devices, unattended.

    Without FILE.toml, one short training run on handwritten digits is measured with this machine's own counter.

    Exit code 1 if a cell is not valid in the end; `--resume` tries those again, and goes on after a crash.
    """
    if template is not None:
        if plan is not None or out is not None or resume or as_json:
            raise click.UsageError("--template only prints a campaign file: use it by itself")
        show((_TEMPLATES / f"{template}.toml").read_text(encoding="utf-8").rstrip())
        return 0
    from joulebit_host.campaign.live import LiveView
    from joulebit_host.campaign.mixes import warnings
    from joulebit_host.campaign.phases import phase_tables
    from joulebit_host.campaign.report import PAGE
    from joulebit_host.campaign.run import run_campaign
    from joulebit_host.campaign.schema import campaign_from_table, load_campaign
    from joulebit_host.campaign.state import SUMMARY, write_file
    from joulebit_host.campaign.summary import summarise

    campaign = campaign_from_table(_own_plan()) if plan is None else load_campaign(plan)
    for line in warnings(campaign):
        note(line)
    folder = out or CAMPAIGNS / campaign.name
    view = LiveView()
    with clean_stdout():
        try:
            state = run_campaign(campaign, folder, resume, view)
        except KeyboardInterrupt:
            view.finish(running=True)
            again = command_line("measure", *([str(plan)] if plan else []), out=out, resume=True)
            note(f"stopped; nothing measured is lost; go on with: {again}")
            raise
        except BaseException:
            view.finish(running=True)
            raise
        view.finish()
    summary = {"folder": str(folder), **summarise(campaign, state.entries)}
    write_file(folder / SUMMARY, json.dumps(summary, indent=1))
    if as_json:
        emit_json(summary)
    else:
        show(_groups(summary))
        for comparison in summary["comparisons"]:
            if comparison["energy"] == "net":
                show(f"net: {comparison['sentence']}")
        for found in phase_tables(summary["phases"]):
            show_phases(found)
            for line in found["notes"]:
                show(line)
        note(f"report: {folder / PAGE}")
    missing = [cell for cell in summary["cells"] if not cell["valid"]]
    for cell in missing:
        note(f"{cell['cell']}: {cell['state']}: {'; '.join(r['rule'] for r in cell['reasons'])}")
    return 1 if missing else 0


def _own_plan() -> dict[str, Any]:
    """A small campaign with this machine's own counter; JoulebitError in one line where there is none."""
    from joulebit_host.campaign.own import own_spec

    return {
        "name": "own-counter",
        "repeats": 3,
        "methods": [
            {"name": "digits", "source": "digits-lenet-fixed", "set": ["training.epochs=1"]},
        ],
        "meters": [{"name": "own", "spec": own_spec()}],
        "devices": [{"name": "here", "kind": "local"}],
    }


def _groups(summary: Mapping[str, Any]) -> Table:
    table = Table(title=f"{summary['name']}: measured energy of one run (k = 2)", title_justify="left")
    for heading in ("method", "model", "meter", "device"):
        table.add_column(heading)
    for heading in ("valid", "gross J", "idle J", "net J", "s"):
        table.add_column(heading, justify="right")
    for g in summary["groups"]:
        table.add_row(
            g["method"],
            g["model"],
            g["meter"],
            g["device"],
            f"{g['valid']}/{g['repeats']}",
            _with_width(g["gross_j"], g["gross_u_k2_j"]),
            _with_width(g["idle_j"], g["idle_u_k2_j"]),
            _with_width(g["net_j"], g["u_k2_j"]),
            "" if g["seconds"] is None else f"{g['seconds']:.4g}",
        )
    return table


def show_phases(found: Mapping[str, Any]) -> None:
    """A table of `campaign.phases.phase_tables` for people."""
    table = Table()
    table.add_column("phase")
    for way in found["ways"]:
        table.add_column(way, justify="right")
    totals = False
    for name, cells, total in found["rows"]:
        if total and not totals:
            table.add_section()
        totals = total
        table.add_row(name.replace("_", " "), *cells)
    show(found["title"])
    show(table)


def _with_width(value: float | None, width: float | None) -> str:
    """To two digits of the width."""
    if value is None or width is None:
        return ""
    digits = max(0, 1 - int(f"{width or 1.0:e}".partition("e")[2]))
    return f"{value:.{digits}f} +- {width:.{digits}f}"
