"""What a value of a configuration must be, and the error when it is something else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import Attribute

from joulebit.errors import JoulebitError

Validator = Callable[[Any, "Attribute[Any]", Any], None]


class ConfigError(JoulebitError, ValueError):
    """A configuration cannot be used. One line: the key, its section, what came, what was allowed."""


def one_of(*allowed: str) -> Validator:
    def check(_: Any, attribute: Attribute[Any], value: str) -> None:
        if value not in allowed:
            raise ConfigError(f"{attribute.name} must be one of {', '.join(allowed)}, got {value!r}")

    return check


def at_least(low: int | float) -> Validator:
    def check(_: Any, attribute: Attribute[Any], value: float) -> None:
        if not value >= low:
            raise ConfigError(f"{attribute.name} must be at least {low}, got {value}")

    return check


def between(low: float, high: float, brackets: str = "[]") -> Validator:
    """low..high; a round bracket leaves its end out."""

    def check(_: Any, attribute: Attribute[Any], value: float) -> None:
        above = value > low if brackets[0] == "(" else value >= low
        below = value < high if brackets[1] == ")" else value <= high
        if not (above and below):
            interval = f"{brackets[0]}{low}, {high}{brackets[1]}"
            raise ConfigError(f"{attribute.name} must be in {interval}, got {value}")

    return check


def not_empty(_: Any, attribute: Attribute[Any], value: str) -> None:
    if not value.strip():
        raise ConfigError(f"{attribute.name} must not be empty")


def rising_shares(_: Any, attribute: Attribute[Any], value: tuple[float, ...]) -> None:
    if not all(0 < share < 1 for share in value) or list(value) != sorted(set(value)):
        raise ConfigError(f"{attribute.name} must be rising numbers in (0, 1), got {list(value)}")
