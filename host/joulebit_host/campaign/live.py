"""The live view of a campaign: progress, power now and time left on a terminal; elsewhere a line per cell."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from joulebit.cli.console import notes, si
from joulebit_host.campaign.plan import Cell
from joulebit_host.campaign.report import write_report
from joulebit_host.campaign.run import Silent
from joulebit_host.campaign.state import State
from joulebit_host.campaign.summary import summarise
from joulebit_host.meters.base import Decoder, Meter, Received, Sample
from joulebit_host.meters.registry import decoder_for

_REPORT_EVERY_S = 15.0
_REPORT_SHARE = 0.05  #: of the time, at most, goes into reports
_DRAW_EVERY_S = 0.25


class PowerNow:
    """The last reading of a meter, from what it sends."""

    def __init__(self, meter: Meter) -> None:
        self._decoder: Decoder = decoder_for(meter.kind, meter.settings)
        self._last: Sample | None = None
        self.power_w: float | None = None

    def feed(self, received: Received) -> None:
        """The next piece."""
        for sample in self._decoder.feed(received):
            if not sample.valid:
                continue
            if sample.power_w is not None:
                self.power_w = sample.power_w
            elif sample.energy_j is not None:
                last = self._last
                same = last is not None and last.segment == sample.segment and last.energy_j is not None
                if same and last is not None and last.energy_j is not None and sample.t_s > last.t_s:
                    self.power_w = (sample.energy_j - last.energy_j) / (sample.t_s - last.t_s)
                self._last = sample


class LiveView(Silent):
    """Implements `run.Observer` on stderr, and writes the report."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        self._console = notes()
        self._state: State | None = None
        self._power: PowerNow | None = None
        self._drawn_s = self._report_due_s = 0.0
        self._begun_s = time.monotonic()
        self._done = 0
        self._bar = Progress(
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[cell]}  {task.fields[power]}  {task.fields[left]}"),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )

    def begun(self, state: State) -> None:
        """See `Observer`."""
        self._state = state
        for line in state.repaired:
            self._console.print(line)
        done = sum(map(state.is_done, state.cells))
        if done:
            self._console.print(f"{done} of {len(state.cells)} cells are measured and valid already")
        self._bar.add_task("cells", total=len(state.cells), completed=done, cell="", power="", left="")
        self._bar.start()
        self._report(True)

    def attempt(self, cell: Cell, attempt: int, meter: Meter) -> None:
        """See `Observer`."""
        self._power = PowerNow(meter)
        self._draw(cell=f"{cell.key} (attempt {attempt})", power="")

    def received(self, received: Received) -> None:
        """See `Observer`."""
        if not self._console.is_terminal:
            return
        assert self._power is not None
        self._power.feed(received)
        now_s = time.monotonic()
        if self._power.power_w is not None and now_s - self._drawn_s >= _DRAW_EVERY_S:
            self._drawn_s = now_s
            self._draw(power=f"{self._power.power_w:.3f} W", left=self._left())

    def ended(self, cell: Cell, entry: dict[str, Any]) -> None:
        """See `Observer`."""
        if entry["valid"]:
            self._done += 1
            found = f"gross {si(entry['gross_j'], 'J')}"
            if entry["net_j"] is not None:
                found += f", net {si(entry['net_j'], 'J')} +- {si(entry['u_k2_j'], 'J')}"
        else:
            found = "; ".join(f"{r['rule']}: {r['text']}" for r in entry["reasons"])
        self._console.print(f"{cell.key}: {entry['state']}: {found}")
        assert self._state is not None
        self._draw(completed=sum(map(self._state.is_done, self._state.cells)), left=self._left())
        self._report(False)

    def waiting(self, seconds: float, why: str) -> None:
        """See `Observer`."""
        if seconds >= 1:
            self._console.print(f"waiting {seconds:.0f} s {why}")

    def finish(self, running: bool = False) -> None:
        """The last report; the terminal is left in order. running: the campaign was stopped and can go on."""
        self._bar.stop()
        if self._state is not None:
            self._report(True, running)

    def _left(self) -> str:
        assert self._state is not None
        missing = sum(not self._state.is_done(cell) for cell in self._state.cells)
        if not self._done:
            return ""
        seconds = (time.monotonic() - self._begun_s) / self._done * missing
        hours, rest = divmod(round(seconds), 3600)
        return f"{hours}:{rest // 60:02d}:{rest % 60:02d} left"

    def _draw(self, **fields: Any) -> None:
        if self._bar.task_ids:
            self._bar.update(self._bar.task_ids[0], **fields)

    def _report(self, now: bool, running: bool = True) -> None:
        """Writes it between two measurements, seldom enough. If it cannot be written, the campaign goes on."""
        state = self._state
        if state is None or (not now and time.monotonic() < self._report_due_s):
            return
        begun_s = time.monotonic()
        summary = summarise(state.campaign, state.entries)
        try:
            write_report(Path(state.folder), state.campaign, summary, state.entries, running)
        except Exception as error:
            self._console.print(f"the report could not be written: {type(error).__name__}: {error}")
        now_s = time.monotonic()
        self._report_due_s = now_s + max(_REPORT_EVERY_S, (now_s - begun_s) / _REPORT_SHARE)
