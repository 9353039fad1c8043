"""Initial parameters: names, shapes, deviations, and independence of anything but plan and seed."""

import hashlib

import numpy as np
import pytest

from joulebit.nn.graph import Conv, Dense, GlobalPool, Model, Residual, plan
from joulebit.nn.init import initial_masters, parameter_shapes
from joulebit.nn.models import model


def planned(name, shape=(32, 32, 3)):
    return plan(model(name, 10), shape)


def test_names_and_shapes_are_in_network_order():
    description = Model(
        "t", (Conv(4), Residual((Conv(8, groups=0, stride=2), Conv(8, 1, activation=None))), Dense(5)), 3
    )
    resolved = plan(description, (6, 6, 2))
    assert list(parameter_shapes(resolved).items()) == [
        ("conv1.weight", (3, 3, 2, 4)),
        ("conv1.gamma", (4,)),
        ("conv1.beta", (4,)),
        ("block1.conv1.weight", (3, 3, 1, 8)),
        ("block1.conv1.gamma", (8,)),
        ("block1.conv1.beta", (8,)),
        ("block1.conv2.weight", (1, 1, 8, 8)),
        ("block1.conv2.gamma", (8,)),
        ("block1.conv2.beta", (8,)),
        ("dense4.weight", (3, 3, 8, 5)),
        ("dense4.bias", (5,)),
        ("head.weight", (3, 5)),
        ("head.bias", (3,)),
    ]
    masters = initial_masters(resolved, 0)
    assert {name: value.shape for name, value in masters.items()} == parameter_shapes(resolved)
    assert all(value.dtype == np.int32 for value in masters.values())


@pytest.mark.parametrize("name", ["resnet20", "lenet5", "mobilenetv2"])
def test_deviations_are_the_documented_ones(name):
    resolved = planned(name)
    masters = initial_masters(resolved, 3)
    assert sum(value.size for value in masters.values()) == resolved.parameters
    for conv in resolved.convs():
        kernel_h, kernel_w, fan_in, c_out = conv.weight_shape
        weight = masters[f"{conv.name}.weight"].astype(float) / 2**28
        expected = (2 / (kernel_h * kernel_w * (c_out if conv.norm else fan_in))) ** 0.5
        assert abs(weight.std() / expected - 1) < 4 / (2 * weight.size) ** 0.5
        assert abs(weight.mean()) < 5 * expected / weight.size**0.5
        if conv.norm:
            assert (masters[f"{conv.name}.gamma"] == 1 << 28).all() and not masters[f"{conv.name}.beta"].any()
        else:
            assert not masters[f"{conv.name}.bias"].any()
    head = masters["head.weight"].astype(float) / 2**28
    assert abs(head.std() * (3 * resolved.head.features) ** 0.5 - 1) < 4 / (2 * head.size) ** 0.5
    assert not masters["head.bias"].any()


def test_a_layer_without_norm_has_fan_in_deviation():
    resolved = plan(Model("t", (Conv(64, 3, norm=False), GlobalPool()), 10), (8, 8, 32))
    weight = initial_masters(resolved, 1)["conv1.weight"] / 2**28
    assert abs(weight.std() / (2 / (9 * 32)) ** 0.5 - 1) < 0.03


def test_seeds_and_layers_have_streams_of_their_own():
    resolved = planned("resnet8")
    first, again, other = (initial_masters(resolved, seed) for seed in (1, 1, 2))
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["conv1.weight"], other["conv1.weight"])
    assert not np.array_equal(first["block1.conv1.weight"], first["block1.conv2.weight"])


def test_the_initial_masters_of_resnet20_are_the_recorded_ones():
    digest = hashlib.sha256()
    for name, value in initial_masters(planned("resnet20"), 0).items():
        digest.update(name.encode() + value.astype("<i4").tobytes())
    assert digest.hexdigest() == "9cc24b0d984ce36463d01af7ea8b7a358f5cb7ce983b1284a95fe81c1b19db6f"
