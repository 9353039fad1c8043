"""Tensors with their exponents, and how they are requantised (specification, sections 1 to 3 and 5).

A tensor is a list of samples, each a flat list in the order row, column, channel.
"""

from __future__ import annotations

from dataclasses import dataclass

from oracle import round_shift, saturate


def bits(value):
    return value.bit_length()


def clog2(n):
    return bits(n - 1)


@dataclass
class Tensor:
    samples: list
    shape: tuple  # height, width, channels
    exponent: int
    activation: str | None = None  # which mask a gradient of it meets
    below: int = 0  # after a ReLU6, the value from which on no gradient passes
    signed: bool = True

    @property
    def size(self):
        return self.shape[0] * self.shape[1] * self.shape[2]

    def like(self, samples, shape=None, exponent=None):
        return Tensor(
            samples,
            shape or self.shape,
            self.exponent if exponent is None else exponent,
            self.activation,
            self.below,
            self.signed,
        )

    def take(self, positions):
        return self.like([self.samples[n] for n in positions])

    def passes(self, value):
        """The mask of section 5."""
        if self.activation is None:
            return True
        return value > 0 and (self.activation == "relu" or value < self.below)

    def masked(self, gradient):
        """gradient (lists of samples) where this activation lets it pass, else 0."""
        return [
            [g if self.passes(a) else 0 for g, a in zip(gradients, values)]
            for gradients, values in zip(gradient, self.samples)
        ]


def peak(samples):
    return max((abs(v) for sample in samples for v in sample), default=0)


@dataclass
class Rounder:
    """RND* of one requantisation."""

    mode: str
    key: int = 0

    def __call__(self, samples, shift):
        """RND* of every element; shift is a number, or one per channel."""
        size = len(samples[0])
        shifts = shift if isinstance(shift, list) else [shift]
        return [
            [
                round_shift(v, shifts[i % len(shifts)], self.mode, self.key, n * size + i)
                for i, v in enumerate(sample)
            ]
            for n, sample in enumerate(samples)
        ]


@dataclass
class Delayed:
    """State b of a tensor with a delayed exponent (section 3)."""

    b: int | None = None

    def shift(self, p, exponent, width):
        if self.b is None:
            if p == 0:
                return 0
            self.b = bits(p) + exponent - 1
        return max(0, self.b + 1 - (width - 1) - exponent)

    def used(self, p, shift, exponent):
        m = round_shift(p, shift)
        if m > 0:
            self.b = bits(m) + exponent + shift

    def requantise(self, samples, exponent, width, rounder):
        """(q, E)."""
        p = peak(samples)
        shift = self.shift(p, exponent, width)
        q = [[saturate(v, width) for v in sample] for sample in rounder(samples, shift)]
        self.used(p, shift, exponent)
        return q, exponent + shift
