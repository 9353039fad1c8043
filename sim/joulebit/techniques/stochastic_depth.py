"""Stochastic depth: residual blocks left out at random, one decision per block and mini-batch.

Source: Huang et al., ECCV 2016. Block l of L (l = 1 is the first) is computed with the probability
p_l = 1 - l/L (1 - p_L), equation 4 there; a closed block is its shortcut alone. At evaluation all blocks are
computed and a block's branch is multiplied by p_l.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from joulebit.fixed.philox import Purpose, bernoulli

ONE_Q16 = 1 << 16


@dataclass(frozen=True)
class StochasticDepth:
    """Linear decay to the survival probability p_L of the last block; all decisions are integers."""

    final_survival: float = 0.5  #: p_L, 0..1

    def __post_init__(self) -> None:
        if not 0 <= self.final_survival <= 1:
            raise ValueError(f"final_survival must be in [0, 1], got {self.final_survival}")

    @classmethod
    def skipping(cls, share: float, blocks: int) -> StochasticDepth:
        """The policy that skips this share of `blocks` blocks on average: p_L = 1 - 2 L share / (L + 1).

        For comparison with gates at equal skipping (E2-Train, section 4.3). Linear decay skips at most
        (L + 1) / 2L of the blocks.
        """
        final = 1 - 2 * blocks * Fraction(str(share)) / (blocks + 1)
        if not 0 <= final <= 1:
            raise ValueError(
                f"with linear decay, {blocks} blocks can skip a share of 0 to {(blocks + 1) / (2 * blocks):.3f}, "
                f"got {share}"
            )
        return cls(float(final))

    def survival_q16(self, block_index: int, blocks: int) -> int:
        """p_l in units of 2^-16 (0..65536), for l = block_index + 1 of L = blocks."""
        if not 0 <= block_index < blocks:
            raise ValueError(f"block_index must be in [0, {blocks - 1}], got {block_index}")
        closing = ONE_Q16 - round(self.final_survival * ONE_Q16)
        return ONE_Q16 - (2 * (block_index + 1) * closing + blocks) // (2 * blocks)

    def open_blocks(self, seed: int, step: int, blocks: int) -> list[bool]:
        """For each block, whether this iteration computes it: a pure function of seed, step and policy."""
        if not blocks:
            return []
        survival_q32 = np.array([self.survival_q16(i, blocks) << 16 for i in range(blocks)], np.int64)
        opened = bernoulli(seed, Purpose.STOCHASTIC_DEPTH, step, 0, np.arange(blocks), survival_q32)
        return [bool(value) for value in opened]
