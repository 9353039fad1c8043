"""Weights in the order in which the tiles of `dot` read them, 16 channels at a time."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from joulebit.kernels.compile import kernel
from joulebit.kernels.scalar import Int
from joulebit.kernels.vector import lanes, load_u8, pointer, splat, splat_value, store_all, zeros

TURNED = 16  #: rows, and pairs of columns, that `turn_pairs` takes at once
_I8, _I16, _I32, _I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))


@intrinsic
def turn_pairs(typing_context, source, step, rows, columns, target):  # type: ignore[no-untyped-def]
    """int16 [16 pairs of columns][16 rows][2] of int8 [16 rows][32 columns], rows `step` bytes apart.

    0 for what is not in the first `rows` and `columns`, of which nothing is read.
    """
    memory, pairs = ir.VectorType(_I8, 2 * TURNED), ir.VectorType(_I16, TURNED)
    mask_type = ir.VectorType(ir.IntType(1), 2 * TURNED)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        source, step, rows, columns, target = args
        kind = ir.FunctionType(memory, [memory.as_pointer(), _I32, mask_type, memory])
        load = cgutils.get_or_insert_function(builder.module, kind, "llvm.masked.load.v32i8.p0")
        numbers = ir.VectorType(_I32, 2 * TURNED)
        every, nothing = ir.Constant(numbers, list(range(2 * TURNED))), ir.Constant(memory, [0] * (2 * TURNED))
        lines = []
        for row in range(TURNED):
            present = builder.icmp_signed(">", rows, ir.Constant(_I64, row))
            count = builder.trunc(builder.select(present, columns, ir.Constant(_I64, 0)), _I32)
            mask = builder.icmp_signed("<", every, splat_value(builder, count, numbers))
            place = builder.add(source, builder.mul(step, ir.Constant(_I64, row)))
            line = builder.call(load, [pointer(builder, place, memory), ir.Constant(_I32, 1), mask, nothing])
            lines.append(builder.bitcast(line, pairs))
        half = TURNED // 2
        for _ in range(4):  # each turns the bits of (row, pair) by one place
            lines = [
                builder.shuffle_vector(
                    lines[i],
                    lines[i + half],
                    ir.Constant(
                        ir.VectorType(_I32, TURNED), [first + j + k for j in range(half) for k in (0, TURNED)]
                    ),
                )
                for i in range(half)
                for first in (0, half)
            ]
        wide = ir.VectorType(_I16, 2 * TURNED)
        for pair, line in enumerate(lines):
            place = builder.add(target, ir.Constant(_I64, 64 * pair))
            builder.store(
                builder.sext(builder.bitcast(line, memory), wide), pointer(builder, place, wide), align=2
            )
        return context.get_dummy_value()

    return types.void(*[types.int64] * 5), generate


@kernel
def pack_quads(w: Int, kernel_h: Int, taps: Int, c_out: Int, packed: Int, excess: Int) -> None:
    """Bytes for `window_tile`: [block of 16 outputs][kernel_h][taps / 4][16][4], the last taps padded with zeros.

    w: address of int8 [kernel_h][taps][c_out], where the taps of a row are its columns and input channels. excess:
    address of int32 [blocks * 16], gets 128 * the sum of an output channel's weights.
    """
    eight, sixteen, top, seven = splat(8), splat(16), splat(24), splat(7)
    sign = splat(128)
    for block in range((c_out + 15) // 16):
        on = lanes(c_out - 16 * block)
        total = zeros()
        for row in range(kernel_h):
            source = w + row * taps * c_out + 16 * block
            for first in range(0, taps, 4):
                left = taps - first
                a = load_u8(source, on)
                b, c, d = zeros(), zeros(), zeros()
                if left > 1:
                    b = load_u8(source + c_out, on)
                if left > 2:
                    c = load_u8(source + 2 * c_out, on)
                if left > 3:
                    d = load_u8(source + 3 * c_out, on)
                store_all(packed, a + (b << eight) + (c << sixteen) + (d << top))
                total = total + ((a ^ sign) + (b ^ sign) + (c ^ sign) + (d ^ sign))
                source += 4 * c_out
                packed += 64
        padded = kernel_h * ((taps + 3) // 4) * 4
        store_all(excess + 64 * block, (total - splat(128 * padded)) << seven)
