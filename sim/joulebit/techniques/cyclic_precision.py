"""Cyclic precision training: the widths of activations and weights rise and fall along the run.

Source: Fu et al., "CPT: Efficient deep neural network training via cyclic precision", ICLR 2021, equation (1): in
each of N cycles of T steps the width goes from its lower to its upper bound along half a cosine,

    B(t) = round(B_low + (B_high - B_low) (1 - cos(pi (t mod T) / T)) / 2)

and falls back at once. The upper bounds are the run's own widths ([arithmetic] x_bits, w_bits, g_bits), with which
it is also evaluated; gradients keep theirs unless a lower bound is given, as in the paper. Ties of the rounding go
up (the released code rounds them to even).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from joulebit.fixed.arithmetic import Arithmetic
from joulebit.techniques.schedule import cos_pi_q62

_ONE = 1 << 62


@dataclass(frozen=True)
class CyclicPrecision:
    """The widths of every step: a pure function of the step and the length of the run."""

    cycles: int = 8  #: N, at least 1; the paper uses 8 and 32
    x_low: int = 0  #: lower bound of the activations' width, 2..16; 0 keeps x_bits
    w_low: int = 0  #: of the weights'
    g_low: int = 0  #: of the gradients'

    def __post_init__(self) -> None:
        if self.cycles < 1:
            raise ValueError(f"cycles must be at least 1, got {self.cycles}")
        for name in ("x_low", "w_low", "g_low"):
            low = getattr(self, name)
            if low and not 2 <= low <= 16:
                raise ValueError(f"{name} must be in [2, 16], or 0 for a constant width, got {low}")
        if not (self.x_low or self.w_low or self.g_low):
            raise ValueError("at least one of x_low, w_low and g_low must be given, got none")

    def check(self, arithmetic: Arithmetic) -> None:
        """ValueError where a lower bound is above the run's own width."""
        for name in ("x", "w", "g"):
            low, high = getattr(self, f"{name}_low"), getattr(arithmetic, f"{name}_bits")
            if low > high:
                raise ValueError(f"{name}_low must not exceed {name}_bits = {high}, got {low}")

    def width(self, low: int, high: int, step: int, total: int) -> int:
        """B(t) between two bounds, for step 0..total - 1; low = 0 means high throughout."""
        if not 0 <= step < total:
            raise ValueError(f"step must be in [0, {total - 1}], got {step}")
        if not low:
            return high
        rise = _ONE - cos_pi_q62(step * self.cycles % total, total)  # 0..2 in Q.62
        return low + ((high - low) * rise + _ONE) // (2 * _ONE)

    def arithmetic(self, base: Arithmetic, step: int, total: int) -> Arithmetic:
        """The widths of one step of a run of `total` steps; base holds the upper bounds.

        The predictor's operands and the narrowed output gradient are never wider than what they are taken from.
        """
        x = self.width(self.x_low, base.x_bits, step, total)
        w = self.width(self.w_low, base.w_bits, step, total)
        g = self.width(self.g_low, base.g_bits, step, total)
        return replace(
            base,
            x_bits=x,
            w_bits=w,
            g_bits=g,
            x_msb_bits=min(base.x_msb_bits, x),
            g_msb_bits=min(base.g_msb_bits, g),
            input_gradient_bits=min(base.input_gradient_bits, g),
        )
