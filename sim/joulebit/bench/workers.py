"""What it costs to share a batch among several processes, and that they come to the same bits.

Every launch trains the same steps: one plain process with all processors, then as many workers as asked for by
torchrun, each with its share of the processors, and again, round by round.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

from joulebit.bench.fresh_process import measured_by
from joulebit.bench.step import image_shape, random_batches, ratio

_PLAIN = "one process"


def bench_workers(
    model: str = "resnet20",
    batch: int = 128,
    workers: Sequence[int] = (1, 2, 4),
    steps: int = 8,
    rounds: int = 3,
    note: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Time training steps on random images.

    Args:
        model: a name that `joulebit.nn.models` knows. batch: samples per step, of all workers together.
        workers: numbers of processes. steps: that count, of each launch. rounds: launches of each number.
        note: hears what goes on.

    Returns:
        processors, identical (whether all launches ended with the same weights) and launches, a list: workers
        (None: one process without torchrun), threads of each, step_s (median, seconds), ratio, ratio_low and
        ratio_high to one process, weights_sha256.
    """
    processors = len(os.sched_getaffinity(0))
    numbers: list[int | None] = [None, *workers]
    found: dict[int | None, list[dict[str, Any]]] = {number: [] for number in numbers}
    for round_number in range(1, rounds + 1):
        for number in numbers:
            if note:
                note(f"round {round_number} of {rounds}: {f'{number} workers' if number else _PLAIN}")
            found[number].append(_launch(number, model, batch, steps))
    plain = [launch["step_s"] for launch in found[None]]
    hashes = {launch["weights_sha256"] for launches in found.values() for launch in launches}
    return {
        "model": model,
        "batch": batch,
        "processors": processors,
        "rounds": rounds,
        "identical": len(hashes) == 1,
        "launches": [
            {
                "workers": number,
                "threads": launches[0]["threads"],
                "step_s": median(launch["step_s"] for launch in launches),
                **ratio([launch["step_s"] for launch in launches], plain),
                "weights_sha256": launches[0]["weights_sha256"],
            }
            for number, launches in found.items()
        ],
    }


def _launch(workers: int | None, model: str, batch: int, steps: int) -> dict[str, Any]:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(workers)]
    found: dict[str, Any] = measured_by(
        "joulebit.bench.workers", model, batch, steps, launcher=torchrun if workers else ()
    )
    return found


def _train(model: str, size: int, steps: int) -> None:
    """Trains as one of the workers; the first prints."""
    from joulebit.engine.factory import make_engine
    from joulebit.experiments.arrays import arrays_sha256
    from joulebit.fixed.arithmetic import Arithmetic
    from joulebit.kernels.workers import available_cpus
    from joulebit.nn.graph import plan
    from joulebit.nn.models import model as named_model
    from joulebit.nn.workers import part_of
    from joulebit.train.distributed import joined
    from joulebit.train.integer import IntegerNetwork, TrainingMethod
    from joulebit.train.network import Batch

    resolved = plan(named_model(model, 10), image_shape(model))
    with joined() as workers:
        threads = workers.threads or available_cpus()
        network = IntegerNetwork(
            resolved, make_engine("numba", Arithmetic(), threads), 0, TrainingMethod(), workers
        )
        part = part_of(size, workers)
        batches = [
            Batch(whole.images[part], whole.labels[part], whole.samples[part], whole.step, size)
            for whole in random_batches(resolved, size)
        ]
        times = []
        for step in range(-2, steps):
            start = time.perf_counter()
            network.train_step(batches[step % len(batches)], 0.1, 2**-9)
            times.append(time.perf_counter() - start)
        digest = arrays_sha256(network.weights())
    if workers.rank == 0:
        print(json.dumps({"step_s": median(times[2:]), "threads": threads, "weights_sha256": digest}))


if __name__ == "__main__":
    _train(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
