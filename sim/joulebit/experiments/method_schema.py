"""[method] of a configuration: the update rule, and a section for each technique."""

from __future__ import annotations

from fractions import Fraction

from attrs import field, frozen

from joulebit.experiments.validators import ConfigError, at_least, between, one_of, rising_shares
from joulebit.techniques.cyclic_precision import CyclicPrecision
from joulebit.techniques.data_selection import NO_SELECTION, DataSelection
from joulebit.techniques.exits import OFF as NO_EXITS
from joulebit.techniques.exits import Exits
from joulebit.techniques.growing import KINDS as GROWING_KINDS
from joulebit.techniques.low_bit_weights import LOW_BIT_KINDS
from joulebit.techniques.neuron_selection import BUDGETED, NeuronSelection, Scheme
from joulebit.techniques.neuron_selection import METHODS as NEURON_METHODS
from joulebit.techniques.neuron_selection import UNITS as BUDGET_UNITS
from joulebit.techniques.neuron_selection import scheme as neuron_scheme
from joulebit.techniques.pruning import DISTRIBUTIONS
from joulebit.techniques.pruning import METHODS as PRUNING_METHODS
from joulebit.techniques.variational import OFF as NOT_VARIATIONAL
from joulebit.techniques.variational import Variational
from joulebit.techniques.width_rule import MODES as WIDTH_RULES

UPDATES = ("sgd", "sign", "psg")


@frozen
class SmdConfig:
    """Stochastic mini-batch dropping (E2-Train, section 3.1)."""

    probability: float = field(default=0.0, validator=between(0, 1, "[)"))  #: of dropping a batch; 0 = off
    energy_ratio: float = field(
        default=1.0, validator=between(0, 16, "(]")
    )  #: batches computed, over those of the
    #: standard run: with probability 0.5, ratio 2/3 stretches 64,000 iterations to 85,333, half of them dropped


@frozen
class SluConfig:
    """Selective layer update (E2-Train, section 3.2): learnt gates close residual blocks."""

    target_skip: float = field(
        default=0.0, validator=between(0, 1, "[)")
    )  #: share of the network's forward multiply-accumulates to skip; 0 = off
    alpha: float = field(default=3.0, validator=between(0, 16))  #: weight of the computational cost in the loss
    gate_learning_rate: float = field(default=0.03, validator=between(0, 2))


@frozen
class StochasticDepthConfig:
    """Stochastic depth: a block's chance to stay falls linearly with depth (Huang et al., ECCV 2016)."""

    final_survival: float = field(default=1.0, validator=between(0, 1))  #: of the last block; 1 = off


@frozen
class DistillationConfig:
    """Knowledge distillation (Hinton et al., 2015): a teacher's softened answers enter the loss."""

    teacher: str = ""  #: the directory of a finished run, "self" for snapshots of this run, or empty: off
    temperature: float = field(default=4.0, validator=between(1, 64))  #: a multiple of 1/16
    weight: float = field(default=0.5, validator=between(0, 1, "(]"))  #: of the teacher in the loss
    snapshots: int = field(
        default=1, validator=between(1, 64)
    )  #: for "self": the run has so many parts and one more; each learns from the weights at its beginning


@frozen
class WidthRuleConfig:
    """Check that weights <= activations <= gradients in bits (`joulebit.techniques.width_rule`)."""

    check: str = field(default="off", validator=one_of(*WIDTH_RULES))  #: warn, or strict: an error


@frozen
class LowBitWeightsConfig:
    """Convolutions' weights of two, three or few values (spec, section 14); masters keep their full width."""

    kind: str = field(default="off", validator=one_of("off", *LOW_BIT_KINDS))
    first_layer: bool = False  #: the first convolution, too (the classifier never)


@frozen
class CyclicPrecisionConfig:
    """Cyclic precision (Fu et al., ICLR 2021): widths rise from a lower bound to those of [arithmetic]."""

    cycles: int = field(default=0, validator=between(0, 1 << 20))  #: of the run; 0 = off
    x_low: int = field(default=3, validator=at_least(0))  #: activations, 2..x_bits; 0 = constant
    w_low: int = field(default=3, validator=at_least(0))  #: weights, 2..w_bits; 0 = constant
    g_low: int = field(default=0, validator=at_least(0))  #: gradients, 2..g_bits; 0 = constant

    def policy(self) -> CyclicPrecision | None:
        """The schedule of the widths; None when it is off."""
        return CyclicPrecision(self.cycles, self.x_low, self.w_low, self.g_low) if self.cycles else None


@frozen
class NeuronSelectionConfig:
    """Neuron selection under a budget (Quelennec et al., WACV 2024): see joulebit.techniques.neuron_selection."""

    method: str = field(default="off", validator=one_of(*NEURON_METHODS))
    budget: float = field(default=0.0, validator=at_least(0))  #: of velocity, velocity_per_parameter and random
    unit: str = field(default="parameters", validator=one_of(*BUDGET_UNITS))  #: joules are those of one step
    scheme: str = ""  #: a known scheme: of static, or of the first epoch of the others (empty: random)
    convolutions: tuple[float, ...] = ()  #: a scheme of one's own: indices of convolutions,
    ratios: tuple[float, ...] = ()  #: the share of each one's output channels,
    biases: int = field(default=0, validator=at_least(0))  #: and how many of the last ones train their biases
    mu: float = field(default=0.5, validator=between(0, 1))  #: weight of the previous velocity
    epsilon: float = field(default=0.001, validator=between(0, 4))  #: of equilibrium
    renew_epochs: int = field(default=1, validator=at_least(1))  #: epochs between two selections
    validation_samples: int = field(
        default=64, validator=at_least(1)
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

    method: str = field(default="off", validator=one_of(*PRUNING_METHODS))
    sparsity: float = field(default=0.0, validator=between(0, 1, "[)"))  #: share of the convolutions' weights
    rounds: int = field(default=100, validator=between(1, 1000))  #: of synflow
    distribution: str = field(default="erk", validator=one_of(*DISTRIBUTIONS))  #: of random over the layers

    def __attrs_post_init__(self) -> None:
        if self.method != "off" and self.sparsity <= 0:
            raise ConfigError(f"sparsity must be above 0 for method {self.method!r}, got {self.sparsity}")


@frozen
class EarlyBirdConfig:
    """Early-bird tickets (You et al., ICLR 2020): the network shrinks: see joulebit.techniques.early_bird."""

    ratio: float = field(
        default=0.0, validator=between(0, 1, "[)")
    )  #: share of the free channels that go; 0 = off
    distance: float = field(default=0.1, validator=between(0, 1))  #: between masks, at most, for the ticket
    window: int = field(default=5, validator=at_least(1))  #: that many times in a row
    until: float = field(default=0.5, validator=between(0, 1, "()"))  #: share of the run: the latest ticket


@frozen
class GrowingConfig:
    """Growing in depth or width (see joulebit.techniques.growing)."""

    kind: str = field(default="off", validator=one_of(*GROWING_KINDS))
    shares: tuple[float, ...] = field(
        default=(0.5,), validator=rising_shares
    )  #: of the network, before each point
    points: tuple[float, ...] = field(default=(0.5,), validator=rising_shares)  #: shares of the run

    def __attrs_post_init__(self) -> None:
        if len(self.shares) != len(self.points):
            raise ConfigError(
                f"shares and points must be equally many, got {len(self.shares)} and {len(self.points)}"
            )


@frozen
class MethodConfig:
    """How the network is trained: the update rule, and what is left out."""

    update: str = field(default="sgd", validator=one_of(*UPDATES))
    beta: float = field(default=0.05, validator=between(0, 1, "()"))  #: PSG's adaptive threshold
    swa: bool = False  #: average the weights towards the end
    swa_start: float = field(default=0.75, validator=between(0, 1, "[)"))  #: share of the run
    smd: SmdConfig = SmdConfig()
    slu: SluConfig = SluConfig()
    stochastic_depth: StochasticDepthConfig = StochasticDepthConfig()
    cyclic_precision: CyclicPrecisionConfig = CyclicPrecisionConfig()
    low_bit_weights: LowBitWeightsConfig = LowBitWeightsConfig()
    width_rule: WidthRuleConfig = WidthRuleConfig()
    distillation: DistillationConfig = DistillationConfig()
    exits: Exits = NO_EXITS  #: its keys: joulebit.techniques.exits
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
        if self.exits.count:
            parts.append("exits")
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
