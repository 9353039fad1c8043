"""A campaign's folder: what is done, what is missing; safe against being killed at any moment.

    FOLDER/journal.chain                              the journal: an evidence log of the campaign itself
    FOLDER/cells/CELL/attempt-001.evidence.jsonl      one log per attempt, with its .head
    FOLDER/cells/CELL/result.json                     the last attempt that came to its end, see `entry`
    FOLDER/report.html, FOLDER/summary.json           written again and again

The logs are the truth; everything else follows from them and is made again when it is missing. An attempt's log is
closed before the journal names its last hash, so a log that was altered, cut or removed later no longer fits and
the cell counts as not measured. The open journal is locked: one process at a time works in a folder.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from joulebit_host.campaign.entry import CUT_OFF, FAILURE, read_entry
from joulebit_host.campaign.plan import Cell, cells_in_order
from joulebit_host.campaign.ranges import RANGED, Key, record_key
from joulebit_host.campaign.reading import CampaignError
from joulebit_host.campaign.schema import Campaign, as_table, campaign_from_table, campaign_hash
from joulebit_host.evidence.log import END, SUFFIX, EvidenceError, EvidenceLog, Record, head_path, read_log, verify
from joulebit_host.session.derive import RESULT

JOURNAL = "journal.chain"
CELLS = "cells"
SUMMARY = "summary.json"
OPENED, ATTEMPT, ENDED, WITHOUT_LOG, FINISHED = "opened", "attempt", "ended", "without_log", "finished"


def write_file(path: Path, content: str | bytes) -> None:
    """Replaces a file as a whole; text as UTF-8."""
    temporary = path.with_name(path.name + ".new")
    with temporary.open("wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


class State:
    """An open folder. Use `create` or `resume`."""

    def __init__(self, folder: Path, campaign: Campaign, journal: EvidenceLog) -> None:
        self.folder = folder
        self.campaign = campaign
        self.cells = cells_in_order(campaign)
        self.journal = journal
        self.entries: dict[str, dict[str, Any]] = {}  #: by cell: the last attempt that came to its end
        self.tries: dict[str, int] = {}  #: by cell: attempts that came to their end
        self.ranges: dict[Key, dict[str, float]] = {}  #: chosen by a ranging run, see `ranges`
        self._used: dict[str, int] = {}  # by cell: the highest number of an attempt
        self.repaired: list[str] = []  #: what `resume` found and did, for people

    @classmethod
    def create(cls, folder: Path, campaign: Campaign) -> State:
        """A new folder; CampaignError if it holds a campaign."""
        if (folder / JOURNAL).exists() and _has_record(folder / JOURNAL):
            raise CampaignError(
                f"{folder} holds a campaign already: add --resume to go on, or name another folder"
            )
        (folder / "cells").mkdir(parents=True, exist_ok=True)
        header = {"campaign": as_table(campaign), "campaign_hash": campaign_hash(campaign)}
        journal = EvidenceLog.create(folder / JOURNAL, header)
        state = cls(folder, campaign, journal)
        journal.append(OPENED, pid=os.getpid(), order=[cell.key for cell in state.cells])
        return state

    @classmethod
    def resume(cls, folder: Path, campaign: Campaign) -> State:
        """Goes on with a folder, or begins it. Attempts that were cut off are closed, entries made again."""
        if not (folder / JOURNAL).exists() or not _has_record(folder / JOURNAL):
            return cls.create(folder, campaign)
        kept, records = read_journal(folder)
        if campaign_hash(kept) != campaign_hash(campaign):
            raise CampaignError(
                f"{folder} holds another plan ({_difference(kept, campaign)}): name another folder"
            )
        state = cls(folder, campaign, EvidenceLog.reopen(folder / JOURNAL))
        state.journal.append(OPENED, pid=os.getpid(), resumed=True)
        heads = {(r.fields["cell"], r.fields["attempt"]): r.fields["head"] for r in records if r.type == ENDED}
        for record in records:
            if record.type == ATTEMPT:
                key = record.fields["cell"]
                state._used[key] = max(state._used.get(key, 0), record.fields["attempt"])
            elif record.type == RANGED:
                state.ranges[record_key(record)] = dict(record.fields["ranges"])
            elif record.type == WITHOUT_LOG:
                key = record.fields["entry"]["cell"]
                state.entries[key] = dict(record.fields["entry"])
                state.tries[key] = state.tries.get(key, 0) + 1
        for cell in state.cells:
            state._recover(cell, {n: head for (key, n), head in heads.items() if key == cell.key})
        return state

    def _recover(self, cell: Cell, heads: Mapping[int, str]) -> None:
        """Closes what was cut off; takes the last attempt that came to its end and is as the journal says."""
        for number in sorted({*heads, *(n for n, _ in self._attempts(cell))}):
            path = self.log_path(cell, number)
            if not path.exists() or not _has_record(path):
                if number in heads:
                    self.repaired.append(f"{cell.key}: the evidence of attempt {number} is gone")
                    continue
                path.unlink(missing_ok=True)
                continue
            try:
                _close(path)
                found = verify(path, heads.get(number))
                if not found.ok:
                    raise EvidenceError(found.reason)
                entry = read_entry(path)
            except EvidenceError as error:
                self.repaired.append(f"{cell.key}: attempt {number} does not count: {error}")
                continue
            if number not in heads:
                self.journal.append(
                    ENDED, cell=cell.key, attempt=number, state=entry["state"], head=found.head, recovered=True
                )
            if entry["state"] == CUT_OFF:
                continue
            self.tries[cell.key] = self.tries.get(cell.key, 0) + 1
            self.entries[cell.key] = entry
        if cell.key in self.entries:
            self._write_result(cell)

    def _attempts(self, cell: Cell) -> Iterator[tuple[int, Path]]:
        for path in sorted(self.cell_folder(cell).glob(f"attempt-*{SUFFIX}")):
            number = path.name[len("attempt-") : -len(SUFFIX)]
            if number.isdigit():
                yield int(number), path

    def cell_folder(self, cell: Cell) -> Path:
        """Where a cell's files lie."""
        return self.folder / CELLS / cell.key

    def log_path(self, cell: Cell, attempt: int) -> Path:
        """The evidence of an attempt."""
        return attempt_log(self.folder, cell.key, attempt)

    def begin(self, cell: Cell) -> int:
        """The number of a new attempt."""
        self.cell_folder(cell).mkdir(parents=True, exist_ok=True)
        number = 1 + max([self._used.get(cell.key, 0), *(n for n, _ in self._attempts(cell))])
        self._used[cell.key] = number
        self.journal.append(ATTEMPT, cell=cell.key, attempt=number)
        return number

    def ranged(self, cell: Cell, ranges: Mapping[str, float], peak: Mapping[str, Any]) -> None:
        """Ranges for this cell and all of its group, from the next attempt on; none withdraws them."""
        method, model, meter, device = cell.group
        self.ranges[cell.group] = dict(ranges)
        self.journal.append(
            RANGED, method=method, model=model, meter=meter, device=device, ranges=dict(ranges), peak=dict(peak)
        )

    def end(self, cell: Cell, attempt: int) -> dict[str, Any]:
        """The attempt's log is closed: its entry, which now counts."""
        entry = read_entry(self.log_path(cell, attempt))
        self.journal.append(
            ENDED, cell=cell.key, attempt=attempt, state=entry["state"], head=entry["evidence"]["head"]
        )
        self._count(cell, entry)
        return entry

    def end_without_log(self, cell: Cell, entry: dict[str, Any]) -> dict[str, Any]:
        """The attempt failed before there was a meter."""
        self.journal.append(WITHOUT_LOG, entry=entry)
        self._count(cell, entry)
        return entry

    def _count(self, cell: Cell, entry: dict[str, Any]) -> None:
        self.tries[cell.key] = self.tries.get(cell.key, 0) + 1
        self.entries[cell.key] = entry
        self.journal.sync()
        self._write_result(cell)

    def _write_result(self, cell: Cell) -> None:
        folder = self.cell_folder(cell)
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.entries[cell.key], indent=1, sort_keys=True)
        if not (folder / "result.json").is_file() or (folder / "result.json").read_text(encoding="utf-8") != text:
            write_file(folder / "result.json", text)

    def is_done(self, cell: Cell) -> bool:
        """Measured, and valid."""
        return bool(self.entries.get(cell.key, {}).get("valid"))

    def reference_weights(self, cell: Cell, config_hash: str) -> str:
        """Of the first valid cell, in the plan's order, with this training configuration; "" if there is none."""
        for other in self.cells:
            entry = self.entries.get(other.key)
            if other != cell and entry and entry["valid"] and entry["config_hash"] == config_hash != "":
                return str(entry["weights_sha256"])
        return ""

    def finish(self) -> None:
        """All that can be done is done."""
        self.journal.append(FINISHED, valid=sum(map(self.is_done, self.cells)), cells=len(self.cells))
        self.journal.close()

    def close(self) -> None:
        """Leaves the folder as it is."""
        self.journal.close()


def attempt_log(folder: Path, cell: str, attempt: int) -> Path:
    """The evidence of an attempt at the cell with this key, in a campaign's folder."""
    return folder / CELLS / cell / f"attempt-{attempt:03d}{SUFFIX}"


def read_journal(folder: Path) -> tuple[Campaign, list[Record]]:
    """The plan and the records of a folder, without a torn last line; CampaignError if it holds no campaign."""
    if not (folder / JOURNAL).is_file():
        raise CampaignError(f"{folder} holds no campaign: there is no {JOURNAL}")
    records = []
    try:
        for record in read_log(folder / JOURNAL):
            records.append(record)
    except EvidenceError:
        if not records:
            raise
    return campaign_from_table(records[0].fields["campaign"], str(folder / JOURNAL)), records


def read_cells(folder: Path) -> tuple[Campaign, list[dict[str, Any]]]:
    """The plan and the entries of all cells that count, while a campaign runs or after; nothing is written.

    Every log is checked against its chain and the journal. Raises EvidenceError for one that does not fit.
    """
    campaign, records = read_journal(folder)
    latest: dict[str, dict[str, Any]] = {}
    for record in records:
        if record.type == WITHOUT_LOG:
            latest[record.fields["entry"]["cell"]] = dict(record.fields["entry"])
        elif record.type == ENDED and record.fields["state"] != CUT_OFF:
            key, number = record.fields["cell"], record.fields["attempt"]
            path = attempt_log(folder, key, number)
            if not path.is_file():
                raise EvidenceError(f"{path} is missing, though the journal names it")
            found = verify(path, record.fields["head"])
            if not found.ok:
                raise EvidenceError(found.reason)
            latest[key] = read_entry(path)
    return campaign, [latest[cell.key] for cell in cells_in_order(campaign) if cell.key in latest]


def _has_record(path: Path) -> bool:
    """A file without one complete line holds nothing: its writer was killed while it began."""
    with path.open("rb") as file:
        return file.readline().endswith(b"\n") or head_path(path).exists()


def _close(path: Path) -> None:
    """Ends the log of an attempt that was cut off; nothing if it is closed."""
    last, measured, damaged = "", False, False
    try:
        for record in read_log(path):
            last = record.type
            measured = measured or last == RESULT
    except EvidenceError:
        damaged = True
    if last == END and not damaged and verify(path).ok:
        return
    with EvidenceLog.reopen(path) as log:
        if not measured and last != FAILURE:
            log.append(FAILURE, rule=CUT_OFF, text="the campaign was stopped in the middle of this attempt")


def _difference(kept: Campaign, asked: Campaign) -> str:
    a, b = as_table(kept), as_table(asked)
    keys = [key for key in a if a[key] != b[key]]
    return "it differs in " + ", ".join(keys)
