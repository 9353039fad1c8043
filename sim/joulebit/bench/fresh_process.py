"""Measurements in a process of their own, whose memory and caches nothing before has touched."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from joulebit.errors import JoulebitError

__all__ = ["measured_by", "own_peak_memory"]


def measured_by(module: str, *arguments: object, launcher: Sequence[str] = ()) -> Any:
    """What `python -m module ARGUMENTS` prints: one JSON value.

    Args:
        launcher: the words to start modules by, before `-m`; this interpreter unless given.

    Raises:
        JoulebitError: the process failed; its last line says how.
    """
    command = [*(launcher or [sys.executable]), "-m", module, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        told = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise JoulebitError(f"a measurement failed: {told[-1]} ({' '.join(command[-1 - len(arguments) :])})")
    return json.loads(done.stdout)


def own_peak_memory() -> int:
    """Peak resident bytes of this process since it started its program."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would also count the parent at the moment of the fork
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
