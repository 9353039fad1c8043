"""`joulebit board info|check`, and that a difference is traced to its element."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from faulty_board import FaultyBoard

from joulebit.spec.accelerator import CONFIGS
from joulebit_host.cli.board import board
from joulebit_host.driver import Accelerator, PassResult, default_bitstream
from joulebit_host.driver.checking import SETS, check_board


def run(*words):
    done = CliRunner().invoke(board, words, catch_exceptions=False)
    return done.exit_code, done.stdout


def test_info():
    code, text = run("info", "--array-config", "tiny", "--json")
    found = json.loads(text)
    assert code == 0
    assert found["multipliers"] == CONFIGS["tiny"].multipliers
    assert found["clock_hz"] == 100_000_000
    assert "48 multipliers" in run("info", "--array-config", "tiny")[1]


@pytest.mark.parametrize("config", list(CONFIGS))
def test_the_virtual_board_passes(config):
    code, text = run("check", "--array-config", config, "--json")
    found = json.loads(text)
    assert code == 0
    assert found["identical"] is True
    assert found["first_difference"] is None
    assert len(found["passes"]) > 45
    assert found["counters"]["MACS_8X8"] == sum(p["macs"] for p in found["passes"] if p["pass"] == "forward")


@pytest.mark.rtl
@pytest.mark.slow
def test_the_rtl_passes():
    code, text = run("check", "--board", "virtual-rtl", "--array-config", "tiny", "--json")
    found = json.loads(text)
    assert code == 0
    assert all(p["identical"] and p["cycles"] for p in found["passes"])


@pytest.mark.parametrize(
    ("name", "reader", "element"),
    [
        ("forward", "tensor", (1, 3, 2, 5)),
        ("input gradient", "tensor", (0, 7, 7, 7)),
        ("weight gradient", "gradient", (2, 1, 6, 3)),
    ],
)
def test_a_difference_is_traced_to_its_tile_and_element(monkeypatch, name, reader, element):
    read = getattr(PassResult, reader)

    def damaged(self):
        value = np.array(read(self))
        if self.template.key.operation.name.lower().replace("_", " ") == name:
            value[element] += 1
        return value

    monkeypatch.setattr(PassResult, reader, damaged)
    accelerator = Accelerator(FaultyBoard("tiny", memory_bytes=1 << 22), default_bitstream("tiny"))
    found = check_board(accelerator, SETS["small"])
    difference = found["first_difference"]
    assert found["identical"] is False
    assert (difference["layer"], difference["pass"]) == ("3x3", name)
    assert difference["element"] == list(element)
    assert difference["got"] == difference["expected"] + 1
    assert difference["differences"] == 1
    assert 0 <= difference["tile"] < difference["of_tiles"]
    assert found["passes"][-1]["identical"] is False


def test_a_difference_exits_with_1(monkeypatch):
    read = PassResult.tensor
    monkeypatch.setattr(PassResult, "tensor", lambda self: np.array(read(self)) + 1)
    code, text = run("check", "--array-config", "tiny")
    assert code == 1
    assert "first difference: 3x3" in text
