"""Proof, on the machine at hand, that the engines compute the same bits.

Two kinds of cases run on every engine and are compared with `==`: single operations over odd shapes, strides,
kernel sizes, groups, widths, rounding modes and operands at the ends of their ranges; and short training runs of
whole networks, whose every parameter, momentum and exponent must agree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from joulebit.engine.base import ConvGeometry, Engine, NormConstants, NormGradientConstants, UpdateRule
from joulebit.engine.factory import make_engine
from joulebit.fixed.arithmetic import Arithmetic
from joulebit.fixed.rounding import Rounding

Arrays = Mapping[str, Any]
_KEY = 0x1234_5678_9ABC_DEF0


@dataclass(frozen=True)
class Case:
    """Something that every engine computes: named results, arrays or integers."""

    name: str
    arithmetic: Arithmetic
    compute: Callable[[Engine], Arrays]


def verify(
    engines: Sequence[str],
    note: Callable[[str], None] | None = None,
    make: Callable[[str, Arithmetic], Engine] = make_engine,
) -> dict[str, Any]:
    """Run all cases on all engines; the first engine is the reference.

    Returns a dictionary with identical (bool), engines, cases (how many ran), first_difference (None, or which
    engine differs from which in which case, result and element) and training (SHA-256 of each trained network).
    Stops at the first difference.
    """
    if len(engines) < 2:
        raise ValueError(f"at least two engines are needed to compare, got {list(engines)}")
    result: dict[str, Any] = {
        "identical": True,
        "engines": list(engines),
        "cases": 0,
        "first_difference": None,
        "training": {},
    }
    for case in [*operation_cases(), *training_cases()]:
        if note:
            note(case.name)
        reference = case.compute(make(engines[0], case.arithmetic))
        for other in engines[1:]:
            difference = first_difference(reference, case.compute(make(other, case.arithmetic)))
            if difference:
                result["identical"] = False
                result["first_difference"] = f"{case.name}: {other} against {engines[0]}: {difference}"
                return result
        result["cases"] += 1
        if "weights_sha256" in reference:
            result["training"][case.name] = reference["weights_sha256"]
    return result


def first_difference(reference: Arrays, other: Arrays) -> str | None:
    """Where two sets of results first differ, in words; None when they are the same to the bit."""
    for name, expected in reference.items():
        found = other[name]
        if not isinstance(expected, np.ndarray):
            if expected != found:
                return f"{name} is {found}, expected {expected}"
            continue
        if expected.dtype != found.dtype or expected.shape != found.shape:
            return f"{name} is {found.dtype}{found.shape}, expected {expected.dtype}{expected.shape}"
        if not np.array_equal(expected, found):
            differs = np.argwhere(expected != found)
            place = tuple(int(i) for i in differs[0])
            return (
                f"{name}{list(place)} is {found[place]}, expected {expected[place]} "
                f"({len(differs)} of {expected.size} elements differ)"
            )
    return None


# --- single operations -------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Shape:
    """One convolution: samples, height, width, channels in and out, and its geometry."""

    samples: int
    height: int
    width: int
    c_in: int
    c_out: int
    geometry: ConvGeometry

    @property
    def label(self) -> str:
        g = self.geometry
        grouped = f" groups {g.groups}" if g.groups > 1 else ""
        return (
            f"{g.kernel_h}x{g.kernel_w} stride {g.stride} padding {g.padding_h}{grouped} "
            f"on {self.samples}x{self.height}x{self.width}x{self.c_in} -> {self.c_out}"
        )


_SHAPES = (
    _Shape(2, 8, 8, 16, 16, ConvGeometry(3, 3, 1, 1, 1)),
    _Shape(1, 5, 7, 3, 16, ConvGeometry(3, 3, 1, 1, 1)),
    _Shape(3, 8, 8, 16, 32, ConvGeometry(3, 3, 2, 1, 1)),
    _Shape(3, 7, 9, 32, 64, ConvGeometry(3, 3, 2, 1, 1)),
    _Shape(2, 6, 5, 17, 10, ConvGeometry(1, 1, 1, 0, 0)),
    _Shape(2, 9, 6, 64, 32, ConvGeometry(1, 1, 2, 0, 0)),
    _Shape(1, 14, 14, 6, 16, ConvGeometry(5, 5, 1, 0, 0)),
    _Shape(2, 9, 9, 1, 6, ConvGeometry(5, 5, 1, 2, 2)),
    _Shape(1, 11, 8, 4, 8, ConvGeometry(7, 7, 2, 3, 3)),
    _Shape(3, 5, 5, 16, 120, ConvGeometry(5, 5, 1, 0, 0)),
    _Shape(2, 7, 7, 24, 24, ConvGeometry(3, 3, 1, 1, 1, 24)),
    _Shape(1, 8, 6, 32, 32, ConvGeometry(3, 3, 2, 1, 1, 32)),
    _Shape(2, 6, 6, 8, 12, ConvGeometry(3, 3, 1, 1, 1, 4)),
    _Shape(1, 1, 1, 64, 64, ConvGeometry(3, 3, 1, 1, 1)),
)


def operation_cases() -> Iterator[Case]:
    """Single operations: the default widths on all shapes, other widths and modes on some, and the extremes."""
    default = Arithmetic()
    for shape in _SHAPES:
        yield _conv_case(f"convolution {shape.label}", default, shape, "random")
    for operands in ("highest", "lowest", "alternating"):
        for shape in (_SHAPES[0], _SHAPES[3], _SHAPES[9], _SHAPES[10]):
            yield _conv_case(f"convolution, {operands} operands, {shape.label}", default, shape, operands)
    for bits in (4, 6, 12, 16):
        widths = Arithmetic(
            x_bits=bits, w_bits=bits, g_bits=bits, x_msb_bits=min(bits, 4), g_msb_bits=min(bits, 10)
        )
        yield _conv_case(f"convolution, {bits} bits", widths, _SHAPES[2], "random")
        yield _conv_case(f"convolution, {bits} bits, highest operands", widths, _SHAPES[0], "highest")
    yield _conv_case(
        "convolution, signed activations",
        Arithmetic(x_signed=True, msb_rounding="toward_zero"),
        _SHAPES[0],
        "random",
    )
    yield _conv_case("convolution, 24-bit accumulator", Arithmetic(accumulator_bits=24), _SHAPES[3], "highest")
    for mode in Rounding:
        arithmetic = Arithmetic(rounding=mode.name.lower())
        yield _conv_case(f"convolution, {mode.name.lower()} rounding", arithmetic, _SHAPES[2], "random")
        yield Case(f"normalisation, {mode.name.lower()} rounding", arithmetic, _normalisation)
    yield Case("pooling and small tensors", default, _small_tensors)
    yield Case("update of parameters", default, _update)


def _conv_case(name: str, arithmetic: Arithmetic, shape: _Shape, operands: str) -> Case:
    return Case(name, arithmetic, lambda engine: _convolution(engine, shape, operands))


def _operand(
    rng: np.random.Generator, low: int, high: int, shape: tuple[int, ...], operands: str, dtype: Any
) -> NDArray[Any]:
    if operands == "highest":
        return np.full(shape, high, dtype)
    if operands == "lowest":
        return np.full(shape, low, dtype)
    if operands == "alternating":
        return np.where(rng.integers(0, 2, shape) > 0, high, low).astype(dtype)
    return rng.integers(low, high + 1, shape).astype(dtype)


def _convolution(engine: Engine, shape: _Shape, operands: str) -> Arrays:
    rng = np.random.default_rng(shape.c_in * 1000 + shape.height)
    fmt, geometry = engine.arithmetic, shape.geometry
    out_h, out_w = geometry.output_size(shape.height, shape.width)
    x_shape = (shape.samples, shape.height, shape.width, shape.c_in)
    low, high = fmt.activation_range(signed=shape.c_in <= 4)
    x_type: Any = (np.int8 if low else np.uint8) if fmt.x_bits <= 8 else (np.int16 if low else np.uint16)
    x = engine.from_numpy(_operand(rng, low, high, x_shape, operands, x_type))
    w_limit, g_limit = (1 << (fmt.w_bits - 1)) - 1, (1 << (fmt.g_bits - 1)) - 1
    w_shape = (geometry.kernel_h, geometry.kernel_w, shape.c_in // geometry.groups, shape.c_out)
    w_type: Any = np.int8 if fmt.w_bits <= 8 else np.int16
    w = engine.from_numpy(_operand(rng, -w_limit, w_limit, w_shape, operands, w_type))
    dz_shape = (shape.samples, out_h, out_w, shape.c_out)
    dz = engine.from_numpy(_operand(rng, -g_limit, g_limit, dz_shape, operands, np.int16))
    add = engine.from_numpy(_operand(rng, -g_limit, g_limit, x_shape, operands, np.int16))
    forward = engine.conv_forward(x, w, geometry, fmt.x_bits + fmt.w_bits - 9, _KEY)
    hw = (shape.height, shape.width)
    plain = engine.conv_input_gradient(dz, w, geometry, hw, fmt.w_bits, key=_KEY)
    masked = engine.conv_input_gradient(
        dz, w, geometry, hw, fmt.w_bits + 2, 3, add, 1, -2, x, high // 2 if low == 0 else 0, _KEY
    )
    exact, clamped = engine.conv_weight_gradient(x, dz, geometry)
    predicted = engine.conv_weight_gradient_msb(x, dz, geometry)
    signs, counts = engine.predict_signs(exact, predicted, 205)
    to = engine.to_numpy
    return {
        "z": to(forward.z),
        "peak of z": forward.peak,
        "saturated z": forward.saturated,
        "sum of z": np.asarray(forward.total),
        "sum of z^2": np.asarray(forward.total_squares),
        "input gradient": to(plain.data),
        "peak of the input gradient": plain.peak,
        "saturated input gradient": plain.saturated,
        "masked input gradient": to(masked.data),
        "peak of the masked input gradient": masked.peak,
        "weight gradient": to(exact),
        "saturated weight gradient": clamped,
        "predicted weight gradient": to(predicted),
        "signs": to(signs),
        "sign of the exact gradient": to(engine.sign(exact)),
        "predictor counts": counts,
    }


def _normalisation(engine: Engine) -> Arrays:
    rng = np.random.default_rng(7)
    channels, shape = 19, (3, 5, 6, 19)
    z = engine.from_numpy(_operand(rng, -32767, 32767, shape, "random", np.int16))
    g_limit = (1 << (engine.arithmetic.g_bits - 1)) - 1
    g = engine.from_numpy(_operand(rng, -g_limit, g_limit, shape, "random", np.int16))
    short = engine.from_numpy(rng.integers(0, 256, (3, 10, 11, 7)).astype(np.uint8))
    scale = rng.integers(7, 31, channels)
    norm = NormConstants(
        rng.integers(-(1 << 20), 1 << 20, channels),
        rng.integers((1 << 15) + 1, (1 << 16) + 1, channels),
        scale,
        rng.integers(-32767, 32768, channels),
        rng.integers(-32767, 32768, channels),
    )
    gradient = NormGradientConstants(
        rng.integers(-(1 << 22), 1 << 22, channels),
        rng.integers(-(1 << 26), 1 << 26, channels),
        rng.integers(-32767, 32768, channels),
        rng.integers(0, 40, channels),
    )
    results: dict[str, Any] = {}
    for label, shift, bounds in (("unsigned", 18, (0, 255)), ("signed", 20, (-127, 127))):
        a, outside = engine.norm_forward(z, norm, shift, bounds, short, 2, 19, _KEY)
        results[f"{label} activation"] = engine.to_numpy(a)
        results[f"{label} activations outside"] = outside
    wide, _ = engine.norm_forward(z, norm, 21, (0, 255), short, 2, 25, _KEY)
    results["activation with a wide sum"] = engine.to_numpy(wide)
    closed, outside = engine.shortcut_forward(short, 2, channels, -1, (0, 255), _KEY)
    results["closed block"] = engine.to_numpy(closed)
    results["closed block outside"] = outside
    sums = engine.norm_sums(g, z, norm)
    results["sum of g"], results["sum of g x-hat"] = (np.asarray(value) for value in sums)
    dz = engine.norm_backward(g, z, norm, gradient, _KEY)
    results["dz"] = engine.to_numpy(dz.data)
    results["peak of dz"], results["saturated dz"] = dz.peak, dz.saturated
    passed = engine.shortcut_gradient(g, (10, 11, 7), 2, 3, 2, short, 200, _KEY)
    results["gradient through a closed block"] = engine.to_numpy(passed.data)
    results["its peak"] = passed.peak
    return results


def _small_tensors(engine: Engine) -> Arrays:
    rng = np.random.default_rng(11)
    x = engine.from_numpy(rng.integers(0, 256, (3, 7, 9, 5)).astype(np.uint8))
    base = engine.from_numpy(rng.integers(0, 256, (3, 7, 9, 5)).astype(np.uint8))
    g = engine.from_numpy(rng.integers(-32767, 32768, (3, 3, 4, 5)).astype(np.int16))
    full = engine.from_numpy(rng.integers(-32767, 32768, (3, 7, 9, 5)).astype(np.int16))
    value = rng.integers(-(1 << 40), 1 << 40, (3, 5))
    spread = engine.spread(value, x, 27, True, 200, _KEY)
    index = np.array([2, 0], np.int64)
    to = engine.to_numpy
    return {
        "pooled": to(engine.max_pool(x, 2)),
        "pooling gradient": to(engine.max_pool_gradient(g, x, 2)),
        "spatial sum": np.asarray(engine.spatial_sum(x)),
        "matrix product": engine.matmul(value >> 10, (value >> 12).T),
        "spread": to(spread.data),
        "peak of spread": spread.peak,
        "masked": to(engine.mask_gradient(full, x, 100)),
        "narrowed": to(engine.narrow_gradient(full, 8, 8)),
        "inner products": np.asarray(engine.sample_dot(full, x, base)),
        "taken": to(engine.take(x, index)),
        "put": to(engine.put(engine.copy(x), index, engine.take(base, index))),
    }


def _update(engine: Engine) -> Arrays:
    rng = np.random.default_rng(13)
    initial = rng.integers(-(1 << 31) + 1, 1 << 31, (3, 3, 5, 7))
    results: dict[str, Any] = {}
    for samples, exponent, scale in ((128, -20, 40), (100, -31, 45), (1, 0, 1), (7, 4, 62)):
        master = engine.from_numpy(initial.astype(np.int32))
        momentum = engine.zeros_like_momentum(master)
        for _ in range(3):
            gradient = engine.from_numpy(rng.integers(-(1 << scale), 1 << scale, initial.shape))
            engine.update(master, momentum, gradient, exponent, samples, UpdateRule(104858, 29491, 1678))
        w, w_exponent = engine.quantise_weights(master)
        label = f"{samples} samples, exponent {exponent}"
        results[f"masters, {label}"] = engine.to_numpy(master)
        results[f"momentum, {label}"] = engine.to_numpy(momentum)
        results[f"weights, {label}"] = engine.to_numpy(w)
        results[f"weights' exponent, {label}"] = w_exponent
    return results


# --- training ----------------------------------------------------------------------------------------


def training_cases() -> Iterator[Case]:
    """Short training runs of whole networks on digits, each method once."""
    from joulebit.nn.context import Update
    from joulebit.nn.graph import Conv, GlobalPool, Model, Residual
    from joulebit.nn.models import model
    from joulebit.techniques.slu import SelectiveLayerUpdate
    from joulebit.techniques.stochastic_depth import StochasticDepth
    from joulebit.train.integer import TrainingMethod

    inverted = Residual(
        (Conv(48, 1, activation="relu6"), Conv(48, 3, groups=0, activation="relu6"), Conv(8, 1, activation=None)),
        activation=None,
    )
    small_mobile = Model("inverted-residuals", (Conv(8, stride=2), inverted, GlobalPool()))
    few = (
        Conv(8, stride=2),
        Conv(8, kind="binary"),
        Conv(8, kind="ternary"),
        Conv(16, kind="shift"),
        GlobalPool(),
    )
    adders = Residual((Conv(8, kind="adder"), Conv(8, kind="adder", activation=None)))
    small_few, small_adder = Model("few-values", few), Model("adders", (Conv(8, stride=2), adders, GlobalPool()))
    resnet, lenet = model("resnet8", 10), model("lenet5", 10)
    plain, psg = TrainingMethod(), TrainingMethod(update=Update.PSG)
    slu = TrainingMethod(update=Update.PSG, slu=SelectiveLayerUpdate(0.4, 0.1, 0.1))
    depth = TrainingMethod(update=Update.SIGN, stochastic_depth=StochasticDepth(0.4))
    default = Arithmetic()
    for name, network, method, arithmetic in (
        ("training resnet8, fixed point", resnet, plain, default),
        ("training resnet8, PSG", resnet, psg, default),
        ("training resnet8, PSG and SLU", resnet, slu, default),
        ("training resnet8, SignSGD and stochastic depth", resnet, depth, default),
        ("training lenet5, fixed point", lenet, plain, default),
        ("training inverted residuals, fixed point", small_mobile, plain, default),
        ("training resnet8, 6 bits, stochastic rounding", resnet, plain,
         Arithmetic(6, 6, 12, g_msb_bits=10, rounding="stochastic", input_gradient_bits=8)),
        ("training weights of few values, fixed point", small_few, plain, default),
        ("training adder layers, PSG", small_adder, psg, default),
        ("training adder layers, stochastic rounding", small_adder, plain,
         Arithmetic(6, 6, 12, g_msb_bits=10, rounding="stochastic", input_gradient_bits=8)),
    ):  # fmt: skip
        yield Case(name, arithmetic, _trained(network, method))


def _trained(model: Any, method: Any) -> Callable[[Engine], Arrays]:
    def compute(engine: Engine) -> Arrays:
        from joulebit.data import load_dataset
        from joulebit.nn.graph import plan
        from joulebit.train.integer import IntegerNetwork
        from joulebit.train.network import Batch
        from joulebit.train.weights import weights_sha256

        digits = load_dataset("digits32").train
        network = IntegerNetwork(plan(model, (32, 32, 3)), engine, 1, method)
        for step in range(3):
            chosen = np.arange(step * 10, step * 10 + 10, dtype=np.int64)
            batch = Batch(digits.images[chosen], digits.labels[chosen], chosen, step)
            network.train_step(batch, 0.1, 1 / 256)
        network.prepare_evaluation(digits.images[:24])
        return {
            **network.state(),
            "logits": network.logits(digits.images[30:40]),
            "counters": network.counters.as_dict(),
            "weights_sha256": weights_sha256(network.weights()),
        }

    return compute
