"""What both flows do with a bitstream that they have built: name it, complete its .hwh, write its manifest.

A name ends in the first 8 digits of a hash of both files: pynq does not send a file again whose name the board
knows, and takes what it has parsed once for all files with the same .bit.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from board import BITSTREAMS, HW

from joulebit_host.bitstreams.handoff import add_remote_clocks
from joulebit_host.bitstreams.manifest import File, Manifest, write_manifest

#: columns of Vivado's hierarchical utilisation report, nextpnr's names of the same resources
_VIVADO_COLUMNS = {
    "lut": "Total LUTs",
    "lutram": "LUTRAMs",
    "ff": "FFs",
    "bram36": "RAMB36",
    "bram18": "RAMB18",
    "dsp": "DSP Blocks",
}
_NEXTPNR_CELLS = {
    "lut": "SLICE_LUTX",
    "ff": "SLICE_FFX",
    "bram36": "RAMB36E1_RAMB36E1",
    "bram18": "RAMB18E1_RAMB18E1",
    "dsp": "DSP48E1_DSP48E1",
}


def commit() -> str | None:
    """The Git commit of the RTL and these scripts, with + where they have changes; None outside a repository."""

    def git(*words: str) -> str:
        command = ["git", *words, "--", "rtl", "synth"]
        return subprocess.run(command, cwd=HW, capture_output=True, text=True, check=False).stdout.strip()

    head = git("log", "-1", "--format=%H")
    return head + ("+" if git("status", "--porcelain") else "") if head else None


def version(command: list[str]) -> str:
    """The first line that a program says about itself."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = (done.stdout or done.stderr).splitlines()
    return lines[0].strip() if lines else "unknown"


def vivado_timing(report: str) -> dict[str, Any]:
    """Worst slack out of `report_timing_summary`."""
    table = re.search(r"WNS\(ns\).*\n[-\s]+\n\s*(-?[\d.]+)", report)
    if table is None:
        raise SystemExit("Vivado's timing summary has no WNS: is timing.rpt complete?")
    slack = float(table.group(1))
    return {"worst_slack_ns": slack, "met": slack >= 0, "signed_off": True}


def vivado_utilisation(report: str) -> dict[str, int]:
    """The top row of `report_utilization -hierarchical`."""
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in report.splitlines() if line.startswith("|")
    ]
    titles = next(index for index, row in enumerate(rows) if "Total LUTs" in row)
    top = dict(zip(rows[titles], rows[titles + 1]))
    return {name: int(top[column]) for name, column in _VIVADO_COLUMNS.items() if column in top}


def nextpnr_timing(log: str, clock_hz: int) -> dict[str, Any] | None:
    """The last frequency of the slowest clock in nextpnr's log; it lacks delays of some blocks: no sign-off."""
    found = re.findall(r"Max frequency for clock[^:]*:\s*([\d.]+) MHz", log)
    if not found:
        return None
    last = log[log.rfind("Device utilisation") :] if "Device utilisation" in log else log
    megahertz = min(map(float, re.findall(r"Max frequency for clock[^:]*:\s*([\d.]+) MHz", last) or found))
    slack = round(1e9 / clock_hz - 1e3 / megahertz, 3)
    return {"worst_slack_ns": slack, "met": slack >= 0, "signed_off": False}


def nextpnr_utilisation(log: str) -> dict[str, int]:
    """nextpnr's table of used cells."""
    cells = {name: int(count) for name, count in re.findall(r"Info:\s+(\w+):\s+(\d+)/\s*\d+\s+\d+%", log)}
    return {name: cells[cell] for name, cell in _NEXTPNR_CELLS.items() if cell in cells}


def finish(
    kind: str,
    name: str,
    config: str,
    bit: bytes,
    hwh: str,
    tool: Mapping[str, str],
    timing: Mapping[str, Any] | None,
    utilisation: Mapping[str, int] | None,
    folder: Path = BITSTREAMS,
) -> Path:
    """Writes NAME_CONFIG_KIND_HASH.bit, .hwh and .json; earlier builds of that kind go. The manifest's path."""
    hwh = add_remote_clocks(hwh)
    stem = f"{name}_{config}_{kind}_"
    full = stem + hashlib.sha256(bit + hwh.encode()).hexdigest()[:8]
    folder.mkdir(exist_ok=True)
    for old in folder.glob(f"{stem}*"):
        old.unlink()
    (folder / f"{full}.bit").write_bytes(bit)
    (folder / f"{full}.hwh").write_text(hwh, encoding="utf-8")
    files = {suffix: File.of(folder / f"{full}.{suffix}") for suffix in ("bit", "hwh")}
    manifest = Manifest(full, kind, config, files, tool, commit(), timing, utilisation)
    return write_manifest(folder, manifest)
