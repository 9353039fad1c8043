"""The survey's classes and the figures that it prints beside what this tool has and computes.

The survey reports other papers' results and none of its own. Kinds of rows:

    described     a network of the survey described in this tool's layers, and counted
    counters      what this tool counts for the technique, without training
    preset        widths of presets of this tool that are held to the survey's rule
    has, has not  what stands here for a technique of the survey: keys of a configuration, or nothing
    run, not-run  an accuracy of a real run (`--run`), or that none was given

What it shows: the parameter counts are those of the original papers, rounded; the savings of filter pruning follow
from that paper's own settings (it prints 34.2 and 38.6); 32 times is weights alone. The 8.6 and 10.2 times of
early-bird tickets are against a whole lottery-ticket search on one board, the savings of ShiftAddNet are those of
another network on an FPGA: nothing here computes them. Of the survey's classes this tool has no search for
architectures, no stochastic binarisation and no selection by proxy models; infrastructure is its accelerator.

Source: Boumendil, Bechkit, Benatchba, "On-device deep learning: survey on techniques improving energy efficiency
of DNNs", IEEE TNNLS 2024.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from joulebit.energy.accounting import Accountant
from joulebit.energy.counters import Counters
from joulebit.energy.widths import Widths
from joulebit.experiments.config import load_config
from joulebit.experiments.papers.rows import Row, paper_row
from joulebit.fixed.arithmetic import Arithmetic
from joulebit.nn.graph import Conv, Dense, GlobalPool, Layer, MaxPool, Model, NetworkPlan, Residual, plan
from joulebit.nn.kinds import with_kind
from joulebit.nn.models import model
from joulebit.techniques.width_rule import broken

PAPER = "Survey"

#: Class, technique as the survey calls it, what stands for it here ("" for nothing).
CLASSES = (
    ("III-A pruning", "at initialisation: SNIP", "method.pruning.method=snip"),
    ("III-A pruning", "at initialisation: SynFlow", "method.pruning.method=synflow"),
    ("III-A pruning", "at initialisation: random by layer", "method.pruning.method=random"),
    ("III-A pruning", "early-bird tickets (Algorithm 1)", "method.early_bird.ratio=0.5"),
    ("III-A pruning", "after training", ""),
    ("III-B quantisation", "binary weights, deterministic (1)", "method.low_bit_weights.kind=binary"),
    ("III-B quantisation", "binary weights, stochastic (2)", ""),
    ("III-B quantisation", "binary activations", ""),
    ("III-B quantisation", "ternary weights", "method.low_bit_weights.kind=ternary"),
    ("III-B quantisation", "widths W, A, G", "arithmetic.w_bits=4"),
    ("III-B quantisation", "the rule W < A < G", "method.width_rule.check=strict"),
    ("III-B quantisation", "cyclic precision", "method.cyclic_precision.cycles=8"),
    ("III-C fewer multiplications", "additions (AdderNet)", "model.name=resnet8-adder"),
    ("III-C fewer multiplications", "shifts (DeepShift)", "model.name=resnet8-shift"),
    ("III-D distillation", "by a trained teacher", 'method.distillation.teacher="runs/teacher"'),
    ("III-D distillation", "self-distillation, by earlier snapshots", "method.distillation.teacher=self"),
    ("III-D distillation", "self-distillation, by a deeper classifier", "method.exits.count=2"),
    ("III-D distillation", "of features, data-free, by generations", ""),
    ("IV-A manual design", "MobileNetV2", "model.name=mobilenetv2"),
    ("IV-B automatic design", "architecture search", ""),
    ("IV-B automatic design", "growing in width", "method.growing.kind=width"),
    ("IV-B automatic design", "growing in depth", "method.growing.kind=depth"),
    ("V data selection", "non-adaptive", "method.data_selection.renew_every=0"),
    ("V data selection", "adaptive, by loss history", "method.data_selection.approach=loss"),
    ("V data selection", "adaptive, random", "method.data_selection.approach=random"),
    ("V data selection", "a decreasing ratio", "method.data_selection.schedule=exponential"),
    ("V data selection", "random batch skipping", "method.smd.probability=0.5"),
    ("V data selection", "by proxy or assistant models", ""),
    ("VI infrastructure", "hardware and frameworks", "joulebit board, hw/"),
    ("VII evaluation", "power meters, RAPL, NVML, Tegra", "joulebit meter list"),
)


def rows(runs: Sequence[Mapping[str, Any]] = ()) -> list[Row]:
    """Sections I to VII.

    Args:
        runs: summaries of real runs; binary, ternary and plain ones on CIFAR-10 are set beside the accuracies that
            the survey quotes for such weights (of larger networks).
    """
    found = [*_parameters(), *_pruning(), *_quantisation(runs), *_multiplications(), *_design(), *_data()]
    for group, technique, here in CLASSES:
        found.append(
            paper_row(PAPER, group, technique, "here", "named", here or None, "has" if here else "has not")
        )
    return found


# --- networks of the survey in this tool's layers --------------------------------------------------------------


def _alexnet() -> NetworkPlan:
    """Krizhevsky et al., NeurIPS 2012, with its two groups."""
    layers: tuple[Layer, ...] = (
        Conv(96, 11, 4, 0, norm=False),
        MaxPool(3, 2),
        Conv(256, 5, groups=2, norm=False),
        MaxPool(3, 2),
        Conv(384, norm=False),
        Conv(384, groups=2, norm=False),
        Conv(256, groups=2, norm=False),
        MaxPool(3, 2),
        Dense(4096),
        Dense(4096),
    )
    return plan(Model("alexnet", layers, 1000), (227, 227, 3))


def _vgg16(size: int, classes: int, hidden: tuple[int, ...], halved: tuple[int, ...] = ()) -> NetworkPlan:
    """VGG-16 (Simonyan and Zisserman, ICLR 2015); halved: convolutions, counted from 1, with half the filters."""
    layers: list[Layer] = []
    number = 0
    for stage, repeats in enumerate((2, 2, 3, 3, 3)):
        for _ in range(repeats):
            number += 1
            channels = 64 << min(stage, 3)
            layers.append(Conv(channels // 2 if number in halved else channels, norm=False))
        layers.append(MaxPool(2))
    return plan(Model("vgg16", (*layers, *map(Dense, hidden)), classes), (size, size, 3))


def _pruned_resnet110() -> NetworkPlan:
    """ResNet-110-pruned-B of Li et al., ICLR 2017, section 4.2.

    The first convolution of each block loses 50, 40 and 30 % of its filters by stage, but not layers 36, 38, 74.
    """
    stem, *blocks, pool = model("resnet110", 10).layers
    layers: list[Layer] = [stem]
    for index, block in enumerate(blocks):
        assert isinstance(block, Residual)
        stage = index // 18
        first, last = block.body
        if 2 * index + 2 not in (36, 38, 74):
            first = Conv(round(first.channels * (0.5, 0.6, 0.7)[stage]), first.kernel, first.stride)
        layers.append(Residual((first, last)))
    return plan(Model("resnet110-pruned", (*layers, pool), 10), (32, 32, 3))


def _parameters() -> list[Row]:
    counts = (
        ("AlexNet", 60e6, _alexnet()),
        ("VGG-16", 138e6, _vgg16(224, 1000, (4096, 4096))),
    )
    return [
        paper_row(PAPER, "I", name, "parameters, millions", printed / 1e6, resolved.parameters / 1e6, "described")
        for name, printed, resolved in counts
    ]


def _pruning() -> list[Row]:
    vgg, thin = _vgg16(32, 10, (512,)), _vgg16(32, 10, (512,), halved=(1, *range(8, 14)))
    resnet, pruned = plan(model("resnet110", 10), (32, 32, 3)), _pruned_resnet110()
    saved = [100 * (1 - small.macs / large.macs) for large, small in ((vgg, thin), (resnet, pruned))]
    table = "III-A"
    return [
        paper_row(PAPER, table, "filter pruning, VGG-16", "inference cost saved", 34.0, saved[0], "described"),
        paper_row(PAPER, table, "filter pruning, ResNet-110", "inference cost saved", 38.0, saved[1], "described"),
        paper_row(PAPER, table, "early bird, 50 % pruned", "energy gain, times", 8.6, None, "not-run"),
        paper_row(PAPER, table, "early bird, 70 % pruned", "energy gain, times", 10.2, None, "not-run"),
    ]


def _quantisation(runs: Sequence[Mapping[str, Any]]) -> list[Row]:
    table = "III-B"
    binary = plan(with_kind(model("resnet20", 10), "binary", first_layer=True), (32, 32, 3))
    bits = [Widths.of(None).w, *{Widths.of(Arithmetic()).weight(conv) for conv in binary.convs()}]
    found = [
        paper_row(PAPER, table, "binary weights", "smaller weights, times", 32, bits[0] // bits[1], "counters")
    ]
    for name in ("digits-resnet8-w4a8g16", "digits-resnet8-w2a6g12", "digits-resnet8-cpt"):
        config = load_config(name)
        arithmetic = config.arithmetic
        kinds = {"binary": 1, "ternary": 2}
        w = kinds.get(config.method.low_bit_weights.kind, arithmetic.w_bits)
        widths = f"{w}, {arithmetic.x_bits}, {arithmetic.g_bits}"
        kept = "broken" if broken(arithmetic, w) else "kept"
        found.append(
            paper_row(
                PAPER, table, name, "W, A, G in bits", "W < A < G", f"{widths}: W <= A <= G {kept}", "preset"
            )
        )
    quoted = (
        ("binary weights, CIFAR-10", "test error", 9.90, "binary", True),
        ("ternary weights, CIFAR-10", "top-1", 92.56, "ternary", False),
        ("full precision, CIFAR-10", "top-1", 92.88, "float32", False),
    )
    for name, quantity, printed, method, error in quoted:
        best = _best(runs, method)
        computed = None if best is None else 100 - best if error else best
        found.append(
            paper_row(PAPER, table, name, quantity, printed, computed, "not-run" if best is None else "run")
        )
    return found


def _best(runs: Sequence[Mapping[str, Any]], method: str) -> float | None:
    """The best top-1 of the CIFAR-10 runs with such weights."""
    chosen = [
        float(run["top1"])
        for run in runs
        if run["dataset"] == "cifar10"
        and (run["engine"] == "float32" if method == "float32" else method in str(run["method"]).split("+"))
    ]
    return max(chosen, default=None)


def _multiplications() -> list[Row]:
    """Which share of a training step's products is left where a kind of layer has none of its own."""
    table, found = "III-C", []
    for kind in ("adder", "shift"):
        resolved = plan(model(f"resnet20-{kind}", 10), (32, 32, 3))
        counters = Counters()
        accountant = Accountant(counters, Arithmetic())
        for conv in resolved.convs():
            accountant.forward(conv, 1)
        accountant.head(resolved.head, 1, backward=False)
        left = sum(value for key, value in counters.items() if key.split(".")[2].partition("x")[0].isdigit()
                   and key.startswith("macs."))  # fmt: skip
        share = 100 * left / resolved.macs
        name, claim = f"ResNet-20, {kind} layers", "in first and last layer"
        found.append(paper_row(PAPER, table, name, "forward products left", claim, f"{share:.2f} %", "counters"))
    for name, printed in (("AdderNet", 33.7), ("a multiplying network", 44.6)):
        found.append(
            paper_row(
                PAPER, table, f"ShiftAddNet against {name}", "training energy saved", printed, None, "not-run"
            )
        )
    return found


def _design() -> list[Row]:
    small = plan(Model("1x1", (Conv(16, 1), GlobalPool()), 10), (8, 8, 16))
    large = plan(Model("3x3", (Conv(16, 3), GlobalPool()), 10), (8, 8, 16))
    ratio = next(iter(large.convs())).macs / next(iter(small.convs())).macs
    return [paper_row(PAPER, "IV-A", "1x1 filters (SqueezeNet)", "fewer weights, times", 9.0, ratio, "described")]


def _data() -> list[Row]:
    resolved = plan(model("resnet74", 10), (32, 32, 3))
    counters = Counters()
    Accountant(counters, None).skip_batch(resolved, 1)
    first = next(iter(resolved.convs())).macs
    step = 3 * resolved.macs - first
    skipped = 50 * counters.total("skipped.") / step  # half of the batches
    return [
        paper_row(PAPER, "V-E", "half of the batches skipped", "training cost saved", 50.0, skipped, "counters"),
    ]
