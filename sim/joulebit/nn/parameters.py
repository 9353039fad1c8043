"""Parameters: the convolutions' weights in the engine, all small vectors in flat host arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from joulebit.engine.base import Array, Engine
from joulebit.fixed.adder import EXPONENT, scaled_gradient
from joulebit.fixed.update import LayerUpdate, UpdateRule, update_step
from joulebit.fixed.weights import CLIP, CLIPPED

Int64Array = NDArray[np.int64]


class ConvWeight:
    """Masters, momentum and the quantised weights of one convolution."""

    def __init__(self, name: str, master: NDArray[np.int32], engine: Engine, kind: str = "linear") -> None:
        self.name = name
        self.size = master.size
        self.kind = kind  #: of `joulebit.nn.graph.KINDS`
        self._engine = engine
        self._pending: tuple[Array, int | None, Int64Array | None] | None = None
        self.kept: Array | None = None  #: int32, 1 where a weight may differ from 0; None: everywhere
        self.exponent = 4 - engine.arithmetic.w_bits  #: of w
        self.pruned: Int64Array | None = None  #: pruned weights of each output channel; None: nothing is pruned
        self.load(master, np.zeros(master.shape, np.int64))

    def load(self, master: NDArray[np.int32], momentum: NDArray[np.int64]) -> None:
        self.master = self._engine.from_numpy(master.astype(np.int32, copy=True))
        self.momentum = self._engine.from_numpy(momentum.astype(np.int64, copy=True))
        self.quantise()

    def use(self, engine: Engine) -> None:
        """Compute with another engine of the same kind: w takes its width."""
        self._engine = engine
        self.quantise()

    def quantise(self) -> None:
        """w and its exponent from the masters; pruned weights are 0 whatever their kind."""
        if self.kind == "adder":
            self.quantise_at(self.exponent)
            return
        self.w, self.exponent = self._engine.quantise_weights(self.master, self.kind)
        if self.kind == "binary" and self.kept is not None:
            self.w *= self._engine.from_numpy(self._engine.to_numpy(self.kept).astype(np.int8))

    def quantise_at(self, exponent: int) -> None:
        """w with a given exponent: that of the activations that an adder layer compares it with."""
        self.w, self.exponent = self._engine.quantise_weights_at(self.master, exponent), exponent

    def prune(self, kept: NDArray[np.bool_]) -> None:
        """Weights outside `kept` (bool, shape of the masters) and their momenta are 0 from now on."""
        self.kept = self._engine.from_numpy(kept.astype(np.int32))
        self.pruned = np.asarray((~kept).sum((0, 1, 2)), np.int64)
        self._clear_pruned()
        self.quantise()

    def _clear_pruned(self) -> None:
        if self.kept is not None:
            self.master *= self.kept
            self.momentum *= self.kept

    def set_gradient(self, gradient: Array, exponent: int, channels: Int64Array | None = None) -> None:
        """The sum over the batch: gradient * 2^exponent; of the output channels `channels` alone, None: of all."""
        self._pending = (gradient, exponent, channels)

    def set_direction(self, signs: Array, channels: Int64Array | None = None) -> None:
        """The signs of a sign update."""
        self._pending = (signs, None, channels)

    def pop_gradient(self) -> tuple[Array, int | None] | None:
        """(gradient, exponent) of this step, which then moves nothing; None where there is none."""
        pending, self._pending = self._pending, None
        return None if pending is None else pending[:2]

    def update(self, samples: int, rule: UpdateRule, sign_rule: UpdateRule) -> int:
        """One optimiser step if there is something pending; returns the number of parameters changed."""
        if self._pending is None:
            return 0
        gradient, exponent, channels = self._pending
        self._pending = None
        engine, master, momentum = self._engine, self.master, self.momentum
        if channels is not None:
            master, momentum = (engine.take_channels(whole, channels) for whole in (master, momentum))
        if exponent is None:
            engine.update(master, momentum, gradient, 0, 1, sign_rule)
        elif self.kind == "adder":
            scaled = engine.from_numpy(scaled_gradient(engine.to_numpy(gradient)))
            engine.update(master, momentum, scaled, EXPONENT, 1, rule)
        else:
            engine.update(master, momentum, gradient, exponent, samples, rule)
        if channels is not None:
            self.master = engine.put_channels(self.master, channels, master)
            self.momentum = engine.put_channels(self.momentum, channels, momentum)
        self._clear_pruned()
        if self.kind in CLIPPED:
            engine.limit_masters(self.master, CLIP)
        self.quantise()
        return self.size if channels is None else self.size // self.master.shape[-1] * len(channels)

    def plain_update(self, samples: int, rule: UpdateRule, sign_rule: UpdateRule) -> LayerUpdate | None:
        """What `update` would do, to be done by the caller; None where there is more to it, or nothing pending."""
        if self._pending is None or self._pending[2] is not None or self.kept is not None or self.kind != "linear":
            return None
        gradient, exponent, _ = self._pending
        self._pending = None
        if exponent is None:
            return LayerUpdate(self.master, self.momentum, gradient, 0, 1, sign_rule)
        return LayerUpdate(self.master, self.momentum, gradient, exponent, samples, rule)


def update_all(
    weights: Sequence[ConvWeight], engine: Engine, samples: int, rule: UpdateRule, sign_rule: UpdateRule
) -> list[int]:
    """`ConvWeight.update` of each, those that are nothing but a step at once where the engine can."""
    together: Any = engine if hasattr(type(engine), "update_layers") else None
    changed, waiting = [], []
    for weight in weights:
        step = weight.plain_update(samples, rule, sign_rule) if together else None
        changed.append(weight.update(samples, rule, sign_rule) if step is None else weight.size)
        if step:
            waiting.append((weight, step))
    if waiting:
        updated = together.update_layers([step for _, step in waiting])
        for (weight, _), quantised in zip(waiting, updated):
            weight.w, weight.exponent = quantised
    return changed


class HostParameters:
    """Named small parameters in flat arrays on the host, so that one vectorised update serves them all."""

    def __init__(self, initial: Mapping[str, NDArray[np.int32]]) -> None:
        self._slices: dict[str, slice] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        position = 0
        for name, values in initial.items():
            self._slices[name] = slice(position, position + values.size)
            self._shapes[name] = values.shape
            position += values.size
        self.master = np.zeros(position, np.int32)
        for name, values in initial.items():
            self.master[self._slices[name]] = values.reshape(-1)
        self.momentum = np.zeros(position, np.int64)
        self._gradient = np.zeros(position, np.int64)
        self._exponent = np.zeros(position, np.int64)
        self._touched = np.zeros(position, bool)

    def __iter__(self) -> Iterator[str]:
        return iter(self._slices)

    def view(self, name: str) -> NDArray[np.int32]:
        """The masters called `name`, in their own shape (a view)."""
        return self.master[self._slices[name]].reshape(self._shapes[name])

    def set_gradient(
        self, name: str, gradient: Int64Array, exponent: int | Int64Array, trained: Int64Array | None = None
    ) -> None:
        """The sum over the batch: gradient * 2^exponent; only the elements `trained` move, None: all."""
        where = self._slices[name]
        self._gradient[where] = gradient.reshape(-1)
        self._exponent[where] = exponent
        if trained is None:
            self._touched[where] = True
        else:
            self._touched[where.start + trained] = True

    def gradient(self, name: str) -> tuple[Int64Array, int]:
        """(sum over the batch in the parameter's shape, its exponent) of a gradient that waits for the update."""
        where = self._slices[name]
        return self._gradient[where].reshape(self._shapes[name]), int(self._exponent[where][0])

    def copies(self, name: str) -> tuple[NDArray[np.int32], Int64Array]:
        """Masters and momentum called `name`, in their own shape."""
        where, shape = self._slices[name], self._shapes[name]
        return self.master[where].reshape(shape).copy(), self.momentum[where].reshape(shape).copy()

    def load(self, name: str, master: NDArray[np.int32], momentum: Int64Array) -> None:
        """The reverse of `copies`."""
        where = self._slices[name]
        self.master[where], self.momentum[where] = master.reshape(-1), momentum.reshape(-1)

    def discard_gradients(self) -> None:
        """Nothing moves in this step."""
        self._touched[:] = False

    def update(self, samples: int, rule: UpdateRule, step: Callable[..., None] = update_step) -> int:
        """One optimiser step on all parameters with a gradient; returns their number. step: does it."""
        index: Any = slice(None) if self._touched.all() else np.flatnonzero(self._touched)
        master, momentum = self.master[index], self.momentum[index]
        count = int(master.size)
        if count:
            step(master, momentum, self._gradient[index], self._exponent[index], samples, rule)
            self.master[index], self.momentum[index] = master, momentum
        self._touched[:] = False
        return count
