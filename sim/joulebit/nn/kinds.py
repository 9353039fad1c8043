"""The same model with another kind of layers."""

from __future__ import annotations

from dataclasses import replace

from joulebit.nn.graph import Conv, Dense, Layer, Model, Residual


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
