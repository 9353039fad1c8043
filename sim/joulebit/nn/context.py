"""What every layer needs during one pass through the network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from math import prod
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from joulebit.engine.base import Engine
from joulebit.fixed.rounding import Rounding
from joulebit.nn.graph import ConvPlan, HeadPlan, ResidualPlan
from joulebit.nn.parameters import HostParameters
from joulebit.nn.workers import Totals

_MASK64 = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15


class Mode(Enum):
    """Which normalisation constants a pass uses, and whether it leaves traces."""

    TRAIN = "train"  #: constants of this batch; keeps what backward needs; exponents move
    STATISTICS = "statistics"  #: constants of this batch, kept for evaluation
    EVALUATE = "evaluate"  #: constants of the last STATISTICS pass


class Update(Enum):
    """How the weight gradient of a convolution becomes its update (spec, sections 6 and 7)."""

    SGD = "sgd"
    SIGN = "sign"
    PSG = "psg"


class Accountant(Protocol):
    """Who is told of the work that layers do (`joulebit.energy.accounting.Accountant`)."""

    def forward(self, conv: ConvPlan, samples: int) -> None: ...

    def norm_backward(self, conv: ConvPlan, samples: int, shifts_only: bool = False) -> None: ...

    def input_gradient(self, conv: ConvPlan, samples: int) -> None: ...

    def weight_gradient(
        self,
        conv: ConvPlan,
        samples: int,
        predictor: tuple[int, int] | None = None,
        outputs: Sequence[int] | None = None,
    ) -> None: ...

    def skip(self, phase: str, reason: str, macs: int) -> None: ...

    def pruned(self, phase: str, macs: int) -> None: ...

    def shortcut(self, block: ResidualPlan, samples: int, backward: bool) -> None: ...

    def head(self, head: HeadPlan, samples: int, backward: bool, input_needed: bool = True) -> None: ...

    def join(self, elements: int) -> None: ...


@dataclass
class Pass:
    """One forward (and backward) pass."""

    engine: Engine
    host: HostParameters  #: gamma, beta and biases
    accountant: Accountant
    mode: Mode
    key: int = 0  #: of this step's stochastic rounding
    update: Update = Update.SGD
    threshold_q12: int = 0  #: beta of PSG's adaptive threshold
    observe: bool = False  #: also evaluate the bound of equation (3)
    details: dict[str, Any] = field(default_factory=dict)
    totals: Totals = field(default_factory=Totals)  #: sums and maxima over all workers
    summing: Engine | None = None  #: with the widest accumulator: forms a worker's part of a weight gradient
    costs: bool = False  #: this pass is no training, but its work counts
    outputs: dict[str, NDArray[np.int16]] | None = None  #: z of every convolution, where asked for
    exits: bool = False  #: the exits answer in a pass that does not train
    all_open: bool = False  #: every sample enters every block: gates are not asked, nothing is drawn

    @property
    def training(self) -> bool:
        return self.mode is Mode.TRAIN

    @property
    def counted(self) -> bool:
        """Whether the accountant is told of the forward pass."""
        return self.training or self.costs

    def __post_init__(self) -> None:
        self._stochastic = self.engine.arithmetic.rounding_mode is Rounding.STOCHASTIC

    def rounding_key(self, layer: int, kind: int, before: int, shape: tuple[int, ...]) -> int:
        """The key of one requantisation (spec, section 1); kind 0 z, 1 activation, 2 dz, 3 gradient.

        before: samples of workers of lower rank, of that shape each. Elements count from the key on by steps of
        the golden ratio, so that a key moved by the elements before counts on from there.
        """
        if not self._stochastic:
            return 0
        return (mix64_scalar(self.key, 8 * layer + kind) + before * prod(shape) * _GOLDEN) & _MASK64

    def record(self, layer: str, **values: int | float) -> None:
        """Figures of one layer in this step, summed over the step's calls."""
        entry = self.details.setdefault(layer, {})
        for name, value in values.items():
            entry[name] = entry.get(name, 0) + value

    def record_total(self, layer: str, name: str, value: int) -> None:
        """As `record`, of a figure that each worker knows for its own samples."""
        if self.totals.alone:
            self.record(layer, **{name: value})
        else:
            self.totals.later_count(value, lambda total: self.record(layer, **{name: total}))


def mix64_scalar(key: int, index: int) -> int:
    """`joulebit.fixed.rounding.mix64` of one index, in Python integers."""
    z = (key + index * _GOLDEN) & _MASK64
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK64
    return z ^ (z >> 31)
