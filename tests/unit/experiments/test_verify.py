"""verify finds agreement where there is some, and the first difference where there is none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from joulebit.cli import main as command
from joulebit.engine.base import Engine
from joulebit.engine.factory import make_engine
from joulebit.engine.numpy_engine import NumpyEngine
from joulebit.experiments import verify as verify_module
from joulebit.experiments.verify import first_difference, operation_cases, training_cases, verify
from joulebit.fixed.arithmetic import Arithmetic

GOLDEN: dict[str, str] = json.loads((Path(__file__).parents[2] / "golden" / "training.json").read_text())


class Damaged(NumpyEngine):
    """A numpy engine with one wrong bit in one operation."""

    name = "damaged"

    def conv_forward(self, x: Any, w: Any, geometry: Any, shift: int, key: int = 0) -> Any:
        out = super().conv_forward(x, w, geometry, shift, key)
        if geometry.stride == 2:
            out.z[0, 0, 1, 2] ^= 1
        return out


def damaged_torch(name: str, arithmetic: Arithmetic, threads: int | None = None) -> Engine:
    return Damaged(arithmetic) if name == "torch" else make_engine(name, arithmetic)


@pytest.mark.parametrize("engine", ["numpy", "numba"])
@pytest.mark.parametrize("case", list(training_cases()), ids=lambda case: case.name)
def test_training_ends_with_the_pinned_weights(case: verify_module.Case, engine: str) -> None:
    found = case.compute(make_engine(engine, case.arithmetic))
    assert found["weights_sha256"] == GOLDEN[case.name]


def test_the_operation_cases_cover_what_they_promise() -> None:
    names = " ".join(case.name for case in operation_cases())
    for part in ("1x1", "3x3", "5x5", "7x7", "stride 2", "groups 24", "on 1x", "highest", "lowest", "16 bits",
                 "stochastic rounding", "half_even rounding", "24-bit accumulator"):  # fmt: skip
        assert part in names


def test_numpy_and_numba_are_identical_in_every_operation() -> None:
    for case in operation_cases():
        reference = case.compute(make_engine("numpy", case.arithmetic))
        assert first_difference(reference, case.compute(make_engine("numba", case.arithmetic))) is None, case.name


def test_a_damaged_kernel_is_named_with_the_first_wrong_element() -> None:
    result = verify(["numpy", "torch"], make=damaged_torch)
    assert result["identical"] is False
    assert result["cases"] == 2  # those before the first stride of 2
    assert "torch against numpy: z[0, 0, 1, 2] is" in result["first_difference"]
    assert "stride 2" in result["first_difference"]


def test_the_command_exits_1_on_a_damaged_kernel(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def damaged(engines: list[str], note: Callable[[str], None]) -> dict[str, Any]:
        return verify(engines, note, damaged_torch)

    monkeypatch.setattr(verify_module, "verify", damaged)
    assert command.run(["verify", "--engines", "numpy,torch", "--json"]) == 1
    printed = json.loads(capsys.readouterr().out)
    assert printed["identical"] is False
    assert "z[0, 0, 1, 2]" in printed["first_difference"]


@pytest.mark.parametrize(
    ("reference", "other", "words"),
    [
        ({"a": 3}, {"a": 4}, "a is 4, expected 3"),
        ({"a": np.zeros(2, np.int8)}, {"a": np.zeros(2, np.int16)}, "a is int16(2,), expected int8(2,)"),
        ({"a": np.zeros(2, np.int8)}, {"a": np.zeros(3, np.int8)}, "a is int8(3,), expected int8(2,)"),
        ({"a": np.array([1, 2])}, {"a": np.array([1, 5])}, "a[1] is 5, expected 2 (1 of 2 elements differ)"),
    ],
)
def test_differences_are_told_in_words(reference: dict[str, Any], other: dict[str, Any], words: str) -> None:
    assert first_difference(reference, other) == words


def test_one_engine_alone_proves_nothing() -> None:
    with pytest.raises(ValueError, match="at least two engines"):
        verify(["numpy"])
