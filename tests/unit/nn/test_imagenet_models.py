"""ImageNet forms of the networks: published parameter counts and shapes, and a step on small images."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np
import pytest

from joulebit.engine.factory import make_engine
from joulebit.fixed.arithmetic import Arithmetic
from joulebit.nn.graph import Conv, GlobalPool, MaxPool, Model, Residual, plan
from joulebit.nn.models import imagenet_resnet, model, names
from joulebit.train.integer import IntegerNetwork
from joulebit.train.network import Batch


@pytest.mark.parametrize(
    ("name", "convolutions", "weights", "parameters", "macs"),
    [  # parameters with batch norm and classifier as in torchvision; multiply-accumulates of the convolutions
        ("resnet18-imagenet", 20, 11_166_912, 11_689_512, 1_813_561_344),
        ("resnet34-imagenet", 36, 21_267_648, 21_797_672, 3_663_249_408),
        ("resnet50-imagenet", 53, 23_454_912, 25_557_032, 4_087_136_256),
        ("mobilenetv2-imagenet", 52, 2_189_760, 3_504_872, 299_494_272),
    ],
)
def test_networks_have_the_published_numbers_of_parameters(name, convolutions, weights, parameters, macs):
    network = plan(model(name, 1000), (224, 224, 3))
    convs = list(network.convs())
    assert name in names()
    assert len(convs) == convolutions
    assert sum(prod(conv.weight_shape) for conv in convs) == weights
    assert network.parameters == parameters
    assert sum(conv.macs for conv in convs) == macs
    assert network.head.in_shape[:2] == (7, 7)


def test_projections_stand_where_the_size_changes_and_nowhere_else():
    for depth, expected in ((18, [2, 4, 6]), (50, [0, 3, 7, 13])):
        blocks = list(plan(imagenet_resnet(depth), (224, 224, 3)).blocks())
        assert [block.index for block in blocks if block.projection] == expected
    with pytest.raises(ValueError, match="18, 34, 50"):
        imagenet_resnet(20)


def test_a_projection_comes_after_its_body_and_may_lower_the_channels():
    narrowing = Model("n", (Conv(6), Residual((Conv(3), Conv(2, stride=2, activation=None)), projection=True)))
    convs = list(plan(narrowing, (6, 7, 1)).convs())
    assert [conv.name for conv in convs] == ["conv1", "block1.conv1", "block1.conv2", "block1.projection"]
    assert convs[3].weight_shape == (1, 1, 6, 2)
    assert convs[3].out_shape == convs[2].out_shape == (3, 4, 2)
    with pytest.raises(ValueError, match="do not shrink channels"):
        plan(Model("n", (Conv(6), Residual((Conv(2, activation=None),)))), (6, 6, 1))


def test_pooling_windows_must_fit():
    with pytest.raises(ValueError, match="padding in"):
        MaxPool(3, 2, 2)
    with pytest.raises(ValueError, match="does not fit"):
        plan(Model("p", (MaxPool(5, 2, 0), GlobalPool())), (4, 4, 1))


def test_a_bottleneck_network_trains_on_small_images_to_the_same_bits_on_every_engine():
    random = np.random.default_rng(0)
    batch = Batch(random.integers(0, 256, (2, 33, 33, 3)).astype(np.uint8), np.array([1, 4]), np.arange(2), 0)
    small = Model("small", (*map(_thin, imagenet_resnet(50, 5).layers[:5]), GlobalPool()), 5)
    states = []
    for engine in ("numpy", "numba", "torch"):
        network = IntegerNetwork(plan(small, (33, 33, 3)), make_engine(engine, Arithmetic(), 1), 0)
        before = {key: value.copy() for key, value in network.weights().items()}
        for _ in range(2):
            network.train_step(batch, 0.1, 0.0)
        assert (network.weights()["block1.projection.weight"] != before["block1.projection.weight"]).any()
        states.append({key: value.tolist() for key, value in network.state().items()})
    assert states[0] == states[1] == states[2]


def _thin(layer):
    """An eighth of the channels."""

    if isinstance(layer, Residual):
        return replace(layer, body=tuple(map(_thin, layer.body)))
    return replace(layer, channels=layer.channels // 8) if isinstance(layer, Conv) else layer
