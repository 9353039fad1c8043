"""A residual block in integers: open for all samples, for some, or for none."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from joulebit.engine.base import Array, Engine, Int64Array, Quantised
from joulebit.nn.adder import conv_layer
from joulebit.nn.context import Pass
from joulebit.nn.conv import ConvLayer, InputGradient
from joulebit.nn.graph import ResidualPlan
from joulebit.nn.tensor import Tensor
from joulebit.nn.workers import Share


class Entered(NamedTuple):
    """The samples that enter a block's body."""

    positions: Int64Array  #: among this worker's samples, ascending
    share: Share  #: where they lie among those of all workers


class ResidualBlock:
    """A `ResidualPlan` with its layers."""

    def __init__(self, plan: ResidualPlan, masters: dict[str, NDArray[np.int32]], engine: Engine) -> None:
        self.plan = plan
        self.layers = [conv_layer(conv, masters[f"{conv.name}.weight"], engine) for conv in plan.body]
        self.projection: ConvLayer | None = None  #: of the shortcut
        if plan.projection:
            self.projection = conv_layer(plan.projection, masters[f"{plan.projection.name}.weight"], engine)
        self._x: Tensor | None = None
        self._entered: Entered | None = None
        self.gated = False  #: whether a gate decides; then `branch_gradient` is available
        self._branch: tuple[Array, Array, int] | None = None

    @property
    def all_layers(self) -> list[ConvLayer]:
        """The body's, then the projection."""
        return [*self.layers, self.projection] if self.projection else self.layers

    def forward(
        self, x: Tensor, run: Pass, entered: Entered | None = None, branch_scale_q16: int = 1 << 16
    ) -> Tensor:
        """The block's output; None means that all samples enter the body.

        A sample that does not enter is passed on by the shortcut alone, and nothing else is computed for it. What
        is computed follows from all workers' samples, so that every worker takes part in the same sums.
        """
        if entered and entered.share.total == x.samples:
            entered = None
        self._x, self._entered = x, entered
        if entered is None and not self.gated:
            return self._body(x, run, branch_scale_q16)
        engine, last = run.engine, self.layers[-1]
        exponent, bounds = last.output_format(engine.arithmetic)
        inside: Tensor | None = None
        if entered is None:
            inside = self._body(x, run, branch_scale_q16)
        elif entered.share.total:
            inside = self._body(_taken(x, entered, engine), run, branch_scale_q16)
        passed, _ = engine.shortcut_forward(
            x.data,
            self.plan.stride,
            self.plan.out_shape[2],
            exponent - x.exponent,
            bounds,
            run.rounding_key(last.plan.index, 4, x.before, self.plan.out_shape),
        )
        if entered is None:
            output = inside.data if inside else passed
        else:
            if run.counted:
                run.accountant.shortcut(self.plan, x.samples - entered.share.total, backward=False)
            base = engine.copy(passed) if self.gated else passed
            output = engine.put(base, entered.positions, inside.data) if inside else passed
        if self.gated and run.training:
            self._branch = (output, passed, exponent)
        return last.output(output, exponent, bounds, x.share)

    def branch_gradient(self, g: Tensor, run: Pass) -> tuple[Int64Array, int]:
        """The inner product of g with what the body added to the shortcut, per sample here, and its exponent.

        It is the derivative of the loss with respect to a factor on the body (zero where the block was closed);
        the gate learns from it.
        """
        assert self._branch is not None, "branch_gradient needs a gated block's forward pass"
        output, passed, exponent = self._branch
        self._branch = None
        return run.engine.sample_dot(g.data, output, passed), g.exponent + exponent

    def _body(self, x: Tensor, run: Pass, branch_scale_q16: int) -> Tensor:
        current = x
        for layer in self.layers[:-1]:
            current = layer.forward(current, run)
        if self.projection:
            return self.layers[-1].forward(current, run, self.projection.forward(x, run), 1, branch_scale_q16)
        return self.layers[-1].forward(current, run, x, self.plan.stride, branch_scale_q16)

    def backward(self, g: Tensor, run: Pass) -> Tensor:
        """The gradient of the block's input from the (masked) gradient of its output."""
        x, self._x = self._x, None
        assert x is not None, "backward without forward"
        if self._entered is None:
            return self._backward_open(g, run)
        if not self._entered.share.total:
            return self._backward_closed(g, x, run)
        return self._backward_mixed(g, x, self._entered, run)

    def backward_last(self, g: Tensor, run: Pass) -> None:
        """The gradients of the trained parameters alone; none goes further down than they need."""
        x, self._x = self._x, None
        assert x is not None, "backward without forward"
        if self._entered is not None:
            if not self._entered.share.total:
                return
            g = _taken(g, self._entered, run.engine)
        if self.projection and self.projection.reached:
            self.projection.backward_last(g, run)
        for layer in reversed(self.layers):
            if not layer.passing:
                if layer.reached:
                    layer.backward_last(g, run)
                return
            g = layer.backward(g, run)

    def _backward_body(self, g: Tensor, run: Pass) -> InputGradient:
        current = g
        for layer in reversed(self.layers[1:]):
            current = layer.backward(current, run)
        if self.projection:
            return self.layers[0].backward_conv(current, run, self.projection.backward(g, run), 1)
        return self.layers[0].backward_conv(current, run, g, self.plan.stride)

    def _backward_open(self, g: Tensor, run: Pass) -> Tensor:
        return self.layers[0].quantise_gradient(self._backward_body(g, run), run)

    def _backward_closed(self, g: Tensor, x: Tensor, run: Pass) -> Tensor:
        first = self.layers[0]
        run.accountant.shortcut(self.plan, x.samples, backward=True)
        result, exponent = first.g_exponent.quantise(
            g.exponent, lambda shift: self._shortcut_gradient(g, x, shift, 0, run), run.totals
        )
        first.record_gradient(result, x, run)
        return Tensor(result.data, exponent)

    def _backward_mixed(self, g: Tensor, x: Tensor, entered: Entered, run: Pass) -> Tensor:
        engine, first = run.engine, self.layers[0]
        opened = entered.positions
        share = Share(x.before - entered.share.before, x.samples - entered.share.total)
        closed = Entered(np.setdiff1d(np.arange(x.data.shape[0]), opened), share)
        body = self._backward_body(_taken(g, entered, engine), run)
        closed_g, closed_x = _taken(g, closed, engine), _taken(x, closed, engine)
        align = g.exponent - body.exponent
        run.accountant.shortcut(self.plan, share.total, backward=True)

        def compute(shift: int) -> Quantised:
            inside = body(shift)
            passed = self._shortcut_gradient(closed_g, closed_x, shift, align, run)
            merged = engine.put(engine.zeros_like_gradient(x.data), opened, inside.data)
            merged = engine.put(merged, closed.positions, passed.data)
            return Quantised(merged, max(inside.peak, passed.peak), inside.saturated + passed.saturated)

        result, exponent = first.g_exponent.quantise(body.exponent, compute, run.totals)
        first.record_gradient(result, x, run)
        return Tensor(result.data, exponent)

    def _shortcut_gradient(self, g: Tensor, x: Tensor, shift: int, align: int, run: Pass) -> Quantised:
        return run.engine.shortcut_gradient(
            g.data,
            self.plan.in_shape,
            self.plan.stride,
            shift,
            align,
            x.mask,
            x.mask_below,
            run.rounding_key(self.layers[0].plan.index, 5, x.before, self.plan.in_shape),
        )


def _taken(tensor: Tensor, samples: Entered, engine: Engine) -> Tensor:
    return tensor._replace(data=engine.take(tensor.data, samples.positions), share=samples.share)
