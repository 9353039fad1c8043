"""The progress of a run on a terminal, or as a few lines in a log."""

from __future__ import annotations

import time

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from joulebit.cli.console import notes, si

_REFRESH_S = 0.1
_LOG_EVERY_S = 30.0


class RichProgress:
    """Implements `joulebit.train.progress.Progress` on stderr.

    On a terminal: a bar with loss, accuracy, simulated joules and the time left. Elsewhere: a line for each
    evaluation, and one every half minute.
    """

    def __init__(self) -> None:
        self._console = notes()
        self._bar: Progress | None = None
        self._total = 0
        self._drawn_s = 0.0
        self._logged_s = 0.0

    def start(self, total_steps: int, done: int) -> None:
        self._total = total_steps
        self._logged_s = time.monotonic()
        if done:
            self._console.print(f"going on after step {done} of {total_steps}")
        if not self._console.is_terminal:
            return
        self._bar = Progress(
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]}  accuracy {task.fields[accuracy]}  {task.fields[energy]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
        )
        self._bar.add_task("train", total=total_steps, completed=done, loss="-", accuracy="-", energy="-")
        self._bar.start()

    def update(self, step: int, loss: float, accuracy: float, energy_j: float) -> None:
        now = time.monotonic()
        if self._bar is None:
            if now - self._logged_s >= _LOG_EVERY_S:
                self._logged_s = now
                figures = f"loss {loss:.4f}  accuracy {100 * accuracy:.1f} %  {si(energy_j, 'J')}"
                self._console.print(f"step {step}/{self._total}  {figures}")
        elif now - self._drawn_s >= _REFRESH_S or step == self._total:
            self._drawn_s = now
            self._bar.update(
                self._bar.task_ids[0],
                completed=step,
                loss=f"{loss:.4f}",
                accuracy=f"{100 * accuracy:5.1f} %",
                energy=si(energy_j, "J"),
            )

    def evaluation(self, step: int, top1: float, top5: float) -> None:
        self._console.print(f"step {step}/{self._total}  test top-1 {top1:.2f} %  top-5 {top5:.2f} %")

    def finish(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
