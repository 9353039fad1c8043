"""Every technique with SMD, SLU and PSG: the same bits on all engines, interrupted or not; exact savings.

A pair that makes no sense is refused, and stands in REFUSED with the words of its reason.
"""

from __future__ import annotations

from typing import Any

import pytest
from technique_bench import PARTNERS, outcome, small

from joulebit.data import load_dataset
from joulebit.experiments.assembly import described_model
from joulebit.experiments.config import ConfigError
from joulebit.nn.graph import plan
from joulebit.techniques.exits import exit_head

NEURONS = ("method.neuron_selection.validation_samples=10",)
TECHNIQUES = {
    "random-selection": ("digits-resnet8-random-selection",),
    "loss-selection": ("digits-resnet8-loss-selection", "method.data_selection.warmup_epochs=0"),
    "decreasing-selection": ("digits-resnet8-decreasing-selection",),
    "velocity": ("digits-resnet8-neurons-velocity", *NEURONS),
    "per-parameter": ("digits-resnet8-neurons-per-parameter", *NEURONS),
    "random-neurons": ("digits-resnet8-neurons-random", *NEURONS),
    "static": ("digits-resnet8-neurons-static", *NEURONS),
    "equilibrium": ("digits-resnet8-neurons-equilibrium", *NEURONS),
    "variational": ("digits-resnet8-fixed", "method.variational.enabled=true"),
    "cyclic-precision": ("digits-resnet8-cpt",),
    "binary": ("digits-resnet8-binary",),
    "ternary": ("digits-resnet8-ternary",),
    "shift": ("digits-resnet8-shift",),
    "adder": ("digits-resnet8-adder",),
    "snip": ("digits-resnet8-snip",),
    "synflow": ("digits-resnet8-synflow",),
    "random-pruning": ("digits-resnet8-random-pruning",),
    "early-bird": ("digits-resnet8-early-bird", "method.early_bird.until=0.4"),
    "growing-width": ("digits-resnet8-growing-width", "method.growing.points=[0.5]"),
    "growing-depth": ("digits-resnet14-growing-depth", "method.growing.points=[0.5]"),
    "self-distillation": ("digits-resnet8-self",),
    "exits": ("digits-resnet8-exits",),
    "stochastic-depth": ("digits-resnet8-fixed", "method.stochastic_depth.final_survival=0.5"),
}
REFUSED = {
    ("variational", "psg"): "sign prediction leaves out",
    ("stochastic-depth", "slu"): "both decide which blocks run",
}
RESIZING = ("early-bird", "growing-width", "growing-depth")
PAIRS = [(name, partner) for name in TECHNIQUES for partner in PARTNERS]


def with_partners(name: str, *partners: str, engine: str = "numba") -> Any:
    overrides = [override for partner in partners for override in PARTNERS[partner]]
    return small(*TECHNIQUES[name], *overrides, engine=engine)


@pytest.mark.parametrize("name", TECHNIQUES)
def test_it_goes_with_all_partners_at_once(name, tmp_path):
    """The same bits on two engines, one of them interrupted, and exact savings."""
    partners = [partner for partner in PARTNERS if (name, partner) not in REFUSED]
    whole = outcome(with_partners(name, *partners, engine="numpy"), tmp_path / "numpy")
    assert outcome(with_partners(name, *partners), tmp_path / "numba", stop_after=3) == whole
    assert_exact_savings(name, with_partners(name, *partners), whole["counters"])


@pytest.mark.slow
@pytest.mark.parametrize(("name", "partner"), [pair for pair in PAIRS if pair not in REFUSED])
def test_a_pair_gives_the_same_bits_and_counts_what_it_skips(name, partner, tmp_path):
    found = {e: outcome(with_partners(name, partner, engine=e), tmp_path / e) for e in ("numpy", "numba", "torch")}
    assert found["numpy"] == found["numba"] == found["torch"]
    assert outcome(with_partners(name, partner), tmp_path / "resumed", stop_after=3) == found["numpy"]
    assert_exact_savings(name, with_partners(name, partner), found["numpy"]["counters"])


@pytest.mark.parametrize(("pair", "reason"), REFUSED.items())
def test_a_pair_without_sense_is_refused_in_one_line(pair, reason):
    name, partner = pair
    with pytest.raises(ConfigError, match=reason) as error:
        small(*TECHNIQUES[name], *PARTNERS[partner])
    assert "\n" not in str(error.value)


def assert_exact_savings(name: str, config: Any, counters: dict[str, int]) -> None:
    """Of every phase, what was done and what was skipped make the products of full training, no more and no less.

    (Where the network changes its size, there is no one full training to compare with.)
    """
    if name in RESIZING:
        return
    data = load_dataset(config.data.name)
    network = plan(described_model(config, data.classes), data.image_shape)

    def total(prefix: str, without: str = "-") -> int:
        return sum(v for k, v in counters.items() if k.startswith(prefix) and not k.endswith(without))

    seen = counters["samples.seen"]
    dropped, rest = divmod(counters.get("skipped.forward.smd", 0), network.macs)
    samples = seen + counters.get("samples.skipped", 0) + dropped
    exits = config.method.exits
    own = sum(exit_head(network, position).macs for position in exits.places(network)) if exits.count else 0
    first = next(network.convs()).macs
    predictor = f"x{config.arithmetic.g_msb_bits}" if config.method.update == "psg" else "-"
    assert rest == 0
    assert total("macs.forward.") + total("skipped.forward.") == samples * network.macs + seen * own
    assert total("macs.input_gradient.") + total("skipped.input_gradient.") == (
        samples * (network.macs - first) + seen * own
    )
    assert total("macs.weight_gradient.", predictor) + total("skipped.weight_gradient.") == (
        samples * network.macs + seen * own
    )
