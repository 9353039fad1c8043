"""A network whose weights are normal distributions: `joulebit.techniques.variational` on an integer network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from joulebit.engine.base import Engine
from joulebit.fixed.philox import initial_normal
from joulebit.fixed.update import UpdateRule, mean_gradient
from joulebit.nn.context import Pass, Update
from joulebit.nn.graph import NetworkPlan
from joulebit.nn.head import Outcome
from joulebit.nn.loss import probabilities
from joulebit.nn.parameters import HostParameters
from joulebit.nn.workers import Workers
from joulebit.techniques.variational import (
    EVALUATION_DRAW,
    RHO_STREAM,
    Variational,
    deviations,
    epsilon_q24,
    rho_gradient,
    sampled_weights,
)
from joulebit.train.integer import Int64Array, IntegerNetwork, TrainingMethod
from joulebit.train.network import Batch
from joulebit.train.weight_samples import count_samples

_HEAD = "head.weight"
_RHO = ".rho"


class VariationalNetwork(IntegerNetwork):
    """`IntegerNetwork` whose weights (of convolutions, dense layers and the classifier) are sampled in every step.

    The masters are the means. Each weight tensor NAME has rho in the parameter NAME.rho, of its shape.

    Args:
        variational: what to do.
        training_samples: N, by which the divergence's weight is divided.
        The others: as for IntegerNetwork; the method's weight_decay is replaced by the prior's.

    Raises:
        ValueError: the method's update is not sgd, or the divergence's weight is too large for N.
    """

    def __init__(
        self,
        plan: NetworkPlan,
        engine: Engine,
        seed: int,
        method: TrainingMethod,
        workers: Workers | None,
        summing: Engine | None,
        variational: Variational,
        training_samples: int,
    ) -> None:
        if method.update is not Update.SGD:
            raise ValueError(f"variational weights need gradients: update must be sgd, got {method.update.value}")
        self._variational = variational
        self._kl_q40 = variational.kl_q40(training_samples)
        super().__init__(plan, engine, seed, method, workers, summing)
        self._rho = HostParameters(self._initial_rho())
        self._epsilon: dict[str, Int64Array] = {}  # of this step, by name of the weights
        self._ensemble: list[list[Any]] = []  # per sample of evaluation: what each layer and the classifier use

    def _initial_rho(self) -> dict[str, NDArray[np.int32]]:
        policy, found = self._variational, {}
        for stream, (name, mean) in enumerate(self._means().items()):
            deviation = round(policy.rho_deviation * (1 << 30))
            spread = initial_normal(self.seed, RHO_STREAM + stream, mean.size, deviation).astype(np.int64)
            rho = spread + round(policy.rho_mean * (1 << 28))
            found[name + _RHO] = np.clip(rho, -(2**31 - 1), 2**31 - 1).astype(np.int32).reshape(mean.shape)
        return found

    def _means(self) -> dict[str, NDArray[np.int32]]:
        """The masters of all weights by name, in network order; those of the classifier are a view."""
        found = {layer.weight.name: self.engine.to_numpy(layer.weight.master) for layer in self._layers}
        return {**found, _HEAD: self._classifier.view(_HEAD)}

    # --- samples -------------------------------------------------------------------------------------

    def _sample(self, step: int) -> dict[str, NDArray[np.int32]]:
        """A sample of all weights, Q.28; remembers its epsilon."""
        found = {}
        for stream, (name, mean) in enumerate(self._means().items()):
            epsilon = epsilon_q24(self.seed, step, stream, mean.size).reshape(mean.shape)
            sigma, _ = deviations(self._rho.view(name + _RHO))
            found[name] = sampled_weights(mean, sigma, epsilon)
            self._epsilon[name] = epsilon
        return found

    def _use(self, weights: Mapping[str, NDArray[np.int32]]) -> None:
        """Compute with these weights; the convolutions' masters stay, the classifier's are replaced."""
        for layer in self._layers:
            weight = layer.weight
            sample = self.engine.from_numpy(np.ascontiguousarray(weights[weight.name]))
            if weight.kept is not None:
                sample *= weight.kept
            weight.w, weight.exponent = self.engine.quantise_weights(sample, weight.kind)
        self._classifier.view(_HEAD)[...] = weights[_HEAD]

    def _use_means(self, head: NDArray[np.int32]) -> None:
        for layer in self._layers:
            layer.weight.quantise()
        self._classifier.view(_HEAD)[...] = head

    # --- training ------------------------------------------------------------------------------------

    def _gradients(self, batch: Batch, saliency: bool = False) -> tuple[Pass, Outcome, int]:
        head = self._classifier.view(_HEAD).copy()
        self._use(self._sample(batch.step))
        count_samples(self._accountant, self._rho.master.size, training=True)
        try:
            return super()._gradients(batch, saliency)
        finally:
            self._use_means(head)

    def _update(self, samples: int, learning_rate: float, sign_learning_rate: float) -> None:
        policy = self._variational
        for layer in self._layers:
            pending = layer.weight.pop_gradient()
            if pending is not None and pending[1] is not None:
                layer.weight.set_gradient(pending[0], pending[1])
                gradient = np.asarray(self.engine.to_numpy(pending[0]), np.int64)
                self._set_rho_gradient(layer.weight.name, gradient, pending[1], samples)
        self._set_rho_gradient(_HEAD, *self._classifier.gradient(_HEAD), samples)
        super()._update(samples, learning_rate, sign_learning_rate)
        rate = min(2.0, learning_rate * policy.rho_rate)
        rule = UpdateRule(round(rate * (1 << 20)), round(self.method.momentum * (1 << 15)), 0)
        self._accountant.update(self._rho.update(1, rule))

    def _set_rho_gradient(self, name: str, gradient: Int64Array, exponent: int, samples: int) -> None:
        found = rho_gradient(
            mean_gradient(gradient, exponent, samples),
            self._epsilon[name],
            self._rho.view(name + _RHO),
            self._kl_q40,
            self._variational.precision_q24,
        )
        self._rho.set_gradient(name + _RHO, found, -28)

    # --- evaluation ----------------------------------------------------------------------------------

    def prepare_evaluation(self, images: NDArray[np.uint8], costs: bool = False) -> None:
        """As in `IntegerNetwork`, and for each sample of evaluation."""
        self._ensemble = []
        head = self._classifier.view(_HEAD).copy()
        for draw in range(self._variational.evaluation_samples):
            self._use(self._sample(EVALUATION_DRAW - draw))
            super().prepare_evaluation(images, costs)
            if costs:
                count_samples(self._accountant, self._rho.master.size, training=False)
            used = [(layer.weight.w, layer.weight.exponent, layer.evaluation_constants) for layer in self._layers]
            self._ensemble.append([*used, self._classifier.view(_HEAD).copy()])
            self._use_means(head)
        super().prepare_evaluation(images, costs)

    def sample_losses(
        self,
        images: NDArray[np.uint8],
        labels: Int64Array,
        statistics: NDArray[np.uint8],
        batch_size: int = 500,
    ) -> Int64Array:
        """As in `IntegerNetwork`, with the means as weights."""
        self._ensemble = []
        return super().sample_losses(images, labels, statistics, batch_size)

    def _all_logits(self, images: NDArray[np.uint8], costs: bool = False) -> tuple[Int64Array, int]:
        """Of the means; or, with samples of evaluation, the sums of their probabilities (Q.15)."""
        if not self._ensemble:
            return super()._all_logits(images, costs)
        head = self._classifier.view(_HEAD).copy()
        means = [layer.evaluation_constants for layer in self._layers]
        total: Int64Array = np.zeros((len(images), self.plan.head.classes), np.int64)
        for *layers, classifier in self._ensemble:
            for layer, (w, exponent, constants) in zip(self._layers, layers):
                layer.weight.w, layer.weight.exponent = w, exponent
                layer.evaluation_constants = constants
            self._classifier.view(_HEAD)[...] = classifier
            total += probabilities(*super()._all_logits(images, costs))
        self._use_means(head)
        for layer, constants in zip(self._layers, means):
            layer.evaluation_constants = constants
        return total, -15

    # --- state ---------------------------------------------------------------------------------------

    def _groups(self) -> list[HostParameters]:
        return [*super()._groups(), self._rho]
