"""The updates of float32 parameters: SGD with momentum as in the specification, signs, or Adam."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch

from joulebit.techniques.adam import Adam


class Rule(NamedTuple):
    """How one parameter moves: v = momentum v + (g + decay m); m = m - rate v. Adam has no momentum of its own."""

    rate: float
    momentum: float
    decay: float = 0.0


class Float32Optimiser:
    """Momenta of named parameters, and their updates in place.

    adam: None for SGD.
    """

    def __init__(self, parameters: Mapping[str, Any], adam: Adam | None = None) -> None:
        self._parameters = parameters
        self._adam = adam
        self.momentum: dict[str, Any] = {}
        self._square: dict[str, Any] = {}
        self._steps: dict[str, int] = {}
        for name in parameters:
            self.add(name)

    def add(self, name: str) -> None:
        """A parameter has come."""
        self.momentum[name] = torch.zeros_like(self._parameters[name])
        if self._adam:
            self._square[name] = torch.zeros_like(self._parameters[name])
            self._steps[name] = 0

    def step(self, name: str, gradient: Any, rule: Rule, rows: Any = None) -> int:
        """One update; `gradient` is changed. Returns how many numbers of the parameter moved.

        rows: positions along the first dimension that move, an int64 tensor; None: all.
        """
        parameter, momentum = self._parameters[name], self.momentum[name]
        with torch.no_grad():
            if rows is None:
                self._move(name, parameter, gradient, momentum, self._square.get(name), rule)
                return int(parameter.numel())
            square = self._square[name][rows] if self._adam else None
            part, velocity = parameter[rows], momentum[rows]
            self._move(name, part, gradient[rows], velocity, square, rule)
            parameter[rows], momentum[rows] = part, velocity
            if self._adam:
                self._square[name][rows] = square
            return int(part.numel())

    def _move(self, name: str, parameter: Any, gradient: Any, velocity: Any, square: Any, rule: Rule) -> None:
        if rule.decay:
            gradient.add_(parameter, alpha=rule.decay)
        if self._adam is None:
            velocity.mul_(rule.momentum).add_(gradient)
            parameter.sub_(velocity, alpha=rule.rate)
            return
        adam = self._adam
        self._steps[name] += 1
        count = self._steps[name]
        velocity.lerp_(gradient, 1 - adam.beta1)
        square.mul_(adam.beta2).addcmul_(gradient, gradient, value=1 - adam.beta2)
        root = square.sqrt().div_((1 - adam.beta2**count) ** 0.5).add_(adam.epsilon)
        parameter.addcdiv_(velocity, root, value=-rule.rate / (1 - adam.beta1**count))

    # --- state ---------------------------------------------------------------------------------------

    def tensors(self) -> dict[str, Any]:
        """Tensors of the parameters' shapes, by the parameter's name and what they are."""
        found = {f"{name}.momentum": value for name, value in self.momentum.items()}
        return found | {f"{name}.square": value for name, value in self._square.items()}

    def steps(self) -> list[int]:
        """How often each parameter moved, where Adam asks for it."""
        return list(self._steps.values())

    def load_steps(self, counts: list[int]) -> None:
        """The reverse of `steps`."""
        self._steps = dict(zip(self._steps, counts, strict=True))
