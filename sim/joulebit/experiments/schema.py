"""The configuration of a training run as frozen objects: every key, its meaning, its default, what is allowed.

How files are read and written: `joulebit.experiments.config`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from fractions import Fraction
from math import floor
from typing import Any

from attrs import Attribute, field, frozen

from joulebit.data.folds import OWN_TEST_SET, TestSplit
from joulebit.engine.factory import INTEGER_ENGINES
from joulebit.engine.sessions import added_engines
from joulebit.errors import JoulebitError, did_you_mean
from joulebit.fixed.arithmetic import Arithmetic
from joulebit.nn.graph import Conv, Dense, Layer, Residual
from joulebit.techniques.cyclic_precision import CyclicPrecision
from joulebit.techniques.data_selection import NO_SELECTION, DataSelection
from joulebit.techniques.distillation import Distillation
from joulebit.techniques.growing import KINDS as GROWING_KINDS
from joulebit.techniques.low_bit_weights import LOW_BIT_KINDS
from joulebit.techniques.neuron_selection import BUDGETED, NeuronSelection, Scheme
from joulebit.techniques.neuron_selection import METHODS as NEURON_METHODS
from joulebit.techniques.neuron_selection import UNITS as BUDGET_UNITS
from joulebit.techniques.neuron_selection import scheme as neuron_scheme
from joulebit.techniques.pruning import DISTRIBUTIONS
from joulebit.techniques.pruning import METHODS as PRUNING_METHODS
from joulebit.techniques.schedule import KINDS as SCHEDULES
from joulebit.techniques.smd import StochasticMinibatchDropping
from joulebit.techniques.variational import OFF as NOT_VARIATIONAL
from joulebit.techniques.variational import Variational
from joulebit.techniques.width_rule import MODES as WIDTH_RULES
from joulebit.techniques.width_rule import WidthRuleWarning, broken
from joulebit.train.stop import NEVER, StopCriteria

ENGINES = (*INTEGER_ENGINES, *added_engines(), "float32")
PARTS = ("all", "first_half", "second_half")
LAYERS = ("all", "head")
UPDATES = ("sgd", "sign", "psg")

Validator = Callable[[Any, "Attribute[Any]", Any], None]


class ConfigError(JoulebitError, ValueError):
    """A configuration cannot be used. One line: the key, its section, what came, what was allowed."""


def _one_of(*allowed: str) -> Validator:
    def check(_: Any, attribute: Attribute[Any], value: str) -> None:
        if value not in allowed:
            raise ConfigError(f"{attribute.name} must be one of {', '.join(allowed)}, got {value!r}")

    return check


def _at_least(low: int | float) -> Validator:
    def check(_: Any, attribute: Attribute[Any], value: float) -> None:
        if not value >= low:
            raise ConfigError(f"{attribute.name} must be at least {low}, got {value}")

    return check


def _between(low: float, high: float, brackets: str = "[]") -> Validator:
    """low..high; a round bracket leaves its end out."""

    def check(_: Any, attribute: Attribute[Any], value: float) -> None:
        above = value > low if brackets[0] == "(" else value >= low
        below = value < high if brackets[1] == ")" else value <= high
        if not (above and below):
            interval = f"{brackets[0]}{low}, {high}{brackets[1]}"
            raise ConfigError(f"{attribute.name} must be in {interval}, got {value}")

    return check


def _not_empty(_: Any, attribute: Attribute[Any], value: str) -> None:
    if not value.strip():
        raise ConfigError(f"{attribute.name} must not be empty")


def _rising_shares(_: Any, attribute: Attribute[Any], value: tuple[float, ...]) -> None:
    if not all(0 < share < 1 for share in value) or list(value) != sorted(set(value)):
        raise ConfigError(f"{attribute.name} must be rising numbers in (0, 1), got {list(value)}")


@frozen
class DataConfig:
    """Which images, and what may happen to them."""

    name: str = field(validator=_not_empty)  #: digits, digits32, mnist, mnist32, cifar10, cifar100 or npz:PATH
    mirror: bool = False  #: exchange left and right at random
    shift: int = field(default=0, validator=_between(0, 255))  #: move by up to so many pixels at random
    train_limit: int = field(default=0, validator=_at_least(0))  #: a class-balanced prefix of the part; 0 = all
    test_limit: int = field(default=0, validator=_at_least(0))  #: likewise of the test set
    part: str = field(default="all", validator=_one_of(*PARTS))  #: of the training set; halves keep class shares
    split: TestSplit = OWN_TEST_SET  #: hold-out and folds instead of the own test set: joulebit.data.folds


@frozen
class ModelConfig:
    """Which network; the number of classes comes from the data."""

    name: str = field(validator=_not_empty)  #: resnet20, lenet5x2, mobilenetv2, ...: see joulebit.nn.models


@frozen
class TrainingConfig:
    """How long, at which rates, and from where.

    Exactly one of iterations and epochs is given: the length of the standard mini-batch run. Techniques that
    stretch or shorten it do so on top (`RunConfig.total_steps`), and all marks of the schedule move with it.
    """

    iterations: int = field(default=0, validator=_at_least(0))  #: batches; 0 = given by epochs
    epochs: float = field(default=0.0, validator=_at_least(0))  #: passes over the training set; 0 = by iterations
    iteration_factor: float = field(default=1.0, validator=_between(0, 16, "(]"))  #: the whole run so much longer
    batch_size: int = field(default=128, validator=_at_least(1))
    learning_rate: float = field(default=0.1, validator=_between(0, 2))  #: of gradient updates
    sign_learning_rate: float = field(default=0.03, validator=_between(0, 2))  #: of sign updates of convolutions
    schedule: str = field(default="step", validator=_one_of(*SCHEDULES))  #: see joulebit.techniques.schedule
    drops: tuple[float, ...] = field(default=(0.5, 0.75), validator=_rising_shares)  #: of the run, for step
    drop_factor: float = field(default=0.1, validator=_between(0, 1, "(]"))  #: at each drop, for step
    final_factor: float = field(default=0.0, validator=_between(0, 1))  #: reached at the end by cosine and linear
    warmup_iterations: int = field(default=0, validator=_at_least(0))  #: linear warm-up of both rates
    momentum: float = field(default=0.9, validator=_between(0, 1, "[)"))  #: of gradient updates
    sign_momentum: float = field(default=0.9, validator=_between(0, 1, "[)"))  #: of sign updates
    weight_decay: float = field(default=1e-4, validator=_between(0, 1))  #: of gradient updates
    sign_weight_decay: float = field(default=0.0, validator=_between(0, 1))  #: of sign updates
    statistics_samples: int = field(default=1024, validator=_at_least(1))  #: for batch norm at evaluation
    evaluate_every_epochs: float = field(default=1.0, validator=_at_least(0))  #: 0 = only at the end
    checkpoint_every: int = field(default=0, validator=_at_least(0))  #: steps; 0 = once per epoch
    layers: str = field(default="all", validator=_one_of(*LAYERS))  #: head trains the classifier alone
    stop: StopCriteria = NEVER  #: when the run ends before its last step; its keys: joulebit.train.stop
    initial_weights: str = ""  #: a run directory or a weights.npz to start from; empty = random

    def __attrs_post_init__(self) -> None:
        if bool(self.iterations) == bool(self.epochs):
            came = "both" if self.iterations else "neither"
            raise ConfigError(f"exactly one of iterations and epochs must be given (above 0), got {came}")


@frozen
class SmdConfig:
    """Stochastic mini-batch dropping (E2-Train, section 3.1)."""

    probability: float = field(default=0.0, validator=_between(0, 1, "[)"))  #: of dropping a batch; 0 = off
    energy_ratio: float = field(
        default=1.0, validator=_between(0, 16, "(]")
    )  #: batches computed, over those of the
    #: standard run: with probability 0.5, ratio 2/3 stretches 64,000 iterations to 85,333, half of them dropped


@frozen
class SluConfig:
    """Selective layer update (E2-Train, section 3.2): learnt gates close residual blocks."""

    target_skip: float = field(
        default=0.0, validator=_between(0, 1, "[)")
    )  #: share of the network's forward multiply-accumulates to skip; 0 = off
    alpha: float = field(default=3.0, validator=_between(0, 16))  #: weight of the computational cost in the loss
    gate_learning_rate: float = field(default=0.03, validator=_between(0, 2))


@frozen
class StochasticDepthConfig:
    """Stochastic depth: a block's chance to stay falls linearly with depth (Huang et al., ECCV 2016)."""

    final_survival: float = field(default=1.0, validator=_between(0, 1))  #: of the last block; 1 = off


@frozen
class DistillationConfig:
    """Knowledge distillation (Hinton et al., 2015): a teacher's softened answers enter the loss."""

    teacher: str = ""  #: the directory of a finished run, "self" for snapshots of this run, or empty: off
    temperature: float = field(default=4.0, validator=_between(1, 64))  #: a multiple of 1/16
    weight: float = field(default=0.5, validator=_between(0, 1, "(]"))  #: of the teacher in the loss
    snapshots: int = field(
        default=1, validator=_between(1, 64)
    )  #: for "self": the run has so many parts and one more; each learns from the weights at its beginning


@frozen
class WidthRuleConfig:
    """Check that weights <= activations <= gradients in bits (`joulebit.techniques.width_rule`)."""

    check: str = field(default="off", validator=_one_of(*WIDTH_RULES))  #: warn, or strict: an error


@frozen
class LowBitWeightsConfig:
    """Convolutions' weights of two, three or few values (spec, section 14); masters keep their full width."""

    kind: str = field(default="off", validator=_one_of("off", *LOW_BIT_KINDS))
    first_layer: bool = False  #: the first convolution, too (the classifier never)


@frozen
class CyclicPrecisionConfig:
    """Cyclic precision (Fu et al., ICLR 2021): widths rise from a lower bound to those of [arithmetic]."""

    cycles: int = field(default=0, validator=_between(0, 1 << 20))  #: of the run; 0 = off
    x_low: int = field(default=3, validator=_at_least(0))  #: activations, 2..x_bits; 0 = constant
    w_low: int = field(default=3, validator=_at_least(0))  #: weights, 2..w_bits; 0 = constant
    g_low: int = field(default=0, validator=_at_least(0))  #: gradients, 2..g_bits; 0 = constant

    def policy(self) -> CyclicPrecision | None:
        """The schedule of the widths; None when it is off."""
        return CyclicPrecision(self.cycles, self.x_low, self.w_low, self.g_low) if self.cycles else None


@frozen
class NeuronSelectionConfig:
    """Neuron selection under a budget (Quelennec et al., WACV 2024): see joulebit.techniques.neuron_selection."""

    method: str = field(default="off", validator=_one_of(*NEURON_METHODS))
    budget: float = field(default=0.0, validator=_at_least(0))  #: of velocity, velocity_per_parameter and random
    unit: str = field(default="parameters", validator=_one_of(*BUDGET_UNITS))  #: joules are those of one step
    scheme: str = ""  #: a known scheme: of static, or of the first epoch of the others (empty: random)
    convolutions: tuple[float, ...] = ()  #: a scheme of one's own: indices of convolutions,
    ratios: tuple[float, ...] = ()  #: the share of each one's output channels,
    biases: int = field(default=0, validator=_at_least(0))  #: and how many of the last ones train their biases
    mu: float = field(default=0.5, validator=_between(0, 1))  #: weight of the previous velocity
    epsilon: float = field(default=0.001, validator=_between(0, 4))  #: of equilibrium
    renew_epochs: int = field(default=1, validator=_at_least(1))  #: epochs between two selections
    validation_samples: int = field(
        default=64, validator=_at_least(1)
    )  #: held out of training, to measure velocity

    def __attrs_post_init__(self) -> None:
        if self.method in BUDGETED and self.budget <= 0:
            raise ConfigError(f"budget must be above 0 for method {self.method!r}, got {self.budget}")
        if self.unit == "share" and self.budget > 1:
            raise ConfigError(f'budget must be at most 1 with unit "share", got {self.budget}')
        own = bool(self.convolutions or self.ratios or self.biases)
        if self.scheme and own:
            raise ConfigError("scheme already names convolutions, ratios and biases: give one or the other")
        if self.method == "static" and not (self.scheme or own):
            raise ConfigError('method "static" needs a scheme, or convolutions with ratios, or biases')
        if any(index != int(index) for index in self.convolutions):
            raise ConfigError(f"convolutions must be whole numbers, got {list(self.convolutions)}")
        self.policy()

    def policy(self) -> NeuronSelection | None:
        """None where it is off; ConfigError for an impossible scheme."""
        if self.method == "off":
            return None
        fixed = None
        try:
            if self.scheme:
                fixed = neuron_scheme(self.scheme)
            elif self.convolutions or self.biases:
                ratios = tuple(Fraction(str(ratio)) for ratio in self.ratios)
                fixed = Scheme(tuple(map(int, self.convolutions)), ratios, self.biases)
        except ValueError as error:
            raise ConfigError(str(error)) from None
        return NeuronSelection(self.method, self.budget, self.unit, fixed, self.mu, self.epsilon)


@frozen
class PruningConfig:
    """Pruning at initialisation (SNIP, SynFlow, random by layer): see joulebit.techniques.pruning."""

    method: str = field(default="off", validator=_one_of(*PRUNING_METHODS))
    sparsity: float = field(default=0.0, validator=_between(0, 1, "[)"))  #: share of the convolutions' weights
    rounds: int = field(default=100, validator=_between(1, 1000))  #: of synflow
    distribution: str = field(default="erk", validator=_one_of(*DISTRIBUTIONS))  #: of random over the layers

    def __attrs_post_init__(self) -> None:
        if self.method != "off" and self.sparsity <= 0:
            raise ConfigError(f"sparsity must be above 0 for method {self.method!r}, got {self.sparsity}")


@frozen
class EarlyBirdConfig:
    """Early-bird tickets (You et al., ICLR 2020): the network shrinks: see joulebit.techniques.early_bird."""

    ratio: float = field(
        default=0.0, validator=_between(0, 1, "[)")
    )  #: share of the free channels that go; 0 = off
    distance: float = field(default=0.1, validator=_between(0, 1))  #: between masks, at most, for the ticket
    window: int = field(default=5, validator=_at_least(1))  #: that many times in a row
    until: float = field(default=0.5, validator=_between(0, 1, "()"))  #: share of the run: the latest ticket


@frozen
class GrowingConfig:
    """Growing in depth or width (see joulebit.techniques.growing)."""

    kind: str = field(default="off", validator=_one_of(*GROWING_KINDS))
    shares: tuple[float, ...] = field(
        default=(0.5,), validator=_rising_shares
    )  #: of the network, before each point
    points: tuple[float, ...] = field(default=(0.5,), validator=_rising_shares)  #: shares of the run

    def __attrs_post_init__(self) -> None:
        if len(self.shares) != len(self.points):
            raise ConfigError(
                f"shares and points must be equally many, got {len(self.shares)} and {len(self.points)}"
            )


@frozen
class MethodConfig:
    """How the network is trained: the update rule, and what is left out."""

    update: str = field(default="sgd", validator=_one_of(*UPDATES))
    beta: float = field(default=0.05, validator=_between(0, 1, "()"))  #: PSG's adaptive threshold
    swa: bool = False  #: average the weights towards the end
    swa_start: float = field(default=0.75, validator=_between(0, 1, "[)"))  #: share of the run
    smd: SmdConfig = SmdConfig()
    slu: SluConfig = SluConfig()
    stochastic_depth: StochasticDepthConfig = StochasticDepthConfig()
    cyclic_precision: CyclicPrecisionConfig = CyclicPrecisionConfig()
    low_bit_weights: LowBitWeightsConfig = LowBitWeightsConfig()
    width_rule: WidthRuleConfig = WidthRuleConfig()
    distillation: DistillationConfig = DistillationConfig()
    data_selection: DataSelection = NO_SELECTION  #: its keys: joulebit.techniques.data_selection
    variational: Variational = NOT_VARIATIONAL  #: its keys: joulebit.techniques.variational

    neuron_selection: NeuronSelectionConfig = NeuronSelectionConfig()
    pruning: PruningConfig = PruningConfig()
    early_bird: EarlyBirdConfig = EarlyBirdConfig()
    growing: GrowingConfig = GrowingConfig()

    def label(self) -> str:
        """A short name, such as sgd, psg or psg+smd+slu."""
        parts = [self.update]
        if self.smd.probability > 0:
            parts.append("smd")
        if self.slu.target_skip > 0:
            parts.append("slu")
        if self.stochastic_depth.final_survival < 1:
            parts.append("sd")
        if self.cyclic_precision.cycles:
            parts.append("cpt")
        if self.low_bit_weights.kind != "off":
            parts.append(self.low_bit_weights.kind)
        if self.distillation.teacher:
            parts.append("distilled")
        if self.variational.enabled:
            parts.append("bayes")
        if self.data_selection.on:
            parts.append(f"{self.data_selection.approach}-selection")
        if self.neuron_selection.method != "off":
            parts.append(f"neurons-{self.neuron_selection.method}")
        if self.pruning.method != "off":
            parts.append(self.pruning.method + ("-pruning" if self.pruning.method == "random" else ""))
        if self.early_bird.ratio > 0:
            parts.append("early-bird")
        if self.growing.kind != "off":
            parts.append(f"growing-{self.growing.kind}")
        return "+".join(parts)


@frozen
class EnergyConfig:
    """What counters are multiplied by."""

    table: str = field(default="45nm", validator=_not_empty)


@frozen
class RunConfig:
    """One training run."""

    name: str = field(validator=_not_empty)
    data: DataConfig
    model: ModelConfig
    training: TrainingConfig
    description: str = ""
    seed: int = field(default=0, validator=_between(0, 2**63 - 1))
    engine: str = field(default="numba", validator=_one_of(*ENGINES))
    arithmetic: Arithmetic = field(factory=Arithmetic)
    method: MethodConfig = MethodConfig()
    energy: EnergyConfig = EnergyConfig()

    def __attrs_post_init__(self) -> None:
        _check_together(self)

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


def _check_structure(config: RunConfig) -> None:
    """Techniques that change what there is of the network, or that belong to parts of it."""
    method = config.method
    resizing = [
        (name, latest)
        for name, on, latest in (
            ("early_bird", method.early_bird.ratio > 0, method.early_bird.until),
            ("growing", method.growing.kind != "off", max(method.growing.points, default=0.0)),
        )
        if on
    ]
    if not resizing:
        return
    (name, latest), *more = resizing
    fixed = [f"method.{other}" for other, _ in more]
    fixed += ["method.neuron_selection"] if method.neuron_selection.method != "off" else []
    fixed += ["method.pruning"] if method.pruning.method != "off" else []
    fixed += ['training.layers "head"'] if config.training.layers == "head" else []
    if fixed:
        raise ConfigError(f"method.{name} changes the network, which {fixed[0]} needs as it is: use one of them")
    if method.swa and method.swa_start < latest:
        raise ConfigError(
            f"method.{name} changes the network until {latest} of the run: weights cannot be averaged before, "
            f"got swa_start {method.swa_start}"
        )


def _check_together(config: RunConfig) -> None:
    """What no single key can tell."""
    training, method = config.training, config.method
    skips_blocks = [
        name
        for name, on in (
            ("method.slu", method.slu.target_skip > 0),
            ("method.stochastic_depth", method.stochastic_depth.final_survival < 1),
        )
        if on
    ]
    if len(skips_blocks) == 2:
        raise ConfigError(
            "method.slu and method.stochastic_depth both decide which blocks run: "
            "set slu.target_skip to 0 or stochastic_depth.final_survival to 1"
        )
    blocks = sum(isinstance(layer, Residual) for layer in _layers(config.model.name))
    if skips_blocks and blocks < 2:
        raise ConfigError(
            f"{skips_blocks[0]} needs at least 2 residual blocks, model {config.model.name} has {blocks}"
        )
    projections = [
        layer for layer in _layers(config.model.name) if isinstance(layer, Residual) and layer.projection
    ]
    if skips_blocks and projections:
        raise ConfigError(
            f"{skips_blocks[0]} needs shortcuts without projections, model {config.model.name} has some: "
            "a closed block has nothing to pass on"
        )
    if config.engine == "float32":
        if method.update == "psg":
            raise ConfigError('engine "float32" has no sign predictor: method.update must be sgd or sign, got psg')
        if method.slu.target_skip > 0:
            raise ConfigError('engine "float32" does not know method.slu: use an integer engine, or target_skip 0')
        if method.neuron_selection.method != "off":
            raise ConfigError('engine "float32" does not know method.neuron_selection: use an integer engine')
        for name, on in (
            ("pruning", method.pruning.method != "off"),
            ("early_bird", method.early_bird.ratio > 0),
            ("growing", method.growing.kind != "off"),
        ):
            if on:
                raise ConfigError(f'engine "float32" does not know method.{name}: use an integer engine')
    if method.smd.probability == 0 and method.smd.energy_ratio != 1:
        raise ConfigError(
            f"method.smd.energy_ratio is {method.smd.energy_ratio} but no batch is dropped (probability 0): "
            "set training.iteration_factor for a shorter standard run"
        )
    if method.smd.probability > 0 and training.iteration_factor != 1:
        raise ConfigError(
            "training.iteration_factor and method.smd both set the length of the run: "
            "set method.smd.energy_ratio alone"
        )
    _check_structure(config)
    if training.layers == "head":
        if not training.initial_weights:
            raise ConfigError(
                'training.layers "head" needs trained weights: name them by training.initial_weights'
            )
        if method.pruning.method != "off":
            raise ConfigError(
                'training.layers "head" trains the classifier alone, which method.pruning leaves whole'
            )
        if method.neuron_selection.method != "off":
            raise ConfigError(
                'training.layers "head" freezes all neurons: method.neuron_selection has none to select'
            )
        if skips_blocks or method.update != "sgd":
            what = skips_blocks[0] if skips_blocks else f"method.update {method.update!r}"
            raise ConfigError(f'training.layers "head" trains the classifier alone: {what} has nothing to act on')
    _check_cyclic_precision(config)
    _check_kinds(config)
    _check_width_rule(config)
    _check_distillation(config)
    _check_variational(config)
    _check_dataset(config.data.name)


def _check_variational(config: RunConfig) -> None:
    method = config.method
    if not method.variational.enabled:
        return
    if config.engine == "float32":
        raise ConfigError('engine "float32" does not know method.variational: use an integer engine')
    others = {
        f"method.update {method.update!r}": method.update != "sgd",
        "method.low_bit_weights": method.low_bit_weights.kind != "off",
        "method.neuron_selection": method.neuron_selection.method != "off",
        "method.early_bird": method.early_bird.ratio > 0,
        "method.growing": method.growing.kind != "off",
    }
    if wrong := [name for name, on in others.items() if on]:
        raise ConfigError(f"method.variational learns a deviation of every weight: it goes without {wrong[0]}")


def _check_kinds(config: RunConfig) -> None:
    """Layers whose weights are no plain integers need an integer engine, and have no variational form."""
    kinds = sorted({conv.kind for conv in _convolutions(config.model.name)} - {"linear"})
    if kinds and config.method.variational.enabled:
        raise ConfigError(
            f"method.variational learns deviations of weights: model {config.model.name} has {kinds[0]} layers"
        )
    if config.engine != "float32":
        return
    if config.method.low_bit_weights.kind != "off":
        raise ConfigError(
            'engine "float32" does not know method.low_bit_weights: use an integer engine, or kind off'
        )
    if kinds:
        raise ConfigError(
            f'engine "float32" does not compute {kinds[0]} layers, which model {config.model.name} has: '
            "use an integer engine"
        )


def _check_distillation(config: RunConfig) -> None:
    distillation = config.method.distillation
    if not distillation.teacher:
        return
    if config.engine == "float32":
        raise ConfigError('engine "float32" does not know method.distillation: use an integer engine')
    try:
        Distillation(distillation.temperature, distillation.weight, distillation.snapshots)
    except ValueError as error:
        raise ConfigError(f"[method.distillation] {error}") from None
    changes = config.method.early_bird.ratio > 0 or config.method.growing.kind != "off"
    if distillation.teacher == "self" and changes:
        raise ConfigError(
            'method.distillation.teacher "self" copies a network that keeps its shape: use a trained teacher, '
            "or leave out method.early_bird and method.growing"
        )
    method = config.method
    if (
        distillation.teacher == "self"
        and method.pruning.method != "off"
        and method.low_bit_weights.kind == "binary"
    ):
        raise ConfigError(
            'method.distillation.teacher "self" does not know which binary weights are pruned: '
            "use a trained teacher, or other weights"
        )


def _check_width_rule(config: RunConfig) -> None:
    """At every width that the run uses: those of cyclic precision pass through its lower bounds."""
    mode = config.method.width_rule.check
    if mode == "off":
        return
    weight_bits = {"binary": 1, "ternary": 2}.get(config.method.low_bit_weights.kind)
    message = broken(config.arithmetic, weight_bits)
    policy = config.method.cyclic_precision.policy()
    if policy and not message:
        steps = 1000  # of a run long enough to meet every combination of widths
        widths = {policy.arithmetic(config.arithmetic, step, steps * policy.cycles) for step in range(steps)}
        found = [text for text in (broken(each, weight_bits) for each in widths) if text]
        message = f"in the course of cyclic precision {min(found)}" if found else ""
    if not message:
        return
    message = f"[arithmetic] breaks the rule W <= A <= G: {message}"
    if mode == "strict":
        raise ConfigError(f'{message}; method.width_rule.check "warn" or "off" lets it pass')
    warnings.warn(message, WidthRuleWarning, stacklevel=2)


def _check_cyclic_precision(config: RunConfig) -> None:
    try:
        policy = config.method.cyclic_precision.policy()
        if policy:
            policy.check(config.arithmetic)
    except ValueError as error:
        raise ConfigError(f"[method.cyclic_precision] {error}") from None
    if policy and config.engine == "float32":
        raise ConfigError(
            'engine "float32" has one width: use an integer engine, or method.cyclic_precision.cycles 0'
        )


def _layers(model: str) -> tuple[Layer, ...]:
    """The layers of a model by name; ConfigError for an unknown one."""
    from joulebit.nn import models

    try:
        return models.model(model, classes=10).layers
    except ValueError as error:
        raise ConfigError(f"[model] name: {error}") from None


def _convolutions(model: str) -> list[Conv | Dense]:
    """The convolutions and hidden dense layers of a model by name."""
    bodies = [layer.body if isinstance(layer, Residual) else (layer,) for layer in _layers(model)]
    return [layer for body in bodies for layer in body if isinstance(layer, Conv | Dense)]


def _check_dataset(name: str) -> None:
    from joulebit.data.load import DATASETS, NPZ_PREFIX

    if name not in DATASETS and not (name.startswith(NPZ_PREFIX) and len(name) > len(NPZ_PREFIX)):
        hint = did_you_mean(name, DATASETS)
        raise ConfigError(f"[data] name: unknown data set {name!r}{hint}; known: {', '.join(DATASETS)}, npz:PATH")
