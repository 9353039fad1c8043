"""This machine's own energy counter."""

from __future__ import annotations

from pathlib import Path

from joulebit.errors import JoulebitError
from joulebit_host.meters.base import Meter
from joulebit_host.meters.registry import list_meters, open_meter

#: What counts for a training run on this machine, best first.
PREFERRED = ("rapl", "jetson", "hwmon")


def own_spec(root: Path | None = None) -> str:
    """The specification of the best counter; root: another /sys/class/powercap. JoulebitError if there is none."""
    if root is not None:
        return f"rapl?root={root}"
    found = [meter for meter in list_meters() if meter.spec.partition(":")[0] in PREFERRED]
    for kind in PREFERRED:
        for meter in found:
            if meter.usable and meter.spec.partition(":")[0] == kind:
                return "rapl" if kind == "rapl" else meter.spec
    if found:
        raise JoulebitError(f"this machine's own counter {found[0].spec} cannot be read: {found[0].hint}")
    raise JoulebitError(
        "this machine has no energy counter of its own (no RAPL, INA3221 or hwmon power sensor; virtual machines "
        "hide them): name a meter in a campaign file, `joulebit meter list` shows what is connected"
    )


def own_meter() -> Meter:
    """It, open."""
    return open_meter(own_spec())
