"""The accelerator, described once: array, buffers, descriptor, registers, error bits.

Everything here is shared by the RTL (`hw/rtl/jb_pkg.sv` is generated from it: `python -m joulebit.spec.generate`),
the tile planner, the cycle model, the driver and the overlay's metadata. `hw/README.md` explains the design.
The specification's hash covers this file's tables and the numeric specification; the hardware carries it in a
register, and the driver refuses another one.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from enum import IntEnum
from pathlib import Path

VERSION = 1  #: of registers and descriptors
ACTIVATION_BITS = 8
WEIGHT_BITS = 8
GRADIENT_BITS = 16
ACTIVATION_MSB_BITS = 4
GRADIENT_MSB_BITS = 10
ACCUMULATOR_BITS = 48
WORD_BYTES = 8  #: one beat of an AXI port, one word of a buffer bank
ACTIVATIONS_PER_WORD = 8  #: channels of x in a word
GRADIENTS_PER_WORD = 4  #: channels of dz in a word
BANK_ROWS = 4  #: a feature buffer has 4 x 4 banks: row mod 4, (column + word) mod 4
BANK_COLUMNS = 4
BURST_BEATS = 16  #: AXI3
BOUNDARY_BYTES = 4096  #: no burst crosses one


@dataclass(frozen=True)
class ArrayConfig:
    """A named configuration of the accelerator.

    Attributes:
        out_lanes: channels that a pass produces at once; with in_lanes * columns, the multipliers.
        in_lanes, columns: operands summed per cycle: 4 channels x 3 kernel columns, or 12 channels of one tap.
        bank_depth: words per bank of a feature buffer (two halves: one is filled while the other is used).
        psum_depth: words of the partial-sum memory (two halves likewise); a word holds, for each output lane, two
            36-bit sums (forward: two rows) or one 48-bit sum.
        predictor_depth: words of the predicted weight gradient per output lane.
        dw_depth: words of the weight-gradient accumulators per output lane; shares the partial-sum memory.
    """

    name: str
    out_lanes: int
    bank_depth: int
    psum_depth: int
    predictor_depth: int
    in_lanes: int = 4
    columns: int = 3

    @property
    def multipliers(self) -> int:
        """DSP blocks of the array; each does one 8x16 product a cycle, or two 8x8."""
        return self.out_lanes * self.in_lanes * self.columns


CONFIGS = {
    config.name: config
    for config in (
        ArrayConfig("default", out_lanes=16, bank_depth=512, psum_depth=1024, predictor_depth=2304),
        ArrayConfig("open", out_lanes=8, bank_depth=256, psum_depth=512, predictor_depth=1024),
        ArrayConfig("tiny", out_lanes=4, bank_depth=64, psum_depth=128, predictor_depth=256),
    )
}


class Operation(IntEnum):
    """What a descriptor asks for."""

    FORWARD = 0
    INPUT_GRADIENT = 1
    WEIGHT_GRADIENT = 2
    PREDICT = 3  #: the predictor's product alone (beside an input gradient it is a flag)


class Flag(IntEnum):
    """Bit positions in a descriptor's flags."""

    FIRST = 0  #: sums start at zero (forward, input gradient: at the initial sums that head the weights)
    LAST = 1  #: sums are complete: write the result
    X_UNSIGNED = 2  #: x is 0..255 (after a ReLU), else -128..127
    RAW = 3  #: results leave as 64-bit sums, without shift
    RELU = 4  #: forward: result clamped to 0..255 in 8 bits, else to 16 bits signed
    MASK = (
        5  #: input gradient: zero where the mask tensor (8 bits, layout of the result) is 0 or >= mask_below > 0
    )
    PREDICT = 6  #: input gradient: the predictor runs beside it on x and g
    SELECTIVE = 7  #: weight gradient: exact sums for undecided elements only; result is signs
    IRQ = 8  #: raise the interrupt when done
    PREDICT_FIRST = 9  #: with the flag or operation PREDICT: the predictor's sums start at zero
    PREDICT_LAST = 10  #: with the flag or operation PREDICT: its sums are complete, their maximum is taken


@dataclass(frozen=True)
class Field:
    """A field of a descriptor or result block: little-endian, `bits` wide, at a bit offset."""

    name: str
    offset: int  #: in bits from the start of the block
    bits: int
    meaning: str

    @property
    def high(self) -> int:
        return self.offset + self.bits - 1


def _fields(*rows: tuple[str, int, str]) -> tuple[Field, ...]:
    out, offset = [], 0
    for name, bits, meaning in rows:
        out.append(Field(name, offset, bits, meaning))
        offset += bits
    return tuple(out)


DESCRIPTOR_BYTES = 128  #: 16 beats: one burst
MAGIC = 0x4A42  #: "JB"

DESCRIPTOR = _fields(
    ("magic", 16, "MAGIC"),
    ("version", 8, "VERSION"),
    ("operation", 8, "Operation"),
    ("flags", 16, "Flag bits"),
    ("rounding", 8, "0 half up, 1 half even, 2 half away, 3 toward zero, 4 floor"),
    ("shift", 8, "right shift of the result, 0..47"),
    ("images", 16, "images in this tile, >= 1"),
    ("x_rows", 16, "rows of the tile of x that is loaded"),
    ("x_columns", 16, "columns of the tile of x"),
    ("g_rows", 16, "rows of the tile on the output side: z or dz"),
    ("g_columns", 16, "columns on the output side"),
    ("x_words", 16, "8-channel words of x per pixel"),
    ("g_words", 16, "4-channel words of z or dz per pixel"),
    ("kernel_h", 8, "1..7"),
    ("kernel_w", 8, "1..7"),
    ("stride", 8, "1 or 2"),
    ("pad_top", 8, "rows of zeros above the tile of x"),
    ("pad_left", 8, "columns of zeros left of the tile of x"),
    ("lane_mode", 8, "0: the 3 operand columns are kernel columns; 1: three channel groups of one tap"),
    ("mask_below", 16, "0: no upper limit"),
    ("threshold_q12", 16, "beta of the predictor in Q.12"),
    ("out_block", 16, "first output block (of out_lanes channels) of this tile"),
    ("out_blocks", 16, "output blocks done by this tile, >= 1"),
    ("x_address", 32, "of the tile of x; multiple of 8, as all addresses and strides"),
    ("x_row_stride", 32, "bytes"),
    ("x_image_stride", 32, "bytes"),
    ("g_address", 32, "of the tile of dz (forward: unused)"),
    ("g_row_stride", 32, "bytes"),
    ("g_image_stride", 32, "bytes"),
    ("w_address", 32, "of the packed weights"),
    ("w_bytes", 32, "length of the packed weights"),
    ("mask_address", 32, "of the mask's tile"),
    ("mask_row_stride", 32, "bytes"),
    ("mask_image_stride", 32, "bytes"),
    ("out_address", 32, "of the result"),
    ("out_row_stride", 32, "bytes (forward, input gradient)"),
    ("out_image_stride", 32, "bytes"),
    ("out_pixel_stride", 32, "bytes: channels of the whole result"),
    ("result_address", 32, "of the result block"),
    *((f"reserved{index}", 32, "0") for index in range(4)),
    ("x_pixel_stride", 32, "bytes; 0: a row's pixels follow one another"),
    ("g_pixel_stride", 32, "likewise, of dz"),
    ("check", 32, "sum of the other 32-bit words modulo 2^32, inverted"),
)

RESULT_BYTES = 64

RESULT = _fields(
    ("status", 16, "1 done, 2 error"),
    ("reserved0", 16, "0"),
    ("error", 32, "ErrorBit mask"),
    ("peak", 64, "max |sum| before the shift (weight gradient: max |dw_msb| when selective)"),
    ("saturated", 32, "elements clamped"),
    ("decided", 32, "elements whose sign was predicted"),
    ("undecided", 32, "elements computed exactly"),
    ("cycles", 32, "cycles from the first load to the last write"),
    ("compute_cycles", 32, "cycles in which the array took operands"),
    ("stall_cycles", 32, "cycles in which it waited for data, weights or room for results"),
    ("macs", 64, "products formed that count (padding included)"),
    ("macs_gated", 64, "products not formed since their element's sign was decided"),
    ("reserved1", 64, "0"),
)


class Register(IntEnum):
    """Byte offsets of the AXI4-Lite registers (32 bits each; 64-bit values as LO, HI)."""

    ID = 0x00  #: 0x4A4F554C "JOUL"
    VERSION = 0x04  #: VERSION << 16 | number of the configuration
    SPEC_HASH = 0x08  #: first 32 bits of `specification_hash`
    CAPS = 0x0C  #: out_lanes << 16 | in_lanes << 8 | columns
    CTRL = 0x10  #: bit 0 start, bit 1 soft reset (after the bus is quiet), bit 2 interrupt enable
    STATUS = 0x14  #: bit 0 busy, bit 1 done, bit 2 error; write 1 to clear done and error
    ERROR = 0x18  #: ErrorBit mask of the first descriptor that failed
    ERROR_INDEX = 0x1C  #: its index
    DESC_ADDRESS = 0x20
    DESC_COUNT = 0x24  #: 1..65535
    DESC_DONE = 0x28  #: descriptors completed
    CLOCK_HZ = 0x2C  #: of the fabric, as built
    SNAPSHOT = 0x30  #: writing copies all counters, so that they can be read consistently; bit 0: clear them, too
    SCRATCH = 0x34
    CYCLES_TOTAL = 0x40  #: from here on counters, LO and HI
    CYCLES_COMPUTE = 0x48
    CYCLES_STALL_READ = 0x50
    CYCLES_STALL_WRITE = 0x58
    MACS_8X8 = 0x60
    MACS_8X16 = 0x68
    MACS_4X10 = 0x70
    MACS_GATED = 0x78
    DECIDED = 0x80
    UNDECIDED = 0x88
    PORT0_READ_BYTES = 0x90
    PORT0_WRITE_BYTES = 0x98
    PORT1_READ_BYTES = 0xA0
    PORT1_WRITE_BYTES = 0xA8


REGISTER_BYTES = 0x100
ID_VALUE = 0x4A4F554C


class ErrorBit(IntEnum):
    """What was wrong with a descriptor, or on the bus. One with an error touches no memory but its result."""

    MAGIC = 0
    VERSION = 1
    CHECK = 2
    OPERATION = 3
    FLAGS = 4
    ROUNDING = 5
    SHIFT = 6
    IMAGES = 7
    X_SIZE = 8  #: rows, columns or words of x: zero, or more than a half of the buffer holds
    G_SIZE = 9
    KERNEL = 10
    STRIDE = 11
    PADDING = 12
    LANE_MODE = 13
    BLOCKS = 14
    ALIGNMENT = 15
    STRIDES = 16
    PSUM_SIZE = 17  #: more output pixels, or weight-gradient elements, than a half of the partial sums holds
    PREDICTOR_SIZE = 18
    WEIGHT_BYTES = 19
    THRESHOLD = 20
    RESERVED = 21
    BUS_READ = 24  #: SLVERR or DECERR on a read
    BUS_WRITE = 25
    DESC_COUNT = 26  #: 0 descriptors
    INTERNAL = 27  #: a state that cannot be reached was reached


def specification_hash() -> str:
    """SHA-256 (hex) over every table of this file and what hardware computes of the numeric specification.

    That is sections 1 to 6 of `numerics.md`: what comes later leaves bitstreams valid.
    """
    tables = {
        "version": VERSION,
        "widths": [ACTIVATION_BITS, WEIGHT_BITS, GRADIENT_BITS, ACTIVATION_MSB_BITS, GRADIENT_MSB_BITS,
                   ACCUMULATOR_BITS],
        "configs": [asdict(config) for config in CONFIGS.values()],
        "enums": {kind.__name__: {member.name: member.value for member in kind}
                  for kind in (Operation, Flag, Register, ErrorBit)},
        "descriptor": [(field.name, field.offset, field.bits) for field in DESCRIPTOR],
        "result": [(field.name, field.offset, field.bits) for field in RESULT],
    }  # fmt: skip
    text = (Path(__file__).parent / "numerics.md").read_bytes().partition(b"\n## 7. ")[0]
    return hashlib.sha256(text + json.dumps(tables, sort_keys=True).encode()).hexdigest()
