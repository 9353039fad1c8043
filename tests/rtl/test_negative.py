"""The bench can fail: a corrupted expectation, operand or result is found."""

import accelerator_bench
import numpy as np
import pytest
from accelerator_bench import check_pass, random_data

from joulebit.accelerator.functional import Functional
from joulebit.accelerator.tiling import Layer

pytestmark = pytest.mark.rtl
LAYER = Layer(1, 6, 6, 8, 8, 3, 3, 1, 1, 1)


@pytest.fixture
def data():
    return random_data(LAYER, np.random.default_rng(2), raw=False, relu=False, shift=9)


@pytest.mark.parametrize("which", ["forward", "input_gradient", "weight_gradient"])
def test_a_corrupted_golden_fails(devices, data, which, monkeypatch):
    golden = accelerator_bench.expected

    def corrupted(case, operation):
        tensor, peak, saturated = golden(case, operation)
        tensor = tensor.copy()
        tensor[-1, -1, -1, -1] ^= 1
        return tensor, peak, saturated

    monkeypatch.setattr(accelerator_bench, "expected", corrupted)
    with pytest.raises(AssertionError):
        check_pass(devices(), data, which)


def test_a_model_that_differs_in_one_bit_is_found(devices, data, monkeypatch):
    store = Functional._store

    def wrong(self, tile, total, outcome):
        store(self, tile, total ^ (np.arange(total.size).reshape(total.shape) == 5) * 4096, outcome)

    monkeypatch.setattr(Functional, "_store", wrong)
    with pytest.raises(AssertionError, match=r"bytes? differ|counter"):
        check_pass(accelerator_bench.mirrored(devices()), data, "forward")
