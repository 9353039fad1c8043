"""What one training step of an integer network does beside the arithmetic."""

from __future__ import annotations

from dataclasses import dataclass

from joulebit.nn.context import Update
from joulebit.techniques.exits import Exits
from joulebit.techniques.slu import SelectiveLayerUpdate
from joulebit.techniques.stochastic_depth import StochasticDepth


@dataclass(frozen=True)
class TrainingMethod:
    """The techniques of a step and the constants of its update."""

    update: Update = Update.SGD
    beta: float = 0.05  #: adaptive threshold of PSG, 0..1
    momentum: float = 0.9
    sign_momentum: float = 0.9
    weight_decay: float = 1e-4
    sign_weight_decay: float = 0.0  #: of convolutions with a sign update
    head_only: bool = False  #: train the classifier alone
    slu: SelectiveLayerUpdate | None = None
    stochastic_depth: StochasticDepth | None = None
    exits: Exits | None = None
    observe_every: int = 0  #: steps between evaluations of the predictor's bound; 0 = never
