"""Recordings: what one meter sent, as an evidence log that `replay` and the audit read.

The log (see `joulebit_host.evidence.log`) has the meter's kind, identity and settings in its header and each
`Received` as one record. A recording that was cut off by a crash is read up to its last whole record.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from joulebit.errors import JoulebitError
from joulebit_host.evidence import log as evidence
from joulebit_host.meters.base import Decoder, Meter, Received, Summary
from joulebit_host.meters.summary import Summariser


def create_recording(path: Path | str, meter: Meter) -> evidence.EvidenceLog:
    """A new log for this meter; JoulebitError if the file exists."""
    return evidence.EvidenceLog.create(path, evidence.meter_header(meter))


class Recording:
    """A recording to be read.

    Attributes:
        kind, identity, settings: of the meter, as in its header.
    """

    def __init__(self, path: Path | str) -> None:
        """Reads the header; JoulebitError if the file is no recording of a meter."""
        self.path = Path(path)
        if not self.path.is_file():
            raise JoulebitError(f"{path}: no such recording")
        header = next(evidence.read_log(self.path)).fields
        meter: Any = header.get("meter")
        if not isinstance(meter, dict) or not {"kind", "identity", "settings"} <= meter.keys():
            raise JoulebitError(f"{path} is no recording of a meter: its header names none")
        self.kind: str = meter["kind"]
        self.identity: str = meter["identity"]
        self.settings: dict[str, Any] = meter["settings"]

    def decoder(self) -> Decoder:
        """A new decoder for its bytes."""
        from joulebit_host.meters.registry import decoder_for

        return decoder_for(self.kind, self.settings)

    def __iter__(self) -> Iterator[Received]:
        """What was received, in order. A last line cut short by a crash ends it; any other damage raises."""
        records = evidence.read_log(self.path)
        end = 0
        while True:
            try:
                record = next(records, None)
            except evidence.EvidenceError:
                if self._is_torn(end):
                    return
                raise
            if record is None:
                return
            end = record.end
            if record.type == evidence.RECEIVED:
                yield evidence.as_received(record)

    def _is_torn(self, end: int) -> bool:
        """Whether only a line without its end follows."""
        with self.path.open("rb") as file:
            file.seek(end)
            return b"\n" not in file.read()

    def summary(self) -> Summary:
        """Its energy, by the meter's own rule."""
        from joulebit_host.meters.registry import describe

        reading, _, interval_s = describe(self.kind, self.settings)
        decoder, total = self.decoder(), Summariser(reading, interval_s)
        for received in self:
            total.add(decoder.feed(received))
        return total.result(decoder.faults)
