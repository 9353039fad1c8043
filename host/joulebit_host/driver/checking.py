"""`joulebit board check`: all passes over a set of shapes on a board, compared with the numpy engine.

Where a result differs, the first element that does is traced to the tile that made it, so that the descriptor can
be looked at: layer, pass, tile, element.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from joulebit.accelerator.tiling import Layer
from joulebit.engine.base import ConvGeometry
from joulebit.engine.numpy_engine import NumpyEngine
from joulebit.errors import JoulebitError
from joulebit.fixed.arithmetic import Arithmetic
from joulebit.fixed.rounding import Rounding
from joulebit.spec.accelerator import ArrayConfig, Operation
from joulebit_host.driver import Accelerator, PassResult

__all__ = ["SETS", "Case", "check_board"]

_BETA_Q12 = 205  #: 0.05
_MASK_BELOW = 200


class Case(NamedTuple):
    """A shape, and operands at the ends of their ranges or random."""

    name: str
    layer: Layer
    unsigned: bool = True
    extreme: bool = False
    rounding: str = "half_up"


def _square(images: int, size: int, c_in: int, c_out: int, kernel: int, stride: int = 1) -> Layer:
    return Layer(images, size, size, c_in, c_out, kernel, kernel, stride, kernel // 2, kernel // 2)


_SMALL = (
    Case("3x3", _square(2, 8, 8, 8, 3)),
    Case("3x3, extremes", _square(2, 8, 8, 8, 3), extreme=True),
    Case("3x3, signed x, extremes", _square(1, 6, 8, 8, 3), unsigned=False, extreme=True),
    Case("3x3, stride 2", _square(2, 9, 8, 8, 3, 2)),
    Case("1x1", _square(2, 7, 16, 12, 1), rounding="half_even"),
    Case("1x1, stride 2", _square(2, 8, 8, 16, 1, 2), rounding="toward_zero"),
    Case("5x5, batch 1", _square(1, 9, 4, 6, 5), rounding="half_away"),
    Case("7x7 of one row", Layer(1, 1, 11, 3, 5, 1, 7, 1, 0, 3), rounding="floor"),
    Case("odd channels", _square(3, 5, 3, 5, 3)),
    Case("one pixel", _square(1, 1, 8, 8, 1)),
    Case("no padding", Layer(2, 7, 6, 8, 8, 3, 2)),
)

_RESNET20 = (
    Case("stem", _square(2, 32, 3, 16, 3), unsigned=False),
    Case("stage 1", _square(2, 32, 16, 16, 3)),
    Case("to 2, stride 2", _square(2, 32, 16, 32, 3, 2)),
    Case("stage 2", _square(2, 16, 32, 32, 3)),
    Case("to 3, stride 2", _square(2, 16, 32, 64, 3, 2)),
    Case("stage 3", _square(2, 8, 64, 64, 3)),
    Case("stage 3, batch 1, extremes", _square(1, 8, 64, 64, 3), extreme=True),
)

SETS: dict[str, tuple[Case, ...]] = {"small": _SMALL, "resnet20": _RESNET20, "all": _SMALL + _RESNET20}


class _Operands(NamedTuple):
    x: NDArray[Any]
    w: NDArray[np.int8]
    dz: NDArray[np.int16]


class _Check(NamedTuple):
    """One pass: how to add it to a job, how to read it, and what is right."""

    name: str
    result: PassResult
    read: Callable[[], NDArray[Any]]
    expected: NDArray[Any]
    peak: int
    saturated: int | None


def check_board(
    accelerator: Accelerator, cases: tuple[Case, ...], seed: int = 0, note: Callable[[str], None] | None = None
) -> dict[str, Any]:
    """Run all cases; stops at the first case that differs.

    Returns:
        identical, passes (one entry per pass: layer, pass, tiles, cycles, macs, macs_s by the fabric's clock,
        host_s, identical), skipped (passes that the configuration cannot hold, and why), first_difference (or
        None) and the board's counters.
    """
    say = note or (lambda text: None)
    rng = np.random.default_rng(seed)
    passes: list[dict[str, Any]] = []
    skipped: list[dict[str, str]] = []
    difference: dict[str, Any] | None = None
    for case in cases:
        say(f"{case.name}: {_words(case.layer)}")
        for job_passes in _jobs(accelerator, case, _operands(case, rng), skipped):
            started = time.perf_counter()
            job, checks = job_passes
            job.run()
            took = time.perf_counter() - started
            for check in checks:
                difference = _difference(accelerator.config, case, check)
                passes.append(_entry(accelerator, case, check, took / len(checks), difference is None))
                if difference:
                    break
            if difference:
                break
        if difference:
            break
    return {
        "identical": difference is None and bool(passes),
        "board": accelerator.board.name,
        "array_config": accelerator.config.name,
        "passes": passes,
        "skipped": skipped,
        "first_difference": difference,
        "counters": accelerator.counters(),
    }


def _operands(case: Case, rng: np.random.Generator) -> _Operands:
    layer = case.layer
    low, high, dtype = (0, 255, np.uint8) if case.unsigned else (-127, 127, np.int8)
    x_shape = (layer.images, layer.height, layer.width, layer.c_in)
    w_shape = (layer.kernel_h, layer.kernel_w, layer.c_in, layer.c_out)
    dz_shape = (layer.images, layer.out_h, layer.out_w, layer.c_out)
    if case.extreme:
        return _Operands(
            rng.choice(np.array([low, high], dtype), x_shape),
            rng.choice(np.array([-127, 127], np.int8), w_shape),
            rng.choice(np.array([-32767, 32767], np.int16), dz_shape),
        )
    x = rng.integers(low, high + 1, x_shape).astype(dtype)
    x[rng.random(x_shape) < 0.3] = 0
    dz = (rng.normal(0, 3000, dz_shape)).clip(-32767, 32767).astype(np.int16)
    return _Operands(x, rng.integers(-127, 128, w_shape).astype(np.int8), dz)


def _jobs(
    accelerator: Accelerator, case: Case, operands: _Operands, skipped: list[dict[str, str]]
) -> Iterator[tuple[Any, list[_Check]]]:
    """Jobs that are still to run, with their checks: passes alone, then prediction and signs in one list."""
    layer, (x, w, dz) = case.layer, operands
    engine = NumpyEngine(Arithmetic(rounding=case.rounding))
    mode = int(Rounding.parse(case.rounding))
    geometry = ConvGeometry(layer.kernel_h, layer.kernel_w, layer.stride, layer.padding_h, layer.padding_w)
    shift = 10
    on_x, on_dz = accelerator.upload(x), accelerator.upload(dz)
    masking = x if case.unsigned else None

    def forward(job: Any) -> list[_Check]:
        result = job.forward(on_x, w, layer, shift, mode)
        right = engine.conv_forward(x, w, geometry, shift)
        return [_Check("forward", result, result.tensor, right.z, right.peak, right.saturated)]

    def backward(job: Any) -> list[_Check]:
        result = job.input_gradient(
            on_dz, w, layer, shift, mode, mask=on_x if case.unsigned else None,
            mask_below=_MASK_BELOW if case.unsigned else 0,
        )  # fmt: skip
        right = engine.conv_input_gradient(
            dz, w, geometry, (layer.height, layer.width), shift, mask=masking, mask_below=_MASK_BELOW
        )
        return [_Check("input gradient", result, result.tensor, right.data, right.peak, right.saturated)]

    exact, _ = engine.conv_weight_gradient(x, dz, geometry)

    def weights(job: Any) -> list[_Check]:
        result = job.weight_gradient(on_x, on_dz, layer)
        return [_Check("weight gradient", result, result.gradient, exact, int(np.abs(exact).max()), None)]

    def signs(job: Any) -> list[_Check]:
        beside = job.input_gradient(on_dz, w, layer, shift, mode, predict=on_x)
        result = job.weight_signs(on_x, on_dz, layer, _BETA_Q12)
        right = engine.conv_input_gradient(dz, w, geometry, (layer.height, layer.width), shift)
        guess = engine.conv_weight_gradient_msb(x, dz, geometry)
        directions, counts = engine.predict_signs(exact, guess, _BETA_Q12)
        decided = np.abs(guess) >= counts["threshold"]
        packed = directions + 4 * decided
        return [
            _Check("with predictor", beside, beside.tensor, right.data, right.peak, right.saturated),
            _Check("weight signs", result, lambda: _signs(result), packed, int(np.abs(guess).max()), None),
        ]

    for build in (forward, backward, weights, signs):
        job = accelerator.job()
        try:
            checks = build(job)
        except JoulebitError as error:
            skipped.append({"layer": case.name, "pass": build.__name__, "why": str(error)})
            continue
        yield job, checks


def _signs(result: PassResult) -> NDArray[np.int64]:
    """Direction, plus 4 where it was predicted."""
    directions, decided = result.signs()
    return directions.astype(np.int64) + 4 * decided


def _entry(accelerator: Accelerator, case: Case, check: _Check, took_s: float, same: bool) -> dict[str, Any]:
    result = check.result
    cycles, macs = result.total("cycles"), result.total("macs")
    return {
        "layer": case.name,
        "shape": _words(case.layer),
        "pass": check.name,
        "tiles": len(result.blocks),
        "cycles": cycles or None,
        "macs": macs,
        "macs_gated": result.total("macs_gated"),
        "macs_s": macs * accelerator.clock_hz / cycles if cycles else None,
        "host_s": took_s,
        "identical": same,
    }


def _words(layer: Layer) -> str:
    stride = f", stride {layer.stride}" if layer.stride > 1 else ""
    return (
        f"{layer.images} x {layer.height} x {layer.width}, {layer.kernel_h}x{layer.kernel_w}, "
        f"{layer.c_in} to {layer.c_out} channels{stride}"
    )


def _difference(config: ArrayConfig, case: Case, check: _Check) -> dict[str, Any] | None:
    """The first thing that is wrong with a pass, down to its element and tile; None when all is right."""
    got = check.read()
    found: dict[str, Any] = {"layer": case.name, "shape": _words(case.layer), "pass": check.name}
    wrong = np.argwhere(got != check.expected)
    if len(wrong):
        element = tuple(int(index) for index in wrong[0])
        tile, geometry = _tile_of(config, check.result, element)
        return found | {
            "tile": tile,
            "of_tiles": len(check.result.blocks),
            "descriptor": geometry,
            "element": list(element),
            "got": int(got[element]),
            "expected": int(check.expected[element]),
            "differences": len(wrong),
            "of": int(got.size),
        }
    for name, mine, right in (
        ("peak", check.result.peak, check.peak),
        ("saturated", check.result.saturated, check.saturated),
    ):
        if right is not None and mine != right:
            return found | {"tile": None, "element": name, "got": mine, "expected": right, "differences": 1}
    return None


def _tile_of(config: ArrayConfig, result: PassResult, element: tuple[int, ...]) -> tuple[int, dict[str, int]]:
    """Index and sizes of the tile that wrote an element (the last of those that added to it)."""
    template = result.template
    descriptors, operation = template.plan.descriptors, template.key.operation
    names = ("images", "x_rows", "x_columns", "g_rows", "g_columns", "out_block", "out_blocks", "flags")

    def told(index: int) -> tuple[int, dict[str, int]]:
        return index, {name: int(descriptors[index][name]) for name in names}

    if operation == Operation.WEIGHT_GRADIENT:
        row, column, c_in, c_out = element
        place = (c_out // config.out_lanes, c_in // 8, row, column)
        lasts = np.flatnonzero(descriptors["flags"] >> 1 & 1).tolist()
        for final, piece in zip(lasts, template.plan.pieces):
            if all(start <= at < stop for at, (start, stop) in zip(place, piece[1:])):
                return told(final)
    side = "x" if operation == Operation.INPUT_GRADIENT else "g"
    for index in range(len(descriptors))[::-1]:
        d = {name: int(descriptors[index][name]) for name in descriptors.dtype.names or ()}
        image, rest = divmod(d["out_address"], d["out_image_stride"])
        row, rest = divmod(rest, d["out_row_stride"])
        column = rest // d["out_pixel_stride"]
        first = d["out_block"] * config.out_lanes
        sizes = (d["images"], d[f"{side}_rows"], d[f"{side}_columns"], d["out_blocks"] * config.out_lanes)
        starts = (image, row, column, first)
        if all(start <= at < start + size for at, start, size in zip(element, starts, sizes)):
            return told(index)
    raise AssertionError("every element belongs to a tile")
