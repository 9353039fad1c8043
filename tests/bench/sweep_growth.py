"""What a sweep costs beside its runs: `python tests/bench/sweep_growth.py 1000 30000`.

Runs that do nothing go through the whole of `joulebit.experiments.sweep` on a cluster of two threads. Prints, for
each number of runs, milliseconds per run, seconds to find them all finished when called again, and peak memory.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from joulebit.experiments.sweep.execute import execute
from joulebit.experiments.sweep.grid import read_sweep
from joulebit.experiments.sweep.journal import Journal


def nothing(key: str, table: dict[str, Any], run_dir: str, data_dir: str | None) -> dict[str, Any]:
    """Stands for a run."""
    return {"key": key, "status": "done", "top1": 50.0, "energy_simulated_j": 1.0, "run_dir": run_dir}


class Silent:
    """Implements `SweepProgress`."""

    def ended(self, row: object) -> None:
        pass

    def failed(self, key: str, error: str, attempt: int) -> None:
        raise RuntimeError(error)

    def running(self, shares: object) -> None:
        pass


def measure(runs: int) -> None:
    from distributed import Client, LocalCluster

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "s.toml").write_text(
            f'base = "digits-lenet-fixed"\nseeds = {-(-runs // 10)}\n[grid]\n'
            f'"method.beta" = {[n / 100 for n in range(1, 11)]}\n'
        )
        points = read_sweep(folder / "s.toml").points()
        local = LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None)
        seconds = []
        with local, Client(local) as client:
            for _ in range(2):
                start = time.perf_counter()
                with Journal(folder / "out") as journal:
                    execute(client, points, journal, folder / "out", None, Silent(), task=nothing)
                seconds.append(time.perf_counter() - start)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    each = 1000 * seconds[0] / len(points)
    print(f"{len(points)} runs: {each:.1f} ms each, {seconds[1]:.2f} s again, {memory:.0f} MiB")


if __name__ == "__main__":
    for count in sys.argv[1:] or ["1000"]:
        measure(int(count))
