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
from joulebit.bench.step import alternate, image_shape, random_batches, ratio, stepper
from joulebit.engine.factory import make_engine
from joulebit.fixed.arithmetic import Arithmetic
from joulebit.nn.context import Update
from joulebit.nn.graph import plan
from joulebit.nn.models import model as named_model
from joulebit.train.integer import IntegerNetwork, TrainingMethod
from joulebit_host.boards import open_board
from joulebit_host.boards.fabric import FunctionalFabric
from joulebit_host.boards.virtual import VirtualBoard
from joulebit_host.driver import Accelerator, default_bitstream
from joulebit_host.engine.session import OverlaySession

__all__ = ["bench_cosim"]

_COMPARED = 3  #: steps after which both engines must have the same weights
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
        model: a name that `joulebit.nn.models` knows, on random images.
        batch: samples per step.
        threads: of the plain engine and of the virtual board; 0: all processors that this process may use.
        rounds: turns of each contestant, as `joulebit.bench.step.bench_step` takes them.
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
    """Training steps of both engines by both methods; and whether the weights are the same after some of them."""
    resolved = plan(named_model(model, 10), image_shape(model))
    batches = random_batches(resolved, batch)
    networks: dict[str, IntegerNetwork] = {}
    identical = True
    sessions = []
    try:
        for name, update in _METHODS.items():
            board = VirtualBoard()
            assert isinstance(board.fabric, FunctionalFabric)
            board.fabric.threads = threads
            session = OverlaySession(board, selective=update is Update.PSG)
            sessions.append(session)
            weights = []
            for engine in (make_engine("numba", Arithmetic(), threads), session.make(Arithmetic(), threads)):
                network = IntegerNetwork(resolved, engine, 0, TrainingMethod(update=update))
                for number in range(_COMPARED):
                    network.train_step(batches[number % len(batches)], 0.1, 2**-9)
                weights.append(network.weights())
                networks[f"{name} {engine.name}"] = network
            plain, overlay = weights
            identical = identical and all(np.array_equal(plain[key], overlay[key]) for key in plain)
        times, _ = alternate({name: stepper(each, batches) for name, each in networks.items()}, rounds, say)
    finally:
        for session in sessions:
            session.close()
    found = {}
    for name in _METHODS:
        plain_s, overlay_s = times[f"{name} numba"], times[f"{name} overlay"]
        relative = ratio(overlay_s, plain_s)
        found[name] = {
            "step_s": median(overlay_s),
            "numba_step_s": median(plain_s),
            **relative,
            "loss": 1 - 1 / relative["ratio"],
        }
    return found, identical


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
