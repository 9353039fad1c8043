"""A whole network in integers: one training step, evaluation, and its state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from joulebit.energy.accounting import Widths
from joulebit.energy.counters import Counters, counted_as
from joulebit.energy.remembered import RememberingAccountant
from joulebit.engine.base import Engine, UpdateRule
from joulebit.fixed.arithmetic import Arithmetic
from joulebit.fixed.rounding import saturate, shift_round
from joulebit.nn.adder import conv_layer
from joulebit.nn.block import Entered, ResidualBlock
from joulebit.nn.context import Mode, Pass, Update, mix64_scalar
from joulebit.nn.conv import ConvLayer
from joulebit.nn.empty import accepting_no_samples
from joulebit.nn.graph import ConvPlan, MaxPoolPlan, NetworkPlan, ResidualPlan
from joulebit.nn.head import Head, Outcome
from joulebit.nn.init import initial_masters
from joulebit.nn.log_odds import label_log_odds
from joulebit.nn.parameters import HostParameters
from joulebit.nn.pooling import max_pool, max_pool_gradient
from joulebit.nn.structure import Parameter, Snapshot
from joulebit.nn.tensor import Tensor
from joulebit.nn.trained import Trained, check_selection, gradient_flow
from joulebit.nn.weight_gradient import check_exact_sums
from joulebit.nn.workers import OneWorker, Share, Totals, Workers, part_of
from joulebit.techniques.exits import Exits
from joulebit.techniques.slu import GatePolicy, SelectiveLayerUpdate
from joulebit.techniques.stochastic_depth import StochasticDepth
from joulebit.train.exits import ExitClassifiers
from joulebit.train.network import Batch, StepResult

Int64Array = NDArray[np.int64]
Node = ConvLayer | ResidualBlock | MaxPoolPlan


@dataclass(frozen=True)
class TrainingMethod:
    """What one training step does beside the arithmetic."""

    update: Update = Update.SGD
    beta: float = 0.05  #: adaptive threshold of PSG, 0..1
    momentum: float = 0.9
    sign_momentum: float = 0.9
    weight_decay: float = 1e-4
    sign_weight_decay: float = 0.0  #: of convolutions with a sign update
    head_only: bool = False  #: train the classifier alone
    slu: SelectiveLayerUpdate | None = None
    stochastic_depth: StochasticDepth | None = None
    exits: Exits | None = None
    observe_every: int = 0  #: steps between evaluations of the predictor's bound; 0 = never


class IntegerNetwork:
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

    def __init__(
        self,
        plan: NetworkPlan,
        engine: Engine,
        seed: int,
        method: TrainingMethod | None = None,
        workers: Workers | None = None,
        summing: Engine | None = None,
    ) -> None:
        self.plan = plan
        self.workers: Workers = workers or OneWorker()
        if self.workers.size > 1:
            for conv in plan.convs():
                check_exact_sums(conv, engine.arithmetic)
            wide = engine if summing is None else summing
            if wide.arithmetic.accumulator_bits < 48:
                raise ValueError(
                    "several workers need an engine with 48-bit accumulators for the sums of weight gradients, "
                    f"got {wide.arithmetic.accumulator_bits} bits: pass one as summing"
                )
            engine, summing = accepting_no_samples(engine), accepting_no_samples(wide)
        skips = method is not None and (method.slu or method.stochastic_depth)
        if skips and any(block.projection for block in plan.blocks()):
            raise ValueError(
                f"{plan.model.name} has projections in its shortcuts; a closed block has nothing to pass on: "
                "SLU and stochastic depth need shortcuts without (option A)"
            )
        self._summing = summing
        self.engine = engine
        self._engines = {engine.arithmetic: (engine, summing)}  # of all widths used so far
        self._evaluation_arithmetic = self._training_arithmetic = engine.arithmetic
        self.seed = seed
        self.method = method or TrainingMethod()
        self.counters = Counters()
        self._accountant = RememberingAccountant(self.counters, engine.arithmetic)
        masters = initial_masters(plan, seed)
        self._nodes: list[Node] = []
        for described in plan.nodes:
            if isinstance(described, ConvPlan):
                self._nodes.append(conv_layer(described, masters[f"{described.name}.weight"], engine))
            elif isinstance(described, ResidualPlan):
                self._nodes.append(ResidualBlock(described, masters, engine))
            else:
                self._nodes.append(described)
        self._layers = list(self._all_layers())
        vectors = {name: value for name, value in masters.items() if not name.endswith("weight")}
        self._vectors = HostParameters(vectors)
        self._classifier = HostParameters({"head.weight": masters["head.weight"]})
        self._head = Head(plan.head, self._classifier, self._vectors, engine.arithmetic.g_bits)
        self._selection = False  #: some neurons may be frozen
        self._lowest: int | None = 0  #: the first node whose output needs a gradient; None: not even the last one
        self._gates = GatePolicy(plan, self.method.slu, seed) if self.method.slu else None
        exits = self.method.exits
        self._exits = ExitClassifiers(plan, exits, seed, engine.arithmetic.g_bits) if exits else None
        if self._gates:
            for node in self._nodes:
                if isinstance(node, ResidualBlock):
                    node.gated = self._gates.gated(node.plan.index)

    def _all_layers(self) -> Any:
        for node in self._nodes:
            if isinstance(node, ConvLayer):
                yield node
            elif isinstance(node, ResidualBlock):
                yield from node.all_layers

    # --- widths --------------------------------------------------------------------------------------

    def use_arithmetic(self, arithmetic: Arithmetic, requantised: bool) -> None:
        """Train with these widths from the next step on (spec, section 12); evaluation keeps the first ones.

        requantised: count that the quantised weights are formed again from the masters.
        """
        self._training_arithmetic = arithmetic
        self._switch(arithmetic)
        if requantised:
            for layer in self._layers:
                self._accountant.weights(layer.plan)

    def _switch(self, arithmetic: Arithmetic) -> None:
        """Compute with these widths: masters, momenta and all exponents' states stay as they are."""
        if arithmetic == self.engine.arithmetic:
            return
        if arithmetic not in self._engines:
            wide = replace(arithmetic, accumulator_bits=48)
            summing = self._summing and self._summing.with_arithmetic(wide)
            self._engines[arithmetic] = (self.engine.with_arithmetic(arithmetic), summing)
        self.engine, self._summing = self._engines[arithmetic]
        self._accountant.widths = Widths.of(arithmetic)
        self._head.use(arithmetic.g_bits)
        if self._exits:
            self._exits.use(arithmetic.g_bits)
        for layer in self._layers:
            layer.use(self.engine)

    # --- training ------------------------------------------------------------------------------------

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

    def _share(self, own: int, whole: int | None) -> Share:
        """The place of this worker's `own` samples in a batch of `whole` (None: there is one worker)."""
        total = own if whole is None else whole
        part = part_of(total, self.workers)
        if own != part.stop - part.start:
            raise ValueError(
                f"worker {self.workers.rank} of {self.workers.size} takes {part.stop - part.start} of {total} "
                f"samples, got {own}: say in Batch.whole how many all workers have"
            )
        return Share(part.start, total)

    def skip_batch(self, samples: int) -> None:
        """Count a batch that was dropped before it was loaded."""
        self._accountant.skip_batch(self.plan, samples)

    def skip_samples(self, samples: int, reason: str) -> None:
        """Count samples that were left out of their batch before it was loaded."""
        self._accountant.skip_samples(self.plan, samples, reason)

    def _forward(
        self,
        images: NDArray[np.uint8],
        share: Share,
        run: Pass,
        draw: tuple[int, Int64Array] | None,
        pools: dict[int, Tensor] | None = None,
    ) -> Tensor:
        bits = self.engine.arithmetic.x_bits
        current = Tensor(self.engine.from_numpy(input_integers(images, bits)), 2 - bits, share=share)
        if self._gates and not run.all_open:
            self._gates.gates.start(len(images))
        open_blocks = self._drawn_depth(draw)
        exits = self._exits if self._exits and (draw is not None or run.exits) else None
        if exits:
            exits.start()
        for position, node in enumerate(self._nodes):
            if isinstance(node, ConvLayer):
                current = node.forward(current, run)
            elif isinstance(node, ResidualBlock):
                current = self._enter(node, current, run, draw, open_blocks)
            else:
                if pools is not None:
                    pools[position] = current
                if run.counted:
                    self._accountant.pool(node.in_shape, node.out_shape, share.total, backward=False)
                current = current._replace(data=max_pool(self.engine, current.data, node))
            if exits and position in exits:
                exits.forward(position, current, run)
        return current

    def _drawn_depth(self, draw: tuple[int, Int64Array] | None) -> list[bool] | None:
        depth = self.method.stochastic_depth
        if depth is None or draw is None:
            return None
        return depth.open_blocks(self.seed, draw[0], sum(1 for _ in self.plan.blocks()))

    def _enter(
        self,
        block: ResidualBlock,
        x: Tensor,
        run: Pass,
        draw: tuple[int, Int64Array] | None,
        open_blocks: list[bool] | None,
    ) -> Tensor:
        plan = block.plan
        entered: Entered | None = None
        scale = 1 << 16
        if block.gated and self._gates and not run.all_open:
            positions = plan.in_shape[0] * plan.in_shape[1]
            pooled = self.engine.spatial_sum(x.data)
            decision = self._gates.decide(plan.index, pooled, x.exponent, positions, draw)
            opened = np.flatnonzero(decision)
            entered = Entered(opened, run.totals.share(len(opened)))
            if run.counted:
                self._accountant.gate(self._gates.gates.macs[plan.index], x.samples, backward=False)
            if run.training:
                self._gates.observe(plan.index, x.samples - entered.share.total)
            if run.mode is Mode.STATISTICS and not entered.share.total:
                block.forward(x, run)  # statistics of a block that no sample of the list enters
        elif open_blocks is not None and not open_blocks[plan.index]:
            entered = Entered(np.zeros(0, np.int64), Share(0, 0))
        elif self.method.stochastic_depth and not run.training:
            scale = self.method.stochastic_depth.survival_q16(plan.index, sum(1 for _ in self.plan.blocks()))
        if run.training:
            count = x.samples if entered is None else entered.share.total
            run.record(plan.name, entered=count, samples=x.samples)
            if count < x.samples:
                reason = "slu" if block.gated else "sd"
                self._accountant.skip_block(plan, x.samples - count, reason)
        return block.forward(x, run, entered, scale)

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
        changed = self._vectors.update(samples, plain) + self._classifier.update(samples, decayed)
        for layer in self._layers:
            count = layer.weight.update(samples, decayed, sign)
            if count:
                self._accountant.weights(layer.plan)
            changed += count
        if self._gates and method.slu:
            gate_rule = _rule(method.slu.gate_learning_rate, method.momentum, method.weight_decay)
            changed += self._gates.gates.update(samples, gate_rule)
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

    def channel_outputs(self, images: NDArray[np.uint8]) -> dict[str, NDArray[np.int16]]:
        """The output z (spec, section 4) of every convolution, int16 [N, H, W, C], by its name.

        The images run through the network as one batch by the formulas of section 4, all blocks open, and nothing
        of the training state moves. Every worker computes all of them. What it costs counts in phase selection.
        """
        self._switch(self._evaluation_arithmetic)
        outputs: dict[str, NDArray[np.int16]] = {}
        run = Pass(self.engine, self._vectors, self._accountant, Mode.STATISTICS, outputs=outputs, all_open=True)
        self._forward(images, Share(0, len(images)), run, None)
        with counted_as(self.counters, "selection"):
            for node in self.plan.nodes:
                if isinstance(node, MaxPoolPlan):
                    self._accountant.pool(node.in_shape, node.out_shape, len(images), backward=False)
            for conv in self.plan.convs():
                self._accountant.forward(conv, len(images))
        return outputs

    # --- evaluation ----------------------------------------------------------------------------------

    def prepare_evaluation(self, images: NDArray[np.uint8], costs: bool = False) -> None:
        """Take the statistics of batch norm from these images, the same for every worker (spec, section 8).

        costs: count this forward pass.
        """
        self._evaluated(images, Mode.STATISTICS, costs)

    def answers(self, images: NDArray[np.uint8], whole: int) -> tuple[Int64Array, int]:
        """(logits [N, classes], their exponent) of this worker's part of `whole` images; its cost is counted."""
        self._switch(self._evaluation_arithmetic)
        run = Pass(self.engine, self._vectors, self._accountant, Mode.EVALUATE, totals=Totals(self.workers))
        run.costs = True
        return self._head.forward(self._forward(images, self._share(len(images), whole), run, None), run)

    def logits(self, images: NDArray[np.uint8]) -> Int64Array:
        """int64 [N, classes] of images that are the same for every worker; nothing changes."""
        return self._all_logits(images)[0]

    def exit_logits(self, images: NDArray[np.uint8]) -> list[Int64Array]:
        """int64 [N, classes] of every exit, with the statistics of the last prepare_evaluation.

        Images are the same for every worker, and each computes them all.
        """
        assert self._exits, "the method has exits"
        self._switch(self._evaluation_arithmetic)
        run = Pass(self.engine, self._vectors, self._accountant, Mode.EVALUATE, exits=True)
        self._forward(images, Share(0, len(images)), run, None)
        return [logits for logits, _ in self._exits.logits]

    def sample_losses(
        self,
        images: NDArray[np.uint8],
        labels: Int64Array,
        statistics: NDArray[np.uint8],
        batch_size: int = 500,
    ) -> Int64Array:
        """int64 [N] that order samples by their loss (spec, section 13); counted as phase selection."""
        found = [np.zeros(0, np.int64)]
        with counted_as(self.counters, "selection"):
            self._evaluated(statistics, Mode.STATISTICS, costs=True)
            for start in range(0, len(images), batch_size):
                part = slice(start, start + batch_size)
                logits, exponent = self._all_logits(images[part], costs=True)
                found.append(label_log_odds(logits, labels[part], exponent))
        return np.concatenate(found)

    def _all_logits(self, images: NDArray[np.uint8], costs: bool = False) -> tuple[Int64Array, int]:
        """(logits [N, classes], their exponent) of images that are the same for every worker."""
        part = part_of(len(images), self.workers)
        output, run = self._evaluated(images, Mode.EVALUATE, costs)
        logits, exponent = self._head.forward(output, run)
        if self.workers.size == 1:
            return logits, exponent
        whole = np.zeros((len(images), self.plan.head.classes), np.int64)
        whole[part] = logits
        return self.workers.sum(whole.reshape(-1)).reshape(whole.shape), exponent

    def _evaluated(self, images: NDArray[np.uint8], mode: Mode, costs: bool = False) -> tuple[Tensor, Pass]:
        """The classifier's input for this worker's part of the images."""
        self._switch(self._evaluation_arithmetic)
        part = part_of(len(images), self.workers)
        run = Pass(self.engine, self._vectors, self._accountant, mode, totals=Totals(self.workers))
        run.costs = costs
        return self._forward(images[part], Share(part.start, len(images)), run, None), run

    # --- state ---------------------------------------------------------------------------------------

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
        _check_same(own, weights)
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
        _check_same(self.state(), state)
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
        _check_same(self.weights(), given)
        for layer in self._layers:
            layer.weight.load(*snapshot.parameters[layer.weight.name])
            layer.load_exponents(snapshot.exponents[layer.plan.name])
        self._head.g_exponent.from_int(int(snapshot.head[0]))
        if self._exits:
            self._exits.load_exponents(snapshot.head[1:])
        for group in self._groups():
            for name in group:
                group.load(name, *snapshot.parameters[name])

    def like(self, plan: NetworkPlan) -> IntegerNetwork:
        """A new network of another plan that computes, trains and counts as this one does (into its counters)."""
        engine, summing = self._engines[self._evaluation_arithmetic]
        network = IntegerNetwork(plan, engine, self.seed, self.method, self.workers, summing)
        network.counters = self.counters
        network._accountant.counters = self.counters
        network.use_arithmetic(self._training_arithmetic, requantised=False)
        return network


def input_integers(images: NDArray[np.uint8], bits: int) -> NDArray[Any]:
    """Pixels as the integers of the network's input (spec, section 2): int8 up to 8 bits, else int16."""
    if bits == 8:
        return np.maximum((images ^ np.uint8(128)).view(np.int8), np.int8(-127))
    centred = saturate(shift_round(images.astype(np.int16) - 128, 8 - bits), bits)
    return centred.astype(np.int8 if bits < 8 else np.int16)


def _rule(learning_rate: float, momentum: float, decay: float) -> UpdateRule:
    return UpdateRule(round(learning_rate * (1 << 20)), round(momentum * (1 << 15)), round(decay * (1 << 24)))


def _check_same(own: Mapping[str, NDArray[Any]], other: Mapping[str, NDArray[Any]]) -> None:
    for name, value in own.items():
        if name not in other:
            raise ValueError(f"the weights lack {name!r}: they belong to another model or method")
        if other[name].shape != value.shape:
            raise ValueError(
                f"{name!r} has shape {other[name].shape}, this network needs {value.shape}: "
                "the weights belong to another model or data set"
            )
