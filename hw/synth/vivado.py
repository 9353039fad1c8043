"""Builds the ZedBoard's bitstream, .hwh, .xsa and manifest by Vivado.

python hw/synth/vivado.py                 # the configuration of zedboard.json
python hw/synth/vivado.py --config tiny
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys

from board import BOARD, HW, description, tool
from manifest import finish, version, vivado_timing, vivado_utilisation

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
    built = out / board["name"]
    path = finish(
        "vivado",
        board["name"],
        config,
        built.with_suffix(".bit").read_bytes(),
        built.with_suffix(".hwh").read_text(encoding="utf-8"),
        {"name": "Vivado", "version": version([vivado, "-version"])},
        vivado_timing((out / "timing.rpt").read_text()),
        vivado_utilisation((out / "utilisation.rpt").read_text()),
    )
    shutil.copy(built.with_suffix(".xsa"), path.with_suffix(".xsa"))
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
