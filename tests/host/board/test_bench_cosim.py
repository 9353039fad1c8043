"""`joulebit bench cosim` on a small network: figures that fit together, and networks that do."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from joulebit.cli.main import cli
from joulebit_host.engine import background

ARGUMENTS = ["bench", "cosim", "--model", "resnet8", "--batch", "8", "--rounds", "2", "--no-rtl"]


def test_figures() -> None:
    done = CliRunner().invoke(cli, [*ARGUMENTS, "--json"], catch_exceptions=False)
    found = json.loads(done.stdout)
    assert done.exit_code == 0 and found["identical"] is True and set(found["methods"]) == {"sgd", "psg"}
    for method in found["methods"].values():
        assert 0 < method["ratio_low"] <= method["ratio"] <= method["ratio_high"]
        assert method["loss"] == pytest.approx(1 - 1 / method["ratio"])
    passes = found["tiers"]["functional"]["macs_s"]
    assert set(passes) == {"forward", "input_gradient", "weight_gradient"} and min(passes.values()) > 0
    assert set(found["macs_s"]) == {"functional"}


def test_networks_that_part_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    right = background.BackgroundEngine.conv_forward

    def wrong(self, *operands):  # type: ignore[no-untyped-def]
        out = right(self, *operands)
        return out._replace(z=np.where(out.z == out.z.max(), out.z - 1, out.z).astype(np.int16))

    monkeypatch.setattr(background.BackgroundEngine, "conv_forward", wrong)
    done = CliRunner().invoke(cli, ARGUMENTS, catch_exceptions=False)
    assert "same weights: NO" in done.stdout
