"""Networks that change their size within a run: early-bird tickets, and growing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from joulebit.errors import JoulebitError
from joulebit.nn.graph import NetworkPlan, plan
from joulebit.nn.structure import Structure, cut, part_of_model, put
from joulebit.techniques.early_bird import EarlyBird, Mask, channel_mask, structure_of
from joulebit.techniques.growing import Growing, with_silent_additions
from joulebit.train.adaptable import Adaptable, adaptable
from joulebit.train.hooks import Hook, Int64Array, Run
from joulebit.train.weights import masters_of


def part_of_plan(whole: NetworkPlan, structure: Structure) -> NetworkPlan:
    """The plan of a part of a network."""
    return plan(part_of_model(whole, structure), whole.image_shape)


def _replaced(run: Run, whole: NetworkPlan, structure: Structure) -> Adaptable:
    """The run's network replaced by an untrained one of this structure, which is returned."""
    try:
        replaced = adaptable(run).like(part_of_plan(whole, structure))
    except ValueError as error:
        raise JoulebitError(f"the network cannot go on in another size: {error}") from None
    run.network = replaced
    return replaced


class EarlyBirdHook(Hook):
    """`EarlyBird` (`joulebit.techniques.early_bird`) in a run.

    whole: the network at the beginning.
    """

    name = "early_bird"

    def __init__(self, policy: EarlyBird, whole: NetworkPlan) -> None:
        self._policy = policy
        self._whole = whole
        self._mask: Mask | None = None  #: of the last epoch; the ticket's once it is drawn
        self._distances: list[int] = []
        self._drawn_at = -1  #: step; -1: not yet

    def begin_epoch(self, run: Run, epoch: int) -> None:
        if self._drawn_at >= 0 or epoch == 0:
            return
        mask = self._mark(run)
        if self._policy.drawn(self._distances, mask.size):
            self._draw(run)

    def choose(self, run: Run, batch: Int64Array) -> Int64Array:
        """Nothing is chosen; but this is called before every step."""
        if self._drawn_at < 0 and run.step >= self._policy.until * run.total_steps:
            self._mark(run)
            self._draw(run)
        return batch

    def _mark(self, run: Run) -> Mask:
        mask = channel_mask(self._whole, masters_of(run.network.weights()), self._policy.ratio)
        run.network.counters.add("ops.selection.int32", mask.size)
        if self._mask is not None:
            self._distances.append(int((mask != self._mask).sum()))
        self._mask = mask
        return mask

    def _draw(self, run: Run) -> None:
        assert self._mask is not None
        self._drawn_at = run.step
        structure = structure_of(self._whole, self._mask)
        learnt = adaptable(run).snapshot()
        smaller = _replaced(run, self._whole, structure)
        smaller.load_snapshot(cut(learnt, self._whole, structure, smaller.plan))

    def state(self) -> dict[str, NDArray[Any]]:
        if self._mask is None:
            return {}
        distances = np.array(self._distances, np.int64)
        return {"mask": self._mask, "distances": distances, "drawn": np.array(self._drawn_at)}

    def load_state(self, run: Run, state: Mapping[str, NDArray[Any]]) -> None:
        if "mask" not in state:
            return
        self._mask = state["mask"].astype(np.bool_)
        self._distances = state["distances"].tolist()
        self._drawn_at = int(state["drawn"])
        if self._drawn_at >= 0:
            _replaced(run, self._whole, structure_of(self._whole, self._mask))

    def summary(self) -> Mapping[str, Any]:
        """When the ticket was drawn (None: never), how far the masks moved, and what is left."""
        if self._mask is None or self._drawn_at < 0:
            return {"drawn_at_step": None, "mask_distances": self._distances}
        part = part_of_plan(self._whole, structure_of(self._whole, self._mask))
        return {
            "drawn_at_step": self._drawn_at,
            "mask_distances": self._distances,
            "channels": int(self._mask.size),
            "channels_kept": int(self._mask.sum()),
            "parameters": self._whole.parameters,
            "parameters_kept": part.parameters,
            "macs": self._whole.macs,
            "macs_kept": part.macs,
        }


class GrowingHook(Hook):
    """`Growing` (`joulebit.techniques.growing`) in a run.

    whole: the network at the end, as which the run's network is built.
    """

    name = "growing"

    def __init__(self, policy: Growing, whole: NetworkPlan) -> None:
        self._points = policy.points
        self._whole = whole
        self._structures = policy.structures(whole)
        self._stage = -1  #: before the first step
        self._initial: Adaptable | None = None  #: with the values that new parameters take
        self._grown_at: list[int] = []

    def begin(self, run: Run) -> None:
        if self._stage < 0:
            self._remember(run)
            self._take_up(run, 0)

    def choose(self, run: Run, batch: Int64Array) -> Int64Array:
        """Nothing is chosen; but this is called before every step."""
        while self._stage < len(self._points) and run.step >= round(self._points[self._stage] * run.total_steps):
            self._grow(run)
        return batch

    def _remember(self, run: Run) -> None:
        self._initial = adaptable(run)

    def _take_up(self, run: Run, stage: int) -> None:
        assert self._initial is not None
        self._stage = stage
        structure = self._structures[stage]
        network = _replaced(run, self._whole, structure)
        network.load_snapshot(cut(self._initial.snapshot(), self._whole, structure, network.plan))

    def _grow(self, run: Run) -> None:
        assert self._initial is not None
        before, after = self._structures[self._stage : self._stage + 2]
        smaller = adaptable(run)
        whole = put(smaller.snapshot(), self._initial.snapshot(), self._whole, before, smaller.plan)
        larger = _replaced(run, self._whole, after)
        silent = with_silent_additions(whole, self._whole, before)
        larger.load_snapshot(cut(silent, self._whole, after, larger.plan))
        self._stage += 1
        self._grown_at.append(run.step)
        new = larger.plan.parameters - smaller.plan.parameters
        for level in ("dram", "sram"):
            larger.counters.add(f"bytes.other.{level}", new * larger.bytes_per_parameter)

    def state(self) -> dict[str, NDArray[Any]]:
        return {"stage": np.array(self._stage), "grown_at": np.array(self._grown_at, np.int64)}

    def load_state(self, run: Run, state: Mapping[str, NDArray[Any]]) -> None:
        if "stage" in state:
            self._remember(run)
            self._take_up(run, int(state["stage"]))
            self._grown_at = state["grown_at"].tolist()

    def summary(self) -> Mapping[str, Any]:
        """Parameters of each stage of the network, and the steps after which it grew."""
        sizes = [part_of_plan(self._whole, structure).parameters for structure in self._structures]
        return {"parameters": sizes[: self._stage + 1], "grown_at_steps": self._grown_at}
