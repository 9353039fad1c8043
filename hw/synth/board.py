"""The ZedBoard's description (`zedboard/zedboard.json`) for both flows to a bitstream; how they look for tools."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from joulebit.spec.accelerator import CONFIGS

HERE = Path(__file__).resolve().parent
HW = HERE.parent
BOARD = HERE / "zedboard"
BITSTREAMS = HW.parent / "bitstreams"


def description() -> dict[str, Any]:
    """The description, checked."""
    values: dict[str, Any] = json.loads((BOARD / "zedboard.json").read_text())
    for flow in ("vivado", "openxc7"):
        name = values[flow]["configuration"]
        if name not in CONFIGS:
            raise SystemExit(
                f"zedboard.json: {flow} names the configuration {name}, known are {', '.join(CONFIGS)}"
            )
    return values


def tool(name: str, where: str) -> str:
    """Path of a program, or one line that says what is missing and where to get it."""
    found = shutil.which(name)
    if found is None:
        raise SystemExit(f"{name} is not on the PATH: {where}")
    return found


def directory(variable: str, holds: str, where: str) -> Path:
    """A folder that an environment variable names, or one line that says what is missing."""
    value = os.environ.get(variable)
    if not value or not (Path(value) / holds).exists():
        raise SystemExit(f"{variable} must name a folder with {holds}: {where}")
    return Path(value)
