"""The gradient of a convolution's weights and the update that it asks for (spec, sections 5 to 7)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from joulebit.engine.base import Array, ConvGeometry, Engine, Int64Array
from joulebit.fixed.arithmetic import Arithmetic
from joulebit.fixed.rounding import saturate
from joulebit.nn import predictor
from joulebit.nn.context import Pass, Update
from joulebit.nn.graph import ConvPlan
from joulebit.nn.parameters import ConvWeight
from joulebit.nn.tensor import Tensor

_WIDEST = (1 << 47) - 1  # limit of a 48-bit accumulator


def weight_gradient(plan: ConvPlan, weight: ConvWeight, x: Tensor, dz: Array, dz_exponent: int, run: Pass) -> None:
    """Give `weight` its gradient or direction of this step: at once, or when the workers' sums are there.

    x is the layer's input, dz (int16) the gradient of its output with the exponent dz_exponent.
    """
    engine, update = run.engine, run.update
    alone, samples, exponent = run.totals.alone, x.samples, x.exponent + dz_exponent
    clamped = 0
    if alone:
        exact, clamped = engine.conv_weight_gradient(x.data, dz, plan.geometry)
    else:
        exact = exact_sums(x.data, dz, plan.geometry, engine if run.summing is None else run.summing)
    arrays = [exact]
    if update is Update.PSG:
        arrays.append(engine.conv_weight_gradient_msb(x.data, dz, plan.geometry))

    def finish(exact: Array, predicted: Array | None = None) -> None:  # keeps none of the operands alive
        saturated = clamped
        if not alone:
            exact, saturated = _clamped(exact, engine)
        run.record(plan.name, weight_gradient_saturated=saturated)
        if predicted is not None:
            _predict(plan, weight, samples, exact, predicted, squares, run)
            return
        run.accountant.weight_gradient(plan, samples)
        if update is Update.SIGN:
            weight.set_direction(engine.sign(exact))
        else:
            weight.set_gradient(exact, exponent)

    squares: list[Int64Array] = []
    if update is Update.PSG and run.observe:
        own = [predictor.square_sums(engine.to_numpy(operand)) for operand in (x.data, dz)]
        run.totals.later(own, lambda *sums: squares.extend(sums))
    run.totals.later(arrays, finish, engine)


def _predict(
    plan: ConvPlan,
    weight: ConvWeight,
    samples: int,
    exact: Array,
    predicted: Array,
    squares: list[Int64Array],
    run: Pass,
) -> None:
    """The direction of predicted signs; squares: of x and dz, where the bound on wrong signs is wanted."""
    engine = run.engine
    direction, counts = engine.predict_signs(exact, predicted, run.threshold_q12)
    weight.set_direction(direction)
    run.accountant.weight_gradient(plan, samples, (counts["decided"], counts["total"]))
    run.record(plan.name, **{name: counts[name] for name in ("total", "decided", "wrong")})
    if squares:
        exact, predicted = engine.to_numpy(exact), engine.to_numpy(predicted)
        bound = predictor.failure_bound(
            squares[0], squares[1], exact, predicted, counts["threshold"], plan.geometry, engine.arithmetic
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
