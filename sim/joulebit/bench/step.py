"""Speed and memory as ratios within one run, because machines are noisy and seconds do not travel.

A step of the bit-accurate network is timed against a step of plain float32 PyTorch in both memory formats. All
contestants alternate, round by round, in one process with the same threads; ratios are of paired rounds. A
contestant's turn begins with steps that do not count: they bring its tensors back to the caches, and the threads
of the contestant before, which PyTorch keeps spinning for some milliseconds, come to rest. Peak memory is read in
one fresh process per contestant.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

import numpy as np

from joulebit.bench.fresh_process import measured_by, own_peak_memory
from joulebit.engine.base import Engine
from joulebit.engine.factory import make_engine
from joulebit.fixed.arithmetic import Arithmetic
from joulebit.nn.context import Update
from joulebit.nn.graph import NetworkPlan, plan
from joulebit.nn.models import model as named_model
from joulebit.train.integer import IntegerNetwork, TrainingMethod
from joulebit.train.network import Batch, Network

Step = Callable[[int], object]  #: one training step; its number says on which batch
CONTESTANTS = ("integer", "integer_psg", "float32_channels_last", "float32_nchw")
NETWORKS = {"resnet20": 128, "resnet74": 64, "mobilenetv2": 64, "lenet5": 128}  #: name -> batch
_IMAGE = {"lenet5": (28, 28, 1)}
_BATCHES = 4  # distinct batches that the steps cycle through
_TURN_S = 0.02  # the counted steps of a turn take at least about this long, since a single short one is noisy


def bench_step(
    model: str = "resnet20",
    batch: int = 128,
    threads: int = 0,
    rounds: int = 10,
    note: Callable[[str], None] | None = None,
    memory: bool = True,
    device: str = "cpu",
) -> dict[str, Any]:
    """Time training steps on random images.

    Args:
        model: a name that `joulebit.nn.models` knows.
        batch: samples per step.
        threads: of every contestant; 0 = all processors that this process may use.
        rounds: turns of each contestant: of one step, or of as many short ones as take 20 ms.
        note: hears what goes on.
        memory: also measure peak memory, which takes a process of its own for each.
        device: of every contestant (see `joulebit.engine.torch_device.named_device`). On the CPU the integers are
            computed by the numba engine, on a CUDA device by the torch engine; there a step ends when the device
            has done it.

    Raises:
        ValueError: there is no such device.

    Returns:
        step_s and float32_step_s (medians, seconds; float32's is the faster memory format), ratio (median of
        paired ratios), ratio_low and ratio_high (10th and 90th percentile), cpu_ratio (of the processor time of
        all threads, which other processes on the machine disturb less), psg_ratio (integer PSG step against
        integer step), the medians of all contestants, relative (each to float32, with percentiles),
        and with `memory` memory_ratio (peak resident bytes; on a CUDA device, bytes of its memory).
    """
    if device != "cpu":
        from joulebit.engine.torch_device import named_device

        device = str(named_device(device))
    threads = threads or len(os.sched_getaffinity(0))
    networks = {name: network(name, model, threads, device) for name in CONTESTANTS}
    batches = random_batches(networks["integer"].plan, batch)
    steps = {name: stepper(each, batches, device) for name, each in networks.items()}
    times, cpu_times = alternate(steps, rounds, note)
    medians = {name: median(values) for name, values in times.items()}
    fastest = min((name for name in CONTESTANTS if name.startswith("float32")), key=medians.__getitem__)
    relative = {name: ratio(times[name], times[fastest]) for name in CONTESTANTS}
    measured = ("integer", fastest) if memory else ()
    peaks = {name: _peak_memory(name, model, batch, threads, device) for name in measured}
    return {
        "model": model,
        "device": _device_name(device),
        "batch": batch,
        "threads": threads,
        "rounds": rounds,
        "step_s": medians["integer"],
        "float32_step_s": medians[fastest],
        "float32_format": fastest.removeprefix("float32_"),
        **relative["integer"],
        "cpu_ratio": ratio(cpu_times["integer"], cpu_times[fastest])["ratio"],
        "cpu_s": {name: median(values) for name, values in cpu_times.items()},
        "psg_ratio": ratio(times["integer_psg"], times["integer"])["ratio"],
        "median_s": medians,
        "relative": relative,
        **({"peak_memory_bytes": peaks, "memory_ratio": peaks["integer"] / peaks[fastest]} if peaks else {}),
    }


def bench_networks(rounds: int = 10, note: Callable[[str], None] | None = None) -> list[dict[str, Any]]:
    """`bench_step` of `NETWORKS`, on one thread and on all processors that this process may use."""
    results = []
    for threads in sorted({1, len(os.sched_getaffinity(0))}):
        for model, batch in NETWORKS.items():
            if note:
                note(f"{model}, batch {batch}, {threads} threads")
            results.append(bench_step(model, batch, threads, rounds, memory=False))
    return results


def ratio(times: Sequence[float], others: Sequence[float]) -> dict[str, float]:
    """Of paired times: ratio (the median), ratio_low and ratio_high (10th and 90th percentile)."""
    paired = np.array(times) / np.array(others)
    low, middle, high = np.percentile(paired, (10, 50, 90))
    return {"ratio": float(middle), "ratio_low": float(low), "ratio_high": float(high)}


def alternate(
    steps: Mapping[str, Step], rounds: int, note: Callable[[str], None] | None = None
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Seconds, and processor seconds, per step of each contestant in each round; all take turns."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    cpu_times: dict[str, list[float]] = {name: [] for name in steps}
    counts = {name: _steps_per_turn(step) for name, step in steps.items()}
    for number in range(1, rounds + 1):
        if note:
            note(f"round {number} of {rounds}")
        for name, step in steps.items():
            wall, cpu = _turn(step, counts[name])
            times[name].append(wall)
            cpu_times[name].append(cpu)
    return times, cpu_times


def _turn(step: Step, count: int) -> tuple[float, float]:
    """Seconds and processor seconds per step, of so many after half as many that do not count."""
    for number in range(-(-count // 2)):
        step(number)
    start, cpu_start = time.perf_counter(), time.process_time()
    for number in range(count):
        step(number)
    return (time.perf_counter() - start) / count, (time.process_time() - cpu_start) / count


def _steps_per_turn(step: Step) -> int:
    """Found by steps that also compile kernels and fill pools of memory."""
    step(0)
    return max(1, math.ceil(_TURN_S / _turn(step, 1)[0]))


def stepper(network: Network, batches: Sequence[Batch], device: str = "cpu") -> Step:
    """The training steps of a network, on these batches in turn; each returns when the device has done it."""

    def step(number: int) -> None:
        network.train_step(batches[number % len(batches)], 0.1, 2**-9)
        if device != "cpu":
            import torch

            torch.cuda.synchronize(device)

    return step


def network(name: str, model: str, threads: int, device: str = "cpu") -> Network:
    """One of CONTESTANTS for a model that `joulebit.nn.models` knows; device: see `bench_step`."""
    resolved = plan(named_model(model, 10), image_shape(model))
    if name.startswith("integer"):
        update = Update.PSG if name == "integer_psg" else Update.SGD
        return IntegerNetwork(resolved, _engine(threads, device), 0, TrainingMethod(update=update))
    import torch

    from joulebit.train.float32 import Float32Network

    torch.set_num_threads(threads)
    return Float32Network(resolved, 0, device=device, channels_last=name == "float32_channels_last")


def _engine(threads: int, device: str) -> Engine:
    if device == "cpu":
        return make_engine("numba", Arithmetic(), threads)
    from joulebit.engine.torch_engine import TorchEngine

    return TorchEngine(Arithmetic(), device)


def _device_name(device: str) -> str:
    """As its maker calls it; the CPU is cpu."""
    if device == "cpu":
        return device
    import torch

    return str(torch.cuda.get_device_name(device))


def image_shape(model: str) -> tuple[int, int, int]:
    """Height, width and channels of the images that a model is timed on."""
    return _IMAGE.get(model.partition("x")[0], (32, 32, 3))


def random_batches(resolved: NetworkPlan, size: int) -> list[Batch]:
    """Batches of random images and labels."""
    rng = np.random.default_rng(0)
    return [
        Batch(
            rng.integers(0, 256, (size, *resolved.image_shape)).astype(np.uint8),
            rng.integers(0, resolved.head.classes, size),
            np.arange(size),
            step,
        )
        for step in range(_BATCHES)
    ]


def _peak_memory(name: str, model: str, batch: int, threads: int, device: str) -> int:
    """Peak bytes of a process that trains three steps and does nothing else: resident ones, or on the device."""
    return int(measured_by("joulebit.bench.step", json.dumps([name, model, batch, threads, device])))


def _train_and_print_peak(name: str, model: str, batch: int, threads: int, device: str) -> None:
    contestant = network(name, model, threads, device)
    for entry in random_batches(contestant.plan, batch)[:3]:
        contestant.train_step(entry, 0.1, 2**-9)
    if device == "cpu":
        print(own_peak_memory())
        return
    import torch

    print(torch.cuda.max_memory_allocated(device))


if __name__ == "__main__":
    _train_and_print_peak(*json.loads(sys.argv[1]))
