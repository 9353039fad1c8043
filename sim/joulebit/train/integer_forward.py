"""A whole network in integers as far as it answers: its layers, the forward pass and evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from joulebit.energy.counters import Counters, counted_as
from joulebit.energy.remembered import RememberingAccountant
from joulebit.energy.widths import Widths
from joulebit.engine.base import Engine
from joulebit.fixed.arithmetic import Arithmetic
from joulebit.fixed.rounding import saturate, shift_round
from joulebit.nn.adder import conv_layer
from joulebit.nn.block import Entered, ResidualBlock
from joulebit.nn.context import Mode, Pass
from joulebit.nn.conv import ConvLayer
from joulebit.nn.empty import accepting_no_samples
from joulebit.nn.graph import ConvPlan, MaxPoolPlan, NetworkPlan, ResidualPlan
from joulebit.nn.head import Head
from joulebit.nn.init import initial_masters
from joulebit.nn.log_odds import label_log_odds
from joulebit.nn.parameters import HostParameters
from joulebit.nn.pooling import max_pool
from joulebit.nn.tensor import Tensor
from joulebit.nn.weight_gradient import check_exact_sums
from joulebit.nn.workers import OneWorker, Share, Totals, Workers, part_of
from joulebit.techniques.slu import GatePolicy
from joulebit.train.exits import ExitClassifiers
from joulebit.train.integer_state import IntegerState
from joulebit.train.method import TrainingMethod

Int64Array = NDArray[np.int64]
Node = ConvLayer | ResidualBlock | MaxPoolPlan


class IntegerForward(IntegerState):
    """The layers of a network, its widths, the forward pass and evaluation. Arguments: see `IntegerNetwork`."""

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
        self._gates = GatePolicy(plan, self.method.slu, seed) if self.method.slu else None
        exits = self.method.exits
        self._exits = ExitClassifiers(plan, exits, seed, engine.arithmetic.g_bits) if exits else None
        if self._gates:
            for node in self._nodes:
                if isinstance(node, ResidualBlock):
                    node.gated = self._gates.gated(node.plan.index)

    def _all_layers(self) -> Iterator[ConvLayer]:
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

    # --- forward -------------------------------------------------------------------------------------

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


def input_integers(images: NDArray[np.uint8], bits: int) -> NDArray[Any]:
    """Pixels as the integers of the network's input (spec, section 2): int8 up to 8 bits, else int16."""
    if bits == 8:
        turned = images ^ np.uint8(128)
        turned += turned == np.uint8(128)  # -128 becomes -127; numpy's maximum takes ten times as long
        return turned.view(np.int8)
    centred = saturate(shift_round(images.astype(np.int16) - 128, 8 - bits), bits)
    return centred.astype(np.int8 if bits < 8 else np.int16)
