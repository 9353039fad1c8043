"""What a sweep costs beside its runs: `python tests/bench/sweep_growth.py 1000 30000 100000`.

Prints, for each number of runs (rounded down to tens), milliseconds per run, seconds when the finished sweep is
called again, and peak memory. `joulebit bench growth` draws it, for smaller numbers.
"""

from __future__ import annotations

import sys

from joulebit.bench.sweep import bench_sweep

if __name__ == "__main__":
    for count in sys.argv[1:] or ["1000"]:
        found = bench_sweep(int(count) // 10 * 10)
        print(
            f"{found['runs']} runs: {1000 * found['run_s'] / found['runs']:.1f} ms each, "
            f"{found['again_s']:.2f} s again, {found['peak_memory_bytes'] / 2**20:.0f} MiB",
            flush=True,
        )
