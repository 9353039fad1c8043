"""Descriptions of networks: resolved shapes, published sizes, and one-line errors."""

from math import prod

import pytest

from joulebit.nn.graph import Conv, Dense, GlobalPool, MaxPool, Model, Residual, plan
from joulebit.nn.models import RESNET_DEPTHS, lenet5, mobilenet_v2, model, names, resnet

CIFAR = (32, 32, 3)
MNIST = (28, 28, 1)


def planned(*layers, shape=(8, 8, 4), classes=10):
    return plan(Model("net", layers, classes), shape)


def conv_weights(described):
    return sum(prod(conv.weight_shape) for conv in described.convs())


# --- published sizes ---------------------------------------------------------------------------------------


def test_resnet20_has_the_published_40_55_million_macs_and_0_27_million_parameters():
    described = plan(model("resnet20", 10), CIFAR)
    assert described.macs == 40_551_040
    assert described.parameters == 269_722


@pytest.mark.parametrize(("depth", "millions"), [(20, 0.27), (32, 0.46), (56, 0.85), (110, 1.7)])
def test_resnets_have_the_parameters_of_he_et_al(depth, millions):
    assert plan(resnet(depth), CIFAR).parameters / 1e6 == pytest.approx(millions, rel=0.02)


@pytest.mark.parametrize("depth", RESNET_DEPTHS)
def test_a_resnet_has_depth_minus_one_convolutions_in_blocks_of_two(depth):
    described = plan(resnet(depth), CIFAR)
    assert len(list(described.convs())) == depth - 1
    assert len(list(described.blocks())) == (depth - 2) // 2


def test_mobilenetv2_has_2189760_convolution_weights():
    described = plan(model("mobilenetv2", 10), CIFAR)
    assert conv_weights(described) == 2_189_760
    assert described.parameters == 2_236_682
    assert described.head.in_shape == (4, 4, 1280)
    assert len(list(described.convs())) == 52
    assert len(list(described.blocks())) == 10
    assert plan(mobilenet_v2(100), CIFAR).parameters == 2_236_682 + 90 * 1281


def test_lenet5_has_61706_parameters():
    described = plan(model("lenet5", 10), MNIST)
    assert described.parameters == 61_706
    assert described.macs == 28 * 28 * 6 * 25 + 10 * 10 * 16 * 150 + 120 * 400 + 84 * 120 + 10 * 84


@pytest.mark.parametrize("width", range(1, 6))
def test_wider_lenets_have_all_hidden_layers_as_many_times_as_wide(width):
    described = plan(lenet5(width), MNIST)
    assert [conv.out_shape[2] for conv in described.convs()] == [6 * width, 16 * width, 120 * width, 84 * width]
    assert described.model.name == ("lenet5" if width == 1 else f"lenet5x{width}")


def test_every_known_name_is_a_model_that_fits_its_images():
    for name in names():
        described = plan(model(name, 7), MNIST if name.startswith("lenet") else CIFAR)
        assert described.model.name == name
        assert described.head.classes == 7


# --- resolved shapes ---------------------------------------------------------------------------------------


def test_shapes_follow_strides_kernels_and_pooling():
    described = planned(
        Conv(6, 5, stride=2), MaxPool(2), Conv(6, (1, 3), padding=0), Dense(5), shape=(13, 20, 3), classes=3
    )
    assert [node.out_shape for node in described.nodes] == [(7, 10, 6), (3, 5, 6), (3, 3, 6), (1, 1, 5)]
    assert [conv.weight_shape for conv in described.convs()] == [(5, 5, 3, 6), (1, 3, 6, 6), (3, 3, 6, 5)]
    assert (described.head.features, described.head.pooled) == (5, False)
    assert [conv.name for conv in described.convs()] == ["conv1", "conv2", "dense3"]


@pytest.mark.parametrize(
    ("groups", "weights"), [(1, (3, 3, 4, 8)), (2, (3, 3, 2, 8)), (4, (3, 3, 1, 8)), (0, (3, 3, 1, 8))]
)
def test_groups_divide_the_input_channels_of_a_weight(groups, weights):
    (conv,) = planned(Conv(8, groups=groups)).convs()
    assert conv.weight_shape == weights
    assert conv.macs == prod(weights) * 64


def test_a_global_pool_leaves_one_feature_per_channel():
    assert planned(Conv(6), GlobalPool()).head.features == 6
    assert planned(Conv(6)).head.features == 6 * 64


def test_a_block_knows_its_ends_and_its_shortcut():
    described = planned(
        Conv(4),
        Residual((Conv(6, stride=2, activation="relu6"), Conv(6, activation=None)), "relu"),
        shape=(7, 8, 2),
    )
    (block,) = described.blocks()
    assert (block.stride, block.in_shape, block.out_shape) == (2, (7, 8, 4), (4, 4, 6))
    assert [conv.activation for conv in block.body] == ["relu6", "relu"]
    assert [(conv.in_block, conv.ends_block) for conv in described.convs()] == [
        (False, False),
        (True, False),
        (True, True),
    ]
    assert block.macs == sum(conv.macs for conv in block.body)
    assert [conv.index for conv in described.convs()] == [0, 1, 2]


# --- errors ------------------------------------------------------------------------------------------------


def test_groups_that_do_not_divide_the_channels_are_refused():
    with pytest.raises(ValueError, match="conv1: 4 input and 6 output channels do not divide into 4 groups"):
        planned(Conv(6, groups=0))
    with pytest.raises(ValueError, match="conv1: 4 input and 6 output channels do not divide into 3 groups"):
        planned(Conv(6, groups=3))


def test_a_kernel_larger_than_the_padded_image_is_refused():
    with pytest.raises(ValueError, match="a 5x5 kernel with padding 0,0 does not fit an input of 4x8"):
        planned(Conv(4, 5, padding=0), shape=(4, 8, 1))


def test_a_pool_larger_than_the_image_is_refused():
    with pytest.raises(ValueError, match=r"net: a 9x9 pool does not fit \(8, 8, 4\)"):
        planned(MaxPool(9))


def test_a_global_pool_that_is_not_last_is_refused():
    with pytest.raises(
        ValueError, match=r"net: GlobalPool must be the last layer, got Conv\(channels=3, .*\) after it"
    ):
        planned(GlobalPool(), Conv(3))


@pytest.mark.parametrize(
    "body",
    [
        (Conv(4, padding=0, activation=None),),
        (Conv(3, activation=None),),
        (Conv(4, 2, activation=None),),
        (Conv(4, 5, padding=1), Conv(4, activation=None)),
    ],
)
def test_a_block_whose_shortcut_has_another_size_is_refused(body):
    with pytest.raises(ValueError, match=r"block1: the body turns \(8, 8, 4\) into .*, but the shortcut"):
        planned(Residual(body))


def test_a_body_without_convolutions_or_with_an_activation_at_its_end_is_refused():
    with pytest.raises(ValueError, match="must have at least one convolution"):
        Residual(())
    with pytest.raises(ValueError, match="must have activation=None: the block's activation follows the sum"):
        Residual((Conv(4), Conv(4)))


@pytest.mark.parametrize("arguments", [{"channels": 0}, {"stride": 0}, {"groups": -1}])
def test_sizes_below_one_are_refused(arguments):
    with pytest.raises(ValueError, match="channels and stride must be at least 1 and groups at least 0"):
        Conv(**{"channels": 4, **arguments})


def test_an_unknown_activation_is_refused():
    with pytest.raises(ValueError, match="activation must be relu, relu6 or None, got 'tanh'"):
        Conv(4, activation="tanh")


def test_something_that_is_no_layer_is_refused():
    with pytest.raises(ValueError, match="net: layer 1 is no layer of this package: 'relu'"):
        planned(Conv(3), "relu")


def test_an_unknown_model_is_refused_with_the_nearest_name():
    with pytest.raises(ValueError, match=r"unknown model 'mobilenet2'.*did you mean mobilenetv2\?"):
        model("mobilenet2", 10)
    with pytest.raises(ValueError, match=r"unknown model 'vgg16'.*: .*resnet8, .*mobilenetv2") as caught:
        model("vgg16", 10)
    assert "did you mean" not in str(caught.value)


@pytest.mark.parametrize("depth", [0, 2, 9, 21])
def test_a_resnet_of_another_depth_is_refused(depth):
    with pytest.raises(ValueError, match=rf"a CIFAR ResNet has depth 6n \+ 2 .*, got {depth}"):
        model(f"resnet{depth}", 10)


@pytest.mark.parametrize("width", [0, 6])
def test_a_lenet_of_another_width_is_refused(width):
    with pytest.raises(ValueError, match=rf"the width multiple of LeNet-5 must be in \[1, 5\], got {width}"):
        model(f"lenet5x{width}", 10)
