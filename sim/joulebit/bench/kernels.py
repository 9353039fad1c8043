"""Where a training step's time and bytes go, kernel by kernel, against what the machine can do at most.

The operations of real training steps are timed as the network calls them. Products are those of the operation's
definition (a kernel that finds the sums with fewer counts as if it took all), so a rate above the ceiling is
possible and says just that. Bytes are the tensors that an operation reads and writes once, from and to memory.

Rates are taken over the processor time per thread, for kernels and ceilings alike: other processes on the machine
disturb it less than the time on the wall.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from joulebit.bench.step import image_shape, random_batches
from joulebit.engine.base import ConvGeometry
from joulebit.engine.factory import make_engine
from joulebit.fixed.arithmetic import Arithmetic
from joulebit.nn.context import Update
from joulebit.nn.graph import plan
from joulebit.nn.models import model as named_model
from joulebit.train.integer import IntegerNetwork, TrainingMethod

_COPY_BYTES = 128 << 20  #: larger than any cache
_BYTE_OPERATIONS = ("conv_forward",)  #: whose products are of 8 x 8 bits; the others' are of 8 x 16


@dataclass(frozen=True)
class Ceilings:
    """What all threads together reach at most."""

    byte_gmac_s: float  #: products of 8 x 8 bits, 10^9 per second
    pair_gmac_s: float  #: products of 16 x 16 bits
    memory_gb_s: float  #: bytes read and written while copying, 10^9 per second


def measure_ceilings(threads: int) -> Ceilings:
    """Measure with `threads` threads; the best of several runs."""
    from joulebit.kernels import ceilings
    from joulebit.kernels.cpu import CpuLevel, cpu_level
    from joulebit.kernels.scratch import address
    from joulebit.kernels.workers import Workers

    workers = Workers(threads)
    steps = 1_000_000 if cpu_level() > CpuLevel.AVX2 else 200_000
    size = _COPY_BYTES // threads
    memory = [(np.ones(size, np.uint8), np.zeros(size, np.uint8)) for _ in range(threads)]

    def copy(thread: int) -> None:
        source, target = memory[thread]
        ceilings.copy_often(address(target), address(source), size, 1)

    def rate(work: Callable[[int], Any], amount: float) -> float:
        best = float("inf")
        for _ in range(7):  # the first compiles
            start = _cpu_time()
            workers.each(work, threads)
            best = min(best, (_cpu_time() - start) / threads)
        return threads * amount / best / 1e9

    multiply_adds = steps * ceilings.SUMS * ceilings.LANES
    return Ceilings(
        rate(lambda thread: ceilings.multiply_bytes(steps), 4 * multiply_adds),
        rate(lambda thread: ceilings.multiply_pairs(steps), 2 * multiply_adds),
        rate(copy, 2 * size),
    )


class MeasuredEngine:
    """An engine whose operations on large tensors are timed."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self.calls: dict[tuple[str, str], list[tuple[float, float, int, int]]] = {}

    def __getattr__(self, name: str) -> Any:
        operation = getattr(self._engine, name)
        if not callable(operation):
            return operation

        def measured(*args: Any, **options: Any) -> Any:
            wall, cpu = time.perf_counter(), _cpu_time()
            result = operation(*args, **options)
            cpu, wall = _cpu_time() - cpu, time.perf_counter() - wall
            arrays = [value for value in (*args, *options.values()) if isinstance(value, np.ndarray)]
            where, products = _what(name, arrays, [value for value in args if isinstance(value, ConvGeometry)])
            moved = sum(array.nbytes for array in (*arrays, *_arrays(result)))
            self.calls.setdefault((name, where), []).append((wall, cpu, products, moved))
            return result

        return measured


def _cpu_time() -> float:
    """Processor time of this process's Python threads, seconds, up to now.

    The clock of the whole process lags behind by up to a tick of the system for threads that run on other
    processors and do not sleep between kernels; a thread's own clock does not.
    """
    if not hasattr(time, "pthread_getcpuclockid"):
        return time.process_time()
    idents = [thread.ident for thread in threading.enumerate() if thread.ident is not None]
    return sum(time.clock_gettime(time.pthread_getcpuclockid(ident)) for ident in idents)


def _arrays(result: Any) -> list[NDArray[Any]]:
    values = result if isinstance(result, tuple) else (result,)
    return [value for value in values if isinstance(value, np.ndarray)]


def _what(name: str, arrays: list[NDArray[Any]], geometry: list[ConvGeometry]) -> tuple[str, int]:
    """The shape of an operation in words, and its products."""
    if not geometry or len(arrays) < 2:
        tensor = next((array for array in arrays if array.ndim == 4), None)
        first_axis = 0 if name in ("update", "quantise_weights") else 1  # weights have no samples
        return ("" if tensor is None else "x".join(map(str, tensor.shape[first_axis:]))), 0
    conv, (first, second) = geometry[0], arrays[:2]
    kernel = f"{conv.kernel_h}x{conv.kernel_w}" + (f"/{conv.stride}" if conv.stride > 1 else "")
    kernel += " depthwise" if conv.groups > 1 else ""
    if name.startswith("conv_weight_gradient"):
        c_in, out = first.shape[3], second.shape
    elif name == "conv_forward":
        out_h, out_w = conv.output_size(first.shape[1], first.shape[2])
        c_in, out = first.shape[3], (first.shape[0], out_h, out_w, second.shape[3])
    else:
        c_in, out = second.shape[2] * conv.groups, first.shape
    positions = out[0] * out[1] * out[2]
    products = positions * conv.kernel_h * conv.kernel_w * (c_in // conv.groups) * out[3]
    return f"{c_in} > {out[3]} at {out[1]}x{out[2]}, {kernel}", int(products)


def bench_kernels(
    model: str = "resnet20",
    batch: int = 128,
    threads: int = 0,
    rounds: int = 8,
    psg: bool = False,
) -> dict[str, Any]:
    """Time the kernels of training steps on random images.

    Args:
        model: a name that `joulebit.nn.models` knows.
        batch: samples per step.
        threads: 0 = all processors that this process may use.
        rounds: steps that count, after two that do not.
        psg: train with predicted signs, which has the predictor's product too.

    Returns:
        ceilings (10^9 per second), step_s, step_cpu_s (medians, seconds), between_s (of the step, outside all
        operations: where one thread works at most) and kernels, a list in order of processor
        time: name, shape, calls per step, s and cpu_s per step (medians over the steps), gmac_s, gb_s, and their
        share of the ceilings (None for operations without products).
    """
    threads = threads or len(os.sched_getaffinity(0))
    ceilings = measure_ceilings(threads)
    engine = MeasuredEngine(make_engine("numba", Arithmetic(), threads))
    resolved = plan(named_model(model, 10), image_shape(model))
    method = TrainingMethod(update=Update.PSG if psg else Update.SGD)
    network = IntegerNetwork(resolved, engine, 0, method)
    batches = random_batches(resolved, batch)
    steps: list[tuple[float, float, float]] = []
    rows: dict[tuple[str, str], list[tuple[float, float, int, int, int]]] = {}
    for number in range(-2, rounds):
        engine.calls.clear()
        wall, cpu = time.perf_counter(), _cpu_time()
        network.train_step(batches[number % len(batches)], 0.1, 2**-9)
        if number < 0:
            continue
        wall, cpu = time.perf_counter() - wall, _cpu_time() - cpu
        steps.append((wall, cpu, wall - sum(call[0] for calls in engine.calls.values() for call in calls)))
        for key, calls in engine.calls.items():
            sums = tuple(sum(call[i] for call in calls) for i in range(4))
            rows.setdefault(key, []).append((*sums, len(calls)))  # type: ignore[arg-type]
    kernels = [_row(key, found, ceilings, threads) for key, found in rows.items()]
    return {
        "model": model,
        "batch": batch,
        "threads": threads,
        "rounds": rounds,
        "ceilings": {
            "byte_gmac_s": ceilings.byte_gmac_s,
            "pair_gmac_s": ceilings.pair_gmac_s,
            "memory_gb_s": ceilings.memory_gb_s,
        },
        "step_s": median(wall for wall, _, _ in steps),
        "step_cpu_s": median(cpu for _, cpu, _ in steps),
        "between_s": median(between for _, _, between in steps),
        "kernels": sorted(kernels, key=lambda row: -row["cpu_s"]),
    }


def _row(
    key: tuple[str, str], found: list[tuple[float, float, int, int, int]], ceilings: Ceilings, threads: int
) -> dict[str, Any]:
    wall, cpu = median(entry[0] for entry in found), median(entry[1] for entry in found)
    _, _, products, moved, calls = found[-1]
    peak = ceilings.byte_gmac_s if key[0] in _BYTE_OPERATIONS else ceilings.pair_gmac_s
    spent = max(cpu / threads, 1e-9)
    gmac_s, gb_s = products / spent / 1e9, moved / spent / 1e9
    return {
        "name": key[0],
        "shape": key[1],
        "calls": calls,
        "s": wall,
        "cpu_s": cpu,
        "gmac_s": gmac_s if products else None,
        "gmac_share": gmac_s / peak if products else None,
        "gb_s": gb_s,
        "gb_share": gb_s / ceilings.memory_gb_s,
    }
