"""The estimate of the clock: paths of small netlists, their delays added up by hand."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "hw" / "synth"))

from timing import FLIP_FLOP, LUT_PS, Netlist, Timing, wire_delays

pytestmark = pytest.mark.rtl

WIRES = (700, 800, 1000, 1300)
CLOCK = 2
CARRY_PS = {("S[0]", "CO[3]"): 508, ("CI", "O[1]"): 334}  # Yosys' cells_sim.v


def cell(kind, **pins):
    """A cell of Yosys' JSON; pins that end in _ are outputs."""
    wires = {name.rstrip("_"): [bits] if not isinstance(bits, list) else bits for name, bits in pins.items()}
    sides = {name.rstrip("_"): "output" if name.endswith("_") else "input" for name in pins}
    return {"type": kind, "connections": wires, "port_directions": sides, "parameters": {}}


def register(d, q):
    return cell("FDRE", C=CLOCK, CE="1", R="0", D=d, Q_=q)


def timing(tmp_path, cells, wires=WIRES, **modules):
    """Of a module `top` of these cells, and further modules (ports, cells)."""
    entries = {"top": {"attributes": {}, "ports": {}, "netnames": {}, "cells": cells}}
    for name, (ports, inside) in modules.items():
        bits = {port: {"bits": [bit]} for port, bit in ports.items()}
        entries[name] = {"attributes": {}, "netnames": {}, "cells": inside, "ports": bits}
    path = tmp_path / "netlist.json"
    path.write_text(json.dumps({"modules": entries}))
    return Timing(Netlist(path, "top"), wires)


def test_a_lut_between_two_registers_of_one_slice(tmp_path):
    cells = {"a": register("0", 3), "b": cell("LUT2", I0=3, I1="1", O_=4), "c": register(4, 5)}
    assert timing(tmp_path, cells).longest == FLIP_FLOP["Q"] + WIRES[0] + LUT_PS
    assert timing(tmp_path, cells, None).longest == 303 + 238  # Yosys: FDRE C to Q, LUT2 I0 to O


def test_a_wire_is_as_long_as_its_fan_out_says(tmp_path):
    for loads, ps in ((4, WIRES[0]), (5, WIRES[1]), (17, WIRES[2]), (65, WIRES[3])):
        cells = {"a": register("0", 3)} | {f"c{n}": register(3, 100 + n) for n in range(loads)}
        assert timing(tmp_path, cells).longest == FLIP_FLOP["Q"] + ps


def test_no_wire_along_a_carry_chain(tmp_path):
    tied = {"CYINIT": "0", "DI": ["0"] * 4}
    first = cell("CARRY4", CI="0", S=[4, "0", "0", "0"], O_=[10, 11, 12, 13], CO_=[14, 15, 16, 17], **tied)
    second = cell("CARRY4", CI=17, S=["0"] * 4, O_=[20, 21, 22, 23], CO_=[24, 25, 26, 27], **tied)
    cells = {"a": register("0", 3), "b": cell("LUT1", I0=3, O_=4), "f": first, "s": second, "c": register(21, 5)}
    expected = FLIP_FLOP["Q"] + WIRES[0] + LUT_PS + CARRY_PS["S[0]", "CO[3]"] + CARRY_PS["CI", "O[1]"]
    assert timing(tmp_path, cells).longest == expected


def test_a_path_through_modules_ends_at_the_clock_enable(tmp_path):
    inner = ({"in": 7, "out": 8}, {"lut": cell("LUT1", I0=7, O_=8)})
    enabled = cell("FDRE", C=CLOCK, CE=6, R="0", D="0", Q_=9)
    half = {"type": "half", "connections": {"in": [3], "out": [6]}, "port_directions": {}, "parameters": {}}
    found = timing(tmp_path, {"a": register("0", 3), "b": half, "c": enabled}, half=inner)
    assert found.longest == FLIP_FLOP["Q"] + WIRES[0] + LUT_PS + WIRES[0] + FLIP_FLOP["CE"]


def test_wires_grow_with_their_fan_out():
    delays = wire_delays()
    assert list(delays) == sorted(delays)
    assert 400 < delays[0] < 1000
