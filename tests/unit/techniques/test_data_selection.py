"""Data selection: the schedules, both kinds of subsets against slow oracles, and what a run does with them."""

from __future__ import annotations

from collections import deque
from decimal import Decimal, localcontext
from fractions import Fraction
from math import cos, exp, pi

import numpy as np
import pytest
from technique_bench import PARTNERS, alone, outcome, shared, small

from joulebit.experiments.config import ConfigError
from joulebit.experiments.run import Trainer
from joulebit.fixed.philox import Purpose, uniform_bits
from joulebit.nn.log_odds import LOWEST, label_log_odds, log2_q16
from joulebit.nn.loss import exponential_table
from joulebit.techniques.data_selection import (
    HISTORY,
    ONE_Q32,
    DataSelection,
    expected_share,
    loss_subset,
    random_subset,
    selection_probabilities,
)
from joulebit.train.progress import SilentProgress

LOSS = "digits-resnet8-loss-selection"
RANDOM = "digits-resnet8-random-selection"
SHORT = ("training.iterations=15",)  # of 5 steps an epoch


# -- the ratio ----------------------------------------------------------------------------------------------------


def ratios(policy, epochs):
    return [policy.ratio_q32(epoch, epochs) / ONE_Q32 for epoch in range(epochs)]


def test_the_papers_schedule_ends_at_its_printed_ratio():
    found = ratios(DataSelection("loss", 0.8, 3, schedule="exponential", alpha=0.05), 160)
    assert found[:3] == pytest.approx([0.8] * 3, abs=1e-9)
    assert found[3] == pytest.approx(0.8 * exp(-0.05), abs=1e-9)
    assert round(100 * found[-1], 2) == 5.65
    distinct = sorted(set(found))
    assert len(distinct) == 54
    assert round(100 * sum(distinct) / 54, 2) == 28.34


def test_alpha_follows_from_the_final_ratio():
    found = ratios(DataSelection("loss", 0.8, 3, schedule="exponential", final_ratio=0.05), 160)
    assert found[-1] == pytest.approx(0.05, abs=1e-9)
    assert found[80] == pytest.approx(0.8 * (0.05 / 0.8) ** (26 / 53), abs=1e-9)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize(("epochs", "renewals"), [(11, 4), (12, 5)])
def test_linear_and_cosine_reach_the_final_ratio(schedule, epochs, renewals):
    found = ratios(DataSelection("random", 0.9, 2, schedule=schedule, final_ratio=0.1, warmup_epochs=1), epochs)
    assert found[0] == 1.0
    for epoch in range(1, epochs):
        share = (epoch - 1) // 2 / renewals
        expected = 0.9 - 0.8 * share if schedule == "linear" else 0.1 + 0.8 * (1 + cos(pi * share)) / 2
        assert found[epoch] == pytest.approx(expected, abs=1e-9)


def test_step_drops_at_shares_of_the_run():
    policy = DataSelection("random", 0.8, 1, schedule="step", drops=(0.5, 0.75), drop_factor=0.25)
    assert ratios(policy, 8) == pytest.approx([0.8] * 4 + [0.2] * 2 + [0.05] * 2, abs=1e-9)
    assert ratios(policy, 6) == pytest.approx([0.8] * 3 + [0.2] * 2 + [0.05], abs=1e-9)


def test_a_subset_is_renewed_every_so_many_epochs_or_never():
    every = DataSelection("random", 0.5, 3, warmup_epochs=2)
    assert [epoch for epoch in range(12) if every.renews(epoch)] == [2, 5, 8, 11]
    never = DataSelection("random", 0.5, 0)
    assert [epoch for epoch in range(12) if never.renews(epoch)] == [0]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ("approach=best", "approach must be one of none, random, loss, got 'best'"),
        ("ratio=0.0", r"ratio must be in \(0, 1\]"),
        ("schedule=linear", "schedule linear needs final_ratio"),
        ("schedule=exponential", "needs alpha or final_ratio"),
        ("approach=none", "approach is none"),
    ],
)
def test_what_makes_no_sense_is_refused(overrides, words):
    with pytest.raises(ConfigError, match=words):
        small(RANDOM, f"method.data_selection.{overrides}")
    with pytest.raises(ValueError, match="renew_every is 0"):
        DataSelection("random", 0.5, 0, schedule="linear", final_ratio=0.1)


# -- subsets ------------------------------------------------------------------------------------------------------


def test_a_random_subset_has_exactly_its_share_and_changes():
    one, two = (random_subset(3, epoch, 1001, ONE_Q32 // 5) for epoch in (0, 3))
    assert one.sum() == two.sum() == 200
    assert 20 < (one & two).sum() < 70
    assert random_subset(3, 0, 4, 1).sum() == 1


def test_probabilities_are_powers_of_the_percentile():
    fifth = round(Fraction(1, 5) * ONE_Q32)  # not exactly 1/5 in units of 2^-32
    found = selection_probabilities(fifth, 1024)
    for k in (0, 1, 2, 511, 700, 1023):
        with localcontext() as context:
            context.prec = 60
            exact = (Decimal(k) / 1024) ** (Decimal(ONE_Q32) / fifth - 1) * ONE_Q32
        assert int(found[k]) == int(exact.to_integral_value())
    quarter = selection_probabilities(ONE_Q32 // 4, 8)  # beta 3, exactly
    assert [int(p) for p in quarter] == [round(Fraction(k**3, 8**3) * ONE_Q32) for k in range(8)]
    assert (selection_probabilities(ONE_Q32, 9) == ONE_Q32).all()


def ref_loss_subset(seed, epoch, losses, order, batch, beta, history):
    """Batch after batch with a deque, as the released code does it; powers in floating point."""
    remembered, chosen = deque(history, maxlen=HISTORY), [False] * len(losses)
    for start in range(0, len(order), batch):
        part = order[start : start + batch]
        remembered.extend(int(losses[i]) for i in part)
        for i in part:
            percentile = sum(value < losses[i] for value in remembered) / len(remembered)
            draw = int(uniform_bits(seed, Purpose.DATA_SELECTION, epoch, 1, int(i))) / ONE_Q32
            assert abs(draw - percentile**beta) > 1e-8
            chosen[i] = draw < percentile**beta
    return chosen, list(remembered)


@pytest.mark.parametrize(("batch", "seed"), [(57, 1), (128, 2), (1100, 3)])
def test_selection_by_loss_is_that_of_a_plain_deque(batch, seed):
    random = np.random.default_rng(seed)
    losses = random.integers(-50, 50, 2400)
    order, history = random.permutation(2400), random.integers(-50, 50, 600)
    chosen, after = loss_subset(seed, 4, losses, order, batch, round(0.4 * ONE_Q32), history)
    expected, remembered = ref_loss_subset(seed, 4, losses, order, batch, 1.5, history)
    assert chosen.tolist() == expected
    assert after.tolist() == remembered


@pytest.mark.parametrize("ratio", [0.2, 0.4, 0.6, 0.8])
def test_the_expected_share_is_the_ratio(ratio):
    losses = np.random.default_rng(5).permutation(40_000)
    chosen, _ = loss_subset(1, 0, losses, np.arange(40_000), 128, round(ratio * ONE_Q32), np.zeros(0, np.int64))
    assert chosen.mean() == pytest.approx(ratio, abs=0.01)
    assert expected_share(1 / ratio - 1) == pytest.approx(ratio)
    assert losses[chosen].mean() > losses.mean()


# -- the loss as an integer ---------------------------------------------------------------------------------------


def ref_log_odds(logits, label, exponent):
    """Section 13 of the specification, in Python integers."""
    powers, own = 0, 0
    table = exponential_table().tolist()
    for position, logit in enumerate(logits):
        t = (max(logits) - logit) * 47274
        t = min(t, 2**61 >> exponent + 1) << exponent + 1 if exponent >= -1 else t >> -exponent - 1
        i, f = t >> 16, t & 65535
        mant = table[f >> 8] - (((table[f >> 8] - table[(f >> 8) + 1]) * (f & 255) + 128) >> 8)
        if position == label:
            own = t
        else:
            powers += (mant << 24) >> min(i, 62)
    return ref_log2(powers) - (40 << 16) + own if powers else -(2**62)


def ref_log2(v):
    n = v.bit_length() - 1
    f = ((v << (62 - n)) >> 46) & 65535
    with localcontext() as context:
        context.prec = 40
        low, high = (
            int(((1 + Decimal((f >> 8) + k) / 256).ln() / Decimal(2).ln() * 65536).to_integral_value())
            for k in (0, 1)
        )
    return (n << 16) + low + (((high - low) * (f & 255) + 128) >> 8)


@pytest.mark.parametrize("exponent", [-20, -12, -3, -1, 0, 4])
def test_log_odds_are_those_of_the_specification(exponent):
    random = np.random.default_rng(exponent + 30)
    spread = max(2, 2 ** (5 - exponent))
    logits = random.integers(-spread, spread, (40, 10))
    labels = random.integers(0, 10, 40)
    found = label_log_odds(logits, labels, exponent)
    assert found.tolist() == [
        ref_log_odds(row, label, exponent) for row, label in zip(logits.tolist(), labels.tolist())
    ]


def test_log_odds_order_like_the_loss_at_both_ends():
    margins = np.arange(-300, 301)  # in steps of a tenth; the loss itself is 0 in float32 above 90
    logits = np.stack([margins * 6554, np.zeros_like(margins), np.zeros_like(margins)], 1)
    found = label_log_odds(logits, np.zeros(601, np.int64), -16)
    assert (np.diff(found[:551]) < 0).all()
    assert (np.diff(found) <= 0).all()
    assert found[-1] == LOWEST
    close = found[300 - 50]  # the label is 5 nats behind two others
    assert close / 65536 == pytest.approx(np.log2(2 * exp(5.0)), abs=1e-3)


def test_log2_never_falls():
    values = np.unique(np.concatenate([np.arange(1, 5000), 2 ** np.arange(62), 2 ** np.arange(1, 62) - 1]))
    found = log2_q16(values)
    assert (np.diff(found) >= 0).all()
    assert np.abs(found / 65536 - np.log2(values)).max() < 2**-16 + 6e-6


# -- in a run -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", [LOSS, RANDOM])
def test_all_engines_give_the_same_bits_and_a_resumed_run_too(preset, tmp_path):
    found = {
        engine: outcome(small(preset, *SHORT, engine=engine), tmp_path / engine)
        for engine in ("numpy", "numba", "torch")
    }
    assert found["numpy"] == found["numba"] == found["torch"]
    assert outcome(small(preset, *SHORT), tmp_path / "resumed", stop_after=7) == found["numpy"]
    assert found["numpy"]["counters"]["samples.skipped"] > 0


@pytest.mark.parametrize("preset", [LOSS, RANDOM])
@pytest.mark.parametrize("partner", sorted(PARTNERS))
def test_it_combines_and_workers_agree(preset, partner):
    config = small(preset, *PARTNERS[partner], *SHORT)
    expected = alone(config)
    assert expected[1]["skipped.forward.selection"] > 0
    assert shared(config, 2) == [expected] * 2
    if partner == "slu":
        assert expected[1]["skipped.forward.slu"] > 0


def test_everything_selected_is_the_plain_run():
    plain = alone(small("digits-resnet8-fixed", *SHORT))
    for batches in ("full", "thinned"):
        extra = ("method.data_selection.ratio=1.0", f"method.data_selection.batches={batches}")
        assert alone(small(RANDOM, *SHORT, *extra)) == plain


class Spy(Trainer):
    """Notes which samples are trained, step by step."""

    def __init__(self, config):
        super().__init__(config, None)
        self.trained = []
        step = self.network.train_step

        def noting(batch, *rates):
            self.trained.append(batch.samples.copy())
            return step(batch, *rates)

        self.network.train_step = noting


@pytest.mark.parametrize("batches", ["full", "thinned"])
def test_skipped_samples_are_not_trained_and_every_sample_is_accounted_for(batches):
    config = small(
        RANDOM, *SHORT, "method.data_selection.renew_every=0", f"method.data_selection.batches={batches}"
    )
    run = Spy(config)
    run.train(SilentProgress(), lambda: 0)
    chosen = random_subset(config.seed, 0, 60, round(0.4 * ONE_Q32))
    assert set(np.concatenate(run.trained)) == set(np.flatnonzero(chosen))
    counters, hook = run.network.counters, run.hooks[0]
    waiting = hook.summary()["waiting"]
    assert counters["samples.seen"] + counters["samples.skipped"] + waiting == 3 * 60
    assert counters["samples.skipped"] == 3 * 36
    plan = run.plan
    assert counters["skipped.forward.selection"] == 3 * 36 * plan.macs
    assert counters.total("macs.forward.") == counters["samples.seen"] * plan.macs
    if batches == "full":
        assert {len(samples) for samples in run.trained} == {12}
    else:
        assert waiting == 0
        assert len(run.trained) > 3 * 24 // 12
    assert hook.summary()["share"] == pytest.approx(0.4)


def test_the_selection_s_forward_passes_are_a_phase_of_their_own():
    run = Trainer(small(LOSS, *SHORT), None)
    run.train(SilentProgress(), lambda: 0)
    counters = run.network.counters
    renewals, statistics = 2, 24  # the first epoch is the warm-up
    head = statistics * run.plan.head.macs  # the statistics do not need the classifier
    assert counters.total("macs.selection.") == renewals * ((60 + statistics) * run.plan.macs - head)
    assert run._energy().by_phase["selection"] > 0
    plain = Trainer(small(RANDOM, *SHORT), None)
    plain.train(SilentProgress(), lambda: 0)
    assert plain.network.counters.total("macs.selection.") == 0


def test_losses_leave_the_training_state_alone():
    run = Trainer(small("digits-resnet8-fixed", "method.slu.target_skip=0.3"), None)
    before = run.network.state()
    train = run.data.train
    first = run.network.sample_losses(train.images, train.labels, run.statistics_images)
    again = run.network.sample_losses(train.images, train.labels, run.statistics_images, batch_size=7)
    np.testing.assert_array_equal(first, again)
    assert len(set(first.tolist())) > 40
    after = run.network.state()
    assert all((before[name] == after[name]).all() for name in before)
    assert run.network.counters["macs.selection.16x16"] > 0  # the gates decide there, too


def test_float32_selects_as_well():
    config = small(LOSS, *SHORT, engine="float32")
    run = Spy(config)
    run.train(SilentProgress(), lambda: 0)
    counters = run.network.counters
    assert counters["samples.skipped"] > 0
    assert counters["macs.selection.fp32"] == 2 * ((60 + 24) * run.plan.macs - 24 * run.plan.head.macs)
    train = run.data.train
    order = np.argsort(run.network.sample_losses(train.images, train.labels, run.statistics_images))
    logits = run.network.logits(train.images).astype(np.float64)
    losses = np.log(np.exp(logits).sum(1)) - logits[np.arange(60), train.labels]
    assert (np.diff(losses[order]) > -1e-5).all()
