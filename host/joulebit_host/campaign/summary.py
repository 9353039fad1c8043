"""What a campaign found: its cells, the means over repeats, and which method uses less."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from joulebit_host.campaign.entry import ENERGIES, quantity
from joulebit_host.campaign.phases import phase_energies
from joulebit_host.campaign.plan import Cell, cells_in_order
from joulebit_host.campaign.schema import Campaign
from joulebit_host.session.uncertainty import Quantity, Term, compare, linear, repeats

MISSING = "missing"
_NOT_SHOWN = {*ENERGIES, "windows", "clocks", "outcome", "format"}


def summarise(campaign: Campaign, entries: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Plain JSON values.

    Returns {name, complete, cells, groups, comparisons, phases}: `cells` in the order of the plan (see `entry`;
    the state is "missing" where nothing was measured yet); `groups` are means over the valid repeats;
    `comparisons` are between methods with the same model, meter and device, replays and mixes left out; `phases`
    are the net energies of a method's phases, an entry for each way in which they were measured, see `phases`.
    """
    cells = cells_in_order(campaign)
    shown = [_shown(cell, entries.get(cell.key)) for cell in cells]
    groups = [
        _group(campaign, key, [entries[c.key] for c in cells if c.group == key and c.key in entries])
        for key in dict.fromkeys(sorted((cell.group for cell in cells), key=lambda g: _order(campaign, g)))
    ]
    return {
        "name": campaign.name,
        "complete": all(cell["valid"] for cell in shown),
        "cells": shown,
        "groups": [{k: v for k, v in group.items() if k not in ("quantities", "entries")} for group in groups],
        "comparisons": list(_comparisons(campaign, groups)),
        "phases": list(phase_energies(campaign, groups)),
    }


def _order(campaign: Campaign, group: tuple[str, str, str, str]) -> tuple[int, str, str, str]:
    return ([m.name for m in campaign.methods].index(group[0]), *group[1:])


def _shown(cell: Cell, entry: Mapping[str, Any] | None) -> dict[str, Any]:
    if entry is None:
        empty = dict.fromkeys(("gross_j", "idle_j", "net_j", "u_k2_j", "gross_u_k2_j", "idle_u_k2_j", "seconds"))
        return {**cell.as_json(), **empty, "state": MISSING, "valid": False, "reasons": []}
    return {key: value for key, value in entry.items() if key not in _NOT_SHOWN}


def mean_quantity(quantities: Sequence[Quantity], name: str) -> Quantity:
    """Mean over repeats. What repeats scatter more than their own budgets' independent terms say is added, with
    Student's degrees of freedom (GUM 4.2.3, G.3.2).
    """
    count = len(quantities)
    mean = linear([(1 / count, q) for q in quantities], quantities[0].unit)
    if count < 2:
        return mean
    sources = [term.source for q in quantities for term in q.terms]
    once = {source for source in sources if sources.count(source) == 1}
    own = sum(term.u**2 for q in quantities for term in q.terms if term.source in once) / count
    excess = float(np.var([q.value for q in quantities], ddof=1)) - own
    if excess <= 0:
        return mean
    spread = Term(f"spread of {name}", "spread of the repeats", math.sqrt(excess / count), dof=count - 1)
    return Quantity(mean.value, mean.unit, (*mean.terms, spread))


def _group(
    campaign: Campaign, key: tuple[str, str, str, str], entries: Iterable[Mapping[str, Any]]
) -> dict[str, Any]:
    good = [entry for entry in entries if entry["valid"]]
    quantities: dict[str, Quantity] = {}
    for name in ENERGIES:
        if good and all(entry[name] is not None for entry in good):
            found = [quantity(entry, name) for entry in good]
            quantities[name] = mean_quantity(found, f"{name} of {campaign.name}/{'.'.join(key)}")
    group: dict[str, Any] = dict(zip(("method", "model", "meter", "device"), key, strict=True))
    method = next(method for method in campaign.methods if method.name == key[0])
    group.update(part_of=method.part_of, executions=dict(method.executions))
    group.update(valid=len(good), repeats=campaign.repeats, quantities=quantities, entries=good)
    for name in ENERGIES:
        q = quantities.get(name)
        group[f"{name}_j"] = None if q is None else q.value
        group["u_k2_j" if name == "net" else f"{name}_u_k2_j"] = None if q is None else q.expanded
    group["seconds"] = float(np.mean([e["seconds"] for e in good])) if good else None
    group["net_repeats"] = repeats([e["net_j"] for e in good]).as_json() if len(good) > 1 else None
    return group


def _comparisons(campaign: Campaign, groups: Sequence[Mapping[str, Any]]) -> Iterable[dict[str, Any]]:
    whole = {method.name for method in campaign.methods if not method.part_of}
    for a, b in combinations([group for group in groups if group["method"] in whole], 2):
        if any(a[key] != b[key] for key in ("model", "meter", "device")):
            continue
        for name in ("gross", "net"):
            if name in a["quantities"] and name in b["quantities"]:
                found = compare(a["quantities"][name], b["quantities"][name], a["method"], b["method"])
                yield {
                    "a": a["method"],
                    "b": b["method"],
                    **{key: a[key] for key in ("model", "meter", "device")},
                    "energy": name,
                    "verdict": found.verdict,
                    "difference_j": found.difference.value,
                    "u_k2_j": found.difference.expanded,
                    "sentence": found.sentence,
                }
