"""No compiled kernel writes outside of the memory that it was given, or reads what it was not given."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
from guarded_memory import GuardedMemory

from joulebit.engine.base import ConvGeometry, NormConstants, NormGradientConstants, UpdateRule
from joulebit.engine.numba_engine import NumbaEngine
from joulebit.fixed.arithmetic import Arithmetic
from joulebit.fixed.update import LayerUpdate
from joulebit.kernels.cpu import CpuLevel, missing_features

ENGINES = {threads: NumbaEngine(Arithmetic(), threads) for threads in (1, 2)}
#: the engine's modules, whatever they are: what they allocate lies between guards
MODULES = [
    module for name, module in sys.modules.items() if name.startswith("joulebit.engine.") and "np" in vars(module)
]
needs_vectors = pytest.mark.skipif(ENGINES[1].fast is None, reason="this processor has no vector kernels")

Results = list[Any]
Operation = Callable[[NumbaEngine, Callable[[str, Any], Any]], Results]


def run(
    monkeypatch: Any, operation: Operation, threads: int, fill: int, short: Callable[[str, int], int] | None = None
) -> tuple[Results, list[str]]:
    """What an operation returns, copied, and what was written outside of the areas."""
    memory = GuardedMemory(fill, short)
    operands: list[tuple[Any, Any]] = []

    def place(name: str, values: Any) -> Any:
        operands.append((memory.copy(name, values), values))
        return operands[-1][0]

    with monkeypatch.context() as patch:
        memory.install(patch, *MODULES)
        results = [plain(value) for value in operation(ENGINES[threads], place)]
    for placed, values in operands:
        assert np.array_equal(placed, values), "an operand changed"
    return results, memory.overruns()


def plain(value: Any) -> Any:
    """Lists of numbers, which no longer depend on the guarded memory."""
    if isinstance(value, tuple):
        return [plain(part) for part in value]
    return value.tolist() if isinstance(value, np.ndarray) else value


def check(monkeypatch: Any, operation: Operation) -> None:
    """No overrun on one and on two threads, and the same results whatever lies around and in the areas."""
    expected, overruns = run(monkeypatch, operation, 1, 0xA5)
    assert not overruns
    for threads, fill in ((2, 0x7F), (1, 0)):
        results, overruns = run(monkeypatch, operation, threads, fill)
        assert not overruns
        assert results == expected


def convolution(
    shape: tuple[int, int, int, int], c_out: int, geometry: ConvGeometry, signed: bool, seed: int
) -> Operation:
    """The passes of a convolution and of the predictor, the input gradient with all that may follow its sums."""
    rng = np.random.default_rng(seed)
    n, height, width, c_in = shape
    kind, low, high = (np.int8, -127, 128) if signed else (np.uint8, 0, 256)
    x = rng.integers(low, high, shape).astype(kind)
    weights = (geometry.kernel_h, geometry.kernel_w, c_in // geometry.groups, c_out)
    w = rng.integers(-127, 128, weights).astype(np.int8)
    dz = rng.integers(-32767, 32768, (n, *geometry.output_size(height, width), c_out)).astype(np.int16)
    mask = rng.integers(0, 256, shape).astype(np.uint8)
    same, half = (
        rng.integers(-32767, 32768, size).astype(np.int16)
        for size in (shape, (n, -(-height // 2), -(-width // 2), c_in + 3))
    )

    def operation(engine: NumbaEngine, place: Callable[[str, Any], Any]) -> Results:
        px, pw, pdz, pmask = place("x", x), place("w", w), place("dz", dz), place("mask", mask)
        gradient = (pdz, pw, geometry, (height, width), 11)
        return [
            engine.conv_forward(px, pw, geometry, 9),
            engine.conv_input_gradient(*gradient),
            engine.conv_input_gradient(*gradient, mask=pmask, mask_below=200, add=place("add", same), align=-2),
            engine.conv_input_gradient(*gradient, mask=pmask, add=place("add", half), add_stride=2, align=1),
            engine.conv_weight_gradient(px, pdz, geometry),
            engine.conv_weight_gradient_msb(px, pdz, geometry),
        ]

    return operation


def fitting(kernel: int, stride: int, padding: int, rng: np.random.Generator) -> tuple[int, int]:
    """An image that the kernel fits into at least once."""
    smallest = max(1, kernel - 2 * padding)
    height, width = rng.integers(smallest, smallest + 12, 2)
    return int(height), int(width) + int(rng.choice([0, 0, 0, 19]))


CHANNELS = (1, 2, 3, 4, 7, 15, 16, 17, 20, 31, 32, 33, 48, 63, 64, 65, 70)


@needs_vectors
@pytest.mark.parametrize("kernel", range(1, 8))
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_convolutions_stay_within_their_memory(monkeypatch, kernel: int, stride: int) -> None:
    rng = np.random.default_rng(10 * kernel + stride)
    for number in range(6):
        padding = int(rng.integers(0, kernel))
        c_in, c_out = (int(c) for c in rng.choice(CHANNELS, 2))
        shape = (number % 5 + 1, *fitting(kernel, stride, padding, rng), c_in)
        geometry = ConvGeometry(kernel, kernel, stride, padding, padding)
        check(monkeypatch, convolution(shape, c_out, geometry, number % 2 == 1, number))


@needs_vectors
@pytest.mark.parametrize("channels", [(16, 16), (16, 48), (32, 20), (64, 32), (70, 64)])
def test_products_shared_by_positions_stay_within_their_memory(monkeypatch, channels: tuple[int, int]) -> None:
    """Kernels three columns wide, stride 1, whole blocks of channels: what minimal filtering serves."""
    for number, (height, width) in enumerate(((1, 4), (2, 5), (4, 4), (7, 6), (9, 13), (3, 34))):
        geometry = ConvGeometry(number % 3 + 1, 3, 1, min(1, number % 3), number % 2)
        check(
            monkeypatch,
            convolution(
                (number % 5 + 1, height + 2, width, channels[0]), channels[1], geometry, number % 2 == 1, number
            ),
        )


@needs_vectors
@pytest.mark.parametrize("kernel", range(1, 8))
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_depthwise_convolutions_stay_within_their_memory(monkeypatch, kernel: int, stride: int) -> None:
    rng = np.random.default_rng(100 + 10 * kernel + stride)
    for number in range(5):
        padding = int(rng.integers(0, kernel + 1))
        channels = int(rng.choice(CHANNELS))
        shape = (number % 5 + 1, *fitting(kernel, stride, padding, rng), channels)
        geometry = ConvGeometry(kernel, kernel, stride, padding, padding, channels)
        check(monkeypatch, convolution(shape, channels, geometry, number % 2 == 1, number))


@needs_vectors
@pytest.mark.parametrize(
    "kernel_h, kernel_w, padding_h, padding_w",
    [(1, 7, 0, 3), (7, 1, 3, 0), (2, 3, 1, 1), (3, 5, 1, 0), (4, 2, 2, 1)],
)
def test_kernels_that_are_no_squares(monkeypatch, kernel_h, kernel_w, padding_h, padding_w) -> None:
    for number, (stride, c_in, c_out) in enumerate(((1, 5, 18), (1, 32, 20), (2, 17, 3))):
        geometry = ConvGeometry(kernel_h, kernel_w, stride, padding_h, padding_w)
        check(monkeypatch, convolution((3, 9, 8, c_in), c_out, geometry, False, number))


@needs_vectors
@pytest.mark.parametrize("shape, kernel", [((5, 1, 1, 70), 1), ((4, 3, 5, 6), (3, 5)), ((2, 1, 1, 3), 1)])
def test_dense_layers(monkeypatch, shape, kernel) -> None:
    sizes = (kernel, kernel) if isinstance(kernel, int) else kernel
    for c_out in (1, 10, 33):
        check(monkeypatch, convolution(shape, c_out, ConvGeometry(*sizes), False, c_out))


@pytest.mark.parametrize("groups, c_in, c_out", [(2, 6, 4), (3, 9, 33)])
def test_groups(monkeypatch, groups, c_in, c_out) -> None:
    geometry = ConvGeometry(3, 3, 1, 1, 1, groups)
    check(monkeypatch, convolution((2, 5, 6, c_in), c_out, geometry, False, groups))


def normalisation(shape: tuple[int, ...], seed: int, wide: bool) -> Operation:
    """Batch norm's three operations; wide: constants that do not fit 32-bit lanes."""
    rng = np.random.default_rng(seed)
    n, height, width, channels = shape
    z, g = (rng.integers(-32767, 32768, shape).astype(np.int16) for _ in range(2))
    shortcut = rng.integers(0, 256, shape).astype(np.uint8)
    larger = rng.integers(-127, 128, (n, 2 * height, 2 * width - 1, channels // 2 + 1)).astype(np.int8)
    spread = rng.integers(-27, 31, channels) if wide else rng.integers(10, 22, channels)
    top = 32767 if wide else 8000
    norm = NormConstants(
        rng.integers(-(1 << 22), 1 << 22, channels),
        rng.integers(1 << 15, (1 << 16) + 1, channels),
        spread,
        rng.integers(-top, top + 1, channels),
        rng.integers(-top, top + 1, channels),
    )
    gradient = NormGradientConstants(
        rng.integers(-(1 << 23), (1 << 23) + 1, channels),
        rng.integers(-(1 << 24), (1 << 24) + 1, channels),
        rng.integers(-(1 << 15), (1 << 15) + 1, channels),
        rng.integers(18, 26, channels),
    )

    def operation(engine: NumbaEngine, place: Callable[[str, Any], Any]) -> Results:
        pz, pg = place("z", z), place("g", g)
        constants = NormConstants(*(place(name, getattr(norm, name)) for name in norm.__dataclass_fields__))
        factors = (place(name, getattr(gradient, name)) for name in gradient.__dataclass_fields__)
        return [
            engine.norm_forward(pz, constants, 18, (0, 255)),
            engine.norm_forward(pz, constants, 18, (-127, 127), place("shortcut", shortcut), 1, 10),
            engine.norm_forward(pz, constants, 19, (0, 255), place("shortcut", larger), 2, 11),
            engine.norm_sums(pg, pz, constants),
            engine.norm_backward(pg, pz, constants, NormGradientConstants(*factors)),
        ]

    return operation


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("channels", [1, 3, 15, 16, 17, 32, 40, 64, 70])
def test_normalisations_stay_within_their_memory(monkeypatch, channels: int, wide: bool) -> None:
    for n, height, width in ((1, 1, 1), (2, 5, 7), (5, 8, 4), (3, 16, 3)):
        check(monkeypatch, normalisation((n, height, width, channels), channels, wide))


def pooling(shape: tuple[int, ...], size: int, seed: int) -> Operation:
    rng = np.random.default_rng(seed)
    images = [rng.integers(0, 256, shape).astype(np.uint8), rng.integers(-127, 128, shape).astype(np.int8)]
    n, height, width, channels = shape
    g = rng.integers(-32767, 32768, (n, height // size, width // size, channels)).astype(np.int16)

    def operation(engine: NumbaEngine, place: Callable[[str, Any], Any]) -> Results:
        placed, pg = [place("x", x) for x in images], place("g", g)
        results: Results = [engine.spatial_sum(placed[0])]
        for x in placed:
            results += [engine.max_pool(x, size), engine.max_pool_gradient(pg, x, size)]
        return results

    return operation


@pytest.mark.parametrize("channels", [1, 5, 15, 16, 33, 64, 70])
def test_pooling_stays_within_its_memory(monkeypatch, channels: int) -> None:
    for (height, width), size in product(((4, 4), (7, 9), (3, 5)), (1, 2, 3)):
        check(monkeypatch, pooling((3, height, width, channels), size, channels))


def samples(shape: tuple[int, ...], stride: int, channels: int, seed: int) -> Operation:
    """What a gated block does."""
    rng = np.random.default_rng(seed)
    n, height, width, _ = shape
    x, base = (rng.integers(0, 256, shape).astype(np.uint8) for _ in range(2))
    full = rng.integers(-32767, 32768, shape).astype(np.int16)
    g = rng.integers(-32767, 32768, (n, -(-height // stride), -(-width // stride), channels)).astype(np.int16)
    index = np.arange(0, n, 2)

    def operation(engine: NumbaEngine, place: Callable[[str, Any], Any]) -> Results:
        px, pg, numbers = place("x", x), place("g", g), place("index", index)
        target = engine.copy(px)
        taken = engine.take(px, numbers)
        return [
            engine.shortcut_forward(px, stride, channels, 1, (0, 255)),
            engine.shortcut_gradient(pg, shape[1:], stride, 3, 2, px, 200),
            engine.shortcut_gradient(pg, shape[1:], stride, 3, 2),
            engine.sample_dot(place("full", full), px, place("base", base)),
            taken,
            engine.put(target, numbers, taken[::-1].copy()),
            engine.zeros_like_gradient(px),
        ]

    return operation


@pytest.mark.parametrize("channels", [1, 5, 16, 33])
def test_samples_of_gated_blocks_stay_within_their_memory(monkeypatch, channels: int) -> None:
    for (height, width), stride in product(((1, 1), (4, 4), (7, 9)), (1, 2)):
        for out in (channels, channels + 7):
            check(monkeypatch, samples((5, height, width, channels), stride, out, channels))


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (3, 3, 5, 7), (1, 1, 70, 33)])
def test_the_predictor_and_the_parameters_stay_within_their_memory(monkeypatch, shape) -> None:
    rng = np.random.default_rng(shape[2])
    exact, predicted = (rng.integers(-(1 << 20), 1 << 20, shape) for _ in range(2))
    master = rng.integers(-(1 << 30), 1 << 30, shape).astype(np.int32)

    def operation(engine: NumbaEngine, place: Callable[[str, Any], Any]) -> Results:
        moving, momentum = place("master", master).copy(), np.zeros(shape, np.int64)
        rule = UpdateRule(104858, 29491, 1678)
        engine.update(moving, momentum, place("exact", exact), -20, 32, rule)
        layers = [
            LayerUpdate(
                place("masters", master).copy(), np.zeros(shape, np.int64), place("exact", exact), -20, 32, rule
            )
            for _ in range(3)
        ]
        return [
            *engine.update_layers(layers),
            engine.predict_signs(place("exact", exact), place("predicted", predicted), 205)[0],
            engine.sign(place("exact", exact)),
            engine.quantise_weights(place("master", master)),
            moving,
            momentum,
        ]

    check(monkeypatch, operation)


SMALL = {
    "convolution": convolution((2, 6, 6, 16), 16, ConvGeometry(3, 3, 1, 1, 1), False, 0),
    "depthwise": convolution((2, 6, 6, 16), 16, ConvGeometry(3, 3, 1, 1, 1, 16), False, 0),
    "normalisation": normalisation((2, 5, 7, 17), 0, False),
    "pooling": pooling((2, 4, 4, 5), 2, 0),
}


@needs_vectors
@pytest.mark.parametrize("name", SMALL)
def test_a_result_that_is_two_bytes_too_small_is_seen(monkeypatch, name: str) -> None:
    _, overruns = run(monkeypatch, SMALL[name], 2, 0xA5, lambda area, _: 2 if area == "result" else 0)
    assert overruns
    assert all(line.startswith("result") for line in overruns)


@needs_vectors
@pytest.mark.parametrize("name", ["convolution", "depthwise"])
def test_scratch_memory_that_is_too_small_is_seen(monkeypatch, name: str) -> None:
    """An eighth of what was asked for; all six passes need more."""
    _, overruns = run(monkeypatch, SMALL[name], 1, 0xA5, lambda area, size: size * 7 // 8 * (area == "scratch"))
    assert len(overruns) == 6
    assert all(line.startswith("scratch") for line in overruns)


@pytest.mark.slow
@pytest.mark.skipif(bool(missing_features(CpuLevel.AVX2)), reason="needs a processor with AVX2")
def test_avx2_kernels_stay_within_their_memory() -> None:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        __file__,
        "-k",
        "their_memory and not avx2",  # this test is none of them
    ]
    environment = {**os.environ, "JOULEBIT_CPU": "avx2"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
