"""One convolution layer in integers: convolution, normalisation (or bias), activation, and their gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from joulebit.engine.base import Array, ConvOutput, Engine, NormConstants, NormGradientConstants, Quantised
from joulebit.fixed.arithmetic import CONV_OUTPUT_BITS, SUM_FRACTION_BITS, Arithmetic
from joulebit.fixed.rounding import bit_length, shift_round
from joulebit.nn.context import Mode, Pass
from joulebit.nn.graph import ConvPlan
from joulebit.nn.normalisation import bias_constants, constants_of
from joulebit.nn.parameters import ConvWeight
from joulebit.nn.tensor import ActivationRange, DelayedExponent, Tensor
from joulebit.nn.trained import Trained
from joulebit.nn.weight_gradient import weight_gradient
from joulebit.nn.workers import Share

_ALIGN_LIMIT = 20


@dataclass
class _Saved:
    """What the backward pass needs of the forward pass."""

    x: Tensor
    z: Array
    z_exponent: int
    norm: NormConstants
    count: int  #: samples of all workers * positions


class ConvLayer:
    """A `ConvPlan` with its parameters and exponents."""

    def __init__(self, plan: ConvPlan, master: NDArray[np.int32], engine: Engine) -> None:
        self.plan = plan
        self.weight = ConvWeight(f"{plan.name}.weight", master, engine, plan.kind)
        arithmetic = engine.arithmetic
        self.z_exponent = DelayedExponent(CONV_OUTPUT_BITS)
        self.dz_exponent = DelayedExponent(arithmetic.g_bits)
        self.g_exponent = DelayedExponent(arithmetic.g_bits)  #: of the gradient of this layer's input
        self.range = _initial_range(plan)
        self._saved: _Saved | None = None
        self.evaluation_constants: tuple[NormConstants, int] | None = None
        self.trained: Trained | None = None  #: None: everything
        self.reached = self.passing = True  #: a gradient comes down to here, and goes on (`GradientFlow`)
        self._entered = 0  #: samples of this step
        self._input_gradient = False  #: whether it was formed in this step

    def use(self, engine: Engine) -> None:
        """Compute with another engine of the same kind from now on: other widths, the same exponent states."""
        self.weight.use(engine)
        self.dz_exponent.width = self.g_exponent.width = engine.arithmetic.g_bits

    # --- forward -------------------------------------------------------------------------------------

    def forward(
        self,
        x: Tensor,
        run: Pass,
        shortcut: Tensor | None = None,
        shortcut_stride: int = 1,
        branch_scale_q16: int = 1 << 16,
    ) -> Tensor:
        """The layer's activation. The shortcut of a residual block enters before the activation;
        branch_scale_q16 scales gamma and beta (stochastic depth at evaluation).
        """
        plan, engine = self.plan, run.engine
        z, z_exponent, norm, count = self._normalised(x, run)
        if branch_scale_q16 != 1 << 16:
            norm = replace(
                norm,
                gamma=shift_round(norm.gamma * branch_scale_q16, 16),
                beta=shift_round(norm.beta * branch_scale_q16, 16),
            )
        exponent, bounds = self.output_format(engine.arithmetic)
        a, outside = engine.norm_forward(
            z,
            norm,
            SUM_FRACTION_BITS + exponent,
            bounds,
            None if shortcut is None else shortcut.data,
            shortcut_stride,
            0 if shortcut is None else SUM_FRACTION_BITS + shortcut.exponent,
            run.rounding_key(plan.index, 1, x.before, plan.out_shape),
        )
        if run.training:
            self._saved = _Saved(x, z, z_exponent, norm, count) if self.reached else None
            self._entered += x.samples
            self._observe_range(outside, x.samples, run)
        if run.counted:
            run.accountant.forward(plan, x.samples)
            self._count_pruned("forward", x.samples, run)
        return self.output(a, exponent, bounds, x.share)

    def _normalised(self, x: Tensor, run: Pass) -> tuple[Array, int, NormConstants, int]:
        plan, engine = self.plan, run.engine
        key = run.rounding_key(plan.index, 0, x.before, plan.out_shape)
        exponent, output = self.sums(x, engine)
        count = x.samples * plan.out_shape[0] * plan.out_shape[1]
        if run.mode is Mode.EVALUATE:
            if self.evaluation_constants is None:
                raise RuntimeError("evaluation needs the statistics of prepare_evaluation first")
            norm, shift = self.evaluation_constants
            return output(shift, key).z, exponent + shift, norm, count
        delayed = self.z_exponent if run.training else DelayedExponent(CONV_OUTPUT_BITS)
        out, z_exponent = delayed.quantise(exponent, lambda shift: output(shift, key), run.totals)
        constants = constants_of(engine)
        if plan.norm:
            gamma, beta = (constants.narrowed(run.host.view(f"{plan.name}.{kind}")) for kind in ("gamma", "beta"))
            total, squares = run.totals.sums(out.total, out.total_squares)
            norm = constants.batch_norm(total, squares, count, z_exponent, gamma, beta)
        else:
            norm = bias_constants(z_exponent, constants.narrowed(run.host.view(f"{plan.name}.bias")))
        if run.outputs is not None:
            run.outputs[plan.name] = np.array(engine.to_numpy(out.z))
        if run.mode is Mode.STATISTICS:
            self.evaluation_constants = (norm, z_exponent - exponent)
        else:
            run.record(plan.name, z_elements=count * plan.out_shape[2])
            run.record_total(plan.name, "z_saturated", out.saturated)
        return out.z, z_exponent, norm, count

    # What a kind of layer may do otherwise (`joulebit.nn.adder`).

    def sums(self, x: Tensor, engine: Engine) -> tuple[int, Callable[[int, int], ConvOutput]]:
        """The exponent of the forward pass's exact sums, and what requantises them by a shift and a key."""
        w, geometry = self.weight.w, self.plan.geometry
        return x.exponent + self.weight.exponent, lambda shift, key: engine.conv_forward(
            x.data, w, geometry, shift, key
        )

    def gradient_exponent(self, x: Tensor, dz_exponent: int) -> int:
        """The exponent of the exact sums of `input_gradient`."""
        return dz_exponent + self.weight.exponent

    def input_gradient(self, engine: Engine, dz: Array, x: Tensor, *rest: Any) -> Quantised:
        """`Engine.conv_input_gradient`; rest: its arguments from the shift on."""
        geometry, size = self.plan.geometry, self.plan.in_shape[:2]
        return engine.conv_input_gradient(dz, self.weight.w, geometry, size, *rest)

    def output_format(self, arithmetic: Arithmetic) -> tuple[int, tuple[int, int]]:
        """(exponent, (lo, hi)) of the activation."""
        signed = self.plan.activation is None
        exponent = arithmetic.activation_exponent(self.range.range_log2, signed)
        low, high = arithmetic.activation_range(signed)
        if self.plan.activation == "relu6":
            high = min(high, 6 << -exponent if exponent <= 0 else 6 >> exponent)
        return exponent, (low, high)

    def output(self, a: Array, exponent: int, bounds: tuple[int, int], share: Share | None) -> Tensor:
        """The activation as a tensor that knows where its gradient passes."""
        below = bounds[1] if self.plan.activation == "relu6" else 0
        return Tensor(a, exponent, self.plan.activation is not None, below, share)

    def _observe_range(self, outside: int, samples: int, run: Pass) -> None:
        """Count saturated activations, and widen the range for the next step where the rule says so."""
        elements = samples * prod(self.plan.out_shape)
        if self.plan.activation == "relu6":
            outside = 0  # its bound is the function, not a lack of range

        def observe(total: int) -> None:
            run.record(self.plan.name, activation_saturated=total, activation_elements=elements)
            self.range.observe(total, elements)

        run.totals.later_count(outside, observe)

    # --- backward ------------------------------------------------------------------------------------

    def backward(self, g: Tensor, run: Pass) -> Tensor:
        """The gradient of the layer's input, requantised, from the (masked) gradient of its activation."""
        return self.quantise_gradient(self.backward_conv(g, run), run)

    def backward_conv(self, g: Tensor, run: Pass, add: Tensor | None = None, add_stride: int = 1) -> InputGradient:
        """As `backward`, but the requantisation of the input's gradient is left to the caller.

        add is the gradient that reaches the same input through a block's shortcut.
        """
        x, dz, dz_exponent = self.backward_weights(g, run)
        self._input_gradient = True
        arithmetic = run.engine.arithmetic
        if dropped := arithmetic.g_bits - (arithmetic.input_gradient_bits or arithmetic.g_bits):
            dz = run.engine.narrow_gradient(dz, dropped, arithmetic.input_gradient_bits)
            dz_exponent += dropped
        run.accountant.input_gradient(self.plan, x.samples)
        self._count_pruned("input_gradient", x.samples, run)
        exponent = self.gradient_exponent(x, dz_exponent)
        common = exponent if add is None else common_exponent(exponent, add.exponent)
        return InputGradient(self, x, dz, exponent, common, add, add_stride, run)

    def backward_weights(self, g: Tensor, run: Pass) -> tuple[Tensor, Array, int]:
        """Gradients of the parameters alone; returns the layer's input and dz with its exponent."""
        saved, self._saved = self._saved, None
        assert saved is not None, "backward without forward"
        dz, dz_exponent = self._norm_backward(g, saved, run)
        channels = self.trained.channels if self.trained else None
        if channels is not None and len(channels) == self.plan.out_shape[2]:
            channels = None
        if channels is None or len(channels):
            weight_gradient(self.plan, self.weight, saved.x, dz, dz_exponent, run, channels)
            self._count_pruned("weight_gradient", saved.x.samples, run, channels)
        return saved.x, dz, dz_exponent

    def backward_last(self, g: Tensor, run: Pass) -> None:
        """As `backward_weights`, where no gradient goes further: of shifts alone, dz is not formed."""
        if self.trained is None or len(self.trained.channels):
            self.backward_weights(g, run)
            return
        saved, self._saved = self._saved, None
        assert saved is not None, "backward without forward"
        (sum_g,) = run.totals.sums(run.engine.norm_sums(g.data, saved.z, saved.norm)[0])
        self._set_shift_gradient(sum_g, g.exponent, run)
        run.accountant.norm_backward(self.plan, saved.x.samples, shifts_only=True)

    def forget_step(self) -> None:
        """What this step was is not counted."""
        self._entered, self._input_gradient = 0, False

    def count_frozen(self, run: Pass) -> None:
        """Count the gradients that this step did not form because the layer, or all below it, is frozen."""
        entered, self._entered = self._entered, 0
        formed, self._input_gradient = self._input_gradient, False
        if self.trained is None or not entered:
            return
        channels = self.plan.out_shape[2]
        frozen = channels - len(self.trained.channels)
        run.accountant.skip("weight_gradient", "frozen", entered * (self.plan.macs // channels) * frozen)
        if not formed and self.plan.index:
            run.accountant.skip("input_gradient", "frozen", entered * self.plan.macs)

    def _count_pruned(
        self, phase: str, samples: int, run: Pass, channels: NDArray[np.int64] | None = None
    ) -> None:
        """Count the products that were formed with pruned weights, or for them."""
        if self.weight.pruned is not None:
            pruned = self.weight.pruned if channels is None else self.weight.pruned[channels]
            positions = self.plan.out_shape[0] * self.plan.out_shape[1]
            run.accountant.pruned(phase, samples * positions * int(pruned.sum()))

    def _set_shift_gradient(self, sum_g: NDArray[np.int64], exponent: int, run: Pass) -> None:
        chosen = self.trained.channels if self.trained and not self.trained.shifts else None
        kind = "beta" if self.plan.norm else "bias"
        run.host.set_gradient(f"{self.plan.name}.{kind}", sum_g, exponent, chosen)

    def quantise_gradient(self, gradient: InputGradient, run: Pass) -> Tensor:
        """The requantised gradient of this layer's input, by its delayed exponent."""
        result, exponent = self.g_exponent.quantise(gradient.exponent, gradient, run.totals)
        self.record_gradient(result, gradient.x, run)
        return Tensor(result.data, exponent)

    def record_gradient(self, result: Quantised, x: Tensor, run: Pass) -> None:
        run.record(self.plan.name, gradient_elements=x.samples * prod(self.plan.in_shape))
        run.record_total(self.plan.name, "gradient_saturated", result.saturated)

    def _norm_backward(self, g: Tensor, saved: _Saved, run: Pass) -> tuple[Array, int]:
        plan, engine, norm = self.plan, run.engine, saved.norm
        key = run.rounding_key(plan.index, 2, saved.x.before, plan.out_shape)
        sum_g, sum_gx = run.totals.sums(*engine.norm_sums(g.data, saved.z, norm))
        constants, exponents = constants_of(engine).gradient(
            norm, sum_g, sum_gx, saved.count, g.exponent, saved.z_exponent, plan.norm
        )
        self._set_shift_gradient(sum_g, g.exponent, run)
        if plan.norm:
            chosen = self.trained.channels if self.trained else None
            run.host.set_gradient(f"{plan.name}.gamma", sum_gx, g.exponent - 11, chosen)

        def compute(exponent: int) -> Quantised:
            shift = np.minimum(62, exponent - exponents)
            own = NormGradientConstants(constants.mean_g, constants.mean_gx, constants.multiplier, shift)
            return engine.norm_backward(g.data, saved.z, norm, own, key)

        delayed = self.dz_exponent
        lowest = int(exponents.max())
        if delayed.position is None:
            exponent = lowest + 24
            peak = run.totals.largest(compute(exponent).peak)
            delayed.position = bit_length(max(1, peak)) + exponent - 1
        exponent = max(delayed.position + 1 - (delayed.width - 1), lowest)
        result = compute(exponent)

        def follow(peak: int) -> None:
            if peak > 0:
                delayed.position = bit_length(peak) + exponent

        run.totals.later_peak(result.peak, follow)
        run.record(plan.name, dz_elements=saved.count * plan.out_shape[2])
        run.record_total(plan.name, "dz_saturated", result.saturated)
        run.accountant.norm_backward(plan, saved.x.samples)
        return result.data, exponent

    # --- state ---------------------------------------------------------------------------------------

    def exponents(self) -> NDArray[np.int64]:
        """The layer's exponent state, for a checkpoint."""
        states = (self.z_exponent, self.dz_exponent, self.g_exponent)
        return np.array([*(state.to_int() for state in states), self.range.range_log2], np.int64)

    def load_exponents(self, values: NDArray[np.int64]) -> None:
        for state, value in zip((self.z_exponent, self.dz_exponent, self.g_exponent), values):
            state.from_int(int(value))
        self.range.range_log2 = int(values[3])


@dataclass(frozen=True)
class InputGradient:
    """The input gradient of one layer: call it with a shift."""

    layer: ConvLayer
    x: Tensor
    dz: Array
    conv_exponent: int
    exponent: int  #: of the values before the shift
    add: Tensor | None
    add_stride: int
    run: Pass

    def __call__(self, shift: int) -> Quantised:
        plan, x, add = self.layer.plan, self.x, self.add
        return self.layer.input_gradient(
            self.run.engine,
            self.dz,
            x,
            shift,
            self.conv_exponent - self.exponent,
            None if add is None else add.data,
            self.add_stride,
            0 if add is None else add.exponent - self.exponent,
            x.mask,
            x.mask_below,
            self.run.rounding_key(plan.index, 3, x.before, plan.in_shape),
        )


def common_exponent(first: int, second: int) -> int:
    """The exponent to which two addends are aligned (spec, section 5, "Input gradient")."""
    return max(min(first, second), max(first, second) - _ALIGN_LIMIT)


def _initial_range(plan: ConvPlan) -> ActivationRange:
    inside = not plan.norm or (plan.in_block and not plan.ends_block)
    relu6 = plan.activation == "relu6"
    return ActivationRange(3 if inside or relu6 else 4, fixed=relu6)
