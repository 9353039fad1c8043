"""A whole network in integers: its training step on top of the forward pass, `joulebit.train.integer_forward`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from joulebit.energy.counters import counted_as
from joulebit.engine.base import UpdateRule
from joulebit.nn.block import ResidualBlock
from joulebit.nn.context import Mode, Pass, Update, mix64_scalar
from joulebit.nn.conv import ConvLayer
from joulebit.nn.graph import NetworkPlan
from joulebit.nn.head import Outcome
from joulebit.nn.normalisation import constants_of
from joulebit.nn.parameters import update_all
from joulebit.nn.pooling import max_pool_gradient
from joulebit.nn.tensor import Tensor
from joulebit.nn.trained import Trained, check_selection, gradient_flow
from joulebit.nn.workers import Share, Totals
from joulebit.train.integer_forward import IntegerForward, input_integers
from joulebit.train.method import TrainingMethod
from joulebit.train.network import Batch, StepResult

__all__ = ["IntegerNetwork", "TrainingMethod", "input_integers"]

Int64Array = NDArray[np.int64]


class IntegerNetwork(IntegerForward):
    """The integer implementation of `joulebit.train.network.Network`.

    Args:
        plan: the network.
        engine: who computes.
        seed: of the initial weights, gates, stochastic depth and stochastic rounding.
        method: what a training step does.
        workers: who trains it together; every one has a network of its own, and all come to the same bits.
        summing: an engine like `engine` with 48-bit accumulators: several workers need one where engine's are
            narrower, since a weight gradient is clamped after all its parts were added.

    Raises:
        ValueError: several workers cannot train this network in these widths.
    """

    bytes_per_parameter = 10  #: a master and its momentum (48 bits)
    _selection = False  #: some neurons may be frozen
    _lowest: int | None = 0  #: the first node whose output needs a gradient; None: not even the last one

    def train_step(self, batch: Batch, learning_rate: float, sign_learning_rate: float) -> StepResult:
        """Forward, backward and update on one batch (see `Network.train_step`)."""
        self._switch(self._training_arithmetic)
        run, outcome, samples = self._gradients(batch)
        for layer in self._layers:
            layer.count_frozen(run)
        self._update(samples, learning_rate, sign_learning_rate)
        self.counters.add("steps", 1)
        self.counters.add("batches.seen", 1)
        self.counters.add("samples.seen", samples)
        self._count_details(run.details)
        return StepResult(outcome.loss, outcome.correct, run.details)

    def _gradients(self, batch: Batch, saliency: bool = False) -> tuple[Pass, Outcome, int]:
        """Forward and backward pass; the gradients wait for the update. Returns also the samples of all workers.

        saliency: plain gradients with all blocks open, whatever the method.
        """
        method = self.method
        share = self._share(len(batch.labels), batch.whole)
        samples = share.total
        run = Pass(
            self.engine,
            self._vectors,
            self._accountant,
            Mode.TRAIN,
            mix64_scalar(self.seed, batch.step),
            Update.SGD if saliency else method.update,
            round(method.beta * 4096),
            bool(method.observe_every) and batch.step % method.observe_every == 0,
            totals=Totals(self.workers),
            summing=self._summing,
            all_open=saliency,
        )
        pools: dict[int, Tensor] = {}  # inputs of the pooling layers, by position
        draw = None if saliency else (batch.step, batch.samples)
        output = self._forward(batch.images, share, run, draw, pools)
        logits, exponent = self._head.forward(output, run)
        input_needed = not method.head_only and self._lowest is not None
        gradient, outcome = self._head.backward(logits, exponent, batch.labels, run, input_needed, batch.lesson)
        if self._exits and not saliency:
            self._exits.backward((logits, exponent), batch.labels, self._lowest, run)
        if gradient is not None:
            self._backward(gradient, share, run, pools)
        run.totals.settle()
        return run, outcome, samples

    def weight_gradients(self, batch: Batch) -> dict[str, tuple[NDArray[np.int64], int]]:
        """Gradient of every convolution's weights, int64 and its exponent, by the name of the convolution.

        Plain gradients of all weights with all blocks open, whatever the method; nothing moves. Their cost counts
        in phase selection.
        """
        self._switch(self._training_arithmetic)
        before = self.state()
        chosen = {layer.plan.name: layer.trained for layer in self._layers if layer.trained is not None}
        self.select(None)
        with counted_as(self.counters, "selection"):
            self._gradients(batch, saliency=True)
        found: dict[str, tuple[NDArray[np.int64], int]] = {}
        for layer in self._layers:
            pending = layer.weight.pop_gradient()
            assert pending is not None and pending[1] is not None
            found[layer.plan.name] = (np.array(self.engine.to_numpy(pending[0]), np.int64), pending[1])
            layer.forget_step()
        for group in (self._vectors, self._classifier):
            group.discard_gradients()
        self.load_state(before)
        self.select(chosen or None)
        return found

    # --- pruned weights --------------------------------------------------------------------------------

    def prune(self, kept: Mapping[str, NDArray[np.bool_]]) -> None:
        """Weights outside `kept` are 0 from now on; by the name of the convolution, in its weights' shape."""
        for layer in self._layers:
            layer.weight.prune(kept[layer.plan.name])

    def conv_weights(self) -> dict[str, tuple[NDArray[Any], int]]:
        """The quantised weights of every convolution and their exponent, by its name."""
        weights = ((layer.plan.name, layer.weight) for layer in self._layers)
        return {name: (np.array(self.engine.to_numpy(weight.w)), weight.exponent) for name, weight in weights}

    # --- what is left out ------------------------------------------------------------------------------

    def skip_batch(self, samples: int) -> None:
        """Count a batch that was dropped before it was loaded."""
        self._accountant.skip_batch(self.plan, samples)

    def skip_samples(self, samples: int, reason: str) -> None:
        """Count samples that were left out of their batch before it was loaded."""
        self._accountant.skip_samples(self.plan, samples, reason)

    # --- backward and update ---------------------------------------------------------------------------

    def _backward(self, gradient: Tensor, share: Share, run: Pass, pools: dict[int, Tensor]) -> None:
        branch: dict[int, tuple[Int64Array, int]] = {}
        current = gradient
        lowest = self._lowest or 0
        for position in range(len(self._nodes) - 1, lowest - 1, -1):
            node = self._nodes[position]
            if self._exits and not run.all_open:
                current = self._exits.joined(position, current, run)
            if isinstance(node, ConvLayer):
                if position == lowest:
                    node.backward_last(current, run)
                    break
                current = node.backward(current, run)
            elif isinstance(node, ResidualBlock):
                if node.gated and not run.all_open:
                    branch[node.plan.index] = node.branch_gradient(current, run)
                if self._selection and position == lowest:
                    node.backward_last(current, run)
                    break
                current = node.backward(current, run)
            else:
                x = pools[position]
                current = current._replace(data=max_pool_gradient(self.engine, current.data, x.data, node))
                self._accountant.pool(node.in_shape, node.out_shape, share.total, backward=True)
        if self._gates and not run.all_open:
            self._gates.backward(branch, share.total, run.totals)
            for macs in self._gates.gates.macs.values():
                self._accountant.gate(macs, share.total, backward=True)

    def _update(self, samples: int, learning_rate: float, sign_learning_rate: float) -> None:
        method = self.method
        plain = _rule(learning_rate, method.momentum, 0.0)
        decayed = _rule(learning_rate, method.momentum, method.weight_decay)
        sign = _rule(sign_learning_rate, method.sign_momentum, method.sign_weight_decay)
        step = constants_of(self.engine).update
        changed = self._vectors.update(samples, plain, step) + self._classifier.update(samples, decayed, step)
        weights = [layer.weight for layer in self._layers]
        for layer, count in zip(self._layers, update_all(weights, self.engine, samples, decayed, sign)):
            if count:
                self._accountant.weights(layer.plan)
            changed += count
        if self._gates and method.slu:
            gate_rule = _rule(method.slu.gate_learning_rate, method.momentum, method.weight_decay)
            changed += self._gates.gates.update(samples, gate_rule, step)
        if self._exits:
            changed += self._exits.update(samples, decayed, plain)
        self._accountant.update(changed)

    def _count_details(self, details: Mapping[str, Mapping[str, Any]]) -> None:
        for values in details.values():
            for name in ("total", "decided", "wrong"):
                if name in values:
                    self.counters.add(f"predictor.{name}", values[name])
            for tensor in ("z", "activation", "dz", "gradient"):
                if f"{tensor}_elements" in values:
                    self.counters.add(f"saturated.{tensor}", values[f"{tensor}_saturated"])
                    self.counters.add(f"elements.{tensor}", values[f"{tensor}_elements"])
            if "weight_gradient_saturated" in values:
                self.counters.add("saturated.weight_gradient", values["weight_gradient_saturated"])

    # --- frozen neurons --------------------------------------------------------------------------------

    def select(self, trained: Mapping[str, Trained] | None) -> None:
        """From the next step on train these neurons alone, by the name of their convolution; None: all.

        The classifier is always trained. No gradient goes further down than a trained neuron, or a gate, needs.

        Raises:
            ValueError: a convolution is missing, or unknown, or has no such channels.
        """
        self._selection = trained is not None
        if trained is not None:
            check_selection(self.plan, trained)
        for layer in self._layers:
            layer.trained = None if trained is None else trained[layer.plan.name]
        gated = [node.plan.index for node in self._nodes if isinstance(node, ResidualBlock) and node.gated]
        flow = gradient_flow(self.plan, trained, gated)
        self._lowest = flow.lowest
        for layer in self._layers:
            layer.reached, layer.passing = layer.plan.name in flow.reached, layer.plan.name in flow.passing

    def like(self, plan: NetworkPlan) -> IntegerNetwork:
        """A new network of another plan that computes, trains and counts as this one does (into its counters)."""
        engine, summing = self._engines[self._evaluation_arithmetic]
        network = IntegerNetwork(plan, engine, self.seed, self.method, self.workers, summing)
        network.counters = self.counters
        network._accountant.counters = self.counters
        network.use_arithmetic(self._training_arithmetic, requantised=False)
        return network


def _rule(learning_rate: float, momentum: float, decay: float) -> UpdateRule:
    return UpdateRule(round(learning_rate * (1 << 20)), round(momentum * (1 << 15)), round(decay * (1 << 24)))
