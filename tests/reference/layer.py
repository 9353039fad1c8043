"""One convolution with its normalisation and activation, forward and backward (specification, sections 4 to 6)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import isqrt

from oracle import clamp, connections, mix64, round_shift, saturate, sign

from reference.kinds import at_exponent
from reference.parameters import Parameter
from reference.random_numbers import initial_weights
from reference.tensors import Delayed, Rounder, Tensor, bits, peak


@cache
def products(geometry, in_shape, out_shape):
    """(input, weight, output) positions of all products of one sample, in flat lists."""
    (height, width, c_in), (_, out_width, c_out) = in_shape, out_shape
    per_group = c_in // geometry.groups
    return [
        (
            (source[0] * width + source[1]) * c_in + source[2],
            ((weight[0] * geometry.kernel_w + weight[1]) * per_group + weight[2]) * c_out + weight[3],
            (target[0] * out_width + target[1]) * c_out + target[2],
        )
        for source, weight, target in connections(geometry, height, width, c_in, c_out)
    ]


@dataclass
class Run:
    """One pass: 'train', 'statistics' or 'evaluate'."""

    mode: str
    step: int = 0
    key: int = 0  # of stochastic rounding


@dataclass
class Constants:
    """Per channel: what normalises z."""

    mean: list
    rsqrt: list
    scale: list
    gamma: list
    beta: list
    exponent: int = 0  # of z


class Layer:
    """One convolution with its normalisation and activation (sections 4 to 6)."""

    def __init__(self, plan, fmt, seed):
        self.plan, self.fmt, self.seed = plan, fmt, seed
        kernel_h, kernel_w, c_in, c_out = plan.weight_shape
        fan = kernel_h * kernel_w * (c_out if plan.norm else c_in)
        deviation = 2**30 if plan.kind == "adder" else min(2**30, isqrt(2**61 // fan))
        count = kernel_h * kernel_w * c_in * c_out
        self.weight = Parameter(initial_weights(seed, plan.index, count, deviation), plan.kind)
        self.gamma = Parameter([2**28] * c_out) if plan.norm else None
        self.beta = Parameter([0] * c_out)
        self.z, self.dz, self.g = Delayed(), Delayed(), Delayed()  # g: of the gradient of this layer's input
        self.range = (
            4 if plan.norm and plan.activation != "relu6" and (plan.ends_block or not plan.in_block) else 3
        )
        self.fixed = None  # Constants of the last prepare_evaluation
        self.fixed_shift = 0
        self.outside = self.elements = 0
        self.cache = None

    def rounder(self, run, kind):
        return Rounder(self.fmt.rounding, mix64(run.key, 8 * self.plan.index + kind))

    # Section 2.
    def output_format(self):
        """(exponent, lo, hi) of the activation."""
        if self.plan.activation is None:
            limit = 2 ** (self.fmt.x_bits - 1) - 1
            return self.range - (self.fmt.x_bits - 1), -limit, limit
        width = self.fmt.x_bits - (1 if self.fmt.x_signed else 0)
        exponent, high = self.range - width, 2**width - 1
        if self.plan.activation == "relu6":
            high = min(high, round_shift(6, exponent, "floor"))
        return exponent, 0, high

    def activate(self, y, shift, run, kind):
        """clamp(RND*(y, shift), lo, hi), with the count of what was outside."""
        exponent, low, high = self.output_format()
        rounded = self.rounder(run, kind)(y, shift)
        if run.mode == "train" and kind == 1:  # not what passes by a closed block
            self.outside += sum(v > high or (low < 0 and v < low) for sample in rounded for v in sample)
            self.elements += sum(map(len, rounded))
        return Tensor(
            [[clamp(v, low, high) for v in sample] for sample in rounded],
            self.plan.out_shape,
            exponent,
            self.plan.activation,
            high if self.plan.activation == "relu6" else 0,
            low < 0,
        )

    # Section 4.
    def convolve(self, x):
        """(acc, exponent)."""
        wired = products(self.plan.geometry, x.shape, self.plan.out_shape)
        out_size = self.plan.out_shape[0] * self.plan.out_shape[1] * self.plan.out_shape[2]
        if self.plan.kind == "adder":
            return self.distances(x, wired, out_size), x.exponent
        w, e_w = self.weight.weights(self.fmt.w_bits)
        result = []
        for sample in x.samples:
            acc = [0] * out_size
            for source, weight, target in wired:
                acc[target] += sample[source] * w[weight]
            result.append([saturate(v, self.fmt.accumulator_bits) for v in acc])
        return result, x.exponent + e_w

    # Section 15.
    def distances(self, x, wired, out_size):
        w, c_out = at_exponent(self.weight.master, self.fmt.w_bits, x.exponent), self.plan.out_shape[2]
        outside = [-sum(abs(v) for v in w[channel::c_out]) for channel in range(c_out)]  # a window of zeros
        result = []
        for sample in x.samples:
            acc = [outside[place % c_out] for place in range(out_size)]
            for source, weight, target in wired:
                acc[target] += abs(w[weight]) - abs(sample[source] - w[weight])
            result.append([saturate(v, self.fmt.accumulator_bits) for v in acc])
        return result

    def without_weights(self, sums, dz, w):
        """sum (x - w) dz out of sum x dz."""
        c_out = self.plan.out_shape[2]
        total = [sum(sum(gradients[channel::c_out]) for gradients in dz) for channel in range(c_out)]
        return [v - w[place] * total[place % c_out] for place, v in enumerate(sums)]

    def constants(self, z, e_z):
        c_out = self.plan.out_shape[2]
        beta = self.beta.narrow()
        if not self.plan.norm:
            return Constants(
                [0] * c_out, [2**15] * c_out, [clamp(23 + e_z, -27, 30)] * c_out, [4096] * c_out, beta
            )
        found = Constants([], [], [], self.gamma.narrow(), beta)
        m = len(z) * self.plan.out_shape[0] * self.plan.out_shape[1]
        for c in range(c_out):
            channel = [v for sample in z for v in sample[c::c_out]]
            s1, s2 = sum(channel), sum(v * v for v in channel)
            mean = (s1 * 2**9 + m) // (2 * m)
            d = max(0, s2 * 2**16 // m - mean**2) + 2 ** min(60, max(0, -2 * e_z))
            scale = next(j for j in range(31) if 2**60 <= d * 4**j < 2**62)
            root = isqrt(d * 4**scale)
            found.mean.append(mean)
            found.scale.append(scale)
            found.rsqrt.append((2**46 + root // 2) // root)
        return found

    def normalised(self, z, norm):
        """xhat."""
        channels = len(norm.mean)
        return [
            [
                saturate(
                    round_shift(
                        (v * 2**8 - norm.mean[i % channels]) * norm.rsqrt[i % channels],
                        35 - norm.scale[i % channels],
                    ),
                    16,
                )
                for i, v in enumerate(sample)
            ]
            for sample in z
        ]

    def forward(self, x, run, shortcut=None, survival=None):
        acc, e = self.convolve(x)
        if run.mode == "evaluate":
            rounded = self.rounder(run, 0)(acc, self.fixed_shift)
            z = [[saturate(v, 16) for v in sample] for sample in rounded]
            norm = self.fixed
        else:
            state = self.z if run.mode == "train" else Delayed()
            z, e_z = state.requantise(acc, e, 16, self.rounder(run, 0))
            norm = self.constants(z, e_z)
            norm.exponent = e_z
            if run.mode == "statistics":
                self.fixed, self.fixed_shift = norm, e_z - e
        if survival is not None:
            norm = Constants(
                norm.mean,
                norm.rsqrt,
                norm.scale,
                [round_shift(v * survival, 16) for v in norm.gamma],
                [round_shift(v * survival, 16) for v in norm.beta],
                norm.exponent,
            )
        xhat = self.normalised(z, norm)
        c_out = self.plan.out_shape[2]
        y = [
            [norm.gamma[i % c_out] * v + norm.beta[i % c_out] * 2**11 for i, v in enumerate(sample)]
            for sample in xhat
        ]
        if shortcut is not None:
            for sample, more in zip(y, shortcut.samples):
                for i, v in enumerate(more):
                    sample[i] += v * 2 ** (23 + shortcut.exponent)
        a = self.activate(y, 23 + self.output_format()[0], run, 1)
        if run.mode == "train":
            self.cache = (x, z, xhat, norm)
        return a

    def pass_by(self, shortcut, run):
        """The activation of samples for which the layer's block is closed."""
        y = [[v * 2**23 for v in sample] for sample in shortcut.samples]
        return self.activate(y, 23 + self.output_format()[0] - shortcut.exponent, run, 4)

    # Section 5.
    def normalisation_backward(self, g, run):
        """dz of g, which is masked; leaves the gradients of gamma and beta."""
        _, z, xhat, norm = self.cache
        c_out = self.plan.out_shape[2]
        m = len(z) * self.plan.out_shape[0] * self.plan.out_shape[1]
        db, dg = [0] * c_out, [0] * c_out
        for gradients, values in zip(g.samples, xhat):
            for i, (gradient, value) in enumerate(zip(gradients, values)):
                db[i % c_out] += gradient
                dg[i % c_out] += gradient * value
        self.beta.gradient = (db, g.exponent)
        if self.plan.norm:
            self.gamma.gradient = (dg, g.exponent - 11)
            c1 = [(v * 2**9 + m) // (2 * m) for v in db]
            c2 = [clamp((v * 2**6 + m) // (2 * m), -(2**31 - 1), 2**31 - 1) for v in dg]
        else:
            c1 = c2 = [0] * c_out
        k = [gamma * rsqrt for gamma, rsqrt in zip(norm.gamma, norm.rsqrt)]
        sh = [max(0, bits(abs(v)) - 15) for v in k]
        km = [round_shift(v, s) for v, s in zip(k, sh)]
        eu = [g.exponent + s + scale - norm.exponent - 58 for s, scale in zip(sh, norm.scale)]
        t_km = [
            [
                (gradient * 2**8 - c1[i % c_out] - round_shift(value * c2[i % c_out], 19)) * km[i % c_out]
                for i, (gradient, value) in enumerate(zip(gradients, values))
            ]
            for gradients, values in zip(g.samples, xhat)
        ]
        rounder, g_bits = self.rounder(run, 2), self.fmt.g_bits

        def at(exponent):
            """(u, p)."""
            u = rounder(t_km, [min(62, exponent - v) for v in eu])
            return u, min(peak(u), 2**30)

        if self.dz.b is None:
            first = max(eu) + 24
            self.dz.b = bits(max(1, at(first)[1])) + first - 1
        exponent = max(self.dz.b + 1 - (g_bits - 1), *eu)
        u, p = at(exponent)
        if p > 0:
            self.dz.b = bits(p) + exponent
        return g.like([[saturate(v, g_bits) for v in sample] for sample in u], exponent=exponent)

    def weight_backward(self, dz, method):
        x = self.cache[0]
        exact = self.correlate(x.samples, dz.samples, x.shape)
        exact = [saturate(v, self.fmt.accumulator_bits) for v in exact]
        w = at_exponent(self.weight.master, self.fmt.w_bits, x.exponent)
        if self.plan.kind == "adder":
            exact = self.without_weights(exact, dz.samples, w)
        self.weight.gradient = (exact, x.exponent + dz.exponent)
        if method == "sign":
            self.weight.direction = [sign(v) for v in exact]
        elif method != "sgd":
            predicted = self.correlate(self.msb_of_x(x), self.msb_of_dz(dz), x.shape)
            if self.plan.kind == "adder":
                dropped = self.fmt.x_bits - self.fmt.x_msb_bits
                leading = [saturate(round_shift(v, dropped), self.fmt.w_bits) for v in w]
                predicted = self.without_weights(predicted, self.msb_of_dz(dz), leading)
            tau = max(1, (method * max(abs(v) for v in predicted)) >> 12)
            self.weight.direction = [
                sign(guess) if abs(guess) >= tau else sign(known) for guess, known in zip(predicted, exact)
            ]

    def correlate(self, x, dz, in_shape):
        dw = [0] * len(self.weight.master)
        for values, gradients in zip(x, dz):
            for source, weight, target in products(self.plan.geometry, in_shape, self.plan.out_shape):
                dw[weight] += values[source] * gradients[target]
        return dw

    # Section 6.
    def msb_of_x(self, x):
        fmt = self.fmt
        limit = max(1, 2 ** (fmt.x_msb_bits - 1) - 1)
        if x.signed:
            low, high = -limit, limit
        else:
            low, high = 0, limit if fmt.x_signed else 2**fmt.x_msb_bits - 1
        return self.msb(x.samples, fmt.x_bits - fmt.x_msb_bits, low, high)

    def msb_of_dz(self, dz):
        limit = max(1, 2 ** (self.fmt.g_msb_bits - 1) - 1)
        return self.msb(dz.samples, self.fmt.g_bits - self.fmt.g_msb_bits, -limit, limit)

    def msb(self, samples, dropped, low, high):
        mode = self.fmt.msb_rounding
        return [[clamp(round_shift(v, dropped, mode), low, high) for v in sample] for sample in samples]

    # Section 5: gradient of the input.
    def input_backward(self, dz, x_shape):
        """(acc, exponent)."""
        x = self.cache[0]
        adder = self.plan.kind == "adder"
        w, e_w = (
            (at_exponent(self.weight.master, self.fmt.w_bits, x.exponent), x.exponent)
            if adder
            else self.weight.weights(self.fmt.w_bits)
        )
        clip = 2 ** max(0, -x.exponent)
        samples, exponent = dz.samples, dz.exponent
        narrow = self.fmt.input_gradient_bits
        if narrow and narrow < self.fmt.g_bits:
            dropped = self.fmt.g_bits - narrow
            samples = [[saturate(round_shift(v, dropped), narrow) for v in sample] for sample in samples]
            exponent += dropped
        result = []
        for values, gradients in zip(x.samples, samples):
            acc = [0] * (x_shape[0] * x_shape[1] * x_shape[2])
            for source, weight, target in products(self.plan.geometry, x_shape, self.plan.out_shape):
                factor = clamp(w[weight] - values[source], -clip, clip) if adder else w[weight]
                acc[source] += gradients[target] * factor
            result.append([saturate(v, self.fmt.accumulator_bits) for v in acc])
        return result, exponent + e_w
