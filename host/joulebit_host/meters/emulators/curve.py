"""Power curves whose energy is known exactly: what an emulated meter measures."""

from __future__ import annotations

import bisect
import csv
import itertools
import random
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from joulebit.errors import JoulebitError, did_you_mean


class Curve(Protocol):
    """Power over time. Times are seconds since the emulator's start and never negative."""

    def power_w(self, t_s: float) -> float:
        """Power at an instant, in watts."""
        ...

    def energy_j(self, start_s: float, end_s: float) -> float:
        """The exact integral of the power between two instants, in joules."""
        ...


class Constant:
    """The same power for ever."""

    def __init__(self, watts: float) -> None:
        self._watts = watts

    def power_w(self, t_s: float) -> float:
        """See `Curve`."""
        return self._watts

    def energy_j(self, start_s: float, end_s: float) -> float:
        """See `Curve`."""
        return self._watts * (end_s - start_s)


class _Tabulated(ABC):
    """Power by a table, which the last value continues, or which repeats after `_period_s`."""

    _period_s: float | None

    def power_w(self, t_s: float) -> float:
        """See `Curve`."""
        return self._at(t_s if self._period_s is None else t_s % self._period_s)

    def energy_j(self, start_s: float, end_s: float) -> float:
        """See `Curve`."""
        return self._until(end_s) - self._until(start_s)

    def _until(self, t_s: float) -> float:
        turns = 0.0
        if self._period_s is not None:
            count, t_s = divmod(t_s, self._period_s)
            turns = count * self._within(self._period_s)
        return turns + self._within(t_s)

    @abstractmethod
    def _at(self, t_s: float) -> float:
        """Power within the table's first turn."""

    @abstractmethod
    def _within(self, t_s: float) -> float:
        """Energy from 0 on, within the first turn."""


class Steps(_Tabulated):
    """Piecewise constant power; the last value holds, or the whole repeats."""

    def __init__(self, points: Sequence[tuple[float, float]], period_s: float | None = None) -> None:
        """points: (from when, watts), the first at 0; period_s: when the first one comes again."""
        _check_points(points, period_s)
        self._times = [t for t, _ in points]
        self._watts = [w for _, w in points]
        self._period_s = period_s
        lengths = [b - a for a, b in itertools.pairwise(self._times)]
        self._sums = [0.0, *itertools.accumulate(w * d for w, d in zip(self._watts, lengths))]

    def _at(self, t_s: float) -> float:
        return self._watts[bisect.bisect_right(self._times, t_s) - 1]

    def _within(self, t_s: float) -> float:
        at = bisect.bisect_right(self._times, t_s) - 1
        return self._sums[at] + self._watts[at] * (t_s - self._times[at])


class Lines(_Tabulated):
    """Power on straight lines between points; the last value holds, or the whole repeats."""

    def __init__(self, points: Sequence[tuple[float, float]], period_s: float | None = None) -> None:
        """points: (when, watts), the first at 0; period_s: when the first one comes again."""
        _check_points(points, period_s)
        self._points = [*points, (period_s, points[-1][1])] if period_s is not None else list(points)
        self._times = [t for t, _ in self._points]
        self._period_s = period_s
        areas = ((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in itertools.pairwise(self._points))
        self._sums = [0.0, *itertools.accumulate(areas)]

    def _at(self, t_s: float) -> float:
        at = bisect.bisect_right(self._times, t_s) - 1
        if at + 1 >= len(self._points):
            return self._points[-1][1]
        (t0, w0), (t1, w1) = self._points[at], self._points[at + 1]
        return w0 + (w1 - w0) * (t_s - t0) / (t1 - t0)

    def _within(self, t_s: float) -> float:
        at = bisect.bisect_right(self._times, t_s) - 1
        t0, w0 = self._points[at]
        return self._sums[at] + (w0 + self._at(t_s)) / 2 * (t_s - t0)


class Function:
    """A function of time and its antiderivative, both given."""

    def __init__(self, power: Callable[[float], float], antiderivative: Callable[[float], float]) -> None:
        self.power_w = power
        self._integral = antiderivative

    def energy_j(self, start_s: float, end_s: float) -> float:
        """See `Curve`."""
        return self._integral(end_s) - self._integral(start_s)


class Restless:
    """Another curve plus real fluctuations: normally distributed, constant for `step_s` each. They are in the
    truth.
    """

    def __init__(self, base: Curve, sigma_w: float, step_s: float = 0.01, seed: int = 0) -> None:
        """sigma_w: standard deviation; step_s: time of each value; seed: of the values."""
        self._base = base
        self._sigma_w = sigma_w
        self._step_s = step_s
        self._random = random.Random(seed)
        self._values: list[float] = []
        self._sums = [0.0]

    def _grow(self, count: int) -> None:
        while len(self._values) < count:
            self._values.append(self._random.gauss(0.0, self._sigma_w))
            self._sums.append(self._sums[-1] + self._values[-1] * self._step_s)

    def power_w(self, t_s: float) -> float:
        """See `Curve`."""
        at = int(t_s / self._step_s)
        self._grow(at + 1)
        return self._base.power_w(t_s) + self._values[at]

    def energy_j(self, start_s: float, end_s: float) -> float:
        """See `Curve`."""
        return self._base.energy_j(start_s, end_s) + self._until(end_s) - self._until(start_s)

    def _until(self, t_s: float) -> float:
        at = int(t_s / self._step_s)
        self._grow(at + 1)
        return self._sums[at] + self._values[at] * (t_s - at * self._step_s)


def parse_curve(text: str, seed: int = 0) -> Curve:
    """A curve as it is written on a command line.

    `5` or `constant:5`; `steps:0=2.5,10=4.1,period=20`; `lines:0=2,5=4`; a `.csv` file with rows `t_s,watts`
    (straight lines), or a `.toml` file (see `curve_from_table`). `~0.05` at the end adds fluctuations of that many
    watts.
    """
    text, _, sigma = text.partition("~")
    base = _parse_plain(text.strip())
    return Restless(base, _number(sigma, "the fluctuation behind ~"), seed=seed) if sigma else base


def curve_from_table(table: Mapping[str, Any]) -> Curve:
    """A curve from TOML: `kind` (constant, steps, lines), `watts` or `points` = [[t_s, watts], ...], `period_s`,
    `noise_w`, `noise_step_s`, `seed`."""
    known = ("kind", "watts", "points", "period_s", "noise_w", "noise_step_s", "seed")
    for key in table:
        if key not in known:
            raise JoulebitError(
                f"power curve: unknown key {key!r}{did_you_mean(key, known)}; known: {', '.join(known)}"
            )
    kind = table.get("kind", "constant" if "watts" in table else "steps")
    try:
        if kind == "constant":
            base: Curve = Constant(float(table["watts"]))
        elif kind in _SHAPES:
            points = [(float(t), float(w)) for t, w in table["points"]]
            base = _SHAPES[kind](points, table.get("period_s"))
        else:
            raise JoulebitError(f"power curve: kind must be constant, steps or lines, got {kind!r}")
    except KeyError as error:
        raise JoulebitError(f"power curve: a curve of kind {kind} needs the key {error.args[0]!r}") from None
    except (TypeError, ValueError):
        raise JoulebitError("power curve: watts must be a number, points a list of [seconds, watts]") from None
    if "noise_w" in table:
        return Restless(
            base, float(table["noise_w"]), float(table.get("noise_step_s", 0.01)), table.get("seed", 0)
        )
    return base


_SHAPES: dict[str, type[Steps] | type[Lines]] = {"steps": Steps, "lines": Lines}


def _parse_plain(text: str) -> Curve:
    if text.endswith(".csv"):
        return Lines(_csv_points(Path(text)))
    if text.endswith(".toml"):
        return curve_from_table(_load_toml(Path(text)))
    kind, colon, rest = text.partition(":")
    if not colon:
        return Constant(_number(text, "a power curve such as 5, steps:0=2.5,10=4 or a .csv or .toml file"))
    if kind == "constant":
        return Constant(_number(rest, "constant: watts"))
    if kind not in _SHAPES:
        hint = did_you_mean(kind, ("constant", *_SHAPES))
        raise JoulebitError(
            f"unknown power curve {kind!r}{hint}; known: constant, steps, lines, FILE.csv, FILE.toml"
        )
    points, period_s = [], None
    for item in rest.split(","):
        key, _, value = item.partition("=")
        if key == "period":
            period_s = _number(value, "period")
        else:
            points.append((_number(key, f"{kind}: a time"), _number(value, f"{kind}: watts")))
    return _SHAPES[kind](points, period_s)


def _csv_points(path: Path) -> list[tuple[float, float]]:
    with path.open(newline="") as file:
        rows = [row for row in csv.reader(file) if row and not row[0].lstrip().startswith("#")]
    if rows and not _is_number(rows[0][0]):
        rows = rows[1:]
    try:
        return [(float(t), float(w)) for t, w in rows]
    except ValueError:
        raise JoulebitError(f"{path}: every row must be t_s,watts") from None


def _load_toml(path: Path) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    with path.open("rb") as file:
        try:
            return tomllib.load(file)
        except tomllib.TOMLDecodeError as error:
            raise JoulebitError(f"{path}: {error}") from None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _number(text: str, what: str) -> float:
    if not _is_number(text):
        raise JoulebitError(f"{what}: a number is needed, got {text!r}")
    return float(text)


def _check_points(points: Sequence[tuple[float, float]], period_s: float | None) -> None:
    times = [t for t, _ in points]
    if not times or times[0] != 0 or any(b <= a for a, b in itertools.pairwise(times)):
        raise JoulebitError(f"power curve: times must begin at 0 and increase, got {times[:5]}")
    if period_s is not None and period_s <= times[-1]:
        raise JoulebitError(f"power curve: the period must be longer than {times[-1]:g} s, got {period_s:g}")
