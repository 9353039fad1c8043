"""The papers' printed figures beside what this tool computes, one file per paper.

A paper is a module of this package with a function

    rows(runs) -> list[Row]

runs are summaries of real runs (as `joulebit train --json` prints them), to be set beside the paper's; rows are
made by `joulebit.experiments.papers.rows.paper_row`. It is known under a name by a line in PAPERS.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from joulebit.experiments.papers.rows import Row

#: Name on the command line -> module.
PAPERS = {
    "e2-train": "e2train",
    "data-selection": "data_selection",
    "efficiency": "efficiency",
    "neuron-selection": "neuron_selection",
    "survey": "survey",
}


def paper_rows(name: str, runs: Sequence[Mapping[str, Any]] = ()) -> list[Row]:
    """The rows of the paper called `name` (one of PAPERS)."""
    found: list[Row] = import_module(f"{__name__}.{PAPERS[name]}").rows(runs)
    return found
