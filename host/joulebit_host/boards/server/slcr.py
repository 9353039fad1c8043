"""The system-level control registers (SLCR) that pynq reads and writes for the fabric's clocks.

Offsets and fields: Zynq-7000 TRM (UG585), appendix B.28. Values are those of a ZedBoard after its boot loader.
"""

from __future__ import annotations

from joulebit_host.bitstreams import zedboard
from joulebit_host.boards.server.limits import Refused

__all__ = ["BASE", "BYTES", "Slcr"]

BASE = 0xF800_0000
BYTES = 0x200

_ARM_PLL_CTRL, _DDR_PLL_CTRL, _IO_PLL_CTRL, _ARM_CLK_CTRL = 0x100, 0x104, 0x108, 0x120
_FPGA_CLK_CTRL = (0x170, 0x180, 0x190, 0x1A0)
_WRITABLE_BITS = 0x03F0_3F30  #: DIVISOR1, DIVISOR0, SRCSEL


def _clock_control(divisors: tuple[int, int]) -> int:
    return divisors[1] << 20 | divisors[0] << 8


class Slcr:
    """Registers 0..0x1FF; what no one has a use for reads as zero."""

    def __init__(self) -> None:
        self._values = {
            _ARM_PLL_CTRL: 40 << 12,
            _DDR_PLL_CTRL: 32 << 12,
            _IO_PLL_CTRL: zedboard.PS_MULTIPLIER << 12,
            _ARM_CLK_CTRL: 0x1F00_0200,
        }
        self._values |= {offset: _clock_control(zedboard.fclk0_divisors()) for offset in _FPGA_CLK_CTRL}

    def read(self, offset: int) -> int:
        """A 32-bit register."""
        return self._values.get(offset, 0)

    def write(self, offset: int, value: int) -> None:
        """Writes a clock's control; Refused for anything else, since it would stop a real board."""
        if offset not in _FPGA_CLK_CTRL:
            raise Refused(
                "PERMISSION_DENIED",
                f"SLCR register 0x{offset:03X} is locked: only FPGA0..3_CLK_CTRL may be written",
            )
        self._values[offset] = value & _WRITABLE_BITS

    def fclk_hz(self, clock: int) -> float:
        """The frequency of FCLK0..3 on the ZedBoard; 0 where a divider is 0."""
        control = self._values[_FPGA_CLK_CTRL[clock]]
        pll = {2: _ARM_PLL_CTRL, 3: _DDR_PLL_CTRL}.get(control >> 4 & 3, _IO_PLL_CTRL)
        source = zedboard.PS_CRYSTAL_HZ * (self._values[pll] >> 12 & 0x7F)
        divisor = (control >> 8 & 0x3F) * (control >> 20 & 0x3F)
        return source / divisor if divisor else 0.0
