"""Growing: a run begins with a part of its network and gets the rest at given points.

    depth   of every stage (blocks of one output size, one after another) the first ceil(share * blocks) are there;
            a block that comes in passes its input on unchanged at first: gamma of its last batch norm is 0
            (without batch norm: its last weights)
    width   of the channels inside every body the first ceil(share * channels) are there; the weights that read a
            channel which comes in are 0 at first, so that what the network computes stays as it is

Apart from these zeros new parameters have the values that they would have had from the beginning, and no momentum.
Old parameters, momenta and exponents go on. A new block's range is at least that of its input, so that nothing is
clamped that was not. (A new channel's weights can be larger than all others in their layer, which then are
quantised anew: that is all that may change.)

Source: the growing class of the survey, after T. Chen, I. Goodfellow, J. Shlens, "Net2Net", ICLR 2016 (function-
preserving growth), and U. Evci et al., "GradMax", ICLR 2022, section 2 (zeros on one side of a new neuron).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil

import numpy as np

from joulebit.nn.graph import ConvPlan, NetworkPlan, ResidualPlan
from joulebit.nn.structure import Snapshot, Structure, inner_groups

KINDS = ("off", "depth", "width")


@dataclass(frozen=True)
class Growing:
    """shares: of the network's depth or width before each point; points: shares of the run at which it grows."""

    kind: str
    shares: tuple[float, ...]
    points: tuple[float, ...]

    def structures(self, plan: NetworkPlan) -> list[Structure]:
        """What there is of the network from the beginning, and after each point; the last one is all of it.

        Raises:
            ValueError: the network has nothing that can grow.
        """
        part = _depth if self.kind == "depth" else _width
        found = [part(plan, Fraction(str(share))) for share in self.shares]
        return [*found, Structure.whole(plan)]


def _depth(plan: NetworkPlan, share: Fraction) -> Structure:
    stages: list[list[ResidualPlan]] = []
    for block in plan.blocks():
        if stages and stages[-1][-1].out_shape == block.out_shape:
            stages[-1].append(block)
        else:
            stages.append([block])
    if all(len(stage) == 1 for stage in stages):
        raise ValueError(f"{plan.model.name} has no stage of several residual blocks that could grow")
    kept = []
    for stage in stages:
        count = ceil(share * len(stage))
        kept += [block.index for i, block in enumerate(stage) if i < count or not _passes_on(block)]
    return Structure(tuple(kept), {})


def _passes_on(block: ResidualPlan) -> bool:
    return block.in_shape == block.out_shape and block.projection is None


def _width(plan: NetworkPlan, share: Fraction) -> Structure:
    channels = {}
    for block in plan.blocks():
        for group in inner_groups(block):
            kept = np.arange(ceil(share * group[0].out_shape[2]))
            channels.update({conv.name: kept for conv in group})
    if not channels:
        raise ValueError(f"{plan.model.name} has no channels inside residual blocks that could grow")
    return Structure(Structure.whole(plan).blocks, channels)


def with_silent_additions(whole: Snapshot, plan: NetworkPlan, before: Structure) -> Snapshot:
    """The whole network's snapshot in which everything that is not in `before` leaves the output as it is."""
    parameters = {name: (master.copy(), momentum.copy()) for name, (master, momentum) in whole.parameters.items()}
    exponents = {name: values.copy() for name, values in whole.exponents.items()}
    reach = 0  # range of the activation that enters a block
    for node in plan.nodes:
        if isinstance(node, ConvPlan):
            reach = int(exponents[node.name][-1])
        if not isinstance(node, ResidualPlan):
            continue
        last = node.body[-1].name
        if node.index in before.blocks:
            for first, second in zip(node.body, node.body[1:]):
                kept = before.channels.get(first.name)
                if kept is not None and second.geometry.groups == 1:
                    new = np.setdiff1d(np.arange(first.out_shape[2]), kept)
                    parameters[f"{second.name}.weight"][0][:, :, new] = 0
        else:
            silent = f"{last}.gamma" if node.body[-1].norm else f"{last}.weight"
            parameters[silent][0][...] = 0
            exponents[last][-1] = max(int(exponents[last][-1]), reach)
        reach = int(exponents[last][-1])
    return Snapshot(parameters, exponents, whole.head)
