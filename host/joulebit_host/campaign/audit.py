"""The audit of campaigns: their journals, the logs that these name, and every joule in them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from joulebit_host.campaign.state import ENDED, JOURNAL, attempt_log
from joulebit_host.evidence.audit import audit_chain, audit_log, audit_path, find_logs, verdict
from joulebit_host.evidence.log import read_log
from joulebit_host.session.derive import DecoderFor, registered_decoder


def audit_folder(path: Path | str, decoder_for: DecoderFor = registered_decoder) -> dict[str, Any]:
    """Audits a log, or a folder of logs and campaigns; {ok, first_bad, results} as of `audit_path`.

    A campaign's journal has an entry of its own. Each log that a journal names must be there and end with the
    hash that the journal keeps, so that a log which was removed, or replaced by another whole one, is found.
    """
    path = Path(path)
    journals = sorted(path.rglob(JOURNAL)) if path.is_dir() else []
    if not journals:
        return audit_path(path, decoder_for)
    results = [audit_chain(journal) for journal in journals]
    heads: dict[Path, str] = {}
    for journal, entry in zip(journals, results):
        if entry["ok"]:
            heads.update(_named_logs(journal))
    named = [audit_log(log, decoder_for, head) for log, head in sorted(heads.items()) if log.is_file()]
    missing = [_missing(log, head) for log, head in sorted(heads.items()) if not log.is_file()]
    others = [audit_log(log, decoder_for) for log in find_logs(path) if log not in heads] if _any_log(path) else []
    return verdict([*results, *missing, *named, *others])


def _named_logs(journal: Path) -> Iterator[tuple[Path, str]]:
    for record in read_log(journal):
        if record.type == ENDED:
            yield (
                attempt_log(journal.parent, record.fields["cell"], record.fields["attempt"]),
                record.fields["head"],
            )


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
