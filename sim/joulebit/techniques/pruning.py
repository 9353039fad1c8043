"""Pruning at initialisation: which weights of the convolutions stay 0 for the whole run.

    snip      the largest |w * dL/dw| stay, over all layers, from one batch. Source: N. Lee, T. Ajanthan, P. Torr,
              "SNIP: Single-shot network pruning based on connection sensitivity", ICLR 2019, equation (6).
    synflow   the largest |w * dR/dw| stay, where R is what the network of the |w| gives for an input of ones; in
              rounds, each of which keeps a larger share of what is left. Source: H. Tanaka et al., "Pruning neural
              networks without any data by iteratively conserving synaptic flow", NeurIPS 2020, algorithm 1.
    random    a share of each layer: the same everywhere (uniform), or larger in smaller layers (erk). Source:
              S. Liu et al., "The unreasonable effectiveness of random pruning", ICLR 2022; the shares of Evci et
              al., "Rigging the lottery", ICML 2020, section 3.

The classifier, biases and batch norm are not pruned. K = N - floor(sparsity * N) of the N weights stay; equal
scores stay in the order of the network. All of it is integer arithmetic, or single roundings that IEEE 754
defines, so that every engine keeps the same weights:

**snip**: |w| * |dw| of the quantised weight and of the exact gradient is an integer below 2^63; it is rounded
once, to 53 bits, and scaled by the power of two that its exponents are.

**synflow**: a = RND(|m|, 12) of the masters (Q.16). The flow of a convolution's channels is F_out = sum of
a * F_in over the kernel and the inputs of the group, as if the image had no border; a block adds its shortcut's. A
flow is kept as 24-bit integers and one exponent, RND by the shift that brings its largest below 2^24. The backward
flow B is the same from the classifier's |w|, downwards. The score a * F_in * B_out is (a * F_in), below 2^43 and
exact, times B_out, rounded once to 53 bits. Batch norm is left out, as its gamma is 1 at the beginning. Round r of
n keeps floor of N * (K / N)^(r / n) weights, by exact integers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import floor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from joulebit.fixed.philox import Purpose, uniform_bits
from joulebit.nn.graph import ConvPlan, NetworkPlan
from joulebit.techniques.synaptic_flow import synaptic_flow_scores

METHODS = ("off", "snip", "synflow", "random")
DISTRIBUTIONS = ("erk", "uniform")

Masks = dict[str, NDArray[np.bool_]]  #: True where a weight stays, by the name of the convolution
Scores = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Pruning:
    """How a run prunes before its first step."""

    method: str
    sparsity: float  #: share of the convolutions' weights that are pruned, 0..1 without 1
    rounds: int = 100  #: of synflow
    distribution: str = "erk"  #: of random

    def kept(self, weights: int) -> int:
        """How many of so many weights stay."""
        return weights - floor(Fraction(str(self.sparsity)) * weights)

    def random_masks(self, plan: NetworkPlan, seed: int) -> Masks:
        """For method random: the first ones of each layer in a random order stay."""
        convs = list(plan.convs())
        sizes = [_size(conv) for conv in convs]
        shares = layer_shares(convs, self.kept(sum(sizes)), self.distribution)
        masks = {}
        for conv, share in zip(convs, shares):
            words = uniform_bits(seed, Purpose.PRUNING, conv.index, 0, np.arange(_size(conv)))
            chosen = np.zeros(_size(conv), np.bool_)
            chosen[np.argsort(words, kind="stable")[:share]] = True
            masks[conv.name] = chosen.reshape(conv.weight_shape)
        return masks

    def snip_masks(
        self,
        weights: Mapping[str, tuple[NDArray[Any], int]],
        gradients: Mapping[str, tuple[NDArray[np.int64], int]],
    ) -> Masks:
        """For method snip: integers and exponents of the weights and of their gradients, by layer in order."""
        scores: Scores = {}
        for name, (w, w_exponent) in weights.items():
            gradient, exponent = gradients[name]
            product = np.abs(w.astype(np.int64)) * np.abs(gradient)
            scores[name] = np.ldexp(product.astype(np.float64), w_exponent + exponent)
        return largest(scores, self.kept(sum(score.size for score in scores.values())))

    def synflow_masks(self, plan: NetworkPlan, masters: Mapping[str, NDArray[np.int32]]) -> Masks:
        """For method synflow: the masters of all weights, the classifier's among them, by name."""
        names = [conv.name for conv in plan.convs()]
        masks: Masks = {name: np.ones(masters[f"{name}.weight"].shape, np.bool_) for name in names}
        total = sum(mask.size for mask in masks.values())
        for number in range(1, self.rounds + 1):
            scores = synaptic_flow_scores(plan, masters, masks)
            masks = largest(scores, geometric(total, self.kept(total), number, self.rounds), masks)
        return masks


def largest(scores: Scores, count: int, among: Masks | None = None) -> Masks:
    """The `count` largest scores of all layers together, those of `among` first; equal ones in order."""
    flat = np.concatenate([score.reshape(-1) for score in scores.values()])
    if among is not None:
        allowed = np.concatenate([among[name].reshape(-1) for name in scores])
        flat = np.where(allowed, flat, -1.0)
    chosen = np.zeros(flat.size, np.bool_)
    if count:
        limit = np.partition(flat, flat.size - count)[flat.size - count]
        chosen = flat > limit
        chosen[np.flatnonzero(flat == limit)[: count - int(chosen.sum())]] = True
    masks, position = {}, 0
    for name, score in scores.items():
        masks[name] = chosen[position : position + score.size].reshape(score.shape)
        position += score.size
    return masks


def geometric(total: int, kept: int, number: int, rounds: int) -> int:
    """floor(total * (kept / total)^(number / rounds)), exactly."""
    # c^rounds * total^number <= total^rounds * kept^number, by bisection
    bound = total**rounds * kept**number
    low, high = kept, total
    while low < high:
        middle = (low + high + 1) // 2
        if middle**rounds * total**number <= bound:
            low = middle
        else:
            high = middle - 1
    return low


def layer_shares(convs: list[ConvPlan], kept: int, distribution: str) -> list[int]:
    """Weights that stay in each layer, `kept` in all; the largest remainders get what rounding leaves.

    uniform: in proportion to the layer's weights. erk: in proportion to k_h + k_w + c_in + c_out (of a group's
    inputs), but never more than all of a layer.
    """
    sizes = [_size(conv) for conv in convs]
    if distribution == "uniform":
        exact = [Fraction(kept * size, sum(sizes)) for size in sizes]
    else:
        exact = _erk([sum(conv.weight_shape) for conv in convs], sizes, kept)
    shares = [floor(share) for share in exact]
    order = sorted(range(len(convs)), key=lambda i: (shares[i] - exact[i], i))
    for i in order[: kept - sum(shares)]:
        shares[i] += 1
    return shares


def _erk(raw: list[int], sizes: list[int], kept: int) -> list[Fraction]:
    full: set[int] = set()
    while True:
        free = [i for i in range(len(sizes)) if i not in full]
        rest = kept - sum(sizes[i] for i in full)
        scale = Fraction(rest, sum(raw[i] for i in free)) if free else Fraction(0)
        beyond = [i for i in free if scale * raw[i] > sizes[i]]
        if not beyond:
            return [Fraction(sizes[i]) if i in full else scale * raw[i] for i in range(len(sizes))]
        full.update(beyond)


def _size(conv: ConvPlan) -> int:
    kernel_h, kernel_w, c_in, c_out = conv.weight_shape
    return kernel_h * kernel_w * c_in * c_out
