"""Gates of SLU (specification, section 9)."""

from __future__ import annotations

from decimal import Decimal, localcontext
from functools import cache
from math import isqrt

from oracle import clamp, round_shift, saturate

from reference.parameters import Parameter
from reference.random_numbers import initial_weights

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


def macs(conv):
    """Multiply-accumulates of one convolution and sample."""
    kernel_h, kernel_w, c_in, c_out = conv.weight_shape
    return kernel_h * kernel_w * c_in * c_out * conv.out_shape[0] * conv.out_shape[1]


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
