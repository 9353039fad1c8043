"""Residual blocks: what runs through the body, what passes by, and the gradients of both (sections 4 and 5)."""

from __future__ import annotations

from oracle import round_shift

from reference.tensors import Tensor


def subsampled(x, stride, out_shape):
    """The shortcut of a block (option A): every stride-th row and column, zero channels appended."""
    (_, width, c_in), (out_h, out_w, c_out) = x.shape, out_shape
    samples = [
        [
            sample[(row * stride * width + column * stride) * c_in + c] if c < c_in else 0
            for row in range(out_h)
            for column in range(out_w)
            for c in range(c_out)
        ]
        for sample in x.samples
    ]
    return x.like(samples, out_shape)


def spaced(g, stride, in_shape):
    """Its reverse for gradients: on every stride-th row and column, the channels that the input has."""
    (height, width, c_in), (out_h, out_w, c_out) = in_shape, g.shape
    result = []
    for sample in g.samples:
        values = [0] * (height * width * c_in)
        for row in range(out_h):
            for column in range(out_w):
                for c in range(min(c_in, c_out)):
                    values[(row * stride * width + column * stride) * c_in + c] = sample[
                        (row * out_w + column) * c_out + c
                    ]
        result.append(values)
    return result


class Block:
    """A residual block: some samples run through its body, the others pass by."""

    def __init__(self, plan, layers, projection=None):
        self.plan, self.layers, self.projection = plan, layers, projection
        self.opened = []

    def forward(self, x, run, is_open, survival=None):
        last = self.layers[-1]
        if self.projection:
            self.x, self.opened = x, list(range(len(is_open)))
            return self.body(x, run, self.projection.forward(x, run), survival)
        shortcut = subsampled(x, self.plan.stride, self.plan.out_shape)
        self.opened = [n for n, yes in enumerate(is_open) if yes]
        closed = [n for n, yes in enumerate(is_open) if not yes]
        if run.mode == "statistics" and not self.opened:  # statistics of all of them, output not used
            self.body(x, run, shortcut, survival)
        self.passed = last.pass_by(shortcut, run).samples
        computed = []
        if self.opened:
            computed = self.body(x.take(self.opened), run, shortcut.take(self.opened), survival).samples
        merged = dict(zip(self.opened + closed, computed + [self.passed[n] for n in closed]))
        exponent, low, high = last.output_format()
        a = Tensor([merged[n] for n in range(len(is_open))], self.plan.out_shape, exponent, self.plan.activation)
        a.below, a.signed = (high if self.plan.activation == "relu6" else 0), low < 0
        self.x, self.a = x, a
        return a

    def body(self, x, run, shortcut, survival):
        for layer in self.layers[:-1]:
            x = layer.forward(x, run)
        return self.layers[-1].forward(x, run, shortcut, survival)

    def branch_gradient(self, g):
        """<g, a - s> per sample: (integers, exponent). Closed samples give 0."""
        dots = [
            sum(v * (here - there) for v, here, there in zip(*parts))
            for parts in zip(g.samples, self.a.samples, self.passed)
        ]
        return dots, g.exponent + self.a.exponent

    def backward(self, g, run, method):
        """Gradient of the block's input, masked."""
        acc, exponent = None, g.exponent
        back = None
        if self.projection:
            dz = self.projection.normalisation_backward(g, run)
            self.projection.weight_backward(dz, method)
            passed = finish(self.x, *self.projection.input_backward(dz, self.x.shape), self.projection, run)
            back, g_exponent = passed.samples, passed.exponent
        if self.opened:
            gradient = g.take(self.opened)
            for position, layer in reversed(list(enumerate(self.layers))):
                dz = layer.normalisation_backward(gradient, run)
                layer.weight_backward(dz, method)
                x = layer.cache[0]
                if position:
                    gradient = finish(x, *layer.input_backward(dz, x.shape), layer, run)
                else:
                    acc, exponent = layer.input_backward(dz, x.shape)
        if back is None:
            back, g_exponent = spaced(g, self.plan.stride, self.plan.in_shape), g.exponent
        common = max(min(exponent, g_exponent), max(exponent, g_exponent) - 20)
        back = [[round_shift(v, common - g_exponent) for v in sample] for sample in back]
        if acc is not None:
            for n, sample in zip(self.opened, acc):
                back[n] = [round_shift(v, common - exponent) + more for v, more in zip(sample, back[n])]
        return finish(self.x, back, common, self.layers[0], run, self.opened)


def finish(x, gradient, exponent, layer, run, opened=None):
    """Masked by the activation x that it belongs to, and requantised. opened: positions, None for all."""
    everything = range(len(gradient))
    opened = everything if opened is None else opened
    parts = [(opened, layer.rounder(run, 3)), ([n for n in everything if n not in opened], layer.rounder(run, 5))]

    def rounder(samples, shift):
        result = list(samples)
        for positions, rounded in parts:
            if positions:
                values = rounded([samples[n] for n in positions], shift)
                for n, sample in zip(positions, values):
                    result[n] = sample
        return result

    samples, exponent = layer.g.requantise(x.masked(gradient), exponent, layer.fmt.g_bits, rounder)
    return x.like(samples, exponent=exponent)
