"""The evidence log: what a meter sent and what happened beside it, append-only and hash-chained.

A log is a file of JSON lines, one record each:

    {"hash":"<64 hex digits>","record":{"type":"header",...}}
    {"hash":"<64 hex digits>","record":{"data":"VTENCg==","t_s":12.5,"t_sent_s":12.4,"type":"received"}}

`hash` is SHA-256(previous hash as 64 ASCII digits + the bytes of `record` as they stand in the line); before
the first record the hash is 64 zeros. `record` is canonical JSON: keys sorted, no spaces, ASCII, no NaN. The frame
around it is fixed, so that no byte of a line is free. A changed, removed, inserted or moved byte or record breaks
the chain.

Records by `type`:

    header       format, meter {kind, identity, settings, reading, accuracy, interval_s}, versions, clocks
    received     t_sent_s, t_s, data (base64), event (absent when ""): `Received`, as it came
    mark         name, t_s, and what belongs to it: window edges, phases, temperatures, clock exchanges
    configuration, result, and whatever else a caller needs: any JSON object
    reopened     clocks; torn_bytes and torn (base64) when the last line had been cut short
    end          the log was closed in good order

**Crashes.** A record is one `write` to a file opened for appending, so that killing the process loses at most the
record being written. `reopen` cuts a torn last line off and records that it did. Data go to the disk (`fsync`)
when a record is appended more than `sync_s` seconds (default 1) after the last time, and on `sync` and `close`: a
power cut loses about that long at most.

**The head file** `NAME.head` holds the number of records, the last hash and the length in bytes as of the last
`fsync`; it is replaced as a whole, after the data are on the disk. A log from whose end whole records were cut no
longer reaches its head.

A chain shows damage and tampering with parts. Whoever can rewrite the log and its head can rewrite both: keep the
head hash elsewhere as well (results name it), if that matters.

    with EvidenceLog.create(path, meter_header(meter)) as log:
        while ...:
            log.received(meter.read(1.0))

    for record in read_log(path):               # streams; raises at the first bad record
        if record.type == "received":
            decoder.feed(as_received(record))
"""

from __future__ import annotations

import base64
import binascii
import fcntl
import hashlib
import importlib.metadata
import json
import math
import os
import platform
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from joulebit.errors import JoulebitError
from joulebit_host.meters.base import Meter, Received

FORMAT = "joulebit-evidence-1"
SUFFIX = ".evidence.jsonl"  #: how the names of logs end
HEADER, RECEIVED, MARK, REOPENED, END = "header", "received", "mark", "reopened", "end"
NO_HASH = "0" * 64
LONGEST_LINE = 1 << 24  #: bytes; a longer line is no record
_BEFORE_HASH, _BEFORE_RECORD, _AFTER = b'{"hash":"', b'","record":', b"}\n"
_HASH_AT = len(_BEFORE_HASH)
_RECORD_AT = _HASH_AT + 64 + len(_BEFORE_RECORD)
_TORN_KEPT = 1 << 20  #: bytes of a torn line that the next record keeps


class EvidenceError(JoulebitError):
    """A log cannot be used as asked. One line: which, where, why."""

    exit_code = 1


@dataclass(frozen=True)
class Record:
    """One record of a log.

    Attributes:
        index: 0 is the header.
        type: what it is.
        fields: its other fields.
        hash: the chain's hash up to and with this record.
        end: bytes of the file up to and with this record's line.
    """

    index: int
    type: str
    fields: Mapping[str, Any]
    hash: str
    end: int


@dataclass(frozen=True)
class Verification:
    """What `verify` found.

    Attributes:
        ok: nothing was altered, removed, inserted or reordered, and nothing is missing at the end.
        records: good records from the start.
        head: hash of the last good one.
        first_bad: index of the first record that is wrong or missing; None when ok.
        reason: what is wrong with it; "" when ok.
        closed: the last record is `end`.
    """

    ok: bool
    records: int
    head: str
    first_bad: int | None
    reason: str
    closed: bool


def canonical(record: Mapping[str, Any]) -> bytes:
    """The bytes of a record; ValueError for NaN, TypeError for what JSON cannot hold."""
    return json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


def chain(previous: str, content: bytes) -> str:
    """The hash of a record with this content after one with the hash `previous`."""
    return hashlib.sha256(previous.encode() + content).hexdigest()


def head_path(path: Path) -> Path:
    """Where the head of a log is kept."""
    return path.with_name(path.name + ".head")


def meter_header(meter: Meter, **more: Any) -> dict[str, Any]:
    """The header's fields for a log of one meter; `more` are further fields, of JSON values."""
    return {
        "meter": {
            "kind": meter.kind,
            "identity": meter.identity,
            "settings": dict(meter.settings),
            "reading": meter.reading.value,
            "accuracy": asdict(meter.accuracy),
            "interval_s": meter.interval_s,
        },
        **more,
    }


class EvidenceLog:
    """A log that is open for appending. One process at a time: the file is locked. Not for several threads."""

    def __init__(self, path: Path, file: int, records: int, head: str, length: int, sync_s: float) -> None:
        """Use `create` or `reopen`."""
        self.path = path
        self.records = records  #: written so far
        self.head = head  #: hash of the last record
        self._file: int | None = file
        self._length = length
        self._sync_s = sync_s
        self._synced_at = -math.inf

    @classmethod
    def create(cls, path: Path | str, header: Mapping[str, Any], sync_s: float = 1.0) -> EvidenceLog:
        """A new log. A file without one complete record (a crash while it was begun) is begun again.

        Raises EvidenceError if the file holds a log, or another process writes to it.
        """
        path = Path(path)
        file = _open_locked(path, os.O_CREAT)
        try:
            with path.open("rb") as lines:
                torn = lines.read(LONGEST_LINE)
            if b"\n" in torn or len(torn) == LONGEST_LINE or head_path(path).exists():
                raise EvidenceError(f"{path} exists already: name another file, or reopen it")
            os.ftruncate(file, 0)
            log = cls(path, file, 0, NO_HASH, 0, sync_s)
            log.append(HEADER, format=FORMAT, versions=_versions(), clocks=_clocks(), **header)
            if torn:
                log.append(REOPENED, clocks=_clocks(), torn_bytes=len(torn), torn=_text(torn[:_TORN_KEPT]))
            log.sync()
            _sync_folder(path.parent)
        except BaseException:
            os.close(file)
            raise
        return log

    @classmethod
    def reopen(cls, path: Path | str, sync_s: float = 1.0) -> EvidenceLog:
        """An existing log, to be appended to. What lies behind its last good record is cut off, and recorded.

        Only what was never known to be on the disk (not in the head file) may be cut: raises EvidenceError if a
        record that the head counts is damaged or missing.
        """
        path = Path(path)
        if not path.is_file():
            raise EvidenceError(f"{path}: no such log")
        file = _open_locked(path, 0)
        try:
            good, last_end, last_hash, why = 0, 0, NO_HASH, ""
            head = _read_head(path)
            head_seen = head is None
            try:
                for record in read_log(path):
                    good, last_end, last_hash = record.index + 1, record.end, record.hash
                    head_seen = head_seen or head == (good, last_hash, last_end)
            except EvidenceError as error:
                why = str(error)
            if not good or not head_seen:
                raise EvidenceError(
                    why
                    or f"{path}: record {good} is missing, though the head file counts it: it cannot be continued"
                )
            with path.open("rb") as lines:
                lines.seek(last_end)
                torn = lines.read(_TORN_KEPT)
            torn_bytes = os.fstat(file).st_size - last_end
            os.ftruncate(file, last_end)
            log = cls(path, file, good, last_hash, last_end, sync_s)
            more = {"torn_bytes": torn_bytes, "torn": _text(torn)} if torn_bytes else {}
            log.append(REOPENED, clocks=_clocks(), **more)
            log.sync()
        except BaseException:
            os.close(file)
            raise
        return log

    def append(self, type: str, /, **fields: Any) -> str:
        """Appends one record; its hash."""
        if self._file is None:
            raise EvidenceError(f"{self.path} is closed: nothing can be appended")
        content = canonical({"type": type, **fields})
        head = chain(self.head, content)
        line = _BEFORE_HASH + head.encode() + _BEFORE_RECORD + content + _AFTER
        if len(line) > LONGEST_LINE:
            raise EvidenceError(f"a record of {len(line)} bytes; at most {LONGEST_LINE} are allowed")
        _write_all(self._file, line, self._length, self.path)
        self.head, self.records, self._length = head, self.records + 1, self._length + len(line)
        if time.monotonic() - self._synced_at >= self._sync_s:
            self.sync()
        return head

    def received(self, received: Received) -> None:
        """Appends what a meter sent."""
        fields: dict[str, Any] = {"t_sent_s": received.t_sent_s, "t_s": received.t_s, "data": _text(received.data)}
        if received.event:
            fields["event"] = received.event
        self.append(RECEIVED, **fields)

    def mark(self, name: str, t_s: float, **fields: Any) -> None:
        """Appends a mark at t_s of the host's monotonic clock."""
        self.append(MARK, name=name, t_s=t_s, **fields)

    def sync(self) -> None:
        """Brings everything to the disk, then the head file."""
        if self._file is None:
            return
        os.fsync(self._file)
        _write_head(self.path, (self.records, self.head, self._length))
        self._synced_at = time.monotonic()

    def close(self) -> None:
        """Appends `end` and closes the file. Without this (a crash) the log stays readable and can be reopened."""
        if self._file is not None:
            self.append(END, clocks=_clocks())
            self.sync()
            os.close(self._file)
            self._file = None

    def abandon(self) -> None:
        """Closes the file as a crash would leave it."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def __enter__(self) -> EvidenceLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def as_received(record: Record) -> Received:
    """The `Received` that a record of type `received` keeps."""
    fields = record.fields
    try:
        data = base64.b64decode(fields["data"], validate=True)
        return Received(fields["t_sent_s"], fields["t_s"], data, fields.get("event", ""))
    except (KeyError, TypeError, binascii.Error) as error:
        raise EvidenceError(f"record {record.index} keeps no received data: {error}") from None


def read_log(path: Path | str) -> Iterator[Record]:
    """The records of a log, one at a time, checked against the chain as they come; in flat memory.

    Raises EvidenceError at the first record that is not as it was written, a torn last line included. The head
    file is not looked at: `verify` does that.
    """
    path = Path(path)
    head, end = NO_HASH, 0
    with path.open("rb") as lines:
        index = 0
        while line := lines.readline(LONGEST_LINE):
            try:
                fields, head = _parse(line, head)
            except ValueError as error:
                raise EvidenceError(f"{path}: record {index} (byte {end}) is bad: {error}") from None
            if (index == 0) != (fields["type"] == HEADER) or (index == 0 and fields.get("format") != FORMAT):
                raise EvidenceError(f"{path}: record {index} is bad: a log begins with one header of {FORMAT}")
            end += len(line)
            yield Record(index, fields.pop("type"), fields, head, end)
            index += 1
    if index == 0:
        raise EvidenceError(f"{path}: record 0 is bad: the file is empty")


def verify(path: Path | str, head: str | None = None) -> Verification:
    """Checks a whole log against its chain and its head file; and against `head`, a last hash known otherwise.

    A log that is being written, or was left by a crash, may be longer than its head file says, never shorter.
    """
    path = Path(path)
    records, last, last_type, why = 0, NO_HASH, "", ""
    kept = _read_head(path)
    reached = False
    end = 0
    try:
        for record in read_log(path):
            records, last, last_type, end = record.index + 1, record.hash, record.type, record.end
            reached = reached or kept == (records, last, end)
    except EvidenceError as error:
        why = str(error)
    if not why and not reached:
        why = f"{path}: record {records} is missing, or the head file {head_path(path).name} is missing or altered"
    if not why and last_type == END and kept != (records, last, end):
        why = f"{path}: the head file is older than the end of the log"
    if not why and head is not None and head != last:
        why = f"{path}: the last hash is {last[:16]}..., {head[:16]}... was expected"
    return Verification(not why, records, last, records if why else None, why, last_type == END)


def _parse(line: bytes, previous: str) -> tuple[dict[str, Any], str]:
    """The record of a line and its hash; ValueError if it does not follow `previous`."""
    if not line.endswith(b"\n"):
        raise ValueError("its line is cut short")
    framed = line.startswith(_BEFORE_HASH) and line[_HASH_AT + 64 : _RECORD_AT] == _BEFORE_RECORD
    if not framed or not line.endswith(_AFTER):
        raise ValueError("its line is not framed as a record")
    content = line[_RECORD_AT : -len(_AFTER)]
    head = chain(previous, content)
    if line[_HASH_AT : _HASH_AT + 64] != head.encode():
        raise ValueError("its hash does not follow from its content and the record before")
    fields = json.loads(content)
    if not isinstance(fields, dict) or not isinstance(fields.get("type"), str):
        raise ValueError("it is no object with a type")
    return fields, head


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _clocks() -> dict[str, float]:
    return {"wall_s": time.time(), "monotonic_s": time.monotonic()}


def _versions() -> dict[str, str]:
    return {
        "joulebit": importlib.metadata.version("joulebit"),
        "python": platform.python_version(),
        "platform": platform.platform(),
    }


def _open_locked(path: Path, flags: int) -> int:
    try:
        file = os.open(path, os.O_RDWR | os.O_APPEND | flags, 0o644)
    except OSError as error:
        raise EvidenceError(f"{path}: {error.strerror}") from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        raise EvidenceError(f"{path}: another process writes to this log") from None
    return file


def _write_all(file: int, line: bytes, length: int, path: Path) -> None:
    """One write; a full disk leaves the file as it was before."""
    try:
        written = os.write(file, line)
    except OSError as error:
        os.ftruncate(file, length)
        raise EvidenceError(f"{path}: {error.strerror}: nothing more can be logged") from None
    if written != len(line):
        os.ftruncate(file, length)
        raise EvidenceError(f"{path}: only {written} of {len(line)} bytes could be written: is the disk full?")


def _head_bytes(head: tuple[int, str, int]) -> bytes:
    return canonical({"bytes": head[2], "format": FORMAT, "hash": head[1], "records": head[0]}) + b"\n"


def _write_head(path: Path, head: tuple[int, str, int]) -> None:
    temporary = path.with_name(path.name + ".head.new")
    file: IO[bytes]
    with temporary.open("wb") as file:
        file.write(_head_bytes(head))
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(head_path(path))


def _read_head(path: Path) -> tuple[int, str, int] | None:
    """(records, hash, bytes) of the head file; None if there is none, (-1, "", -1) if it is no head."""
    try:
        data = head_path(path).read_bytes()
    except FileNotFoundError:
        return None
    try:
        fields = json.loads(data)
        head = (int(fields["records"]), str(fields["hash"]), int(fields["bytes"]))
    except (ValueError, KeyError, TypeError):
        return -1, "", -1
    return head if data == _head_bytes(head) else (-1, "", -1)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
