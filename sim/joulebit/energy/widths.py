"""Widths of everything that is counted.

Activations, weights and gradients as the run has them, z 16, masters 32, momentum 48 (42 used), dw
accumulator_bits, signs 2 bits; a partial sum of the forward or input-gradient pass has the bits that it can reach,
both operands' and bl(products per sum), in whole bytes and at most accumulator_bits (32 for 8x8, 40 for 8x16 on
64 channels). float32 has 32 for everything.
"""

from __future__ import annotations

from dataclasses import dataclass

from joulebit.fixed.arithmetic import CONV_OUTPUT_BITS, Arithmetic
from joulebit.nn.graph import ConvPlan

GATE_BITS = 16  #: operands of the gates
SIGN_BITS = 2  #: -1, 0 or 1


@dataclass(frozen=True)
class Widths:
    """Widths in bits of everything that is counted. `of` derives them from a run's arithmetic."""

    x: int
    w: int
    g: int
    input_gradient: int  #: of dz in the input-gradient pass
    z: int
    accumulator: int
    master: int = 32
    momentum: int = 48  #: 42 bits are used
    x_msb: int = 0  #: predictor; 0 = none
    g_msb: int = 0
    gate: int = GATE_BITS
    fp32: bool = False  #: everything is float32

    @classmethod
    def of(cls, arithmetic: Arithmetic | None) -> Widths:
        """Those of a fixed-point run, or of float32 for None."""
        if arithmetic is None:
            return cls(32, 32, 32, 32, 32, 32, 32, 32, gate=32, fp32=True)
        return cls(
            x=arithmetic.x_bits,
            w=arithmetic.w_bits,
            g=arithmetic.g_bits,
            input_gradient=arithmetic.input_gradient_bits or arithmetic.g_bits,
            z=CONV_OUTPUT_BITS,
            accumulator=arithmetic.accumulator_bits,
            x_msb=arithmetic.x_msb_bits,
            g_msb=arithmetic.g_msb_bits,
        )

    def kind(self, left: int, right: int) -> str:
        """Key of a multiply-accumulate of these operand widths."""
        return "fp32" if self.fp32 else f"{left}x{right}"

    def weight(self, conv: ConvPlan) -> int:
        """Bits of one weight of a layer."""
        if self.fp32:
            return self.w
        return {"binary": 1, "ternary": 2, "shift": 1 + (self.w - 1).bit_length()}.get(conv.kind, self.w)

    def layer_kind(self, conv: ConvPlan, value: int, backward: bool = False) -> str:
        """Key of what a layer's weights do to values of `value` bits: activations, or output gradients."""
        w = self.weight(conv)
        if self.fp32:
            return "fp32"
        if conv.kind == "adder":
            return f"diff{self.x}x{w}x{value}" if backward else f"add{value}x{w}"
        if conv.kind == "shift":
            return f"shift{value}x{w}"
        return self.kind(w, value) if backward else self.kind(value, w)

    def sum(self, left: int, right: int, products: int) -> int:
        """Bits of a partial sum of at most `products` products of these operand widths, in whole bytes."""
        if self.fp32:
            return self.accumulator
        return min(self.accumulator, 8 * -(-(left + right + products.bit_length()) // 8))

    def operation(self, bits: int) -> str:
        """Key of an element-wise operation on numbers of `bits` bits."""
        return "fp32" if self.fp32 else "int16" if bits <= 16 else "int32"
