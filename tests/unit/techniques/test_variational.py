"""Variational weights: integers against the equations and against a plain oracle, engines, workers, evaluation."""

from __future__ import annotations

from decimal import Decimal, localcontext
from math import exp, log, log1p

import numpy as np
import pytest
from technique_bench import alone, outcome, shared, small

from joulebit.experiments.config import ConfigError
from joulebit.experiments.run import Trainer
from joulebit.fixed.philox import Purpose, uniform_words
from joulebit.fixed.update import mean_gradient
from joulebit.techniques.variational import (
    EVALUATION_DRAW,
    Variational,
    deviations,
    epsilon_q24,
    rho_gradient,
    sampled_weights,
)
from joulebit.train.progress import SilentProgress

LENET = "digits-lenet-bayesian"
RESNET = "digits-resnet8-fixed"
ON = "method.variational.enabled=true"
BIG = "data.name=digits32"  # LeNet needs 32 x 32 pixels


def q28(value):
    return np.array([round(value * 2**28)], np.int32)


# -- integers against the equations -----------------------------------------------------------------------------


@pytest.mark.parametrize("rho", [-7.99, -5.0, -1.3, 0.0, 0.7, 7.9])
def test_sigma_is_softplus_and_its_slope_the_derivative(rho):
    sigma, slope = deviations(q28(rho))
    assert sigma[0] / 2**24 == pytest.approx(log1p(exp(rho)), rel=3e-4, abs=1e-7)
    assert slope[0] / 2**24 == pytest.approx(1 / (1 + exp(-rho)), rel=0.02)


def test_epsilon_is_nearly_normal_and_belongs_to_its_step_and_stream():
    found = epsilon_q24(7, 3, 2, 60_000) / 2**24
    assert abs(found.mean()) < 0.015
    assert found.std() == pytest.approx(1.0, abs=0.01)
    assert (np.abs(found) > 1.96).mean() == pytest.approx(0.05, abs=0.005)
    np.testing.assert_array_equal(epsilon_q24(7, 3, 2, 100) / 2**24, found[:100])
    for other in (epsilon_q24(8, 3, 2, 100), epsilon_q24(7, 4, 2, 100), epsilon_q24(7, 3, 1, 100)):
        assert (other / 2**24 != found[:100]).mean() > 0.9


def ref_table(k):
    with localcontext() as context:
        context.prec = 40
        return int(((1 + (Decimal(k) / 32).exp()).ln() * 2**24).to_integral_value())


def rnd(v, s):
    return (v + (1 << (s - 1))) >> s


def ref_variational(mean, rho, gradient, seed, step, stream, index, kl, precision):
    """Section 17 of the specification in Python integers: (sampled weight, gradient of rho)."""
    k = rho >> 23
    low, high = ref_table(k), ref_table(k + 1)
    sigma, s = low + rnd((high - low) * (rho & (2**23 - 1)), 23), (high - low) << 5
    words = uniform_words(seed, Purpose.VARIATIONAL, step, stream, index)
    eps = (sum(byte for word in words for byte in int(word).to_bytes(4, "little")) - 2040) * 56756
    sample = max(-(2**31 - 1), min(2**31 - 1, mean + rnd(sigma * eps, 20)))
    d = rnd(rnd(rnd(s * sigma, 24) * (precision >> 8), 16) - (s << 24) // sigma, 8)
    d = max(-(2**26 - 1), min(2**26 - 1, d))
    return sample, rnd(rnd(gradient * (eps >> 4), 20) * (s >> 4), 20) + rnd(d * kl, 28)


def test_samples_and_gradients_are_those_of_the_specification():
    random = np.random.default_rng(4)
    mean = random.integers(-(2**31) + 1, 2**31, 50).astype(np.int32)
    rho = np.r_[random.integers(-(2**31) + 1, 2**31, 48), -(2**31) + 1, 2**31 - 1].astype(np.int32)
    gradient = random.integers(-(2**37), 2**37, 50)
    policy = Variational(True, prior_deviation=0.1, kl_weight=0.3)
    kl, precision = policy.kl_q40(1000), policy.precision_q24
    epsilon = epsilon_q24(11, 5, 6, 50)
    sample = sampled_weights(mean, deviations(rho)[0], epsilon)
    found = rho_gradient(gradient, epsilon, rho, kl, precision)
    for i in range(50):
        expected = ref_variational(int(mean[i]), int(rho[i]), int(gradient[i]), 11, 5, 6, i, kl, precision)
        assert (int(sample[i]), int(found[i])) == expected


@pytest.mark.parametrize("rho", [-6.0, -4.0, -2.0, 0.0])
def test_the_divergence_s_gradient_is_that_of_the_divergence(rho):
    """By finite differences of KL(N(mu, sigma^2) || N(0, 0.2^2)) in floating point."""
    policy, samples = Variational(True, prior_deviation=0.2, kl_weight=8.0), 1000

    def divergence(r):
        sigma = log1p(exp(r))
        return policy.kl_weight / samples * (log(0.2 / sigma) + sigma**2 / (2 * 0.2**2) - 0.5)

    expected = (divergence(rho + 1e-4) - divergence(rho - 1e-4)) / 2e-4
    zero = np.zeros(1, np.int64)
    found = rho_gradient(zero, zero, q28(rho), policy.kl_q40(samples), policy.precision_q24)
    assert found[0] / 2**28 == pytest.approx(expected, rel=0.03, abs=2e-6)


def test_the_data_s_gradient_is_epsilon_times_slope():
    gradient, epsilon = np.array([round(0.25 * 2**28)]), np.array([round(-1.5 * 2**24)])
    found = rho_gradient(gradient, epsilon, q28(-5.0), 0, 1 << 24)
    assert found[0] / 2**28 == pytest.approx(-1.5 * 0.25 / (1 + exp(5.0)), rel=0.02)


# -- a network ----------------------------------------------------------------------------------------------------


def test_one_step_moves_means_and_rho_as_the_equations_say():
    run = Trainer(small(LENET, BIG, "training.momentum=0.5"), None)
    network = run.network
    before = {name: value.copy() for name, value in network.weights().items()}
    seen = {}
    update = network._update

    def watching(samples, *rates):
        layer = network._layers[0]
        gradient, exponent = layer.weight.pop_gradient()
        layer.weight.set_gradient(gradient, exponent)
        seen["gradient"] = mean_gradient(np.asarray(network.engine.to_numpy(gradient)), exponent, samples)
        update(samples, *rates)

    network._update = watching
    run._one_step()
    after = network.weights()
    name = "conv1.weight"
    policy = Variational(True)
    decay = round(2**24 * 0.1 / (60 * 0.01))
    g = seen["gradient"] + rnd(before[name].astype(np.int64) * decay, 24)
    np.testing.assert_array_equal(after[name], before[name] - rnd(g * run_rate(run), 20))
    flat = before[f"{name}.rho"].reshape(-1)
    for i in (0, 7, 149):
        _, expected = ref_variational(
            0, int(flat[i]), int(seen["gradient"].reshape(-1)[i]), 0, 0, 0, i,
            policy.kl_q40(60), policy.precision_q24,
        )  # fmt: skip
        moved = int(flat[i]) - rnd(expected * 16 * run_rate(run), 20)
        assert int(after[f"{name}.rho"].reshape(-1)[i]) == moved


def run_rate(run):
    """The learning rate of the first step, Q.20."""
    return run._schedule.rate_q20(run.config.training.learning_rate, 0, run.total_steps)


@pytest.mark.parametrize("preset", [LENET, RESNET])
def test_all_engines_give_the_same_bits_and_a_resumed_run_too(preset, tmp_path):
    extra = (ON, "method.variational.evaluation_samples=2", *((BIG,) if preset == LENET else ()))
    found = {
        engine: outcome(small(preset, *extra, engine=engine), tmp_path / engine)
        for engine in ("numpy", "numba", "torch")
    }
    assert found["numpy"] == found["numba"] == found["torch"]
    assert outcome(small(preset, *extra), tmp_path / "resumed", stop_after=3) == found["numpy"]


@pytest.mark.parametrize(
    "partner",
    [
        ("method.smd.probability=0.4",),
        ("method.slu.target_skip=0.3",),
        ("method.data_selection.approach=loss", "method.data_selection.ratio=0.7"),
        ("method.stochastic_depth.final_survival=0.5",),
    ],
)
def test_it_combines_and_workers_agree(partner):
    config = small(RESNET, ON, *partner)
    assert shared(config, 2) == [alone(config)] * 2


def test_evaluation_with_samples_averages_probabilities_and_leaves_the_means():
    run = Trainer(
        small(LENET, BIG, "method.variational.evaluation_samples=3", "method.variational.rho_mean=-2.0"), None
    )
    network, images = run.network, run.data.test.images
    before = {name: value.copy() for name, value in network.weights().items()}
    network.prepare_evaluation(run.statistics_images)
    found = network.logits(images)
    np.testing.assert_array_equal(network.logits(images), found)
    assert np.abs(found.sum(1) - 3 * 2**15).max() <= 3 * 10
    mean = Trainer(small(LENET, BIG, "method.variational.rho_mean=-2.0"), None).network
    mean.prepare_evaluation(run.statistics_images)
    assert (mean.logits(images).argmax(1) != found.argmax(1)).any()
    after = network.weights()
    assert all((before[name] == after[name]).all() for name in before)
    assert EVALUATION_DRAW > 2**31


def test_drawing_and_its_gradient_cost_energy():
    plain, twin = (Trainer(small("digits-lenet-fixed", BIG, *extra), None) for extra in ((), (ON,)))
    for run in (plain, twin):
        run.train(SilentProgress(), lambda: 0)
    weights = sum(value.size for name, value in twin.network.weights().items() if name.endswith(".rho"))
    counters = twin.network.counters
    assert counters["ops.other.int32"] == 6 * weights * 128
    assert counters["updated"] == plain.network.counters["updated"] + 6 * weights
    assert counters["macs.forward.8x8"] == plain.network.counters["macs.forward.8x8"]
    assert twin.energy_j() > plain.energy_j()


def test_what_it_cannot_combine_with_is_refused():
    for extra, words in (
        ("method.update=psg", "leaves out"),
        ("method.update=sign", "signs have no weight"),
        ("method.exits.count=1", "residual blocks"),
        ("method.variational.kl_weight=17.0", "kl_weight must be in"),
        ("method.low_bit_weights.kind=binary", "without method.low_bit_weights"),
        ("method.early_bird.ratio=0.3", "without method.early_bird"),
    ):
        with pytest.raises(ConfigError, match=words):
            small(LENET, extra)
    with pytest.raises(ConfigError, match="too large for 60 training samples"):
        Trainer(small(LENET, BIG, "method.variational.kl_weight=16.0"), None)
