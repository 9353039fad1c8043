"""What a session is asked to do, and the rules by which its result is valid."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from joulebit.errors import JoulebitError, did_you_mean


@dataclass(frozen=True)
class Limits:
    """When a result is valid. Each rule that is broken is named in the verdict.

    Attributes:
        shortest_window_s: EEMBC EnergyRunner and MLPerf Tiny ask for 10 s.
        fewest_samples: MLPerf Training's power rules ask for 60.
        largest_gap_share: of the window's time; EnergyRunner fails above 0.1 %.
        shortest_idle_s, fewest_idle_samples: of each idle window.
        largest_idle_drift: change of idle power between before and after, as a share of it, beyond what noise
            explains.
        largest_temperature_change_c: within a window.
        largest_aliasing: resultant length of the samples' phases in the work's steps, beyond chance; 0 is even, 1
            is always the same phase. Only for meters of instants.
        largest_relative_u: expanded uncertainty of the gross energy as a share of it.
    """

    shortest_window_s: float = 10.0
    fewest_samples: int = 60
    largest_gap_share: float = 0.001
    shortest_idle_s: float = 5.0
    fewest_idle_samples: int = 20
    largest_idle_drift: float = 0.05
    largest_temperature_change_c: float = 10.0
    largest_aliasing: float = 0.1
    largest_relative_u: float = 0.1


@dataclass(frozen=True)
class SessionSettings:
    """How a session goes.

    Attributes:
        idle_s: each of the two idle windows, at least; longer where the meter is slow.
        settle_s: waited before each idle window, so that nothing of the work is left in it.
        warmup_s: work done before the first window, at least.
        windows: how many.
        window_s: length of each that is aimed at; longer where the meter is slow.
        lengthen: how often a window that came out too short is done again, longer.
        temperature_s: time between temperature readings.
        exchanges: clock exchanges at the begin, and as many at the end.
        limits: when a result is valid.
    """

    idle_s: float = 10.0
    settle_s: float = 1.0
    warmup_s: float = 5.0
    windows: int = 1
    window_s: float = 12.0
    lengthen: int = 3
    temperature_s: float = 5.0
    exchanges: int = 16
    limits: Limits = field(default_factory=Limits)

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values; `from_json` gives the same settings back."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> SessionSettings:
        """Settings of a mapping; missing keys keep their defaults, unknown ones raise JoulebitError."""
        values = dict(data)
        limits = _checked(Limits, values.pop("limits", {}), "session.limits")
        return cls(**{**_checked(cls, values, "session"), "limits": Limits(**limits)})

    def window_length_s(self, interval_s: float) -> float:
        """The length to aim at for a meter with this nominal interval: a tenth more samples than are needed."""
        return max(self.window_s, self.limits.shortest_window_s, 1.1 * self.limits.fewest_samples * interval_s)

    def idle_length_s(self, interval_s: float) -> float:
        """The length of an idle window, likewise."""
        return max(self.idle_s, self.limits.shortest_idle_s, 1.1 * self.limits.fewest_idle_samples * interval_s)


def _checked(kind: Any, data: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The values, each of the type of its default and not negative."""
    defaults = {f.name: f.default for f in dataclasses.fields(kind)}
    for name, value in data.items():
        if name not in defaults:
            raise JoulebitError(
                f"{where}: unknown key {name!r}{did_you_mean(name, defaults)}; known: {', '.join(defaults)}"
            )
        wanted = int if isinstance(defaults[name], int) else float
        number = isinstance(value, int | float) and not isinstance(value, bool) and wanted(value) == value
        if not number or value < 0:
            raise JoulebitError(
                f"{where}.{name} must be a {'whole ' if wanted is int else ''}number >= 0, got {value!r}"
            )
    return dict(data)
