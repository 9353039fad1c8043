"""The classifier in integers: global pooling (or flattening), a linear layer and the loss's gradient."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from joulebit.engine.base import Array
from joulebit.fixed.rounding import bit_length, ceil_log2, peak, saturate, shift_round
from joulebit.nn.context import Pass
from joulebit.nn.graph import HeadPlan
from joulebit.nn.loss import Lesson, distilled_gradient, loss_gradient, mean_loss
from joulebit.nn.parameters import HostParameters
from joulebit.nn.tensor import DelayedExponent, Tensor

Int64Array = NDArray[np.int64]


@dataclass
class Outcome:
    """What a batch's logits were worth; known once the workers' sums are."""

    loss: float = float("nan")  #: mean cross-entropy, nats
    correct: int = 0


class Head:
    """A `HeadPlan` with its parameters (NAME.weight [classes, features] and NAME.bias).

    number: of its rounding keys.
    """

    def __init__(
        self,
        plan: HeadPlan,
        weight: HostParameters,
        bias: HostParameters,
        g_bits: int,
        name: str = "head",
        number: int = 1 << 20,
    ) -> None:
        self.plan = plan
        self.name, self.number = name, number
        self._weight = weight
        self._bias = bias
        self._g_bits = g_bits
        self.g_exponent = DelayedExponent(g_bits)
        self._pool_shift = ceil_log2(plan.in_shape[0] * plan.in_shape[1]) if plan.pooled else 0
        self._saved: tuple[Tensor, Int64Array, Int64Array, int] | None = None

    def use(self, g_bits: int) -> None:
        """Gradients of another width from now on; the exponent's state stays."""
        self._g_bits = self.g_exponent.width = g_bits

    def forward(self, x: Tensor, run: Pass) -> tuple[Int64Array, int]:
        """(logits [N, classes] of this worker's samples, their exponent)."""
        features = self._features(x.data, run)
        w, w_exponent = self._quantised(run)
        exponent = x.exponent - self._pool_shift + w_exponent
        logits = run.engine.matmul(features, w.T) + shift_round(
            self._bias.view(f"{self.name}.bias"), 28 + exponent
        )
        if run.training:
            self._saved = (x, features, w, w_exponent)
        if run.counted:
            run.accountant.head(self.plan, x.samples, backward=False)
        return logits, exponent

    def _features(self, data: Array, run: Pass) -> Int64Array:
        if self.plan.pooled:
            return run.engine.spatial_sum(data)
        return run.engine.to_numpy(data).reshape(data.shape[0], self.plan.features).astype(np.int64)

    def _quantised(self, run: Pass) -> tuple[Int64Array, int]:
        bits = run.engine.arithmetic.w_bits
        master = self._weight.view(f"{self.name}.weight")
        shift = max(0, bit_length(peak(master)) - (bits - 1))
        return saturate(shift_round(master, shift), bits), shift - 28

    def backward(
        self,
        logits: Int64Array,
        exponent: int,
        labels: Int64Array,
        run: Pass,
        input_needed: bool,
        lesson: Lesson | None = None,
        weight_log2: int = 0,
    ) -> tuple[Tensor | None, Outcome]:
        """(gradient of the input, loss and correct answers of the whole batch); sets the head's own gradients.

        lesson: of a teacher, for the samples that are here. The loss reported is the cross-entropy alone.
        weight_log2: log2 of the weight of this loss.
        """
        assert self._saved is not None, "backward without forward"
        x, features, w, w_exponent = self._saved
        self._saved = None
        if lesson is None:
            (full, chosen, correct), head_room = loss_gradient(logits, labels, exponent), 0
        else:
            full, chosen, correct, head_room = distilled_gradient(logits, labels, exponent, lesson)
        outcome = self._outcome(chosen, correct, x, run)
        g = saturate(shift_round(full, 16 - self._g_bits + head_room), self._g_bits)
        g_exponent = 1 - self._g_bits + head_room + weight_log2
        weight_exponent = g_exponent + x.exponent - self._pool_shift

        def set_gradients(of_weight: Int64Array, of_bias: Int64Array) -> None:
            self._weight.set_gradient(f"{self.name}.weight", of_weight, weight_exponent)
            self._bias.set_gradient(f"{self.name}.bias", of_bias, g_exponent)

        run.totals.later([run.engine.matmul(g.T, features), g.sum(0)], set_gradients)
        run.accountant.head(self.plan, x.samples, backward=True, input_needed=input_needed)
        if not input_needed:
            return None, outcome
        value = run.engine.matmul(g, w)
        like = x.data if self.plan.pooled else x.data.reshape(x.data.shape[0], 1, 1, self.plan.features)
        elements = prod(self.plan.in_shape)
        key = run.rounding_key(self.number, 3, x.before, self.plan.in_shape)
        result, result_exponent = self.g_exponent.quantise(
            g_exponent + w_exponent - self._pool_shift,
            lambda shift: run.engine.spread(value, like, shift, x.masked, x.mask_below, key),
            run.totals,
        )
        run.record(self.name, gradient_elements=x.samples * elements)
        run.record_total(self.name, "gradient_saturated", result.saturated)
        return Tensor(result.data.reshape(x.data.shape), result_exponent), outcome

    def _outcome(self, chosen: Int64Array, correct: int, x: Tensor, run: Pass) -> Outcome:
        """The loss is the mean over all samples in the order of the batch: the same number with any workers."""
        outcome = Outcome()
        whole = chosen
        if not run.totals.alone:
            whole = np.zeros(x.samples, np.int64)
            whole[x.before : x.before + len(chosen)] = chosen

        def known(chosen: Int64Array, correct: Int64Array) -> None:
            outcome.loss, outcome.correct = mean_loss(chosen), int(correct[0])

        run.totals.later([whole, np.array([correct])], known)
        return outcome
