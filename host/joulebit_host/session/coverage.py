"""Does the k = 2 interval hold the true energy as often as it says? A study over simulated sessions.

    python -m joulebit_host.session.coverage [--sessions N] [--frames N] [--meter KIND] [--seed S]

Each session is drawn by `simulated` (every error at once, by kind of reading) or `frames` (each serial meter's
bytes, through its decoder), measured by the code that measures real ones, and counted as a hit when the
interval holds the true energy. The share of hits of n sessions has the standard deviation sqrt(p (1 - p) / n);
shares are shown with twice that. `2 u` is what a plain factor of 2 would hold: more than 95 % where limits of
data sheets dominate, which is why the factor is computed (see `uncertainty`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import click
import numpy as np

from joulebit_host.meters.base import Reading
from joulebit_host.session.budget import MeterFacts, measure_idle, measure_window
from joulebit_host.session.clock import fit_exchanges
from joulebit_host.session.simulated import SimulatedSession, draw_session
from joulebit_host.session.uncertainty import PROBABILITY, Quantity
from joulebit_host.session.window import Window, build

CASES = ("white noise", "autoregressive noise", "edges at jumps")


@dataclass
class Tally:
    """Hits among sessions.

    Attributes:
        sessions: counted.
        hits: true value within the expanded uncertainty.
        hits_2u: within 2 u.
        relative: sum of expanded uncertainty / true value.
        error_u: sum of (error / u)^2.
        factor: sum of coverage factors.
    """

    sessions: int = 0
    hits: int = 0
    hits_2u: int = 0
    relative: float = 0.0
    error_u: float = 0.0
    factor: float = 0.0

    def add(self, found: Quantity, truth: float) -> None:
        """One more result."""
        error = abs(found.value - truth)
        self.sessions += 1
        self.hits += error <= found.expanded
        self.hits_2u += error <= 2 * found.u
        self.relative += found.expanded / abs(truth)
        self.error_u += (error / found.u) ** 2
        self.factor += found.coverage_factor

    def plus(self, other: Tally) -> Tally:
        """Both together."""
        return Tally(*(a + b for a, b in zip(vars(self).values(), vars(other).values(), strict=True)))

    @property
    def share(self) -> float:
        """Of hits."""
        return self.hits / self.sessions

    @property
    def spread(self) -> float:
        """Two standard deviations of the share, if the interval is right."""
        return 2 * math.sqrt(PROBABILITY * (1 - PROBABILITY) / self.sessions)


def measure_simulated(session: SimulatedSession) -> tuple[Quantity, Quantity]:
    """Gross and net energy as the session's own evaluation finds them."""
    meter = MeterFacts(session.reading, session.interval_s, session.accuracy, "simulated")
    pieces = build(session.samples, session.reading, session.interval_s)
    clock = fit_exchanges(session.exchanges)
    start, end = session.board_s
    error = math.sqrt(3.0) * max(clock.line_u_s(start), clock.line_u_s(end))
    window = Window(clock.host_s(start), clock.host_s(end), error, clock.shift_error_s)
    idle = measure_idle(pieces, [Window(*edges) for edges in session.idle_s], meter, "s")
    energy = measure_window(pieces, window, meter, idle, "w", "s")
    assert energy.net is not None
    return energy.gross, energy.net


def study(sessions: int, seed: int = 1) -> dict[tuple[str, str, str], Tally]:
    """Tallies by (kind of reading, case, "gross" or "net"), `sessions` for each kind and case."""
    tallies: dict[tuple[str, str, str], Tally] = {}
    for row, reading in enumerate(Reading):
        for column, case in enumerate(CASES):
            for number in range(sessions):
                random = np.random.default_rng([seed, row, column, number])
                session = draw_session(random, reading, case == CASES[1], case == CASES[2])
                gross, net = measure_simulated(session)
                for what, found, truth in (("gross", gross, session.gross_j), ("net", net, session.net_j)):
                    tallies.setdefault((reading.value, case, what), Tally()).add(found, truth)
    return tallies


def study_frames(sessions: int, seed: int = 1, meters: Sequence[str] = ()) -> dict[tuple[str, str, str], Tally]:
    """Tallies by (kind of meter, "frames", "gross" or "net") of sessions that go through real frames.

    meters: kinds; all if empty. Each kind's sessions are the same whatever others are studied beside it.
    """
    from joulebit_host.session.frames import KINDS, draw_frames

    tallies: dict[tuple[str, str, str], Tally] = {}
    for row, kind in enumerate(KINDS):
        if meters and kind not in meters:
            continue
        for number in range(sessions):
            session = draw_frames(np.random.default_rng([seed, row, number]), kind)
            gross, net = measure_simulated(session)
            for what, found, truth in (("gross", gross, session.gross_j), ("net", net, session.net_j)):
                tallies.setdefault((kind, "frames", what), Tally()).add(found, truth)
    return tallies


def rows(tallies: dict[tuple[str, str, str], Tally]) -> list[tuple[str, ...]]:
    """The table's rows, as text: by kind and case, by kind, and all."""

    table = [_row(*key, tally) for key, tally in tallies.items()]
    kinds = list(dict.fromkeys(kind for kind, _, _ in tallies))
    cases = list(dict.fromkeys(case for _, case, _ in tallies))
    for what in ("gross", "net"):
        total = Tally()
        for kind in kinds:
            of_kind = Tally()
            for case in cases:
                of_kind = of_kind.plus(tallies[kind, case, what])
            if len(cases) > 1:
                table.append(_row(kind, "all", what, of_kind))
            total = total.plus(of_kind)
        table.append(_row("all", "all", what, total))
    return table


def _row(kind: str, case: str, what: str, tally: Tally) -> tuple[str, ...]:
    n = tally.sessions
    return (
        kind,
        case,
        what,
        str(n),
        f"{100 * tally.share:.1f} +- {100 * tally.spread:.1f} %",
        f"{100 * tally.hits_2u / n:.1f} %",
        f"{tally.factor / n:.2f}",
        f"{math.sqrt(tally.error_u / n):.2f}",
        f"{100 * tally.relative / n:.2f} %",
    )


HEADINGS = (
    "meter",
    "case",
    "energy",
    "sessions",
    "k = 2 holds",
    "2 u holds",
    "mean k",
    "rms error / u",
    "mean U / E",
)


def markdown(table: list[tuple[str, ...]]) -> str:
    """The table as Markdown."""
    lines = ["| " + " | ".join(HEADINGS) + " |", "|---|---|---|" + "---:|" * (len(HEADINGS) - 3)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in table])


@click.command()
@click.option(
    "--sessions", default=200, show_default=True, type=click.IntRange(min=0), help="Of each kind and case."
)
@click.option("--frames", default=0, show_default=True, type=click.IntRange(min=0), help="Of each serial meter.")
@click.option("--meter", "meters", multiple=True, help="Only this serial meter; may be repeated.")
@click.option("--seed", default=1, show_default=True, help="Another seed is another study.")
def main(sessions: int, frames: int, meters: tuple[str, ...], seed: int) -> None:
    """Print the coverage tables as Markdown."""
    from joulebit_host.session.frames import KINDS

    for kind in meters:
        if kind not in KINDS:
            raise click.UsageError(f"--meter must be one of {', '.join(KINDS)}, got {kind!r}")
    if sessions:
        click.echo(markdown(rows(study(sessions, seed))))
    if frames:
        click.echo()
        click.echo(markdown(rows(study_frames(frames, seed, meters))))


if __name__ == "__main__":
    main()
