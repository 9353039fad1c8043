"""Initial parameters, as integers in Q3.28: the same for every engine and for the float32 baseline.

Weights are nearly normal numbers of `joulebit.fixed.philox` (integer arithmetic alone, so every platform gets the
same bits), with the deviations

* convolution with batch norm: sqrt(2 / (k_h k_w c_out)), fan-out, as the CIFAR ResNets and torchvision's
  MobileNetV2 (depthwise layers too: batch norm makes the forward pass blind to the scale);
* convolution or dense layer without it: sqrt(2 / (k_h k_w c_in / groups)), fan-in (He et al., ICCV 2015), because
  nothing rescales its output;
* adder layer: 1, as in the released code of AdderNet (Chen et al., CVPR 2020);
* classifier: sqrt(1 / (3 features)), the deviation of torch.nn.Linear: 0.072 for 64 features. The block outputs
  of a ResNet grow with its depth, so a small one keeps the first loss near that of a uniform guess.

Scales (gamma) are 1, shifts (beta) and biases 0. The number of a layer's random stream is the convolution's
index; the classifier takes the one after the last.
"""

from __future__ import annotations

from math import isqrt

import numpy as np
from numpy.typing import NDArray

from joulebit.fixed.arithmetic import MASTER_FRACTION_BITS
from joulebit.fixed.philox import he_std_q30, initial_normal
from joulebit.nn.graph import NetworkPlan

ONE = 1 << MASTER_FRACTION_BITS
ADDER_STD_Q30 = 1 << 30  # 1: distances to weights must be of the size of the activations

Shape = tuple[int, ...]


def parameter_shapes(plan: NetworkPlan) -> dict[str, Shape]:
    """Shape of every parameter by name, in network order: per convolution weight, then gamma and beta, or bias.

    A convolution's weight is [k_h, k_w, c_in / groups, c_out]; `head.weight` is [classes, features].
    """
    shapes: dict[str, Shape] = {}
    for conv in plan.convs():
        shapes[f"{conv.name}.weight"] = conv.weight_shape
        for name in ("gamma", "beta") if conv.norm else ("bias",):
            shapes[f"{conv.name}.{name}"] = (conv.out_shape[2],)
    shapes["head.weight"] = (plan.head.classes, plan.head.features)
    shapes["head.bias"] = (plan.head.classes,)
    return shapes


def initial_masters(plan: NetworkPlan, seed: int) -> dict[str, NDArray[np.int32]]:
    """The masters a run starts from: int32, unit 2^-28, by the names and shapes of `parameter_shapes`.

    seed is an integer in [0, 2^64); the result is a pure function of plan and seed. The random numbers reach 6.93
    deviations and no deviation exceeds 1, so nothing leaves the range of int32 (8 in Q3.28).
    """
    streams: dict[str, tuple[int, int]] = {}  # name of a weight: number of its stream, deviation in 2^-30
    for conv in plan.convs():
        kernel_h, kernel_w, fan_in, fan_out = conv.weight_shape
        streams[f"{conv.name}.weight"] = (
            conv.index,
            ADDER_STD_Q30
            if conv.kind == "adder"
            else he_std_q30(kernel_h * kernel_w * (fan_out if conv.norm else fan_in)),
        )
    streams["head.weight"] = (len(streams), isqrt((1 << 60) // (3 * plan.head.features)))
    masters: dict[str, NDArray[np.int32]] = {}
    for name, shape in parameter_shapes(plan).items():
        if name in streams:
            layer, std_q30 = streams[name]
            count = int(np.prod(shape, dtype=np.int64))
            masters[name] = initial_normal(seed, layer, count, std_q30).reshape(shape)
        else:
            masters[name] = np.full(shape, ONE if name.endswith(".gamma") else 0, np.int32)
    return masters
