"""Masters, their weights and their update (specification, section 7)."""

from __future__ import annotations

from oracle import clamp, round_shift, saturate

from reference.kinds import clipped, few_values, scaled
from reference.tensors import bits, clog2


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
