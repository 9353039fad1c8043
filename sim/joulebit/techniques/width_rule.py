"""The rule W <= A <= G: weights take the fewest bits, then activations, then gradients.

Source: Zhou et al., "DoReFa-Net", arXiv:1606.06160, which finds that gradients need more bits than activations,
and activations more than weights; Boumendil et al., "On-device deep learning: survey on techniques improving
energy efficiency of DNNs", 2024, section III-B, give that as advice: W < A < G. Equal widths are allowed, for they
are what E2-Train and most hardware use.
"""

from __future__ import annotations

from joulebit.fixed.arithmetic import Arithmetic

MODES = ("off", "warn", "strict")


class WidthRuleWarning(UserWarning):
    """The widths of a run break the rule W <= A <= G."""


def broken(arithmetic: Arithmetic, weight_bits: int | None = None) -> str:
    """What breaks the rule, with the widths that would keep it; an empty text where nothing does.

    weight_bits: bits of the weights where their kind decides and not w_bits (1 binary, 2 ternary).
    """
    w = arithmetic.w_bits if weight_bits is None else weight_bits
    x, g = arithmetic.x_bits, arithmetic.g_bits
    narrow = arithmetic.input_gradient_bits or g
    wrong = []
    if w > x:
        wrong.append(f"weights have {w} bits, more than the {x} of activations (w_bits <= {x}, or x_bits >= {w})")
    if x > g:
        wrong.append(
            f"activations have {x} bits, more than the {g} of gradients (x_bits <= {g}, or g_bits >= {x})"
        )
    elif x > narrow:
        wrong.append(
            f"activations have {x} bits, more than the {narrow} of gradients in the input-gradient pass "
            f"(input_gradient_bits >= {x}, or 0)"
        )
    return "; ".join(wrong)
