"""A remembered count is the count."""

from __future__ import annotations

import pytest

from joulebit.energy.accounting import Accountant
from joulebit.energy.counters import Counters
from joulebit.energy.remembered import RememberingAccountant
from joulebit.energy.widths import Widths
from joulebit.fixed.arithmetic import Arithmetic
from joulebit.nn.graph import plan
from joulebit.nn.models import model


@pytest.mark.parametrize("name", ["resnet20", "mobilenetv2"])
def test_counters_are_those_of_an_accountant_that_forgets(name: str) -> None:
    convs = list(plan(model(name, 10), (32, 32, 3)).convs())[:12]
    ours, reference = (kind(Counters(), Arithmetic()) for kind in (RememberingAccountant, Accountant))
    narrow = Widths.of(Arithmetic(x_bits=4, g_bits=12))
    for samples, widths in ((8, None), (8, None), (3, None), (8, narrow), (8, None), (0, None), (8, narrow)):
        for accountant in (ours, reference):
            accountant.widths = widths or Widths.of(Arithmetic())
            for conv in convs:
                accountant.forward(conv, samples)
                accountant.norm_backward(conv, samples)
                accountant.norm_backward(conv, samples, shifts_only=True)
                accountant.input_gradient(conv, samples)
                accountant.weight_gradient(conv, samples)
                accountant.weights(conv)
        assert ours.counters.as_dict() == reference.counters.as_dict()
    total = (
        convs[0].weight_shape[0] * convs[0].weight_shape[1] * convs[0].weight_shape[2] * convs[0].weight_shape[3]
    )
    for decided in (0, 1, total):
        for accountant in (ours, reference):
            accountant.weight_gradient(convs[0], 8, (decided, total))
            accountant.weight_gradient(convs[0], 8, outputs=[2])
        assert ours.counters.as_dict() == reference.counters.as_dict()


def test_a_new_dictionary_of_counters_is_used_at_once() -> None:
    conv = next(iter(plan(model("resnet20", 10), (32, 32, 3)).convs()))
    accountant = RememberingAccountant(Counters(), Arithmetic())
    accountant.forward(conv, 4)
    before, accountant.counters = accountant.counters.as_dict(), Counters()
    accountant.forward(conv, 4)
    assert accountant.counters.as_dict() == before
