"""What the accelerator can report, as exceptions with one line each."""

from __future__ import annotations

from typing import Any

from joulebit.spec.accelerator import ErrorBit, Operation
from joulebit_host.boards.base import BoardError

__all__ = [
    "AcceleratorError",
    "BusFaultError",
    "DescriptorError",
    "HardwareError",
    "IncompatibleError",
    "ResultError",
    "explain",
]


class IncompatibleError(BoardError):
    """What is loaded is not what this version of the driver speaks to."""

    exit_code = 2


class ResultError(BoardError):
    """A result contradicts what was asked for, or the processor's own computation."""


class AcceleratorError(BoardError):
    """The accelerator stopped a list.

    Attributes:
        bits: the ErrorBits that it raised.
        index: of the descriptor.
    """

    def __init__(self, message: str, bits: tuple[ErrorBit, ...], index: int) -> None:
        super().__init__(message)
        self.bits = bits
        self.index = index


class DescriptorError(AcceleratorError):
    """A descriptor was refused before it touched any memory."""


class BusFaultError(AcceleratorError):
    """Memory answered with an error: an address that is not there, or not the accelerator's."""


class HardwareError(AcceleratorError):
    """A state that cannot be reached was reached: the configuration memory or the clock is not sound."""


_MEANING = {
    ErrorBit.MAGIC: "the descriptor does not begin with the magic number: not flushed, or overwritten",
    ErrorBit.VERSION: "the descriptor is of another version than the hardware",
    ErrorBit.CHECK: "the descriptor's check word is wrong: not flushed, or overwritten",
    ErrorBit.OPERATION: "no such operation",
    ErrorBit.FLAGS: "flags that contradict one another or the operation",
    ErrorBit.ROUNDING: "no such rounding mode",
    ErrorBit.SHIFT: "the shift is above 47",
    ErrorBit.IMAGES: "a tile of no images",
    ErrorBit.X_SIZE: "the tile of x is empty or larger than half of its buffer",
    ErrorBit.G_SIZE: "the tile of dz is empty or larger than half of its buffer",
    ErrorBit.KERNEL: "the kernel is not 1x1 to 7x7",
    ErrorBit.STRIDE: "the stride is not 1 or 2",
    ErrorBit.PADDING: "more than 7 rows or columns of padding",
    ErrorBit.LANE_MODE: "this lane mode does not exist, or not for this pass",
    ErrorBit.BLOCKS: "output blocks that the layer does not have, or several in a part of a sum",
    ErrorBit.ALIGNMENT: "an address is not a multiple of 8",
    ErrorBit.STRIDES: "a stride is not a multiple of 8, or too short for a pixel",
    ErrorBit.PSUM_SIZE: "more sums than half of their memory holds",
    ErrorBit.PREDICTOR_SIZE: "more predicted sums than their memory holds",
    ErrorBit.WEIGHT_BYTES: "the packed weights have another length than the layer needs",
    ErrorBit.THRESHOLD: "the predictor's threshold is above 1",
    ErrorBit.RESERVED: "a reserved word is not 0",
    ErrorBit.BUS_READ: "a read was answered by an error",
    ErrorBit.BUS_WRITE: "a write was answered by an error",
    ErrorBit.DESC_COUNT: "a list must have 1 to 65535 descriptors",
    ErrorBit.INTERNAL: "an impossible state: load the bitstream again; should it persist, check timing and clock",
}


def explain(bits: int, index: int, count: int, descriptor: Any | None) -> AcceleratorError:
    """The exception for an error register.

    Args:
        bits: ErrorBit mask.
        index: of the descriptor that failed, of a list of `count`.
        descriptor: that descriptor (an element of DESCRIPTOR_DTYPE), for the message; None if it is not known.
    """
    found = tuple(bit for bit in ErrorBit if bits >> bit & 1)
    known = sum(1 << bit for bit in found)
    parts = [f"{bit.name}: {_MEANING[bit]}" for bit in found]
    if bits & ~known:
        parts.append(f"unknown bits 0x{bits & ~known:X}")
    where = f"descriptor {index} of {count}"
    if descriptor is not None and int(descriptor["operation"]) in list(Operation):
        operation = Operation(int(descriptor["operation"])).name.lower().replace("_", " ")
        addresses = ", ".join(
            f"{name} 0x{int(descriptor[f'{name}_address']):X}" for name in ("x", "g", "w", "mask", "out")
        )
        where += f" ({operation}; {addresses})"
    message = f"the accelerator stopped at {where}: {'; '.join(parts) or 'no error bit is set'}"
    if ErrorBit.INTERNAL in found or bits & ~known or not found:
        return HardwareError(message, found, index)
    if ErrorBit.BUS_READ in found or ErrorBit.BUS_WRITE in found:
        return BusFaultError(message, found, index)
    return DescriptorError(message, found, index)
