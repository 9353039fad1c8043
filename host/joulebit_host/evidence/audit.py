"""The audit: is the evidence as it was written, and do the stored joules follow from it?

For each log: the chain and the head file (`log.verify`); then the received bytes are decoded again and the
result is derived again (`session.derive`), and compared with the result that the log keeps. A log without a
result (a plain recording, or a session that was cut off) is decoded and its energy shown.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from joulebit.errors import JoulebitError
from joulebit_host.evidence.log import FORMAT, RECEIVED, SUFFIX, EvidenceError, as_received, read_log, verify
from joulebit_host.session.budget import MeterFacts
from joulebit_host.session.derive import RESULT, DecoderFor, Derivation, registered_decoder
from joulebit_host.session.energy import integrate
from joulebit_host.session.window import PiecesBuilder, Window

TOLERANCE = 1e-9  #: relative: another build of NumPy may add in another order
_BEGIN = b'{"hash":"'


def find_logs(path: Path) -> list[Path]:
    """The log at a path, or all logs in a folder and below; raises JoulebitError if there is none."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise JoulebitError(f"{path}: no such file or folder")
    found = sorted(p for p in path.rglob("*.jsonl") if p.name.endswith(SUFFIX) or _is_log(p))
    if not found:
        raise JoulebitError(f"{path} holds no evidence: logs end in {SUFFIX}")
    return found


def _is_log(path: Path) -> bool:
    with path.open("rb") as file:
        begin = file.read(4096)
    return begin.startswith(_BEGIN) and FORMAT.encode() in begin


def audit_path(path: Path | str, decoder_for: DecoderFor = registered_decoder) -> dict[str, Any]:
    """Audits a log or a folder of logs.

    Returns {ok, first_bad, results}: `results` has one entry per log, see `audit_log`; `first_bad` is {file,
    record, reason} of the first log that is not ok, or None.
    """
    return verdict([audit_log(log, decoder_for) for log in find_logs(Path(path))])


def verdict(results: list[dict[str, Any]]) -> dict[str, Any]:
    """{ok, first_bad, results} of some logs' entries."""
    bad = next((entry for entry in results if not entry["ok"]), None)
    first = None if bad is None else {key: bad[key] for key in ("file", "record", "reason")}
    return {"ok": bad is None, "first_bad": first, "results": results}


def audit_log(path: Path, decoder_for: DecoderFor = registered_decoder, head: str | None = None) -> dict[str, Any]:
    """Audits one log.

    Args:
        path: of the log.
        decoder_for: makes a decoder from the header's field `meter`.
        head: the log's last hash, where it is known from elsewhere.

    Returns {file, ok, record, reason, records, head, closed, stored, derived, differences}: `record` is the
    first bad one (None if the chain is good), `stored` and `derived` are lists of {name, gross_j, net_j, valid}
    by window, or None, and `differences` says where a stored result does not follow.
    """
    entry = audit_chain(path, head)
    if not entry["ok"]:
        return entry
    try:
        stored, derived = _derive_again(path, decoder_for)
    except (JoulebitError, KeyError, TypeError, ValueError, AssertionError) as error:
        return {**entry, "ok": False, "reason": f"{path}: the result cannot be derived: {error!r}"}
    if stored is None:
        entry["derived"] = derived
        return entry
    differences = list(compare(stored, derived))
    entry.update(stored=_brief(stored), derived=_brief(derived), differences=differences)
    if differences:
        reason = f"{path}: {len(differences)} values do not follow from the records; first: {differences[0]}"
        entry.update(ok=False, reason=reason)
    return entry


def audit_chain(path: Path, head: str | None = None) -> dict[str, Any]:
    """An entry as of `audit_log`, of the chain and the head file alone: nothing is derived."""
    found = verify(path, head)
    return {
        "file": str(path),
        "ok": found.ok,
        "record": found.first_bad,
        "reason": found.reason,
        "records": found.records,
        "head": found.head,
        "closed": found.closed,
        "stored": None,
        "derived": None,
        "differences": [],
    }


def _derive_again(path: Path, decoder_for: DecoderFor) -> tuple[dict[str, Any] | None, Any]:
    """(stored result or None, derived result, or for a plain recording its energy)."""
    derivation = Derivation(decoder_for)
    stored: dict[str, Any] | None = None
    for record in read_log(path):
        if record.type == RESULT:
            # What was stored follows from what came before it, and from nothing after.
            if stored is not None:
                raise EvidenceError(f"record {record.index} is a second result")
            stored, derived = dict(record.fields["result"]), derivation.result()
        elif stored is None:
            derivation.feed(record)
    return (stored, derived) if stored is not None else (None, _recording(path, decoder_for))


def _recording(path: Path, decoder_for: DecoderFor) -> dict[str, Any]:
    """Energy of all that a log without a result received."""
    records = read_log(path)
    header = next(records).fields["meter"]
    meter, decoder = MeterFacts.of(header), decoder_for(header)
    builder = PiecesBuilder(meter.reading, meter.interval_s)
    for record in records:
        if record.type == RECEIVED:
            for sample in decoder.feed(as_received(record)):
                builder.add(sample)
    pieces = builder.pieces()
    if len(pieces.edge_s) < 2 or pieces.edge_s[-1] <= pieces.edge_s[0]:
        return {"samples": len(pieces.sample_s), "seconds": 0.0, "gross_j": None, "gap_s": 0.0}
    whole = integrate(pieces, Window(float(pieces.edge_s[0]), float(pieces.edge_s[-1])))
    return {
        "samples": len(pieces.sample_s),
        "seconds": whole.seconds,
        "gross_j": whole.energy_j,
        "gap_s": whole.gap_s,
    }


def _brief(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "name": w["name"] or f"window {w['index']}",
            "gross_j": w["gross"]["value"],
            "net_j": w["net"]["value"] if w["net"] else None,
            "valid": w["valid"],
        }
        for w in result["windows"]
    ]


def compare(stored: Any, derived: Any, where: str = "result") -> Iterator[str]:
    """Where two results of plain JSON values differ: numbers by more than TOLERANCE, all else at all."""
    if isinstance(stored, Mapping) and isinstance(derived, Mapping):
        for key in sorted({*stored, *derived}):
            if key not in stored or key not in derived:
                yield f"{where}.{key} is only {'derived' if key in derived else 'stored'}"
            else:
                yield from compare(stored[key], derived[key], f"{where}.{key}")
    elif isinstance(stored, list) and isinstance(derived, list) and len(stored) == len(derived):
        for i, (a, b) in enumerate(zip(stored, derived, strict=True)):
            yield from compare(a, b, f"{where}[{i}]")
    elif _is_number(stored) and _is_number(derived):
        if not math.isclose(stored, derived, rel_tol=TOLERANCE, abs_tol=1e-12):
            yield f"{where}: stored {stored!r}, derived {derived!r}"
    elif stored != derived:
        yield f"{where}: stored {stored!r}, derived {derived!r}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
