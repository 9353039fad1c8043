"""The Bayesian twin in float32: `joulebit.techniques.variational` by autograd, with SGD or Adam."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from joulebit.fixed.arithmetic import MASTER_FRACTION_BITS
from joulebit.fixed.philox import initial_normal
from joulebit.nn.graph import ConvPlan, NetworkPlan
from joulebit.techniques.variational import EVALUATION_DRAW, RHO_STREAM, Variational
from joulebit.train.float32 import Float32Method
from joulebit.train.float32_techniques import Float32TechniqueNetwork
from joulebit.train.float32_update import Rule
from joulebit.train.network import Batch, StepResult
from joulebit.train.weight_samples import count_samples

_RHO = ".rho"
_SEED_STEP = 1 << 32


class VariationalFloat32Network(Float32TechniqueNetwork):
    """`Float32TechniqueNetwork` whose weights (of convolutions, dense layers and the classifier) are sampled.

    The weights are the means. Each weight tensor NAME has rho in the parameter NAME.rho; both begin as those of
    the integer twin. Every step draws all weights once, by a generator that seed and step determine. With SGD the
    rate of rho is rho_rate times the others' (at most 2); Adam has one rate, as it scales by itself.

    Args:
        plan, seed, method: as for Float32Network; the method's weight_decay is 0, as the prior is in the loss.
        variational: what to do.
        training_samples: N, by which the divergence's weight is divided.
    """

    def __init__(
        self, plan: NetworkPlan, seed: int, method: Float32Method, variational: Variational, training_samples: int
    ) -> None:
        super().__init__(plan, seed, method)
        self._variational, self._samples = variational, training_samples
        self._drawn: dict[str, Any] = {}  # epsilon of this pass, by the weights' name; empty: use the means
        self._ensemble: list[dict[str, tuple[Any, Any]]] = []  # statistics of each sample of evaluation
        self._names = [name for name in self._parameters if name.endswith(".weight")]
        deviation = round(variational.rho_deviation * (1 << 30))
        for stream, name in enumerate(self._names):
            shape = self.weights()[name].shape
            spread = initial_normal(seed, RHO_STREAM + stream, int(np.prod(shape)), deviation).reshape(shape)
            rho = np.ldexp(spread.astype(np.float64), -MASTER_FRACTION_BITS) + variational.rho_mean
            self._conv_weights |= {name + _RHO} if name in self._conv_weights else set()
            self._add_parameter(name + _RHO, rho)

    # --- samples ---------------------------------------------------------------------------------------

    @contextmanager
    def _sampled(self, step: int) -> Iterator[None]:
        """Compute with one sample of all weights."""
        generator = torch.Generator().manual_seed((self.seed * _SEED_STEP + step) % (1 << 63))
        for name in self._names:
            shape = self._parameters[name].shape
            self._drawn[name] = torch.randn(shape, generator=generator).to(self._device)
        try:
            yield
        finally:
            self._drawn = {}

    def _value(self, name: str) -> Any:
        mean = self._parameters[name]
        if not self._drawn:
            return mean
        return mean + F.softplus(self._parameters[name + _RHO]) * self._drawn[name]

    def _weight(self, conv: ConvPlan) -> Any:
        value = self._value(f"{conv.name}.weight")
        return value * self._kept[conv.name] if conv.name in self._kept else value

    def _classifier(self) -> Any:
        return self._value("head.weight")

    # --- training --------------------------------------------------------------------------------------

    def train_step(self, batch: Batch, learning_rate: float, sign_learning_rate: float) -> StepResult:
        """Forward, backward and update with one sample of the weights."""
        count_samples(self._accountant, self._weights_sampled, training=True)
        with self._sampled(batch.step):
            return super().train_step(batch, learning_rate, sign_learning_rate)

    @property
    def _weights_sampled(self) -> int:
        return sum(self._parameters[name].numel() for name in self._names)

    def _objective(self, loss: Any, logits: Any, labels: Any, batch: Batch) -> Any:
        return super()._objective(loss, logits, labels, batch) + self._divergence()

    def _divergence(self) -> Any:
        """kl_weight / N times the divergence of the posterior from the prior."""
        policy = self._variational
        precision = 1 / policy.prior_deviation**2
        total = torch.zeros((), device=self._device)
        for name in self._names:
            mean, sigma = self._parameters[name], F.softplus(self._parameters[name + _RHO])
            total = total + ((sigma**2 + mean**2) * (precision / 2) - sigma.log()).sum()
        return policy.kl_weight / self._samples * total  # less a constant

    def _rule(self, name: str, gradient: Any, learning_rate: float, sign_learning_rate: float) -> Rule:
        rule = super()._rule(name, gradient, learning_rate, sign_learning_rate)
        if name.endswith(_RHO) and self.method.adam is None:
            rule = rule._replace(rate=min(2.0, learning_rate * self._variational.rho_rate))
        return rule

    # --- evaluation ------------------------------------------------------------------------------------

    def prepare_evaluation(self, images: NDArray[np.uint8], costs: bool = False) -> None:
        """As in `Float32Network`, and for each sample of evaluation."""
        self._ensemble = []
        for draw in range(self._variational.evaluation_samples):
            with self._sampled(EVALUATION_DRAW - draw):
                super().prepare_evaluation(images, costs)
            if costs:
                count_samples(self._accountant, self._weights_sampled, training=False)
            self._ensemble.append(dict(self._statistics))
        super().prepare_evaluation(images, costs)

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Of the means; or, with samples of evaluation, the logarithms of their mean probabilities."""
        if not self._ensemble:
            return super().logits(images)
        means, total = self._statistics, torch.zeros(())
        for draw, statistics in enumerate(self._ensemble):
            self._statistics = statistics
            with self._sampled(EVALUATION_DRAW - draw):
                total = total + F.softmax(torch.tensor(super().logits(images)), 1)
        self._statistics = means
        found: NDArray[np.float32] = (total / len(self._ensemble)).log().numpy()
        return found
