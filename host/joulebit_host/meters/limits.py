"""Error limits that a user may give in the place of a data sheet's: options of every kind of meter.

    spec = "ruideng:/dev/rfcomm0?gain_error=0.0008&offset_w=0.004"       # in a campaign's TOML, from a calibration

What neither a data sheet nor the user gives is assumed: `Accuracy.assumed` names it, as do the budget's terms.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from joulebit_host.meters.base import Accuracy
from joulebit_host.meters.options import option


@dataclass(frozen=True)
class ErrorLimits:
    """Base of the options of a kind of meter; None for what its data sheet (or an assumption) says."""

    gain_error: float | None = option(
        None, "relative error limit of the power, instead of the known one", low=0, high=1
    )
    offset_w: float | None = option(
        None, "absolute error limit of the power, instead of the known one", unit="W", low=0
    )
    time_error_s: float | None = option(
        None, "how far the times of samples may be off together, instead of the known limit", unit="s", low=0
    )

    def limited(self, known: Accuracy) -> Accuracy:
        """The known limits with those that were given."""
        fields = {"gain": self.gain_error, "offset_w": self.offset_w, "time_s": self.time_error_s}
        given = {name: value for name, value in fields.items() if value is not None}
        if not given:
            return known
        return replace(
            known,
            **given,
            assumed=tuple(name for name in known.assumed if name not in given),
            source=f"{known.source}; given: {', '.join(f'{name} {value:g}' for name, value in given.items())}",
        )


def limits_text(limits: Accuracy) -> str:
    """A meter's error limits in one line, such as `gain 0.1 %, offset 15 mW, time 50 ms (assumed)`."""
    values = {
        "gain": f"gain {100 * limits.gain:.4g} %",
        "offset_w": f"offset {1000 * limits.offset_w:.4g} mW",
        "power_resolution_w": f"step {1000 * limits.power_resolution_w:.4g} mW",
        "energy_resolution_j": f"energy step {limits.energy_resolution_j:.4g} J",
        "time_s": f"time {1000 * limits.time_s:.4g} ms",
    }
    shown = [name for name in values if name in ("gain", "offset_w", "time_s") or getattr(limits, name)]
    return ", ".join(values[name] + (" (assumed)" if name in limits.assumed else "") for name in shown)
