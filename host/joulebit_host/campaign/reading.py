"""From the nested tables of a TOML file to frozen objects; whatever is wrong is one line."""

from __future__ import annotations

import math
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

import attrs

from joulebit.errors import JoulebitError, did_you_mean
from joulebit_host.session.settings import SessionSettings

_Section = TypeVar("_Section")


class CampaignError(JoulebitError, ValueError):
    """A campaign cannot be used. One line: the file, the key, what came, what was allowed."""


def structure(kind: type[_Section], table: Any, where: str) -> _Section:
    """An object of attrs class `kind` from a table; CampaignError for the first thing that is wrong."""
    place = f"[{where}]" if where else "the top level"
    if not isinstance(table, Mapping):
        raise CampaignError(f"{place} must be a table, got {table!r}")
    fields = {f.name: f for f in attrs.fields(kind)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(kind)
    for key in table:
        if key not in fields:
            raise CampaignError(
                f"unknown key {key!r} in {place}{did_you_mean(key, fields)}; known: {', '.join(fields)}"
            )
    for key, f in fields.items():
        if f.default is attrs.NOTHING and key not in table:
            raise CampaignError(f"missing key {key!r} in {place}")
    values = {key: _value(hints[key], value, f"{where}.{key}" if where else key) for key, value in table.items()}
    try:
        return kind(**values)
    except CampaignError as error:
        raise CampaignError(f"{place}: {error}" if where else str(error)) from None


def _value(hint: Any, value: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is SessionSettings:
        if not isinstance(value, Mapping) or not isinstance(value.get("limits", {}), Mapping):
            raise CampaignError(f"[{where}] must be a table, got {value!r}")
        return SessionSettings.from_json(value)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise CampaignError(f"{where} must be a list, got {value!r}")
        item = arguments[0]
        if attrs.has(item):
            return tuple(structure(item, v, f"{where}.{n}") for n, v in enumerate(value))
        return tuple(_value(item, v, f"{where}[{n}]") for n, v in enumerate(value))
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise CampaignError(f"{where} must be a table, got {value!r}")
        return dict(value)
    wanted = {str: "a text", bool: "true or false", int: "a whole number", float: "a finite number"}[hint]
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if hint is float and number and math.isfinite(value):
        return float(value)
    if (hint is int and number and isinstance(value, int)) or (hint in (str, bool) and isinstance(value, hint)):
        return value
    raise CampaignError(f"{where} must be {wanted}, got {value!r}")
