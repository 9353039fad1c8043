"""Learning-rate schedules: published drops, exact integers, the cosine."""

from decimal import Decimal, localcontext

import pytest

from joulebit.techniques.schedule import Schedule, cos_pi_q62

ONE = 1 << 20


def ref_cos_pi_q62(numerator, denominator):
    """cos(pi n / d) in units of 2^-62 by a Taylor series in 60 decimal digits."""
    with localcontext() as context:
        context.prec = 60
        pi = Decimal("3.14159265358979323846264338327950288419716939937510582097494459")
        x = pi * numerator / denominator
        term, total, k = Decimal(1), Decimal(0), 0
        while abs(term) > Decimal(10) ** -50:
            total += term
            term *= -x * x / ((k + 1) * (k + 2))
            k += 2
        return total * 2**62


@pytest.mark.parametrize(
    ("total", "first", "second"), [(64_000, 32_000, 48_000), (85_333, 42_667, 64_000), (128_000, 64_000, 96_000)]
)
def test_the_drops_move_with_the_length_of_the_run(total, first, second):
    schedule = Schedule()
    rates = [schedule.rate_q20(0.1, i, total) for i in (0, first - 1, first, second - 1, second, total - 1)]
    assert rates == [round(ONE / d) for d in (10, 10, 100, 100, 1000, 1000)]


def test_a_rate_is_a_multiple_of_2_to_the_minus_20():
    schedule = Schedule("cosine")
    for i in range(0, 1000, 37):
        rate = schedule.rate(0.1, i, 1000)
        assert round(rate * ONE) == rate * ONE == schedule.rate_q20(0.1, i, 1000)


def test_linear_reaches_the_final_share_at_the_end():
    schedule = Schedule("linear", final=0.5)
    assert [schedule.rate_q20(1.0, i, 4) for i in range(4)] == [ONE, ONE * 7 // 8, ONE * 3 // 4, ONE * 5 // 8]


def test_cosine_starts_at_the_base_rate_and_is_halfway_in_the_middle():
    schedule = Schedule("cosine", final=0.2)
    assert schedule.rate_q20(1.0, 0, 1000) == ONE
    assert schedule.rate_q20(1.0, 500, 1000) == round(0.6 * ONE)
    rates = [schedule.rate_q20(1.0, i, 1000) for i in range(1000)]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] >= round(0.2 * ONE)


def test_warm_up_multiplies_the_schedule():
    schedule = Schedule("constant", warmup=4)
    assert [schedule.rate_q20(1.0, i, 10) for i in range(6)] == [ONE // 4, ONE // 2, ONE * 3 // 4, ONE, ONE, ONE]


@pytest.mark.parametrize("denominator", [1, 2, 3, 4, 7, 64_000, 85_333])
def test_cosine_is_correct_to_its_last_bit(denominator):
    for k in range(41):
        numerator = denominator * k // 40
        assert abs(cos_pi_q62(numerator, denominator) - ref_cos_pi_q62(numerator, denominator)) <= 1


def test_cosine_is_exact_where_it_is_rational():
    assert [cos_pi_q62(*x) for x in ((0, 5), (1, 2), (5, 5))] == [1 << 62, 0, -(1 << 62)]
    assert (cos_pi_q62(1, 3), cos_pi_q62(2, 3)) == (1 << 61, -(1 << 61))


# Recorded once; a platform that disagrees would train with other rates.
@pytest.mark.parametrize(
    ("iteration", "expected"), [(0, 104858), (1, 104858), (12_345, 99535), (64_000, 15356), (85_332, 0)]
)
def test_cosine_rates_are_the_recorded_integers(iteration, expected):
    assert Schedule("cosine").rate_q20(0.1, iteration, 85_333) == expected


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "poly"}, "kind must be one of step, cosine, linear, constant, got 'poly'"),
        ({"drops": (0.75, 0.5)}, "ascending"),
        ({"drops": (1.0,)}, "ascending shares"),
        ({"drop_factor": 0.0}, "drop_factor"),
        ({"final": 1.5}, "final must be"),
        ({"warmup": -1}, "warmup must be at least 0 iterations, got -1"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Schedule(**settings)


@pytest.mark.parametrize("iteration", [-1, 10])
def test_an_iteration_outside_the_run_is_refused(iteration):
    with pytest.raises(ValueError, match=r"iteration must be in \[0, 9\], got"):
        Schedule().rate(0.1, iteration, 10)
