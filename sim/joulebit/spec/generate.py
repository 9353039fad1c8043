"""Writes `hw/rtl/jb_pkg.sv`: every number that the RTL shares with Python.

    python -m joulebit.spec.generate            # writes hw/rtl/jb_pkg.sv of this checkout
    python -m joulebit.spec.generate --check    # fails when that file is out of date

The numbers are those of `accelerator.py`, and the table of `candidates.py`.

The package is plain localparams, since that is what Verilator, Yosys and Vivado all accept. A module that depends
on the size of the array takes `parameter int Config` and reads its sizes by
`jb_pkg::CONFIG_OUT_LANES[32*Config +: 32]`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from dataclasses import fields
from enum import IntEnum
from pathlib import Path

from joulebit.spec import accelerator as spec
from joulebit.spec.candidates import HOMES, NO_CANDIDATE, candidates, candidates_at

__all__ = ["PACKAGE_PATH", "package"]

#: The generated file in a checkout; an installed package has none.
PACKAGE_PATH = Path(__file__).resolve().parents[3] / "hw" / "rtl" / "jb_pkg.sv"

_SCALARS = (
    ("ACTIVATION_BITS", "x"),
    ("WEIGHT_BITS", "w"),
    ("GRADIENT_BITS", "dz and results"),
    ("ACTIVATION_MSB_BITS", "x in the predictor"),
    ("GRADIENT_MSB_BITS", "dz in the predictor"),
    ("ACCUMULATOR_BITS", "sums of a convolution"),
    ("WORD_BYTES", "one beat of a port, one word of a bank"),
    ("ACTIVATIONS_PER_WORD", ""),
    ("GRADIENTS_PER_WORD", ""),
    ("BANK_ROWS", "bank of a pixel: row mod BANK_ROWS,"),
    ("BANK_COLUMNS", "(column + word) mod BANK_COLUMNS"),
    ("BURST_BEATS", "AXI3"),
    ("BOUNDARY_BYTES", "that no burst crosses"),
    ("DESCRIPTOR_BYTES", ""),
    ("RESULT_BYTES", ""),
    ("REGISTER_BYTES", "of the AXI4-Lite window"),
)


def _line(kind: str, name: str, value: str, comment: str = "") -> str:
    text = f"  localparam {kind} {name} = {value};"
    return f"{text}  // {comment}" if comment else text


def _enum(prefix: str, kind: type[IntEnum], how: str = "int") -> Iterable[str]:
    for member in kind:
        value = f"8'h{member.value:02X}" if how == "logic [7:0]" else str(member.value)
        yield _line(how, f"{prefix}_{member.name}", value)


def _fields(prefix: str, table: tuple[spec.Field, ...]) -> Iterable[str]:
    for field in table:
        yield _line("int", f"{prefix}{field.name.upper()}_LSB", str(field.offset), field.meaning)
        yield _line("int", f"{prefix}{field.name.upper()}_BITS", str(field.bits))


def _configs() -> Iterable[str]:
    configs = list(spec.CONFIGS.values())
    for number, config in enumerate(configs):
        yield _line("int", f"CONFIG_{config.name.upper()}", str(number))
    yield _line("int", "CONFIG_COUNT", str(len(configs)))
    for field in fields(spec.ArrayConfig):
        if field.name == "name":
            continue
        values = ", ".join(f"32'd{getattr(config, field.name)}" for config in reversed(configs))
        yield _line(f"logic [{32 * len(configs) - 1}:0]", f"CONFIG_{field.name.upper()}", f"{{{values}}}")


def _rows(name: str, bits: int, table: Iterable[Iterable[int]]) -> Iterable[str]:
    """A table as one vector, the first row and each row's first value lowest."""
    rows = [", ".join(f"{bits}'d{value}" for value in reversed(list(row))) for row in table]
    total = sum(bits * (row.count(",") + 1) for row in rows)
    yield f"  localparam logic [{total - 1}:0] {name} = {{"
    for i, row in reversed(list(enumerate(rows))):
        yield f"    {row}{',' if i else ''}"
    yield "  };"


def _candidates() -> Iterable[str]:
    yield "  // Candidate k of multiplier i, as 8 * position + channel: CANDIDATE_VALUE[7*(8*i+k) +: 7]"
    yield _line("int", "CANDIDATE_HOMES", str(HOMES), "candidates 0.. are home")
    yield from _rows("CANDIDATE_VALUE", 7, candidates())
    yield f"  // Its candidate at position p, {NO_CANDIDATE} where it has none: CANDIDATE_AT[4*(9*i+p) +: 4]"
    yield from _rows("CANDIDATE_AT", 4, candidates_at())


def package() -> str:
    """The text of jb_pkg.sv."""
    sections: list[tuple[str, Iterable[str]]] = [
        (
            "Versions",
            (
                _line("logic [7:0]", "VERSION", f"8'd{spec.VERSION}"),
                _line("logic [31:0]", "SPEC_HASH", f"32'h{spec.specification_hash()[:8]}"),
                _line("logic [31:0]", "ID_VALUE", f"32'h{spec.ID_VALUE:08X}", '"JOUL"'),
                _line("logic [15:0]", "MAGIC", f"16'h{spec.MAGIC:04X}", '"JB"'),
            ),
        ),
        ("Widths and sizes", (_line("int", name, str(getattr(spec, name)), text) for name, text in _SCALARS)),
        ("Named configurations: CONFIG_SIZE[32*Config +: 32]", _configs()),
        ("Operations", _enum("OP", spec.Operation, "logic [7:0]")),
        ("Bits of a descriptor's flags", _enum("FLAG", spec.Flag)),
        ("Bits of the error register and of a result's error", _enum("ERR", spec.ErrorBit)),
        ("Byte offsets of the registers", _enum("REG", spec.Register, "logic [7:0]")),
        ("Fields of a descriptor", _fields("", spec.DESCRIPTOR)),
        ("Fields of a result block", _fields("RESULT_", spec.RESULT)),
        ("Candidates of the weight gradient's multipliers", _candidates()),
    ]
    lines = [
        "// Written by `python -m joulebit.spec.generate`: change sim/joulebit/spec/accelerator.py.",
        "`default_nettype none",
        "",
        "/* verilator lint_off UNUSEDPARAM */  // no module uses every number of the specification",
        "package jb_pkg;",
    ]
    for title, section in sections:
        lines += [f"  // {title}", *section, ""]
    lines[-1] = "endpackage"
    lines += ["/* verilator lint_on UNUSEDPARAM */", "", "`default_nettype wire", ""]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Writes the package, or with --check compares it; 0 when all is well."""
    parser = argparse.ArgumentParser(
        prog="python -m joulebit.spec.generate", description="Write the RTL package of the specification."
    )
    parser.add_argument("--check", action="store_true", help="compare only")
    parser.add_argument("--output", type=Path, default=PACKAGE_PATH)
    options = parser.parse_args(arguments)
    text = package()
    if options.check:
        if not options.output.is_file() or options.output.read_text() != text:
            print(f"{options.output} is out of date: run python -m joulebit.spec.generate", file=sys.stderr)
            return 1
        return 0
    options.output.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
