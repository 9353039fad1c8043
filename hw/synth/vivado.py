"""Builds the ZedBoard's bitstream, .hwh and .xsa by Vivado.

python hw/synth/vivado.py                 # the configuration of zedboard.json
python hw/synth/vivado.py --config tiny
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys

from board import BITSTREAMS, BOARD, HW, description, tool

from joulebit.spec.accelerator import CONFIGS


def main() -> int:
    board = description()
    parser = argparse.ArgumentParser(description="Build the ZedBoard's bitstream by Vivado.")
    parser.add_argument("--config", choices=list(CONFIGS), default=board["vivado"]["configuration"])
    config = parser.parse_args().config
    vivado = tool(
        "vivado",
        f"install Vivado {board['vivado']['versions']} (the free edition does) and source its settings64.sh",
    )
    out = HW / "build" / "vivado" / config
    out.mkdir(parents=True, exist_ok=True)
    values = (
        board["name"],
        board["part"],
        board["vivado"]["board_part"],
        board["clock_hz"],
        board["ps_crystal_hz"],
        list(CONFIGS).index(config),
        board["register_base"],
        board["register_bytes"],
        HW,
        out,
        os.cpu_count() or 1,
    )
    command = [vivado, "-mode", "batch", "-source", str(BOARD / "build.tcl"), "-tclargs", *map(str, values)]
    done = subprocess.run(command, cwd=out, check=False)
    if done.returncode != 0:
        print(f"vivado failed: see {out / 'vivado.log'}", file=sys.stderr)
        return 1
    BITSTREAMS.mkdir(exist_ok=True)
    for suffix in ("bit", "hwh", "xsa"):
        shutil.copy(out / f"{board['name']}.{suffix}", BITSTREAMS / f"{board['name']}_{config}.{suffix}")
    print(BITSTREAMS / f"{board['name']}_{config}.bit")
    return 0


if __name__ == "__main__":
    sys.exit(main())
