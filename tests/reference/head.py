"""The classifier and the loss (specification, section 4)."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal, localcontext
from functools import cache
from math import isqrt

from oracle import mix64, round_shift, saturate

from reference.parameters import Parameter
from reference.random_numbers import initial_weights
from reference.tensors import Delayed, Rounder, clog2

HEAD = 2**20  # the number of the classifier in keys of rounding


@dataclass
class Head:
    """The classifier and the loss (section 4)."""

    plan: object
    fmt: object
    seed: int
    index: int  # the number after the last convolution
    g: Delayed = field(default_factory=Delayed)

    def __post_init__(self):
        features, classes = self.plan.features, self.plan.classes
        deviation = isqrt(2**60 // (3 * features))
        self.weight = Parameter(initial_weights(self.seed, self.index, classes * features, deviation))
        self.bias = Parameter([0] * classes)

    def spatial_bits(self):
        return clog2(self.plan.in_shape[0] * self.plan.in_shape[1]) if self.plan.pooled else 0

    def forward(self, a):
        """(logits, their exponent)."""
        features = self.plan.features
        if self.plan.pooled:
            self.inputs = [[sum(sample[c::features]) for c in range(features)] for sample in a.samples]
        else:
            self.inputs = a.samples
        self.input_exponent = a.exponent - self.spatial_bits()
        w, e_w = self.weight.weights(self.fmt.w_bits)
        self.a, exponent = a, self.input_exponent + e_w
        logits = [
            [
                sum(p * w[k * features + i] for i, p in enumerate(values)) + round_shift(b, 28 + exponent)
                for k, b in enumerate(self.bias.master)
            ]
            for values in self.inputs
        ]
        return logits, exponent

    def backward(self, g, exponent, run, wanted=True):
        """Gradient of the last activation; leaves those of the classifier."""
        features, classes = self.plan.features, self.plan.classes
        self.bias.gradient = ([sum(row[k] for row in g) for k in range(classes)], exponent)
        self.weight.gradient = (
            [
                sum(row[k] * p[i] for row, p in zip(g, self.inputs))
                for k in range(classes)
                for i in range(features)
            ],
            exponent + self.input_exponent,
        )
        if not wanted:
            return None
        w, e_w = self.weight.weights(self.fmt.w_bits)
        back = [[sum(row[k] * w[k * features + i] for k in range(classes)) for i in range(features)] for row in g]
        if self.plan.pooled:
            back = [row * (self.plan.in_shape[0] * self.plan.in_shape[1]) for row in back]
        key = mix64(run.key, 8 * HEAD + 3)
        samples, exponent = self.g.requantise(
            self.a.masked(back),
            exponent + e_w - self.spatial_bits(),
            self.fmt.g_bits,
            Rounder(self.fmt.rounding, key),
        )
        return self.a.like(samples, exponent=exponent)


@cache
def exponentials():
    """T[k] = round(65536 * 2^(-k/256))."""
    with localcontext() as context:
        context.prec = 60
        return [int((65536 * Decimal(2) ** (Decimal(-k) / 256)).to_integral_value()) for k in range(257)]


def loss_gradient(logits, exponent, label, g_bits):
    """Gradient of the loss of one sample, exponent 1 - g_bits."""
    table, e = exponentials(), []
    for logit in logits:
        d = max(logits) - logit
        t = round_shift(d * 47274, -(exponent + 1), "floor")
        i, f = t >> 16, t & 65535
        mantissa = table[f >> 8] - (((table[f >> 8] - table[(f >> 8) + 1]) * (f & 255) + 128) >> 8)
        e.append(0 if i > 40 else mantissa >> i)
    shares = [(v * 2**16 // sum(e) + 1) >> 1 for v in e]
    return [
        saturate(round_shift(p - (32768 if k == label else 0), 16 - g_bits), g_bits) for k, p in enumerate(shares)
    ]
