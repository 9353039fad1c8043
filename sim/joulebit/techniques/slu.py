"""Input-dependent selective layer update (E2-Train, section 3.2): which blocks each sample enters.

Choices where the paper leaves room, or its released code has faults:

- Training draws each decision with the gate's probability; evaluation opens a gate whose probability exceeds 1/2,
  so that two evaluations agree (the released code draws there, too).
- The first residual block always runs. Closed blocks are neither computed nor updated.
- The loss's gradient with respect to an open gate is the inner product of the output's gradient with what the body
  added (straight-through). For a closed gate it would need the body's output, which was not computed: it counts
  as zero, so that in expectation the gradient is scaled by the gate's probability; its sign is right.
- The regulariser alpha * C(W, G) of equation (1) takes C as the share of the gated blocks' computation, so that
  alpha means the same for every depth. Its sign flips at the target, as in the released code: it pushes gates
  closed while less of the network's computation is skipped than targeted, open while more is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from joulebit.fixed.philox import Purpose, uniform_bits
from joulebit.fixed.rounding import saturate, shift_round
from joulebit.nn.graph import NetworkPlan
from joulebit.nn.workers import Totals
from joulebit.techniques.gate import GateNetwork

Int64Array = NDArray[np.int64]

_HALF_Q15 = 1 << 14
_GRADIENT_BITS = 32


@dataclass(frozen=True)
class SelectiveLayerUpdate:
    """target_skip: share of the whole network's forward multiply-accumulates to skip, 0..1;
    alpha: the regulariser's weight; gate_learning_rate: of the gates, which train by SGD like the rest.
    """

    target_skip: float
    alpha: float
    gate_learning_rate: float


class GatePolicy:
    """Decides, observes what was decided, and trains the gates."""

    def __init__(self, plan: NetworkPlan, config: SelectiveLayerUpdate, seed: int) -> None:
        gated = [block for block in plan.blocks() if block.index > 0]
        if not gated:
            raise ValueError(f"SLU needs at least two residual blocks, {plan.model.name} has fewer")
        self.gates = GateNetwork({block.index: block.in_shape[2] for block in gated}, seed)
        reachable = sum(block.macs for block in gated) / plan.macs
        if config.target_skip >= reachable:
            raise ValueError(
                f"target_skip must be below {reachable:.3f}, the share of {plan.model.name}'s computation that "
                f"lies in gated blocks, got {config.target_skip}"
            )
        self._macs = {block.index: block.macs for block in gated}
        total = sum(self._macs.values())
        self._cost_q16 = {index: (macs << 16) // total for index, macs in self._macs.items()}
        self._alpha_q28 = round(config.alpha * (1 << 28))
        self._target_macs_q16 = plan.macs * round(config.target_skip * (1 << 16))
        self._seed = seed
        self._closed: dict[int, int] = {}

    def gated(self, block: int) -> bool:
        return block in self._cost_q16

    def decide(
        self,
        block: int,
        pooled: Int64Array,
        exponent: int,
        positions: int,
        draw: tuple[int, Int64Array] | None,
    ) -> NDArray[np.bool_]:
        """[N] open? draw = (step, sample numbers) in training, None at evaluation (deterministic).

        N are this worker's samples; `observe` is to be told what came out for all.
        """
        probability = self.gates.probability(block, pooled, exponent, positions)
        if draw is None:
            return np.asarray(probability > _HALF_Q15)
        step, samples = draw
        bits = uniform_bits(self._seed, Purpose.GATE, step, block, samples).astype(np.int64) >> 17
        return np.asarray(bits < probability)

    def observe(self, block: int, closed: int) -> None:
        """For how many samples of the batch, all workers' together, a block was closed in training."""
        self._closed[block] = closed

    def backward(self, branch: dict[int, tuple[Int64Array, int]], samples: int, totals: Totals) -> None:
        """Gradients of the gates from the branch gradients per block: (sums [N], exponent).

        samples: of the whole batch.
        """
        skipped = sum(self._macs[block] * closed for block, closed in self._closed.items())
        sign = 1 if skipped << 16 < self._target_macs_q16 * samples else -1
        gradients = {}
        for block, (product, exponent) in branch.items():
            learned = _to_q28(product, exponent)
            cost = sign * ((self._alpha_q28 * self._cost_q16[block]) >> 16)
            gradients[block] = saturate(learned + cost, _GRADIENT_BITS)
        self.gates.backward(gradients, totals)
        self._closed = {}


def _to_q28(value: Int64Array, exponent: int) -> Int64Array:
    shift = exponent + 28
    if shift <= 0:
        return saturate(shift_round(value, min(62, -shift)), _GRADIENT_BITS)
    limit = ((1 << 31) - 1) >> min(shift, 40)
    return np.asarray(np.clip(value, -limit, limit) << min(shift, 40))
