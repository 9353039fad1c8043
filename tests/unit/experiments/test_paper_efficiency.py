"""The efficiency framework: its equations by hand, its verdicts, and its printed numbers against each other."""

from __future__ import annotations

from decimal import Decimal

import pytest

from joulebit.errors import JoulebitError
from joulebit.experiments.efficiency.formulas import (
    EfficiencyError,
    efficiency,
    over_epochs,
    over_sizes,
    overall,
    ratios,
)
from joulebit.experiments.efficiency.overtraining import Overtraining
from joulebit.experiments.papers import paper_rows
from joulebit.experiments.papers.efficiency import TABLE_13, simulated_rows, step_j


def test_the_four_equations():
    assert efficiency(0.9, 3.0) == pytest.approx(0.3)
    assert over_epochs([0.5, 0.8, 0.9], [1.0, 1.0, 2.0]) == pytest.approx([0.5, 0.4, 0.225])
    assert over_sizes([(0.8, 2.0), (0.9, 9.0)]) == pytest.approx(0.25)  # the mean of ratios: 0.4 and 0.1
    assert overall({"epochs": 0.25, "accuracy": 0.75}) == pytest.approx(0.5)


@pytest.mark.parametrize(("accuracy", "energy"), [(90.0, 1.0), (0.9, 0.0), (-0.1, 1.0)])
def test_an_efficiency_needs_a_share_and_joules(accuracy, energy):
    with pytest.raises(EfficiencyError):
        efficiency(accuracy, energy)


def test_means_need_something_and_epochs_need_both():
    for wrong in (lambda: over_sizes([]), lambda: overall({}), lambda: over_epochs([0.5], [])):
        with pytest.raises(EfficiencyError):
            wrong()


def test_ratios_of_a_table():
    found = ratios({("a", "x"): 6.0, ("a", "y"): 3.0, ("b", "x"): 2.0, ("b", "y"): 0.5}, "a", "b", "x", "y")
    assert found == {"x/y of a": 2.0, "x/y of b": 4.0, "a/b on x": 3.0, "a/b on y": 6.0}


def test_columns_and_verdicts_of_an_analysis():
    no_gain = Overtraining(0.9, 0.8, 0.99, 0.804)
    assert (no_gain.gain, no_gain.overtrained, no_gain.reason) == (
        Decimal("0.00"),
        True,
        "no gain on the test set",
    )
    assert Overtraining(0.9, 0.8, 0.88, 0.8).overtrained  # no gain, although the gap became smaller
    worse = Overtraining(0.9, 0.8, 0.9, 0.7)
    assert (worse.gain, worse.divergence, worse.overtrained) == (Decimal("-0.10"), Decimal("0.10"), True)
    healthy = Overtraining(0.5, 0.5, 0.62, 0.6)
    assert (healthy.gain, healthy.divergence, healthy.overtrained) == (Decimal("0.10"), Decimal("0.02"), False)
    assert str(Overtraining(0.5, 0.503, 0.5, 0.5).gain) == "0.00"
    with pytest.raises(EfficiencyError, match="test_long must be an accuracy"):
        Overtraining(0.5, 0.5, 0.5, 98.0)


def test_all_twenty_verdicts_and_columns_are_the_papers():
    found = [row for row in paper_rows("efficiency") if row["table"] == "13"]
    assert len(TABLE_13) == 20
    verdicts = [row for row in found if row["quantity"] == "verdict"]
    assert len(verdicts) == 20
    assert sum(row["computed"] == "overtrained" for row in verdicts) == 15
    for row in found:
        if row["quantity"] == "verdict" or row["quantity"][0] in "AB":
            assert row["computed"] == row["printed"], row
        else:
            assert row["computed"] == pytest.approx(row["printed"], abs=2e-7), row


def test_ratios_are_consistent_within_their_digits():
    found = paper_rows("efficiency")
    assert [row["computed"] for row in found if row["quantity"] == "the four ratios"] == ["consistent"] * 3
    for row in found:
        if row["table"] in ("12", "14") and row["quantity"].endswith("(ratio)"):
            assert row["computed"] == pytest.approx(row["printed"], rel=1e-3)
    assert [row["computed"] for row in found if row["quantity"] == "LeNet's advantage"] == [
        "larger on CIFAR",
        "smaller on CIFAR",
        "larger on CIFAR",
    ]


def test_a_twin_costs_more_the_wider_it_is_and_less_than_its_products_twice():
    costs = [step_j(width, (28, 28, 1), True) / step_j(width, (28, 28, 1), False) for width in (1, 3, 5)]
    assert 1 < costs[0] < costs[1] < costs[2] < 1.2
    mnist, cifar = simulated_rows()
    assert (mnist["printed"], cifar["printed"]) == (4.466, 5.185)
    assert 1.0 < mnist["computed"] < 1.2 < cifar["computed"] < 2.0  # accuracies alone: 1.02 and about 1.6


def test_runs_have_no_place_among_the_papers_figures():
    with pytest.raises(JoulebitError, match="compare runs by `joulebit efficiency"):
        paper_rows("efficiency", [{"top1": 90.0}])
