"""One attempt at a cell as JSON, from its evidence log alone.

state       valid      every rule was kept
            invalid    measured, but a rule was broken: see reasons
            failed     device or meter broke off: see reasons
            cut_off    the campaign itself was stopped in the middle
gross_j, idle_j, net_j      of one run of the work, net = gross - idle; u_k2_j belongs to net_j, gross_u_k2_j
            and idle_u_k2_j to the others
gross, idle, net            the same with their budgets (`Quantity.as_json`)
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from joulebit_host.evidence.log import END, read_log
from joulebit_host.session.derive import CONFIGURATION, RESULT
from joulebit_host.session.uncertainty import Quantity, linear

FORMAT = "joulebit-cell-1"
OUTCOME, FAILURE, CHECKS = "outcome", "failure", "checks"
VALID, INVALID, FAILED, CUT_OFF = "valid", "invalid", "failed", "cut_off"
ENERGIES = ("gross", "idle", "net")
_OF_WINDOW = ("index", "start_s", "end_s", "repeats", "mean_w", "idle", "phases")


def read_entry(path: Path) -> dict[str, Any]:
    """The entry of a log; EvidenceError if the log is damaged."""
    configuration: Mapping[str, Any] = {}
    outcome: Mapping[str, Any] = {}
    failure: Mapping[str, Any] | None = None
    result: Mapping[str, Any] | None = None
    reasons: list[dict[str, str]] = []
    head, records, closed, meter = "", 0, False, {}
    for record in read_log(path):
        head, records, closed = record.hash, record.index + 1, record.type == END
        if record.index == 0:
            meter = {key: record.fields["meter"][key] for key in ("kind", "identity", "accuracy")}
        if record.type == CONFIGURATION:
            configuration = record.fields
        elif record.type == OUTCOME:
            outcome = record.fields
        elif record.type == FAILURE:
            failure = record.fields
        elif record.type == CHECKS:
            reasons = list(record.fields["reasons"])
        elif record.type == RESULT:
            result = record.fields["result"]
    entry: dict[str, Any] = {
        "format": FORMAT,
        **configuration.get("cell", {}),
        "attempt": configuration.get("attempt", 0),
        "campaign": configuration.get("campaign", ""),
        "meter_seen": meter,
        "config_hash": configuration.get("config_hash", ""),
        "weights_sha256": outcome.get("weights_sha256", ""),
        "outcome": dict(outcome),
        "evidence": {"file": path.name, "head": head, "records": records, "closed": closed},
    }
    if result is None:
        state = CUT_OFF if failure is None or failure["rule"] == CUT_OFF else FAILED
        why = failure or {"rule": CUT_OFF, "text": "the campaign was stopped in the middle of this attempt"}
        return {**entry, **_nothing(), "state": state, "valid": False, "reasons": [dict(why)]}
    return {**entry, **_energies(result), **_verdict(result, reasons)}


def failed_entry(cell: Mapping[str, Any], rule: str, text: str) -> dict[str, Any]:
    """Of an attempt that came to an end before there was a meter, so that it has no log."""
    return {
        "format": FORMAT,
        **cell,
        "attempt": 0,
        "campaign": "",
        "meter_seen": {},
        "config_hash": "",
        "weights_sha256": "",
        "outcome": {},
        "evidence": None,
        **_nothing(),
        "state": FAILED,
        "valid": False,
        "reasons": [{"rule": rule, "text": text}],
    }


def _nothing() -> dict[str, Any]:
    energies = {f"{name}_j": None for name in ENERGIES}
    widths = {"u_k2_j": None, "gross_u_k2_j": None, "idle_u_k2_j": None}
    return {
        "runs": 0,
        "seconds": None,
        **energies,
        **widths,
        **dict.fromkeys(ENERGIES),
        "samples": 0,
        "faults": {},
        "clocks": {"board": None, "meter": None},
    }


def _energies(result: Mapping[str, Any]) -> dict[str, Any]:
    """Per run, over all windows of the session together."""
    windows = result["windows"]
    runs = sum(window["repeats"] for window in windows)
    found: dict[str, Any] = {
        **_nothing(),
        "runs": runs,
        "samples": sum(window["samples"] for window in windows),
        "dropped": result["dropped"],
        "faults": dict(result["faults"]),
        "temperature": result["temperature"],
        "clocks": result["clocks"],
        "windows": [{key: w[key] for key in _OF_WINDOW if key in w} for w in windows],
    }
    if not runs:
        return found
    found["seconds"] = sum(window["seconds"] for window in windows) / runs
    for name in ENERGIES:
        if all(window[name] is not None for window in windows):
            total = linear([(1 / runs, Quantity.from_json(window[name])) for window in windows], "J")
            found[name], found[f"{name}_j"] = total.as_json(), total.value
            found["u_k2_j" if name == "net" else f"{name}_u_k2_j"] = total.expanded
    return found


def _verdict(result: Mapping[str, Any], reasons: list[dict[str, str]]) -> dict[str, Any]:
    reasons = list(reasons)
    for window in result["windows"]:
        reasons += [reason for reason in window["reasons"] if reason not in reasons]
    if not result["windows"]:
        reasons.append({"rule": "no_window", "text": "the work marked no window with a begin and an end"})
    return {"state": INVALID if reasons else VALID, "valid": not reasons, "reasons": reasons}


def quantity(entry: Mapping[str, Any], name: str) -> Quantity:
    """One of the energies of a valid entry, with its budget."""
    return Quantity.from_json(entry[name])
