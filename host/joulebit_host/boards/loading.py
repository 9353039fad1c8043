"""What every board with pynq does before and after `pynq.Overlay`: the right files, the accelerator's window."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from joulebit.spec.accelerator import specification_hash
from joulebit_host import bitstreams
from joulebit_host.boards.base import Bitstream, BoardError

__all__ = ["core_window", "fitting", "xadc_temperature_c"]

_XADC = "/sys/bus/iio/devices/iio:device0/in_temp0_"


def fitting(bitstream: Bitstream, virtual: bool) -> Bitstream:
    """The bitstream with its files: itself, or the one of its configuration in `bitstreams/` where it has none.

    BoardError for one of another specification, JoulebitError where none is found (it says what to build).
    """
    if bitstream.bit is None:
        bitstream = bitstreams.find(bitstream.config, virtual=virtual)
    if bitstream.specification_hash != specification_hash():
        raise BoardError(
            f"bitstream {bitstream.name} was built from specification {bitstream.specification_hash[:8]}, "
            f"this driver needs {specification_hash()[:8]}: build it again, or install its package"
        )
    return bitstream


def core_window(overlay: Any, bitstream: Bitstream) -> tuple[int, int]:
    """(physical address, bytes) of the accelerator's registers in a pynq overlay."""
    core = overlay.ip_dict.get(bitstream.core)
    if core is None:
        raise BoardError(
            f"bitstream {bitstream.name} has no {bitstream.core!r}, only {', '.join(overlay.ip_dict)}: "
            "its .hwh does not belong to it"
        )
    return int(core["phys_addr"]), int(core["addr_range"])


def xadc_temperature_c(read: Callable[[str], str | None]) -> float | None:
    """The die's temperature by the XADC's driver (Linux, iio: (raw + offset) * scale / 1000).

    Args:
        read: the text of a file on the board, None where there is none.
    """
    values = []
    for part in ("raw", "offset", "scale"):
        text = read(_XADC + part)
        if text is None:
            return None
        values.append(float(text))
    raw, offset, scale = values
    return (raw + offset) * scale / 1000
