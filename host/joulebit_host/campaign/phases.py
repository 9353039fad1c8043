"""The energy of a method's phases in as many ways as a campaign measured it, side by side.

All are net energies of one run of the method, with their own test of additivity: see `session.phases`.

    replay       from methods with `replay_of`
    regression   from mixes (`mix_of`); those that are measured and valid, where they suffice
    markers      from the marks of the method's own runs: gross energy of the marked stretches, less the idle
                 energy of as much time
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from joulebit.errors import JoulebitError
from joulebit_host.campaign.entry import quantity
from joulebit_host.campaign.mixes import mixes_of
from joulebit_host.campaign.schema import Campaign
from joulebit_host.session.phases import (
    PHASES,
    PhaseEnergies,
    phases_by_regression,
    phases_by_replay,
    phases_by_shares,
)
from joulebit_host.session.regression import OTHER, Mix, poor_phases
from joulebit_host.session.uncertainty import Quantity

WAYS = ("replay", "regression", "markers")
_TITLES = {"replay": "by replay", "regression": "by regression over mixes", "markers": "by markers"}
#: Groups and their valid entries: see `summary`.
Groups = Sequence[Mapping[str, Any]]


def phase_energies(campaign: Campaign, groups: Groups) -> Iterator[dict[str, Any]]:
    """{whole_method, model, meter, device} and what `PhaseEnergies.as_json` gives, for each method and way.

    Args:
        campaign: the plan.
        groups: rows with method, model, meter, device, quantities (means over repeats) and entries (valid cells).
    """
    methods = {method.name: method for method in campaign.methods}
    mixes = mixes_of(campaign)
    for whole in groups:
        if methods[whole["method"]].part_of or "net" not in whole["quantities"]:
            continue
        where = {key: whole[key] for key in ("model", "meter", "device")}
        parts = [
            group
            for group in groups
            if methods[group["method"]].part_of == whole["method"] and all(group[k] == where[k] for k in where)
        ]
        net = whole["quantities"]["net"]
        replays = {methods[group["method"]].phase: group for group in parts if methods[group["method"]].replay_of}
        mixed = [group for group in parts if methods[group["method"]].mix_of]
        found = (
            _by_replay(replays, net),
            _by_regression(campaign, mixed, len(mixes.get(whole["method"], ())), net),
            _by_markers(whole["entries"], net),
        )
        for energies in found:
            if energies is not None:
                yield {"whole_method": whole["method"], **where, **energies}


def _by_replay(replays: Mapping[str, Mapping[str, Any]], net: Quantity) -> dict[str, Any] | None:
    if not replays or any("net" not in group["quantities"] for group in replays.values()):
        return None
    energies = {phase: (group["quantities"]["net"], 1) for phase, group in replays.items()}
    return phases_by_replay(energies, (net, 1)).as_json()


def _by_regression(campaign: Campaign, groups: Groups, planned: int, net: Quantity) -> dict[str, Any] | None:
    """None as long as too few mixes are measured."""
    executions = {method.name: method.executions for method in campaign.methods}
    mixes = [
        Mix(
            group["method"],
            executions[group["method"]],
            tuple(quantity(entry, "net") for entry in group["entries"]),
        )
        for group in groups
        if "net" in group["quantities"]
    ]
    try:
        found = phases_by_regression(mixes, net)
    except JoulebitError:
        return None
    return {**found.as_json(), "mixes": {"measured": len(mixes), "planned": planned}}


def _by_markers(entries: Sequence[Mapping[str, Any]], net: Quantity) -> dict[str, Any] | None:
    """None where the work sets no marks, or a window has none."""
    windows = [window for entry in entries for window in entry["windows"]]
    if not windows or not all("phases" in window and window["phases"]["seconds"] for window in windows):
        return None
    shares = [(window["phases"], Quantity.from_json(window["idle"]), window["repeats"]) for window in windows]
    found: PhaseEnergies = phases_by_shares(shares, net)
    return found.as_json()


def phase_order(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """Phases of these ways, those of a training step first and `other` last."""
    named = list(dict.fromkeys(name for way in found for name in way["energies"]))
    known = [name for name in PHASES if name in named]
    return known + [name for name in named if name not in (*PHASES, OTHER)] + [OTHER] * (OTHER in named)


def phase_tables(phases: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A table for each method that was divided: {title, ways, rows, notes}, as text.

    rows are (name, a cell for each way, whether it is a total); notes say what is wrong, if anything. Marks that
    are too close for the meter give no table by themselves.
    """
    from joulebit_host.campaign.text import joules

    tables = []
    key = ("whole_method", "model", "meter", "device")
    for where in dict.fromkeys(tuple(found[k] for k in key) for found in phases):
        every = [found for found in phases if tuple(found[k] for k in key) == where]
        ways = [way for way in every if is_usable(way)]
        if not ways:
            continue
        size = ways[0]["whole"]["value"]

        def amount(q: Mapping[str, Any] | None, size: float = size) -> str:
            return joules(q["value"], q["u_k2"], size) if q else "–"

        rows = [(name, [amount(way["energies"].get(name)) for way in ways], False) for name in phase_order(ways)]
        rows.append(("whole, by itself", [amount(way["whole"]) for way in ways], True))
        rows.append(("sum − whole", [amount(way["difference"]) for way in ways], True))
        if any(way["fit"] for way in ways):
            rows.append(("fit of the mixes", [_fit(way["fit"]) if way["fit"] else "" for way in ways], True))
        verdicts = ["adds up" if way["additive"] else "does NOT add up" for way in ways]
        rows.append(("verdict", verdicts, True))
        tables.append(
            {
                "title": f"net energy of one run by phase: {', '.join(filter(None, where))} (k = 2)",
                "ways": [_TITLES[way["method"]] for way in ways],
                "rows": rows,
                "notes": [note for way in every for note in _notes(way)],
            }
        )
    return tables


def _notes(way: Mapping[str, Any]) -> list[str]:
    """What is wrong with a way, and how badly its mixes tell phases apart."""
    texts = [reason["text"] for reason in way["reasons"]]
    if way["fit"]:
        texts += [f"the mixes hardly tell {phase} from the others" for phase in poor_phases(way["fit"]["design"])]
    return [f"{_TITLES[way['method']]}: {text}" for text in texts]


def mix_label(executions: Mapping[str, int]) -> str:
    """`3F + 1WG`: the forward pass three times, the weight gradient once."""
    return " + ".join(
        f"{n}{''.join(w[0] for w in phase.split('_')).upper()}" for phase, n in executions.items() if n
    )


def is_usable(way: Mapping[str, Any]) -> bool:
    """Whether this way could tell the phases apart at all."""
    return all(reason["rule"] != "phase_too_short" for reason in way["reasons"])


def _fit(fit: Mapping[str, Any]) -> str:
    return f"chi² {fit['chi2']:.3g}, {fit['dof']} dof, p {fit['p']:.2g}"
