"""Configurations on disk: TOML in, resolved TOML out, and the hash that identifies a run.

A file holds some of the keys of `joulebit.experiments.schema` and may start from a preset or from another file:

    extends = "cifar10-resnet20-fixed"     # a preset, or a path relative to this file
    name = "my-run"
    [training]
    iterations = 2000

Tables are merged key by key, the extending file wins. Presets are files of the same format. The resolved
configuration, every default written out, is saved with the result.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
import re
import sys
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import cattrs
import tomli_w

from joulebit.errors import did_you_mean
from joulebit.experiments import presets
from joulebit.experiments.method_schema import MethodConfig, SluConfig, SmdConfig, StochasticDepthConfig
from joulebit.experiments.schema import ENGINES, DataConfig, EnergyConfig, ModelConfig, RunConfig, TrainingConfig
from joulebit.experiments.validators import ConfigError
from joulebit.fixed.arithmetic import Arithmetic

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = [
    "ENGINES",
    "Arithmetic",
    "ConfigError",
    "DataConfig",
    "EnergyConfig",
    "MethodConfig",
    "ModelConfig",
    "RunConfig",
    "SluConfig",
    "SmdConfig",
    "StochasticDepthConfig",
    "TrainingConfig",
    "as_table",
    "check_table",
    "config_from_table",
    "config_hash",
    "differences",
    "identity",
    "identity_hash",
    "load_config",
    "override_list",
    "read_toml",
    "source_in",
    "to_toml",
]

Table = dict[str, Any]

# Keys of which one replaces the other: a file that sets the right one drops an inherited left one, and back.
_ALTERNATIVES: dict[tuple[str, ...], str] = {
    ("training", "iterations"): "epochs",
    ("training", "epochs"): "iterations",
}
_BARE_WORD = re.compile(r"[^\s\"'\[\]{}#,=]+")


# --- reading ---------------------------------------------------------------------------------------------------


def load_config(source: str | Path, overrides: Iterable[str] = ()) -> RunConfig:
    """The run that a TOML file or a preset describes.

    Args:
        source: the path of a file, or the name of a preset.
        overrides: `section.key=value`, value in TOML; a word without quotes is a string.

    Raises:
        ConfigError: one line that names the file, the key and what was allowed.
    """
    where, table = _resolve(source, Path.cwd(), ())
    for text in overrides:
        table = _merge(table, _parse_override(text))
    return config_from_table(table, where)


def config_from_table(table: Mapping[str, Any], where: str = "") -> RunConfig:
    """The run that nested dictionaries describe; `where` begins the error messages."""
    prefix = f"{where}: " if where else ""
    try:
        _check_keys(table, RunConfig, ())
        return _CONVERTER.structure(table, RunConfig)
    except cattrs.BaseValidationError as group:
        path, cause = _first_cause(group, ())
        raise ConfigError(prefix + _placed(path, cause)) from None
    except ConfigError as error:
        raise ConfigError(f"{prefix}{error}") from None


def read_toml(path: Path) -> Table:
    """The tables of a file; ConfigError when it cannot be read or is no TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is no UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: is no TOML: {error}") from None


def _resolve(source: str | Path, folder: Path, chain: tuple[str, ...]) -> tuple[str, Table]:
    """Where `source` lies and its tables, with what it extends merged in."""
    path = _locate(source, folder)
    is_preset = path.parent == presets.FOLDER
    where = f"preset {path.stem}" if is_preset else str(path)
    if where in chain:
        raise ConfigError(f"{chain[0]}: extends itself: {' -> '.join((*chain, where))}")
    table = read_toml(path)
    base = table.pop("extends", None)
    if base is None:
        return where, table
    if not isinstance(base, str) or not base:
        raise ConfigError(f"{where}: extends must be the name of a preset or file, got {base!r}")
    try:
        inherited = _resolve(base, path.parent, (*chain, where))[1]
    except ConfigError as error:
        raise ConfigError(f"{where}: extends: {error}") from None if not chain else error
    inherited.pop("description", None)
    return where, _merge(inherited, table)


def source_in(text: str, folder: Path) -> str | Path:
    """What a file in `folder` names by `text`: a preset, or a path relative to that folder."""
    is_path = text.endswith(".toml") or "/" in text or "\\" in text
    return folder / Path(text).expanduser() if is_path else text


def _locate(source: str | Path, folder: Path) -> Path:
    """The file that a path or the name of a preset stands for."""
    text = str(source)
    found = folder / source if isinstance(source, Path) else source_in(text, folder)
    if isinstance(found, Path):
        path = found.expanduser()
        if not path.is_file():
            raise ConfigError(f"{path}: no such file")
        return path
    return presets.path(text)


def _merge(base: Mapping[str, Any], extra: Mapping[str, Any], path: tuple[str, ...] = ()) -> Table:
    """base with the keys of extra put over it, table by table."""
    merged = dict(base)
    for key, value in extra.items():
        other = _ALTERNATIVES.get((*path, key))
        if other and other not in extra:
            merged.pop(other, None)
        old = merged.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            value = _merge(old, value, (*path, key))
        merged[key] = value
    return merged


def _parse_override(text: str) -> Table:
    """`a.b=value` as nested tables."""
    key, equals, value = text.partition("=")
    names = [name.strip() for name in key.split(".")]
    if not equals or not all(re.fullmatch(r"[A-Za-z_]\w*", name) for name in names):
        raise ConfigError(f"--set takes section.key=value, got {text!r}")
    table: Table = {names[-1]: _parse_value(text, value.strip())}
    for name in reversed(names[:-1]):
        table = {name: table}
    return table


def _parse_value(text: str, value: str) -> Any:
    try:
        parsed = tomllib.loads(f"value = {value}")
    except tomllib.TOMLDecodeError:
        parsed = {}
    if list(parsed) == ["value"]:
        return parsed["value"]
    if _BARE_WORD.fullmatch(value):
        return value
    raise ConfigError(f'--set {text!r}: the value must be a TOML number, true, false, [..] or "text"')


def check_table(where: str, table: Mapping[str, Any], known: Iterable[str]) -> None:
    """ConfigError for the first key of a file's table that is none of `known`."""
    for key in table:
        if key not in known:
            hint = did_you_mean(key, known)
            raise ConfigError(f"{where}: unknown key {key!r}{hint}; known: {', '.join(sorted(known))}")


def override_list(where: str, value: Any) -> list[str]:
    """The value of a file's key `set`, which holds overrides for `load_config`; ConfigError otherwise."""
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise ConfigError(f'{where}: set must be a list such as ["training.epochs=5"], got {value!r}')
    return value


# --- checking --------------------------------------------------------------------------------------------------


@functools.cache
def _fields(cls: type) -> dict[str, tuple[type, bool]]:
    """Name -> (type, required) of an attrs class or dataclass."""
    hints = typing.get_type_hints(cls)
    if attrs.has(cls):
        return {a.name: (hints[a.name], a.default is attrs.NOTHING) for a in attrs.fields(cls)}
    return {f.name: (hints[f.name], f.default is dataclasses.MISSING) for f in dataclasses.fields(cls)}


def _is_section(cls: type) -> bool:
    return attrs.has(cls) or dataclasses.is_dataclass(cls)


def _section(path: Sequence[str]) -> str:
    return f"in [{'.'.join(path)}]" if path else "at the top level"


def _check_keys(table: Mapping[str, Any], cls: type, path: tuple[str, ...]) -> None:
    """ConfigError for the first key that is unknown or missing, or a value where a table belongs."""
    fields = _fields(cls)
    for key in table:
        if key not in fields:
            raise ConfigError(_unknown_key(key, path, fields))
    for key, (kind, required) in fields.items():
        if key not in table:
            if required:
                what = (
                    f"section [{'.'.join((*path, key))}]" if _is_section(kind) else f"key {key!r} {_section(path)}"
                )
                raise ConfigError(f"missing {what}{_example(kind)}")
        elif _is_section(kind):
            if not isinstance(table[key], Mapping):
                raise ConfigError(f"[{'.'.join((*path, key))}] must be a table, got {table[key]!r}")
            _check_keys(table[key], kind, (*path, key))


def _unknown_key(key: str, path: tuple[str, ...], fields: Mapping[str, Any]) -> str:
    elsewhere = [dotted for dotted in _all_keys(RunConfig, "") if dotted.rpartition(".")[2] == key]
    hint = f" (did you mean {elsewhere[0]}?)" if elsewhere else did_you_mean(key, fields)
    return f"unknown key {key!r} {_section(path)}{hint}; known: {', '.join(fields)}"


def _all_keys(cls: type, prefix: str) -> list[str]:
    keys = []
    for name, (kind, _) in _fields(cls).items():
        keys += _all_keys(kind, f"{prefix}{name}.") if _is_section(kind) else [prefix + name]
    return keys


def _example(kind: type) -> str:
    if not _is_section(kind):
        return ""
    required = [name for name, (_, needed) in _fields(kind).items() if needed]
    return f" with the key {required[0]!r}" if required else ""


def _first_cause(group: BaseException, path: tuple[str, ...]) -> tuple[tuple[str, ...], Exception]:
    """The first error inside cattrs' groups, and the keys that lead to it."""
    while isinstance(group, cattrs.BaseValidationError):
        group = group.exceptions[0]
        for note in getattr(group, "__notes__", ()):
            if isinstance(note, cattrs.AttributeValidationNote):
                path = (*path, note.name)
    assert isinstance(group, Exception)
    return path, group


def _placed(path: Sequence[str], cause: Exception) -> str:
    """The message of a cause with the section that it happened in."""
    if isinstance(cause, _WrongType):
        *path, key = path
        cause = ConfigError(f"{key} {cause}")
    return f"[{'.'.join(path)}] {cause}" if path else str(cause)


class _WrongType(ValueError):
    def __init__(self, expected: str, value: object) -> None:
        super().__init__(f"must be {expected}, got {value!r}")


def _structure_int(value: Any, _: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise _WrongType("an integer", value)
    return value


def _structure_float(value: Any, _: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _WrongType("a finite number", value)
    return float(value)


def _structure_bool(value: Any, _: Any) -> bool:
    if not isinstance(value, bool):
        raise _WrongType("true or false", value)
    return value


def _structure_str(value: Any, _: Any) -> str:
    if not isinstance(value, str):
        raise _WrongType("a string", value)
    return value


def _structure_numbers(value: Any, _: Any) -> tuple[float, ...]:
    if not isinstance(value, list | tuple):
        raise _WrongType("a list of numbers", value)
    try:
        return tuple(_structure_float(item, None) for item in value)
    except _WrongType:
        raise _WrongType("a list of numbers", list(value)) from None


def _converter() -> cattrs.Converter:
    """A converter that converts nothing: types must be right, except that an integer is a number."""
    converter = cattrs.Converter(forbid_extra_keys=True, detailed_validation=True)
    converter.register_structure_hook(int, _structure_int)
    converter.register_structure_hook(float, _structure_float)
    converter.register_structure_hook(bool, _structure_bool)
    converter.register_structure_hook(str, _structure_str)
    converter.register_structure_hook_func(lambda kind: kind == tuple[float, ...], _structure_numbers)
    return converter


_CONVERTER = _converter()


# --- writing ---------------------------------------------------------------------------------------------------


def as_table(config: RunConfig) -> Table:
    """The configuration as nested dictionaries of TOML values, scalars before tables."""
    return _plain(config)


def _plain(section: Any) -> Table:
    kind: type = type(section)
    values = {name: getattr(section, name) for name in _fields(kind)}
    scalars = {k: list(v) if isinstance(v, tuple) else v for k, v in values.items() if not _is_section(type(v))}
    return scalars | {k: _plain(v) for k, v in values.items() if k not in scalars}


def to_toml(config: RunConfig) -> str:
    """The resolved configuration as a TOML document, every key written out."""
    table = as_table(config)
    unset = "epochs" if config.training.iterations else "iterations"
    del table["training"][unset]
    return tomli_w.dumps(table)


def identity(config: RunConfig) -> Table:
    """What the bits of a run follow from.

    Names are left out, and so is which engine computes the same bits, and each section of [data], [method] and
    [training] that stands at its defaults: a technique that is off leaves hashes as they were before it was known.
    """
    table = as_table(config)
    del table["name"], table["description"]
    table["engine"] = "float32" if config.engine == "float32" else "integer"
    for name in ("data", "method", "training"):
        section = getattr(config, name)
        for part in attrs.fields(type(section)):
            if _is_section(type(part.default)) and getattr(section, part.name) == part.default:
                del table[name][part.name]
    return table


def config_hash(config: RunConfig) -> str:
    """SHA-256 (hex) of the canonical JSON of everything but name, description and the choice of integer engine."""
    return identity_hash(identity(config))


def identity_hash(table: Mapping[str, Any]) -> str:
    """`config_hash` of a configuration whose `identity` is `table`."""
    text = json.dumps(table, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def differences(one: RunConfig, other: RunConfig) -> list[str]:
    """The keys for which `config_hash` of two configurations differs, each as `section.key: a -> b`."""
    a, b = _flat(identity(one)), _flat(identity(other))
    return [f"{key}: {a.get(key)!r} -> {b.get(key)!r}" for key in sorted(a | b) if a.get(key) != b.get(key)]


def _flat(table: Table, prefix: str = "") -> Table:
    flat: Table = {}
    for key, value in table.items():
        flat.update(_flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value})
    return flat
