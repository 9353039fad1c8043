"""A whole network in integers: one training step, evaluation, and its state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from joulebit.energy.accounting import Accountant
from joulebit.energy.counters import Counters
from joulebit.engine.base import Engine, UpdateRule
from joulebit.fixed.rounding import saturate, shift_round
from joulebit.nn.block import ResidualBlock
from joulebit.nn.context import Mode, Pass, Update, mix64_scalar
from joulebit.nn.conv import ConvLayer
from joulebit.nn.graph import ConvPlan, MaxPoolPlan, NetworkPlan, ResidualPlan
from joulebit.nn.head import Head
from joulebit.nn.init import initial_masters
from joulebit.nn.parameters import HostParameters
from joulebit.nn.tensor import Tensor
from joulebit.techniques.slu import GatePolicy, SelectiveLayerUpdate
from joulebit.techniques.stochastic_depth import StochasticDepth
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
    observe_every: int = 0  #: steps between evaluations of the predictor's bound; 0 = never


class IntegerNetwork:
    """The integer implementation of `joulebit.train.network.Network`."""

    def __init__(self, plan: NetworkPlan, engine: Engine, seed: int, method: TrainingMethod | None = None) -> None:
        self.plan = plan
        self.engine = engine
        self.seed = seed
        self.method = method or TrainingMethod()
        self.counters = Counters()
        self._accountant = Accountant(self.counters, engine.arithmetic)
        masters = initial_masters(plan, seed)
        self._nodes: list[Node] = []
        for described in plan.nodes:
            if isinstance(described, ConvPlan):
                self._nodes.append(ConvLayer(described, masters[f"{described.name}.weight"], engine))
            elif isinstance(described, ResidualPlan):
                self._nodes.append(ResidualBlock(described, masters, engine))
            else:
                self._nodes.append(described)
        self._layers = list(self._all_layers())
        vectors = {name: value for name, value in masters.items() if not name.endswith("weight")}
        self._vectors = HostParameters(vectors)
        self._classifier = HostParameters({"head.weight": masters["head.weight"]})
        self._head = Head(plan.head, self._classifier, self._vectors, engine.arithmetic.g_bits)
        self._gates = GatePolicy(plan, self.method.slu, seed) if self.method.slu else None
        if self._gates:
            for node in self._nodes:
                if isinstance(node, ResidualBlock):
                    node.gated = self._gates.gated(node.plan.index)

    def _all_layers(self) -> Any:
        for node in self._nodes:
            if isinstance(node, ConvLayer):
                yield node
            elif isinstance(node, ResidualBlock):
                yield from node.layers

    # --- training ------------------------------------------------------------------------------------

    def train_step(self, batch: Batch, learning_rate: float, sign_learning_rate: float) -> StepResult:
        """Forward, backward and update on one batch (see `Network.train_step`)."""
        method = self.method
        samples = len(batch.labels)
        run = Pass(
            self.engine,
            self._vectors,
            self._accountant,
            Mode.TRAIN,
            mix64_scalar(self.seed, batch.step),
            method.update,
            round(method.beta * 4096),
            bool(method.observe_every) and batch.step % method.observe_every == 0,
        )
        pools: dict[int, Tensor] = {}  # inputs of the pooling layers, by position
        output = self._forward(batch.images, run, (batch.step, batch.samples), pools)
        logits, exponent = self._head.forward(output, run)
        gradient, loss, correct = self._head.backward(
            logits, exponent, batch.labels, run, input_needed=not method.head_only
        )
        if gradient is not None:
            self._backward(gradient, run, pools)
        self._update(samples, learning_rate, sign_learning_rate)
        self.counters.add("steps", 1)
        self.counters.add("batches.seen", 1)
        self.counters.add("samples.seen", samples)
        self._count_details(run.details)
        return StepResult(loss, correct, run.details)

    def skip_batch(self, samples: int) -> None:
        """Count a batch that was dropped before it was loaded."""
        self._accountant.skip_batch(self.plan, samples)

    def _forward(
        self,
        images: NDArray[np.uint8],
        run: Pass,
        draw: tuple[int, Int64Array] | None,
        pools: dict[int, Tensor] | None = None,
    ) -> Tensor:
        bits = self.engine.arithmetic.x_bits
        current = Tensor(self.engine.from_numpy(input_integers(images, bits)), 2 - bits)
        if self._gates:
            self._gates.gates.start(len(images))
        open_blocks = self._drawn_depth(draw)
        for position, node in enumerate(self._nodes):
            if isinstance(node, ConvLayer):
                current = node.forward(current, run)
            elif isinstance(node, ResidualBlock):
                current = self._enter(node, current, run, draw, open_blocks)
            else:
                if pools is not None:
                    pools[position] = current
                if run.training:
                    self._accountant.pool(node.in_shape, node.out_shape, len(images), backward=False)
                current = current._replace(data=self.engine.max_pool(current.data, node.size))
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
        samples = int(x.data.shape[0])
        opened: Int64Array | None = None
        scale = 1 << 16
        if block.gated and self._gates:
            positions = plan.in_shape[0] * plan.in_shape[1]
            pooled = self.engine.spatial_sum(x.data)
            decision = self._gates.decide(plan.index, pooled, x.exponent, positions, draw)
            if run.training:
                self._accountant.gate(self._gates.gates.macs[plan.index], samples, backward=False)
            opened = np.flatnonzero(decision)
            if run.mode is Mode.STATISTICS and not len(opened):
                block.forward(x, run)  # statistics of a block that no sample of the list enters
        elif open_blocks is not None and not open_blocks[plan.index]:
            opened = np.zeros(0, np.int64)
        elif self.method.stochastic_depth and not run.training:
            scale = self.method.stochastic_depth.survival_q16(plan.index, sum(1 for _ in self.plan.blocks()))
        if run.training:
            entered = samples if opened is None else len(opened)
            run.record(plan.name, entered=entered, samples=samples)
            if entered < samples:
                reason = "slu" if block.gated else "sd"
                self._accountant.skip_block(plan, samples - entered, reason)
        return block.forward(x, run, opened, scale)

    def _backward(self, gradient: Tensor, run: Pass, pools: dict[int, Tensor]) -> None:
        branch: dict[int, tuple[Int64Array, int]] = {}
        current = gradient
        for position in range(len(self._nodes) - 1, -1, -1):
            node = self._nodes[position]
            if isinstance(node, ConvLayer):
                if position == 0:
                    node.backward_weights(current, run)
                    break
                current = node.backward(current, run)
            elif isinstance(node, ResidualBlock):
                if node.gated:
                    branch[node.plan.index] = node.branch_gradient(current, run)
                current = node.backward(current, run)
            else:
                x = pools[position]
                current = current._replace(data=self.engine.max_pool_gradient(current.data, x.data, node.size))
                samples = int(x.data.shape[0])
                self._accountant.pool(node.in_shape, node.out_shape, samples, backward=True)
        if self._gates:
            self._gates.backward(branch)
            for macs in self._gates.gates.macs.values():
                self._accountant.gate(macs, int(gradient.data.shape[0]), backward=True)

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

    # --- evaluation ----------------------------------------------------------------------------------

    def prepare_evaluation(self, images: NDArray[np.uint8]) -> None:
        """Take the statistics of batch norm from these images (spec, section 8)."""
        self._forward(images, self._evaluation_pass(Mode.STATISTICS), None)

    def logits(self, images: NDArray[np.uint8]) -> Int64Array:
        """int64 [N, classes]; nothing changes."""
        run = self._evaluation_pass(Mode.EVALUATE)
        return self._head.forward(self._forward(images, run, None), run)[0]

    def _evaluation_pass(self, mode: Mode) -> Pass:
        return Pass(self.engine, self._vectors, self._accountant, mode)

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
        if self._gates:
            gates = self._gates.gates.parameters
            found.update({name: gates.view(name) for name in gates})
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
        return [*groups, self._gates.gates.parameters] if self._gates else groups

    def state(self) -> dict[str, NDArray[Any]]:
        """Masters, momentum and exponents, as copies."""
        state: dict[str, NDArray[Any]] = {}
        for layer in self._layers:
            state[layer.weight.name] = np.array(self.engine.to_numpy(layer.weight.master))
            state[f"{layer.plan.name}.momentum"] = np.array(self.engine.to_numpy(layer.weight.momentum))
            state[f"{layer.plan.name}.exponents"] = layer.exponents()
        state["head.exponent"] = np.array([self._head.g_exponent.to_int()], np.int64)
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
        for i, group in enumerate(self._groups()):
            group.master[...] = state[f"group{i}.masters"]
            group.momentum[...] = state[f"group{i}.momentum"]


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
