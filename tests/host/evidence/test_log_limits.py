"""What the evidence log refuses: too long records, logs without one header, a new log over the head of another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from joulebit_host.evidence.log import (
    FORMAT,
    HEADER,
    LONGEST_LINE,
    NO_HASH,
    EvidenceError,
    EvidenceLog,
    as_received,
    canonical,
    chain,
    head_path,
    read_log,
)


def written(path: Path, *records: dict[str, Any]) -> Path:
    """A log of these records, framed and chained as they must be."""
    head, lines = NO_HASH, b""
    for record in records:
        content = canonical(record)
        head = chain(head, content)
        lines += b'{"hash":"' + head.encode() + b'","record":' + content + b"}\n"
    path.write_bytes(lines)
    return path


FIRST = {"type": HEADER, "format": FORMAT}
SOME = {"type": "result", "energy_j": 1.0}


def test_a_log_has_one_header_of_the_known_format_and_it_is_the_first_record(tmp_path: Path) -> None:
    assert [record.type for record in read_log(written(tmp_path / "good", FIRST, SOME))] == [HEADER, "result"]
    for wrong, index in (
        ((FIRST, FIRST), 1),
        ((SOME, FIRST), 0),
        (({**SOME, "format": FORMAT},), 0),
        (({**FIRST, "format": "joulebit-evidence-0"}, SOME), 0),
    ):
        with pytest.raises(EvidenceError, match=f"record {index} is bad: a log begins with one header"):
            list(read_log(written(tmp_path / "wrong", *wrong)))


def test_a_record_as_long_as_can_be_read_is_written_and_a_longer_one_refused(tmp_path: Path) -> None:
    path = tmp_path / "long.jsonl"
    with EvidenceLog.create(path, {}) as log:
        frame = len(b'{"hash":"' + 64 * b"0" + b'","record":') + len(canonical({"type": "note", "text": ""})) + 2
        with pytest.raises(EvidenceError, match=f"a record of {LONGEST_LINE + 1} bytes; at most {LONGEST_LINE}"):
            log.append("note", text="x" * (LONGEST_LINE + 1 - frame))
        log.append("note", text="x" * (LONGEST_LINE - frame))
    assert [record.type for record in read_log(path)] == [HEADER, "note", "end"]


def test_a_log_that_lost_all_its_records_is_not_begun_again(tmp_path: Path) -> None:
    path = tmp_path / "lost.jsonl"
    EvidenceLog.create(path, {}).close()
    path.write_bytes(b"")
    assert head_path(path).exists()
    with pytest.raises(EvidenceError, match="exists already"):
        EvidenceLog.create(path, {})


def test_data_that_are_no_base64_are_refused(tmp_path: Path) -> None:
    for data in ("VT!ENCg==", "VTENCg", 5):
        record = {"type": "received", "t_s": 1.0, "t_sent_s": 1.0, "data": data}
        _, kept = read_log(written(tmp_path / "log", FIRST, record))
        with pytest.raises(EvidenceError, match="record 1 keeps no received data"):
            as_received(kept)


@pytest.mark.parametrize("sync_s, counted", [(0.0, 3), (1e6, 1)])
def test_the_head_file_counts_what_is_on_the_disk(tmp_path: Path, sync_s: float, counted: int) -> None:
    log = EvidenceLog.create(tmp_path / "log", {}, sync_s)
    log.mark("one", 1.0)
    log.mark("two", 2.0)
    assert json.loads(head_path(log.path).read_bytes())["records"] == counted
    log.abandon()
