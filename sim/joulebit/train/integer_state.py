"""What an integer network has learnt: masters, momenta and exponents, to keep, to move and to bring back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from joulebit.engine.base import Engine
from joulebit.nn.conv import ConvLayer
from joulebit.nn.head import Head
from joulebit.nn.parameters import HostParameters
from joulebit.nn.structure import Parameter, Snapshot
from joulebit.techniques.slu import GatePolicy
from joulebit.train.exits import ExitClassifiers
from joulebit.train.weights import check_same


class IntegerState:
    """The part of an integer network that a checkpoint holds; `IntegerForward` makes its pieces."""

    engine: Engine
    _layers: list[ConvLayer]
    _vectors: HostParameters  #: gamma, beta and biases
    _classifier: HostParameters
    _head: Head
    _gates: GatePolicy | None
    _exits: ExitClassifiers | None

    def weights(self) -> dict[str, NDArray[Any]]:
        """int32 masters (Q3.28) by name, in network order; the gates' last."""
        found: dict[str, NDArray[Any]] = {}
        for layer in self._layers:
            found[layer.weight.name] = self.engine.to_numpy(layer.weight.master)
            for vector in (f"{layer.plan.name}.{kind}" for kind in ("gamma", "beta", "bias")):
                if vector in self._vectors:
                    found[vector] = self._vectors.view(vector)
        found["head.weight"] = self._classifier.view("head.weight")
        found["head.bias"] = self._vectors.view("head.bias")
        for group in self._groups()[2:]:
            found.update({name: group.view(name) for name in group})
        return found

    def load_weights(self, weights: Mapping[str, NDArray[Any]]) -> None:
        """Replace the masters (momentum and exponents stay): an average, or a pre-trained network."""
        own = self.weights()
        check_same(own, weights)
        for layer in self._layers:
            momentum = self.engine.to_numpy(layer.weight.momentum)
            layer.weight.load(np.asarray(weights[layer.weight.name]), momentum)
        for group in self._groups():
            for name in group:
                group.view(name)[...] = weights[name]

    def _groups(self) -> list[HostParameters]:
        groups = [self._vectors, self._classifier]
        groups += [self._gates.gates.parameters] if self._gates else []
        return [*groups, *self._exits.groups] if self._exits else groups

    def state(self) -> dict[str, NDArray[Any]]:
        """Masters, momentum and exponents, as copies."""
        state: dict[str, NDArray[Any]] = {}
        for layer in self._layers:
            state[layer.weight.name] = np.array(self.engine.to_numpy(layer.weight.master))
            state[f"{layer.plan.name}.momentum"] = np.array(self.engine.to_numpy(layer.weight.momentum))
            state[f"{layer.plan.name}.exponents"] = layer.exponents()
        state["head.exponent"] = np.array([self._head.g_exponent.to_int()], np.int64)
        if self._exits:
            state["exits.exponents"] = self._exits.exponents()
        for i, group in enumerate(self._groups()):
            state[f"group{i}.masters"] = group.master.copy()
            state[f"group{i}.momentum"] = group.momentum.copy()
        return state

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """The reverse of `state`; ValueError names what is missing or of another shape."""
        check_same(self.state(), state)
        for layer in self._layers:
            layer.weight.load(state[layer.weight.name], state[f"{layer.plan.name}.momentum"])
            layer.load_exponents(state[f"{layer.plan.name}.exponents"])
        self._head.g_exponent.from_int(int(state["head.exponent"][0]))
        if self._exits:
            self._exits.load_exponents(state["exits.exponents"])
        for i, group in enumerate(self._groups()):
            group.master[...] = state[f"group{i}.masters"]
            group.momentum[...] = state[f"group{i}.momentum"]

    def snapshot(self) -> Snapshot:
        """Masters, momenta and exponents by name, as copies."""
        parameters: dict[str, Parameter] = {}
        for layer in self._layers:
            weight = layer.weight
            pair = [np.array(self.engine.to_numpy(array)) for array in (weight.master, weight.momentum)]
            parameters[weight.name] = (pair[0], pair[1])
        for group in self._groups():
            parameters.update({name: group.copies(name) for name in group})
        exponents = {layer.plan.name: layer.exponents() for layer in self._layers}
        head = [self._head.g_exponent.to_int(), *(self._exits.exponents() if self._exits else ())]
        return Snapshot(parameters, exponents, np.array(head, np.int64))

    def load_snapshot(self, snapshot: Snapshot) -> None:
        """The reverse of `snapshot`; ValueError names what is missing or of another shape."""
        given = {name: master for name, (master, _) in snapshot.parameters.items()}
        check_same(self.weights(), given)
        for layer in self._layers:
            layer.weight.load(*snapshot.parameters[layer.weight.name])
            layer.load_exponents(snapshot.exponents[layer.plan.name])
        self._head.g_exponent.from_int(int(snapshot.head[0]))
        if self._exits:
            self._exits.load_exponents(snapshot.head[1:])
        for group in self._groups():
            for name in group:
                group.load(name, *snapshot.parameters[name])
