"""How cost grows: with the network's depth, the batch, the data set and the number of runs in a sweep.

All of these should cost an overhead and so much for each layer, image or run. That law is fitted to what was
measured, and `off_by` says how far the measurement strays from it; memory should not grow with the data set.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from joulebit.bench.data import bench_data, write_images
from joulebit.bench.step import alternate, image_shape, network, random_batches, stepper
from joulebit.bench.sweep import bench_sweep
from joulebit.nn.graph import plan
from joulebit.nn.models import model as named_model

_DEPTHS = (8, 14, 20, 32, 44, 56, 74, 110)
_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_IMAGES = (2_000, 8_000, 32_000)
_FEW_IMAGES = (1_000, 4_000, 8_000)
_RUNS = (500, 2_000, 5_000)
_FEW_RUNS = (200, 800, 1_600)
_DEPTH_BATCH = 32
_BATCH_DEPTH = 20

Note = Callable[[str], None]


def bench_growth(
    quick: bool = False, threads: int = 0, rounds: int = 7, runs: Sequence[int] = (), note: Note | None = None
) -> dict[str, Any]:
    """Measure all of it.

    Args:
        quick: fewer and smaller points, in less than a minute.
        threads: of the training steps; 0 = all processors that this process may use.
        rounds: turns of each depth and of each batch.
        runs: numbers of runs of the sweeps; multiples of 10.
        note: hears what goes on.

    Returns:
        threads, quick, and curves: name -> x and y (what is on the axes), points (x; y, y_low, y_high: median,
        10th and 90th percentile, the same where there is one measurement) and, where a law is expected, law:
        overhead and slope (y = overhead + slope x), off_by (the largest relative distance of a point from it).
    """
    threads = threads or len(os.sched_getaffinity(0))
    tell = note or (lambda text: None)
    depths, batches = (_DEPTHS[:5], _BATCHES[:8]) if quick else (_DEPTHS, _BATCHES)
    rounds = min(rounds, 3) if quick else rounds
    runs = runs or (_FEW_RUNS if quick else _RUNS)
    curves = {"depth": _depth(depths, threads, rounds, tell), "batch": _batch(batches, threads, rounds, tell)}
    curves |= _data(_FEW_IMAGES if quick else _IMAGES, tell)
    curves |= _sweeps(runs, tell)
    return {"threads": threads, "quick": quick, "curves": curves}


def _depth(depths: Sequence[int], threads: int, rounds: int, note: Note) -> dict[str, Any]:
    note(f"ResNets of {depths[0]} to {depths[-1]} layers")
    models = {depth: f"resnet{depth}" for depth in depths}
    batches = random_batches(plan(named_model(models[depths[0]], 10), image_shape("resnet")), _DEPTH_BATCH)
    steps = {model: stepper(network("integer", model, threads), batches) for model in models.values()}
    times, _ = alternate(steps, rounds)
    points = [_point(depth, [1000 * value for value in times[model]]) for depth, model in models.items()]
    return _curve(f"layers of a ResNet (batch {_DEPTH_BATCH})", "ms per step", points, law=True)


def _batch(sizes: Sequence[int], threads: int, rounds: int, note: Note) -> dict[str, Any]:
    model = f"resnet{_BATCH_DEPTH}"
    note(f"batches of {sizes[0]} to {sizes[-1]} images")
    contestant = network("integer", model, threads)
    steps = {str(size): stepper(contestant, random_batches(contestant.plan, size)) for size in sizes}
    times, _ = alternate(steps, rounds)
    points = [_point(size, [1000 * value for value in times[str(size)]]) for size in sizes]
    return _curve(f"images of a batch (ResNet-{_BATCH_DEPTH})", "ms per step", points, law=True)


def _data(sizes: Sequence[int], note: Note) -> dict[str, Any]:
    found: dict[str, list[dict[str, Any]]] = {"mapped": [], "read": []}
    with tempfile.TemporaryDirectory() as folder:
        for size in sizes:
            note(f"a data set of {size} images")
            for name, compressed in (("mapped", False), ("read", True)):
                path = Path(folder) / f"{name}.npz"
                write_images(path, size, compressed)
                found[name].append(bench_data(path))
                path.unlink()
    axis = "thousand training images (LeNet-5)"
    mib = 2**20

    def memory(name: str, key: str = "memory_bytes") -> list[dict[str, float]]:
        return [_point(size / 1000, [row[key] / mib]) for size, row in zip(sizes, found[name])]

    epochs = [_point(size / 1000, [row["epoch_s"]]) for size, row in zip(sizes, found["mapped"])]
    return {
        "epoch": _curve(axis, "s per epoch", epochs, law=True),
        "memory_mapped": _curve(axis, "MiB of memory", memory("mapped")),
        "memory_read": _curve(axis, "MiB of memory", memory("read")),
        "pages_mapped": _curve(axis, "MiB of memory", memory("mapped", "mapped_bytes")),
    }


def _sweeps(counts: Sequence[int], note: Note) -> dict[str, Any]:
    rows = []
    for count in counts:
        note(f"a sweep of {count} runs")
        rows.append(bench_sweep(count))
    curves = {}
    for name, title, key, unit in (
        ("sweep", "s", "run_s", 1.0),
        ("sweep_again", "s", "again_s", 1.0),
        ("sweep_memory", "MiB of memory", "peak_memory_bytes", 2.0**20),  # levels off with the logs of Dask
    ):
        points = [_point(row["runs"] / 1000, [row[key] / unit]) for row in rows]
        curves[name] = _curve("thousand runs of a sweep that do nothing", title, points, law=unit == 1.0)
    return curves


def _point(x: float, values: Sequence[float]) -> dict[str, float]:
    low, middle, high = np.percentile(values, (10, 50, 90))
    return {"x": x, "y": float(middle), "y_low": float(low), "y_high": float(high)}


def _curve(x: str, y: str, points: Sequence[dict[str, float]], law: bool = False) -> dict[str, Any]:
    curve: dict[str, Any] = {"x": x, "y": y, "points": list(points)}
    if law:
        curve["law"] = fitted([point["x"] for point in points], [point["y"] for point in points])
    return curve


def fitted(x: Sequence[float], y: Sequence[float]) -> dict[str, float]:
    """y = overhead + slope x with the least squares of relative errors, neither of them negative."""
    from scipy.optimize import nnls

    xs, ys = np.array(x, float), np.array(y, float)
    (overhead, slope), _ = nnls(np.stack([1 / ys, xs / ys], 1), np.ones(len(ys)))
    off_by = float(np.max(np.abs(ys / (overhead + slope * xs) - 1)))
    return {"overhead": float(overhead), "slope": float(slope), "off_by": off_by}
