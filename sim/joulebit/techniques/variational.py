"""Variational weights: every weight has a mean and a deviation, and each step trains with a sample of all weights.

A Bayesian twin of a network learns a normal distribution per weight by variational inference ("Bayes by backprop",
Blundell et al., ICML 2015): w = mu + sigma * epsilon with sigma = ln(1 + exp(rho)), and the loss is

    mean cross-entropy of the batch + kl_weight / N * KL(posterior || prior)

with the N training samples and the prior N(0, prior_deviation^2). Exact gradients, of the sampled weights'
gradient g:

    of mu     g + kl_weight / N * mu / prior_deviation^2                    (the latter is a weight decay)
    of rho    s * (g * epsilon + kl_weight / N * (sigma / prior_deviation^2 - 1 / sigma)),  s = d sigma / d rho

The efficiency framework (Cueto-Mendoza and Kelleher, 2024) compares LeNet-5 with such a twin. Choices where its
text, its configuration (Table 2) and the code behind it leave room or differ from here:

- The text speaks of dropout, the table and code of normal posteriors: the latter is done here. The numbers are the
  table's: prior 0 and 0.1, rho from N(-5, 0.1), kl_weight ("beta") 0.1, one sample per step.
- The code can also sample activations (local reparametrisation), which forms every product twice; here weights are
  sampled, once per step and for the whole batch.
- The means begin as the plain network's weights, so that both twins begin alike; the paper draws them from
  N(0, 0.1).
- Biases, gamma and beta stay plain numbers.
- The paper trains in float32 with Adam (rate 0.001, batch 256), as the float32 engine does with `[training.adam]`
  (the study mnist-adam). **The integer engines train a variant of this project's own, by SGD with momentum**: Adam
  divides every step by a root, for which the specification has no rule. Under SGD rho's gradients are small (s is
  0.0067 at -5), so its rate is a multiple of the other one.
- The paper's softplus is ReLU here.
- Sign updates and sign prediction are refused: signs have no size to weigh against the prior's gradient, and
  predicted signs leave out the gradients that rho learns from.

In the integer engines everything is an integer (spec, section 17): the same samples and updates on all of them,
with any workers. The float32 engine (`joulebit.train.float32_variational`) has the same equations and initial
values, and draws its samples by PyTorch.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, localcontext
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from joulebit.fixed.philox import Purpose, uniform_words
from joulebit.fixed.rounding import saturate, shift_round

Int64Array = NDArray[np.int64]

RHO_STREAM = 1 << 22  #: initial values of rho draw from streams of their own
EVALUATION_DRAW = (1 << 32) - 1  #: the step of evaluation's first sample; the others count down from here
#: Element-wise operations per weight: Philox (10 rounds of two products and two sums), 16 bytes added up,
#: softplus, scale and sum; and the gradient of rho beside drawing epsilon again.
SAMPLE_OPERATIONS = 60
GRADIENT_OPERATIONS = 8

_ENTRIES = 256  # of the softplus table on each side of 0
_STEP_BITS = 23  # Q.28 arguments, one entry every 2^23 (1/32)
_ONE_Q24 = 1 << 24
_BYTES_MEAN = 16 * 255 // 2
#: round(2^24 / deviation) of the sum of 16 uniform bytes, whose variance is 16 (2^16 - 1) / 12.
_PER_DEVIATION = 56756


@dataclass(frozen=True)
class Variational:
    """`[method.variational]` of a configuration."""

    enabled: bool = False
    prior_deviation: float = 0.1  #: of the prior, whose mean is 0; in (0, 8]
    kl_weight: float = 0.1  #: of the divergence, divided by the number of training samples
    rho_mean: float = -5.0  #: of the initial rho, in [-7, 4]
    rho_deviation: float = 0.1  #: of the initial rho, in [0, 0.5]
    rho_rate: float = 16.0  #: learning rate of rho / that of the rest (at most 2 in the end)
    evaluation_samples: int = 0  #: samples whose probabilities are averaged at evaluation; 0 = the means alone

    def __post_init__(self) -> None:
        bounds = {
            "prior_deviation": (2.0**-8, 8.0),
            "kl_weight": (0.0, 16.0),
            "rho_mean": (-7.0, 4.0),
            "rho_deviation": (0.0, 0.5),
            "rho_rate": (0.0, 1024.0),
            "evaluation_samples": (0, 64),
        }
        for name, (low, high) in bounds.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} must be in [{low:g}, {high:g}], got {getattr(self, name)}")

    def decay(self, samples: int) -> float:
        """kl_weight / (N prior_deviation^2): what the prior adds to the means' gradients is a weight decay."""
        return self.kl_weight / (samples * self.prior_deviation**2)

    def kl_q40(self, samples: int) -> int:
        """round(2^40 kl_weight / N); ValueError above 1/16, or where the decay of `decay` is not below 1."""
        if self.kl_weight / samples > 1 / 16 or self.decay(samples) >= 1:
            raise ValueError(
                f"kl_weight {self.kl_weight} is too large for {samples} training samples and a prior_deviation of "
                f"{self.prior_deviation}"
            )
        return round(self.kl_weight * (1 << 40) / samples)

    @property
    def precision_q24(self) -> int:
        """round(2^24 / prior_deviation^2)."""
        return round(_ONE_Q24 / self.prior_deviation**2)


OFF = Variational()


@lru_cache(maxsize=1)
def softplus_table() -> Int64Array:
    """round(2^24 ln(1 + exp(k / 32))), k = -256..256, by decimal arithmetic: the same on every platform."""
    with localcontext() as context:
        context.prec = 40
        values = [(1 + (Decimal(k) / 32).exp()).ln() * _ONE_Q24 for k in range(-_ENTRIES, _ENTRIES + 1)]
        return np.array([int(value.to_integral_value()) for value in values], np.int64)


def deviations(rho: NDArray[np.int32]) -> tuple[Int64Array, Int64Array]:
    """(sigma = ln(1 + exp(rho)), its derivative), both Q.24, of Q.28 masters; linear between 513 points."""
    table = softplus_table()
    wide = rho.astype(np.int64)
    entry = (wide >> _STEP_BITS) + _ENTRIES
    low = table[entry]
    rise = table[entry + 1] - low
    sigma = low + shift_round(rise * (wide & ((1 << _STEP_BITS) - 1)), _STEP_BITS)
    return np.asarray(sigma), np.asarray(rise << 5)


def epsilon_q24(seed: int, step: int, stream: int, count: int) -> Int64Array:
    """`count` nearly normal numbers (mean 0, deviation 1, at most 6.9) in Q.24: sums of the 16 bytes of a block of
    Philox (VARIATIONAL, step, stream, element), less their mean, over their deviation.
    """
    total = np.zeros(count, np.int64)
    for word in uniform_words(seed, Purpose.VARIATIONAL, step, stream, np.arange(count, dtype=np.int64)):
        total += np.ascontiguousarray(word).view(np.uint8).reshape(count, 4).sum(1, dtype=np.int64)
    return (total - _BYTES_MEAN) * _PER_DEVIATION


def sampled_weights(mean: NDArray[np.int32], sigma_q24: Int64Array, epsilon: Int64Array) -> NDArray[np.int32]:
    """mu + sigma * epsilon, Q.28, clamped to 32 bits; all arrays of one shape."""
    return saturate(mean.astype(np.int64) + shift_round(sigma_q24 * epsilon, 20), 32).astype(np.int32)


def rho_gradient(
    gradient_q28: Int64Array, epsilon: Int64Array, rho: NDArray[np.int32], kl_q40: int, precision_q24: int
) -> Int64Array:
    """Gradient of rho, Q.28: see the module's equations.

    Args:
        gradient_q28: of the sampled weights, mean over the batch.
        epsilon: Q.24, of this step's sample.
        rho: Q.28 masters.
        kl_q40, precision_q24: `Variational.kl_q40`, `Variational.precision_q24`.
    """
    sigma, slope = deviations(rho)
    data = shift_round(shift_round(gradient_q28 * (epsilon >> 4), 20) * (slope >> 4), 20)
    narrowing = shift_round(shift_round(slope * sigma, 24) * (precision_q24 >> 8), 16)
    divergence = saturate(shift_round(narrowing - (slope << 24) // sigma, 8), 27)
    return np.asarray(data + shift_round(divergence * kl_q40, 28))
