"""A meter's options: frozen dataclasses whose fields say unit, limits and meaning.

They are read from a specification such as `ina226:/dev/ttyUSB0?shunt_ohm=0.01` (text) or from TOML and JSON (typed
values), and written as plain JSON values into a recording's header, from which the decoder is made again.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from joulebit.errors import JoulebitError, did_you_mean

_Options = TypeVar("_Options")


def option(
    default: Any,
    text: str,
    *,
    unit: str = "",
    choices: tuple[Any, ...] = (),
    low: float | None = None,
    high: float | None = None,
) -> Any:
    """A field of an options class.

    Args:
        default: its value when not given.
        text: what it means, for people.
        unit: of the value.
        choices: the allowed values, if they are few.
        low, high: allowed range, both ends included.
    """
    meta = {"text": text, "unit": unit, "choices": choices, "low": low, "high": high}
    return dataclasses.field(default=default, metadata=meta)


def parse_options(options: type[_Options], given: Mapping[str, Any], kind: str) -> _Options:
    """An instance of `options` from text or typed values.

    Raises JoulebitError for an unknown name, a value of the wrong type, or one that is not allowed.
    """
    fields = {field.name: field for field in dataclasses.fields(typing.cast(Any, options))}
    hints = typing.get_type_hints(options)
    values = {}
    for name, value in given.items():
        if name not in fields:
            known = f"known: {', '.join(fields)}" if fields else "it has none"
            raise JoulebitError(f"meter {kind}: unknown option {name!r}{did_you_mean(name, fields)}; {known}")
        parsed = _convert(value, hints[name], f"meter {kind}: {name}")
        _check(parsed, fields[name].metadata, f"meter {kind}: {name}")
        values[name] = parsed
    return options(**values)


def as_settings(options: Any) -> dict[str, Any]:
    """The options as plain JSON values."""
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in dataclasses.asdict(options).items()
    }


def _convert(value: Any, wanted: Any, where: str) -> Any:
    """The value as the type `wanted`: str, bool, int, float, tuple[str, ...], tuple[int, ...], or one
    with None.
    """
    origin = typing.get_origin(wanted)
    if origin in (typing.Union, types.UnionType):
        if value is None or value == "":
            return None
        return _convert(value, next(a for a in typing.get_args(wanted) if a is not type(None)), where)
    if origin is tuple:
        item = typing.get_args(wanted)[0]
        if not isinstance(value, str | list | tuple):
            raise JoulebitError(f"{where} must be a list, got {value!r}")
        parts = [p for p in value.replace("+", ",").split(",") if p] if isinstance(value, str) else value
        return tuple(_convert(part, item, where) for part in parts)
    if wanted is str and isinstance(value, str):
        return value
    if wanted is bool:
        if isinstance(value, bool):
            return value
        texts = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
        if isinstance(value, str) and value.lower() in texts:
            return texts[value.lower()]
    if wanted is int and not isinstance(value, bool):
        try:
            return int(value, 0) if isinstance(value, str) else _whole(value)
        except (TypeError, ValueError):
            pass
    if wanted is float and not isinstance(value, bool):
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if math.isfinite(number):
            return number
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
    raise JoulebitError(f"{where} must be {names[wanted]}, got {value!r}")


def _whole(value: Any) -> int:
    if value != int(value):
        raise ValueError
    return int(value)


def _check(value: Any, meta: Mapping[str, Any], where: str) -> None:
    choices, low, high = meta.get("choices"), meta.get("low"), meta.get("high")
    for item in value if isinstance(value, tuple) else (value,):
        if item is None:
            continue
        if choices and item not in choices:
            hint = did_you_mean(str(item), map(str, choices))
            raise JoulebitError(f"{where} must be one of {', '.join(map(str, choices))}{hint}, got {item!r}")
        if (low is not None and item < low) or (high is not None and item > high):
            limits = f"at least {low:g}" if high is None else f"at most {high:g}" if low is None else ""
            raise JoulebitError(f"{where} must be {limits or f'in [{low:g}, {high:g}]'}, got {item:g}")
