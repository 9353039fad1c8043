"""The configuration of a training run as frozen objects: every key, its meaning, its default, what is allowed.

[method] is in `method_schema.py`, what goes together in `compatibility.py`. How files are read and written:
`joulebit.experiments.config`.
"""

from __future__ import annotations

from fractions import Fraction
from math import floor

from attrs import field, frozen

from joulebit.data.folds import OWN_TEST_SET, TestSplit
from joulebit.engine.factory import INTEGER_ENGINES
from joulebit.engine.sessions import added_engines
from joulebit.experiments.compatibility import check_together
from joulebit.experiments.method_schema import MethodConfig
from joulebit.experiments.validators import ConfigError, at_least, between, not_empty, one_of, rising_shares
from joulebit.fixed.arithmetic import Arithmetic
from joulebit.techniques.adam import NO_ADAM, Adam
from joulebit.techniques.schedule import KINDS as SCHEDULES
from joulebit.techniques.smd import StochasticMinibatchDropping
from joulebit.train.stop import NEVER, StopCriteria

ENGINES = (*INTEGER_ENGINES, *added_engines(), "float32")
PARTS = ("all", "first_half", "second_half")
LAYERS = ("all", "head")


@frozen
class DataConfig:
    """Which images, and what may happen to them."""

    name: str = field(validator=not_empty)  #: digits, digits32, mnist, mnist32, cifar10, cifar100 or npz:PATH
    mirror: bool = False  #: exchange left and right at random
    shift: int = field(default=0, validator=between(0, 255))  #: move by up to so many pixels at random
    train_limit: int = field(default=0, validator=at_least(0))  #: a class-balanced prefix of the part; 0 = all
    test_limit: int = field(default=0, validator=at_least(0))  #: likewise of the test set
    part: str = field(default="all", validator=one_of(*PARTS))  #: of the training set; halves keep class shares
    split: TestSplit = OWN_TEST_SET  #: hold-out and folds instead of the own test set: joulebit.data.folds


@frozen
class ModelConfig:
    """Which network; the number of classes comes from the data."""

    name: str = field(validator=not_empty)  #: resnet20, lenet5x2, mobilenetv2, ...: see joulebit.nn.models


@frozen
class TrainingConfig:
    """How long, at which rates, and from where.

    Exactly one of iterations and epochs is given: the length of the standard mini-batch run. Techniques that
    stretch or shorten it do so on top (`RunConfig.total_steps`), and all marks of the schedule move with it.
    """

    iterations: int = field(default=0, validator=at_least(0))  #: batches; 0 = given by epochs
    epochs: float = field(default=0.0, validator=at_least(0))  #: passes over the training set; 0 = by iterations
    iteration_factor: float = field(default=1.0, validator=between(0, 16, "(]"))  #: the whole run so much longer
    batch_size: int = field(default=128, validator=at_least(1))
    learning_rate: float = field(default=0.1, validator=between(0, 2))  #: of gradient updates
    sign_learning_rate: float = field(default=0.03, validator=between(0, 2))  #: of sign updates of convolutions
    schedule: str = field(default="step", validator=one_of(*SCHEDULES))  #: see joulebit.techniques.schedule
    drops: tuple[float, ...] = field(default=(0.5, 0.75), validator=rising_shares)  #: of the run, for step
    drop_factor: float = field(default=0.1, validator=between(0, 1, "(]"))  #: at each drop, for step
    final_factor: float = field(default=0.0, validator=between(0, 1))  #: reached at the end by cosine and linear
    warmup_iterations: int = field(default=0, validator=at_least(0))  #: linear warm-up of both rates
    momentum: float = field(default=0.9, validator=between(0, 1, "[)"))  #: of gradient updates
    sign_momentum: float = field(default=0.9, validator=between(0, 1, "[)"))  #: of sign updates
    weight_decay: float = field(default=1e-4, validator=between(0, 1))  #: of gradient updates
    sign_weight_decay: float = field(default=0.0, validator=between(0, 1))  #: of sign updates
    statistics_samples: int = field(default=1024, validator=at_least(1))  #: for batch norm at evaluation
    evaluate_every_epochs: float = field(default=1.0, validator=at_least(0))  #: 0 = only at the end
    checkpoint_every: int = field(default=0, validator=at_least(0))  #: steps; 0 = once per epoch
    layers: str = field(default="all", validator=one_of(*LAYERS))  #: head trains the classifier alone
    adam: Adam = NO_ADAM  #: instead of SGD, float32 alone; its keys: joulebit.techniques.adam
    stop: StopCriteria = NEVER  #: when the run ends before its last step; its keys: joulebit.train.stop
    initial_weights: str = ""  #: a run directory or a weights.npz to start from; empty = random

    def __attrs_post_init__(self) -> None:
        if bool(self.iterations) == bool(self.epochs):
            came = "both" if self.iterations else "neither"
            raise ConfigError(f"exactly one of iterations and epochs must be given (above 0), got {came}")


@frozen
class EnergyConfig:
    """What counters are multiplied by."""

    table: str = field(default="45nm", validator=not_empty)


@frozen
class RunConfig:
    """One training run."""

    name: str = field(validator=not_empty)
    data: DataConfig
    model: ModelConfig
    training: TrainingConfig
    description: str = ""
    seed: int = field(default=0, validator=between(0, 2**63 - 1))
    engine: str = field(default="numba", validator=one_of(*ENGINES))
    arithmetic: Arithmetic = field(factory=Arithmetic)
    method: MethodConfig = MethodConfig()  # noqa: RUF009  (frozen)
    energy: EnergyConfig = EnergyConfig()

    def __attrs_post_init__(self) -> None:
        check_together(self)

    def total_steps(self, batches_per_epoch: int) -> int:
        """Iterations of this run, dropped batches included."""
        training, smd = self.training, self.method.smd
        length = training.iterations or Fraction(str(training.epochs)) * batches_per_epoch
        standard = floor(length * Fraction(str(training.iteration_factor)) + Fraction(1, 2))
        steps = StochasticMinibatchDropping(smd.probability, smd.energy_ratio).total_iterations(standard)
        if steps < 1:
            raise ConfigError(
                f"[training] a run must have at least one step: {float(length):g} batches make {standard}, "
                f"and [method.smd] makes that {steps}"
            )
        return steps
