"""Binary, ternary and power-of-two weights in the convolutions of any model.

What the weights are: `joulebit.fixed.weights`. Masters keep 32 bits, gradients reach them as if the weights had
not been quantised (straight through), and masters of binary and ternary weights are clipped to +-1 after each
update, as BinaryConnect does. As in XNOR-Net, the first convolution and the classifier keep plain weights unless
they are asked for: they have a small share of the work and a large effect on accuracy.
"""

from __future__ import annotations

from dataclasses import replace

from joulebit.nn.graph import Conv, Dense, Layer, Model, Residual

LOW_BIT_KINDS = ("binary", "ternary", "shift")


def with_kind(model: Model, kind: str, first_layer: bool) -> Model:
    """The model with this kind (`joulebit.nn.graph.KINDS`) of convolutions and hidden dense layers.

    Layers that have a kind of their own keep it; the first layer changes only if first_layer says so.
    """
    waiting = not first_layer  # for the first convolution

    def changed(layer: Layer) -> Layer:
        nonlocal waiting
        if isinstance(layer, Residual):
            return replace(layer, body=tuple(changed(conv) for conv in layer.body))  # type: ignore[misc]
        if not isinstance(layer, Conv | Dense):
            return layer
        if waiting or layer.kind != "linear":
            waiting = False
            return layer
        return replace(layer, kind=kind)

    return replace(model, layers=tuple(changed(layer) for layer in model.layers))


def low_bit_weights(model: Model, kind: str, first_layer: bool = False) -> Model:
    """`with_kind` for the kinds of weights; ValueError for another kind."""
    if kind not in LOW_BIT_KINDS:
        raise ValueError(f"kind must be one of {', '.join(LOW_BIT_KINDS)}, got {kind!r}")
    return with_kind(model, kind, first_layer)
