"""Simulated beside measured energy of the same run, in two columns that never mix.

The same run means: the same configuration hash and the same weights hash. Anything else is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from joulebit.energy.model import simulate_energy
from joulebit.energy.table import EnergyTable
from joulebit.errors import JoulebitError
from joulebit_host.campaign.entry import quantity


class NotTheSameRun(JoulebitError):
    """A simulated and a measured run are not the same. One line: which, and how they differ."""

    exit_code = 1


def side_by_side(
    entry: Mapping[str, Any], simulated: Mapping[str, Any], table: EnergyTable, energy: str = "net"
) -> dict[str, Any]:
    """One measured cell and the run that was simulated.

    Args:
        entry: a valid cell, see `entry`.
        simulated: summary of a run: config_hash, weights_sha256, counters.
        table: what the counters are multiplied by.
        energy: which measured energy, net or gross.

    Returns {cell, energy, measured_j, u_k2_j, simulated_j, residual_j, residual_u, at_measured_time_j,
    residual_at_measured_time_u, table, config_hash, weights_sha256}: residual = measured - simulated; residual_u
    is it in standard uncertainties of the measured energy (half of u_k2_j), None where that is 0.
    at_measured_time_j has the table's static power for as long as the run really took, where simulated_j has it
    for the time that the table itself foretells: so errors of time and of energy can be told apart.

    Raises NotTheSameRun.
    """
    for key, what in (("config_hash", "configuration"), ("weights_sha256", "weights")):
        ours, theirs = str(entry[key]), str(simulated.get(key, ""))
        if ours != theirs or (key == "weights_sha256" and entry["config_hash"] and not ours):
            raise NotTheSameRun(
                f"refused: cell {entry['cell']} and the simulated run have different {what} "
                f"(measured {ours[:12] or 'none'}, simulated {theirs[:12] or 'none'}): only the same run can be "
                "set side by side"
            )
    measured = quantity(entry, energy)
    report = simulate_energy(simulated["counters"], table)
    joules, static = report.total_j, report.by_component["static"]
    timed = joules - static + table.static_power_w * entry["seconds"]
    residual, width = measured.value - joules, measured.expanded
    return {
        "cell": entry["cell"],
        "energy": energy,
        "measured_j": measured.value,
        "u_k2_j": width,
        "simulated_j": joules,
        "residual_j": residual,
        "residual_u": 2 * residual / width if width else None,
        "at_measured_time_j": timed,
        "residual_at_measured_time_u": 2 * (measured.value - timed) / width if width else None,
        "table": table.name,
        "config_hash": entry["config_hash"],
        "weights_sha256": entry["weights_sha256"],
    }


def beside_runs(
    entries: Sequence[Mapping[str, Any]], runs: Sequence[Path], table: EnergyTable, energy: str = "net"
) -> list[dict[str, Any]]:
    """All valid cells beside run directories of `joulebit train`; without any, beside the counters that came back
    from the device with each cell, which are of that very run. Mixes of phases are no plain runs and are left out.

    Raises NotTheSameRun for a run directory that no cell has measured.
    """
    good = [
        entry
        for entry in entries
        if entry["valid"]
        and entry[energy] is not None
        and set(entry["outcome"].get("executions", {}).values()) <= {1}
    ]
    if not runs:
        return [
            side_by_side(entry, {**entry["outcome"], "config_hash": entry["config_hash"]}, table, energy)
            for entry in good
            if entry["outcome"].get("counters")
        ]
    from joulebit.experiments.rundir import read_summary

    rows = []
    for run in runs:
        summary = read_summary(run)
        fitting = [entry for entry in good if entry["config_hash"] == summary["config_hash"]]
        if not fitting:
            raise NotTheSameRun(
                f"refused: no valid cell has measured the configuration {summary['config_hash'][:12]} of {run}"
            )
        rows += [side_by_side(entry, summary, table, energy) for entry in fitting]
    return rows
