"""A whole training step and evaluation in plain Python integers, written from the specification alone.

`ReferenceNetwork` shares no arithmetic with the package: only the description of a network (`joulebit.nn.graph`)
and the scalars and the list of a convolution's products of the tests' own `oracle`. It keeps the parameters,
momenta, exponents and ranges of a run, so that it can go side by side with the integer network. A tensor is a list
of samples, each a flat list in the order row, column, channel. Slow, for tiny networks only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal, localcontext
from functools import cache
from math import isqrt

from oracle import clamp, connections, mix64, round_shift, saturate, sign
from reference_kinds import at_exponent, clipped, few_values, scaled

from joulebit.nn.graph import ConvPlan, MaxPoolPlan

WORD = 2**32
GATE, STOCHASTIC_DEPTH, INIT = 4, 5, 6  # purposes of random numbers
HEAD = 2**20  # the number of the classifier in keys of rounding


# --- random numbers and initial weights (specification, section 11) ----------------------------------------


def philox(seed, purpose, a, b, index):
    """The four words of Philox4x32-10 for one counter."""
    c0, c1, c2, c3 = index % WORD, a, b, index // WORD + purpose * 2**24
    k0, k1 = seed % WORD, seed // WORD
    for _ in range(10):
        first, second = c0 * 0xD2511F53, c2 * 0xCD9E8D57
        c0, c1, c2, c3 = (
            second // WORD ^ c1 ^ k0,
            second % WORD,
            first // WORD ^ c3 ^ k1,
            first % WORD,
        )
        k0, k1 = (k0 + 0x9E3779B9) % WORD, (k1 + 0xBB67AE85) % WORD
    return c0, c1, c2, c3


def normal(seed, stream, index):
    """A nearly normal number in Q.28: sixteen half-words, less their mean, over their deviation."""
    words = philox(seed, INIT, stream, 0, 2 * index) + philox(seed, INIT, stream, 0, 2 * index + 1)
    total = sum(word % 2**16 + word // 2**16 for word in words) - 524280
    scale = (isqrt(4 * (3 * 2**116 // (2**32 - 1))) + 1) // 2
    return round_shift(total * scale, 31)


def initial_weights(seed, stream, count, deviation):
    """Masters in Q.28; deviation in Q.30."""
    return [round_shift(normal(seed, stream, index) * deviation, 30) for index in range(count)]


def bits(value):
    return value.bit_length()


def clog2(n):
    return bits(n - 1)


# --- tensors (sections 1 to 3) -----------------------------------------------------------------------------


@dataclass
class Tensor:
    samples: list
    shape: tuple  # height, width, channels
    exponent: int
    activation: str | None = None  # which mask a gradient of it meets
    below: int = 0  # after a ReLU6, the value from which on no gradient passes
    signed: bool = True

    @property
    def size(self):
        return self.shape[0] * self.shape[1] * self.shape[2]

    def like(self, samples, shape=None, exponent=None):
        return Tensor(
            samples,
            shape or self.shape,
            self.exponent if exponent is None else exponent,
            self.activation,
            self.below,
            self.signed,
        )

    def take(self, positions):
        return self.like([self.samples[n] for n in positions])

    def passes(self, value):
        """The mask of section 5."""
        if self.activation is None:
            return True
        return value > 0 and (self.activation == "relu" or value < self.below)

    def masked(self, gradient):
        """gradient (lists of samples) where this activation lets it pass, else 0."""
        return [
            [g if self.passes(a) else 0 for g, a in zip(gradients, values)]
            for gradients, values in zip(gradient, self.samples)
        ]


def peak(samples):
    return max((abs(v) for sample in samples for v in sample), default=0)


@dataclass
class Rounder:
    """RND* of one requantisation."""

    mode: str
    key: int = 0

    def __call__(self, samples, shift):
        """RND* of every element; shift is a number, or one per channel."""
        size = len(samples[0])
        shifts = shift if isinstance(shift, list) else [shift]
        return [
            [
                round_shift(v, shifts[i % len(shifts)], self.mode, self.key, n * size + i)
                for i, v in enumerate(sample)
            ]
            for n, sample in enumerate(samples)
        ]


@dataclass
class Delayed:
    """State b of a tensor with a delayed exponent (section 3)."""

    b: int | None = None

    def shift(self, p, exponent, width):
        if self.b is None:
            if p == 0:
                return 0
            self.b = bits(p) + exponent - 1
        return max(0, self.b + 1 - (width - 1) - exponent)

    def used(self, p, shift, exponent):
        m = round_shift(p, shift)
        if m > 0:
            self.b = bits(m) + exponent + shift

    def requantise(self, samples, exponent, width, rounder):
        """(q, E)."""
        p = peak(samples)
        shift = self.shift(p, exponent, width)
        q = [[saturate(v, width) for v in sample] for sample in rounder(samples, shift)]
        self.used(p, shift, exponent)
        return q, exponent + shift


# --- convolution -------------------------------------------------------------------------------------------


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


class Parameter:
    """A master with its momentum (section 7)."""

    def __init__(self, values, kind="linear"):
        self.master = list(values)
        self.kind = kind
        self.momentum = [0] * len(self.master)
        self.gradient = None  # (values, exponent), or None when nothing was computed
        self.direction = None  # signs, for a sign update

    def narrow(self):
        """SAT16(RND(m, 16)): biases, normalisation and gates."""
        return [saturate(round_shift(m, 16), 16) for m in self.master]

    def weights(self, width):
        """(w, exponent)."""
        if self.kind != "linear":
            return few_values(self.master, self.kind, width)
        s = max(0, bits(max(abs(m) for m in self.master)) - (width - 1))
        return [saturate(round_shift(m, s), width) for m in self.master], s - 28

    def update(self, samples, rate, momentum, decay):
        """rate Q.20, momentum Q.15, decay Q.24."""
        k = clog2(samples)
        inverse = (2 ** (16 + k) + samples // 2) // samples
        adaptive = scaled(self.gradient[0]) if self.kind == "adder" else None
        for i, m in enumerate(self.master):
            if self.direction is not None:
                step = self.direction[i] * 2**28
            elif adaptive:
                step = saturate(adaptive[i], 38)
            else:
                values, exponent = self.gradient
                left = exponent - k + 28
                if left > 0:
                    left = min(left, 40)
                    limit = (2**43 - 1) // 2**left
                    aligned = clamp(values[i], -limit, limit) * 2**left
                else:
                    aligned = saturate(round_shift(values[i], -left), 44)
                step = saturate(round_shift(aligned * inverse, 16), 38)
            step += round_shift(m * decay, 24)
            v = saturate(round_shift(self.momentum[i] * momentum, 15) + step, 42)
            self.momentum[i] = v
            self.master[i] = clamp(m - round_shift(v * rate, 20), -(2**31 - 1), 2**31 - 1)
        if self.kind in ("binary", "ternary"):
            self.master = clipped(self.master)


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


def pool_windows(plan):
    """Per output of a maximum pooling, the positions of its window in row-major order; padding has none."""
    (height, width, channels), (out_h, out_w, _) = plan.in_shape, plan.out_shape
    reach = range(-plan.padding, plan.size - plan.padding)
    return [
        [
            (down * width + right) * channels + c
            for down in (row * plan.stride + i for i in reach)
            for right in (column * plan.stride + i for i in reach)
            if 0 <= down < height and 0 <= right < width
        ]
        for row in range(out_h)
        for column in range(out_w)
        for c in range(channels)
    ]


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


@dataclass
class Head:
    """The classifier and the loss (section 4)."""

    plan: object
    fmt: object
    seed: int
    index: int  # the number after the last convolution
    g: Delayed = field(default_factory=Delayed)

    def __post_init__(self):
        features, classes = self.plan.features, self.plan.classes
        deviation = isqrt(2**60 // (3 * features))
        self.weight = Parameter(initial_weights(self.seed, self.index, classes * features, deviation))
        self.bias = Parameter([0] * classes)

    def spatial_bits(self):
        return clog2(self.plan.in_shape[0] * self.plan.in_shape[1]) if self.plan.pooled else 0

    def forward(self, a):
        """(logits, their exponent)."""
        features = self.plan.features
        if self.plan.pooled:
            self.inputs = [[sum(sample[c::features]) for c in range(features)] for sample in a.samples]
        else:
            self.inputs = a.samples
        self.input_exponent = a.exponent - self.spatial_bits()
        w, e_w = self.weight.weights(self.fmt.w_bits)
        self.a, exponent = a, self.input_exponent + e_w
        logits = [
            [
                sum(p * w[k * features + i] for i, p in enumerate(values)) + round_shift(b, 28 + exponent)
                for k, b in enumerate(self.bias.master)
            ]
            for values in self.inputs
        ]
        return logits, exponent

    def backward(self, g, exponent, run, wanted=True):
        """Gradient of the last activation; leaves those of the classifier."""
        features, classes = self.plan.features, self.plan.classes
        self.bias.gradient = ([sum(row[k] for row in g) for k in range(classes)], exponent)
        self.weight.gradient = (
            [
                sum(row[k] * p[i] for row, p in zip(g, self.inputs))
                for k in range(classes)
                for i in range(features)
            ],
            exponent + self.input_exponent,
        )
        if not wanted:
            return None
        w, e_w = self.weight.weights(self.fmt.w_bits)
        back = [[sum(row[k] * w[k * features + i] for k in range(classes)) for i in range(features)] for row in g]
        if self.plan.pooled:
            back = [row * (self.plan.in_shape[0] * self.plan.in_shape[1]) for row in back]
        key = mix64(run.key, 8 * HEAD + 3)
        samples, exponent = self.g.requantise(
            self.a.masked(back),
            exponent + e_w - self.spatial_bits(),
            self.fmt.g_bits,
            Rounder(self.fmt.rounding, key),
        )
        return self.a.like(samples, exponent=exponent)


@cache
def exponentials():
    """T[k] = round(65536 * 2^(-k/256))."""
    with localcontext() as context:
        context.prec = 60
        return [int((65536 * Decimal(2) ** (Decimal(-k) / 256)).to_integral_value()) for k in range(257)]


def loss_gradient(logits, exponent, label, g_bits):
    """Gradient of the loss of one sample, exponent 1 - g_bits."""
    table, e = exponentials(), []
    for logit in logits:
        d = max(logits) - logit
        t = round_shift(d * 47274, -(exponent + 1), "floor")
        i, f = t >> 16, t & 65535
        mantissa = table[f >> 8] - (((table[f >> 8] - table[(f >> 8) + 1]) * (f & 255) + 128) >> 8)
        e.append(0 if i > 40 else mantissa >> i)
    shares = [(v * 2**16 // sum(e) + 1) >> 1 for v in e]
    return [
        saturate(round_shift(p - (32768 if k == label else 0), 16 - g_bits), g_bits) for k, p in enumerate(shares)
    ]


# --- gates (section 9) -------------------------------------------------------------------------------------

UNITS = 10


@cache
def sigmoids():
    """S[k], k = -256..256, from position 0 on."""
    with localcontext() as context:
        context.prec = 60
        return [int((32768 / (1 + (Decimal(-k) / 32).exp())).to_integral_value()) for k in range(-256, 257)]


def sigmoid(u):
    """Q.12 to Q.15."""
    u, table = clamp(u, -32768, 32767) + 32768, sigmoids()
    low, high = table[u >> 7], table[(u >> 7) + 1]
    return low + round_shift((high - low) * (u & 127), 7)


def tanh(u):
    return 2 * sigmoid(2 * u) - 32768


def s_slope(u):
    return u * (2**15 - u)


def t_slope(u):
    return 2**30 - u * u


def narrowed(value, shift):
    """S of the specification."""
    return saturate(round_shift(value, shift), 32)


def dot(left, right):
    return sum(a * b for a, b in zip(left, right))


class Gates:
    """The recurrent network that opens and closes blocks. Weights are [rows][columns] in flat lists."""

    def __init__(self, plan, seed, config):
        self.config = config
        blocks = [block for block in plan.blocks() if block.index]
        self.macs = {block.index: sum(map(macs, block.body)) for block in blocks}
        total = sum(self.macs.values())
        self.cost = {index: (own << 16) // total for index, own in self.macs.items()}
        self.target = (sum(map(macs, plan.convs())) + plan.head.features * plan.head.classes) * round(
            config.target_skip * 2**16
        )
        self.parameters = {}

        def draw(name, stream, count, fan_in):
            self.parameters[name] = Parameter(initial_weights(seed, stream, count, isqrt(2**60 // fan_in)))

        for block in blocks:
            channels = block.in_shape[2]
            draw(f"gate{block.index}.weight", 2**20 + block.index, channels * UNITS, channels)
            self.parameters[f"gate{block.index}.bias"] = Parameter([0] * UNITS)
        draw("gate.input", 2**21 + 1, UNITS * 4 * UNITS, 20)
        draw("gate.hidden", 2**21 + 2, UNITS * 4 * UNITS, 20)
        self.parameters["gate.bias"] = Parameter([0] * 4 * UNITS)
        draw("gate.output", 2**21 + 3, UNITS, 10)
        self.parameters["gate.output_bias"] = Parameter([2**29])

    def start(self, samples):
        self.h = [[0] * UNITS for _ in range(samples)]
        self.c = [[0] * UNITS for _ in range(samples)]
        self.opened, self.trace, self.learned = {}, [], {}

    def weight(self, name):
        return self.parameters[name].narrow()

    def columns(self, name, count):
        """The weight's columns."""
        values = self.weight(name)
        return [values[k::count] for k in range(count)]

    def probabilities(self, block, sums, exponent):
        """p of every sample; exponent of the mean that the sums stand for."""
        project, project_bias = self.columns(f"gate{block}.weight", UNITS), self.weight(f"gate{block}.bias")
        w_in, w_hid = self.columns("gate.input", 4 * UNITS), self.columns("gate.hidden", 4 * UNITS)
        bias, w_out, bias_out = (
            self.weight("gate.bias"),
            self.weight("gate.output"),
            self.weight("gate.output_bias")[0],
        )
        found, steps = [], []
        for n, pooled in enumerate(sums):
            h, c = self.h[n], self.c[n]
            f = [saturate(round_shift(v, -(8 + exponent)), 16) for v in pooled]
            q = [saturate(round_shift(dot(f, w) + b * 2**8, 12), 16) for w, b in zip(project, project_bias)]
            pre = [
                saturate(round_shift(dot(q, w) + round_shift(dot(h, u), 4) + b * 2**8, 8), 16)
                for w, u, b in zip(w_in, w_hid, bias)
            ]
            i, o, z, t = (pre[k : k + UNITS] for k in range(0, 4 * UNITS, UNITS))
            i, o, z, t = [*map(sigmoid, i)], [*map(sigmoid, o)], [*map(tanh, z)], [*map(sigmoid, t)]
            c_new = [
                saturate(round_shift(o[k] * c[k], 15) + round_shift(i[k] * z[k], 18), 16) for k in range(UNITS)
            ]
            y = [*map(tanh, c_new)]
            h_new = [round_shift(a * b, 18) for a, b in zip(t, y)]
            p = sigmoid(saturate(round_shift(dot(h_new, w_out) + bias_out * 2**12, 12), 16))
            self.h[n], self.c[n] = h_new, c_new
            found.append(p)
            steps.append({"f": f, "q": q, "h": h, "c": c, "gates": (i, o, z, t), "y": y, "h_new": h_new, "p": p})
        self.trace.append((block, steps))
        return found

    def learn(self, block, dots, exponent):
        """Gradient of p of one block."""
        samples = len(dots)
        skipped = sum(self.macs[b] * sum(not yes for yes in opened) for b, opened in self.opened.items())
        direction = 1 if skipped * 2**16 < samples * self.target else -1
        cost = direction * ((round(self.config.alpha * 2**28) * self.cost[block]) >> 16)
        left = min(exponent + 28, 40)
        result = []
        for v in dots:
            if left > 0:
                limit = (2**31 - 1) // 2**left
                v = clamp(v, -limit, limit) * 2**left
            else:
                v = narrowed(v, -left)
            result.append(saturate(v + cost, 32))
        self.learned[block] = result

    def backward(self):
        w_out = self.weight("gate.output")
        w_in, w_hid = self.weight("gate.input"), self.weight("gate.hidden")
        sums = {name: [0] * len(parameter.master) for name, parameter in self.parameters.items()}
        exponents = {"gate.output": -40, "gate.hidden": -40, "gate.output_bias": -28, "gate.bias": -28}

        def add(name, left, right):
            """Outer product of two vectors, onto the sums."""
            for k, value in enumerate(a * b for a in left for b in right):
                sums[name][k] += value

        dh = [[0] * UNITS for _ in self.h]
        dc = [[0] * UNITS for _ in self.h]
        for block, steps in reversed(self.trace):
            for n, (step, dp) in enumerate(zip(steps, self.learned[block])):
                i, o, z, t = step["gates"]
                c, y, units = step["c"], step["y"], range(UNITS)
                dl = narrowed(dp * max(s_slope(step["p"]), 2**26), 30)
                dhn = [saturate(dh[n][k] + round_shift(dl * w_out[k], 12), 32) for k in units]
                dt = [narrowed(dhn[k] * y[k], 15) for k in units]
                dcn = [
                    saturate(dc[n][k] + narrowed(narrowed(dhn[k] * t[k], 15) * t_slope(y[k]), 30), 32)
                    for k in units
                ]
                dpre = (
                    [narrowed(narrowed(dcn[k] * z[k], 15) * s_slope(i[k]), 30) for k in units]
                    + [narrowed(narrowed(dcn[k] * c[k], 12) * s_slope(o[k]), 30) for k in units]
                    + [narrowed(narrowed(dcn[k] * i[k], 15) * t_slope(z[k]), 30) for k in units]
                    + [narrowed(dt[k] * s_slope(t[k]), 30) for k in units]
                )
                dq = [narrowed(dot(dpre, w_in[k * 4 * UNITS :]), 12) for k in units]
                dh[n] = [narrowed(dot(dpre, w_hid[k * 4 * UNITS :]), 12) for k in units]
                dc[n] = [narrowed(dcn[k] * o[k], 15) for k in units]
                add("gate.output", step["h_new"], [dl])
                add("gate.output_bias", [1], [dl])
                add("gate.input", step["q"], dpre)
                add("gate.hidden", step["h"], dpre)
                add("gate.bias", [1], dpre)
                add(f"gate{block}.weight", step["f"], dq)
                add(f"gate{block}.bias", [1], dq)
        for name, values in sums.items():
            default = -28 if name.endswith(".bias") else -36
            self.parameters[name].gradient = (values, exponents.get(name, default))


def macs(conv):
    """Multiply-accumulates of one convolution and sample."""
    kernel_h, kernel_w, c_in, c_out = conv.weight_shape
    return kernel_h * kernel_w * c_in * c_out * conv.out_shape[0] * conv.out_shape[1]


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


def pool_backward(node, g_bits, gradient, values):
    result = [0] * len(values)
    for window, g in zip(pool_windows(node), gradient):
        best = max(values[i] for i in window)
        result[next(i for i in window if values[i] == best)] += g
    return [saturate(value, g_bits) for value in result]


def survival_q16(final, index, blocks):
    closing = 2**16 - round(final * 2**16)
    return 2**16 - (2 * (index + 1) * closing + blocks) // (2 * blocks)
