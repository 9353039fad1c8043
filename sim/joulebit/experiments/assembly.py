"""What a run is made of: its data and its network, as the configuration asks for them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from joulebit.data import Dataset, balanced_prefix, load_dataset, stratified_halves
from joulebit.data.folds import apply_split
from joulebit.data.splits import stratified_indices, subset
from joulebit.engine.base import Engine
from joulebit.engine.factory import make_engine
from joulebit.experiments.config import ConfigError, RunConfig
from joulebit.experiments.rundir import read_weights
from joulebit.nn.context import Update
from joulebit.nn.graph import Model, NetworkPlan
from joulebit.nn.models import model
from joulebit.nn.workers import OneWorker, Workers
from joulebit.techniques.low_bit_weights import low_bit_weights
from joulebit.techniques.slu import SelectiveLayerUpdate
from joulebit.techniques.stochastic_depth import StochasticDepth
from joulebit.train.integer import IntegerNetwork, TrainingMethod
from joulebit.train.network import Network

_HOLD_OUT_SEED = 1  # which samples are held out: the same ones in every run
_UNTRAINED = 1 << 30  # samples: no divergence worth counting
_OBSERVE_EVERY = 50  # steps between evaluations of the bound on the predictor's failures


def prepared_data(config: RunConfig, data_dir: Path | None) -> Dataset:
    """The data set of a configuration, with its part and limits applied."""
    loaded = load_dataset(config.data.name, data_dir)
    train, test = apply_split(config.data.split, loaded.train, loaded.test)
    if config.data.part != "all":
        halves = stratified_halves(train, 0)
        train = halves[0 if config.data.part == "first_half" else 1]
    if config.data.train_limit:
        train = balanced_prefix(train, config.data.train_limit)
    if config.data.test_limit:
        test = balanced_prefix(test, config.data.test_limit)
    validation = None
    if config.method.neuron_selection.method != "off":
        wanted = config.method.neuron_selection.validation_samples
        if wanted >= len(train):
            raise ConfigError(
                f"method.neuron_selection.validation_samples must be below the {len(train)} training samples, "
                f"got {wanted}"
            )
        held_out, rest = stratified_indices(train.labels, wanted, _HOLD_OUT_SEED)
        train, validation = subset(train, rest), subset(train, held_out)
    return Dataset(loaded.name, loaded.classes, train, test, loaded.image_shape, validation)


def described_model(config: RunConfig, classes: int) -> Model:
    """The model of a configuration, with the kinds of weights that its method asks for."""
    described = model(config.model.name, classes)
    few = config.method.low_bit_weights
    return low_bit_weights(described, few.kind, few.first_layer) if few.kind != "off" else described


def build_network(
    config: RunConfig, resolved: NetworkPlan, workers: Workers | None = None, training_samples: int | None = None
) -> Network:
    """The network of a configuration, with its initial weights.

    training_samples: of the training set; variational weights divide their divergence by it. None: the network
    will not be trained.
    """
    workers = workers or OneWorker()
    method, training = config.method, config.training
    depth = method.stochastic_depth.final_survival
    common: dict[str, Any] = {
        "momentum": training.momentum,
        "sign_momentum": training.sign_momentum,
        "weight_decay": training.weight_decay,
        "sign_weight_decay": training.sign_weight_decay,
        "head_only": training.layers == "head",
        "stochastic_depth": StochasticDepth(depth) if depth < 1 else None,
    }
    exits = method.exits if method.exits.count else None
    network: Network
    if config.engine == "float32":
        if workers.size > 1:
            raise ConfigError(
                f"engine float32 cannot be trained by {workers.size} workers: its sums would depend on their "
                "number. Start it without torchrun, or choose engine numba, numpy or torch"
            )
        network = _float32(config, resolved, common, training_samples)
    else:
        slu = method.slu
        gates = SelectiveLayerUpdate(slu.target_skip, slu.alpha, slu.gate_learning_rate)
        wide = replace(config.arithmetic, accumulator_bits=48)
        summing = None
        if workers.size > 1 and wide != config.arithmetic:
            summing = make_engine(config.engine, wide, workers.threads)
        rules: dict[str, Any] = {
            "update": Update(method.update),
            "beta": method.beta,
            "slu": gates if slu.target_skip > 0 else None,
            "exits": exits,
            "observe_every": _OBSERVE_EVERY,
            **common,
        }
        engine = make_engine(config.engine, config.arithmetic, workers.threads)
        if method.variational.enabled:
            network = _variational(config, resolved, engine, rules, workers, summing, training_samples)
        else:
            network = IntegerNetwork(resolved, engine, config.seed, TrainingMethod(**rules), workers, summing)
    if training.initial_weights:
        try:
            network.load_weights(read_weights(training.initial_weights))
        except ValueError as error:
            raise ConfigError(f"training.initial_weights {training.initial_weights}: {error}") from None
    return network


def _variational(
    config: RunConfig,
    resolved: NetworkPlan,
    engine: Engine,
    rules: dict[str, Any],
    workers: Workers,
    summing: Engine | None,
    training_samples: int | None,
) -> Network:
    from joulebit.train.variational import VariationalNetwork

    policy = config.method.variational
    samples = _UNTRAINED if training_samples is None else training_samples
    try:
        method = TrainingMethod(**{**rules, "weight_decay": policy.decay(samples)})
        return VariationalNetwork(resolved, engine, config.seed, method, workers, summing, policy, samples)
    except ValueError as error:
        raise ConfigError(f"[method.variational] {error}") from None


def _float32(
    config: RunConfig, resolved: NetworkPlan, common: dict[str, Any], training_samples: int | None
) -> Network:
    from joulebit.train.float32 import Float32Method
    from joulebit.train.float32_techniques import Float32TechniqueNetwork
    from joulebit.train.float32_variational import VariationalFloat32Network

    adam = config.training.adam
    method = Float32Method(
        update=config.method.update,
        weight_bits=config.arithmetic.w_bits,
        adam=adam if adam.enabled else None,
        **common,
    )
    policy = config.method.variational
    if policy.enabled:
        samples = _UNTRAINED if training_samples is None else training_samples
        return VariationalFloat32Network(resolved, config.seed, replace(method, weight_decay=0.0), policy, samples)
    exits = config.method.exits if config.method.exits.count else None
    return Float32TechniqueNetwork(resolved, config.seed, method, exits=exits)
