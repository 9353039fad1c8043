"""The models of the papers, each a function from its parameters to a description."""

from __future__ import annotations

import re
import runpy
from dataclasses import replace
from pathlib import Path

from joulebit.errors import did_you_mean
from joulebit.nn.graph import KINDS, Conv, Dense, GlobalPool, Layer, MaxPool, Model, Residual
from joulebit.nn.kinds import with_kind

RESNET_DEPTHS = (8, 14, 20, 32, 38, 56, 74, 110)


def resnet(depth: int, classes: int = 10, width: int = 16) -> Model:
    """CIFAR ResNet of depth 6n + 2 with option-A shortcuts. Source: He et al., CVPR 2016, section 4.2."""
    if depth < 8 or (depth - 2) % 6:
        raise ValueError(f"a CIFAR ResNet has depth 6n + 2 (8, 14, 20, ...), got {depth}")
    layers: list[Layer] = [Conv(width)]
    for stage in range(3):
        channels = width << stage
        for block in range((depth - 2) // 6):
            stride = 2 if stage and not block else 1
            layers.append(Residual((Conv(channels, stride=stride), Conv(channels, activation=None))))
    return Model(f"resnet{depth}", (*layers, GlobalPool()), classes)


#: Blocks per stage of the ImageNet ResNets, and whether they are bottlenecks. Source: He et al., table 1.
_IMAGENET_RESNETS = {18: ((2, 2, 2, 2), False), 34: ((3, 4, 6, 3), False), 50: ((3, 4, 6, 3), True)}


def imagenet_resnet(depth: int, classes: int = 1000) -> Model:
    """ResNet of the ImageNet form: a 7x7 stem of stride 2, overlapping pooling, four stages, projections where the
    size changes (option B). Strides of bottlenecks are those of the 3x3 convolutions, as in torchvision.

    Source: He et al., CVPR 2016, table 1. Without batch norm and classifier ResNet-18 has 11,166,912 weights and
    ResNet-50 23,454,912.
    """
    if depth not in _IMAGENET_RESNETS:
        known = ", ".join(map(str, _IMAGENET_RESNETS))
        raise ValueError(f"an ImageNet ResNet has depth {known}, got {depth}")
    repeats, bottleneck = _IMAGENET_RESNETS[depth]
    layers: list[Layer] = [Conv(64, 7, 2), MaxPool(3, 2, 1)]
    entering = 64
    for stage, count in enumerate(repeats):
        inner = 64 << stage
        leaving = 4 * inner if bottleneck else inner
        for block in range(count):
            stride = 2 if stage and not block else 1
            body: tuple[Conv, ...]
            if bottleneck:
                body = (Conv(inner, 1), Conv(inner, stride=stride), Conv(leaving, 1, activation=None))
            else:
                body = (Conv(inner, stride=stride), Conv(leaving, activation=None))
            layers.append(Residual(body, projection=stride > 1 or entering != leaving))
            entering = leaving
    return Model(f"resnet{depth}-imagenet", (*layers, GlobalPool()), classes)


def lenet5(width: int = 1, classes: int = 10) -> Model:
    """LeNet-5 with ReLU and maximum pooling, its layers `width` times as wide. Source: LeCun et al., 1998, fig. 2;
    width multiples as in the efficiency framework's experiments. No batch norm: biases, as in the original.
    """
    if not 1 <= width <= 5:
        raise ValueError(f"the width multiple of LeNet-5 must be in [1, 5], got {width}")
    layers = (
        Conv(6 * width, 5, padding=2, norm=False),
        MaxPool(2),
        Conv(16 * width, 5, padding=0, norm=False),
        MaxPool(2),
        Dense(120 * width),
        Dense(84 * width),
    )
    return Model("lenet5" if width == 1 else f"lenet5x{width}", layers, classes)


def mobilenet_v2(classes: int = 10, imagenet: bool = False) -> Model:
    """MobileNetV2 for 32x32 images: strides of the stem and of the second stage are 1; with imagenet=True they are
    2, for 224x224 images. Without batch norm and classifier it has 2,189,760 weights.

    Source: Sandler et al., CVPR 2018, table 2; the CIFAR strides are those of the common CIFAR form.
    """
    first = 2 if imagenet else 1
    settings = (
        (1, 16, 1, 1),
        (6, 24, 2, first),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    )
    layers: list[Layer] = [Conv(32, stride=first, activation="relu6")]
    channels = 32
    for expansion, out, repeats, first_stride in settings:
        for i in range(repeats):
            stride = first_stride if i == 0 else 1
            hidden = channels * expansion
            body = [Conv(hidden, 1, activation="relu6")] if expansion > 1 else []
            body.append(Conv(hidden, 3, stride, groups=0, activation="relu6"))
            body.append(Conv(out, 1, activation=None))
            if stride == 1 and channels == out:
                layers.append(Residual(tuple(body), activation=None))
            else:
                layers.extend(body)
            channels = out
    layers.append(Conv(1280, 1, activation="relu6"))
    return Model("mobilenetv2-imagenet" if imagenet else "mobilenetv2", (*layers, GlobalPool()), classes)


def names() -> list[str]:
    """All names that `model` knows, beside those of a user's own file."""
    lenets = ["lenet5", *(f"lenet5x{width}" for width in range(2, 6))]
    imagenet = [f"resnet{depth}-imagenet" for depth in _IMAGENET_RESNETS]
    return [f"resnet{depth}" for depth in RESNET_DEPTHS] + [
        *lenets,
        "mobilenetv2",
        *imagenet,
        "mobilenetv2-imagenet",
    ]


def model(name: str, classes: int) -> Model:
    """The model called `name`, or described by a user's own function; ValueError names the nearest known one.

    NAME-binary, -ternary, -shift and -adder are NAME with layers of that kind (`joulebit.nn.graph.KINDS`), the
    first layer and the classifier excepted. `PATH.py:FUNCTION` calls FUNCTION(classes) of that file, which returns
    a `Model`. The file is Python code and runs as such.
    """
    if ".py:" in name:
        return _from_file(name, classes)
    base, _, kind = name.rpartition("-")
    if base and kind in KINDS[1:]:
        described = with_kind(model(base, classes), kind, first_layer=False)
        return replace(described, name=f"{described.name}-{kind}")
    if match := re.fullmatch(r"resnet(\d+)", name):
        return resnet(int(match[1]), classes)
    if match := re.fullmatch(r"resnet(\d+)-imagenet", name):
        return imagenet_resnet(int(match[1]), classes)
    if match := re.fullmatch(r"lenet5(?:x(\d+))?", name):
        return lenet5(int(match[1] or 1), classes)
    if name in ("mobilenetv2", "mobilenetv2-imagenet"):
        return mobilenet_v2(classes, imagenet=name.endswith("imagenet"))
    hint = did_you_mean(name, names())
    raise ValueError(
        f"unknown model {name!r}{hint}; known: {', '.join(names())}, each also with -{', -'.join(KINDS[1:])}, "
        "PATH.py:FUNCTION"
    )


def _from_file(name: str, classes: int) -> Model:
    path, _, function = name.rpartition(":")
    file = Path(path).expanduser()
    if not file.is_file():
        raise ValueError(f"model {name!r}: there is no file {file}")
    try:
        found = runpy.run_path(str(file)).get(function)
        described = found(classes) if callable(found) else None
    except Exception as error:
        raise ValueError(f"model {name!r}: {type(error).__name__} in {file}: {error}") from error
    if not isinstance(described, Model):
        raise ValueError(f"model {name!r}: {function}(classes) of {file} must return a Model, got {described!r}")
    if described.classes != classes:
        raise ValueError(f"model {name!r}: has {described.classes} classes, the data set has {classes}")
    return described
