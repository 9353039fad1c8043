"""What a worker of the cluster does: one run, from the start or from its last checkpoint."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from joulebit.experiments.config import config_from_table
from joulebit.experiments.rundir import RunDirectory, holds_run, read_summary

__all__ = ["NEWS", "run_point"]

NEWS = "joulebit-sweep"  # topic of the steps that workers report
_NEWS_EVERY_S = 1.0

# Of the summary, what a row of the sweep holds.
_FIGURES = ("steps", "top1", "top5", "weights_sha256", "config_hash", "saving_vs_float32", "predictor_share",
            "skip_ratio", "batch_share")  # fmt: skip


def run_point(key: str, table: dict[str, Any], run_dir: str, data_dir: str | None) -> dict[str, Any]:
    """The row of one run, trained here unless it is finished already.

    Args:
        key: of the run. table: its configuration as nested dictionaries (`as_table` without unset lengths).
        run_dir: its folder, on a file system that all workers and the caller share.
    """
    from joulebit.experiments.execution import check_specification
    from joulebit.experiments.run import run_training

    config = config_from_table(table)
    path = Path(run_dir)
    check_specification(path, config)
    started = time.monotonic()
    goes_on = holds_run(path)
    opened = RunDirectory.open_for_resume if goes_on else RunDirectory.create
    with opened(path, config) as run:
        if run.finished:
            summary = read_summary(path)
        else:
            summary = run_training(config, run, goes_on, Path(data_dir) if data_dir else None, _News(key))
            if not run.finished:
                run.write_summary(summary)
    energy = summary.get("energy_simulated_j") or {}
    return {
        "key": key,
        "status": "done",
        "run_dir": run_dir,
        **{name: summary.get(name) for name in _FIGURES},
        "energy_simulated_j": energy.get("total"),
        "seconds": round(time.monotonic() - started, 3),
    }


class _News:
    """Implements `joulebit.train.progress.Progress`: tells the scheduler now and then how far the run is."""

    def __init__(self, key: str) -> None:
        self._key = key
        self._total = 1
        self._told_s = 0.0

    def start(self, total_steps: int, done: int) -> None:
        self._total = max(1, total_steps)

    def update(self, step: int, loss: float, accuracy: float, energy_j: float) -> None:
        now = time.monotonic()
        if now - self._told_s >= _NEWS_EVERY_S:
            self._told_s = now
            self._tell(step)

    def evaluation(self, step: int, top1: float, top5: float) -> None:
        pass

    def finish(self) -> None:
        pass

    def _tell(self, step: int) -> None:
        from distributed import get_worker

        try:
            worker = get_worker()
        except ValueError:  # not on a cluster
            return
        worker.log_event(NEWS, {"key": self._key, "share": step / self._total})
