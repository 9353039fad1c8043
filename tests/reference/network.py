"""Networks that train and evaluate (specification, sections 2, 7, 8 and 10)."""

from __future__ import annotations

from oracle import mix64, round_shift, saturate

from joulebit.nn.graph import ConvPlan, MaxPoolPlan
from reference.block import Block, finish
from reference.gates import Gates
from reference.head import Head, loss_gradient
from reference.layer import Layer, Run
from reference.pooling import pool_backward, pool_windows
from reference.random_numbers import GATE, STOCHASTIC_DEPTH, philox
from reference.tensors import Tensor, clog2


def survival_q16(final, index, blocks):
    closing = 2**16 - round(final * 2**16)
    return 2**16 - (2 * (index + 1) * closing + blocks) // (2 * blocks)


class ReferenceNetwork:
    """A network that trains and evaluates; method has the attributes of `TrainingMethod`, fmt of `Arithmetic`."""

    def __init__(self, plan, fmt, seed, method):
        self.plan, self.fmt, self.seed, self.method = plan, fmt, seed, method
        self.layers = [Layer(conv, fmt, seed) for conv in plan.convs()]
        self.blocks = [
            Block(
                b, [self.layers[conv.index] for conv in b.body], b.projection and self.layers[b.projection.index]
            )
            for b in plan.blocks()
        ]
        self.head = Head(plan.head, fmt, seed, len(self.layers))
        self.gates = Gates(plan, seed, method.slu) if method.slu else None

    # Section 2.
    def input(self, images):
        x_bits = self.fmt.x_bits
        samples = [
            [
                saturate(round_shift(pixel - 128, 8 - x_bits), x_bits)
                for row in image
                for cell in row
                for pixel in cell
            ]
            for image in images
        ]
        return Tensor(samples, self.plan.image_shape, 2 - x_bits)

    def forward(self, images, run, samples=None):
        x = self.input(images)
        self.inputs = []
        if self.gates:
            self.gates.start(len(images))
        blocks = iter(self.blocks)
        for node in self.plan.nodes:
            self.inputs.append(x)
            if isinstance(node, ConvPlan):
                x = self.layers[node.index].forward(x, run)
            elif isinstance(node, MaxPoolPlan):
                windows = pool_windows(node)
                pooled = [[max(sample[i] for i in window) for window in windows] for sample in x.samples]
                x = x.like(pooled, node.out_shape)
            else:
                block = next(blocks)
                x = block.forward(x, run, *self.opened(block, x, run, samples))
        return self.head.forward(x)

    def opened(self, block, x, run, samples):
        """For each sample, whether the block is open; and what its branch is multiplied by."""
        count, index = len(x.samples), block.plan.index
        if self.method.stochastic_depth is not None:
            survival = survival_q16(self.method.stochastic_depth.final_survival, index, len(self.blocks))
            if run.mode != "train":
                return [True] * count, survival
            word = philox(self.seed, STOCHASTIC_DEPTH, run.step, 0, index)[0]
            return [word < survival * 2**16] * count, None
        if self.gates and index:
            channels = x.shape[2]
            sums = [[sum(sample[c::channels]) for c in range(channels)] for sample in x.samples]
            p = self.gates.probabilities(index, sums, x.exponent - clog2(x.shape[0] * x.shape[1]))
            if run.mode != "train":
                return [v > 2**14 for v in p], None
            drawn = [philox(self.seed, GATE, run.step, index, sample)[0] >> 17 for sample in samples]
            self.gates.opened[index] = [bits_drawn < v for bits_drawn, v in zip(drawn, p)]
            return self.gates.opened[index], None
        return [True] * count, None

    def train_step(self, images, labels, samples, step, learning_rate, sign_learning_rate):
        run, method = Run("train", step, mix64(self.seed, step)), self.method
        for layer in self.layers:
            layer.outside = layer.elements = 0
            for parameter in (layer.weight, layer.gamma, layer.beta):
                if parameter is not None:
                    parameter.gradient = parameter.direction = None
        logits, exponent = self.forward(images, run, samples)
        g_bits = self.fmt.g_bits
        g = [loss_gradient(row, exponent, label, g_bits) for row, label in zip(logits, labels)]
        gradient = self.head.backward(g, 1 - g_bits, run, wanted=not method.head_only)
        if not method.head_only:
            self.backward(gradient, run)
            if self.gates:
                self.gates.backward()
        self.update(len(images), learning_rate, sign_learning_rate)
        for layer in self.layers:
            if layer.plan.activation != "relu6" and layer.outside * 1024 > layer.elements:
                layer.range = min(6, layer.range + 1)
        return logits, exponent

    def backward(self, g, run):
        """Gradients of all layers from that of the last activation."""
        rule = {"sgd": "sgd", "sign": "sign", "psg": round(4096 * self.method.beta)}[self.method.update.value]
        blocks = list(self.blocks)
        for position, node in reversed(list(enumerate(self.plan.nodes))):
            x = self.inputs[position]
            if isinstance(node, ConvPlan):
                layer = self.layers[node.index]
                dz = layer.normalisation_backward(g, run)
                layer.weight_backward(dz, rule)
                if position:
                    g = finish(x, *layer.input_backward(dz, x.shape), layer, run)
            elif isinstance(node, MaxPoolPlan):
                parts = zip(g.samples, x.samples)
                g = x.like([pool_backward(node, self.fmt.g_bits, *part) for part in parts], exponent=g.exponent)
            else:
                block = blocks.pop()
                if self.gates and block.plan.index:
                    self.gates.learn(block.plan.index, *block.branch_gradient(g))
                g = block.backward(g, run, rule)

    # Section 7.
    def update(self, samples, learning_rate, sign_learning_rate):
        method = self.method
        rate, sign_rate = round(2**20 * learning_rate), round(2**20 * sign_learning_rate)
        momentum, sign_momentum = round(2**15 * method.momentum), round(2**15 * method.sign_momentum)
        decay, sign_decay = round(2**24 * method.weight_decay), round(2**24 * method.sign_weight_decay)
        for layer in [] if method.head_only else self.layers:
            for parameter in (layer.weight, layer.gamma, layer.beta):
                if parameter is None or parameter.gradient is None:
                    continue
                if parameter.direction is not None:
                    parameter.update(samples, sign_rate, sign_momentum, sign_decay)
                else:
                    parameter.update(samples, rate, momentum, decay if parameter is layer.weight else 0)
        self.head.weight.update(samples, rate, momentum, decay)
        self.head.bias.update(samples, rate, momentum, 0)
        if self.gates and not method.head_only:
            gate_rate = round(2**20 * method.slu.gate_learning_rate)
            for parameter in self.gates.parameters.values():
                parameter.update(samples, gate_rate, momentum, decay)

    # Section 8.
    def prepare_evaluation(self, images):
        self.forward(images, Run("statistics"))

    def logits(self, images):
        return self.forward(images, Run("evaluate"))[0]
