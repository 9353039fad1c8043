"""Parts of a network: fewer residual blocks, fewer inner channels, and what the parameters of such a part are.

A `Structure` names what of a whole network there is. Blocks' inputs and outputs keep their channels, so that every
shortcut still fits: only channels between two convolutions of a body can be missing. A depthwise convolution has
the channels of the one before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from joulebit.nn.graph import Conv, ConvPlan, Layer, Model, NetworkPlan, Residual, ResidualPlan

Int64Array = NDArray[np.int64]
Parameter = tuple[NDArray[np.int32], NDArray[np.int64]]  #: masters and momentum, of one shape


@dataclass(frozen=True)
class Snapshot:
    """All that a network has learnt.

    parameters: by name (`joulebit.nn.init.parameter_shapes`; gates by their own names). exponents: the states of a
    convolution's exponents and range (the last one), int64, by its name; head: that of the classifier.
    """

    parameters: dict[str, Parameter]
    exponents: dict[str, Int64Array]
    head: Int64Array


@dataclass(frozen=True, eq=False)
class Structure:
    """What there is of a whole network.

    blocks: its residual blocks that are kept, by index, ascending. channels: the output channels that a
    convolution keeps, ascending int64, by its name; those not named keep all.
    """

    blocks: tuple[int, ...]
    channels: Mapping[str, Int64Array]

    @classmethod
    def whole(cls, plan: NetworkPlan) -> Structure:
        """All of a network."""
        return cls(tuple(block.index for block in plan.blocks()), {})


def inner_groups(block: ResidualPlan) -> list[tuple[ConvPlan, ...]]:
    """Convolutions of a body that share inner channels: one, and the depthwise ones that follow it.

    Raises:
        ValueError: the body has another convolution with groups, whose channels cannot be left out one by one.
    """
    groups: list[tuple[ConvPlan, ...]] = []
    for conv in block.body:
        count = conv.geometry.groups
        if count == 1:
            groups.append((conv,))
        elif count == conv.in_shape[2] == conv.out_shape[2]:
            if groups:
                groups[-1] = (*groups[-1], conv)
        else:
            raise ValueError(
                f"{conv.name} has {count} groups: channels of whole and of depthwise convolutions alone are free"
            )
    return [group for group in groups if group[-1] is not block.body[-1]]


def part_of_model(plan: NetworkPlan, structure: Structure) -> Model:
    """The description of the part."""
    blocks = iter(plan.blocks())
    layers: list[Layer] = []
    for layer in plan.model.layers:
        if not isinstance(layer, Residual):
            layers.append(layer)
            continue
        block = next(blocks)
        if block.index in structure.blocks:
            layers.append(replace(layer, body=tuple(map(_narrowed(structure), layer.body, block.body))))
    return replace(plan.model, layers=tuple(layers))


def _narrowed(structure: Structure) -> Any:
    def narrowed(conv: Conv, plan: ConvPlan) -> Conv:
        kept = structure.channels.get(plan.name)
        if kept is None:
            return conv
        groups = 0 if plan.geometry.groups > 1 else 1  # 0: depthwise, whatever the number of channels
        return replace(conv, channels=len(kept), groups=groups)

    return narrowed


@dataclass(frozen=True)
class _Place:
    """One convolution of the part within the whole network."""

    whole: ConvPlan
    name: str  #: in the part
    inputs: Int64Array  #: kept entries of the weights' third dimension
    outputs: Int64Array  #: kept output channels


def _places(plan: NetworkPlan, structure: Structure, part: NetworkPlan) -> list[_Place]:
    found: list[tuple[ConvPlan, Int64Array, Int64Array]] = []

    def add(conv: ConvPlan, entering: Int64Array | None) -> Int64Array | None:
        depth, count = conv.weight_shape[2:]
        inputs = np.arange(depth) if entering is None or conv.geometry.groups > 1 else entering
        kept = structure.channels.get(conv.name)
        found.append((conv, inputs, np.arange(count) if kept is None else kept))
        return kept

    for node in plan.nodes:
        if isinstance(node, ConvPlan):
            add(node, None)
        elif isinstance(node, ResidualPlan) and node.index in structure.blocks:
            entering: Int64Array | None = None
            for conv in node.body:
                entering = add(conv, entering)
            if node.projection:
                add(node.projection, None)
    names = [conv.name for conv in part.convs()]
    return [
        _Place(conv, name, inputs, outputs) for (conv, inputs, outputs), name in zip(found, names, strict=True)
    ]


def _others(plan: NetworkPlan, structure: Structure, names: Mapping[str, Any]) -> dict[str, str]:
    """Parameters that belong to no convolution: the name in the part, and in the whole network."""
    number = {index: position for position, index in enumerate(structure.blocks)}
    convs = {conv.name for conv in plan.convs()}
    found = {}
    for name in names:
        owner, _, kind = name.rpartition(".")
        if owner in convs:
            continue
        if owner.startswith("gate") and owner[4:].isdigit():
            if int(owner[4:]) in number:
                found[f"gate{number[int(owner[4:])]}.{kind}"] = name
        else:
            found[name] = name
    return found


def cut(whole: Snapshot, plan: NetworkPlan, structure: Structure, part: NetworkPlan) -> Snapshot:
    """The part's share of a whole network's snapshot."""
    parameters: dict[str, Parameter] = {}
    exponents = {}
    for place in _places(plan, structure, part):
        exponents[place.name] = whole.exponents[place.whole.name]
        for kind, where in _kinds(place, whole.parameters):
            master, momentum = whole.parameters[f"{place.whole.name}.{kind}"]
            parameters[f"{place.name}.{kind}"] = (master[where], momentum[where])
    for name, old in _others(plan, structure, whole.parameters).items():
        parameters[name] = whole.parameters[old]
    return Snapshot(parameters, exponents, whole.head)


def put(own: Snapshot, whole: Snapshot, plan: NetworkPlan, structure: Structure, part: NetworkPlan) -> Snapshot:
    """The whole network's snapshot with the part's own values in their places."""
    parameters = {name: (master.copy(), momentum.copy()) for name, (master, momentum) in whole.parameters.items()}
    exponents = dict(whole.exponents)
    for place in _places(plan, structure, part):
        exponents[place.whole.name] = own.exponents[place.name]
        for kind, where in _kinds(place, whole.parameters):
            target, values = parameters[f"{place.whole.name}.{kind}"], own.parameters[f"{place.name}.{kind}"]
            target[0][where], target[1][where] = values
    for name, old in _others(plan, structure, whole.parameters).items():
        parameters[old] = own.parameters[name]
    return Snapshot(parameters, exponents, own.head)


def _kinds(place: _Place, names: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The parameters of a convolution, and which of their elements the part has."""
    height, width = place.whole.weight_shape[:2]
    grid = np.ix_(np.arange(height), np.arange(width), place.inputs, place.outputs)
    found: list[tuple[str, Any]] = [("weight", grid)]
    for kind in ("gamma", "beta", "bias"):
        if f"{place.whole.name}.{kind}" in names:
            found.append((kind, place.outputs))
    return found
