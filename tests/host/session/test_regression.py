"""Energy of phases by regression over mixes, against energies that are known and against NumPy and SciPy."""

import math
import random

import numpy as np
import pytest

from joulebit.errors import JoulebitError
from joulebit_host.session.phases import PHASES, phases_by_regression
from joulebit_host.session.regression import (
    OTHER,
    Mix,
    Regression,
    check_design,
    chi2_tail,
    poor_phases,
    regress,
    two_levels,
)
from joulebit_host.session.uncertainty import Quantity, Term, limits

TRUE_J = {"forward": 0.036, "input_gradient": 0.056, "weight_gradient": 0.076, "update": 0.004}
OTHER_J = 0.011
DESIGN = two_levels(PHASES, 1, 3)


def energy_j(executions: dict[str, int], together: float = 0.0) -> float:
    """together: J for each execution of forward and of weight_gradient in the same run."""
    phases = sum(n * TRUE_J[p] for p, n in executions.items())
    return OTHER_J + phases + together * executions.get("forward", 0) * executions.get("weight_gradient", 0)


def cell(name: str, joules: float, sigma: float, gain: float = 0.01, dof: float = math.inf) -> Quantity:
    terms = (limits("gain of m", "gain", gain * joules), Term(f"noise {name}", "noise", sigma, dof=dof))
    return Quantity(joules, "J", terms)


def measured(
    seed: int, sigma: float = 3e-4, gain: float = 0.0, repeats: int = 1, together: float = 0.0, excess: float = 1.0
) -> list[Mix]:
    """excess: cells scatter by so many times what their budgets say."""
    r = random.Random(seed)
    return [
        Mix(
            f"mix{i}",
            executions,
            tuple(
                cell(f"{i}.{j}", energy_j(executions, together) * (1 + gain) + r.gauss(0, excess * sigma), sigma)
                for j in range(repeats)
            ),
        )
        for i, executions in enumerate(DESIGN)
    ]


def test_the_regression_is_weighted_least_squares() -> None:
    """Against NumPy's solution of the whitened system, with one mix that is known worse than the others."""
    given = measured(1)
    given[3] = Mix(given[3].name, given[3].executions, (cell("bad", given[3].cells[0].value, 4e-3),))
    fit = regress(given)
    design = np.array([[1.0, *[m.executions[p] for p in PHASES]] for m in given])
    weight = np.array([1 / next(t.u for t in m.cells[0].terms if t.name == "noise") for m in given])
    energies = np.array([m.cells[0].value for m in given])
    expected, (squares,), *_ = np.linalg.lstsq(design * weight[:, None], energies * weight)
    found = [fit.energies[name].value for name in (OTHER, *PHASES)]
    assert found == pytest.approx(expected.tolist(), rel=1e-9)
    assert fit.dof == 3
    assert fit.chi2 == pytest.approx(float(squares), rel=1e-6)
    covariance = np.linalg.inv((design * weight[:, None]).T @ (design * weight[:, None]))
    noise_u = math.sqrt(sum(t.u**2 for t in fit.energies["update"].terms if t.name == "noise"))
    assert noise_u == pytest.approx(math.sqrt(covariance[4, 4]), rel=1e-9)


def test_a_gain_that_all_mixes_share_scales_the_energies_and_no_residual() -> None:
    """1 % on everything is 30 times the noise: taken for independent, chi^2 would hide any interaction."""
    plain, scaled = regress(measured(2)), regress(measured(2, gain=0.01))
    assert scaled.chi2 == pytest.approx(plain.chi2, rel=1e-6)
    for name, q in scaled.energies.items():
        [u_gain] = [t.u for t in q.terms if t.source == "gain of m"]
        assert u_gain == pytest.approx(0.01 / math.sqrt(3) * q.value, rel=1e-9), name
    for residual in scaled.residuals:
        [u_gain] = [abs(t.u) for t in residual.residual.terms if t.source == "gain of m"]
        assert u_gain <= 0.006 * abs(residual.residual.value) + 1e-15


@pytest.mark.parametrize("repeats", [1, 3])
def test_the_intervals_hold_the_true_energies_and_the_test_rarely_cries_wolf(repeats: int) -> None:
    hits, n, alarms, studies = 0, 0, 0, 150
    for seed in range(studies):
        gain = random.Random(seed).uniform(-0.01, 0.01)
        fit = regress(measured(100 + seed, gain=gain, repeats=repeats))
        alarms += not fit.fits
        for phase in PHASES:
            n += 1
            hits += abs(fit.energies[phase].value - TRUE_J[phase]) <= fit.energies[phase].expanded
    assert 0.93 <= hits / n <= 0.98
    assert alarms / studies <= 0.1  # nominal 4.55 %, 3.2 standard deviations


def test_repeats_that_scatter_more_than_their_budgets_are_no_lack_of_fit() -> None:
    alarms, hits, n = 0, 0, 0
    for seed in range(100):
        gain = random.Random(seed).uniform(-0.01, 0.01)
        fit = regress(measured(seed, gain=gain, repeats=3, excess=5.0))
        assert fit.scatter is not None
        assert 5 < fit.scatter < 80  # 25
        alarms += not fit.fits
        for phase in PHASES:
            n += 1
            hits += abs(fit.energies[phase].value - TRUE_J[phase]) <= fit.energies[phase].expanded
    assert alarms / 100 <= 0.11
    assert 0.93 <= hits / n <= 0.98


def test_phases_that_cost_more_together_are_found_and_named() -> None:
    fit = regress(measured(4, repeats=2, together=0.002))
    assert not fit.fits
    worst = fit.interactions[0]
    assert worst.pairs == (("forward", "weight_gradient"),)
    assert worst.opposite == (("input_gradient", "update"),), "half of all mixes cannot tell these apart"
    assert abs(worst.energy.value - 0.002) <= worst.energy.expanded
    assert worst.energy.expanded < 0.0005
    whole = cell("whole", energy_j(dict.fromkeys(PHASES, 1), 0.002), 3e-4)
    found = phases_by_regression(measured(4, repeats=2, together=0.002), whole)
    assert not found.additive
    reason = next(r for r in found.as_json()["reasons"] if r["rule"] == "lack_of_fit")
    assert "forward with weight_gradient" in reason["text"]
    honest = regress(measured(4, repeats=2))
    assert fit.energies["forward"].expanded > 3 * honest.energies["forward"].expanded, "widened by Birge's ratio"


def test_all_mixes_of_two_levels_tell_every_interaction() -> None:
    every = two_levels(PHASES[:3], 1, 3)
    assert len(every) == 8
    r = random.Random(3)
    fit = regress(
        [Mix(f"{i}", e, (cell(f"{i}", energy_j(e, 0.004) + r.gauss(0, 1e-4), 1e-4),)) for i, e in enumerate(every)]
    )
    assert [(i.pairs[0], i.opposite) for i in fit.interactions[:1]] == [(("forward", "weight_gradient"), ())]
    assert len(fit.interactions) == 3


def test_regressed_phases_add_up_to_the_step() -> None:
    whole = cell("whole", energy_j(dict.fromkeys(PHASES, 1)), 2e-4)
    found = phases_by_regression(measured(7, repeats=2), whole)
    assert found.additive
    assert list(found.energies) == [*PHASES, OTHER]
    # The gain is common to phases and whole, and so cancels in their difference.
    assert math.sqrt(sum(t.u**2 for t in found.difference.terms if t.name == "gain")) < 1e-5
    wrong = phases_by_regression(measured(7, repeats=2), cell("whole", 0.9 * whole.value, 2e-4))
    assert not wrong.additive
    assert wrong.fit is not None and wrong.fit.fits, "the mixes agree with each other, not with the whole"


def test_the_default_mixes_are_orthogonal_and_none_is_empty() -> None:
    for levels in ((1, 3), (0, 1), (0, 2)):
        mixes = two_levels(PHASES, *levels)
        assert len(mixes) == 8
        assert all(any(mix.values()) for mix in mixes)
        checked = check_design(mixes)
        assert checked["dof"] == 3
        assert list(checked["inflation"].values()) == pytest.approx([1.0] * 4)
        assert poor_phases(checked) == []
    assert len(two_levels(PHASES[:3], 0, 1)) == 7


@pytest.mark.parametrize(
    ("mixes", "said"),
    [
        ([{"forward": 1, "update": i} for i in range(6)], "cannot tell forward from what every run costs"),
        ([{"forward": i, "update": 2 * i} for i in range(6)], "do not tell forward, update apart"),
        ([{"forward": 1}, {"update": 1}, {"forward": 1, "update": 1}], "need at least 4"),
        ([{"forward": 1}], "cannot tell forward"),
    ],
)
def test_mixes_that_say_nothing_are_refused(mixes: list[dict[str, int]], said: str) -> None:
    with pytest.raises(JoulebitError, match=said):
        check_design(mixes)
    with pytest.raises(JoulebitError, match=said):
        regress([Mix(f"{i}", mix, (cell(f"{i}", 1.0, 0.1),)) for i, mix in enumerate(mixes)])


def test_a_poor_design_is_told() -> None:
    """Input and weight gradient go together but for one execution."""
    together = [{"input_gradient": n, "weight_gradient": n} for n in range(1, 9)]
    checked = check_design([*together, {"input_gradient": 8, "weight_gradient": 7}])
    assert poor_phases(checked) == ["input_gradient", "weight_gradient"]
    factors = np.array([[1, m["input_gradient"], m["weight_gradient"]] for m in together] + [[1, 8, 7]], float)
    covariance = np.linalg.inv(factors.T @ factors)
    alone = np.sum((factors[:, 1] - factors[:, 1].mean()) ** 2)
    assert checked["inflation"]["input_gradient"] == pytest.approx(covariance[1, 1] * alone)


def test_tails_are_those_of_the_tables() -> None:
    """Percentage points of chi^2 and F (Abramowitz and Stegun, tables 26.8 and 26.9)."""
    for dof, point in ((1, 3.84146), (3, 7.81473), (10, 18.3070)):
        assert chi2_tail(point, dof, math.inf) == pytest.approx(0.05, rel=1e-4)
    for dof, spread_dof, point in ((3, 10.0, 3.71), (1, 5.0, 6.61), (4, 20.0, 2.87)):
        assert chi2_tail(dof * point, dof, spread_dof) == pytest.approx(0.05, rel=1e-2)


def test_json_says_all_of_the_fit() -> None:
    fit: Regression = regress(measured(5, repeats=2))
    shown = fit.as_json()
    assert len(shown["residuals"]) == 8
    assert shown["residuals"][0]["executions"] == DESIGN[0]
    assert shown["design"]["dof"] == shown["dof"] == 3
    total = sum((r["residual_j"] / r["residual_u_k2_j"]) ** 2 for r in shown["residuals"])
    assert 0 < total < 8
