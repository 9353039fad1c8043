"""A training run of E2-Train as far as its counters depend on it: decisions are drawn, nothing is computed.

Source: Wang et al., "E2-Train", NeurIPS 2019, sections 4.1 to 4.5.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from joulebit.energy.accounting import Accountant
from joulebit.energy.counters import Counters
from joulebit.energy.steps import block_step, trunk_step
from joulebit.energy.widths import Widths
from joulebit.fixed.arithmetic import Arithmetic
from joulebit.fixed.philox import Purpose, bernoulli, probability_q32
from joulebit.nn.graph import NetworkPlan
from joulebit.techniques.gate import GateNetwork
from joulebit.techniques.smd import StochasticMinibatchDropping
from joulebit.techniques.stochastic_depth import StochasticDepth

BASELINE_STEPS = 64_000  #: iterations of the standard run, section 4.1
BATCH_SIZE = 128  #: He et al., CVPR 2016, section 4.2, whose settings the paper takes


@dataclass(frozen=True)
class Schedule:
    """A training run as far as its counters depend on it.

    skip is the share of the network's layer computation to leave out; "slu" draws every block but the first with
    one probability, once per mini-batch, where a trained gate would look at the input; "sd" draws as stochastic
    depth does. Of the predicted share, the same is taken in every layer.
    """

    baseline_steps: int = BASELINE_STEPS
    batch_size: int = BATCH_SIZE
    smd: StochasticMinibatchDropping | None = None
    policy: str = ""  #: slu, sd or empty
    skip: float = 0.0
    predicted: Fraction | None = None  #: share of signs that the predictor decides
    arithmetic: Arithmetic | Widths | None = field(default_factory=Arithmetic)  #: None = float32
    seed: int = 0

    def __post_init__(self) -> None:
        if self.policy not in {"", "slu", "sd"}:
            raise ValueError(f"policy must be slu, sd or empty, got {self.policy!r}")
        if not 0 <= self.skip < 1 or bool(self.skip) != bool(self.policy):
            raise ValueError(f"skip must be in (0, 1) with a policy and 0 without, got {self.skip}")

    @property
    def steps(self) -> int:
        """Iterations, dropped ones included."""
        return self.smd.total_iterations(self.baseline_steps) if self.smd else self.baseline_steps


def count_decisions(network: NetworkPlan, schedule: Schedule) -> Counters:
    """The counters of a whole run: its decisions are drawn, one by one, and its work is counted but not done.

    The draws are those of a real run of this seed for SMD and stochastic depth. Raises ValueError when the blocks
    that may be closed hold less computation than is to be skipped.
    """
    samples, widths = schedule.batch_size, schedule.arithmetic
    kept = _kept_steps(schedule)
    blocks = list(network.blocks())
    gated = [block for block in blocks if block.index > 0] if schedule.policy == "slu" else []
    gates = GateNetwork({block.index: block.in_shape[2] for block in gated}, 0) if gated else None
    counters = Counters()
    counters.merge(
        trunk_step(network, samples, widths, schedule.predicted, gates.macs if gates else None).times(len(kept))
    )
    if gates:
        Accountant(counters, widths).update(len(kept) * int(gates.parameters.master.size))
    for block, opened in zip(blocks, _open_counts(network, schedule, kept)):
        closed = len(kept) - opened
        counters.merge(block_step(block, samples, widths, schedule.predicted).times(opened))
        if closed:
            counters.merge(block_step(block, samples, widths, closed=schedule.policy).times(closed))
    dropped = Counters()
    Accountant(dropped, widths).skip_batch(network, samples)
    for key, value in dropped.items():
        if schedule.steps > len(kept):
            counters.add(key, value * (schedule.steps - len(kept)))
    return counters


def _kept_steps(schedule: Schedule) -> NDArray[np.int64]:
    """The iterations whose batch is computed."""
    steps = np.arange(schedule.steps, dtype=np.int64)
    if schedule.smd is None:
        return steps
    dropped = bernoulli(schedule.seed, Purpose.BATCH_DROP, steps, 0, 0, probability_q32(schedule.smd.probability))
    return steps[~dropped]


def _open_counts(network: NetworkPlan, schedule: Schedule, kept: NDArray[np.int64]) -> list[int]:
    """For each block, in how many of the kept iterations it is open."""
    blocks = list(network.blocks())
    if not schedule.policy:
        return [len(kept)] * len(blocks)
    closable = blocks[1:] if schedule.policy == "slu" else blocks
    available = sum(block.macs for block in closable)
    share = schedule.skip * network.macs / available if available else 1.0
    if share >= 1:
        raise ValueError(
            f"{network.model.name}: the blocks that may be closed hold {available / network.macs:.3f} of the "
            f"computation, {schedule.skip} of it is to be skipped"
        )
    if schedule.policy == "sd":
        return _open_by_depth(schedule.seed, share, len(blocks), kept)
    opened = 1 - bernoulli(
        schedule.seed,
        Purpose.GATE,
        kept[:, None],
        np.array([block.index for block in closable])[None, :],
        0,
        probability_q32(share),
    )
    return [len(kept), *(int(count) for count in opened.sum(0))]


def _open_by_depth(seed: int, share: float, blocks: int, kept: NDArray[np.int64]) -> list[int]:
    depth = StochasticDepth.skipping(share, blocks)
    survival = np.array([depth.survival_q16(i, blocks) << 16 for i in range(blocks)], np.int64)
    opened = bernoulli(
        seed, Purpose.STOCHASTIC_DEPTH, kept[:, None], 0, np.arange(blocks)[None, :], survival[None, :]
    )
    return [int(count) for count in opened.sum(0)]
