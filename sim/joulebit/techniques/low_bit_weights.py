"""Binary, ternary and power-of-two weights in the convolutions of any model.

What the weights are: `joulebit.fixed.weights`. Masters keep 32 bits, gradients reach them as if the weights had
not been quantised (straight through), and masters of binary and ternary weights are clipped to +-1 after each
update, as BinaryConnect does. As in XNOR-Net, the first convolution and the classifier keep plain weights unless
they are asked for: they have a small share of the work and a large effect on accuracy.
"""

from __future__ import annotations

from joulebit.nn.graph import Model
from joulebit.nn.kinds import with_kind

LOW_BIT_KINDS = ("binary", "ternary", "shift")


def low_bit_weights(model: Model, kind: str, first_layer: bool = False) -> Model:
    """`with_kind` for the kinds of weights; ValueError for another kind."""
    if kind not in LOW_BIT_KINDS:
        raise ValueError(f"kind must be one of {', '.join(LOW_BIT_KINDS)}, got {kind!r}")
    return with_kind(model, kind, first_layer)
