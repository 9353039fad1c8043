"""Runs that differ in their seed alone, as one row: means and standard deviations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import fmean, stdev
from typing import Any

Row = dict[str, Any]
#: Figures that are averaged. The others are those of the first seed, or dropped where they belong to one run.
AVERAGED = (
    "steps",
    "epochs",
    "top1",
    "top5",
    "top1_against_baseline",
    "energy_simulated_j",
    "energy_ratio",
    "saving_vs_float32",
    "mac_saving",
    "predictor_share",
    "predictor_error",
    "skip_ratio",
    "batch_share",
    "sample_share",
)
_OF_ONE_RUN = ("run", "config_hash", "weights_sha256")


def averaged(rows: Iterable[Row]) -> list[Row]:
    """One row for the rows of each group (`group` of a row), in the order of their first ones.

    Figures are means over the seeds, None where a run has none. Adds seeds (a list) and, of two runs and more,
    top1_deviation (points) and energy_deviation (J): sample standard deviations. A group with an unfinished run is
    unfinished.
    """
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row["group"], []).append(row)
    return [_mean(group) for group in groups.values()]


def _mean(rows: Sequence[Row]) -> Row:
    found = dict(rows[0])
    found["seeds"] = [row["seed"] for row in rows]
    if len(rows) == 1:
        return found
    for key in AVERAGED:
        known = [row[key] for row in rows if row[key] is not None]
        found[key] = fmean(known) if len(known) == len(rows) else None
    for key, of in (("top1_deviation", "top1"), ("energy_deviation", "energy_simulated_j")):
        known = [row[of] for row in rows if row[of] is not None]
        found[key] = stdev(known) if len(known) == len(rows) else None
    found.update(dict.fromkeys(_OF_ONE_RUN), finished=all(row["finished"] for row in rows))
    found["state"] = next((row["state"] for row in rows if not row["finished"]), rows[0]["state"])
    return found
