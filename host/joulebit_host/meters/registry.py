"""All kinds of meters by name: opening them, decoding what they sent, finding them.

A specification is `KIND:ADDRESS?OPTION=VALUE&OPTION=VALUE`, such as

    ina226:/dev/ttyUSB0?shunt_ohm=0.01&interval_s=0.02
    wt300:usb:067B:2303
    rapl

or a table `{"kind": "ina226", "address": "/dev/ttyUSB0", "shunt_ohm": 0.01}`, as from TOML.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from joulebit.errors import JoulebitError, did_you_mean
from joulebit_host.meters.base import Accuracy, Decoder, Meter, Reading
from joulebit_host.meters.kind import Kind, Options
from joulebit_host.meters.options import parse_options

_PACKAGE = "joulebit_host.meters.kinds"
_KINDS = {
    "ina226": ("ina226", "KIND"),
    "ina219": ("ina226", "INA219"),
    "wt300": ("wt300", "KIND"),
    "scpi": ("scpi", "KIND"),
    "ruideng": ("ruideng", "KIND"),
    "pzem": ("pzem", "KIND"),
    "wattsup": ("wattsup", "KIND"),
    "joulescope": ("joulescope", "KIND"),
    "rapl": ("rapl", "KIND"),
    "nvml": ("nvml", "KIND"),
    "jetson": ("jetson", "KIND"),
    "tegrastats": ("tegrastats", "KIND"),
    "hwmon": ("hwmon", "KIND"),
    "replay": ("replay", "KIND"),
}


@dataclass(frozen=True)
class Found:
    """A meter, or a port where one may be.

    Attributes:
        spec: what `open_meter` takes; with `KIND` in place of the kind where only the user knows it.
        title: what it is.
        usable: whether it can be read now.
        hint: what is missing, if it is not.
    """

    spec: str
    title: str
    usable: bool = True
    hint: str = ""


def kind_names() -> tuple[str, ...]:
    """All kinds."""
    return tuple(_KINDS)


def kind(name: str) -> Kind:
    """The kind of this name; JoulebitError for an unknown one."""
    if name not in _KINDS:
        known = ", ".join(_KINDS)
        raise JoulebitError(f"unknown meter {name!r}{did_you_mean(name, _KINDS)}; known: {known}")
    module, attribute = _KINDS[name]
    found = getattr(importlib.import_module(f"{_PACKAGE}.{module}"), attribute)
    assert isinstance(found, Kind)
    return found


def parse_spec(spec: str | Mapping[str, Any]) -> tuple[Kind, str, Any]:
    """(kind, address, options) of a specification; JoulebitError says what is wrong with it."""
    if isinstance(spec, str):
        head, _, query = spec.partition("?")
        name, _, address = head.partition(":")
        given: dict[str, Any] = {}
        for item in filter(None, query.split("&")):
            if "=" not in item:
                raise JoulebitError(f"meter {name}: options are written NAME=VALUE, got {item!r}")
            given.update(parse_qsl(item.replace("+", "%2B"), keep_blank_values=True))
    else:
        given = dict(spec)
        name, address = given.pop("kind", ""), given.pop("address", "")
        if not isinstance(name, str) or not isinstance(address, str) or not name:
            raise JoulebitError(f"a meter needs a kind and an address, both texts, got {dict(spec)!r}")
    found = kind(name)
    if address and not found.address:
        raise JoulebitError(f"meter {name} has no address, got {address!r}")
    return found, address, parse_options(found.options, given, name)


def open_meter(spec: str | Mapping[str, Any]) -> Meter:
    """The meter of a specification, open and identified, not yet sampling. Raises JoulebitError."""
    found, address, options = parse_spec(spec)
    return found.open(address, options)


def options_for(name: str, settings: Mapping[str, Any]) -> Options:
    """The options that a recording's settings stand for: they know reading, accuracy and interval."""
    options: Options = parse_options(kind(name).options, settings, name)
    return options


def decoder_for(name: str, settings: Mapping[str, Any]) -> Decoder:
    """A new decoder for what a meter of this kind with these settings (`Meter.settings`) sends."""
    return kind(name).decoder(options_for(name, settings))


def describe(name: str, settings: Mapping[str, Any]) -> tuple[Reading, Accuracy, float]:
    """(what power values stand for, error limits, nominal interval in seconds) of a meter with these settings."""
    options = options_for(name, settings)
    return options.reading(), options.accuracy(), options.interval()


def list_meters() -> list[Found]:
    """Every meter and serial port of this machine. Never raises: what cannot be looked at is left out."""
    from joulebit_host.meters.transports.serial_port import serial_ports

    found = []
    for port in serial_ports():
        usb = f" {port.vid:04X}:{port.pid:04X} {port.serial_number or ''}".rstrip() if port.vid is not None else ""
        found.append(Found(f"KIND:{port.device}", f"serial port: {port.description}{usb}"))
    for module in ("rapl", "hwmon", "jetson", "nvml", "joulescope", "tegrastats"):
        try:
            found += [Found(*entry) for entry in importlib.import_module(f"{_PACKAGE}.{module}").find()]
        except Exception:
            continue
    return found
