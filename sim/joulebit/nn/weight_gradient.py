"""The gradient of a convolution's weights and the update that it asks for (spec, sections 5 to 7)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from joulebit.engine.base import Array, ConvGeometry, Engine, Int64Array
from joulebit.fixed.arithmetic import Arithmetic
from joulebit.fixed.rounding import saturate
from joulebit.nn import predictor
from joulebit.nn.adder_gradient import DistanceGradient
from joulebit.nn.context import Pass, Update
from joulebit.nn.graph import ConvPlan
from joulebit.nn.parameters import ConvWeight
from joulebit.nn.tensor import Tensor
from joulebit.nn.trained import neuron_operands, outputs_per_group

_WIDEST = (1 << 47) - 1  # limit of a 48-bit accumulator


def weight_gradient(
    plan: ConvPlan,
    weight: ConvWeight,
    x: Tensor,
    dz: Array,
    dz_exponent: int,
    run: Pass,
    channels: Int64Array | None = None,
) -> None:
    """Give `weight` its gradient or direction of this step: at once, or by `Totals.settle` at the latest.

    x is the layer's input, dz (int16) the gradient of its output with the exponent dz_exponent. channels: the
    output channels (int64, ascending, at least one) whose weights are trained, and of which alone anything is
    computed; None: all.
    """
    engine, update = run.engine, run.update
    alone, samples, exponent = run.totals.alone, x.samples, x.exponent + dz_exponent
    if channels is None:
        outputs, operands = None, [(x.data, dz, plan.geometry)]
    else:
        outputs = outputs_per_group(plan, channels)
        operands = neuron_operands(plan, x.data, dz, channels, engine)
    forming = [_forming(operand, run) for operand in operands]
    distance = DistanceGradient.of(weight.w, channels, engine) if plan.kind == "adder" else None
    distances = distance.sums(dz, update is Update.PSG) if distance else []

    def formed() -> None:
        found = [part() for part in forming]
        arrays = [_joined([part[0] for part in parts], engine) for parts in zip(*found, strict=True)]
        clamped = sum(part[0][1] for part in found)
        run.totals.later([*arrays, *distances], partial(finish, clamped), engine)

    def finish(saturated: int, *found: Array) -> None:  # keeps none of the operands alive
        exact = found[0]
        predicted = found[1] if update is Update.PSG else None
        if not alone:
            exact, saturated = _clamped(exact, engine)
        if distance:
            exact, predicted = distance.gradients(exact, predicted, found[len(found) // 2 :])
        run.record(plan.name, weight_gradient_saturated=saturated)
        if predicted is None:
            run.accountant.weight_gradient(plan, samples, None, outputs)
            if update is Update.SIGN:
                weight.set_direction(engine.sign(exact), channels)
            else:
                weight.set_gradient(exact, exponent, channels)
            return
        direction, counts = engine.predict_signs(exact, predicted, run.threshold_q12)
        weight.set_direction(direction, channels)
        run.accountant.weight_gradient(plan, samples, (counts["decided"], counts["total"]), outputs)
        known = {name: counts[name] for name in ("total", "decided", "wrong") if name in counts}
        run.record(plan.name, **known)
        if squares:
            _record_bound(plan, exact, predicted, counts, squares, geometry, run)

    squares: list[Int64Array] = []
    geometry = operands[0][2]
    if update is Update.PSG and run.observe and len(operands) == 1 and not distance:
        own = [predictor.square_sums(engine.to_numpy(operand)) for operand in operands[0][:2]]
        run.totals.later(own, lambda *sums: squares.extend(sums))
    if alone and _in_the_background(engine) and getattr(engine, "threads", 1) > 1:
        run.totals.follow(formed)
    else:
        formed()


def _in_the_background(engine: Engine) -> bool:
    """Whether the engine itself, not one that it hands some work to, forms weight gradients meanwhile."""
    return hasattr(type(engine), "begin_weight_gradient")


def _forming(operand: tuple[Array, Array, ConvGeometry], run: Pass) -> Callable[[], list[tuple[Array, int]]]:
    """(a weight gradient, how many of its sums were clamped), formed by now or when it is called.

    With predicted signs the predictor's product follows. Of several workers it is this one's part, not clamped.
    """
    engine: Any = run.engine
    psg, alone = run.update is Update.PSG, run.totals.alone
    if psg and alone and hasattr(type(engine), "begin_weight_gradients"):
        return engine.begin_weight_gradients(*operand)  # type: ignore[no-any-return]
    begun: list[Callable[[], tuple[Array, int]]] = []
    if not alone:
        exact = exact_sums(*operand, engine if run.summing is None else run.summing), 0
        begun.append(lambda: exact)
    elif _in_the_background(engine):
        begun.append(engine.begin_weight_gradient(*operand))
    else:
        found = engine.conv_weight_gradient(*operand)
        begun.append(lambda: found)
    if psg and _in_the_background(engine):
        begun.append(engine.begin_weight_gradient(*operand, msb=True))
    elif psg:
        guess = engine.conv_weight_gradient_msb(*operand), 0
        begun.append(lambda: guess)
    return lambda: [part() for part in begun]


def _joined(parts: list[Array], engine: Engine) -> Array:
    """The weight gradients of some output channels and of others as one tensor."""
    if len(parts) == 1:
        return parts[0]
    return engine.from_numpy(np.concatenate([engine.to_numpy(part) for part in parts], axis=-1))


def _record_bound(
    plan: ConvPlan,
    exact: Array,
    predicted: Array,
    counts: Mapping[str, int],
    squares: list[Int64Array],
    geometry: ConvGeometry,
    run: Pass,
) -> None:
    """The bound on wrong signs; squares: sums of the squares of x and dz, by channel."""
    engine = run.engine
    exact, predicted = engine.to_numpy(exact), engine.to_numpy(predicted)
    bound = predictor.failure_bound(
        squares[0], squares[1], exact, predicted, counts["threshold"], geometry, engine.arithmetic
    )
    run.record(plan.name, bound_sum=bound, bound_decided=counts["decided"])


def exact_sums(x: Array, dz: Array, geometry: ConvGeometry, engine: Engine) -> Array:
    """int64 [kernel_h, kernel_w, c_in / groups, c_out]: the weight gradient before it is clamped.

    engine has a 48-bit accumulator; samples are taken in runs whose sums it cannot clamp.
    """
    samples = int(x.shape[0])
    step = _samples_that_fit(int(dz.shape[1]) * int(dz.shape[2]), engine.arithmetic)
    if samples <= step:
        return engine.conv_weight_gradient(x, dz, geometry)[0]
    total: Int64Array | None = None
    for first in range(0, samples, step):
        index = np.arange(first, min(first + step, samples))
        part, _ = engine.conv_weight_gradient(engine.take(x, index), engine.take(dz, index), geometry)
        found = np.asarray(engine.to_numpy(part), np.int64)
        total = found if total is None else total + found
    assert total is not None
    return engine.from_numpy(total)


def check_exact_sums(plan: ConvPlan, arithmetic: Arithmetic) -> None:
    """ValueError where the gradient of one sample may leave 48 bits: then workers cannot know the whole sum."""
    positions = plan.out_shape[0] * plan.out_shape[1]
    if _samples_that_fit(positions, arithmetic) < 1:
        raise ValueError(
            f"{plan.name} sums {positions} products of {arithmetic.x_bits} x {arithmetic.g_bits} bits per sample, "
            "which may not fit 48 bits: several workers cannot train it; use one, or narrower tensors"
        )


def _samples_that_fit(positions: int, arithmetic: Arithmetic) -> int:
    return _WIDEST // (positions * ((1 << arithmetic.x_bits) - 1) * ((1 << (arithmetic.g_bits - 1)) - 1))


def _clamped(total: Array, engine: Engine) -> tuple[Array, int]:
    exact: NDArray[np.int64] = engine.to_numpy(total)
    clamped = saturate(exact, engine.arithmetic.accumulator_bits)
    count = int(np.count_nonzero(clamped != exact))
    return (engine.from_numpy(clamped), count) if count else (total, 0)
