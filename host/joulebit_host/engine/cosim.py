"""How fast the virtual boards are: training steps against the plain engine, and products per second of both tiers.

Ratios come from rounds in which all contestants alternate, in one process with the same threads, since machines
are noisy and seconds do not travel.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from joulebit.accelerator.tiling import Layer
from joulebit.engine.factory import make_engine
from joulebit.fixed.arithmetic import Arithmetic
from joulebit.nn.context import Update
from joulebit.nn.graph import plan
from joulebit.nn.models import model as named_model
from joulebit.train.integer import IntegerNetwork, TrainingMethod
from joulebit.train.network import Batch
from joulebit_host.boards import open_board
from joulebit_host.boards.fabric import FunctionalFabric
from joulebit_host.boards.virtual import VirtualBoard
from joulebit_host.driver import Accelerator, default_bitstream
from joulebit_host.engine.session import OverlaySession

__all__ = ["bench_cosim"]

_BATCHES = 4
_PAUSE_S = 0.005  #: until the threads of the contestant before have stopped looking for work
_METHODS = {"sgd": Update.SGD, "psg": Update.PSG}
_RTL_LAYER = Layer(1, 8, 8, 16, 16, 3, 3, 1, 1, 1)  #: small: the RTL does some 10,000 cycles a second


def bench_cosim(
    model: str = "resnet20",
    batch: int = 128,
    threads: int = 0,
    rounds: int = 8,
    rtl: bool = True,
    array_config: str = "default",
    note: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Measure both tiers.

    Args:
        model: a name that `joulebit.nn.models` knows, on random images of 32 x 32 x 3.
        batch: samples per step.
        threads: of the plain engine and of the virtual board; 0: all processors that this process may use.
        rounds: each contestant takes one step per round, after two that do not count.
        rtl: also run one small layer on the Verilated RTL of array_config (compiled on first use: minutes).

    Returns:
        step_s and numba_step_s (medians, seconds) by method, ratio (median of paired ratios, overlay to numba),
        loss (1 - 1 / ratio: the share of throughput lost), identical (the networks have the same weights), macs_s
        by tier and pass; tiers with open_s too (until the board was there, compiling included), and cycles_s of
        the RTL.
    """
    say = note or (lambda text: None)
    threads = threads or len(os.sched_getaffinity(0))
    steps, identical = _steps(model, batch, threads, rounds, say)
    result: dict[str, Any] = {
        "model": model,
        "batch": batch,
        "threads": threads,
        "rounds": rounds,
        "array_config": array_config,
        "identical": identical,
        "methods": steps,
        "step_s": steps["sgd"]["step_s"],
        "numba_step_s": steps["sgd"]["numba_step_s"],
        "ratio": steps["sgd"]["ratio"],
        "loss": steps["sgd"]["loss"],
    }
    say("passes on the functional tier")
    wide = Layer(batch, 32, 32, 16, 16, 3, 3, 1, 1, 1)
    tiers = {"functional": _passes("virtual", array_config, wide, 5)}
    if rtl:
        say("the RTL: minutes where Verilator compiles it the first time")
        tiers["rtl"] = _passes("virtual-rtl", array_config, _RTL_LAYER, 1)
    result["tiers"] = tiers
    result["macs_s"] = {tier: found["macs_s"] for tier, found in tiers.items()}
    return result


def _steps(
    model: str, batch: int, threads: int, rounds: int, say: Callable[[str], None]
) -> tuple[dict[str, dict[str, float]], bool]:
    """Training steps of both engines by both methods; and whether all weights are the same in the end."""
    resolved = plan(named_model(model, 10), (32, 32, 3))
    networks: dict[tuple[str, str], IntegerNetwork] = {}
    sessions = []
    try:
        for name, update in _METHODS.items():
            board = VirtualBoard()
            assert isinstance(board.fabric, FunctionalFabric)
            board.fabric.threads = threads
            session = OverlaySession(board, selective=update is Update.PSG)
            sessions.append(session)
            for engine in (make_engine("numba", Arithmetic(), threads), session.make(Arithmetic(), threads)):
                networks[name, engine.name] = IntegerNetwork(resolved, engine, 0, TrainingMethod(update=update))
        rng = np.random.default_rng(0)
        batches = [_random_batch(rng, batch, resolved.head.classes, step) for step in range(_BATCHES)]
        times: dict[tuple[str, str], list[float]] = {key: [] for key in networks}
        for number in range(-2, rounds):
            say(f"round {max(0, number + 1)} of {rounds}")
            for key, network in networks.items():
                time.sleep(_PAUSE_S)
                started = time.perf_counter()
                network.train_step(batches[number % _BATCHES], 0.1, 2**-9)
                if number >= 0:
                    times[key].append(time.perf_counter() - started)
    finally:
        for session in sessions:
            session.close()
    found = {}
    for name in _METHODS:
        plain, overlay = times[name, "numba"], times[name, "overlay"]
        ratios = np.array(overlay) / np.array(plain)
        found[name] = {
            "step_s": median(overlay),
            "numba_step_s": median(plain),
            "ratio": float(np.median(ratios)),
            "ratio_low": float(np.percentile(ratios, 10)),
            "ratio_high": float(np.percentile(ratios, 90)),
            "loss": float(1 - 1 / np.median(ratios)),
        }
    same = all(
        np.array_equal(value, networks[name, "overlay"].weights()[weight])
        for name in _METHODS
        for weight, value in networks[name, "numba"].weights().items()
    )
    return found, same


def _random_batch(rng: np.random.Generator, size: int, classes: int, step: int) -> Batch:
    images = rng.integers(0, 256, (size, 32, 32, 3)).astype(np.uint8)
    return Batch(images, rng.integers(0, classes, size), np.arange(size), step)


def _passes(board_name: str, array_config: str, layer: Layer, repeats: int) -> dict[str, Any]:
    """Products per second of each pass over one layer, the fastest of some repeats; cycles per second, if any."""
    rng = np.random.default_rng(1)
    x: NDArray[np.uint8] = rng.integers(0, 256, (layer.images, layer.height, layer.width, layer.c_in)).astype(
        np.uint8
    )
    dz = rng.integers(-9999, 9999, (layer.images, layer.out_h, layer.out_w, layer.c_out)).astype(np.int16)
    w = rng.integers(-127, 128, (layer.kernel_h, layer.kernel_w, layer.c_in, layer.c_out)).astype(np.int8)
    started = time.perf_counter()
    board = open_board(board_name, array_config)
    open_s = time.perf_counter() - started
    try:
        with Accelerator(board, default_bitstream(array_config)) as accelerator:
            operand, gradient = accelerator.upload(x), accelerator.upload(dz)
            macs_s, cycles, seconds = {}, 0, 0.0
            for name in ("forward", "input_gradient", "weight_gradient"):
                best = float("inf")
                for _ in range(repeats + 1):
                    job = accelerator.job()
                    if name == "forward":
                        result = job.forward(operand, w, layer, 9)
                    elif name == "input_gradient":
                        result = job.input_gradient(gradient, w, layer, 9)
                    else:
                        result = job.weight_gradient(operand, gradient, layer)
                    before = accelerator.counters()["CYCLES_TOTAL"]
                    started = time.perf_counter()
                    job.run()
                    took = time.perf_counter() - started
                    cycles += accelerator.counters()["CYCLES_TOTAL"] - before
                    seconds += took
                    best = min(best, took)
                macs_s[name] = result.total("macs") / best
            return {
                "layer": f"{layer.kernel_h}x{layer.kernel_w}, {layer.c_in} to {layer.c_out} channels, "
                f"{layer.images} x {layer.height} x {layer.width}",
                "macs_s": macs_s,
                "cycles_s": cycles / seconds if cycles else None,
                "open_s": open_s,
            }
    finally:
        board.close()
