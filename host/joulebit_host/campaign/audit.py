"""The audit of campaigns: their journals, the logs that these name, and every joule in them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from joulebit_host.campaign.plan import Cell, cells_in_order
from joulebit_host.campaign.ranges import RANGED, Key, record_key
from joulebit_host.campaign.schema import campaign_from_table
from joulebit_host.campaign.state import (
    ATTEMPT,
    ENDED,
    FINISHED,
    JOURNAL,
    SUMMARY,
    attempt_log,
    read_cells,
)
from joulebit_host.campaign.summary import summarise
from joulebit_host.evidence.audit import audit_chain, audit_log, audit_path, compare, find_logs, verdict
from joulebit_host.evidence.log import read_log
from joulebit_host.session.derive import DecoderFor, registered_decoder


def audit_folder(path: Path | str, decoder_for: DecoderFor = registered_decoder) -> dict[str, Any]:
    """Audits a log, or a folder of logs and campaigns; {ok, first_bad, results} as of `audit_path`.

    A campaign's journal has an entry of its own. Each log that a journal names must be there and end with the
    hash that the journal keeps, so that a log which was removed, or replaced by another whole one, is found. The
    meter of each log must have had the ranges that a ranging run chose before it. Where all logs are good and the
    campaign is finished, its summary (means, comparisons, energies by phase) is derived again from them.
    """
    path = Path(path)
    journals = sorted(path.rglob(JOURNAL)) if path.is_dir() else []
    if not journals:
        return audit_path(path, decoder_for)
    results = [audit_chain(journal) for journal in journals]
    heads: dict[Path, str] = {}
    ranges: dict[Path, dict[str, float]] = {}
    for journal, entry in zip(journals, results):
        if entry["ok"]:
            heads.update(_named_logs(journal))
            ranges.update(_chosen_ranges(journal))
    named = [
        _with_ranges(audit_log(log, decoder_for, head), ranges.get(log))
        for log, head in sorted(heads.items())
        if log.is_file()
    ]
    missing = [_missing(log, head) for log, head in sorted(heads.items()) if not log.is_file()]
    good = {Path(entry["file"]) for entry in named if entry["ok"]}
    for journal in journals:
        if {log for log in heads if journal.parent in log.parents} <= good:
            results += _summary_again(journal)
    others = [audit_log(log, decoder_for) for log in find_logs(path) if log not in heads] if _any_log(path) else []
    return verdict([*results, *missing, *named, *others])


def _named_logs(journal: Path) -> Iterator[tuple[Path, str]]:
    for record in read_log(journal):
        if record.type == ENDED:
            yield (
                attempt_log(journal.parent, record.fields["cell"], record.fields["attempt"]),
                record.fields["head"],
            )


def _chosen_ranges(journal: Path) -> Iterator[tuple[Path, dict[str, float]]]:
    """The ranges that the last ranging run before each attempt chose for its meter."""
    chosen: dict[Key, dict[str, float]] = {}
    cells: dict[str, Cell] = {}
    for record in read_log(journal):
        if record.index == 0:
            campaign = campaign_from_table(record.fields["campaign"], str(journal))
            cells = {cell.key: cell for cell in cells_in_order(campaign)}
        elif record.type == RANGED:
            chosen[record_key(record)] = record.fields["ranges"]
        elif record.type == ATTEMPT:
            cell = cells[record.fields["cell"]]
            if cell.group in chosen:
                yield attempt_log(journal.parent, cell.key, record.fields["attempt"]), chosen[cell.group]


def _with_ranges(entry: dict[str, Any], chosen: dict[str, float] | None) -> dict[str, Any]:
    """A log's entry; not ok where its meter had other ranges than the journal says."""
    if not entry["ok"] or chosen is None:
        return entry
    header = next(iter(read_log(Path(entry["file"]))))
    settings = header.fields["meter"]["settings"]
    for option, value in chosen.items():
        if settings.get(option) != value:
            reason = f"{entry['file']}: the journal chose {option} {value:g}, the meter had {settings.get(option)}"
            return {**entry, "ok": False, "record": 0, "reason": reason}
    return entry


def _summary_again(journal: Path) -> list[dict[str, Any]]:
    """An entry of the campaign's summary, derived again from its logs, whose own results were derived before."""
    path = journal.with_name(SUMMARY)
    if not path.is_file() or FINISHED not in [record.type for record in read_log(journal)][-2:]:
        return []
    campaign, entries = read_cells(journal.parent)
    derived = json.loads(json.dumps(summarise(campaign, {entry["cell"]: entry for entry in entries})))
    entry = {**_missing(path, ""), "ok": True, "reason": "", "closed": True, "phases": derived["phases"]}
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        stored.pop("folder", None)
        differences = list(compare(stored, derived, "summary"))
    except (ValueError, AttributeError) as error:
        return [{**entry, "ok": False, "reason": f"{path}: no summary can be read: {error}"}]
    if differences:
        reason = f"{path}: {len(differences)} values do not follow from the logs; first: {differences[0]}; "
        reason += "`joulebit measure --resume` writes it anew"
        entry.update(ok=False, reason=reason, differences=differences)
    return [entry]


def _missing(log: Path, head: str) -> dict[str, Any]:
    return {
        "file": str(log),
        "ok": False,
        "record": None,
        "reason": f"{log} is missing, though the journal names it",
        "records": 0,
        "head": head,
        "closed": False,
        "stored": None,
        "derived": None,
        "differences": [],
    }


def _any_log(path: Path) -> bool:
    return next(path.rglob("*.jsonl"), None) is not None
