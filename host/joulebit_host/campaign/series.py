"""The numbers of a campaign's figures: from its summary, its entries, and the logs of a few of its cells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from joulebit.errors import JoulebitError
from joulebit_host.campaign.calibration import Calibration, Coefficient
from joulebit_host.campaign.entry import quantity
from joulebit_host.campaign.schema import Campaign
from joulebit_host.campaign.state import attempt_log
from joulebit_host.session.uncertainty import Quantity, linear
from joulebit_host.session.window import Floats, Pieces, PiecesBuilder

_BINS = 500  #: of a power curve
Span = tuple[float, float]


@dataclass(frozen=True)
class Group:
    """Repeats of one measurement.

    Attributes:
        label: as short as tells it apart from the others of the campaign.
        summary: see `summary.summarise`.
        entries: of its valid cells.
    """

    label: str
    summary: Mapping[str, Any]
    entries: tuple[Mapping[str, Any], ...]


def groups_of(
    campaign: Campaign, summary: Mapping[str, Any], entries: Mapping[str, Mapping[str, Any]]
) -> list[Group]:
    """All groups of a summary, in its order."""
    several = [
        ("model", len(campaign.models) > 1),
        ("meter", len(campaign.meters) > 1),
        ("device", len(campaign.devices) > 1),
    ]
    found = []
    for row in summary["groups"]:
        label = ", ".join([row["method"], *(row[key] for key, many in several if many and row[key])])
        cells = [
            entries[cell["cell"]]
            for cell in summary["cells"]
            if cell["valid"] and all(cell[key] == row[key] for key in ("method", "model", "meter", "device"))
        ]
        found.append(Group(label, row, tuple(cells)))
    return found


@dataclass(frozen=True, eq=False)
class Trace:
    """The power over a cell's time, from its log; seconds since its first reading.

    Attributes:
        cell: key.
        t_s, mean_w, low_w, high_w: (n,) of stretches of equal length; NaN where there is no reading.
        idle_s, window_s: begin and end of each idle window, and of each window.
        gap_s: stretches without readings.
    """

    cell: str
    t_s: Floats
    mean_w: Floats
    low_w: Floats
    high_w: Floats
    idle_s: tuple[Span, ...]
    window_s: tuple[Span, ...]
    gap_s: tuple[Span, ...]


def traces(folder: Path, groups: Sequence[Group], most: int = 6) -> list[tuple[Group, Trace]]:
    """Of the first valid cell of each group, at most so many."""
    found: list[tuple[Group, Trace]] = []
    for group in groups:
        if len(found) < most and group.entries:
            entry = group.entries[0]
            windows = tuple((w["start_s"], w["end_s"]) for w in entry["windows"])
            log = attempt_log(folder, entry["cell"], entry["attempt"])
            trace = _trace(log, entry["evidence"]["head"], entry["cell"], windows)
            if trace is not None:
                found.append((group, trace))
    return found


@lru_cache(maxsize=32)
def _trace(log: Path, head: str, cell: str, windows: tuple[Span, ...]) -> Trace | None:
    """head: of the log, which is therefore read once."""
    from joulebit_host.evidence.log import HEADER, MARK, RECEIVED, as_received, read_log
    from joulebit_host.session.budget import MeterFacts
    from joulebit_host.session.derive import registered_decoder

    builder: PiecesBuilder | None = None
    idle: list[float] = []
    for record in read_log(log):
        if record.type == HEADER:
            facts = MeterFacts.of(record.fields["meter"])
            decoder = registered_decoder(record.fields["meter"])
            builder = PiecesBuilder(facts.reading, facts.interval_s)
        elif record.type == RECEIVED and builder is not None:
            for sample in decoder.feed(as_received(record)):
                builder.add(sample)
        elif record.type == MARK and record.fields["name"] in ("idle_start", "idle_end"):
            idle.append(float(record.fields["t_s"]))
    pieces = builder.pieces() if builder is not None else None
    if pieces is None or len(pieces.gap) < 2:
        return None
    origin_s = float(pieces.edge_s[0])

    def since(spans: Iterable[Span]) -> tuple[Span, ...]:
        return tuple((a - origin_s, b - origin_s) for a, b in spans)

    gaps = [(float(a), float(b)) for a, b in zip(pieces.edge_s[:-1][pieces.gap], pieces.edge_s[1:][pieces.gap])]
    return Trace(cell, *_binned(pieces), since(zip(idle[::2], idle[1::2])), since(windows), since(gaps))


def _binned(pieces: Pieces) -> tuple[Floats, Floats, Floats, Floats]:
    """(t, mean, least, largest) of at most _BINS stretches."""
    power = (pieces.left_w + pieces.right_w) / 2
    if len(pieces.end_w) and not np.isnan(pieces.end_w).any():
        power = pieces.end_w[1:]
    middle = (pieces.edge_s[:-1] + pieces.edge_s[1:]) / 2 - pieces.edge_s[0]
    count = min(_BINS, len(power))
    ends = np.linspace(0.0, float(pieces.edge_s[-1] - pieces.edge_s[0]), count + 1)
    at = np.clip(np.searchsorted(ends, middle, side="right") - 1, 0, count - 1)
    good = ~pieces.gap
    number = np.bincount(at[good], minlength=count)
    total = np.bincount(at[good], weights=power[good], minlength=count)
    low, high = np.full(count, np.inf), np.full(count, -np.inf)
    np.minimum.at(low, at[good], power[good])
    np.maximum.at(high, at[good], power[good])
    known = number > 0
    mean = np.where(known, total / np.maximum(number, 1), np.nan)
    low, high = np.where(known, low, np.nan), np.where(known, high, np.nan)
    # A stretch without a reading is shown as such only where there is a gap: some are shorter than an interval.
    broken = np.zeros(count, dtype=np.bool_)
    for a, b in zip(pieces.edge_s[:-1][~good], pieces.edge_s[1:][~good]):
        span = np.searchsorted(ends, np.array([a, b]) - pieces.edge_s[0])
        broken[max(span[0] - 1, 0) : span[1]] = True
    keep = known | broken
    return ((ends[:-1] + ends[1:]) / 2)[keep], mean[keep], low[keep], high[keep]


@dataclass(frozen=True)
class Phases:
    """Gross energy of one run by phase, by markers, mean over a group's repeats; joules.

    Attributes:
        energies: by phase.
        whole: measured as a whole.
        additive: in all windows.
        reasons: why the division of a window counts for nothing.
    """

    energies: Mapping[str, Quantity]
    whole: Quantity
    additive: bool
    reasons: tuple[str, ...]


def phases_of(group: Group) -> Phases | None:
    """None where the work marks no phases."""
    marked = [(w["phases"], w["repeats"]) for entry in group.entries for w in entry["windows"] if w.get("phases")]
    if not marked:
        return None
    names = list(dict.fromkeys(name for found, _ in marked for name in found["energies"]))

    def mean(of: Any) -> Quantity:
        return linear([(1 / (len(marked) * n), Quantity.from_json(of(found))) for found, n in marked], "J")

    nothing = Quantity(0.0, "J").as_json()
    return Phases(
        {name: mean(lambda found, name=name: found["energies"].get(name, nothing)) for name in names},
        mean(lambda found: found["whole"]),
        all(found["additive"] for found, _ in marked),
        tuple(dict.fromkeys(reason["text"] for found, _ in marked for reason in found["reasons"])),
    )


def budget_shares(group: Group, energy: str = "net") -> dict[str, float]:
    """Share of each term in the squared standard uncertainty, mean over the repeats; both edges together."""
    shares: dict[str, float] = {}
    entries = [entry for entry in group.entries if entry[energy] is not None]
    for entry in entries:
        found = quantity(entry, energy)
        for term in found.terms:
            name = _term(term.name)
            shares[name] = shares.get(name, 0.0) + (term.u / found.u) ** 2 / len(entries)
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


def _term(name: str) -> str:
    for side in (", start", ", end"):
        name = name.replace(side, "")
    return name


@dataclass(frozen=True)
class Fit:
    """A calibration of the campaign's own cells, and the rows of simulated beside measured energy.

    Attributes:
        calibration: None where the cells do not allow one.
        beside: by cell, with the base table; see `beside.side_by_side`.
        table: name of the base table.
        reason: why there is no calibration.
    """

    calibration: Calibration | None
    beside: tuple[Mapping[str, Any], ...]
    table: str
    reason: str

    @property
    def coefficients(self) -> tuple[Coefficient, ...]:
        """Of the calibration, where it resolves at least one."""
        found = self.calibration.coefficients if self.calibration else ()
        return found if any(c.resolved for c in found) else ()


def fit_of(folder: Path, groups: Sequence[Group], table: str = "xc7z020") -> Fit:
    """With net energies."""
    from joulebit.energy.table import load_table
    from joulebit_host.campaign.beside import beside_runs
    from joulebit_host.campaign.calibration import calibrate
    from joulebit_host.campaign.measured import measured_runs

    entries = [entry for group in groups for entry in group.entries]
    try:
        beside = tuple(beside_runs(entries, [], load_table(table)))
    except JoulebitError:
        beside = ()
    try:
        found = calibrate(measured_runs([(folder, entry) for entry in entries], "net"))
    except (JoulebitError, ModuleNotFoundError) as error:
        return Fit(None, beside, table, f"no calibration: {error}")
    return Fit(found, beside, table, "")
