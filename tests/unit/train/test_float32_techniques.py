"""Every technique in float32: oracles in PyTorch or plain arithmetic, integer engines' counters, resumed runs."""

from __future__ import annotations

from math import exp, log, log1p

import numpy as np
import pytest
import torch
from technique_bench import outcome, small
from torch.nn import functional

from joulebit.experiments.config import ConfigError
from joulebit.experiments.run import Trainer
from joulebit.techniques.adam import Adam
from joulebit.train.float32 import _taught
from joulebit.train.float32_layers import few_values
from joulebit.train.float32_techniques import _integers
from joulebit.train.float32_update import Float32Optimiser, Rule
from joulebit.train.progress import SilentProgress

FLOAT = "engine=float32"
BIG = "data.name=digits32"  # LeNet needs 32 x 32 pixels
LENET = ("digits-lenet-bayesian", BIG)
RUNS = {
    "velocity": ("digits-resnet8-neurons-velocity", "method.neuron_selection.validation_samples=10"),
    "static": ("digits-resnet8-neurons-static", "method.neuron_selection.validation_samples=10"),
    "snip": ("digits-resnet8-snip",),
    "synflow": ("digits-resnet8-synflow",),
    "random-pruning": ("digits-resnet8-random-pruning",),
    "binary-pruned": ("digits-resnet8-random-pruning", "method.low_bit_weights.kind=binary"),
    "early-bird": ("digits-resnet8-early-bird", "method.early_bird.until=0.4"),
    "width": ("digits-resnet8-growing-width", "method.growing.points=[0.5]"),
    "depth": ("digits-resnet14-growing-depth", "method.growing.points=[0.5]"),
    "binary": ("digits-resnet8-binary",),
    "ternary": ("digits-resnet8-ternary",),
    "shift": ("digits-resnet8-shift",),
    "exits": ("digits-resnet8-exits",),
    "self": ("digits-resnet8-self",),
    "adam": ("digits-resnet8-fixed", "training.adam.enabled=true", "training.learning_rate=0.002"),
    "bayesian": LENET,
    "bayesian-adam": (*LENET, "training.adam.enabled=true", "method.variational.evaluation_samples=2"),
    "bayesian-resnet": ("digits-resnet8-fixed", "method.variational.enabled=true", "method.smd.probability=0.4"),
}


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def trained(*overrides, engine="float32"):
    run = Trainer(small(*overrides, engine=engine), None)
    run.train(SilentProgress(), lambda: 0)
    return run


@pytest.mark.parametrize("name", RUNS)
def test_a_run_gives_the_same_bits_again_and_after_an_interruption(name, tmp_path):
    config = small(*RUNS[name], "training.iterations=12", engine="float32")
    whole = outcome(config, tmp_path / "whole")
    assert outcome(config, tmp_path / "resumed", stop_after=7) == whole


@pytest.mark.parametrize("name", ["static", "random-pruning", "width", "depth", "exits", "binary", "shift"])
def test_it_counts_the_products_that_the_integer_engines_count(name):
    """What is done, skipped and pruned does not depend on the numbers' format."""
    found = []
    for engine in ("float32", "numba"):
        counters = trained(*RUNS[name], "training.iterations=12", engine=engine).network.counters
        totals: dict[str, int] = {}
        for key, value in counters.items():
            kind, _, rest = key.partition(".")
            if kind == "macs":
                totals[f"macs.{rest.partition('.')[0]}"] = totals.get(f"macs.{rest.partition('.')[0]}", 0) + value
            elif kind in ("skipped", "pruned", "updated", "samples"):
                totals[key] = value
        found.append(totals)
    assert found[0] == found[1]


# --- updates ---------------------------------------------------------------------------------------------


def test_adam_is_pytorchs():
    random = torch.Generator().manual_seed(3)
    start = torch.randn(5, 4, generator=random)
    own, other = {"w": start.clone()}, torch.nn.Parameter(start.clone().double())
    optimiser = Float32Optimiser(own, Adam(True, 0.8, 0.95, 1e-4))
    reference = torch.optim.Adam([other], lr=0.03, betas=(0.8, 0.95), eps=1e-4, weight_decay=0.1)
    for _ in range(7):
        gradient = torch.randn(5, 4, generator=random)
        other.grad = gradient.clone().double()
        reference.step()
        assert optimiser.step("w", gradient, Rule(0.03, 0.0, 0.1)) == 20
    torch.testing.assert_close(own["w"], other.detach().float(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("adam", [None, Adam(True)])
def test_rows_that_are_not_named_stay(adam):
    start = torch.arange(12.0).reshape(4, 3)
    own, whole = {"w": start.clone()}, {"w": start.clone()}
    rows = torch.tensor([0, 2])
    parts, full = Float32Optimiser(own, adam), Float32Optimiser(whole, adam)
    for step in range(3):
        gradient = torch.full((4, 3), 0.5 + step)
        assert parts.step("w", gradient.clone(), Rule(0.1, 0.9, 0.01), rows) == 6
        full.step("w", gradient.clone(), Rule(0.1, 0.9, 0.01))
    assert torch.equal(own["w"][rows], whole["w"][rows])
    assert torch.equal(own["w"][[1, 3]], start[[1, 3]])


def test_frozen_neurons_stay_and_the_others_move_as_ever():
    """One step of a static selection beside one of full training."""
    static = Trainer(small(*RUNS["static"], FLOAT), None)
    every = Trainer(small("digits-resnet8-neurons-all", *RUNS["static"][1:], FLOAT), None)
    before = static.network.weights()
    for run in (static, every):
        run._one_step()
    after, full = static.network.weights(), every.network.weights()
    for name, chosen in static.network._trained.items():
        weight = f"{name}.weight"
        frozen = np.setdiff1d(np.arange(before[weight].shape[-1]), chosen.channels)
        np.testing.assert_array_equal(after[weight][..., frozen], before[weight][..., frozen])
        moved, expected = (weights[weight][..., chosen.channels] for weights in (after, full))
        np.testing.assert_allclose(moved, expected, atol=1e-7)
    assert (after["head.weight"] != before["head.weight"]).all()


# --- weights of few values, pruned weights ---------------------------------------------------------------


def test_few_values_are_those_of_their_definitions_and_pass_the_gradient():
    weight = torch.tensor([0.9, -0.3, 0.05, -0.6, 0.0, 0.2], requires_grad=True)
    mean = (0.9 + 0.3 + 0.05 + 0.6 + 0.2) / 6
    expected = {
        "binary": [mean, -mean, mean, -mean, mean, mean],
        "ternary": [(0.9 + 0.3 + 0.6) / 3 * s for s in (1, -1, 0, -1, 0, 0)],
        "shift": [1.0, -0.25, 0.0, -0.5, 0.0, 0.25],  # three powers from 4 bits less a sign: 1, 1/2, 1/4
    }
    for kind, values in expected.items():
        found = few_values(weight, kind, 4)
        torch.testing.assert_close(found.detach(), torch.tensor(values))
        (gradient,) = torch.autograd.grad((found * torch.arange(6.0)).sum(), weight)
        assert torch.equal(gradient, torch.arange(6.0))


@pytest.mark.parametrize("name", ["snip", "synflow", "random-pruning", "binary-pruned"])
def test_pruned_weights_are_zero_to_the_end(name):
    run = trained(*RUNS[name])
    kept = run.hooks[0]._masks
    weights = run.network.weights()
    assert sum(mask.sum() for mask in kept.values()) < sum(mask.size for mask in kept.values())
    assert all((weights[f"{layer}.weight"][~mask] == 0).all() for layer, mask in kept.items())
    used = run.network.conv_weights()
    assert all((used[layer][0][~mask] == 0).all() for layer, mask in kept.items())


def test_synflow_keeps_the_weights_that_the_integer_engines_keep():
    """Both begin with the same weights, up to their last bits."""
    masks = []
    for engine in ("float32", "numpy"):
        run = Trainer(small("digits-resnet8-synflow", engine=engine), None)
        run.hooks[0].begin(run)
        masks.append(run.hooks[0]._masks)
    same = sum(int((masks[0][name] == masks[1][name]).sum()) for name in masks[0])
    assert same / sum(mask.size for mask in masks[0].values()) > 0.9999


def test_numbers_become_integers_of_31_bits():
    values = np.array([0.75, -3.5, 0.0, 1e-9])
    integers, exponent = _integers(values, 31)
    assert np.abs(integers).max() >= 1 << 29
    np.testing.assert_allclose(np.ldexp(integers.astype(float), exponent), values, atol=2.0**-28)


# --- exits, teachers -------------------------------------------------------------------------------------


def test_exits_pull_the_network_as_the_integer_engines_do():
    """The first step in 16 bits: the two formats agree in direction and size."""
    wide = ("arithmetic.x_bits=16", "arithmetic.w_bits=16", "arithmetic.g_bits=16", "data.train_limit=200")
    steps = []
    for engine in ("float32", "numpy"):
        config = small("digits-resnet8-exits", *wide, "training.batch_size=64", engine=engine)
        run = Trainer(config, None)
        before = {name: value.copy() for name, value in run.network.weights().items()}
        run._one_step()
        scale = 2.0**-28 if engine == "numpy" else 1.0
        after = run.network.weights()
        steps.append({name: (after[name].astype(float) - before[name]) * scale for name in before})
    for name in ("conv1.weight", "block1.conv2.weight", "exit1.weight", "exit2.bias", "head.weight"):
        one, other = steps[0][name].ravel(), steps[1][name].ravel()
        assert np.corrcoef(one, other)[0, 1] > 0.998, name
        assert np.linalg.norm(one) == pytest.approx(np.linalg.norm(other), rel=0.01), name


def test_a_float32_teacher_teaches_a_float32_student(tmp_path):
    outcome(small("digits-resnet8-fixed", FLOAT), tmp_path / "teacher")
    config = small("digits-resnet8-fixed", FLOAT, f'method.distillation.teacher="{tmp_path / "teacher"}"')
    run = Trainer(config, None)
    run.train(SilentProgress(), lambda: 0)
    counters = run.network.counters
    assert counters.total("macs.teacher.") > 0
    plain = trained("digits-resnet8-fixed")
    assert any((run.network.weights()[n] != w).any() for n, w in plain.network.weights().items())


def test_a_lesson_s_loss_is_hintons():
    run = Trainer(small("digits-resnet8-self", FLOAT), None)
    network, hook = run.network, run.hooks[0]
    logits, labels = torch.randn(6, 10, dtype=torch.float64), torch.arange(6)
    teacher = np.random.default_rng(0).integers(-(2**20), 2**20, (6, 10))
    lesson = hook._policy.lesson(teacher, -18)
    hard = functional.cross_entropy(logits, labels)
    found = _taught(hard, logits, lesson)
    target = torch.softmax(torch.tensor(teacher / 2**18) / 4.0, 1)
    soft = (target * (target.log() - torch.log_softmax(logits / 4.0, 1))).sum(1).mean()
    assert float(found) == pytest.approx(float(0.5 * hard + 0.5 * 16 * soft), rel=1e-5)
    assert network.method.update == "sgd"


# --- the Bayesian twin -----------------------------------------------------------------------------------


def test_the_divergence_is_that_of_normal_distributions():
    run = Trainer(small(*LENET, FLOAT, "method.variational.kl_weight=2.0"), None)
    network, weights = run.network, run.network.weights()
    expected = 0.0
    for name in [name for name in weights if name.endswith(".rho")]:
        for mu, rho in zip(weights[name.removesuffix(".rho")].ravel()[:400], weights[name].ravel()[:400]):
            sigma = log1p(exp(rho))
            expected += (sigma**2 + mu**2) / (2 * 0.1**2) - log(sigma)
    for name in weights:
        if name.endswith((".weight", ".rho")):
            network._parameters[name] = torch.tensor(weights[name].reshape(-1)[:400])
    assert float(network._divergence()) == pytest.approx(2.0 / 60 * expected, rel=1e-4)


def test_means_and_rho_move_by_one_sample_of_the_weights():
    """Gradients of mean and rho from those of the sampled weight: g, and g * epsilon * sigmoid(rho)."""
    run = Trainer(small(*LENET, FLOAT, "method.variational.kl_weight=0.0", "training.momentum=0.0"), None)
    network = run.network
    before = network.weights()
    seen = {}
    value = network._value

    def watching(name):
        seen.setdefault(name, network._drawn[name].clone())
        return value(name)

    network._value = watching
    run._one_step()
    after = network.weights()
    rate = run._schedule.rate(run.config.training.learning_rate, 0, run.total_steps)
    gradient = (before["head.weight"] - after["head.weight"]) / rate
    rho = before["head.weight.rho"]
    expected = gradient * seen["head.weight"].numpy() / (1 + np.exp(-rho))
    moved = (rho - after["head.weight.rho"]) / min(2.0, 16 * rate)
    np.testing.assert_allclose(moved, expected, rtol=0.02, atol=3e-6)


def test_both_twins_begin_alike_in_both_formats():
    integer, floating = (
        Trainer(small(*LENET, engine=engine), None).network.weights() for engine in ("numpy", "float32")
    )
    assert sorted(integer) == sorted(floating)
    for name, value in integer.items():
        np.testing.assert_allclose(floating[name], value / 2.0**28, atol=2.0**-22)


# --- what goes without -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "overrides, words",
    [
        (("digits-resnet8-fixed", "training.adam.enabled=true"), "engine must be float32"),
        (("digits-resnet8-fixed", FLOAT, "training.adam.enabled=true", "method.update=sign"), "replaces SGD"),
        (("digits-resnet8-early-bird", FLOAT, "training.adam.enabled=true"), "without training.adam"),
        (("digits-resnet8-fixed", FLOAT, "training.adam.beta1=1.0"), "beta1 must be"),
        (("digits-resnet8-adder", FLOAT), "does not compute adder layers"),
        (("digits-resnet8-fixed", FLOAT, "method.slu.target_skip=0.2"), "gates are integers"),
        (("digits-resnet8-cpt", FLOAT), "has one width"),
        (("digits-resnet8-psg", FLOAT), "no sign predictor"),
    ],
)
def test_what_float32_goes_without_is_refused_in_one_line(overrides, words):
    with pytest.raises(ConfigError, match=words) as error:
        small(*overrides)
    assert "\n" not in str(error.value)
