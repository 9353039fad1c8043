"""The evidence log: every altered byte is found, and a crash at any byte loses at most one record."""

import base64
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest

from joulebit_host.evidence.log import (
    EvidenceError,
    EvidenceLog,
    as_received,
    head_path,
    read_log,
    verify,
)
from joulebit_host.meters.base import Received

HEADER = {"meter": {"kind": "test", "settings": {"range_v": 15}}}


def small_log(path: Path, closed: bool = True) -> Path:
    log = EvidenceLog.create(path, HEADER)
    log.received(Received(1.0, 1.25, b'\x00\xff;\n"{}'))
    log.mark("window_start", 1.5, index=0)
    log.received(Received(2.0, 2.25, b"", "timeout"))
    log.append("result", energy_j=1 / 3)
    if closed:
        log.close()
    else:
        log.sync()
        log.abandon()
    return path


def reference_head(path: Path) -> str:
    """The chain as the docstring states it, by json and hashlib alone."""
    head = "0" * 64
    for line in path.read_bytes().splitlines():
        whole = json.loads(line)
        text = json.dumps(whole["record"], sort_keys=True, separators=(",", ":"))
        head = hashlib.sha256((head + text).encode()).hexdigest()
        assert whole["hash"] == head
    return head


def test_what_goes_in_comes_out(tmp_path: Path) -> None:
    path = small_log(tmp_path / "a.jsonl")
    records = list(read_log(path))
    assert [record.type for record in records] == ["header", "received", "mark", "received", "result", "end"]
    assert records[0].fields["meter"] == HEADER["meter"]
    assert as_received(records[1]) == Received(1.0, 1.25, b'\x00\xff;\n"{}')
    assert as_received(records[3]) == Received(2.0, 2.25, b"", "timeout")
    assert records[4].fields["energy_j"] == 1 / 3
    assert base64.b64decode(json.loads(path.read_bytes().splitlines()[1])["record"]["data"]) == b'\x00\xff;\n"{}'
    assert [record.index for record in records] == list(range(6))
    assert records[-1].end == path.stat().st_size


def test_the_chain_is_the_documented_one(tmp_path: Path) -> None:
    path = small_log(tmp_path / "a.jsonl")
    found = verify(path)
    assert (found.ok, found.records, found.first_bad, found.closed) == (True, 6, None, True)
    assert found.head == reference_head(path)
    assert json.loads(head_path(path).read_text())["hash"] == found.head
    assert verify(path, head=found.head).ok
    assert not verify(path, head="1" * 64).ok


@pytest.mark.parametrize("closed", [True, False])
def test_every_altered_byte_is_found_where_it_is(tmp_path: Path, closed: bool) -> None:
    path = small_log(tmp_path / "a.jsonl", closed)
    good = path.read_bytes()
    assert verify(path).ok
    for position in range(len(good)):
        for flip in (0x01, 0x80) if closed else (0x20,):
            path.write_bytes(good[:position] + bytes([good[position] ^ flip]) + good[position + 1 :])
            found = verify(path)
            assert not found.ok
            assert found.first_bad == good[:position].count(b"\n")
            assert found.records == found.first_bad


def test_every_altered_byte_of_the_head_file_is_found(tmp_path: Path) -> None:
    path = small_log(tmp_path / "a.jsonl")
    head = head_path(path)
    good = head.read_bytes()
    for position in range(len(good)):
        head.write_bytes(good[:position] + bytes([good[position] ^ 1]) + good[position + 1 :])
        assert not verify(path).ok
    head.unlink()
    assert not verify(path).ok


def test_removed_inserted_swapped_and_repeated_records_are_found(tmp_path: Path) -> None:
    path = small_log(tmp_path / "a.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    for i in range(len(lines)):
        path.write_bytes(b"".join(lines[:i] + lines[i + 1 :]))
        assert verify(path).first_bad == (i if i < len(lines) - 1 else len(lines) - 1)
        path.write_bytes(b"".join(lines[: i + 1] + lines[i:]))
        assert verify(path).first_bad == i + 1
        for j in range(i):
            swapped = list(lines)
            swapped[i], swapped[j] = swapped[j], swapped[i]
            path.write_bytes(b"".join(swapped))
            assert verify(path).first_bad == j


def test_records_cut_from_the_end_are_found_by_the_head_file(tmp_path: Path) -> None:
    path = small_log(tmp_path / "a.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    for kept in range(len(lines)):
        path.write_bytes(b"".join(lines[:kept]))
        found = verify(path)
        assert not found.ok
        assert found.first_bad == kept
        with pytest.raises(EvidenceError):
            EvidenceLog.reopen(path)


def test_a_record_appended_behind_the_end_without_the_head_is_found(tmp_path: Path) -> None:
    path = small_log(tmp_path / "a.jsonl")
    head = head_path(path).read_bytes()
    EvidenceLog.reopen(path).close()
    assert verify(path).ok
    head_path(path).write_bytes(head)
    assert not verify(path).ok


def test_cut_at_any_byte_it_reopens_with_all_complete_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The head file is as old as a crash can leave it: that of the log's creation."""
    monkeypatch.setattr(os, "fsync", lambda file: None)
    path = tmp_path / "a.jsonl"
    whole = small_log(path, closed=False).read_bytes()
    begun = whole.index(b"\n") + 1
    head = (
        json.dumps(
            {
                "bytes": begun,
                "format": "joulebit-evidence-1",
                "hash": json.loads(whole[:begun])["hash"],
                "records": 1,
            },
            sort_keys=True,
            separators=(",", ":"),
        )
        + "\n"
    ).encode()
    for length in range(begun, len(whole) + 1):
        path.write_bytes(whole[:length])
        head_path(path).write_bytes(head)
        with EvidenceLog.reopen(path) as log:
            log.mark("after", 9.0)
        records = list(read_log(path))
        complete = whole[:length].count(b"\n")
        torn = length - (whole[:length].rfind(b"\n") + 1)
        assert [r.type for r in records[complete:]] == ["reopened", "mark", "end"]
        assert path.read_bytes()[: length - torn] == whole[: length - torn]
        assert records[complete].fields.get("torn_bytes", 0) == torn
        if torn:
            assert base64.b64decode(records[complete].fields["torn"]) == whole[length - torn : length]
        assert verify(path).ok


def test_a_log_that_was_killed_while_it_began_begins_again(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"hash":"00')
    with EvidenceLog.create(path, HEADER) as log:
        log.mark("x", 1.0)
    assert [r.type for r in read_log(path)] == ["header", "reopened", "mark", "end"]
    assert verify(path).ok
    with pytest.raises(EvidenceError, match="exists already"):
        EvidenceLog.create(path, HEADER)


def test_damage_inside_is_not_cut_away_by_reopening(tmp_path: Path) -> None:
    path = small_log(tmp_path / "a.jsonl", closed=False)
    data = bytearray(path.read_bytes())
    data[data.index(b"window_start")] ^= 1
    path.write_bytes(data)
    with pytest.raises(EvidenceError, match="record 2"):
        EvidenceLog.reopen(path)
    assert path.read_bytes() == data


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    with EvidenceLog.create(tmp_path / "a.jsonl", HEADER), pytest.raises(EvidenceError, match="another process"):
        EvidenceLog.reopen(tmp_path / "a.jsonl")


def test_not_a_number_and_a_closed_log_are_refused(tmp_path: Path) -> None:
    log = EvidenceLog.create(tmp_path / "a.jsonl", HEADER)
    with pytest.raises(ValueError):
        log.append("result", energy_j=float("nan"))
    log.close()
    with pytest.raises(EvidenceError, match="closed"):
        log.append("result")
    assert verify(log.path).ok


def test_a_full_disk_leaves_a_good_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = EvidenceLog.create(tmp_path / "a.jsonl", HEADER)
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, data: write(file, data[:10]))
    with pytest.raises(EvidenceError, match="only 10 of"):
        log.mark("x", 1.0)
    monkeypatch.setattr(os, "write", write)
    log.mark("y", 2.0)
    log.close()
    assert verify(log.path).ok
    assert [r.fields["name"] for r in read_log(log.path) if r.type == "mark"] == ["y"]


_WRITER = """
import sys
from joulebit_host.evidence.log import EvidenceLog
log = EvidenceLog.create(sys.argv[1], {}, sync_s=0.002)
n = 0
while True:
    log.mark("n", float(n), padding="x" * (n * 37 % 5000))
    print(n, flush=True)
    n += 1
"""


def test_kill_9_loses_no_record_that_was_acknowledged(tmp_path: Path) -> None:
    random.seed(5)
    for trial in range(4):
        path = tmp_path / f"{trial}.jsonl"
        writer = subprocess.Popen([sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        acknowledged = -1
        for _ in range(random.randrange(50, 400)):
            acknowledged = int(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
        rest = writer.stdout.read().split()
        writer.wait()
        acknowledged = max([acknowledged, *[int(n) for n in rest[:-1]]])
        EvidenceLog.reopen(path).close()
        kept = [r.fields["t_s"] for r in read_log(path) if r.type == "mark"]
        assert kept == [float(n) for n in range(len(kept))]
        assert len(kept) > acknowledged
        assert verify(path).ok


def test_reading_needs_flat_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with EvidenceLog.create(path, HEADER) as log:
        for n in range(20_000):
            log.received(Received(n * 0.001, n * 0.001, b"E1,%d,12345,678\r\n" % n))
    assert path.stat().st_size > 3_000_000
    tracemalloc.start()
    assert verify(path).ok
    assert tracemalloc.get_traced_memory()[1] < 400_000
    tracemalloc.stop()
