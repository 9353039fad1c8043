"""The hardware handoff (.hwh) that pynq reads beside a bitstream, made from the specification.

It tells pynq where the accelerator's registers lie, what they are called, and which clocks the fabric gets. It has
what the parsers of pynq 3.0, 3.1 and 4.0 need (`pynqmetadata.frontends.hwh_frontend`, `pynq.pl_server.hwh_parser`)
and nothing that they ignore. Vivado writes one of its own; `add_remote_clocks` completes that for pynq's remote
client.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from xml.sax.saxutils import quoteattr

from joulebit.errors import JoulebitError
from joulebit.spec.accelerator import CONFIGS, VERSION, Register, specification_hash
from joulebit_host.bitstreams import zedboard

__all__ = ["add_remote_clocks", "handoff"]

_CLOCKS = 4  #: FCLK0 .. FCLK3
_COUNTERS_FROM = Register.CYCLES_TOTAL
#: name: (access, description, {field: (first bit, bits, description)})
_Fields = Mapping[str, tuple[int, int, str]]
_REGISTERS: dict[Register, tuple[str, str, _Fields]] = {
    Register.ID: ("read-only", "0x4A4F554C, JOUL", {}),
    Register.VERSION: (
        "read-only",
        "of registers and descriptors; configuration",
        {
            "CONFIGURATION": (0, 16, "number of the configuration"),
            "VERSION": (16, 16, "of registers and descriptors"),
        },
    ),
    Register.SPEC_HASH: ("read-only", "first 32 bits of the specification's hash", {}),
    Register.CAPS: (
        "read-only",
        "size of the array",
        {
            "COLUMNS": (0, 8, "operand columns"),
            "IN_LANES": (8, 8, "input lanes"),
            "OUT_LANES": (16, 8, "output lanes"),
        },
    ),
    Register.CTRL: (
        "read-write",
        "control",
        {
            "START": (0, 1, "starts the descriptor list"),
            "RESET": (1, 1, "soft reset after the bus is quiet"),
            "INTERRUPT_ENABLE": (2, 1, "lets the interrupt out"),
        },
    ),
    Register.STATUS: (
        "read-write",
        "state; writing 1 clears done, error and interrupt",
        {
            "BUSY": (0, 1, "a list is under way"),
            "DONE": (1, 1, "the list is done"),
            "ERROR": (2, 1, "a descriptor failed"),
            "INTERRUPT": (3, 1, "a descriptor with the flag IRQ is done"),
        },
    ),
    Register.ERROR: ("read-only", "error bits of the first descriptor that failed", {}),
    Register.ERROR_INDEX: ("read-only", "its index", {}),
    Register.DESC_ADDRESS: ("read-write", "physical address of the descriptor list", {}),
    Register.DESC_COUNT: ("read-write", "descriptors in the list, 1 to 65535", {}),
    Register.DESC_DONE: ("read-only", "descriptors completed", {}),
    Register.CLOCK_HZ: ("read-only", "clock of the fabric in Hz, as built", {}),
    Register.SNAPSHOT: (
        "write-only",
        "writing copies all counters",
        {"CLEAR": (0, 1, "also clears them")},
    ),
    Register.SCRATCH: ("read-write", "keeps what is written", {}),
}


def _registers() -> Iterator[tuple[str, int, str, str, _Fields]]:
    """(name, offset, access, description, fields) of every 32-bit register; counters as NAME_LO and NAME_HI."""
    for register in Register:
        if register >= _COUNTERS_FROM:
            for half, offset in (("LO", 0), ("HI", 4)):
                text = f"counter, {'lower' if half == 'LO' else 'upper'} 32 bits, as of the last SNAPSHOT"
                yield f"{register.name}_{half}", register + offset, "read-only", text, {}
        else:
            access, text, fields = _REGISTERS[register]
            yield register.name, int(register), access, text, fields


def _properties(indent: int, **values: object) -> list[str]:
    return [f"{' ' * indent}<PROPERTY NAME={quoteattr(k)} VALUE={quoteattr(str(v))}/>" for k, v in values.items()]


def _register_lines() -> list[str]:
    lines = []
    for name, offset, access, text, fields in _registers():
        lines.append(f'            <REGISTER NAME="{name}">')
        lines += _properties(
            14, DESCRIPTION=text, ADDRESS_OFFSET=offset, SIZE=32, ACCESS=access, IS_ENABLED="true", RESET_VALUE=0
        )
        if fields:
            lines.append("              <FIELDS>")
            for field, (first, bits, meaning) in fields.items():
                lines.append(f'                <FIELD NAME="{field}">')
                lines += _properties(18, DESCRIPTION=meaning, BIT_OFFSET=first, BIT_WIDTH=bits, ACCESS=access)
                lines.append("                </FIELD>")
            lines.append("              </FIELDS>")
        lines.append("            </REGISTER>")
    return lines


def _remote_clocks() -> dict[str, object]:
    """What pynq 4's remote client asks of any processing system: without it, it cannot load a Zynq-7000 overlay.

    Its `Overlay.download` sets every enabled clock to the "frequency" that its parser finds under the name of an
    UltraScale+ parameter, and fails where there is none. The number is in pynq's megahertz
    (`zedboard.pynq_clock_mhz`).
    """
    return {"PSU__CRL_APB__PL0_REF_CTRL__ACT_FREQMHZ": zedboard.pynq_clock_mhz()}


def _ps_parameters() -> dict[str, object]:
    values: dict[str, object] = {
        "PCW_CRYSTAL_PERIPHERAL_FREQMHZ": f"{zedboard.PS_CRYSTAL_HZ / 1e6:.6f}",
        "PCW_FPGA0_PERIPHERAL_FREQMHZ": f"{zedboard.CLOCK_HZ / 1e6:g}",
        "PCW_S_AXI_HP0_DATA_WIDTH": 64,
        "PCW_S_AXI_HP1_DATA_WIDTH": 64,
    }
    for clock in range(_CLOCKS):
        first, second = zedboard.fclk0_divisors() if clock == 0 else (1, 1)
        values |= {
            f"PCW_FPGA_FCLK{clock}_ENABLE": int(clock == 0),
            f"PCW_FCLK{clock}_PERIPHERAL_CLKSRC": "IO PLL",
            f"PCW_FCLK{clock}_PERIPHERAL_DIVISOR0": first,
            f"PCW_FCLK{clock}_PERIPHERAL_DIVISOR1": second,
        }
    return values | _remote_clocks()


def _parameter_lines(values: Mapping[str, object]) -> list[str]:
    return [
        f"        <PARAMETER NAME={quoteattr(name)} VALUE={quoteattr(str(value))}/>"
        for name, value in values.items()
    ]


def handoff(config: str) -> str:
    """The .hwh of the ZedBoard's design with this configuration of the accelerator."""
    first, last = zedboard.REGISTER_BASE, zedboard.REGISTER_BASE + zedboard.REGISTER_BYTES - 1
    core = {
        "Config": list(CONFIGS).index(config),
        "ClockHz": zedboard.CLOCK_HZ,
        "ConfigurationName": config,
        "SpecificationHash": specification_hash(),
        "C_S_AXI_BASEADDR": f"0x{first:08X}",
        "C_S_AXI_HIGHADDR": f"0x{last:08X}",
    }
    device, package = re.fullmatch(r"xc(7z\d+)(\w+)-\d", zedboard.PART).groups()  # type: ignore[union-attr]
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        '<EDKSYSTEM EDWVERSION="1.2">',
        f'  <SYSTEMINFO ARCH="zynq" DEVICE="{device}" NAME="{zedboard.DESIGN}" PACKAGE="{package}" '
        'SPEEDGRADE="-1"/>',
        "  <EXTERNALPORTS/>",
        "  <EXTERNALINTERFACES/>",
        "  <MODULES>",
        '    <MODULE FULLNAME="/ps7" HWVERSION="5.5" INSTANCE="ps7" IPTYPE="PERIPHERAL" IS_ENABLE="1" '
        'IS_PL="FALSE" MODCLASS="PERIPHERAL" MODTYPE="processing_system7" '
        'VLNV="xilinx.com:ip:processing_system7:5.5">',
        "      <PARAMETERS>",
        *_parameter_lines(_ps_parameters()),
        "      </PARAMETERS>",
        "      <PORTS/>",
        "      <BUSINTERFACES>",
        '        <BUSINTERFACE BUSNAME="ps7_M_AXI_GP0" DATAWIDTH="32" NAME="M_AXI_GP0" TYPE="MASTER" '
        'VLNV="xilinx.com:interface:aximm:1.0"/>',
        "      </BUSINTERFACES>",
        "      <MEMORYMAP>",
        f'        <MEMRANGE ADDRESSBLOCK="reg0" BASENAME="C_BASEADDR" BASEVALUE="0x{first:08X}" '
        f'HIGHNAME="C_HIGHADDR" HIGHVALUE="0x{last:08X}" INSTANCE="{zedboard.CORE}" IS_DATA="TRUE" '
        'IS_INSTRUCTION="TRUE" MASTERBUSINTERFACE="M_AXI_GP0" MEMTYPE="REGISTER" SLAVEBUSINTERFACE="s_axi"/>',
        "      </MEMORYMAP>",
        "    </MODULE>",
        f'    <MODULE FULLNAME="/{zedboard.CORE}" HWVERSION="{VERSION}.0" INSTANCE="{zedboard.CORE}" '
        'IPTYPE="PERIPHERAL" IS_ENABLE="1" IS_PL="TRUE" MODCLASS="PERIPHERAL" MODTYPE="jb_accelerator" '
        f'VLNV="xilinx.com:module_ref:jb_accelerator:{VERSION}.0">',
        "      <ADDRESSBLOCKS>",
        '        <ADDRESSBLOCK ACCESS="read-write" INTERFACE="s_axi" NAME="reg0" '
        f'RANGE="{zedboard.REGISTER_BYTES}" USAGE="register">',
        "          <REGISTERS>",
        *_register_lines(),
        "          </REGISTERS>",
        "        </ADDRESSBLOCK>",
        "      </ADDRESSBLOCKS>",
        "      <PARAMETERS>",
        *_parameter_lines(core),
        "      </PARAMETERS>",
        "      <PORTS/>",
        "      <BUSINTERFACES>",
        '        <BUSINTERFACE BUSNAME="ps7_M_AXI_GP0" DATAWIDTH="32" NAME="s_axi" TYPE="SLAVE" '
        'VLNV="xilinx.com:interface:aximm:1.0"/>',
        "      </BUSINTERFACES>",
        "    </MODULE>",
        "  </MODULES>",
        "</EDKSYSTEM>",
    ]
    return "\n".join(lines) + "\n"


def add_remote_clocks(text: str) -> str:
    """A .hwh of Vivado's with the parameters that pynq 4's remote client needs (`_remote_clocks`) put in."""
    lines = "\n".join(_parameter_lines({k: v for k, v in _remote_clocks().items() if f'"{k}"' not in text}))
    if not lines:
        return text
    module = re.search(r'<MODULE\b[^>]*MODTYPE="processing_system7"[^>]*>.*?<PARAMETERS>\n?', text, re.DOTALL)
    if module is None:
        raise JoulebitError("the .hwh has no processing_system7 with parameters: was it written for a Zynq-7000?")
    return f"{text[: module.end()]}{lines}\n{text[module.end() :]}"
