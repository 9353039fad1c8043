"""The ZedBoard's address map and clocks, those of both flows to a bitstream (`hw/synth/zedboard/zedboard.json`).

The numbers stand here as well since a board has no `hw/`; a test compares them with that file.
"""

from __future__ import annotations

BOARD = "ZedBoard"
PART = "xc7z020clg484-1"
DESIGN = "joulebit_zedboard"  #: name of the block design
CORE = "accelerator"  #: the accelerator's instance in it, as pynq lists it
REGISTER_BASE = 0x43C00000  #: physical address of register 0
REGISTER_BYTES = 4096
CLOCK_HZ = 100_000_000  #: of FCLK0, which clocks the whole fabric
PS_CRYSTAL_HZ = 33_333_333

PS_MULTIPLIER = 30  #: IO PLL, in all images of the board: 1 GHz
PYNQ_CRYSTAL_HZ = 50_000_000  #: what pynq takes every Zynq-7000's crystal for: it reads back 1.5 times the clock


def fclk0_divisors() -> tuple[int, int]:
    """The two dividers from the IO PLL to FCLK0; each is 1..63 (UG585, FPGA0_CLK_CTRL)."""
    product = round(PS_CRYSTAL_HZ * PS_MULTIPLIER / CLOCK_HZ)
    first = next(value for value in range(round(product**0.5), 64) if product % value == 0)
    return max(first, product // first), min(first, product // first)


def pynq_clock_mhz() -> float:
    """FCLK0 in pynq's megahertz: what must be asked of pynq so that the clock runs at CLOCK_HZ."""
    return round(CLOCK_HZ * PYNQ_CRYSTAL_HZ / PS_CRYSTAL_HZ / 1e6, 3)
