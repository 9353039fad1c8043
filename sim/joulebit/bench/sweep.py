"""What a sweep costs beside its runs: time for each run, time to look again, memory.

Runs that do nothing go through the whole of `joulebit.experiments.sweep`, in a fresh process, on a cluster of two
threads. On a cluster of processes, the workers' own memory is not part of what is measured here.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from joulebit.bench.fresh_process import measured_by, own_peak_memory

_COMBINATIONS = 10


def bench_sweep(runs: int) -> dict[str, Any]:
    """A sweep of `runs` runs that do nothing, a multiple of 10.

    Returns:
        runs, and seconds: list_s to find out which runs there are, run_s to have them done, table_s to make the
        tables, again_s for all of that when every run is finished; peak_memory_bytes of the process.
    """
    found: dict[str, Any] = measured_by("joulebit.bench.sweep", runs)
    return found


class _Quiet:
    """Implements `SweepProgress`."""

    def ended(self, row: Mapping[str, Any]) -> None:
        pass

    def failed(self, key: str, error: str, attempt: int) -> None:
        raise RuntimeError(error)

    def running(self, shares: Mapping[str, float]) -> None:
        pass


def _nothing(key: str, table: dict[str, Any], run_dir: str, data_dir: str | None) -> dict[str, Any]:
    """Stands for a run: a row such as `joulebit.experiments.sweep.worker.run_point` returns."""
    digest = hashlib.sha256(key.encode()).hexdigest()
    return {
        "key": key, "status": "done", "run_dir": run_dir, "steps": 100, "top1": int(digest[:4], 16) / 1000,
        "top5": 90.0, "weights_sha256": digest, "config_hash": key, "saving_vs_float32": 0.5,
        "predictor_share": 0.6, "skip_ratio": 0.0, "batch_share": 1.0, "energy_simulated_j": 1.5, "seconds": 0.001,
    }  # fmt: skip


def _measure(runs: int, folder: Path) -> dict[str, Any]:
    from distributed import Client, LocalCluster

    from joulebit.experiments.sweep.execute import execute
    from joulebit.experiments.sweep.grid import read_sweep
    from joulebit.experiments.sweep.journal import Journal
    from joulebit.experiments.sweep.table import Results, groups, write_csv

    file = folder / "many.toml"
    file.write_text(
        f'base = "digits-lenet-fixed"\nseeds = {runs // _COMBINATIONS}\n[grid]\n'
        f'"method.beta" = {[n / 100 for n in range(1, _COMBINATIONS + 1)]}\n'
    )
    local = LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None)

    def whole(client: Any) -> tuple[float, float, float]:
        start = time.perf_counter()
        points = read_sweep(file).points()
        listed = time.perf_counter()
        with Journal(folder / "out") as journal:
            execute(client, points, journal, folder / "out", None, _Quiet(), task=_nothing)
            ran = time.perf_counter()
            rows = Results(points, journal)
            write_csv(folder / "out" / "results.csv", rows, rows.keys)
            combined = groups(rows)
        if sum(group["done"] for group in combined) != len(points) or len(points) != runs:
            raise RuntimeError(f"{runs} runs were asked for, {len(points)} listed")
        return listed - start, ran - listed, time.perf_counter() - ran

    with local, Client(local) as client:
        list_s, run_s, table_s = whole(client)
        again_s = sum(whole(client))
    return {
        "runs": runs, "list_s": list_s, "run_s": run_s, "table_s": table_s, "again_s": again_s,
        "peak_memory_bytes": own_peak_memory(),
    }  # fmt: skip


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        print(json.dumps(_measure(int(sys.argv[1]), Path(name))))
