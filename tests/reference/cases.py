"""Short training runs that meet every part of the specification, chosen ones and random ones."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np

from joulebit.fixed.arithmetic import Arithmetic
from joulebit.nn.context import Update
from joulebit.nn.graph import Conv, Dense, GlobalPool, MaxPool, Model, Residual, plan
from joulebit.techniques.slu import SelectiveLayerUpdate
from joulebit.techniques.stochastic_depth import StochasticDepth
from joulebit.train.integer import TrainingMethod

SHAPE = (5, 6, 2)
DEFAULT = Arithmetic()
SGD = TrainingMethod()
ROUNDINGS = ("half_up", "half_even", "half_away", "toward_zero", "floor", "stochastic")

SAME = Residual((Conv(3), Conv(3, activation=None)))
LARGER = Residual((Conv(4, stride=2), Conv(4, activation=None)))
AFTER = Residual((Conv(4), Conv(4, activation=None)))
RESNET = Model("resnet", (Conv(3), SAME, LARGER, GlobalPool()), 3)
DEEPER = Model("deeper", (Conv(3), SAME, LARGER, AFTER, GlobalPool()), 3)
LENET = Model("lenet", (Conv(3, norm=False), MaxPool(2), Conv(4, 2, padding=0, norm=False), Dense(5)), 3)
MOBILE = Model(
    "mobile",
    (
        Conv(4, activation="relu6"),
        Conv(4, 1, activation=None),
        Residual(
            (Conv(8, 1, activation="relu6"), Conv(8, groups=0, activation="relu6"), Conv(4, 1, activation=None)),
            None,
        ),
        Conv(4, stride=2, groups=2, activation="relu6"),
        GlobalPool(),
    ),
    4,
)
LINEAR = Model("linear", (Conv(4, (1, 3), activation=None), Dense(4, norm=True, activation=None)), 3)
PROJECTED = Model(
    "projected",
    (
        Conv(3, 5, 2),
        MaxPool(3, 2, 1),
        Residual((Conv(2, 1), Conv(2), Conv(4, 1, activation=None)), projection=True),
        Residual((Conv(4), Conv(3, stride=2, activation=None)), projection=True),
        MaxPool(2, 1, 1),
        GlobalPool(),
    ),
    3,
)
FEW_VALUES = Model(
    "few values",
    (
        Conv(3, kind="ternary"),
        Residual((Conv(3, kind="binary"), Conv(3, kind="shift", activation=None))),
        Conv(4, 2, kind="shift", norm=False, padding=0),
        Dense(4, kind="binary"),
    ),
    3,
)
ADDERS = Model(
    "adders",
    (
        Conv(2, kind="adder"),
        Residual((Conv(3, kind="adder"), Conv(3, kind="adder", activation=None))),
        Conv(3, stride=2, kind="adder", activation="relu6"),
        GlobalPool(),
    ),
    3,
)
POOL_LAST = Model("pool last", (Residual((Conv(2), Conv(4, norm=False, activation=None)), "relu6"), MaxPool(2)), 3)


@dataclass(frozen=True)
class Case:
    """A short training run."""

    model: Model
    arithmetic: Arithmetic = DEFAULT
    method: TrainingMethod = SGD
    shape: tuple[int, int, int] = SHAPE
    batches: tuple[int, ...] = (4, 4, 4)
    rate: float = 0.1
    sign_rate: float = 0.03
    seed: int = 7
    bright: int = 256  #: pixels are below this
    weights: dict[str, int] = field(default_factory=dict)  #: masters to start from, all of a tensor the same
    samples: tuple[int, ...] = ()  #: positions in the training set, in every batch; empty: random ones


NARROW = Arithmetic(6, 5, 12, x_msb_bits=3, g_msb_bits=7, input_gradient_bits=8)
PSG = TrainingMethod(Update.PSG, sign_weight_decay=1e-3)
SIGN = TrainingMethod(Update.SIGN, sign_momentum=0.5, sign_weight_decay=1e-3)
SLU = TrainingMethod(slu=SelectiveLayerUpdate(0.3, 2.0, 1.0))
SKIPS_TOO_LITTLE = TrainingMethod(slu=SelectiveLayerUpdate(0.4, 15.0, 2.0))
SKIPS_TOO_MUCH = TrainingMethod(Update.PSG, slu=SelectiveLayerUpdate(0.01, 15.0, 2.0))
RESTING = TrainingMethod(slu=SelectiveLayerUpdate(0.2, 0.1, 0.0), weight_decay=0.0)  # gates do not move
AT_TARGET = TrainingMethod(slu=SelectiveLayerUpdate(0.0, 2.0, 1.0))  # as long as all gates are open
ALL_CLOSED = {"gate.output": 0, "gate.output_bias": -(2**31 - 1)}

CASES = {
    "residual blocks of all shapes": Case(RESNET, batches=(4, 4, 4, 4)),
    "biases, pooling and hidden dense layers": Case(LENET),
    "relu6, depthwise, grouped and linear layers": Case(MOBILE),
    "linear and dense layers with batch norm": Case(LINEAR),
    "a block first, pooling last, a flattened head": Case(POOL_LAST),
    "projections in shortcuts, overlapping pooling": Case(PROJECTED, shape=(9, 8, 2)),
    "projections with predicted signs": Case(PROJECTED, NARROW, PSG, batches=(3, 5)),
    "weights of few values": Case(FEW_VALUES),
    "weights of few values, predicted signs": Case(FEW_VALUES, NARROW, PSG, batches=(3, 5)),
    "weights of few values, 16 bits": Case(FEW_VALUES, Arithmetic(16, 16, 16), SIGN, rate=1.5),
    "adder layers": Case(ADDERS, batches=(4, 4, 4, 4)),
    "adder layers, predicted signs": Case(ADDERS, NARROW, PSG, batches=(3, 5)),
    "adder layers, sign updates, stochastic rounding": Case(ADDERS, replace(DEFAULT, rounding="stochastic"), SIGN),
    "adder layers, narrow accumulator": Case(ADDERS, Arithmetic(accumulator_bits=16), rate=1.0),
    "batches that are no power of two": Case(RESNET, batches=(3, 5, 1, 4)),
    "sign updates": Case(RESNET, method=SIGN),
    "predicted signs": Case(RESNET, method=PSG),
    "predicted signs of signed activations": Case(RESNET, Arithmetic(x_signed=True), PSG),
    "predicted signs of a linear layer": Case(LINEAR, method=replace(PSG, beta=0.4)),
    "predicted signs that are floored": Case(RESNET, Arithmetic(msb_rounding="floor"), PSG),
    "narrowed input gradients": Case(RESNET, NARROW, PSG),
    "narrowed input gradients of unlike layers": Case(MOBILE, NARROW),
    "two bits": Case(MOBILE, Arithmetic(2, 2, 2, x_msb_bits=1, g_msb_bits=1), PSG),
    "sixteen bits": Case(RESNET, Arithmetic(16, 16, 16), PSG),
    "a narrow accumulator": Case(LENET, Arithmetic(accumulator_bits=16)),
    "momentum and decay that round up": Case(
        RESNET, method=TrainingMethod(Update.PSG, 0.3, 0.95, 0.85, 1.7e-4, 3e-6), rate=0.0123
    ),
    "masters at their limits": Case(
        RESNET, method=replace(SIGN, sign_momentum=0.9), sign_rate=2.0, batches=(4,) * 5
    ),
    "the classifier alone": Case(RESNET, method=TrainingMethod(head_only=True)),
    "gradients that are zero at first": Case(RESNET, weights={"head.weight": 0}),
    "scales of zero and below": Case(
        RESNET, weights={"conv1.gamma": -(2**28), "block1.conv1.gamma": 0, "block2.conv2.gamma": 1 << 16}
    ),
    "activations that leave their range": Case(
        RESNET, weights={"conv1.gamma": 2**31 - 1, "block1.conv2.beta": 2**31 - 1, "block2.conv1.gamma": 2**31 - 1}
    ),
    "black images": Case(DEEPER, bright=1, method=SLU),
    "selective layer update": Case(DEEPER, method=SLU, batches=(5, 3, 4, 5)),
    "selective layer update that skips too little": Case(DEEPER, method=SKIPS_TOO_LITTLE, batches=(5, 3, 5, 4, 5)),
    "selective layer update that skips too much": Case(DEEPER, method=SKIPS_TOO_MUCH, batches=(5, 3, 5, 4, 5)),
    "selective layer update with all gates closed": Case(DEEPER, method=SLU, weights=ALL_CLOSED),
    "selective layer update with stochastic rounding": Case(
        DEEPER, Arithmetic(rounding="stochastic"), SLU, batches=(5, 3, 5)
    ),
    "selective layer update of linear blocks": Case(
        Model("t", (Residual((Conv(3, activation=None),), None), *MOBILE.layers), 3), Arithmetic(g_bits=10), SLU
    ),
    "selective layer update with gates at one half": Case(
        DEEPER,
        method=RESTING,
        weights={"gate.output": 0, "gate.output_bias": 0},
        samples=(15321, 5, 0),
        batches=(3, 3),
    ),
    "selective layer update at its target": Case(
        DEEPER, method=AT_TARGET, weights={"gate.output": 0, "gate.output_bias": 2**31 - 1}
    ),
    "stochastic depth": Case(
        DEEPER, method=TrainingMethod(stochastic_depth=StochasticDepth(0.5)), batches=(4,) * 5
    ),
    "stochastic depth that always closes the last block": Case(
        DEEPER,
        Arithmetic(rounding="stochastic"),
        TrainingMethod(Update.PSG, stochastic_depth=StochasticDepth(0.0)),
        batches=(3, 4, 3, 4),
    ),
    "the largest seed": Case(RESNET, Arithmetic(rounding="stochastic"), seed=2**64 - 1),
} | {f"rounding {mode}": Case(RESNET, Arithmetic(rounding=mode)) for mode in ROUNDINGS}


def batches_of(case):
    """(images, labels, samples, step) of every step, then the images of statistics and evaluation."""
    rng = np.random.default_rng(case.seed)
    steps = []
    for i, count in enumerate(case.batches):
        images = rng.integers(0, case.bright, (count, *case.shape), dtype=np.uint8)
        labels = rng.integers(0, case.model.classes, count)
        samples = np.array(case.samples) if case.samples else rng.choice(50_000, count, replace=False)
        steps.append((images, labels, samples, 3 * i + 1))
    return (
        steps,
        rng.integers(0, 256, (5, *case.shape), dtype=np.uint8),
        rng.integers(0, 256, (4, *case.shape), dtype=np.uint8),
    )


def random_conv(rng, channels, c_in, stride=1, last=False, norm=0.75):
    return Conv(
        channels,
        rng.choice([1, 3, 3, (1, 3)]),
        stride,
        None,
        0 if channels % c_in == 0 and rng.random() < 0.3 else 1,
        rng.random() < norm,
        None if last else rng.choice(["relu", "relu", "relu6", None]),
    )


def random_block(rng, c_in):
    channels = rng.choice([c for c in (2, 3, 4) if c >= c_in])
    widths = [c_in, *(rng.choice([2, 3, 4]) for _ in range(rng.randint(0, 2))), channels]
    stride = rng.choice([1, 1, 2])
    body = [
        random_conv(rng, out, into, 1 if i else stride, i + 2 == len(widths), 0.85)
        for i, (into, out) in enumerate(pairwise(widths))
    ]
    return Residual(tuple(body), rng.choice(["relu", "relu", "relu6", None]))


def random_case(seed):
    """A network, widths, rounding and method drawn at random."""
    rng = random.Random(seed)
    layers, channels = [], 2
    for i in range(rng.randint(2, 4)):
        kind = rng.random()
        if kind < 0.25:
            layers.append(random_conv(rng, rng.choice([2, 3, 4]), channels))
        elif kind < 0.35 and i:
            layers.append(MaxPool(2))
            continue
        else:
            layers.append(random_block(rng, channels))
        last = layers[-1]
        channels = last.channels if isinstance(last, Conv) else last.body[-1].channels
    if rng.random() < 0.3:
        layers.append(Dense(rng.choice([2, 5]), rng.random() < 0.5, rng.choice(["relu", None])))
    if rng.random() < 0.6:
        layers.append(GlobalPool())
    model = Model("random", tuple(layers), rng.choice([2, 3, 5]))
    shape = (rng.choice([5, 6, 8]), rng.choice([5, 6, 7]), 2)
    x, w, g = rng.choice([(8, 8, 16), tuple(rng.randint(2, 16) for _ in range(3))])
    arithmetic = Arithmetic(
        x,
        w,
        g,
        rng.choice([48, 48, 24]),
        rng.random() < 0.2,
        rng.choice(["half_up", *ROUNDINGS]),
        rng.randint(1, x),
        rng.randint(1, g),
        rng.choice(ROUNDINGS[:-1]),
        rng.choice([0, 0, rng.randint(2, g)]),
    )
    blocks = list(plan(model, shape).blocks())
    slu = depth = None
    if len(blocks) > 1:
        reachable = sum(block.macs for block in blocks[1:]) / plan(model, shape).macs
        chosen = rng.random()
        if chosen < 0.5:
            slu = SelectiveLayerUpdate(
                reachable * rng.random() * 0.9, rng.choice([0.1, 15.0]), rng.choice([0.1, 2.0])
            )
        elif chosen < 0.8:
            depth = StochasticDepth(rng.choice([0.0, 0.3, 0.7]))
    method = TrainingMethod(
        rng.choice(list(Update)),
        rng.choice([0.05, 0.5]),
        rng.choice([0.9, 0.0]),
        rng.choice([0.9, 0.0]),
        rng.choice([1e-4, 0.01]),
        rng.choice([0.0, 1e-3]),
        slu=slu,
        stochastic_depth=depth,
    )
    batches = tuple(rng.randint(1, 5) for _ in range(3))
    return Case(model, arithmetic, method, shape, batches, rng.choice([0.1, 0.5]), rng.choice([0.03, 0.5]), seed)
