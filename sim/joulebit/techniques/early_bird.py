"""Early-bird tickets: channels of small scale are left out as soon as it is clear which ones they will be.

After every epoch the free channels of the network (between two convolutions of a residual body; inputs and outputs
of blocks keep theirs, so that every shortcut still fits) are ranked by |gamma| of their batch norm, all layers
together, and the lowest share is marked. When the marks have hardly moved for some epochs, the ticket is drawn:
the network really loses those channels, and trains on smaller.

    mask distance   marks that differ between two epochs / free channels
    ticket          the last `window` distances are at most `distance`; at the latest after the share `until` of
                    the run, with the marks of then

Equal scales stay in network order, and every layer keeps at least its largest. A depthwise convolution shares the
channels of the one before it; the smaller of their |gamma| counts. Scales are compared as the integers of their
masters, so that all engines draw the same ticket. No penalty on gamma is added.

Source: H. You et al., "Drawing early-bird tickets: toward more efficient training of deep networks", ICLR 2020,
algorithm 1; the ranking is that of Z. Liu et al., "Learning efficient convolutional networks through network
slimming", ICCV 2017.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import floor

import numpy as np
from numpy.typing import NDArray

from joulebit.nn.graph import ConvPlan, NetworkPlan
from joulebit.nn.structure import Structure, inner_groups

Mask = NDArray[np.bool_]  #: of all free channels, layer by layer: True stays


@dataclass(frozen=True)
class EarlyBird:
    """ratio: share of the free channels that go; distance, window and until as above."""

    ratio: float
    distance: float = 0.1
    window: int = 5
    until: float = 0.5

    def drawn(self, distances: list[int], channels: int) -> bool:
        """Whether the ticket is there; distances: of the masks, in channels, the last one last."""
        limit = floor(Fraction(str(self.distance)) * channels)
        return len(distances) >= self.window and max(distances[-self.window :]) <= limit


def free_channels(plan: NetworkPlan) -> list[tuple[ConvPlan, ...]]:
    """The groups of convolutions that share free channels, in network order.

    Raises:
        ValueError: there is none, one has no batch norm, or one has groups that are not depthwise.
    """
    groups = [group for block in plan.blocks() for group in inner_groups(block)]
    if not groups:
        raise ValueError(f"{plan.model.name} has no channels inside residual blocks that could be left out")
    for group in groups:
        for conv in group:
            if not conv.norm:
                raise ValueError(f"{conv.name} has no batch norm, whose scales rank the channels")
    return groups


def channel_mask(plan: NetworkPlan, gammas: Mapping[str, NDArray[np.int32]], ratio: float) -> Mask:
    """Which free channels stay, by the masters of all gammas (`<convolution>.gamma`)."""
    groups = free_channels(plan)
    scales = [
        np.min([np.abs(gammas[f"{conv.name}.gamma"].astype(np.int64)) for conv in group], axis=0)
        for group in groups
    ]
    flat = np.concatenate(scales)
    going = floor(Fraction(str(ratio)) * flat.size)
    order = np.lexsort((-np.arange(flat.size), flat))  # the smallest first; of equal ones the last
    mask = np.ones(flat.size, np.bool_)
    mask[order[:going]] = False
    position = 0
    for scale in scales:
        part = mask[position : position + scale.size]
        if not part.any():
            part[int(np.argmax(scale))] = True
        position += scale.size
    return mask


def structure_of(plan: NetworkPlan, mask: Mask) -> Structure:
    """The network with the channels that stay."""
    channels, position = {}, 0
    for group in free_channels(plan):
        count = group[0].out_shape[2]
        kept = np.flatnonzero(mask[position : position + count])
        channels.update({conv.name: kept for conv in group})
        position += count
    return Structure(Structure.whole(plan).blocks, channels)
