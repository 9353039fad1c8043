"""What no single key of a configuration can tell: which settings go together."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from joulebit.errors import did_you_mean
from joulebit.experiments.validators import ConfigError
from joulebit.nn.graph import Conv, Dense, Layer, Residual
from joulebit.techniques.distillation import Distillation
from joulebit.techniques.width_rule import WidthRuleWarning, broken

if TYPE_CHECKING:
    from joulebit.experiments.schema import RunConfig


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


def check_together(config: RunConfig) -> None:
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
            raise ConfigError(
                'engine "float32" does not know method.slu, whose gates are integers by specification: use an '
                "integer engine, or target_skip 0"
            )
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
    _check_adam(config)
    _check_cyclic_precision(config)
    _check_kinds(config)
    _check_width_rule(config)
    _check_distillation(config)
    _check_exits(config)
    _check_variational(config)
    _check_dataset(config.data.name)


def _check_adam(config: RunConfig) -> None:
    """Adam divides by roots, for which the integer engines have no rule."""
    if not config.training.adam.enabled:
        return
    if config.engine != "float32":
        raise ConfigError(
            f"training.adam divides every step by a root, which integer engines do not form: engine must be "
            f"float32, got {config.engine}"
        )
    if config.method.update != "sgd":
        raise ConfigError(f'training.adam replaces SGD: method.update must be sgd, got "{config.method.update}"')
    if config.method.early_bird.ratio > 0 or config.method.growing.kind != "off":
        name = "growing" if config.method.growing.kind != "off" else "early_bird"
        raise ConfigError(f"method.{name} hands on one momentum per parameter: it goes without training.adam")


def _check_variational(config: RunConfig) -> None:
    method = config.method
    if not method.variational.enabled:
        return
    if method.update == "sign":
        raise ConfigError(
            "method.variational weighs the data's gradients against the prior's, and signs have no weight: "
            'method.update must be sgd, got "sign"'
        )
    if method.update == "psg":
        raise ConfigError(
            "method.variational learns deviations from whole gradients, which sign prediction leaves out: "
            'method.update must be sgd, got "psg"'
        )
    others = {
        "method.exits": method.exits.count > 0,
        "method.low_bit_weights": method.low_bit_weights.kind != "off",
        "method.neuron_selection": method.neuron_selection.method != "off",
        "method.early_bird": method.early_bird.ratio > 0,
        "method.growing": method.growing.kind != "off",
    }
    if wrong := [name for name, on in others.items() if on]:
        raise ConfigError(f"method.variational learns a deviation of every weight: it goes without {wrong[0]}")


def _check_kinds(config: RunConfig) -> None:
    """Layers whose weights are no plain numbers have no variational form; adder layers need an integer engine."""
    kinds = sorted({conv.kind for conv in _convolutions(config.model.name)} - {"linear"})
    if kinds and config.method.variational.enabled:
        raise ConfigError(
            f"method.variational learns deviations of weights: model {config.model.name} has {kinds[0]} layers"
        )
    if config.engine != "float32":
        return
    if "adder" in kinds:
        raise ConfigError(
            f'engine "float32" does not compute adder layers, which model {config.model.name} has: PyTorch has no '
            "convolution of distances; use an integer engine"
        )


def _check_distillation(config: RunConfig) -> None:
    distillation = config.method.distillation
    if not distillation.teacher:
        return
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


def _check_exits(config: RunConfig) -> None:
    """Exits sit on residual blocks, and are trained with the whole network."""
    count = config.method.exits.count
    if not count:
        return
    blocks = sum(isinstance(layer, Residual) for layer in _layers(config.model.name))
    if count >= blocks:
        raise ConfigError(
            f"method.exits.count {count} needs at least {count + 1} residual blocks, model "
            f"{config.model.name} has {blocks}"
        )
    if config.training.layers == "head":
        raise ConfigError('training.layers "head" trains the last classifier alone: it goes without method.exits')
    if config.method.growing.kind == "depth":
        raise ConfigError('method.growing.kind "depth" moves the blocks that method.exits reads: use one of them')


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
