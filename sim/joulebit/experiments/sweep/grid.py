"""Which runs a sweep has.

A sweep is a TOML file:

    description = "..."
    base = "digits-resnet8-psg"          # a preset, or a path relative to this file
    set = ["training.epochs=3"]          # for all runs; optional
    seeds = 3                            # 0, 1, 2; or a list of seeds; by default the base's

    [grid]                               # every combination of these; optional
    "method.beta" = [0.02, 0.05, 0.1]
    "model.name" = ["resnet8", "resnet14"]

    [[cases]]                            # each is combined with grid and seeds; optional
    name = "psg"
    base = "digits-resnet8-psg"          # instead of the base above; optional
    set = ["method.swa=false"]           # optional

A run is known by the hash of its configuration, so that a sweep that is extended keeps what it has.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import attrs
import tomli_w

from joulebit.experiments.config import (
    ConfigError,
    RunConfig,
    check_table,
    identity,
    identity_hash,
    load_config,
    override_list,
    read_toml,
    source_in,
)

__all__ = ["Point", "Sweep", "read_sweep"]

_KEYS = ("name", "description", "base", "set", "seeds", "grid", "cases")
_CASE_KEYS = ("name", "base", "set")
_SEED_LIMIT = 1_000_000


@dataclass(frozen=True)
class Case:
    """A starting point that the grid is put over."""

    name: str
    source: str | Path
    overrides: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Point:
    """One run of a sweep. Small, since there may be 100,000: runs of a combination share all but the seed.

    Attributes:
        key: SHA-256 (hex) of the configuration, as `joulebit.experiments.config.config_hash`.
        settings: what sets it apart from other runs: "case" (where there are several), and the keys of the grid.
        combination: the configuration, but for the seed.
        seed: of this run.
    """

    key: str
    settings: dict[str, Any]
    combination: RunConfig
    seed: int

    @property
    def config(self) -> RunConfig:
        """The whole configuration, its seed included."""
        return attrs.evolve(self.combination, seed=self.seed)


@dataclass(frozen=True)
class Sweep:
    """A sweep's description; `points` makes its runs one by one."""

    name: str
    cases: tuple[Case, ...]
    grid: dict[str, list[Any]]
    seeds: tuple[int, ...]  #: of every combination; empty: that of its base

    @property
    def combinations(self) -> int:
        """Of cases and grid."""
        return len(self.cases) * prod(len(values) for values in self.grid.values())

    def __len__(self) -> int:
        return self.combinations * max(1, len(self.seeds))

    def points(self, tell: Callable[[int], None] | None = None) -> list[Point]:
        """All runs, in the order of cases, grid and seeds; `tell` hears of every combination done.

        Raises:
            ConfigError: a combination that is no valid run, or two that are the same one.
        """
        found: dict[str, Point] = {}
        for number, (settings, config) in enumerate(self._configs()):
            whole = identity(config)
            for seed in self.seeds or (config.seed,):
                whole["seed"] = seed
                key = identity_hash(whole)
                if key in found:
                    first = found[key].settings
                    raise ConfigError(
                        f"sweep {self.name}: {_text(first)} and {_text(settings)} are the same run: remove one"
                    )
                found[key] = Point(key, settings, config, seed)
            if tell:
                tell(number + 1)
        return list(found.values())

    def _configs(self) -> Iterator[tuple[dict[str, Any], RunConfig]]:
        for case in self.cases:
            for values in itertools.product(*self.grid.values()):
                settings = dict(zip(self.grid, values))
                overrides = (*case.overrides, *(_override(key, value) for key, value in settings.items()))
                if len(self.cases) > 1:
                    settings = {"case": case.name, **settings}
                try:
                    yield settings, load_config(case.source, overrides)
                except ConfigError as error:
                    raise ConfigError(f"sweep {self.name}, {_text(settings)}: {error}") from None


def read_sweep(path: Path) -> Sweep:
    """The sweep that a file describes; ConfigError names what is wrong in it."""
    table = read_toml(path)
    where = str(path)
    check_table(where, table, _KEYS)
    base, common = table.get("base"), override_list(where, table.get("set", []))
    cases = []
    for number, case in enumerate(_tables(path, table.get("cases", [{}] if base else [])), 1):
        place = f"{where}: [[cases]] {number}"
        check_table(place, case, _CASE_KEYS)
        own = case.get("base", base)
        if not isinstance(own, str) or not own:
            raise ConfigError(f"{place}: base must be the name of a preset or a file, got {own!r}")
        name = case.get("name", own)
        if not isinstance(name, str) or not name:
            raise ConfigError(f"{place}: name must be a text, got {name!r}")
        own_set = override_list(place, case.get("set", []))
        cases.append(Case(name, source_in(own, path.parent), (*common, *own_set)))
    if not cases:
        raise ConfigError(f"{path}: base is missing: name the preset or the file that all runs start from")
    if len({case.name for case in cases}) < len(cases):
        raise ConfigError(f"{path}: two [[cases]] have the same name: give each a name of its own")
    name = table.get("name", path.stem)
    if not isinstance(name, str) or not name:
        raise ConfigError(f"{path}: name must be a text, got {name!r}")
    return Sweep(name, tuple(cases), _grid(path, table.get("grid", {})), _seeds(path, table.get("seeds")))


def _tables(path: Path, value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise ConfigError(f"{path}: cases must be [[cases]] tables, got {value!r}")
    return value


def _grid(path: Path, table: Any) -> dict[str, list[Any]]:
    if not isinstance(table, dict):
        raise ConfigError(f"{path}: [grid] must be a table of lists, got {table!r}")
    flat: dict[str, list[Any]] = {}

    def collect(prefix: str, entry: dict[str, Any]) -> None:
        for key, values in entry.items():
            if isinstance(values, dict):
                collect(f"{prefix}{key}.", values)
            elif not isinstance(values, list) or not values:
                raise ConfigError(f"{path}: [grid] {prefix}{key} must be a list of values, got {values!r}")
            else:
                flat[prefix + key] = values

    collect("", table)
    if "seed" in flat:
        raise ConfigError(f"{path}: [grid] has seed: repeat runs by seeds = {flat['seed']!r} at the top instead")
    return flat


def _seeds(path: Path, value: Any) -> tuple[int, ...]:
    if value is None:
        return ()
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _SEED_LIMIT:
        return tuple(range(value))
    whole = isinstance(value, list) and all(isinstance(seed, int) and not isinstance(seed, bool) for seed in value)
    if whole and value and min(value) >= 0 and len(set(value)) == len(value):
        return tuple(value)
    raise ConfigError(
        f"{path}: seeds must be how many (1 to {_SEED_LIMIT}) or a list of different seeds from 0, got {value!r}"
    )


def _override(key: str, value: Any) -> str:
    try:
        return f"{key}={tomli_w.dumps({'v': value}).partition('=')[2].strip()}"
    except TypeError:
        raise ConfigError(f"[grid] {key}: {value!r} is no value of a setting") from None


def _text(settings: dict[str, Any]) -> str:
    return ", ".join(f"{key} = {value}" for key, value in settings.items()) or "its only combination"
