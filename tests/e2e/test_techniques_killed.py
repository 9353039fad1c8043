"""Runs that change what is trained, killed without warning, end with the same bits; and techniques together."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from technique_bench import outcome, small
from test_resume import CONFIG, finish, kill_after_checkpoints

SGD = CONFIG.format(engine="numba", update="sgd").replace("swa = true\nswa_start = 0.0\n", "")
RUNS = {
    "velocity": SGD
    + '[method.neuron_selection]\nmethod = "velocity"\nbudget = 0.3\nunit = "share"\nvalidation_samples = 16\n',
    "early-bird": SGD + "[method.early_bird]\nratio = 0.5\nuntil = 0.3\n",
    "growing": SGD.replace('"resnet8"', '"resnet14"') + '[method.growing]\nkind = "depth"\n',
}


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_a_killed_run_goes_on_to_the_same_weights_counters_and_metrics(name: str, tmp_path: Path) -> None:
    config = tmp_path / "run.toml"
    config.write_text(RUNS[name])
    whole = finish(config, tmp_path / "whole")
    killed = tmp_path / "killed"
    assert kill_after_checkpoints(config, killed, 2, signal.SIGKILL) == -signal.SIGKILL
    resumed = finish(config, killed, "--resume")
    for key in ("weights_sha256", "top1", "counters", "energy_simulated_j", "steps", "config_hash"):
        assert resumed[key] == whole[key], key
    assert (killed / "metrics.jsonl").read_text() == (tmp_path / "whole" / "metrics.jsonl").read_text()


NEURONS = (
    'method.neuron_selection.method="velocity"',
    "method.neuron_selection.budget=0.3",
    'method.neuron_selection.unit="share"',
    "method.neuron_selection.validation_samples=16",
)
TOGETHER = {
    "neurons of a pruned network": ("digits-resnet8-snip", *NEURONS),
    "neurons on selected samples": ("digits-resnet8-random-selection", *NEURONS),
    "neurons in cyclic precision": ("digits-resnet8-cpt", *NEURONS),
    "neurons with binary weights": ("digits-resnet8-binary", *NEURONS),
    "neurons of an adder network": ("digits-resnet8-adder", *NEURONS),
    "a pruned network of few values": ("digits-resnet8-ternary", 'method.pruning.method="synflow"',
                                       "method.pruning.sparsity=0.5"),
    "growing on selected samples in cyclic precision": ("digits-resnet8-growing-width",
                                                        'method.data_selection.approach="loss"',
                                                        "method.data_selection.ratio=0.5",
                                                        "method.cyclic_precision.cycles=2",
                                                        "method.cyclic_precision.x_low=4"),
    "an early bird with binary weights": ("digits-resnet8-binary", "method.early_bird.ratio=0.5",
                                          "method.early_bird.until=0.4"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", TOGETHER)
def test_techniques_combine_to_the_same_bits_on_every_engine_and_after_an_interruption(
    name: str, tmp_path: Path
) -> None:
    preset, *overrides = TOGETHER[name]
    found = [
        outcome(small(preset, "training.iterations=12", *overrides, engine=engine), tmp_path / engine, stop)
        for engine, stop in (("numpy", 0), ("numba", 7), ("torch", 0))
    ]
    assert found[0] == found[1] == found[2]
