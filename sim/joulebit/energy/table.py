"""What a multiply-accumulate, an operation, a byte and a second cost: energy tables.

A table is a TOML file. Two come with the package (`joulebit/energy/tables`): 45nm, the published constants that
E2-Train argues with, and xc7z020, a first estimate for its board. Another is named by its path.

    name, title, source            text
    [mac]      multiply, add       two anchors each; a power law through them gives every other width
               accumulate_bits     width of the addition
               default_pj          instead of multiply: for every product that is not listed
               shift               two anchors, as add; without it a shift costs what a multiplication costs
    [mac.pj]   <kind>              multiply-accumulates in pJ that follow no law, such as fp32 or 8x8
    [op.pj]    int16, int32, fp32  element-wise operations in pJ
    [memory]   sram_pj_per_byte, dram_pj_per_byte
    [static]   power_w             drawn as long as the array computes
    [throughput] clock_hz, macs_per_cycle, by_kind.<kind>

All keys are required except shift and default_pj or (multiply, add, accumulate_bits), of which a table has one or
the other; beside default_pj, add and accumulate_bits are allowed. What a kind costs that is not listed:

    AxB          a multiplication of A by B bits and an addition of accumulate_bits; with A or B of 1 or 2 bits
                 (signs; signs and 0) nothing is multiplied, and the addition is all
    addAxB       an adder layer: a subtraction of max(A, B) + 1 bits and the addition
    diffAxBxC    its gradient: such a subtraction, then a product of its result and C bits
    shiftAxB     a number of A bits shifted by a weight of B bits, at the law's price for A bits, and the addition

(An unsigned operand of 2 bits, 0 to 3, needs up to two additions and is counted as one.) Where a table has
default_pj and no add, an addition costs as much as a product.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from joulebit.errors import JoulebitError, did_you_mean

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

OPERATIONS = ("int16", "int32", "fp32")
_KIND = re.compile(r"(add|shift|diff)?([1-9]\d*)x([1-9]\d*)(?:x([1-9]\d*))?")
_SIGN_BITS = 2  # operands up to this width are signs, perhaps with 0


class EnergyTableError(JoulebitError, ValueError):
    """An energy table cannot be used: what came, what was allowed."""


@dataclass(frozen=True)
class PowerLaw:
    """energy = first_pj * (size / first)^exponent, through two measured points."""

    first: float
    first_pj: float
    exponent: float

    @classmethod
    def through(cls, first: float, first_pj: float, second: float, second_pj: float) -> PowerLaw:
        """The law through (first, first_pj) and (second, second_pj)."""
        if min(first, first_pj, second, second_pj) <= 0 or first == second:
            raise EnergyTableError(f"a power law needs two different points above 0, got {first} and {second}")
        return cls(first, first_pj, math.log(second_pj / first_pj) / math.log(second / first))

    def __call__(self, size: float) -> float:
        return self.first_pj * math.pow(size / self.first, self.exponent)


@dataclass(frozen=True)
class EnergyTable:
    """Energies of one technology. Units are in the names; energies are of one operation or one byte."""

    name: str
    title: str
    source: str
    mac_by_kind_pj: Mapping[str, float]
    op_by_kind_pj: Mapping[str, float]
    sram_pj_per_byte: float
    dram_pj_per_byte: float
    static_power_w: float
    clock_hz: float
    macs_per_cycle: float
    macs_per_cycle_by_kind: Mapping[str, float]
    multiply: PowerLaw | None = None  #: pJ of a multiplication by the product of its operands' widths
    add: PowerLaw | None = None  #: pJ of an addition by its width
    shift: PowerLaw | None = None  #: pJ of a shift by the width of what is shifted
    accumulate_bits: int = 32
    mac_default_pj: float | None = None

    def mac_pj(self, kind: str) -> float:
        """pJ of one multiply-accumulate of a kind such as 8x16, add8x8 or fp32; EnergyTableError for others."""
        if kind in self.mac_by_kind_pj:
            return self.mac_by_kind_pj[kind]
        match = _KIND.fullmatch(kind)
        if not match or (match[1] == "diff") != bool(match[4]):
            raise EnergyTableError(
                f"table {self.name} has no energy for a multiply-accumulate of kind {kind!r}: "
                f"known are {', '.join(self.mac_by_kind_pj)} and widths such as 8x16"
            )
        left, right = int(match[2]), int(match[3])
        if match[1] == "add":
            return self._add_pj(max(left, right) + 1) + self._add_pj(self.accumulate_bits)
        if match[1] == "diff":
            return self._add_pj(max(left, right) + 1) + self._product_pj(max(left, right) + 1, int(match[4]))
        if match[1] == "shift" and self.shift:
            return self.shift(left) + self._add_pj(self.accumulate_bits)
        return self._product_pj(left, right)

    def _product_pj(self, left: int, right: int) -> float:
        """A multiplication and the addition of its result, which is all where one operand is a sign."""
        if min(left, right) <= _SIGN_BITS:
            return self._add_pj(self.accumulate_bits)
        if self.multiply is None:
            assert self.mac_default_pj is not None, "a table has laws or a default"
            return self.mac_default_pj
        return self.multiply(left * right) + self._add_pj(self.accumulate_bits)

    def _add_pj(self, bits: int) -> float:
        if self.add is not None:
            return self.add(bits)
        assert self.mac_default_pj is not None, "a table has a law of additions or a default"
        return self.mac_default_pj

    def op_pj(self, kind: str) -> float:
        """pJ of one element-wise operation: int16, int32 or fp32."""
        if kind not in self.op_by_kind_pj:
            raise EnergyTableError(
                f"table {self.name} has no energy for an operation of kind {kind!r}: "
                f"known are {', '.join(self.op_by_kind_pj)}"
            )
        return self.op_by_kind_pj[kind]

    def byte_pj(self, level: str) -> float:
        """pJ of one byte moved over a memory level: sram or dram."""
        if level == "sram":
            return self.sram_pj_per_byte
        if level == "dram":
            return self.dram_pj_per_byte
        raise EnergyTableError(f"memory level must be sram or dram, got {level!r}")

    def macs_per_s(self, kind: str) -> float:
        """Multiply-accumulates per second of the whole array."""
        return self.clock_hz * self.macs_per_cycle_by_kind.get(kind, self.macs_per_cycle)


def table_names() -> list[str]:
    """Names of the tables in the package."""
    return sorted(entry.name[:-5] for entry in _tables().iterdir() if entry.name.endswith(".toml"))


def load_table(name: str) -> EnergyTable:
    """The table called `name`, or the one in the file `name` (a path ending in .toml).

    Raises:
        EnergyTableError: no such table (the nearest known name is given), or a file with missing, unknown or
            impossible entries.
    """
    if name.endswith(".toml"):
        path = Path(name)
        if not path.is_file():
            raise EnergyTableError(f"no energy table at {name}: give the path of a TOML file, or a name of "
                                   f"{', '.join(table_names())}")  # fmt: skip
        text, origin = path.read_text(encoding="utf-8"), name
    else:
        known = table_names()
        if name not in known:
            raise EnergyTableError(
                f"unknown energy table {name!r}{did_you_mean(name, known)}; "
                f"known: {', '.join(known)}, or the path of a .toml file"
            )
        text, origin = (_tables() / f"{name}.toml").read_text(encoding="utf-8"), f"{name}.toml"
    return parse_table(text, origin)


def parse_table(text: str, origin: str) -> EnergyTable:
    """A table from TOML text; `origin` names it in errors."""
    try:
        root = _Section(tomllib.loads(text), origin, "")
    except tomllib.TOMLDecodeError as error:
        raise EnergyTableError(f"{origin} is no TOML: {error}") from None
    mac, memory, static, throughput = (root.section(n) for n in ("mac", "memory", "static", "throughput"))
    laws: dict[str, Any] = {}
    if mac.has("default_pj"):
        laws["mac_default_pj"] = mac.number("default_pj")
    else:
        (a, b, first_pj), (c, d, second_pj) = mac.anchors("multiply", 3)
        laws["multiply"] = PowerLaw.through(a * b, first_pj, c * d, second_pj)
    if mac.has("add") or "multiply" in laws:
        laws["add"] = mac.law("add")
        laws["accumulate_bits"] = int(mac.number("accumulate_bits", positive=True))
    if mac.has("shift"):
        laws["shift"] = mac.law("shift")
    table = EnergyTable(
        name=root.text("name"),
        title=root.text("title"),
        source=root.text("source"),
        mac_by_kind_pj=mac.section("pj").numbers(),
        op_by_kind_pj=_operations(root.section("op")),
        sram_pj_per_byte=memory.number("sram_pj_per_byte"),
        dram_pj_per_byte=memory.number("dram_pj_per_byte"),
        static_power_w=static.number("power_w"),
        clock_hz=throughput.number("clock_hz", positive=True),
        macs_per_cycle=throughput.number("macs_per_cycle", positive=True),
        macs_per_cycle_by_kind=throughput.section("by_kind").numbers(positive=True),
        **laws,
    )
    for section in (mac, memory, static, throughput, root):
        section.finish()
    return table


def _operations(section: _Section) -> dict[str, float]:
    table = section.section("pj")
    found = {kind: table.number(kind) for kind in OPERATIONS}
    table.finish()
    section.finish()
    return found


def _tables() -> Any:
    return files("joulebit.energy") / "tables"


class _Section:
    """One TOML table that knows which of its keys were asked for."""

    def __init__(self, values: Any, origin: str, name: str) -> None:
        if not isinstance(values, dict):
            raise EnergyTableError(f"{origin}: {name} must be a table, got {values!r}")
        self._values = values
        self._origin = origin
        self._name = name
        self._asked: set[str] = set()

    def has(self, key: str) -> bool:
        return key in self._values

    def _get(self, key: str) -> Any:
        self._asked.add(key)
        if key not in self._values:
            raise EnergyTableError(f"{self._where(key)} is missing")
        return self._values[key]

    def _where(self, key: str) -> str:
        return f"{self._origin}: {f'{self._name}.' if self._name else ''}{key}"

    def text(self, key: str) -> str:
        value = self._get(key)
        if not isinstance(value, str) or not value:
            raise EnergyTableError(f"{self._where(key)} must be a text, got {value!r}")
        return value

    def number(self, key: str, positive: bool = False) -> float:
        return self._number(self._get(key), key, positive)

    def _number(self, value: Any, key: str, positive: bool) -> float:
        valid = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        if not valid or value < 0 or (positive and not value):
            low = "above 0" if positive else "of at least 0"
            raise EnergyTableError(f"{self._where(key)} must be a number {low}, got {value!r}")
        return float(value)

    def numbers(self, positive: bool = False) -> dict[str, float]:
        """All keys, which are free names."""
        return {key: self.number(key, positive) for key in self._values}

    def anchors(self, key: str, length: int) -> list[list[float]]:
        """Two rows of `length` numbers."""
        value = self._get(key)
        if not isinstance(value, list) or len(value) != 2 or any(
            not isinstance(row, list) or len(row) != length for row in value
        ):  # fmt: skip
            raise EnergyTableError(f"{self._where(key)} must be two rows of {length} numbers, got {value!r}")
        return [[self._number(entry, key, positive=True) for entry in row] for row in value]

    def law(self, key: str) -> PowerLaw:
        """The power law through two anchors of a width and an energy."""
        (first, first_pj), (second, second_pj) = self.anchors(key, 2)
        return PowerLaw.through(first, first_pj, second, second_pj)

    def section(self, key: str) -> _Section:
        return _Section(self._get(key), self._origin, f"{self._name}.{key}" if self._name else key)

    def finish(self) -> None:
        """EnergyTableError when a key was never asked for."""
        for key in self._values:
            if key not in self._asked:
                hint = did_you_mean(key, self._asked)
                raise EnergyTableError(f"{self._where(key)} is no key of an energy table{hint}")
