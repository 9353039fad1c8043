"""The rule W <= A <= G as a check of a configuration."""

import warnings

import pytest

from joulebit.experiments.config import ConfigError, load_config
from joulebit.fixed.arithmetic import Arithmetic
from joulebit.techniques.width_rule import WidthRuleWarning, broken

STRICT = "method.width_rule.check=strict"


def test_every_combination_of_widths_is_judged_by_its_order():
    for w in range(2, 9):
        for x in range(2, 9):
            for g in range(2, 9):
                arithmetic = Arithmetic(x_bits=x, w_bits=w, g_bits=g, x_msb_bits=1, g_msb_bits=1)
                assert bool(broken(arithmetic)) == (not w <= x <= g)


def test_signs_count_as_one_bit_and_a_narrowed_gradient_as_what_is_left():
    wide = Arithmetic(x_bits=4, w_bits=8)
    assert broken(wide)
    assert not broken(wide, 1)
    assert "input_gradient_bits >= 8" in broken(Arithmetic(input_gradient_bits=6))


def test_strict_stops_the_run_and_says_what_to_do():
    with pytest.raises(ConfigError) as caught:
        load_config("digits-resnet8-fixed", [STRICT, "arithmetic.w_bits=10", "arithmetic.g_bits=6",
                                             "arithmetic.g_msb_bits=4"])  # fmt: skip
    assert str(caught.value) == (
        "preset digits-resnet8-fixed: [arithmetic] breaks the rule W <= A <= G: weights have 10 bits, more than "
        "the 8 of activations (w_bits <= 8, or x_bits >= 10); activations have 8 bits, more than the 6 of "
        'gradients (x_bits <= 6, or g_bits >= 8); method.width_rule.check "warn" or "off" lets it pass'
    )


def test_warn_warns_and_off_is_silent():
    wrong = "arithmetic.w_bits=10"
    with pytest.warns(WidthRuleWarning, match="weights have 10 bits"):
        load_config("digits-resnet8-fixed", ["method.width_rule.check=warn", wrong])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_config("digits-resnet8-fixed", [wrong])


def test_cyclic_precision_must_keep_the_rule_on_its_way():
    with pytest.raises(ConfigError, match="in the course of cyclic precision weights have 8 bits"):
        load_config("digits-resnet8-cpt", [STRICT, "method.cyclic_precision.w_low=0"])
    load_config("digits-resnet8-cpt", [STRICT])
    load_config("digits-resnet8-cpt", [STRICT, "method.cyclic_precision.x_low=4"])


@pytest.mark.parametrize("preset", ["digits-resnet8-w4a8g16", "digits-resnet8-w2a6g12"])
def test_the_presets_keep_the_rule_strictly(preset):
    config = load_config(preset)
    assert config.method.width_rule.check == "strict"
    with pytest.raises(ConfigError, match="must be one of off, warn, strict"):
        load_config(preset, ["method.width_rule.check=perhaps"])


def test_the_rule_alone_changes_no_bits():
    from technique_bench import alone, small

    assert alone(small("digits-resnet8-w4a8g16")) == alone(
        small("digits-resnet8-w4a8g16", "method.width_rule.check=off")
    )
