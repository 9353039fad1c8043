"""The cells of campaigns as what a calibration is fitted to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from joulebit.errors import JoulebitError
from joulebit_host.campaign.calibration import MeasuredRun
from joulebit_host.campaign.entry import quantity


def measured_runs(entries: Sequence[tuple[Path, Mapping[str, Any]]], energy: str) -> list[MeasuredRun]:
    """All valid cells that brought counters back: the accelerator's own, of a board, else the run's.

    Args:
        entries: (folder of the campaign, cell).
        energy: "net" or "gross".

    Raises JoulebitError if there is none.
    """
    runs = []
    for folder, entry in entries:
        outcome = entry["outcome"]
        counters = outcome.get("accelerator", {}).get("work") or outcome.get("counters")
        if not entry["valid"] or not counters or entry[energy] is None:
            continue
        work = ".".join(filter(None, (entry["method"], entry["model"])))
        name = f"{folder.name}/{entry['cell']}"
        runs.append(MeasuredRun(name, work, counters, entry["seconds"], quantity(entry, energy)))
    if not runs:
        raise JoulebitError(
            "no valid cell has counters: measure training runs (local, virtual or board devices), or "
            "commands that print them as JSON"
        )
    return runs
