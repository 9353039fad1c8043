"""Neuron selection in the training loop: an epoch begins with the choice of the neurons that it trains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from joulebit.data.dataset import Split
from joulebit.energy.counters import Counters
from joulebit.energy.neuron_budget import Costs
from joulebit.energy.widths import GATE_BITS
from joulebit.nn.structure import Snapshot
from joulebit.techniques.neuron_selection import NeuronSelection, flops_saved
from joulebit.techniques.neuron_velocity import NeuronVelocity
from joulebit.train.adaptable import adaptable
from joulebit.train.hooks import Hook, Run


class NeuronSelectionHook(Hook):
    """`NeuronSelection` (`joulebit.techniques.neuron_selection`) in a run.

    costs: of the network's neurons in this run. mu: weight of the previous velocity. renew_epochs: between two
    selections; velocities are measured as often, on the data set's validation samples.
    """

    name = "neuron_selection"

    def __init__(self, policy: NeuronSelection, costs: Costs, renew_epochs: int) -> None:
        self._policy = policy
        self._costs = costs
        self._renew_epochs = renew_epochs
        self._velocity = NeuronVelocity(len(costs.neurons), policy.mu)
        self._chosen: NDArray[np.bool_] | None = None
        self._shifts: frozenset[str] = frozenset()
        self._counters: Counters | None = None
        self._measured: Snapshot | None = None  #: the network at the last measurement

    def begin(self, run: Run) -> None:
        if self._chosen is None:
            return
        self._apply(run)
        if self._measured is not None:  # outputs are too large for checkpoints: form them again
            before = run.network.counters.as_dict()
            past = adaptable(run).like(adaptable(run).plan)
            past.load_snapshot(self._measured)
            self._velocity.outputs = past.channel_outputs(_validation(run).images)
            run.network.counters.load(before)

    def begin_epoch(self, run: Run, epoch: int) -> None:
        if epoch % self._renew_epochs:
            return
        validation = _validation(run)
        if self._policy.measures:
            outputs = adaptable(run).channel_outputs(validation.images)
            self._velocity.measure(outputs)
            self._measured = adaptable(run).snapshot()
            _count_comparison(run.network.counters, sum(z.size for z in outputs.values()))
        known = self._velocity.velocity if self._velocity.measured else None
        self._chosen, self._shifts = self._policy.select(
            self._costs, run.seed, epoch // self._renew_epochs, known, len(validation)
        )
        self._apply(run)

    def _apply(self, run: Run) -> None:
        assert self._chosen is not None
        adaptable(run).select(self._costs.neurons.selection(self._chosen, self._shifts))

    def state(self) -> dict[str, NDArray[Any]]:
        if self._chosen is None:
            return {}
        shifts = np.array([name in self._shifts for name in self._costs.neurons.names], np.bool_)
        state = {"chosen": self._chosen, "shifts": shifts, **self._velocity.state()}
        if self._measured is not None:
            state.update({f"masters/{k}": master for k, (master, _) in self._measured.parameters.items()})
            state.update({f"exponents/{k}": values for k, values in self._measured.exponents.items()})
            state["head"] = self._measured.head
        return state

    def load_state(self, run: Run, state: Mapping[str, NDArray[Any]]) -> None:
        if "chosen" in state:
            self._chosen = state["chosen"].astype(np.bool_)
            names = self._costs.neurons.names
            self._shifts = frozenset(name for name, shift in zip(names, state["shifts"]) if shift)
            self._velocity.load_state(state)
        if "head" in state:
            masters = {k[len("masters/") :]: v for k, v in state.items() if k.startswith("masters/")}
            still = {k: (v, np.zeros(v.shape, np.int64)) for k, v in masters.items()}
            exponents = {k[len("exponents/") :]: v for k, v in state.items() if k.startswith("exponents/")}
            self._measured = Snapshot(still, exponents, state["head"])

    def finish(self, run: Run) -> None:
        self._counters = run.network.counters

    def metrics(self) -> Mapping[str, Any]:
        if self._chosen is None:
            return {}
        neurons = self._costs.neurons
        return {
            "neurons": int(self._chosen.sum()),
            "parameters": int(neurons.parameters[self._chosen].sum()),
        }

    def summary(self) -> Mapping[str, Any]:
        """The last selection, its training memory, and the share of multiply-accumulates saved over the run."""
        if self._chosen is None or self._counters is None:
            return {}
        neurons = self._costs.neurons
        selection = neurons.selection(self._chosen, self._shifts)
        return {
            **self.metrics(),
            "all_neurons": len(neurons),
            "all_parameters": int(neurons.parameters.sum()),
            "training_memory_bytes": self._costs.memory_bytes(selection),
            "flops_saved": flops_saved(self._counters.as_dict()),
        }


def _validation(run: Run) -> Split:
    assert run.data.validation is not None, "the configuration holds samples out for this method"
    return run.data.validation


def _count_comparison(counters: Counters, elements: int) -> None:
    """Two inner products per output element (with the previous output, and with itself) of 16 x 16 bits; both
    outputs are read, and the new one is kept.
    """
    counters.add(f"macs.selection.{GATE_BITS}x{GATE_BITS}", 2 * elements)
    counters.add("bytes.selection.dram", 3 * 2 * elements)
    counters.add("bytes.selection.sram", 3 * 2 * elements)
