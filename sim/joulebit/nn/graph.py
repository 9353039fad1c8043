"""How a network is described, and the shapes that follow from it.

A user writes a `Model` from `Conv`, `Dense`, `MaxPool`, `Residual` and `GlobalPool`; `plan` resolves it for one
image shape into the layers that the integer network, the float32 network and the counters all share.

    Model("tiny", (
        Conv(16),
        Residual((Conv(16), Conv(16, activation=None))),
        Residual((Conv(32, stride=2), Conv(32, activation=None))),
        GlobalPool(),
    ), classes=10)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from joulebit.engine.base import ConvGeometry

ACTIVATIONS = (None, "relu", "relu6")
#: How weights meet activations: products with integers; with signs, signs and 0, or powers of two as weights
#: (spec, section 14); or no products at all, but distances (spec, section 15).
KINDS = ("linear", "binary", "ternary", "shift", "adder")
Shape = tuple[int, int, int]  # height, width, channels


@dataclass(frozen=True)
class Conv:
    """Convolution, batch norm (or a bias) and an activation.

    kernel is one number or (height, width); padding None keeps the size at stride 1 (kernel // 2); groups 0 means
    depthwise (one group per input channel, which then needs channels to be a multiple of the input's).
    """

    channels: int
    kernel: int | tuple[int, int] = 3
    stride: int = 1
    padding: int | None = None
    groups: int = 1
    norm: bool = True
    activation: str | None = "relu"
    kind: str = "linear"  #: of `KINDS`

    def __post_init__(self) -> None:
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activation must be relu, relu6 or None, got {self.activation!r}")
        if self.kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {self.kind!r}")
        if self.kind == "adder" and (self.groups != 1 or not self.norm):
            raise ValueError("an adder layer has one group and batch norm: set groups=1 and norm=True")
        if self.channels < 1 or self.stride < 1 or self.groups < 0:
            raise ValueError(f"channels and stride must be at least 1 and groups at least 0, got {self}")


@dataclass(frozen=True)
class Dense:
    """A fully connected hidden layer: a convolution whose kernel covers the whole input."""

    units: int
    norm: bool = False
    activation: str | None = "relu"
    kind: str = "linear"  #: of `KINDS`


@dataclass(frozen=True)
class MaxPool:
    """Maximum over size x size windows, by default side by side (stride 0 stands for size) and without padding."""

    size: int = 2
    stride: int = 0
    padding: int = 0

    def __post_init__(self) -> None:
        if self.size < 1 or self.stride < 0 or not 0 <= self.padding <= self.size // 2:
            raise ValueError(f"size must be at least 1, stride at least 0, padding in [0, size // 2], got {self}")


@dataclass(frozen=True)
class GlobalPool:
    """Average over the whole image; only as the last layer, before the classifier."""


@dataclass(frozen=True)
class Residual:
    """activation(shortcut + body). Where the body changes the size, the shortcut is subsampled and zero-padded.

    projection=True puts a 1x1 convolution with batch norm into the shortcut instead (He et al., option B).
    The last convolution of the body has activation None: the block's own activation follows the sum.
    """

    body: tuple[Conv, ...]
    activation: str | None = "relu"
    projection: bool = False

    def __post_init__(self) -> None:
        if not self.body:
            raise ValueError("the body of a residual block must have at least one convolution")
        if self.body[-1].activation is not None:
            raise ValueError(
                "the last convolution of a residual block must have activation=None: "
                "the block's activation follows the sum"
            )


Layer = Conv | Dense | MaxPool | GlobalPool | Residual


@dataclass(frozen=True)
class Model:
    """A network: layers, then a linear classifier with `classes` outputs."""

    name: str
    layers: tuple[Layer, ...]
    classes: int = field(default=10)


@dataclass(frozen=True)
class ConvPlan:
    """One convolution with its shapes resolved."""

    index: int  #: position among the network's convolutions
    name: str
    geometry: ConvGeometry
    in_shape: Shape
    out_shape: Shape
    norm: bool
    activation: str | None  #: for the last convolution of a residual block, the block's own
    in_block: bool  #: part of a residual block's body
    ends_block: bool  #: the last of a body: the shortcut is added before its activation
    kind: str = "linear"  #: of `KINDS`

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        """[kernel_h, kernel_w, c_in / groups, c_out]."""
        geometry = self.geometry
        return (
            geometry.kernel_h,
            geometry.kernel_w,
            self.in_shape[2] // geometry.groups,
            self.out_shape[2],
        )

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one pass over one sample (padding counted, as in published figures)."""
        kernel_h, kernel_w, c_in, c_out = self.weight_shape
        return kernel_h * kernel_w * c_in * c_out * self.out_shape[0] * self.out_shape[1]


@dataclass(frozen=True)
class ResidualPlan:
    """One residual block: its convolutions and what its shortcut does."""

    index: int  #: position among the network's residual blocks
    name: str
    body: tuple[ConvPlan, ...]
    stride: int
    activation: str | None
    in_shape: Shape
    out_shape: Shape
    projection: ConvPlan | None = None  #: the shortcut's convolution

    @property
    def convs(self) -> tuple[ConvPlan, ...]:
        """All of the block's, in order of index."""
        return self.body if self.projection is None else (*self.body, self.projection)

    @property
    def macs(self) -> int:
        return sum(conv.macs for conv in self.convs)


@dataclass(frozen=True)
class MaxPoolPlan:
    size: int
    in_shape: Shape
    out_shape: Shape
    stride: int
    padding: int = 0

    @property
    def side_by_side(self) -> bool:
        """Whether the windows neither overlap nor reach into padding."""
        return self.stride == self.size and not self.padding


@dataclass(frozen=True)
class HeadPlan:
    """The classifier: on the sum over the image when pooled, else on the flattened image."""

    pooled: bool
    in_shape: Shape
    features: int
    classes: int

    @property
    def macs(self) -> int:
        return self.features * self.classes


Node = ConvPlan | ResidualPlan | MaxPoolPlan


@dataclass(frozen=True)
class NetworkPlan:
    """A model resolved for one image shape."""

    model: Model
    image_shape: Shape
    nodes: tuple[Node, ...]
    head: HeadPlan

    def convs(self) -> Iterator[ConvPlan]:
        """All convolutions, in order of index."""
        for node in self.nodes:
            if isinstance(node, ConvPlan):
                yield node
            elif isinstance(node, ResidualPlan):
                yield from node.convs

    def blocks(self) -> Iterator[ResidualPlan]:
        """All residual blocks, in order of index."""
        return (node for node in self.nodes if isinstance(node, ResidualPlan))

    @property
    def macs(self) -> int:
        """Forward multiply-accumulates per sample."""
        return sum(conv.macs for conv in self.convs()) + self.head.macs

    @property
    def parameters(self) -> int:
        """Weights, biases and normalisation parameters."""
        total = self.head.features * self.head.classes + self.head.classes
        for conv in self.convs():
            kernel_h, kernel_w, c_in, c_out = conv.weight_shape
            total += kernel_h * kernel_w * c_in * c_out + c_out * (2 if conv.norm else 1)
        return total


class _Planner:
    def __init__(self) -> None:
        self.convs = 0
        self.blocks = 0

    def conv(
        self, layer: Conv, shape: Shape, name: str, block: Residual | None = None, ends_block: bool = False
    ) -> ConvPlan:
        height, width, channels = shape
        kernel_h, kernel_w = layer.kernel if isinstance(layer.kernel, tuple) else (layer.kernel, layer.kernel)
        groups = layer.groups or channels
        if channels % groups or layer.channels % groups:
            raise ValueError(
                f"{name}: {channels} input and {layer.channels} output channels do not divide into {groups} groups"
            )
        padding = (kernel_h // 2, kernel_w // 2) if layer.padding is None else (layer.padding,) * 2
        geometry = ConvGeometry(kernel_h, kernel_w, layer.stride, padding[0], padding[1], groups)
        out_h, out_w = geometry.output_size(height, width)
        plan = ConvPlan(
            self.convs,
            name,
            geometry,
            shape,
            (out_h, out_w, layer.channels),
            layer.norm,
            block.activation if block and ends_block else layer.activation,
            block is not None,
            ends_block,
            layer.kind,
        )
        self.convs += 1
        return plan

    def residual(self, layer: Residual, shape: Shape) -> ResidualPlan:
        name = f"block{self.blocks + 1}"
        body = []
        current = shape
        for i, conv in enumerate(layer.body):
            last = i + 1 == len(layer.body)
            body.append(self.conv(conv, current, f"{name}.conv{i + 1}", layer, last))
            current = body[-1].out_shape
        stride = 1
        for conv in layer.body:
            stride *= conv.stride
        kept = (-(-shape[0] // stride), -(-shape[1] // stride))
        if kept != current[:2] or (current[2] < shape[2] and not layer.projection):
            raise ValueError(
                f"{name}: the body turns {shape} into {current}, but the shortcut (every {stride}. row "
                "and column, zero channels added) does not have that size: use padding kernel // 2 "
                "and do not shrink channels"
            )
        shortcut = None
        if layer.projection:
            described = Conv(current[2], 1, stride, 0, activation=None)
            shortcut = self.conv(described, shape, f"{name}.projection", layer)
        plan = ResidualPlan(self.blocks, name, tuple(body), stride, layer.activation, shape, current, shortcut)
        self.blocks += 1
        return plan


def plan(model: Model, image_shape: Shape) -> NetworkPlan:
    """Resolve a model for images of (height, width, channels); ValueError when a layer does not fit."""
    planner = _Planner()
    nodes: list[Node] = []
    shape = image_shape
    pooled = False
    for position, layer in enumerate(model.layers):
        if pooled:
            raise ValueError(f"{model.name}: GlobalPool must be the last layer, got {layer} after it")
        if isinstance(layer, Conv):
            nodes.append(planner.conv(layer, shape, f"conv{planner.convs + 1}"))
        elif isinstance(layer, Dense):
            conv = Conv(layer.units, (shape[0], shape[1]), 1, 0, 1, layer.norm, layer.activation, layer.kind)
            nodes.append(planner.conv(conv, shape, f"dense{planner.convs + 1}"))
        elif isinstance(layer, Residual):
            nodes.append(planner.residual(layer, shape))
        elif isinstance(layer, MaxPool):
            stride = layer.stride or layer.size
            sides = [(side + 2 * layer.padding - layer.size) // stride + 1 for side in shape[:2]]
            if min(sides) < 1:
                raise ValueError(f"{model.name}: a {layer.size}x{layer.size} pool does not fit {shape}")
            out = (sides[0], sides[1], shape[2])
            nodes.append(MaxPoolPlan(layer.size, shape, out, stride, layer.padding))
        elif isinstance(layer, GlobalPool):
            pooled = True
            continue
        else:
            raise ValueError(f"{model.name}: layer {position} is no layer of this package: {layer!r}")
        shape = nodes[-1].out_shape
    features = shape[2] if pooled else shape[0] * shape[1] * shape[2]
    return NetworkPlan(model, image_shape, tuple(nodes), HeadPlan(pooled, shape, features, model.classes))
